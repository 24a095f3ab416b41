/* Weights that are trained, in device memory: what steps read is derived from them, their gradient is
 * pulled back, and an optimizer, an average and running statistics follow.
 *
 *     pull     gradient[i] = sum of each rule's that reads weight i, in the rules' order
 *     clip     gradient *= longest / max(longest, |gradient|)
 *     step     optimizer.cu, over all segments at once
 *     average  a = keep a + (1 - keep) w
 *     derive   steps = rules(weights)
 *
 * The rules are kernels.h's; what is a constant of theirs is copied. All rules are one launch: a table has
 * each block's rule. Those that read a tensor that an earlier one reads, too, which is rare, come in a
 * launch of their own behind it. Factors of a BN and its sums in double, as the CPU has them.
 * Memory-bound: copies of 8 bytes a number to pull and to derive, beside the optimizer's 28. What
 * changes from step to step lies in device memory, so that a step can be recorded. Measured: as part of
 * a whole only.
 */
#include <cuda_runtime.h>
#include <math.h>

#include <algorithm>
#include <vector>

#include "common.cuh"
#include "cuda_kernels.h"
#include "device.h"
#include "index.h"
#include "reduce.cuh"

extern "C" {
#include "status.h"
}

namespace thaw {

enum { RULE_THREADS = 256, RULE_WARPS = RULE_THREADS / 32, SQUARES_BLOCKS = 256 };
constexpr int64_t COPY_NUMBERS = 8 * RULE_THREADS; /* Of a block. */

/* A rule, its pointers the device's; NULL: not trained, or nothing. */
struct weights_rule {
    thaw_derivation_kind kind;
    int64_t K, each, pixels, first_block;
    double epsilon;
    const float *w, *b, *gamma, *beta, *mean, *var;
    float *dw, *db, *dgamma, *dbeta;
    float *to, *to_b;
    const float *d, *d_b;                       /* Gradients of to and to_b. */
    bool adds_w, adds_b, adds_gamma, adds_beta; /* To what an earlier launch has pulled. */
    float *running_mean, *running_var;
};

/* What changes from step to step. */
struct weights_scalars {
    thaw_cuda_step step;
    float keep;
    int lanes;
};

/* Rules that may run side by side: no two pull to one tensor. */
struct rule_wave {
    int first_block; /* In the table of blocks. */
    int64_t blocks;
};

struct device_weights {
    thaw_weights_problem p; /* Its arrays are not used after create. */
    cudaStream_t stream;
    std::vector<rule_wave> waves;
    /* Device memory. */
    float *values, *gradient, *first, *second, *average, *running, *constants;
    weights_rule *rules;
    int *rule_of_block; /* Of all waves. */
    weights_scalars *scalars;
    thaw_cuda_segment *segments;
    double *squares; /* [SQUARES_BLOCKS] */
    float *factor;   /* Of the gradient. */
};

/* ---- kernels -------------------------------------------------------------------------------- */

static int64_t blocks_of(const thaw_derivation &r) {
    if (r.kind == THAW_DERIVE_COPY) return ceil_div(r.K * r.each, COPY_NUMBERS);
    return ceil_div(r.K, r.kind == THAW_DERIVE_FOLD ? RULE_WARPS : RULE_THREADS);
}

/* Calls f(i) for i = 0 .. n - 1, four at a time where all lie so: f4(i) for i .. i + 3. first and step: a
 * thread's of those that share the work. */
template <class F4, class F>
__device__ inline void each_number(int64_t n, bool by_four, int first, int step, F4 f4, F f) {
    if (by_four) {
#pragma unroll 2
        for (int64_t i = first * 4; i < n; i += step * 4)
            f4(i);
    } else {
        for (int64_t i = first; i < n; i += step)
            f(i);
    }
}

__device__ inline float4 *four(float *at) {
    return (float4 *)at;
}
__device__ inline float4 four(const float *at) {
    return *(const float4 *)at;
}

__device__ inline float4 add4(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

__device__ inline double scale_of(const weights_rule &r, int64_t k) {
    return r.gamma[k] * (1 / sqrt(r.var[k] + r.epsilon));
}

__device__ inline double centred(const weights_rule &r, int64_t k) {
    return (r.b ? (double)r.b[k] : 0.0) - r.mean[k];
}

/* A copy's part of a block: of n numbers from `from` on. */
struct copy_part {
    int64_t from, n;
    bool by_four;
};

__device__ inline copy_part part_of_copy(const weights_rule &r, int64_t block) {
    int64_t from = block * COPY_NUMBERS, left = r.K * r.each - from;
    int64_t n = left < COPY_NUMBERS ? left : COPY_NUMBERS;
    return {from, n, n % 4 == 0};
}

/* Block: 2048 numbers of a copy, 8 channels of a layer with BN, a warp each, 256 channels of the others. */
__global__ void __launch_bounds__(RULE_THREADS, 4)
    derive_kernel(const weights_rule *rules, const int *rule_of_block) {
    begin_kernel();
    const weights_rule &r = rules[rule_of_block[blockIdx.x]];
    int64_t block = blockIdx.x - r.first_block, k = block * RULE_THREADS + threadIdx.x;
    if (r.kind == THAW_DERIVE_COPY) {
        copy_part part = part_of_copy(r, block);
        const float *from = r.w + part.from;
        float *to = r.to + part.from;
        each_number(
            part.n, part.by_four, (int)threadIdx.x, RULE_THREADS,
            [&](int64_t i) { *four(to + i) = four(from + i); },
            [&](int64_t i) { to[i] = from[i]; });
    } else if (r.kind == THAW_DERIVE_FOLD) {
        k = block * RULE_WARPS + threadIdx.x / 32;
        if (k >= r.K) return;
        const double s = scale_of(r, k);
        const float *from = r.w + k * r.each;
        float *to = r.to + k * r.each;
        each_number(
            r.each, r.each % 4 == 0, (int)threadIdx.x % 32, 32,
            [&](int64_t i) {
                float4 w = four(from + i);
                *four(to + i) = make_float4((float)(w.x * s), (float)(w.y * s), (float)(w.z * s),
                                            (float)(w.w * s));
            },
            [&](int64_t i) { to[i] = (float)(from[i] * s); });
        if (threadIdx.x % 32 == 0) r.to_b[k] = (float)(r.beta[k] + centred(r, k) * s);
    } else if (k < r.K && r.kind == THAW_DERIVE_NORM) {
        double s = scale_of(r, k);
        r.to[k] = (float)s;
        r.to_b[k] = (float)(r.beta[k] + centred(r, k) * s);
    } else if (k < r.K) {
        r.to[k] = r.running_mean[k];
        r.to_b[k] = r.running_var[k];
    }
}

/* *to = x, or += where an earlier launch has pulled to it. */
__device__ inline void pull_to(float *to, bool adds, float x) {
    *to = adds ? *to + x : x;
}

/* Of gamma, beta and a layer's own bias; ds: dL/ds of the channel. */
__device__ inline void pull_channel(const weights_rule &r, int64_t k, double ds) {
    if (!r.db && !r.dgamma && !r.dbeta) return; /* Nobody has computed d_b. */
    double root = 1 / sqrt(r.var[k] + r.epsilon), s = r.gamma[k] * root;
    ds += centred(r, k) * r.d_b[k];
    if (r.db) pull_to(r.db + k, r.adds_b, (float)(s * r.d_b[k]));
    if (r.dgamma) pull_to(r.dgamma + k, r.adds_gamma, (float)(root * ds));
    if (r.dbeta) pull_to(r.dbeta + k, r.adds_beta, r.d_b[k]);
}

/* Running statistics follow sums over lanes of the batch's. */
__device__ inline void follow(const weights_rule &r, int64_t k, int lanes, int64_t lane,
                              float momentum) {
    double n = (double)(lane * r.pixels), correction = n > 1 ? n / (n - 1) : 1;
    float *mean = r.running_mean + k, *var = r.running_var + k;
    *mean += momentum * (r.d[k] / (float)lanes - *mean);
    *var += momentum * ((float)correction * r.d_b[k] / (float)lanes - *var);
}

/* Of a channel of a layer with BN, by a warp. */
__device__ inline void pull_fold(const weights_rule &r, int64_t k) {
    const double s = scale_of(r, k);
    const float *w = r.w + k * r.each, *d = r.d + k * r.each;
    float *dw = r.dw ? r.dw + k * r.each : nullptr;
    const bool by_four = r.each % 4 == 0;
    const int lane = (int)threadIdx.x % 32;
    double ds = 0;
    if (r.dgamma) /* Nobody else wants to know. */
        each_number(
            r.each, by_four, lane, 32,
            [&](int64_t i) {
                float4 a = four(w + i), b = four(d + i);
                ds += (double)a.x * b.x + (double)a.y * b.y + (double)a.z * b.z + (double)a.w * b.w;
            },
            [&](int64_t i) { ds += (double)w[i] * d[i]; });
    if (dw)
        each_number(
            r.each, by_four, lane, 32,
            [&](int64_t i) {
                float4 b = four(d + i);
                b = make_float4((float)(s * b.x), (float)(s * b.y), (float)(s * b.z),
                                (float)(s * b.w));
                *four(dw + i) = r.adds_w ? add4(four((const float *)dw + i), b) : b;
            },
            [&](int64_t i) { pull_to(dw + i, r.adds_w, (float)(s * d[i])); });
    ds = warp_sum(ds);
    if (lane == 0) pull_channel(r, k, ds);
}

/* Blocks as derive's. */
__global__ void __launch_bounds__(RULE_THREADS, 4)
    pull_kernel(const weights_rule *rules, const int *rule_of_block, const weights_scalars *scalars,
                const int64_t *stopped, int64_t lane, float momentum) {
    begin_kernel();
    const weights_rule &r = rules[rule_of_block[blockIdx.x]];
    int64_t block = blockIdx.x - r.first_block, k = block * RULE_THREADS + threadIdx.x;
    if (r.kind == THAW_DERIVE_COPY) {
        if (!r.dw) return;
        copy_part part = part_of_copy(r, block);
        const float *d = r.d + part.from;
        float *dw = r.dw + part.from;
        each_number(
            part.n, part.by_four, (int)threadIdx.x, RULE_THREADS,
            [&](int64_t i) {
                float4 b = four(d + i);
                *four(dw + i) = r.adds_w ? add4(four((const float *)dw + i), b) : b;
            },
            [&](int64_t i) { pull_to(dw + i, r.adds_w, d[i]); });
    } else if (r.kind == THAW_DERIVE_FOLD) {
        k = block * RULE_WARPS + threadIdx.x / 32;
        if (k < r.K) pull_fold(r, k);
    } else if (k < r.K && r.kind == THAW_DERIVE_NORM) {
        pull_channel(r, k, r.d[k]);
    } else if (k < r.K && !is_stopped(stopped)) {
        follow(r, k, scalars->lanes, lane, momentum);
    }
}

/* Block: every SQUARES_BLOCKS-th 256 numbers. */
__global__ void __launch_bounds__(RULE_THREADS)
    squares_kernel(int64_t n, const float *x, double *squares) {
    begin_kernel();
    double *shared = (double *)shared_memory(); /* [RULE_WARPS] */
    double sum = 0;
    for (int64_t i = (int64_t)blockIdx.x * RULE_THREADS + threadIdx.x; i < n;
         i += (int64_t)gridDim.x * RULE_THREADS)
        sum += (double)x[i] * x[i];
    sum = block_sum<RULE_WARPS>(sum, shared);
    if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

/* One block: the factor, from SQUARES_BLOCKS sums. */
__global__ void __launch_bounds__(RULE_THREADS)
    clip_factor_kernel(const double *squares, double longest, float *factor) {
    begin_kernel();
    double *shared = (double *)shared_memory(); /* [RULE_WARPS] */
    static_assert(SQUARES_BLOCKS == RULE_THREADS, "a thread takes one sum");
    double length = sqrt(block_sum<RULE_WARPS>(squares[threadIdx.x], shared));
    if (threadIdx.x == 0) *factor = length > longest ? (float)(longest / length) : 1;
}

/* Thread: a number. */
__global__ void __launch_bounds__(RULE_THREADS)
    scale_kernel(int64_t n, const float *factor, float *x) {
    begin_kernel();
    int64_t i = (int64_t)blockIdx.x * RULE_THREADS + threadIdx.x;
    if (i < n) x[i] *= *factor;
}

/* Thread: a number. */
__global__ void __launch_bounds__(RULE_THREADS)
    average_kernel(int64_t n, const weights_scalars *scalars, const int64_t *stopped,
                   const float *w, float *average) {
    begin_kernel();
    if (is_stopped(stopped)) return;
    int64_t i = (int64_t)blockIdx.x * RULE_THREADS + threadIdx.x;
    float keep = scalars->keep;
    if (i < n) average[i] = keep * average[i] + (1 - keep) * w[i];
}

/* ---- memory --------------------------------------------------------------------------------- */

template <class T>
static T *take_copy(const std::vector<T> &from, int *code) {
    T *memory = take<T>(from.size(), code);
    if (!*code && memory)
        *code =
            (int)cudaMemcpy(memory, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice);
    return memory;
}

static void weights_destroy(void *weights) {
    device_weights *d = (device_weights *)weights;
    if (!d) return;
    void *all[] = {d->values,   d->gradient,  d->first, d->second,        d->average,
                   d->running,  d->constants, d->rules, d->rule_of_block, d->scalars,
                   d->segments, d->squares,   d->factor};
    for (void *memory : all)
        device_memory.release(memory);
    delete d;
}

static int explain(int code, const thaw_cuda_launch *launch, thaw_error *err) {
    const char *what = launch && launch->kernel ? launch->kernel : "a copy";
    if (code)
        thaw_fail(err, THAW_ERR_BACKEND, "the weights that are trained: %s failed: %s", what,
                  cudaGetErrorString((cudaError_t)code));
    return code;
}

/* Constants of the rules, one after the other, each where a row of the device's memory begins. */
struct constants_block {
    std::vector<float> numbers;

    /* The place of n numbers; -1: there are none. */
    int64_t add(const float *from, int64_t n) {
        if (!from) return -1;
        int64_t at = (int64_t)numbers.size();
        numbers.insert(numbers.end(), from, from + n);
        numbers.resize((numbers.size() + 63) / 64 * 64);
        return at;
    }
};

/* Where a rule's constants are; -1: it has none there. */
struct constant_places {
    int64_t w, b, gamma, beta, mean, var;
};

static constant_places collect(const thaw_derivation &r, constants_block *block) {
    auto place = [&](const thaw_numbers_source &s, int64_t n) {
        return s.offset < 0 ? block->add(s.constant, n) : -1;
    };
    if (r.kind == THAW_DERIVE_COPY) return {place(r.from, r.K * r.each), -1, -1, -1, -1, -1};
    if (r.kind == THAW_DERIVE_TEST) return {-1, -1, -1, -1, -1, -1};
    return {place(r.w, r.K * r.each), place(r.b, r.K),         place(r.gamma, r.K),
            place(r.beta, r.K),       block->add(r.mean, r.K), block->add(r.var, r.K)};
}

/* ---- rules ---------------------------------------------------------------------------------- */

/* The tensors that a rule pulls to: their offsets, -1 for none. */
static std::vector<int64_t> pulled_by(const thaw_derivation &r) {
    if (r.kind == THAW_DERIVE_COPY) return {r.from.offset};
    if (r.kind == THAW_DERIVE_TEST) return {};
    return {r.w.offset, r.b.offset, r.gamma.offset, r.beta.offset};
}

/* For each rule, how many launches must go before its own. */
static std::vector<int> waves_of(const thaw_weights_problem &p) {
    std::vector<int> waves((size_t)p.n_rules);
    for (int i = 0; i < p.n_rules; i++)
        for (int64_t offset : pulled_by(p.rules[i]))
            for (int k = 0; k < i && offset >= 0; k++) {
                std::vector<int64_t> others = pulled_by(p.rules[k]);
                bool shared = std::find(others.begin(), others.end(), offset) != others.end();
                if (shared) waves[(size_t)i] = std::max(waves[(size_t)i], waves[(size_t)k] + 1);
            }
    return waves;
}

static weights_rule bind(const device_weights *d, const thaw_derivation &r,
                         const constant_places &places) {
    const thaw_weights_problem &p = d->p;
    auto numbers = [&](const thaw_numbers_source &s, int64_t place) -> const float * {
        if (s.offset >= 0) return d->values + s.offset;
        return place >= 0 ? d->constants + place : nullptr;
    };
    auto gradient = [&](const thaw_numbers_source &s) {
        return s.offset >= 0 ? d->gradient + s.offset : nullptr;
    };
    const thaw_numbers_source &w = r.kind == THAW_DERIVE_COPY ? r.from : r.w;
    weights_rule bound = {};
    bound.kind = r.kind;
    bound.K = r.K;
    bound.each = r.each;
    bound.pixels = r.n;
    bound.epsilon = r.epsilon;
    bound.to = p.steps + r.to;
    bound.d = p.steps_gradient + r.to;
    if (r.to_b >= 0) {
        bound.to_b = p.steps + r.to_b;
        bound.d_b = p.steps_gradient + r.to_b;
    }
    if (r.kind == THAW_DERIVE_TEST) {
        bound.running_mean = d->running + r.running;
        bound.running_var = bound.running_mean + r.K;
        return bound;
    }
    bound.w = numbers(w, places.w);
    bound.dw = gradient(w);
    if (r.kind == THAW_DERIVE_COPY) return bound;
    bound.b = numbers(r.b, places.b);
    bound.gamma = numbers(r.gamma, places.gamma);
    bound.beta = numbers(r.beta, places.beta);
    bound.mean = d->constants + places.mean;
    bound.var = d->constants + places.var;
    bound.db = gradient(r.b);
    bound.dgamma = gradient(r.gamma);
    bound.dbeta = gradient(r.beta);
    return bound;
}

/* Which of a rule's tensors rules of earlier launches have pulled to; these are among them from now on. */
static void see_pulled(const thaw_derivation &r, weights_rule *bound, std::vector<int64_t> *seen) {
    auto again = [&](int64_t offset) {
        if (offset < 0) return false;
        bool has = std::find(seen->begin(), seen->end(), offset) != seen->end();
        if (!has) seen->push_back(offset);
        return has;
    };
    bound->adds_w = again(r.kind == THAW_DERIVE_COPY ? r.from.offset : r.w.offset);
    bound->adds_b = again(r.b.offset);
    bound->adds_gamma = again(r.gamma.offset);
    bound->adds_beta = again(r.beta.offset);
}

static int take_rules(device_weights *d, int code) {
    const thaw_weights_problem &p = d->p;
    constants_block constants;
    std::vector<constant_places> places;
    for (int i = 0; i < p.n_rules; i++)
        places.push_back(collect(p.rules[i], &constants));
    d->constants = take_copy(constants.numbers, &code);
    std::vector<int> waves = waves_of(p), rule_of_block;
    std::vector<weights_rule> rules;
    std::vector<int64_t> pulled;
    for (int wave = 0; (int)rules.size() < p.n_rules; wave++) {
        rule_wave w = {(int)rule_of_block.size(), 0};
        for (int i = 0; i < p.n_rules; i++) {
            if (waves[(size_t)i] != wave) continue;
            rules.push_back(bind(d, p.rules[i], places[(size_t)i]));
            see_pulled(p.rules[i], &rules.back(), &pulled);
            rules.back().first_block = w.blocks;
            rule_of_block.insert(rule_of_block.end(), (size_t)blocks_of(p.rules[i]),
                                 (int)rules.size() - 1);
            w.blocks += blocks_of(p.rules[i]);
        }
        d->waves.push_back(w);
    }
    d->rules = take_copy(rules, &code);
    d->rule_of_block = take_copy(rule_of_block, &code);
    return code;
}

/* The padding behind a segment goes with it. */
static int take_segments(device_weights *d, int code) {
    std::vector<thaw_cuda_segment> segments;
    for (int i = 0; i < d->p.n_segments; i++) {
        const thaw_weights_segment &s = d->p.segments[i];
        int64_t end = i + 1 < d->p.n_segments ? d->p.segments[i + 1].offset : d->p.n;
        segments.push_back({end, s.factor, s.weight_decay});
    }
    d->segments = take_copy(segments, &code);
    return code;
}

/* ---- the slots ------------------------------------------------------------------------------ */

static int weights_create(void *stream, const thaw_weights_problem *problem, void **weights,
                          thaw_error *err) {
    *weights = nullptr;
    device_weights *d = new device_weights();
    d->p = *problem;
    d->stream = (cudaStream_t)stream;
    size_t n = (size_t)problem->n;
    int code = 0;
    d->values = take<float>(n, &code);
    d->gradient = take<float>(n, &code);
    d->first = take<float>(problem->sgd ? 0 : n, &code);
    d->second = take<float>(n, &code);
    d->average = take<float>(problem->average ? n : 0, &code);
    d->running = take<float>((size_t)problem->n_running, &code);
    d->scalars = take<weights_scalars>(1, &code);
    d->squares = take<double>(SQUARES_BLOCKS, &code);
    d->factor = take<float>(1, &code);
    code = take_rules(d, code);
    code = take_segments(d, code);
    if (code) {
        thaw_fail(
            err, THAW_ERR_NOMEM,
            "training above this cut needs %zu MB of the device's memory for %lld weights and "
            "their optimizer: %s",
            n * (problem->sgd ? 3 : 4) * sizeof(float) >> 20, (long long)problem->n,
            cudaGetErrorString((cudaError_t)code));
        weights_destroy(d);
        return code;
    }
    *weights = d;
    return 0;
}

static float *block_of(const device_weights *d, thaw_weights_block block, size_t *bytes) {
    *bytes = (size_t)(block == THAW_WEIGHTS_RUNNING ? d->p.n_running : d->p.n) * sizeof(float);
    switch (block) {
        case THAW_WEIGHTS_VALUES:
            return d->values;
        case THAW_WEIGHTS_FIRST:
            return d->first;
        case THAW_WEIGHTS_SECOND:
            return d->second;
        case THAW_WEIGHTS_AVERAGE:
            return d->average;
        case THAW_WEIGHTS_RUNNING:
            return d->running;
    }
    return nullptr;
}

static int weights_put(void *weights, thaw_weights_block block, const float *from,
                       thaw_error *err) {
    device_weights *d = (device_weights *)weights;
    size_t bytes;
    float *to = block_of(d, block, &bytes);
    int code = to ? device_memory.upload(d->stream, to, from, bytes) : 0;
    if (!code) code = device_memory.wait(d->stream);
    return explain(code, nullptr, err);
}

static int weights_get(void *weights, thaw_weights_block block, float *to, thaw_error *err) {
    device_weights *d = (device_weights *)weights;
    size_t bytes;
    const float *from = block_of(d, block, &bytes);
    int code = from ? device_memory.download(d->stream, to, from, bytes) : 0;
    if (!code) code = device_memory.wait(d->stream);
    return explain(code, nullptr, err);
}

static int weights_begin(void *weights, float lr, int64_t step, float keep, int lanes,
                         thaw_error *err) {
    device_weights *d = (device_weights *)weights;
    weights_scalars now = {cuda_step_scalars(lr, d->p.beta1, d->p.beta2, step), keep, lanes};
    return explain(device_memory.upload(d->stream, d->scalars, &now, sizeof now), nullptr, err);
}

static int pull(device_weights *d, thaw_cuda_launch *launch) {
    const thaw_weights_problem &p = d->p;
    int code = 0;
    for (const rule_wave &w : d->waves) {
        if (!code && w.blocks)
            code = launch_kernel(launch, "pull", pull_kernel, dim3((unsigned)w.blocks),
                                 RULE_THREADS, 0, d->rules, d->rule_of_block + w.first_block,
                                 d->scalars, p.stopped, p.lane, p.running_momentum);
    }
    return code;
}

static dim3 grid_for(int64_t n) {
    return dim3((unsigned)ceil_div(n, RULE_THREADS));
}

static int clip(device_weights *d, thaw_cuda_launch *launch) {
    const thaw_weights_problem &p = d->p;
    size_t shared = RULE_WARPS * sizeof(double);
    int code = launch_kernel(launch, "squares", squares_kernel, dim3(SQUARES_BLOCKS), RULE_THREADS,
                             shared, p.n, d->gradient, d->squares);
    if (!code)
        code = launch_kernel(launch, "clip_factor", clip_factor_kernel, dim3(1), RULE_THREADS,
                             shared, d->squares, p.clip, d->factor);
    if (!code)
        code = launch_kernel(launch, "scale", scale_kernel, grid_for(p.n), RULE_THREADS, 0, p.n,
                             d->factor, d->gradient);
    return code;
}

static int optimize(device_weights *d, thaw_cuda_launch *launch) {
    thaw_cuda_optimizer o = {};
    o.n = d->p.n;
    o.w = d->values;
    o.m = d->first;
    o.v = d->second;
    o.dw = d->gradient;
    o.beta1 = d->p.beta1;
    o.beta2 = d->p.beta2;
    o.eps = d->p.eps;
    o.momentum = d->p.momentum;
    o.segments = d->segments;
    o.n_segments = d->p.n_segments;
    o.steps = &d->scalars->step;
    o.stopped = d->p.stopped;
    return d->p.sgd ? cuda_sgd(launch, &o) : cuda_adamw(launch, &o);
}

static int weights_step(void *weights, thaw_error *err) {
    device_weights *d = (device_weights *)weights;
    thaw_cuda_launch launch = {};
    launch.stream = d->stream;
    int code = pull(d, &launch);
    if (!code && d->p.clip > 0) code = clip(d, &launch);
    if (!code) code = optimize(d, &launch);
    if (!code && d->average)
        code = launch_kernel(&launch, "average", average_kernel, grid_for(d->p.n), RULE_THREADS, 0,
                             d->p.n, d->scalars, d->p.stopped, d->values, d->average);
    return explain(code, &launch, err);
}

static int weights_derive(void *weights, thaw_error *err) {
    device_weights *d = (device_weights *)weights;
    thaw_cuda_launch launch = {};
    launch.stream = d->stream;
    int code = 0;
    for (const rule_wave &w : d->waves)
        if (!code && w.blocks)
            code = launch_kernel(&launch, "derive", derive_kernel, dim3((unsigned)w.blocks),
                                 RULE_THREADS, 0, d->rules, d->rule_of_block + w.first_block);
    return explain(code, &launch, err);
}

const thaw_weights_slots device_weights_slots = {weights_create, weights_put,  weights_get,
                                                 weights_begin,  weights_step, weights_derive,
                                                 weights_destroy};

}  // namespace thaw
