/* A head's training step as a chain of the kernels, replayed for two epochs with nothing changed
 * between the steps: what a captured graph of it does. The products, which are not these kernels'
 * business, are made on the host. The weights must be those of the same training in double, and
 * the epoch's losses and hits, too: gather with labels, loss with gradient, sums of columns,
 * optimizer, an epoch's weights and totals, with a last batch that is short.
 */
#include "cuda_testing.h"

using namespace thaw;

struct head_case {
    const char *name;
    int64_t n, D, K, M; /* M: rows of a batch. */
    bool adamw;
};

static const head_case cases[] = {
    {"sgd", 75, 20, 5, 16, false},
    {"adamw", 75, 20, 5, 16, true},
    {"adamw, whole batches, wide", 24, 8, 1030, 8, true},
    {"one batch", 7, 8, 3, 16, false},
};

static const float LR = 0.02f, DECAY = 0.1f, SMOOTHING = 0.1f, BETA1 = 0.9f, BETA2 = 0.999f;
static const float EPS = 1e-8f, MOMENTUM = 0.9f;
enum { EPOCHS = 2 };

/* Features, labels, weights of classes, and an order for each epoch. */
struct head_data {
    std::vector<float> mean, scale, class_weight;
    std::vector<int32_t> label;
    std::vector<int64_t> order[EPOCHS];

    head_data(const head_case &c) {
        random_source random = {(uint64_t)(c.n + c.K)};
        for (int64_t d = 0; d < c.D; d++) {
            mean.push_back(random.uniform());
            scale.push_back(1.5f + random.uniform());
        }
        for (int64_t k = 0; k < c.K; k++)
            class_weight.push_back(1.5f + random.uniform());
        for (int64_t i = 0; i < c.n; i++)
            label.push_back((int32_t)(random.next() % (uint64_t)c.K));
        for (auto &epoch : order) {
            for (int64_t i = 0; i < c.n; i++)
                epoch.push_back(i);
            for (size_t i = epoch.size() - 1; i > 0; i--)
                std::swap(epoch[i], epoch[random.next() % (i + 1)]);
        }
    }
};

/* ---- the training in double ----------------------------------------------------------------- */

struct head_reference {
    std::vector<double> w, m, v; /* [K,D] and [K] */
    double loss = 0, weight = 0;
    int64_t n_correct = 0, step = 0;

    head_reference(const head_case &c) : w((size_t)(c.K * c.D + c.K)), m(w.size()), v(w.size()) {
    }

    /* Adds a row's gradient, not yet divided by the batch's weight. */
    void add_row(const head_case &c, const double *x, int32_t label, double weight_of,
                 std::vector<double> &dw) {
        std::vector<double> z((size_t)c.K);
        double max = -INFINITY, sum = 0;
        bool correct = true;
        for (int64_t k = 0; k < c.K; k++) {
            z[(size_t)k] = w[(size_t)(c.K * c.D + k)];
            for (int64_t d = 0; d < c.D; d++)
                z[(size_t)k] += x[d] * w[(size_t)(k * c.D + d)];
            max = fmax(max, z[(size_t)k]);
        }
        for (double f : z)
            sum += exp(f - max);
        for (int64_t k = 0; k < c.K; k++) {
            double f = z[(size_t)k], own = z[(size_t)label], log_p = f - max - log(sum);
            double t = (k == label ? 1 - (double)SMOOTHING : 0) + (double)SMOOTHING / (double)c.K;
            double dz = weight_of * (exp(log_p) - t);
            correct &= k == label || f < own || (f == own && k > label);
            loss -= weight_of * t * log_p;
            for (int64_t d = 0; d < c.D; d++)
                dw[(size_t)(k * c.D + d)] += dz * x[d];
            dw[(size_t)(c.K * c.D + k)] += dz;
        }
        weight += weight_of;
        n_correct += correct;
    }

    void update(const head_case &c, const std::vector<double> &dw, double norm) {
        step++;
        for (size_t i = 0; i < w.size(); i++) {
            double g = dw[i] / norm, decay = (int64_t)i < c.K * c.D ? DECAY : 0;
            if (!c.adamw) {
                v[i] = MOMENTUM * v[i] + g + decay * w[i];
                w[i] -= LR * v[i];
                continue;
            }
            w[i] -= LR * decay * w[i];
            m[i] = BETA1 * m[i] + (1 - (double)BETA1) * g;
            v[i] = BETA2 * v[i] + (1 - (double)BETA2) * g * g;
            w[i] -= LR * (m[i] / (1 - pow(BETA1, (double)step))) /
                    (sqrt(v[i] / (1 - pow(BETA2, (double)step))) + EPS);
        }
    }

