/* A shard of the cache, or with a first byte of 1 its trunk.json. No wrong value comes out, what is
 * missing can be added, and looking after the cache survives it. The seed is a whole shard: with
 * THAW_FUZZ_SEEDS=FOLDER it is written there. */
#include "../tempdir.h"
#include "cache/cache.h"
#include "fuzz.h"

enum { D = 8, RECORDS = 3 };

static tempdir place;
static char shard[PATH_MAX], about[PATH_MAX];
static const thaw_fact fact = {"network", "0123"};

static thaw_hash key_of(uint64_t i) {
    return thaw_hash_bytes((thaw_hash){0}, &i, sizeof i);
}

static float value_of(uint64_t i, int k) {
    return (float)(i * D) + (float)k;
}

static thaw_cache *open_cache(void) {
    thaw_cache_spec spec = {
        .root = place.root, .facts = &fact, .n_facts = 1, .D = D, .dtype = THAW_F32};
    thaw_cache *cache;
    thaw_error err = {0};
    thaw_status status = thaw_cache_open(&cache, &spec, &err);
    fuzz_check_status(status, &err);
    FUZZ_CHECK(status == THAW_OK);
    return cache;
}

static void append(thaw_cache *cache, uint64_t n) {
    thaw_hash keys[RECORDS + 1];
    float rows[RECORDS + 1][D];
    for (uint64_t i = 0; i < n; i++) {
        keys[i] = key_of(i);
        for (int k = 0; k < D; k++)
            rows[i][k] = value_of(i, k);
    }
    FUZZ_CHECK(thaw_cache_append(cache, keys, n, rows[0], NULL) == THAW_OK);
}

/* Only what was written may be read. */
static void check_record(thaw_cache *cache, uint64_t i, bool must) {
    float row[D];
    bool there = thaw_cache_has(cache, key_of(i));
    FUZZ_CHECK(there || !must);
    if (!there || thaw_cache_read(cache, key_of(i), row, NULL) != THAW_OK) return;
    for (int k = 0; k < D; k++)
        FUZZ_CHECK(row[k] == value_of(i, k));
}

static thaw_status visit(void *context, const thaw_cache_entry *entry, thaw_error *err) {
    (void)err;
    FUZZ_CHECK(entry->about && strlen(entry->key) == 32);
    ++*(int *)context;
    return THAW_OK;
}

static void write_file(const char *path, const uint8_t *data, size_t n) {
    FILE *file = fopen(path, "wb");
    tempdir_check(file && fwrite(data, 1, n, file) == n && fclose(file) == 0, path);
}

/* ---- one file found by its ending ------------------------------------------------------------ */

static const char *wanted;
static char found[PATH_MAX];

static int find_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info, (void)kind, (void)walk;
    size_t n = strlen(path), m = strlen(wanted);
    if (n >= m && strcmp(path + n - m, wanted) == 0) snprintf(found, sizeof found, "%s", path);
    return 0;
}

static void find(const char *ending, char path[PATH_MAX]) {
    wanted = ending;
    found[0] = '\0';
    nftw(place.root, find_one, 16, FTW_PHYS);
    FUZZ_CHECK(found[0]);
    memcpy(path, found, sizeof found);
}

static int remove_shard(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info, (void)kind, (void)walk;
    const char *dot = strrchr(path, '.');
    if (dot && strcmp(dot, ".shard") == 0 && strcmp(path, shard) != 0) remove(path);
    return 0;
}

/* ---- the target ------------------------------------------------------------------------------ */

static void remove_place(void) {
    tempdir_remove(&place);
}

/* The first byte and then the file, as the target takes it. */
static void write_seed(const char *folder, const char *name, uint8_t first, const char *from) {
    char path[PATH_MAX];
    uint8_t bytes[1 << 16] = {first};
    FILE *in = fopen(from, "rb");
    tempdir_check(in != NULL, from);
    size_t n = fread(bytes + 1, 1, sizeof bytes - 1, in);
    fclose(in);
    FUZZ_CHECK((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path);
    write_file(path, bytes, n + 1);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    place = tempdir_make();
    atexit(remove_place);
    thaw_cache *cache = open_cache();
    append(cache, RECORDS);
    thaw_cache_close(cache);
    find(".shard", shard);
    find("trunk.json", about);
    const char *folder = getenv("THAW_FUZZ_SEEDS");
    if (folder) {
        write_seed(folder, "whole.shard", 0, shard);
        write_seed(folder, "trunk.json", 1, about);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static uint8_t whole[1 << 12];
    static size_t n_whole;
    if (n == 0) return 0;
    if (!n_whole) {
        FILE *file = fopen(about, "rb");
        tempdir_check(file != NULL, about);
        n_whole = fread(whole, 1, sizeof whole, file);
        fclose(file);
    }
    write_file(data[0] == 1 ? about : shard, data + 1, n - 1);
    int n_trunks = 0;
    thaw_cache_collected collected;
    thaw_error err = {0};
    thaw_cache *cache = open_cache();
    for (uint64_t i = 0; i < RECORDS; i++)
        check_record(cache, i, false);
    append(cache, RECORDS + 1);
    for (uint64_t i = 0; i < RECORDS + 1; i++)
        check_record(cache, i, true);
    thaw_cache_close(cache);
    fuzz_check_status(thaw_cache_walk(place.root, true, visit, &n_trunks, &err), &err);
    fuzz_check_status(thaw_cache_collect(place.root, UINT64_MAX, 0, &collected, &err), &err);
    cache = open_cache();
    for (uint64_t i = 0; i < RECORDS + 1; i++)
        check_record(cache, i, true);
    thaw_cache_close(cache);
    nftw(place.root, remove_shard, 16, FTW_PHYS);
    write_file(about, whole, n_whole);
    return 0;
}
