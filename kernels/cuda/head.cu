/* Training a head on features that lie in device memory, or beside it, an epoch without the host.
 *
 *     z = [(x - mean) * scale, 1]          logits[M,Kp] = z[M,Dp] w[Dp,Kp]
 *     dw[Dp,Kp] = z^T dlogits              w = optimizer(w, dw)
 *
 * The bias is the weight of a feature that is always 1: its row stands behind those of the D
 * features, so it comes with the same two products, and weight decay ends where it begins. Dp is D
 * + 1 rounded up to 8, Kp is K rounded up to 8, so that every row begins at 32 bytes and tensor
 * cores take all of it; what is between stays zero. A step is gather, product, loss, product,
 * optimizer: five launches, captured once as a graph and replayed; what changes from step to step
 * lies in device memory (thaw_cuda_cursor). Per epoch the order and the steps' learning rates go
 * up, and one small struct and the weights come down. Everything is float; products round their
 * factors to tf32 where the caller allows it: 256 x 2048 x 102 makes few tiles with one long sum
 * each, over which float units alone would take longer than over all launches (an estimate). Sums
 * in cuBLAS's order, which for one shape on one device is always the same. Measured on an H200: 28
 * us a step, 10 of them in the first product and the sum of its parts.
 *
 * With hidden units, h[M,Hp] = dropout(relu(z w0)) stands where z does in the second layer's products: their own column
 * of ones makes its bias, and two more products and hidden.cu's kernels come to a step. What that takes is not measured.
 */
#include <cuda_runtime.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "blas.h"
#include "cuda_kernels.h"
#include "device.h"
#include "index.h"
#include "types.h"

extern "C" {
#include "half.h"
#include "rng.h"
}

