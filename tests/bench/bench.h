/* What the benchmarks share: a clock, and the middle and the ends of repeated measurements. */
#ifndef THAW_BENCH_H
#define THAW_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double bench_now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Of all threads: what other processes do meanwhile hardly shows in it. */
static inline double bench_cpu_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static inline int bench_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Prints "name": {"median": .., "min": .., "max": ..} of n values, which are sorted by it. */
static inline void bench_print_spread(const char *name, double *values, size_t n) {
    qsort(values, n, sizeof *values, bench_compare);
    double median = (values[(n - 1) / 2] + values[n / 2]) / 2;
    printf("\"%s\": {\"median\": %.6g, \"min\": %.6g, \"max\": %.6g}", name, median, values[0],
           values[n - 1]);
}

/* A number of at least `least` from the command line; ends the program otherwise. */
static inline long bench_number(const char *text, long least) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || end == text || value < least) {
        fprintf(stderr, "\"%s\" should be a number of at least %ld\n", text, least);
        exit(2);
    }
    return value;
}

#endif
