/* The cache keeps what it is given, bit for bit, and says in words why it cannot.
 *
 * Round trips over sizes and types, several shards, full disks, folders that cannot be written,
 * explanations, listing, and making room. What happens to damaged files and killed processes is in
 * test_cache_damage.c. */
#include "cache_testing.h"
//
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <utime.h>

#include "cache/cache_index.h"

/* ---- round trips ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int64_t D;
    thaw_dtype dtype;
    size_t n, shard_bytes;
} sizes[] = {
    {"one value", 1, THAW_F32, 5, 0},
    {"one half", 1, THAW_F16, 5, 0},
    {"odd", 17, THAW_F32, 100, 0},
    {"odd halves", 33, THAW_F16, 100, 0},
    {"a whole line", 16, THAW_F32, 1000, 0},
    {"several writes", 24, THAW_F32, 1000, 0},
    {"more than one write holds", 1 << 21, THAW_F32, 2, 0},
    {"MobileNetV2", 1280, THAW_F16, 300, 0},
    {"many shards", 25, THAW_F32, 1000, 40000},
    {"a shard for each write", 24, THAW_F16, 1000, 1},
};

static void round_trip(void **state) {
    cache_test *t = *state;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t n = sizes[k].n;
        t->spec.D = sizes[k].D;
        t->spec.dtype = sizes[k].dtype;
        t->spec.shard_bytes = sizes[k].shard_bytes;
        for (int pass = 0; pass < 3; pass++) {
            thaw_cache *cache = test_open(t);
            if (pass == 0) test_append(t, cache, 0, n / 2);
            assert_int_equal(test_count(t, cache, 0, n), pass < 2 ? n / 2 : n);
            if (pass == 1) test_append(t, cache, 0, n); /* The first half is skipped. */
            thaw_cache_stats stats = thaw_cache_measure(cache);
            assert_int_equal(stats.records, pass == 0 ? n / 2 : n);
            assert_int_equal(stats.damaged, 0);
            assert_int_equal(stats.in_memory, 0);
            assert_int_equal(stats.record_bytes, test_stride(t));
            assert_int_equal(stats.bytes, stats.records * test_stride(t));
            thaw_cache_close(cache);
        }
    }
    test_totals sum = test_verify(t);
    assert_int_equal(sum.trunks, sizeof sizes / sizeof *sizes);
    assert_int_equal(sum.damaged, 0);
    assert_int_equal(sum.foreign, 0);
}

/* Any bits are values: NaN with a payload, infinities, subnormals, minus zero. */
static void every_bit_pattern(void **state) {
    cache_test *t = *state;
    static const uint32_t bits[] = {0x7fc12345, 0xff800000, 0x00000001, 0x80000000, 0x7f800001};
    float row[5], back[5];
    memcpy(row, bits, sizeof row);
    t->spec.D = 5;
    thaw_hash key = test_key(1);
    thaw_cache *cache = test_open(t);
    assert_ok(t, thaw_cache_append(cache, &key, 1, row, &t->err));
    assert_ok(t, thaw_cache_read(cache, key, back, &t->err));
    assert_memory_equal(back, bits, sizeof bits);
    thaw_cache_close(cache);
}

static void in_memory_only(void **state) {
    cache_test *t = *state;
    t->spec.root = NULL;
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, 600);
    assert_int_equal(test_count(t, cache, 0, 601), 600);
    assert_int_equal(thaw_cache_measure(cache).in_memory, 600);
    assert_ok(t, thaw_cache_refresh(cache, &t->err));
    thaw_cache_close(cache);
    cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 600), 0);
    thaw_cache_close(cache);
}

/* One picture under two names, in one call. */
static void repeated_keys(void **state) {
    cache_test *t = *state;
    enum { N = 700 };
    thaw_hash keys[N];
    float *rows = malloc(N * 24 * sizeof *rows);
    for (int i = 0; i < N; i++) {
        keys[i] = test_key((uint64_t)i % 300);
        for (int j = 0; j < 24; j++)
            rows[i * 24 + j] = test_value((uint64_t)i % 300, j);
    }
    thaw_cache *cache = test_open(t);
    assert_ok(t, thaw_cache_append(cache, keys, N, rows, &t->err));
    assert_ok(t, thaw_cache_append(cache, keys, 0, rows, &t->err));
    assert_int_equal(test_count(t, cache, 0, 300), 300);
    thaw_cache_close(cache);
    assert_int_equal(test_verify(t).records, 300);
    free(rows);
}

