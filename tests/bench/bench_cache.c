/* How fast the cache is: bench_cache FOLDER N D fp32|fp16
 *
 * Makes N records of D values in a new cache under FOLDER and measures append, opening, looking up,
 * and gathering from memory and from the file. Prints one line of JSON. The file system's cache is
 * warm, so what is measured is this program and not the disk; drop_s opens once more after asking
 * the kernel to forget the shards. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache/feature_set.h"

enum { BATCH = 256, GATHER = 32 };

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(thaw_status status, const thaw_error *err) {
    if (status == THAW_OK) return;
    fprintf(stderr, "bench_cache: %s\n", err->text);
    exit(1);
}

static long peak_kb(void) {
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kb) == 1) break;
    if (f) fclose(f);
    return kb;
}

static thaw_hash key_of(int64_t i) {
    return thaw_hash_bytes((thaw_hash){0}, &i, sizeof i);
}

static double append_all(thaw_cache *cache, int64_t n, int64_t D) {
    thaw_error err;
    thaw_hash keys[BATCH];
    float *rows = malloc(BATCH * (size_t)D * sizeof *rows);
    for (int64_t i = 0; i < BATCH * D; i++)
        rows[i] = (float)(i % 1021) / 1021;
    double start = now_s();
    for (int64_t i = 0; i < n; i += BATCH) {
        size_t m = (size_t)(n - i < BATCH ? n - i : BATCH);
        for (size_t k = 0; k < m; k++)
            keys[k] = key_of(i + (int64_t)k);
        check(thaw_cache_append(cache, keys, m, rows, &err), &err);
    }
    double seconds = now_s() - start;
    free(rows);
    return seconds;
}

/* Asks the kernel to forget the pages of every file below folder/<trunk>/. */
static void drop_pages(const char *folder) {
    DIR *root = opendir(folder);
    for (const struct dirent *t; root && (t = readdir(root));) {
        int at = t->d_name[0] == '.' ? -1 : openat(dirfd(root), t->d_name, O_RDONLY | O_DIRECTORY);
        DIR *dir = at < 0 ? NULL : fdopendir(at);
        for (const struct dirent *e; dir && (e = readdir(dir));) {
            int fd = openat(at, e->d_name, O_RDONLY);
            if (fd >= 0) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            if (fd >= 0) close(fd);
        }
        if (dir) closedir(dir);
    }
    if (root) closedir(root);
}

/* Rows a second of random gathers. */
static double gather_rate(thaw_features *f, int64_t n, int64_t D) {
    thaw_error err;
    float *out = malloc(GATHER * (size_t)D * sizeof *out);
    int64_t index[GATHER], rows = 0;
    uint64_t state = 1;
    double start = now_s(), seconds = 0;
    for (; seconds < 1; seconds = now_s() - start) {
        for (int k = 0; k < GATHER; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            index[k] = (int64_t)((state >> 33) % (uint64_t)n);
        }
        check(thaw_features_gather(f, index, GATHER, out, &err), &err);
        rows += GATHER;
    }
    free(out);
    return (double)rows / seconds;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "bench_cache FOLDER N D fp32|fp16\n");
        return 2;
    }
    int64_t n = atoll(argv[2]), D = atoll(argv[3]);
    thaw_fact fact = {"bench", "cache"};
    thaw_cache_spec spec = {.root = argv[1], .facts = &fact, .n_facts = 1, .D = D};
    spec.dtype = strcmp(argv[4], "fp16") ? THAW_F32 : THAW_F16;
    thaw_cache *cache;
    thaw_error err;
    check(thaw_cache_open(&cache, &spec, &err), &err);
    double append_s = append_all(cache, n, D);
    double megabytes = (double)thaw_cache_measure(cache).bytes / 1e6, start = now_s();
    thaw_cache_close(cache);
    double close_s = now_s() - start;

    start = now_s();
    check(thaw_cache_open(&cache, &spec, &err), &err);
    double open_s = now_s() - start;
    thaw_cache_close(cache);
    drop_pages(argv[1]);
    start = now_s();
    check(thaw_cache_open(&cache, &spec, &err), &err);
    double drop_s = now_s() - start;

    thaw_hash *keys = malloc((size_t)n * sizeof *keys);
    for (int64_t i = 0; i < n; i++)
        keys[i] = key_of(i);
    start = now_s();
    for (int64_t i = 0; i < n; i++)
        if (!thaw_cache_has(cache, keys[i])) abort();
    double has_s = now_s() - start;
    thaw_features *f;
    check(thaw_features_open(&f, cache, keys, n, D, 0, &err), &err);
    double from_file = gather_rate(f, n, D);
    thaw_features_close(f);
    long flat_kb = peak_kb();
    start = now_s();
    check(thaw_features_open(&f, cache, keys, n, D, (size_t)n * (size_t)D * 4, &err), &err);
    double load_s = now_s() - start, from_memory = gather_rate(f, n, D);
    thaw_features_close(f);
    thaw_cache_close(cache);
    free(keys);
    printf(
        "{\"records\": %lld, \"D\": %lld, \"stored\": \"%s\", \"megabytes\": %.1f, "
        "\"append_MBps\": %.0f, \"close_s\": %.2f, \"open_s\": %.3f, \"drop_s\": %.3f, "
        "\"has_per_s\": %.0f, \"gather_file_rows_per_s\": %.0f, \"load_s\": %.2f, "
        "\"gather_memory_rows_per_s\": %.0f, \"peak_kb_without_memory\": %ld}\n",
        (long long)n, (long long)D, argv[4], megabytes, megabytes / append_s, close_s, open_s,
        drop_s, (double)n / has_s, from_file, load_s, from_memory, flat_kb);
    return 0;
}
