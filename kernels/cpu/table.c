/* The CPU's kernel table, and opening the device. */
#include <omp.h>
#include <string.h>

#include "cpu.h"
#include "onednn.h"
#include "status.h"

static int cpu_open(int index, int threads, void **device, void **stream, struct thaw_error *err) {
    (void)index; /* There is one CPU. */
    /* What oneDNN is compiled for; all else chooses when it runs. */
    if (!__builtin_cpu_supports("sse4.1")) {
        thaw_fail(err, THAW_ERR_BACKEND,
                  "this processor lacks SSE4.1, which oneDNN needs; take one that has it");
        return (int)dnnl_unimplemented;
    }
    omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
    dnnl_engine_t engine = NULL;
    dnnl_stream_t queue = NULL;
    int code = (int)dnnl_engine_create(&engine, dnnl_cpu, 0);
    if (!code) code = (int)dnnl_stream_create(&queue, engine, dnnl_stream_default_flags);
    if (code) {
        dnnl_engine_destroy(engine);
        thaw_fail(err, THAW_ERR_BACKEND, "oneDNN did not start on this CPU (code %d)", code);
        return code;
    }
    *device = engine;
    *stream = queue;
    return 0;
}

static void cpu_close(void *device, void *stream) {
    dnnl_stream_destroy(stream);
    dnnl_engine_destroy(device);
}

static bool cpu_computes(const void *device, thaw_dtype dtype) {
    (void)device; /* Its processor is the one that runs this. */
    if (dtype == THAW_F32) return true;
    /* Without the instructions oneDNN converts to float and back: slower than float itself. */
    return dtype == THAW_BF16 && __builtin_cpu_supports("avx512bf16");
}

static const char *cpu_precision(thaw_dtype dtype) {
    return dtype == THAW_BF16 ? "bf16 mix" : "fp32";
}

static const char *cpu_explain(int code) {
    switch (code) {
        case dnnl_out_of_memory:
            return "out of memory";
        case dnnl_invalid_arguments:
            return "invalid arguments";
        case dnnl_unimplemented:
            return "not implemented";
        case dnnl_runtime_error:
            return "runtime error";
        default:
            return "unknown error";
    }
}

/* The caller has put its values there. */
static int cpu_load_run(const thaw_step *step, const thaw_run_context *context) {
    (void)step, (void)context;
    return 0;
}

/* ---- training -------------------------------------------------------------------------------- */

static bool cpu_alike(const thaw_port *a, const thaw_port *b) {
    return dnnl_memory_desc_equal(cpu_layout(a), cpu_layout(b));
}

THAW_CLONES static void add_floats(size_t n, const float *x, float *to) {
    for (size_t i = 0; i < n; i++)
        to[i] += x[i];
}

static int cpu_add_to(size_t n, thaw_dtype dtype, const void *x, void *to, void *stream) {
    (void)dtype, (void)stream; /* A processor trains in float. */
    add_floats(n, x, to);
    return 0;
}

static int cpu_copy(size_t bytes, const void *x, void *to, void *stream) {
    (void)stream;
    memcpy(to, x, bytes);
    return 0;
}

/* Inside, oneDNN finds itself in a parallel region and takes one thread; what is prepared there is
 * told so, too. */
static void cpu_side_by_side(int n, void (*work)(void *context, int i), void *context) {
    int threads = omp_get_max_threads();
    if (threads > n) threads = n;
    if (n < 1) return;
#pragma omp parallel num_threads(threads)
    {
        omp_set_num_threads(1);
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < n; i++)
            work(context, i);
    }
}

/* Which values of the forward pass it reads, and its run. */
#define GRADIENT(name, in, out, run) \
    [THAW_STEP_##name] = {in, out, cpu_##name##_backward_prepare, run}

static const thaw_training_slots training = {
    .forward = thaw_cpu_kernels.trunk,
    .backward =
        {
            GRADIENT(conv, true, false, cpu_conv_backward),
            [THAW_STEP_dense] = {true, false, cpu_conv_backward_prepare, cpu_run_backward},
            GRADIENT(pool, false, false, cpu_run_backward),
            GRADIENT(global_mean, false, false, cpu_run_backward),
            GRADIENT(act, false, true, cpu_act_backward),
            GRADIENT(add, false, false, cpu_add_backward),
            GRADIENT(mul, true, false, cpu_mul_backward),
            GRADIENT(affine, true, false, cpu_affine_backward),
            GRADIENT(batch_norm, true, false, cpu_batch_norm_backward),
            GRADIENT(layer_norm, true, false, cpu_run_backward),
            GRADIENT(concat, false, false, cpu_run_backward),
            GRADIENT(slice, false, false, cpu_slice_backward),
            GRADIENT(shuffle, false, false, cpu_run_backward),
            GRADIENT(pad, false, false, cpu_run_backward),
            GRADIENT(group_norm, true, false, cpu_group_norm_backward),
            GRADIENT(softmax, false, true, cpu_softmax_backward),
            GRADIENT(matmul, true, false, cpu_run_backward),
            GRADIENT(resample, false, false, cpu_resample_backward),
            GRADIENT(transpose, false, false, cpu_run_backward),
            GRADIENT(reshape, false, false, cpu_run_backward),
        },
    .pack = cpu_pack_step,
    .alike = cpu_alike,
    .add_to = cpu_add_to,
    .copy = cpu_copy,
    .side_by_side = cpu_side_by_side,
};

#define ONEDNN(name) [THAW_STEP_##name] = {cpu_##name##_prepare, cpu_run, cpu_release}
#define LOOP(name) [THAW_STEP_##name] = {cpu_##name##_prepare, cpu_##name##_run, cpu_release}

const thaw_kernels thaw_cpu_kernels = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .computes = cpu_computes,
    .precision = cpu_precision,
    .explain = cpu_explain,
    .training = &training,
    .trunk =
        {
            /* clang-format off */
            LOOP(import),
            [THAW_STEP_load] = {cpu_load_prepare, cpu_load_run, cpu_release},
            LOOP(batch_norm),
            ONEDNN(export),
            ONEDNN(conv),
            ONEDNN(dense),
            ONEDNN(pool),
            ONEDNN(global_mean),
            ONEDNN(act),
            ONEDNN(add),
            ONEDNN(mul),
            ONEDNN(affine),
            ONEDNN(layer_norm),
            ONEDNN(concat),
            ONEDNN(slice),
            ONEDNN(shuffle),
            ONEDNN(pad),
            LOOP(constant),
            LOOP(group_norm),
            LOOP(softmax),
            ONEDNN(matmul),
            LOOP(resample),
            ONEDNN(transpose),
            ONEDNN(reshape),
            /* clang-format on */
        },
    .top =
        {
            .dense_forward = cpu_dense_forward,
            .dense_backward = cpu_dense_backward,
            .dense64_forward = cpu_dense64_forward,
            .dense64_backward = cpu_dense64_backward,
            .softmax_cross_entropy = cpu_softmax_cross_entropy,
            .sigmoid_cross_entropy = cpu_sigmoid_cross_entropy,
            .adamw = cpu_adamw,
            .sgd = cpu_sgd,
            .gather = cpu_gather,
        },
};