/* Each fact, the number of values, and the type name another trunk. */
static void another_trunk(void **state) {
    cache_test *t = *state;
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, 3);
    thaw_cache_close(cache);
    thaw_cache_spec first = t->spec;
    for (int change = 0; change < 6; change++) {
        t->spec = first;
        t->facts[1] = (thaw_fact){"filter", "bilinear"};
        if (change == 0) t->facts[1].value = "bicubic";
        if (change == 1) t->facts[1].name = "filtre";
        if (change == 2) t->facts[1] = (thaw_fact){"filte", "rbilinear"};
        if (change == 3) t->spec.n_facts = 2;
        if (change == 4) t->spec.D = 23;
        if (change == 5) t->spec.dtype = THAW_F16;
        cache = test_open(t);
        assert_int_equal(test_count(t, cache, 0, 3), 0);
        thaw_cache_close(cache);
    }
    t->spec = first;
    t->facts[1] = (thaw_fact){"filter", "bilinear"};
    t->spec.about = "the same model under another name";
    cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 3), 3);
    thaw_cache_close(cache);
}

static void *append_and_read(void *context) {
    void **arguments = context;
    cache_test *t = arguments[0];
    cache_test mine = *t; /* An error of its own. */
    for (uint64_t i = 0; i < 300; i += 10) {
        test_append(&mine, arguments[1], i, 10);
        assert_int_equal(test_count(&mine, arguments[1], 0, i + 10), i + 10);
    }
    return NULL;
}

static void threads(void **state) {
    cache_test *t = *state;
    t->spec.shard_bytes = 20000;
    void *arguments[] = {t, test_open(t)};
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, append_and_read, arguments), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(thaw_cache_measure(arguments[1]).records, 300);
    assert_int_equal(thaw_cache_measure(arguments[1]).damaged, 0);
    thaw_cache_close(arguments[1]);
}

/* The index against a list, with keys that collide. */
static void index_agrees_with_list(void **state) {
    (void)state;
    enum { KEYS = 40, STEPS = 4000 };
    thaw__cache_index index = {0};
    static thaw__cache_place list[STEPS];
    bool there[STEPS] = {false};
    uint64_t seed = 5;
    for (uint32_t i = 0; i < STEPS; i++) {
        uint64_t which = test_random(&seed) % KEYS;
        list[i] = (thaw__cache_place){{which % 3, which}, 7, i + 1};
        if (test_random(&seed) % 3) {
            assert_true(thaw__index_add(&index, list[i].key, 7, i));
            there[i] = true;
        } else if (i) {
            uint32_t victim = (uint32_t)(test_random(&seed) % i);
            assert_int_equal(thaw__index_drop(&index, &list[victim]), there[victim]);
            there[victim] = false;
        }
        if (i % 64) continue;
        size_t n_keys = 0;
        for (uint64_t k = 0; k < KEYS; k++) {
            bool expected = false;
            for (uint32_t j = 0; j <= i; j++)
                expected |= there[j] && list[j].key.hi == k;
            thaw__cache_place found;
            assert_int_equal(thaw__index_find(&index, (thaw_hash){k % 3, k}, &found), expected);
            if (expected) assert_true(there[found.record - 1]);
            n_keys += expected;
        }
        assert_int_equal(index.n_keys, n_keys);
    }
    thaw__index_free(&index);
}

/* ---- no room -----------------------------------------------------------------------------------
 */

/* A file that may not grow stands for a full disk: the write stops in the middle of a record. */
static void full_disk(void **state) {
    cache_test *t = *state;
    enum { ON_DISK = 10, MORE = 30 };
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = TEST_HEADER + test_stride(t) * ON_DISK + 100;
    signal(SIGXFSZ, SIG_IGN);
    t->spec.memory_bytes = test_stride(t) * (2 * MORE);
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, ON_DISK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    thaw_status first = test_try_append(t, cache, ON_DISK, 25);
    size_t in_memory = thaw_cache_measure(cache).in_memory;
    thaw_status second = test_try_append(t, cache, 1000, 1);
    setrlimit(RLIMIT_FSIZE, &before);
    /* The stand-in is a file, too, so at this size it is full after a few records. */
    assert_int_equal(first, THAW_ERR_IO);
    assert_int_equal(in_memory, 0);
    assert_int_equal(second, THAW_OK);
    char path[PATH_MAX];
    assert_int_equal(test_size(test_shard(t, path)), TEST_HEADER + test_stride(t) * ON_DISK);
    thaw_cache_close(cache);
}

