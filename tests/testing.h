/* What several tests need: files, expectations, a distance, deterministic numbers. */
#ifndef THAW_TESTING_H
#define THAW_TESTING_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST_MODELS THAW_SOURCE_DIR "/tests/data/onnx/"

/* The whole file, to be freed; fails the test when it cannot be read. */
static inline uint8_t *test_read(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s: cannot be read", path);
    fseek(file, 0, SEEK_END);
    *n = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, file), *n);
    fclose(file);
    return bytes;
}

/* splitmix64 (Vigna 2015): the same numbers on every machine. */
static inline uint64_t test_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [-1, 1). */
static inline float test_uniform(uint64_t *state) {
    return (float)(int32_t)(test_random(state) >> 32) * 0x1p-31f;
}

/* sum (got - want)^2 / sum want^2; infinite when anything is not finite. */
static inline double test_nmse(size_t n, const float *want, const float *got) {
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - want[i];
        error += d * d;
        power += (double)want[i] * want[i];
    }
    double nmse = error / (power > 0 ? power : 1);
    return nmse >= 0 && nmse < INFINITY ? nmse : INFINITY;
}

/* ---- what ONNX Runtime makes of a model: see tests/data/onnx/make_models.py ------------------ */

enum { TEST_MAX_TAPS = 4 };

typedef struct test_tap {
    const char *name;
    int32_t h, w, c;
    const float *values; /* [n, h, w, c] */
} test_tap;

typedef struct test_expect {
    uint8_t *bytes; /* Owns the rest. */
    int32_t n, c, h, w, n_taps;
    const uint8_t *pixels;
    test_tap taps[TEST_MAX_TAPS];
    float *values[TEST_MAX_TAPS];
} test_expect;

static inline test_expect test_expect_read(const char *model) {
    char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s.expect", model);
    size_t size;
    test_expect e = {.bytes = test_read(path, &size)};
    assert_memory_equal(e.bytes, "THAWEXP1", 8);
    int32_t head[5], *fields[] = {&e.n, &e.c, &e.h, &e.w, &e.n_taps};
    memcpy(head, e.bytes + 8, sizeof head);
    for (int i = 0; i < 5; i++)
        *fields[i] = head[i];
    assert_in_range(e.n_taps, 1, TEST_MAX_TAPS);
    const uint8_t *at = e.bytes + 28;
    e.pixels = at;
    at += e.n * e.c * e.h * e.w;
    for (int i = 0; i < e.n_taps; i++) {
        test_tap *tap = &e.taps[i];
        tap->name = (const char *)at;
        memcpy(&tap->h, at + 128, 4);
        memcpy(&tap->w, at + 132, 4);
        memcpy(&tap->c, at + 136, 4);
        size_t bytes = (size_t)(e.n * tap->h * tap->w * tap->c) * sizeof(float);
        tap->values = e.values[i] = malloc(bytes); /* The file's floats are not aligned. */
        assert_non_null(e.values[i]);
        memcpy(e.values[i], at + 140, bytes);
        at += 140 + bytes;
    }
    assert_int_equal(at - e.bytes, size);
    return e;
}

static inline void test_expect_free(test_expect *e) {
    for (int i = 0; i < e->n_taps; i++)
        free(e->values[i]);
    free(e->bytes);
}

#endif