    void epoch(const head_case &c, const head_data &data, const std::vector<int64_t> &order,
               const std::vector<double> &x) {
        loss = weight = 0;
        n_correct = 0;
        for (int64_t first = 0; first < c.n; first += c.M) {
            std::vector<double> dw(w.size());
            double before = weight;
            for (int64_t i = first; i < first + c.M && i < c.n; i++) {
                int64_t row = order[(size_t)i];
                int32_t label = data.label[(size_t)row];
                add_row(c, &x[(size_t)(row * c.D)], label, data.class_weight[(size_t)label], dw);
            }
            update(c, dw, weight - before);
        }
    }
};

/* ---- the chain ------------------------------------------------------------------------------ */

/* What is on the device, and the parameters of each launch: nothing of it changes in an epoch. */
template <class T>
struct head_chain {
    const head_case &c;
    int64_t steps;
    device_array<T> x;
    device_array<float> mean, scale, class_weight, norm, batch, logits, w, dw, m, v, loss;
    device_array<int32_t> label, batch_label;
    device_array<int64_t> order;
    device_array<uint8_t> correct;
    device_array<thaw_cuda_segment> segments;
    device_array<thaw_cuda_step> scalars;
    device_array<thaw_cuda_cursor> cursor;
    device_array<thaw_cuda_epoch> totals;

    head_chain(const head_case &c, const head_data &data, const std::vector<T> &features)
        : c(c),
          steps((c.n + c.M - 1) / c.M),
          x(features),
          mean(data.mean),
          scale(data.scale),
          class_weight(data.class_weight),
          norm((size_t)steps),
          batch((size_t)(c.M * c.D)),
          logits((size_t)(c.M * c.K)),
          w((size_t)(c.K * c.D + c.K)),
          dw(w.n),
          m(w.n),
          v(w.n),
          loss((size_t)(steps * c.M)),
          label(data.label),
          batch_label((size_t)c.M),
          order((size_t)c.n),
          correct(loss.n),
          segments(std::vector<thaw_cuda_segment>{{c.K * c.D, 1, DECAY}, {c.K * c.D + c.K, 1, 0}}),
          scalars((size_t)steps),
          cursor(1),
          totals(1) {
        w.clear();
        m.clear();
        v.clear();
    }

    bool launch_gather(thaw_cuda_launch *launch) {
        thaw_cuda_gather p = {};
        p.M = c.M;
        p.D = p.x_ld = p.y_ld = c.D;
        p.x_dtype = DTYPE<T>;
        p.y_dtype = THAW_F32;
        p.order = {order.data(), false, c.n};
        p.x = x.data();
        p.y = batch.data();
        p.mean = mean.data();
        p.scale = scale.data();
        p.label = label.data();
        p.y_label = batch_label.data();
        p.cursor = cursor.data();
        return finish(cuda_gather(launch, &p), *launch);
    }

    bool launch_loss(thaw_cuda_launch *launch) {
        thaw_cuda_loss p = {c.M,
                            c.K,
                            c.K,
                            c.K,
                            THAW_F32,
                            SMOOTHING,
                            logits.data(),
                            batch_label.data(),
                            class_weight.data(),
                            norm.data(),
                            loss.data(),
                            correct.data(),
                            logits.data(),
                            cursor.data()};
        return finish(cuda_loss(launch, &p), *launch);
    }

    bool launch_bias(thaw_cuda_launch *launch) {
        thaw_cuda_column_sum p = {c.M,  c.K, c.K, THAW_F32, logits.data(), dw.data() + c.K * c.D,
                                  NULL, NULL};
        return finish(cuda_column_sum(launch, &p), *launch);
    }

    bool launch_update(thaw_cuda_launch *launch) {
        thaw_cuda_optimizer p = {};
        p.n = c.K * c.D + c.K;
        p.w = w.data();
        p.m = m.data();
        p.v = v.data();
        p.dw = dw.data();
        p.beta1 = BETA1;
        p.beta2 = BETA2;
        p.eps = EPS;
        p.momentum = MOMENTUM;
        p.segments = segments.data();
        p.n_segments = 2;
        p.steps = scalars.data();
        p.cursor = cursor.data();
        return finish((c.adamw ? cuda_adamw : cuda_sgd)(launch, &p), *launch);
    }