/* Runs in a child with a file system of its own, so that nothing is left mounted. Exit code 77:
 * this user may not mount. */
static void on_small_disk(cache_test *t) {
    enum { N = 20000 }; /* Of 192 bytes: 3.8 MB for a disk of 1 MB. */
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", t->dir.root, "tmpfs", 0, "size=1m") != 0)
        _exit(77);
    t->spec.memory_bytes = 3 << 20;
    thaw_cache *cache = test_open(t);
    for (uint64_t i = 0; i < N - 1000; i += 500)
        test_append(t, cache, i, 500);
    thaw_cache_stats stats = thaw_cache_measure(cache);
    assert_int_equal(stats.records, N - 1000);
    assert_in_range(stats.in_memory, 13000, 15000);
    assert_int_equal(test_count(t, cache, 0, N), N - 1000);
    thaw_status status = THAW_OK;
    for (uint64_t i = N; status == THAW_OK && i < 2 * N; i += 500)
        status = test_try_append(t, cache, i, 500);
    assert_int_equal(status, THAW_ERR_IO);
    assert_non_null(strstr(t->err.text,
                           "is full, and so are the 3 MB of memory that stood in for "
                           "it; make room with thaw cache gc or choose another "
                           "cache.dir"));
    assert_int_equal(test_count(t, cache, 0, N - 1000), N - 1000);
    thaw_cache_close(cache);
    char path[PATH_MAX];
    assert_int_equal((test_size(test_shard(t, path)) - TEST_HEADER) % test_stride(t), 0);
    cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, N), thaw_cache_measure(cache).records);
    assert_int_equal(thaw_cache_measure(cache).records, stats.records - stats.in_memory);
    thaw_cache_close(cache);
    /* Not a byte left, not even for a trunk's folder. */
    tempdir_file(&t->dir, "filler", "");
    FILE *filler = fopen(tempdir_path(&t->dir, "filler", path), "w");
    setbuf(filler, NULL);
    for (int i = 0; i < 300; i++)
        fwrite("0123456789abcdef", 1, 16, filler);
    while (fwrite(path, 1, PATH_MAX, filler) == PATH_MAX)
        continue;
    fclose(filler);
    t->facts[0].value = "another network";
    cache = test_open(t);
    test_append(t, cache, 0, 100);
    assert_int_equal(test_count(t, cache, 0, 100), 100);
    thaw_cache_close(cache);
    _exit(0);
}

