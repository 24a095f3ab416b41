/* What the tests of the cache share: a folder, records whose values anybody can tell, damage. */
#ifndef CACHE_TESTING_H
#define CACHE_TESTING_H

#include "testing.h"
//
#include <dirent.h>
#include <fcntl.h>

#include "cache/cache.h"
#include "tempdir.h"

enum { TEST_HEADER = 64 }; /* Of a shard, and of a record. */

typedef struct cache_test {
    tempdir dir;
    thaw_fact facts[3];
    thaw_cache_spec spec;
    thaw_error err;
} cache_test;

static inline int cache_test_setup(void **state) {
    cache_test *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->dir = tempdir_make();
    t->facts[0] = (thaw_fact){"network", "0123"};
    t->facts[1] = (thaw_fact){"filter", "bilinear"};
    t->facts[2] = (thaw_fact){"decoder", "libjpeg"};
    t->spec = (thaw_cache_spec){.root = t->dir.root,
                                .facts = t->facts,
                                .n_facts = 3,
                                .about = "model.onnx at pool",
                                .D = 24,
                                .dtype = THAW_F32};
    *state = t;
    return 0;
}

static inline int cache_test_teardown(void **state) {
    cache_test *t = *state;
    tempdir_remove(&t->dir);
    free(t);
    return 0;
}

#define assert_ok(t, expression)                                                     \
    do {                                                                             \
        if ((expression) != THAW_OK) fail_msg("%s: %s", #expression, (t)->err.text); \
    } while (0)

static inline thaw_cache *test_open(cache_test *t) {
    thaw_cache *cache = NULL;
    assert_ok(t, thaw_cache_open(&cache, &t->spec, &t->err));
    return cache;
}

static inline thaw_hash test_key(uint64_t i) {
    return thaw_hash_bytes((thaw_hash){0}, &i, sizeof i);
}

/* Values that fp16 holds exactly. */
static inline float test_value(uint64_t i, int64_t j) {
    return (float)((int64_t)((i * 311 + (uint64_t)j * 17) % 2047) - 1023) / 8;
}

/* The records from begin on, [n, D]; to be freed. */
static inline float *test_rows(const cache_test *t, uint64_t begin, size_t n) {
    float *rows = malloc(n * (size_t)t->spec.D * sizeof *rows + 1);
    assert_non_null(rows);
    for (size_t i = 0; i < n; i++)
        for (int64_t j = 0; j < t->spec.D; j++)
            rows[(int64_t)i * t->spec.D + j] = test_value(begin + i, j);
    return rows;
}

static inline thaw_status test_try_append(cache_test *t, thaw_cache *cache, uint64_t begin,
                                          size_t n) {
    thaw_hash *keys = malloc(n * sizeof *keys + 1);
    float *rows = test_rows(t, begin, n);
    assert_non_null(keys);
    for (size_t i = 0; i < n; i++)
        keys[i] = test_key(begin + i);
    thaw_status status = thaw_cache_append(cache, keys, n, rows, &t->err);
    free(rows);
    free(keys);
    return status;
}

static inline void test_append(cache_test *t, thaw_cache *cache, uint64_t begin, size_t n) {
    assert_ok(t, test_try_append(t, cache, begin, n));
}

/* Whether record i is there; when it is, its values must be right whatever happened to the file. */
static inline bool test_has(cache_test *t, thaw_cache *cache, uint64_t i) {
    float *row = malloc((size_t)t->spec.D * sizeof *row);
    assert_non_null(row);
    for (int64_t j = 0; j < t->spec.D; j++)
        row[j] = NAN;
    bool there = thaw_cache_has(cache, test_key(i));
    thaw_status status = thaw_cache_read(cache, test_key(i), row, &t->err);
    assert_int_equal(status, there ? THAW_OK : THAW_ERR_MISMATCH);
    for (int64_t j = 0; there && j < t->spec.D; j++)
        if (row[j] != test_value(i, j))
            fail_msg("record %d, value %d: %g", (int)i, (int)j, (double)row[j]);
    free(row);
    return there;
}

static inline size_t test_count(cache_test *t, thaw_cache *cache, uint64_t begin, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += test_has(t, cache, begin + i);
    return count;
}

static inline size_t test_stride(const cache_test *t) {
    size_t payload = (size_t)t->spec.D * (t->spec.dtype == THAW_F16 ? 2 : 4);
    return TEST_HEADER + (payload + 63) / 64 * 64;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* The path of the only trunk's folder, or of a file in it. */
static inline const char *test_trunk_path(const cache_test *t, const char *name,
                                          char path[PATH_MAX]) {
    DIR *dir = opendir(t->dir.root);
    assert_non_null(dir);
    int found = 0;
    for (const struct dirent *e; (e = readdir(dir));) {
        if (strlen(e->d_name) != 32) continue;
        found++;
        snprintf(path, PATH_MAX, "%s/%s%s%s", t->dir.root, e->d_name, name[0] ? "/" : "", name);
    }
    closedir(dir);
    assert_int_equal(found, 1);
    return path;
}

/* Paths of the shards of the only trunk, in the order of their names; returns how many. */
enum { TEST_SHARDS = 256 }; /* A fast disk takes many before a writer is killed. */
static inline int test_by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

static inline size_t test_shards(const cache_test *t, char paths[TEST_SHARDS][PATH_MAX]) {
    char folder[PATH_MAX];
    DIR *dir = opendir(test_trunk_path(t, "", folder));
    assert_non_null(dir);
    size_t n = 0;
    for (const struct dirent *e; (e = readdir(dir));) {
        if (!strstr(e->d_name, ".shard")) continue;
        assert_true(n < TEST_SHARDS);
        assert_true(snprintf(paths[n++], PATH_MAX, "%s/%s", folder, e->d_name) < PATH_MAX);
    }
    closedir(dir);
    qsort(paths, n, sizeof *paths, test_by_name);
    return n;
}

/* The path of the only shard of the only trunk. */
static inline const char *test_shard(const cache_test *t, char path[PATH_MAX]) {
    static char paths[TEST_SHARDS][PATH_MAX];
    assert_int_equal(test_shards(t, paths), 1);
    return strcpy(path, paths[0]);
}

static inline void test_write(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void test_flip(const char *path, off_t offset, int bit) {
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= (uint8_t)(1 << bit);
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static inline size_t test_size(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (size_t)info.st_size;
}

/* What thaw_cache_walk with checks finds in all trunks. */
typedef struct test_totals {
    size_t trunks, records, shards, damaged, foreign, without_facts, in_use;
    thaw_cache_entry last;
} test_totals;

static inline thaw_status test_add_entry(void *context, const thaw_cache_entry *e,
                                         thaw_error *err) {
    (void)err;
    test_totals *sum = context;
    sum->trunks++;
    sum->records += e->records;
    sum->shards += e->shards;
    sum->damaged += e->damaged;
    sum->foreign += e->foreign;
    sum->without_facts += e->n_facts == 0;
    sum->in_use += e->in_use;
    sum->last = *e;
    return THAW_OK;
}

static inline test_totals test_verify(cache_test *t) {
    test_totals sum = {0};
    assert_ok(t, thaw_cache_walk(t->dir.root, true, test_add_entry, &sum, &t->err));
    return sum;
}

#endif
