#include "precision.h"

#include "compare.h"
#include "device.h"

/* What `auto` would rather have than fp32 on this device; THAW_F32: nothing. */
static thaw_dtype narrow_type(const thaw_backend *backend) {
    static const thaw_dtype types[] = {THAW_F16, THAW_BF16};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (backend->kernels->computes(backend->device, types[i])) return types[i];
    return THAW_F32;
}

static const double still_good = 1e-3; /* NMSE above which features are no longer the same. */

/* Half precision ends at 65504. What passes it need not show in the end, since relu turns NaN into
 * zero, so that a few pictures' features are compared with the CPU's before all go through. */
static thaw_status check_half_precision(thaw_session *s, const thaw_network *network,
                                        thaw_error *err) {
    enum { SAMPLE = 8 };
    const thaw_kernels *kernels = s->backend.kernels;
    if (s->compute != THAW_F16 || !kernels->memory) return THAW_OK;
    thaw_backend cpu;
    THAW_TRY(thaw_backend_cpu_open(&cpu, thaw_device_threads(s->options), err));
    thaw_way_test test;
    thaw_way trusted = {&cpu, THAW_F32, s->options->batch};
    thaw_way way = {&s->backend, THAW_F16, s->options->batch};
    thaw_status status =
        thaw_compare_ways(network, &s->dataset, &trusted, &way, SAMPLE, &test, err);
    bool wide = kernels->computes(s->backend.device, THAW_F32);
    if (status == THAW_OK && !(test.nmse <= still_good)) {
        thaw_log_write(&s->log, THAW_LOG_WARN,
                       "activations of this network do not fit into half precision (the features' "
                       "error is NMSE %.1e on %d pictures): computing in %s",
                       test.nmse, SAMPLE, wide ? kernels->precision(THAW_F32) : "fp32 on the CPU");
        s->compute = THAW_F32;
        if (!wide) {
            thaw_backend_close(&s->backend);
            s->backend = cpu;
            return THAW_OK;
        }
    }
    thaw_backend_close(&cpu);
    return status;
}

thaw_status thaw_precision_asked(const thaw_options *options, const thaw_backend *backend,
                                 thaw_dtype *compute, thaw_error *err) {
    *compute = thaw_is_auto(options->precision) ? narrow_type(backend) : options->precision;
    if (backend->kernels->computes(backend->device, *compute)) return THAW_OK;
    const char *name = thaw_dtype_name(*compute);
    bool gpu = backend->kernels->memory != NULL;
    if (*compute != THAW_F32)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "precision = %s: this %s has no %s instructions; use %s", name,
                         gpu ? "GPU" : "processor", name, gpu ? "fp16" : "fp32");
    *compute = THAW_F16; /* The default must not keep a T4 from working. */
    return THAW_OK;
}

static thaw_status take_precision(thaw_session *s, thaw_error *err) {
    THAW_TRY(thaw_precision_asked(s->options, &s->backend, &s->compute, err));
    if (s->options->precision == THAW_F32 && s->compute == THAW_F16)
        thaw_log_write(&s->log, THAW_LOG_INFO,
                       "precision fp16: this GPU's tensor cores have neither fp32 nor tf32");
    return THAW_OK;
}

/* precision = auto. */
static thaw_status find_precision(thaw_session *s, const thaw_network *network, thaw_error *err) {
    enum { SAMPLE = 64 };
    thaw_dtype narrow;
    bool kept;
    THAW_TRY(thaw_storage_precision(s->options, network, &s->backend, &narrow, &kept, err));
    if (narrow == THAW_F32) {
        thaw_log_write(&s->log, THAW_LOG_INFO,
                       kept ? "precision fp32: its features are in the cache"
                            : "precision fp32: this processor has no bf16 instructions");
        return THAW_OK;
    }
    if (!s->backend.kernels->computes(s->backend.device, THAW_F32)) {
        s->compute = narrow; /* Nothing to choose from. */
        return THAW_OK;
    }
    thaw_way_test test;
    thaw_way trusted = {&s->backend, THAW_F32, s->options->batch};
    thaw_way way = {&s->backend, narrow, s->options->batch};
    THAW_TRY(thaw_compare_ways(network, &s->dataset, &trusted, &way, SAMPLE, &test, err));
    bool good = test.nmse <= still_good;
    bool take = good && thaw_storage_takes_narrow(kept, test.rate, test.trusted_rate);
    if (take) s->compute = narrow;
    thaw_log_write(&s->log, THAW_LOG_INFO,
                   "precision %s: %s makes %.0f images/s, fp32 %.0f; the features' error is NMSE "
                   "%.1e on %d pictures%s",
                   take ? thaw_dtype_name(narrow) : "fp32", thaw_dtype_name(narrow), test.rate,
                   test.trusted_rate, test.nmse, SAMPLE,
                   good ? "" : ", too much: its numbers do not reach far enough");
    return THAW_OK;
}

thaw_status thaw_precision_choose(thaw_session *s, const thaw_network *network, thaw_error *err) {
    bool find = thaw_is_auto(s->options->precision);
    THAW_TRY(find ? find_precision(s, network, err) : take_precision(s, err));
    return check_half_precision(s, network, err);
}