static void full_tmpfs(void **state) {
    cache_test *t = *state;
    pid_t child = fork();
    if (child == 0) on_small_disk(t);
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    if (WEXITSTATUS(result) == 77) {
        print_message("SKIPPED: a file system of 1 MB cannot be mounted by this user\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void too_much_for_memory(void **state) {
    cache_test *t = *state;
    t->spec.root = NULL;
    t->spec.memory_bytes = 2 << 20;
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, 10000);
    assert_int_equal(test_try_append(t, cache, 10000, 2000), THAW_ERR_IO);
    assert_string_equal(t->err.text,
                        "the features need more than the 2 MB of memory that they may take; give "
                        "them a folder with cache.dir");
    assert_int_equal(test_count(t, cache, 0, 10000), 10000);
    thaw_cache_close(cache);
}

static void cannot_open(void **state) {
    cache_test *t = *state;
    thaw_cache *cache;
    char path[PATH_MAX], expected[2 * PATH_MAX + 128];
    tempdir_file(&t->dir, "file", "");
    t->spec.root = tempdir_path(&t->dir, "file", path);
    assert_int_equal(thaw_cache_open(&cache, &t->spec, &t->err), THAW_ERR_IO);
    assert_null(cache);
    snprintf(expected, sizeof expected,
             "cache.dir = %s (choose another, or none): cannot make the folder '%s': "
             "Not a directory",
             path, path);
    assert_string_equal(t->err.text, expected);
    t->spec.root = t->dir.root;
    t->spec.D = 0;
    assert_int_equal(thaw_cache_open(&cache, &t->spec, &t->err), THAW_ERR_UNSUPPORTED);
    t->spec.D = 24;
    t->spec.dtype = THAW_BF16;
    assert_int_equal(thaw_cache_open(&cache, &t->spec, &t->err), THAW_ERR_UNSUPPORTED);
    t->spec.dtype = THAW_F32;
    tempdir_folder(&t->dir, "closed");
    t->spec.root = tempdir_path(&t->dir, "closed", path);
    assert_int_equal(chmod(path, 0555), 0);
    bool root = geteuid() == 0;
    if (root) assert_int_equal(seteuid(65534), 0); /* Root may write everywhere, nobody not. */
    thaw_status status = thaw_cache_open(&cache, &t->spec, &t->err);
    if (root) assert_int_equal(seteuid(0), 0);
    assert_int_equal(status, THAW_ERR_IO);
    assert_non_null(strstr(t->err.text, "Permission denied"));
}

static void default_root(void **state) {
    (void)state;
    char path[64];
    setenv("XDG_CACHE_HOME", "/somewhere", 1);
    assert_true(thaw_cache_default_root(path, sizeof path));
    assert_string_equal(path, "/somewhere/thaw");
    assert_false(thaw_cache_default_root(path, 15));
    setenv("XDG_CACHE_HOME", "not/absolute", 1);
    setenv("HOME", "/home/x", 1);
    assert_true(thaw_cache_default_root(path, sizeof path));
    assert_string_equal(path, "/home/x/.cache/thaw");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    assert_false(thaw_cache_default_root(path, sizeof path));
}

/* ---- explaining and listing ---------------------------------------------------------------------
 */

/* What explain says about t->spec. */
static void assert_explained(cache_test *t, int n_differences, const char *expected) {
    char text[256];
    int n;
    assert_ok(t, thaw_cache_explain(&t->spec, text, sizeof text, &n, &t->err));
    assert_string_equal(text, expected);
    assert_int_equal(n, n_differences);
}

static void explain(void **state) {
    cache_test *t = *state;
    assert_explained(t, -1, "");
    thaw_cache *cache = test_open(t);
    thaw_cache_close(cache);
    assert_explained(t, -1, ""); /* There is a folder, but nothing in it. */
    cache = test_open(t);
    test_append(t, cache, 0, 1);
    thaw_cache_close(cache);
    assert_explained(t, 0, "");

    t->facts[1].value = "bicubic";
    assert_explained(t, 1, "filter: bilinear -> bicubic");
    t->spec.dtype = THAW_F16;
    assert_explained(t, 2, "filter: bilinear -> bicubic\nstored: fp32 -> fp16");
    /* The nearest one counts. */
    cache = test_open(t);
    test_append(t, cache, 0, 1);
    thaw_cache_close(cache);
    t->spec.dtype = THAW_F32;
    t->facts[0].value = "4567";
    assert_explained(t, 2, "network: 0123 -> 4567\nfilter: bilinear -> bicubic");
    t->facts[0].value = "0123";
    assert_explained(t, 1, "filter: bilinear -> bicubic");
    /* A fact that only one of them has. */
    t->facts[1] = (thaw_fact){"crop", "centre"};
    t->facts[0].value = "0123";
    assert_explained(t, 2, "crop: (none) -> centre\nfilter: bilinear -> (none)");
    char text[12];
    int n;
    assert_ok(t, thaw_cache_explain(&t->spec, text, sizeof text, &n, &t->err));
    assert_string_equal(text, "crop: (none");
}

static void listing(void **state) {
    cache_test *t = *state;
    char path[PATH_MAX];
    test_totals sum = test_verify(t);
    assert_int_equal(sum.trunks, 0);
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, 4);
    sum = test_verify(t);
    assert_int_equal(sum.in_use, 1);
    thaw_cache_close(cache);
    sum = test_verify(t);
    assert_int_equal(sum.trunks, 1);
    assert_int_equal(sum.in_use, 0);
    assert_int_equal(sum.records, 4);
    assert_int_equal(sum.last.bytes, TEST_HEADER + 4 * test_stride(t));
    assert_int_equal(sum.last.n_facts, 6);
    assert_true(llabs(sum.last.last_used - (int64_t)time(NULL)) < 60);

    static const char *const broken[] = {
        "",
        "{",
        "[]",
        "null",
        "{\"facts\": 5}",
        "{\"facts\": [[1, 2], [\"a\"], 7, [\"a\", null]]}",
        "{\"facts\": [], \"about\": []}",
        "\xff\xfe",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        test_write(test_trunk_path(t, "trunk.json", path), broken[i], strlen(broken[i]));
        sum = test_verify(t);
        assert_int_equal(sum.without_facts, 1);
        assert_int_equal(sum.records, 4);
        assert_explained(t, -1, "");
    }
    cache = test_open(t); /* Opening writes the facts anew. */
    thaw_cache_close(cache);
    assert_int_equal(test_verify(t).without_facts, 0);
    unlink(path);
    assert_int_equal(test_verify(t).without_facts, 1);
    tempdir_file(&t->dir, "not a trunk", "");
    tempdir_file(&t->dir, "0123456789abcdef0123456789abcdef", "not a folder");
    assert_int_equal(test_verify(t).trunks, 1);

    test_totals none = {0};
    assert_ok(t, thaw_cache_walk("/nowhere/at/all", true, test_add_entry, &none, &t->err));
    assert_int_equal(none.trunks, 0);
}