namespace thaw {

/* Weights [in_p,out_p], the bias in row `in`, from element `at` of all weights on. */
struct head_layer {
    int64_t in, out, in_p, out_p, at;
};

struct device_head {
    thaw_head_problem p; /* Its pointers are the caller's, and not used after create. */
    head_layer layers[2];
    int n_layers;
    int64_t n_weights, steps; /* steps: in an epoch. */
    cudaStream_t stream;
    blas *products;
    void *graph; /* One step. */
    thaw_head_tiers rows;
    void *x_far; /* Page-locked: [rows.pinned,D], as stored. */
    /* Of the validation, in device memory; NULL: not there. Losses in whole batches. */
    void *x_validation;
    int32_t *validation_label;
    float *validation_loss;
    uint8_t *validation_correct;
    /* Device memory. */
    void *x;                            /* [rows.on_device,D], as stored */
    float *mean, *scale, *class_weight; /* [D], [D], [K] or NULL */
    int32_t *label, *batch_label;       /* [n], [batch] */
    int64_t *order;                     /* [n] */
    float *z, *logits, *loss, *norm;    /* [batch,Dp], [batch,Kp], [steps batch], [steps] */
    float *hidden, *dhidden;            /* [batch,Hp] each, or NULL */
    int64_t *first_step;                /* Steps before this epoch. */
    uint8_t *correct;                   /* [steps batch] */
    float *w, *dw, *m, *v;              /* [n_weights] each */
    thaw_cuda_segment *segments;        /* Of each layer the weights of features, the bias. */
    thaw_cuda_step *scalars;            /* [steps] */
    thaw_cuda_cursor *cursor;
    thaw_cuda_epoch *epoch;
};

/* ---- memory --------------------------------------------------------------------------------- */

static size_t row_bytes(const device_head &h) {
    return (size_t)h.p.D * thaw_dtype_bytes(h.p.stored);
}

template <class T>
static T *take_copy(const T *from, size_t n, int *code) {
    if (!from) return nullptr;
    T *memory = take<T>(n, code);
    if (!*code) *code = (int)cudaMemcpy(memory, from, n * sizeof(T), cudaMemcpyHostToDevice);
    return memory;
}

static void head_destroy(void *head) {
    device_head *h = (device_head *)head;
    if (!h) return;
    device_memory.release_graph(h->graph);
    blas_close(h->products);
    void *all[] = {h->x,
                   h->mean,
                   h->scale,
                   h->class_weight,
                   h->label,
                   h->batch_label,
                   h->order,
                   h->z,
                   h->logits,
                   h->loss,
                   h->norm,
                   h->correct,
                   h->w,
                   h->dw,
                   h->m,
                   h->v,
                   h->segments,
                   h->scalars,
                   h->cursor,
                   h->epoch,
                   h->hidden,
                   h->dhidden,
                   h->first_step,
                   h->x_validation,
                   h->validation_label,
                   h->validation_loss,
                   h->validation_correct};
    for (void *memory : all)
        device_memory.release(memory);
    device_memory.release_pinned(h->x_far);
    delete h;
}

/* ---- weights: w[out,in], b[out] on the host, [in_p,out_p] on the device ------------------------- */

static void lay_out(device_head *h) {
    const thaw_head_problem &p = h->p;
    const int64_t widths[] = {p.D, p.hidden ? p.hidden : p.K, p.K};
    h->n_layers = p.hidden ? 2 : 1;
    for (int i = 0; i < h->n_layers; i++) {
        int64_t in = widths[i], out = widths[i + 1];
        /* What is no last layer has a column for the feature that is always 1 in the next. */
        int64_t out_p = padded_channels(i + 1 < h->n_layers ? out + 1 : out);
        h->layers[i] = {in, out, padded_channels(in + 1), out_p, h->n_weights};
        h->n_weights += h->layers[i].in_p * out_p;
    }
}

static const head_layer &last_layer(const device_head *h) {
    return h->layers[h->n_layers - 1];
}

static int put_weights(device_head *h, const thaw_head_weights &from) {
    std::vector<float> all((size_t)h->n_weights);
    for (int i = 0; i < h->n_layers; i++) {
        const head_layer &l = h->layers[i];
        float *to = all.data() + l.at;
        for (int64_t k = 0; k < l.out; k++) {
            for (int64_t d = 0; d < l.in; d++)
                to[d * l.out_p + k] = from.w[i][k * l.in + d];
            to[l.in * l.out_p + k] = from.b[i][k];
        }
    }
    return (int)cudaMemcpy(h->w, all.data(), all.size() * sizeof(float), cudaMemcpyHostToDevice);
}

static int get_weights(const device_head *h, const thaw_head_weights &to) {
    std::vector<float> all((size_t)h->n_weights);
    int code =
        (int)cudaMemcpy(all.data(), h->w, all.size() * sizeof(float), cudaMemcpyDeviceToHost);
    for (int i = 0; i < h->n_layers && !code; i++) {
        const head_layer &l = h->layers[i];
        const float *from = all.data() + l.at;
        for (int64_t k = 0; k < l.out; k++) {
            for (int64_t d = 0; d < l.in; d++)
                to.w[i][k * l.in + d] = from[d * l.out_p + k];
            to.b[i][k] = from[l.in * l.out_p + k];
        }
    }
    return code;
}

/* ---- a step --------------------------------------------------------------------------------- */

static thaw_cuda_order order_of(const device_head *h) {
    return {h->order, false, h->p.n};
}

/* Of a batch, from where is to be said. */
static thaw_cuda_gather gather_of(const device_head *h) {
    thaw_cuda_gather g = {};
    g.M = h->p.batch;
    g.D = g.x_ld = h->p.D;
    g.y_ld = h->layers[0].in_p;
    g.x_dtype = h->p.stored;
    g.y_dtype = THAW_F32;
    g.y = h->z;
    g.mean = h->mean;
    g.scale = h->scale;
    g.y_label = h->batch_label;
    return g;
}

/* Of a batch, to where is to be said. */
static thaw_cuda_loss loss_of(const device_head *h) {
    thaw_cuda_loss l = {};
    l.M = h->p.batch;
    l.K = h->p.K;
    l.logits_ld = l.dlogits_ld = last_layer(h).out_p;
    l.dlogits_dtype = THAW_F32;
    l.logits = h->logits;
    l.label = h->batch_label;
    l.norm = h->norm;
    return l;
}

static int launch_gather(device_head *h, thaw_cuda_launch *launch) {
    thaw_cuda_gather g = gather_of(h);
    g.order = order_of(h);
    g.x = h->x;
    g.x_far = h->x_far;
    g.n_near = h->rows.on_device;
    g.label = h->label;
    g.cursor = h->cursor;
    return cuda_gather(launch, &g);
}

static int launch_loss(device_head *h, thaw_cuda_launch *launch) {
    thaw_cuda_loss l = loss_of(h);
    l.smoothing = h->p.smoothing;
    l.class_weight = h->class_weight;
    l.loss = h->loss;
    l.correct = h->correct;
    l.dlogits = h->logits;
    l.cursor = h->cursor;
    return cuda_loss(launch, &l);
}

static int launch_optimizer(device_head *h, thaw_cuda_launch *launch) {
    thaw_cuda_optimizer o = {};
    o.n = h->n_weights;
    o.w = h->w;
    o.m = h->m;
    o.v = h->v;
    o.dw = h->dw;
    o.beta1 = h->p.beta1;
    o.beta2 = h->p.beta2;
    o.eps = h->p.eps;
    o.momentum = h->p.momentum;
    o.segments = h->segments;
    o.n_segments = 2 * h->n_layers;
    o.steps = h->scalars;
    o.cursor = h->cursor;
    return h->p.sgd ? cuda_sgd(launch, &o) : cuda_adamw(launch, &o);
}

static int explain(int code, const thaw_cuda_launch &launch, thaw_error *err) {
    if (code) {
        thaw_fail(err, THAW_ERR_BACKEND, "the head's kernel %s, grid %u x %u x %u: %s",
                  launch.kernel ? launch.kernel : "(none)", launch.grid[0], launch.grid[1],
                  launch.grid[2], cudaGetErrorString((cudaError_t)code));
    }
    return code;
}

static int explain_product(int code, thaw_error *err) {
    if (code)
        thaw_fail(err, THAW_ERR_BACKEND, "the head's product: %s (%d)", blas_explain(code), code);
    return code;
}

/* y[M,out_p] = x[M,in_p] w */
static int forward(device_head *h, const head_layer &l, const float *x, float *y, thaw_error *err) {
    return explain_product(
        blas_gemm(h->products, l.out_p, h->p.batch, l.in_p, {THAW_F32, h->w + l.at, l.out_p, false},
                  {THAW_F32, x, l.in_p, false}, {THAW_F32, y, l.out_p}),
        err);
}

/* dw = x^T dy */
static int weight_gradient(device_head *h, const head_layer &l, const float *x, const float *dy,
                           thaw_error *err) {
    return explain_product(
        blas_gemm(h->products, l.out_p, l.in_p, h->p.batch, {THAW_F32, dy, l.out_p, false},
                  {THAW_F32, x, l.in_p, true}, {THAW_F32, h->dw + l.at, l.out_p}),
        err);
}

/* dx[M,in_p] = dy[M,out_p] w^T */
static int input_gradient(device_head *h, const head_layer &l, const float *dy, float *dx,
                          thaw_error *err) {
    return explain_product(
        blas_gemm(h->products, l.in_p, h->p.batch, l.out_p, {THAW_F32, h->w + l.at, l.out_p, true},
                  {THAW_F32, dy, l.out_p, false}, {THAW_F32, dx, l.in_p}),
        err);
}

static thaw_cuda_hidden units_of(const device_head *h) {
    thaw_cuda_hidden units = {};
    units.M = h->p.batch;
    units.H = h->p.hidden;
    units.ld = h->layers[0].out_p;
    units.y = h->hidden;
    units.rate = h->p.dropout;
    units.scale = 1 / (1 - h->p.dropout);
    units.seed = h->p.seed;
    units.stream = thaw_rng_open(h->p.seed, THAW_RNG_DROPOUT, 0).stream;
    units.first_step = h->first_step;
    units.cursor = h->cursor;
    return units;
}

/* The logits of the batch that was gathered. */
static int launch_forward(device_head *h, const thaw_cuda_hidden &units, thaw_cuda_launch *launch,
                          thaw_error *err) {
    const bool two = h->n_layers > 1;
    int code = forward(h, h->layers[0], h->z, two ? h->hidden : h->logits, err);
    if (!code && two) code = explain(cuda_hidden_forward(launch, &units), *launch, err);
    if (!code && two) code = forward(h, h->layers[1], h->hidden, h->logits, err);
    return code;
}

static int launch_step(device_head *h, thaw_error *err) {
    thaw_cuda_launch launch = {};
    launch.stream = h->stream;
    const head_layer &first = h->layers[0], &last = last_layer(h);
    const bool two = h->n_layers > 1;
    const thaw_cuda_hidden units = units_of(h);
    float *dfirst = two ? h->dhidden : h->logits;
    int code = explain(launch_gather(h, &launch), launch, err);
    if (!code) code = launch_forward(h, units, &launch, err);
    if (!code) code = explain(launch_loss(h, &launch), launch, err);
    if (!code && two) code = weight_gradient(h, last, h->hidden, h->logits, err);
    if (!code && two) code = input_gradient(h, last, h->logits, h->dhidden, err);
    if (!code && two)
        code = explain(cuda_hidden_backward(&launch, &units, h->dhidden), launch, err);
    if (!code) code = weight_gradient(h, first, h->z, dfirst, err);
    if (!code) code = explain(launch_optimizer(h, &launch), launch, err);
    return code;
}

/* The first launch of a kernel loads its code, and cuBLAS chooses a kernel of its own: neither is
 * allowed in a capture. So a step goes before, on the first row, and what it leaves is written over
 * by start(). */
static int rehearse_step(device_head *h, thaw_error *err) {
    void *first_row = h->rows.on_device > 0 ? h->x : h->x_far;
    int code = explain((int)cudaMemset(first_row, 0, row_bytes(*h)), {}, err);
    if (!code) code = launch_step(h, err);
    return code ? code : explain(device_memory.wait(h->stream), {}, err);
}

static int record_step(device_head *h, thaw_error *err) {
    int code = device_memory.record(h->stream);
    if (code) return explain(code, {}, err);
    code = launch_step(h, err);
    int ended = device_memory.end_record(h->stream, &h->graph);
    return code ? code : explain(ended, {}, err);
}

/* ---- the slots ------------------------------------------------------------------------------ */

static int fill(device_head *h) {
    const thaw_head_problem &p = h->p;
    size_t n = (size_t)p.n, D = (size_t)p.D, K = (size_t)p.K, B = (size_t)p.batch;
    size_t steps = (size_t)h->steps, n_w = (size_t)h->n_weights;
    size_t Dp = (size_t)h->layers[0].in_p;
    int code = 0;
    h->mean = take_copy(p.mean, D, &code);
    h->scale = take_copy(p.scale, D, &code);
    h->class_weight = take_copy(p.class_weight, K, &code);
    h->label = take_copy(p.label, n, &code);
    h->batch_label = take<int32_t>(B, &code);
    h->order = take<int64_t>(n, &code);
    h->z = take<float>(B * Dp, &code);
    h->logits = take<float>(B * (size_t)last_layer(h).out_p, &code);
    h->loss = take<float>(steps * B, &code);
    h->norm = take<float>(steps, &code);
    h->correct = take<uint8_t>(steps * B, &code);
    h->w = take<float>(n_w, &code);
    h->dw = take<float>(n_w, &code);
    h->m = take<float>(n_w, &code);
    h->v = take<float>(n_w, &code);
    if (p.hidden) {
        size_t units = B * (size_t)h->layers[0].out_p;
        h->hidden = take<float>(units, &code);
        h->dhidden = take<float>(units, &code);
        h->first_step = take<int64_t>(1, &code);
    }
    std::vector<thaw_cuda_segment> segments;
    for (int i = 0; i < h->n_layers; i++) {
        const head_layer &l = h->layers[i];
        segments.push_back({l.at + l.in * l.out_p, 1, p.weight_decay});
        segments.push_back({l.at + l.in_p * l.out_p, 1, 0});
    }
    h->segments = take_copy(segments.data(), segments.size(), &code);
    h->scalars = take<thaw_cuda_step>(steps, &code);
    h->cursor = take<thaw_cuda_cursor>(1, &code);
    h->epoch = take<thaw_cuda_epoch>(1, &code);
    /* The feature that is always 1: gather writes only the D before it. */
    std::vector<float> z(B * Dp);
    for (size_t row = 0; row < B; row++)
        z[row * Dp + D] = 1;
    if (!code)
        code = (int)cudaMemcpy(h->z, z.data(), z.size() * sizeof(float), cudaMemcpyHostToDevice);
    return code;
}

/* As before the first step: its weights, and moments that have seen nothing. */
static int start(device_head *h, const thaw_head_weights &weights) {
    size_t bytes = (size_t)h->n_weights * sizeof(float);
    int code = put_weights(h, weights);
    if (!code) code = (int)cudaMemset(h->m, 0, bytes);
    if (!code) code = (int)cudaMemset(h->v, 0, bytes);
    return code;
}

/* Device memory that rows may take when nobody says: the rest is for what comes after. */
static int free_for_rows(size_t *bytes) {
    size_t all = 0;
    int code = (int)cudaMemGetInfo(bytes, &all);
    *bytes -= *bytes / 16;
    return code;
}

/* Rows go into device memory as far as they may, the others into page-locked memory. */
static int take_rows(device_head *h, thaw_error *err) {
    const thaw_head_problem &p = h->p;
    size_t near = p.device_bytes;
    int code = near ? 0 : free_for_rows(&near);
    h->rows.on_device = std::min(p.n, (int64_t)(near / row_bytes(*h)));
    h->rows.pinned = p.n - h->rows.on_device;
    size_t far = (size_t)h->rows.pinned * row_bytes(*h);
    if (!code && far > p.pinned_bytes) code = (int)cudaErrorMemoryAllocation;
    if (!code) code = device_memory.alloc((size_t)h->rows.on_device * row_bytes(*h), &h->x);
    if (!code && far) code = device_memory.alloc_pinned(far, &h->x_far);
    if (code) {
        thaw_fail(err, THAW_ERR_NOMEM,
                  "training on the GPU needs room for %lld rows of %lld features, %zu MB: %zu MB "
                  "are allowed or free in its memory (cache.device), %zu MB in page-locked memory "
                  "(cache.pinned): %s",
                  (long long)p.n, (long long)p.D, (size_t)p.n * row_bytes(*h) >> 20, near >> 20,
                  p.pinned_bytes >> 20, cudaGetErrorString((cudaError_t)code));
    }
    return code;
}

static int64_t padded_validation(const device_head *h) {
    return ceil_div(h->p.n_validation, h->p.batch) * h->p.batch;
}

/* The rows of the validation, where what training rows have left has room for them. Without them the host validates. */
static int take_validation(device_head *h) {
    const thaw_head_problem &p = h->p;
    size_t rows = (size_t)p.n_validation, padded = (size_t)padded_validation(h);
    size_t bytes = rows * row_bytes(*h), near = p.device_bytes;
    if (!rows) return 0;
    int code = near ? 0 : free_for_rows(&near);
    size_t taken = p.device_bytes ? (size_t)h->rows.on_device * row_bytes(*h) : 0;
    if (code || near < taken || near - taken < bytes) return code;
    h->x_validation = take<char>(bytes, &code);
    h->validation_loss = take<float>(padded, &code);
    h->validation_correct = take<uint8_t>(padded, &code);
    h->validation_label = take_copy(p.validation_label, rows, &code);
    h->rows.validates = !code;
    return code == (int)cudaErrorMemoryAllocation ? 0 : code;
}

static int head_create(void *stream, const thaw_head_problem *problem,
                       const thaw_head_weights *weights, void **head, thaw_head_tiers *tiers,
                       thaw_error *err) {
    *head = nullptr;
    if (problem->batch * padded_channels(problem->hidden + 1) > INT32_MAX) {
        thaw_fail(err, THAW_ERR_UNSUPPORTED,
                  "a batch of %lld with %lld hidden units is too large for a kernel: lower "
                  "head.batch",
                  (long long)problem->batch, (long long)problem->hidden);
        return (int)cudaErrorInvalidValue;
    }
    device_head *h = new device_head();
    h->p = *problem;
    lay_out(h);
    h->steps = ceil_div(problem->n, problem->batch);
    h->stream = (cudaStream_t)stream;
    int code = blas_open(h->stream, problem->tf32, &h->products, err);
    if (!code) {
        code = fill(h);
        if (code) {
            thaw_fail(err, THAW_ERR_NOMEM,
                      "training on the GPU needs room for a head of %lld weights: %s",
                      (long long)h->n_weights, cudaGetErrorString((cudaError_t)code));
        }
    }
    if (!code) code = take_rows(h, err);
    if (!code) code = explain(take_validation(h), {}, err);
    if (!code) code = rehearse_step(h, err);
    if (!code) code = explain(start(h, *weights), {}, err);
    if (!code) code = record_step(h, err);
    if (code) {
        head_destroy(h);
        return code;
    }
    *head = h;
    *tiers = h->rows;
    return 0;
}

static int head_put_rows(void *head, int64_t first, int64_t M, const float *x, thaw_error *err) {
    device_head *h = (device_head *)head;
    size_t row = row_bytes(*h), elements = (size_t)(M * h->p.D);
    std::vector<uint16_t> halves;
    const char *from = (const char *)x;
    if (h->p.stored == THAW_F16) {
        halves.resize(elements);
        thaw_half_from_float(x, elements, halves.data());
        from = (const char *)halves.data();
    }
    if (first >= h->p.n)
        return explain((int)cudaMemcpy((char *)h->x_validation + (size_t)(first - h->p.n) * row,
                                       from, (size_t)M * row, cudaMemcpyHostToDevice),
                       {}, err);
    int64_t near = std::min(M, std::max<int64_t>(0, h->rows.on_device - first)), far = M - near;
    int64_t first_far = std::max<int64_t>(0, first - h->rows.on_device);
    if (far)
        memcpy((char *)h->x_far + (size_t)first_far * row, from + (size_t)near * row,
               (size_t)far * row);
    if (!near) return 0;
    return explain((int)cudaMemcpy((char *)h->x + (size_t)first * row, from, (size_t)near * row,
                                   cudaMemcpyHostToDevice),
                   {}, err);
}

static int head_epoch(void *head, const int64_t *order, const float *lr, int64_t first_step,
                      const thaw_head_weights *end, thaw_head_epoch *result, thaw_error *err) {
    device_head *h = (device_head *)head;
    std::vector<thaw_cuda_step> scalars((size_t)h->steps);
    for (int64_t s = 0; s < h->steps; s++)
        scalars[(size_t)s] = cuda_step_scalars(lr[s], h->p.beta1, h->p.beta2, first_step + s + 1);
    int code =
        (int)cudaMemcpy(h->order, order, (size_t)h->p.n * sizeof *order, cudaMemcpyHostToDevice);
    if (!code) {
        code = (int)cudaMemcpy(h->scalars, scalars.data(), scalars.size() * sizeof scalars[0],
                               cudaMemcpyHostToDevice);
    }
    if (!code) code = (int)cudaMemset(h->cursor, 0, sizeof *h->cursor);
    if (!code && h->first_step)
        code =
            (int)cudaMemcpy(h->first_step, &first_step, sizeof first_step, cudaMemcpyHostToDevice);
    if (code) return explain(code, {}, err);
    thaw_cuda_launch launch = {};
    launch.stream = h->stream;
    thaw_cuda_order rows = order_of(h);
    code = cuda_batch_weights(&launch, h->p.batch, &rows, h->label, h->class_weight, h->norm);
    for (int64_t s = 0; s < h->steps && !code; s++)
        code = device_memory.replay(h->stream, h->graph);
    if (!code) {
        code = cuda_epoch_sum(&launch, h->steps * h->p.batch, h->loss, h->correct, h->steps,
                              h->norm, h->epoch);
    }
    if (!code) code = device_memory.wait(h->stream);
    thaw_cuda_epoch sums = {};
    if (!code) code = (int)cudaMemcpy(&sums, h->epoch, sizeof sums, cudaMemcpyDeviceToHost);
    if (!code) code = get_weights(h, *end);
    *result = {sums.loss, sums.weight, sums.n_correct};
    return explain(code, launch, err);
}

/* Rows first to first + batch - 1. */
static int validate_batch(device_head *h, int64_t first, thaw_cuda_launch *launch,
                          thaw_error *err) {
    thaw_cuda_gather g = gather_of(h);
    g.order = {nullptr, false, h->p.n_validation - first};
    g.x = (const char *)h->x_validation + (size_t)first * row_bytes(*h);
    g.label = h->validation_label + first;
    thaw_cuda_hidden units = units_of(h);
    units.rate = 0;
    units.scale = 1;
    thaw_cuda_loss l = loss_of(h);
    l.loss = h->validation_loss + first;
    l.correct = h->validation_correct + first;
    int code = explain(cuda_gather(launch, &g), *launch, err);
    if (!code) code = launch_forward(h, units, launch, err);
    return code ? code : explain(cuda_loss(launch, &l), *launch, err);
}

static int head_validate(void *head, thaw_head_epoch *result, thaw_error *err) {
    device_head *h = (device_head *)head;
    thaw_cuda_launch launch = {};
    launch.stream = h->stream;
    int code = 0;
    for (int64_t first = 0; first < h->p.n_validation && !code; first += h->p.batch)
        code = validate_batch(h, first, &launch, err);
    if (code) return code;
    code = cuda_epoch_sum(&launch, padded_validation(h), h->validation_loss, h->validation_correct,
                          0, h->norm, h->epoch);
    if (!code) code = device_memory.wait(h->stream);
    thaw_cuda_epoch sums = {};
    if (!code) code = (int)cudaMemcpy(&sums, h->epoch, sizeof sums, cudaMemcpyDeviceToHost);
    *result = {sums.loss, (double)h->p.n_validation, sums.n_correct};
    return explain(code, launch, err);
}

const thaw_head_slots device_head_slots = {head_create, head_put_rows, head_epoch, head_validate,
                                           head_destroy};

}  // namespace thaw