    /* logits = batch w^T + b. */
    void multiply() {
        std::vector<float> a = batch.download("batch"), p = w.download("w"), z(logits.n);
        for (int64_t m = 0; m < c.M; m++)
            for (int64_t k = 0; k < c.K; k++) {
                double sum = p[(size_t)(c.K * c.D + k)];
                for (int64_t d = 0; d < c.D; d++)
                    sum += (double)a[(size_t)(m * c.D + d)] * p[(size_t)(k * c.D + d)];
                z[(size_t)(m * c.K + k)] = (float)sum;
            }
        logits.upload(z);
    }

    /* dw = dlogits^T batch; the bias's part of it is there already. */
    void multiply_back() {
        std::vector<float> a = batch.download("batch"), dz = logits.download("dlogits");
        std::vector<float> g = dw.download("dw");
        for (int64_t k = 0; k < c.K; k++)
            for (int64_t d = 0; d < c.D; d++) {
                double sum = 0;
                for (int64_t m = 0; m < c.M; m++)
                    sum += (double)dz[(size_t)(m * c.K + k)] * a[(size_t)(m * c.D + d)];
                g[(size_t)(k * c.D + d)] = (float)sum;
            }
        dw.upload(g);
    }

    bool epoch(int number, const std::vector<int64_t> &rows, thaw_cuda_epoch *result) {
        thaw_cuda_launch launch = {};
        std::vector<thaw_cuda_step> of_steps;
        for (int64_t s = 0; s < steps; s++)
            of_steps.push_back(cuda_step_scalars(LR, BETA1, BETA2, number * steps + s + 1));
        scalars.upload(of_steps);
        order.upload(rows);
        cursor.clear();
        loss.poison();
        thaw_cuda_order in_order = {order.data(), false, c.n};
        if (!finish(cuda_batch_weights(&launch, c.M, &in_order, label.data(), class_weight.data(),
                                       norm.data()),
                    launch))
            return false;
        for (int64_t s = 0; s < steps; s++) {
            if (!launch_gather(&launch)) return false;
            multiply();
            if (!launch_loss(&launch) || !launch_bias(&launch)) return false;
            multiply_back();
            if (!launch_update(&launch)) return false;
        }
        if (!finish(cuda_epoch_sum(&launch, steps * c.M, loss.data(), correct.data(), steps,
                                   norm.data(), totals.data()),
                    launch))
            return false;
        *result = totals.download("totals")[0];
        return true;
    }
};

template <class T>
static void run(const head_case &c, T) {
    head_data data(c);
    random_source random = {7};
    std::vector<T> features((size_t)(c.n * c.D));
    std::vector<double> scaled;
    for (size_t i = 0; i < features.size(); i++) {
        size_t d = i % (size_t)c.D;
        store(&features[i], random.normal());
        scaled.push_back((float)(value(features[i]) - data.mean[d]) * (double)data.scale[d]);
    }
    head_reference want(c);
    head_chain<T> chain(c, data, features);
    for (int i = 0; i < EPOCHS; i++) {
        thaw_cuda_epoch got;
        want.epoch(c, data, data.order[i], scaled);
        if (!chain.epoch(i, data.order[i], &got)) return;
        if (!(fabs(got.loss - want.loss) <= 1e-5 * want.loss) ||
            !(fabs(got.weight - want.weight) <= 1e-6 * want.weight))
            fail("epoch %d: loss %.9g of weight %.9g, expected %.9g of %.9g", i, got.loss,
                 got.weight, want.loss, want.weight);
        if (got.n_correct != want.n_correct)
            fail("epoch %d: %lld correct, expected %lld", i, (long long)got.n_correct,
                 (long long)want.n_correct);
    }
    std::vector<float> w = chain.w.download("w");
    for (size_t i = 0; i < w.size(); i++) {
        if (!(fabs(w[i] - want.w[i]) <= 1e-5))
            return fail("weight %zu is %.9g, expected %.9g", i, w[i], want.w[i]);
    }
}

int main(int argc, char **argv) {
    return test_main(
        argc, argv, cases, [](const head_case &c, auto type) { run(c, type); }, every_type);
}
