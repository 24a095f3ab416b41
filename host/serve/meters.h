/* What a server counts, for GET /metrics: Prometheus' text format, version 0.0.4.
 *
 * Counting takes no lock and may be done by any thread. */
#ifndef THAW_METERS_H
#define THAW_METERS_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

enum { THAW_METER_BUCKETS = 16, THAW_METER_CODES = 20 };

/* A histogram whose buckets' upper ends are least * factor^i. */
typedef struct thaw_histogram {
    double least, factor;
    atomic_uint_fast64_t bucket[THAW_METER_BUCKETS], above;
    atomic_uint_fast64_t sum; /* In the unit's billionths. */
} thaw_histogram;

typedef struct thaw_meters {
    struct {
        atomic_int code; /* 0: free. */
        atomic_uint_fast64_t n;
    } requests[THAW_METER_CODES];   /* For predictions, by the code of the answer. */
    thaw_histogram request_seconds; /* From a request's first byte to its answer. */
    thaw_histogram batch_pictures;  /* What went through the trunk together. */
    atomic_uint_fast64_t pictures;  /* That got an answer, */
    atomic_uint_fast64_t bad;       /* that had a problem, */
    atomic_uint_fast64_t dropped;   /* whose client had gone. */
    atomic_uint_fast64_t decode_ns, device_ns;
    atomic_int_fast64_t waiting;    /* Requests in queues. */
    atomic_int_fast64_t under_way;  /* Requests whose answer was not sent yet. */
    atomic_int_fast64_t body_bytes; /* Held for requests. */
} thaw_meters;

void thaw_meters_open(thaw_meters *meters);

/* One more value of a histogram. */
void thaw_histogram_add(thaw_histogram *histogram, double value);

/* One more answer to a request for a prediction. */
void thaw_meters_answer(thaw_meters *meters, int code, double seconds);

/* ready: whether the server answers predictions; models: that are loaded. */
void thaw_meters_write(FILE *out, const thaw_meters *meters, int ready, size_t models);

#endif