static thaw_status keep_about(void *context, const thaw_cache_entry *e, thaw_error *err) {
    (void)err;
    snprintf(context, 64, "%s|%s", e->about, e->facts[1].value);
    return THAW_OK;
}

/* File names are bytes, JSON is UTF-8. */
static void names_that_are_no_text(void **state) {
    cache_test *t = *state;
    char about[64];
    t->spec.about = "r\xf6ntgen.onnx";
    t->facts[1].value = "\"quoted\"\n";
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, 1);
    thaw_cache_close(cache);
    assert_ok(t, thaw_cache_walk(t->dir.root, false, keep_about, about, &t->err));
    assert_string_equal(about, "r?ntgen.onnx|\"quoted\"\n");
    assert_explained(t, 0, "");
}

/* ---- making room
 * --------------------------------------------------------------------------------- */

static const char *const networks[] = {"first", "second", "third"};

/* Three trunks of 10 records, the first used longest ago. */
static void make_three(cache_test *t, char folders[3][PATH_MAX]) {
    for (int i = 0; i < 3; i++) {
        t->facts[0].value = networks[i];
        thaw_cache *cache = test_open(t);
        test_append(t, cache, 0, 10);
        thaw_cache_close(cache);
        DIR *dir = opendir(t->dir.root);
        for (const struct dirent *e; (e = readdir(dir));) {
            char path[PATH_MAX];
            if (strlen(e->d_name) != 32) continue;
            snprintf(path, sizeof path, "%s/%s", t->dir.root, e->d_name);
            bool known = false;
            for (int k = 0; k < i; k++)
                known |= strcmp(folders[k], path) == 0;
            if (!known) strcpy(folders[i], path);
        }
        closedir(dir);
        char lock[PATH_MAX + 8];
        time_t then = time(NULL) - (3 - i) * 10 * 24 * 60 * 60;
        snprintf(lock, sizeof lock, "%s/lock", folders[i]);
        assert_int_equal(utime(lock, &(struct utimbuf){then, then}), 0);
    }
}

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

static void collect_least_recent(void **state) {
    cache_test *t = *state;
    char folders[3][PATH_MAX];
    thaw_cache_collected r;
    make_three(t, folders);
    uint64_t each = TEST_HEADER + 10 * test_stride(t);
    assert_ok(t, thaw_cache_collect(t->dir.root, 3 * each, 0, &r, &t->err));
    assert_int_equal(r.trunks, 0);
    assert_int_equal(r.remain, 3 * each);
    assert_ok(t, thaw_cache_collect(t->dir.root, 3 * each - 1, 0, &r, &t->err));
    assert_int_equal(r.trunks, 1);
    assert_int_equal(r.bytes, each);
    assert_int_equal(r.remain, 2 * each);
    assert_false(exists(folders[0]));
    assert_true(exists(folders[1]) && exists(folders[2]));
    assert_ok(t, thaw_cache_collect(t->dir.root, UINT64_MAX, 15, &r, &t->err));
    assert_int_equal(r.trunks, 1);
    assert_false(exists(folders[1]));
    t->facts[0].value = networks[2];
    thaw_cache *cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 10), 10);
    thaw_cache_close(cache);
    assert_ok(t, thaw_cache_collect(t->dir.root, 0, 0, &r, &t->err));
    assert_int_equal(r.trunks, 1);
    assert_int_equal(test_verify(t).trunks, 0);
    assert_ok(t, thaw_cache_collect("/nowhere/at/all", 0, 0, &r, &t->err));
    assert_int_equal(r.trunks, 0);
}

