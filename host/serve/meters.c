#include "meters.h"

#include <inttypes.h>
#include <string.h>

static const double NANO = 1e-9;

void thaw_meters_open(thaw_meters *m) {
    memset(m, 0, sizeof *m);
    m->request_seconds.least = 1.0 / 1024; /* To 32 s. */
    m->request_seconds.factor = 2;
    m->batch_pictures.least = 1;
    m->batch_pictures.factor = 2;
}

void thaw_histogram_add(thaw_histogram *h, double value) {
    double end = h->least;
    int i = 0;
    while (i < THAW_METER_BUCKETS && value > end) {
        end *= h->factor;
        i++;
    }
    atomic_fetch_add(i < THAW_METER_BUCKETS ? &h->bucket[i] : &h->above, 1);
    atomic_fetch_add(&h->sum, (uint64_t)(value / NANO));
}

void thaw_meters_answer(thaw_meters *m, int code, double seconds) {
    for (int i = 0; i < THAW_METER_CODES; i++) {
        int expected = 0;
        atomic_compare_exchange_strong(&m->requests[i].code, &expected, code);
        if (expected != 0 && expected != code) continue;
        atomic_fetch_add(&m->requests[i].n, 1);
        break;
    }
    thaw_histogram_add(&m->request_seconds, seconds);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put_head(FILE *out, const char *name, const char *type, const char *help) {
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_number(FILE *out, const char *name, const char *type, const char *help,
                       double value) {
    put_head(out, name, type, help);
    fprintf(out, "%s %.15g\n", name, value);
}

static void put_histogram(FILE *out, const char *name, const char *help, const thaw_histogram *h) {
    double end = h->least;
    uint64_t n = 0;
    put_head(out, name, "histogram", help);
    for (int i = 0; i < THAW_METER_BUCKETS; i++, end *= h->factor) {
        n += atomic_load(&h->bucket[i]);
        fprintf(out, "%s_bucket{le=\"%.9g\"} %" PRIu64 "\n", name, end, n);
    }
    n += atomic_load(&h->above);
    fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9g\n%s_count %" PRIu64 "\n", name, n,
            name, (double)atomic_load(&h->sum) * NANO, name, n);
}

void thaw_meters_write(FILE *out, const thaw_meters *m, int ready, size_t models) {
    put_number(out, "thaw_ready", "gauge", "1 when predictions are answered.", ready);
    put_number(out, "thaw_models", "gauge", "Models that are loaded.", (double)models);
    put_head(out, "thaw_requests_total", "counter", "Answers to requests for predictions.");
    for (int i = 0; i < THAW_METER_CODES && atomic_load(&m->requests[i].code); i++)
        fprintf(out, "thaw_requests_total{code=\"%d\"} %" PRIu64 "\n",
                atomic_load(&m->requests[i].code), (uint64_t)atomic_load(&m->requests[i].n));
    put_histogram(out, "thaw_request_seconds", "From a request's head to its answer.",
                  &m->request_seconds);
    put_histogram(out, "thaw_batch_pictures", "Pictures that went through the network together.",
                  &m->batch_pictures);
    put_number(out, "thaw_pictures_total", "counter", "Pictures that got an answer.",
               (double)atomic_load(&m->pictures));
    put_number(out, "thaw_pictures_bad_total", "counter", "Pictures that could not be used.",
               (double)atomic_load(&m->bad));
    put_number(out, "thaw_requests_dropped_total", "counter",
               "Requests whose client was gone before they were computed.",
               (double)atomic_load(&m->dropped));
    put_number(out, "thaw_decode_seconds_total", "counter", "Thread seconds of decoding pictures.",
               (double)atomic_load(&m->decode_ns) * NANO);
    put_number(out, "thaw_device_seconds_total", "counter", "Seconds of the network's batches.",
               (double)atomic_load(&m->device_ns) * NANO);
    put_number(out, "thaw_queue_requests", "gauge", "Requests that wait to be decoded.",
               (double)atomic_load(&m->waiting));
    put_number(out, "thaw_requests_under_way", "gauge", "Requests that were not answered yet.",
               (double)atomic_load(&m->under_way));
    put_number(out, "thaw_body_bytes", "gauge", "Memory that requests' bodies take.",
               (double)atomic_load(&m->body_bytes));
}
