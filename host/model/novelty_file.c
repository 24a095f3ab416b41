#include "novelty_file.h"

#include <math.h>
#include <string.h>

#include "file.h"
#include "half.h"
#include "hash.h"

enum { MOST_NUMBERS = 1 << 28 }; /* Of a file that may be read. */

/* Numbers of the file, and bytes of each. */
static size_t count_numbers(const thaw_novelty *v) {
    size_t D = (size_t)v->D, n = (size_t)v->n;
    return v->method == THAW_NOVELTY_KNN ? n * D : D + D * D + n * D;
}

static size_t number_bytes(const thaw_novelty *v) {
    return v->method == THAW_NOVELTY_KNN ? sizeof(uint16_t) : sizeof(float);
}

static void put_hash(const void *bytes, size_t n, char text[THAW_HASH_TEXT]) {
    thaw_hash_text(thaw_hash_bytes((thaw_hash){0}, bytes, n), text);
}

/* ---- writing ---------------------------------------------------------------------------------- */

/* The file's bytes, in the arena; NULL when memory is short. */
static void *pack(const thaw_novelty *v, thaw_arena *arena) {
    size_t D = (size_t)v->D, n = (size_t)v->n;
    void *bytes = thaw_arena_array(arena, count_numbers(v), number_bytes(v));
    if (!bytes) return NULL;
    if (v->method == THAW_NOVELTY_KNN) {
        thaw_half_from_float(v->rows, n * D, bytes);
        return bytes;
    }
    float *at = bytes;
    memcpy(at, v->centre, D * sizeof *at);
    memcpy(at + D, v->whiten, D * D * sizeof *at);
    memcpy(at + D + D * D, v->rows, n * D * sizeof *at);
    return bytes;
}

static void put_json(const thaw_novelty *v, const char *hash, thaw_json *json, json_t *into) {
    json_t *reject = thaw_json_object(json, into, "reject");
    thaw_json_text(json, reject, "method", thaw_novelty_name(v->method));
    if (v->method == THAW_NOVELTY_KNN) thaw_json_integer(json, reject, "neighbours", v->k);
    thaw_json_real(json, reject, "rate", v->rate);
    thaw_json_real(json, reject, "threshold", v->threshold);
    thaw_json_integer(json, reject, "rows", v->n);
    thaw_json_integer(json, reject, "features", v->D);
    thaw_json_text(json, reject, "file", THAW_NOVELTY_FILE);
    thaw_json_text(json, reject, "hash", hash);
}

thaw_status thaw_novelty_write(const thaw_novelty *v, const char *folder, thaw_json *json,
                               json_t *into, thaw_error *err) {
    thaw_arena arena = {0};
    char hash[THAW_HASH_TEXT];
    if (v->method == THAW_NOVELTY_NONE) return THAW_OK;
    size_t n_bytes = count_numbers(v) * number_bytes(v);
    char *path = thaw_file_join(&arena, folder, THAW_NOVELTY_FILE);
    void *bytes = pack(v, &arena);
    thaw_status status = path && bytes ? thaw_file_write(path, bytes, n_bytes, err)
                                       : thaw_fail_memory(err, "for what is known");
    if (status == THAW_OK) {
        put_hash(bytes, n_bytes, hash);
        put_json(v, hash, json, into);
    }
    thaw_arena_free(&arena);
    return status;
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* The numbers in bundle.json; false: damaged. */
static bool read_json(thaw_novelty *v, const json_t *reject) {
    const char *method = json_string_value(json_object_get(reject, "method"));
    for (int m = THAW_NOVELTY_KNN; method && m <= THAW_NOVELTY_MAHALANOBIS; m++)
        if (strcmp(method, thaw_novelty_name((thaw_novelty_method)m)) == 0)
            v->method = (thaw_novelty_method)m;
    v->k = json_integer_value(json_object_get(reject, "neighbours"));
    v->n = json_integer_value(json_object_get(reject, "rows"));
    v->D = json_integer_value(json_object_get(reject, "features"));
    const json_t *threshold = json_object_get(reject, "threshold");
    v->threshold = json_number_value(threshold);
    v->rate = json_number_value(json_object_get(reject, "rate"));
    bool knn = v->method == THAW_NOVELTY_KNN;
    return v->method != THAW_NOVELTY_NONE && json_is_number(threshold) && v->n > 0 && v->D > 0 &&
           v->n <= MOST_NUMBERS && v->D <= MOST_NUMBERS / 2 &&
           (double)v->D * ((double)v->n + (knn ? 0 : (double)v->D + 1)) <= MOST_NUMBERS &&
           (!knn || (v->k >= 1 && v->k <= THAW_NOVELTY_MOST_K));
}

/* Points the novelty at the numbers of the file; false: memory is short. */
static bool unpack(thaw_novelty *v, const char *bytes, thaw_arena *arena) {
    size_t n = count_numbers(v), D = (size_t)v->D;
    float *numbers = thaw_arena_array(arena, n, sizeof *numbers);
    if (!numbers) return false;
    v->rows = numbers;
    if (v->method == THAW_NOVELTY_KNN) {
        thaw_float_from_half((const uint16_t *)(const void *)bytes, n, numbers);
        return true;
    }
    memcpy(numbers, bytes, n * sizeof *numbers);
    v->centre = numbers;
    v->whiten = numbers + D;
    v->rows = numbers + D + D * D;
    return true;
}

static bool all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static thaw_status read_file(thaw_novelty *v, const json_t *reject, const char *path,
                             thaw_arena *arena, thaw_error *err) {
    thaw_arena local = {0};
    char *bytes, hash[THAW_HASH_TEXT];
    const char *expected = json_string_value(json_object_get(reject, "hash"));
    size_t n, numbers = count_numbers(v);
    thaw_status status = thaw_file_read(path, numbers * number_bytes(v), &local, &bytes, &n, err);
    if (status == THAW_OK) {
        put_hash(bytes, n, hash);
        if (n != numbers * number_bytes(v) || !expected || strcmp(hash, expected) != 0)
            status = thaw_fail(
                err, THAW_ERR_MISMATCH,
                "%s is not the file that its bundle.json was written for; restore it", path);
        else if (!unpack(v, bytes, arena))
            status = thaw_fail_memory(err, "for what is known");
        else if (!all_finite(v->centre ? v->centre : v->rows, numbers))
            status = thaw_fail(err, THAW_ERR_FORMAT, "%s holds what is no number", path);
    }
    thaw_arena_free(&local);
    return status;
}

thaw_status thaw_novelty_read(thaw_novelty *v, const json_t *bundle, const char *folder, int64_t D,
                              thaw_arena *arena, thaw_error *err) {
    const json_t *reject = json_object_get(bundle, "reject");
    *v = (thaw_novelty){0};
    if (!reject) return THAW_OK;
    if (!read_json(v, reject))
        return thaw_fail(err, THAW_ERR_FORMAT, "%s: \"reject\" is damaged in bundle.json", folder);
    if (v->D != D)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s: what is unknown is told by %lld features, but the model has %lld",
                         folder, (long long)v->D, (long long)D);
    char *path = thaw_file_join(arena, folder, THAW_NOVELTY_FILE);
    if (!path) return thaw_fail_memory(err, "for what is known");
    return read_file(v, reject, path, arena, err);
}