static void collect_spares_what_is_used(void **state) {
    cache_test *t = *state;
    char folders[3][PATH_MAX];
    thaw_cache_collected r;
    make_three(t, folders);
    t->facts[0].value = networks[0];
    thaw_cache *cache = test_open(t);
    assert_ok(t, thaw_cache_collect(t->dir.root, 0, 0, &r, &t->err));
    assert_int_equal(r.trunks, 2);
    assert_int_equal(r.in_use, 1);
    test_append(t, cache, 10, 10);
    thaw_cache_close(cache);
    cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 20), 20);
    thaw_cache_close(cache);
}

/* A file of somebody else stays, and so does a folder that is called like a trunk. */
static void collect_spares_strangers(void **state) {
    cache_test *t = *state;
    char path[PATH_MAX];
    thaw_cache_collected r;
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, 10);
    thaw_cache_close(cache);
    test_write(test_trunk_path(t, "notes.txt", path), "mine", 4);
    assert_ok(t, thaw_cache_collect(t->dir.root, 0, 0, &r, &t->err));
    assert_int_equal(r.trunks, 1);
    assert_true(exists(path));
    cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 10), 0);
    test_append(t, cache, 0, 10);
    thaw_cache_close(cache);
}

/* Shards that are empty since a crash, of another version or trunk, or no shards at all. */
static void collect_removes_what_is_foreign(void **state) {
    cache_test *t = *state;
    char shard[PATH_MAX], path[PATH_MAX];
    thaw_cache_collected r;
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, 10);
    thaw_cache_close(cache);
    size_t n;
    uint8_t *bytes = test_read(test_shard(t, shard), &n);
    test_write(test_trunk_path(t, "empty.shard", path), "", 0);
    test_write(test_trunk_path(t, "header.shard", path), bytes, TEST_HEADER);
    test_write(test_trunk_path(t, "noise.shard", path), "no shard, and shorter than one", 30);
    for (size_t i = 0; i < n; i += 8)
        bytes[i] ^= 0x5a;
    test_write(test_trunk_path(t, "old.shard", path), bytes, n);
    free(bytes);
    test_totals sum = test_verify(t);
    assert_int_equal(sum.shards, 5);
    assert_int_equal(sum.foreign, 3);
    cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 10), 10);
    assert_int_equal(thaw_cache_measure(cache).damaged, 0);
    thaw_cache_close(cache);
    assert_ok(t, thaw_cache_collect(t->dir.root, UINT64_MAX, 0, &r, &t->err));
    assert_int_equal(r.trunks, 0);
    assert_int_equal(r.bytes, TEST_HEADER + 30 + n);
    assert_int_equal(test_size(test_shard(t, path)), n);
    assert_string_equal(path, shard);
}

/* Collectors run all the time while others open, fill and read: nobody fails or loses what it
 * holds open. */
static void collect_while_others_work(void **state) {
    cache_test *t = *state;
    pid_t collector = fork();
    if (collector == 0) {
        thaw_cache_collected r;
        for (;;)
            if (thaw_cache_collect(t->dir.root, 0, 0, &r, &t->err) != THAW_OK) _exit(1);
    }
    for (int round = 0; round < 300; round++) {
        thaw_cache *cache = test_open(t);
        test_append(t, cache, 0, 20);
        assert_int_equal(test_count(t, cache, 0, 20), 20);
        if (round % 3 == 0) {
            thaw_cache *other = test_open(t);
            assert_int_equal(test_count(t, other, 0, 20), 20);
            thaw_cache_close(other);
        }
        thaw_cache_close(cache);
    }
    int result;
    kill(collector, SIGKILL);
    waitpid(collector, &result, 0);
    assert_true(WIFSIGNALED(result));
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, cache_test_setup, cache_test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(round_trip),
        TEST(every_bit_pattern),
        TEST(in_memory_only),
        TEST(repeated_keys),
        TEST(another_trunk),
        TEST(threads),
        TEST(index_agrees_with_list),
        TEST(full_disk),
        TEST(full_tmpfs),
        TEST(too_much_for_memory),
        TEST(cannot_open),
        TEST(default_root),
        TEST(explain),
        TEST(listing),
        TEST(names_that_are_no_text),
        TEST(collect_least_recent),
        TEST(collect_spares_what_is_used),
        TEST(collect_spares_strangers),
        TEST(collect_removes_what_is_foreign),
        TEST(collect_while_others_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
