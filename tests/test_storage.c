/* How features are kept: what `auto` computes in goes by what is kept, all splits share one budget of
 * memory, the type never depends on the disk, a cache that lies is refused and one that was computed
 * elsewhere is not, and what other users and processes do to a cache shows in the program. */
#include "program.h"
//
#include <sys/mount.h>

#include "cache/cache_facts.h"
#include "cache/cache_format.h"
#include "cache_testing.h"
#include "run/compare.h"
#include "run/extract.h"
#include "run/others.h"
#include "run/storage.h"

enum { CLASSES = 8, TRAIN = 3, TEST = 1, ALL = CLASSES * (TRAIN + TEST) };

static tempdir place;
static thaw_error err;

#define TRAIN_LINE "train --data.train=pics --model=m.onnx --epochs=2 "

#define expect_ok(expression)                                                   \
    do {                                                                        \
        if ((expression) != THAW_OK) fail_msg("%s: %s", #expression, err.text); \
    } while (0)

static thaw_options options_of(const char *key, const char *value) {
    thaw_options options;
    expect_ok(thaw_options_init(&options, &err));
    if (key) expect_ok(thaw_options_set(&options, key, value, "test", &err));
    return options;
}

/* ---- one budget ---------------------------------------------------------------------------- */

enum { D = 25, ROWS = 20 };

/* A cache in memory with three splits of ROWS rows. */
static thaw_cache *three_splits(thaw_hash keys[3 * ROWS]) {
    thaw_cache_spec spec = {.D = D, .dtype = THAW_F32};
    static float rows[3 * ROWS * D];
    thaw_cache *cache = NULL;
    for (uint64_t i = 0; i < 3 * ROWS; i++)
        keys[i] = test_key(i);
    expect_ok(thaw_cache_open(&cache, &spec, &err));
    expect_ok(thaw_cache_append(cache, keys, 3 * ROWS, rows, &err));
    return cache;
}

static void splits_share_one_budget(void **state) {
    (void)state;
    static const int64_t expected[] = {ROWS, ROWS / 2, 0};
    thaw_hash keys[3 * ROWS];
    thaw_cache *cache = three_splits(keys);
    thaw_options options = options_of("cache.memory", "3000"); /* A split and a half. */
    thaw_storage_budget budget = thaw_storage_budget_of(&options);
    size_t half = budget.left;
    assert_true(budget.all == half && half > 1 << 20);
    thaw_storage_count_records(&budget, cache);
    size_t records = 3 * ROWS * thaw_cache_measure(cache).record_bytes;
    assert_int_equal(budget.left, half - records);
    assert_int_equal(budget.rows, 3000); /* Said is said. */
    for (int s = 0; s < 3; s++) {
        thaw_features *features;
        expect_ok(thaw_storage_rows(&budget, cache, keys + s * ROWS, ROWS, D, &features, &err));
        assert_int_equal(thaw_features_in_memory(features), expected[s]);
        thaw_features_close(features);
    }
    assert_int_equal(budget.rows, 0);
    assert_int_equal(budget.left, half - records - 3000);
    thaw_options_free(&options);
    /* auto: what is left, whoever took the rest. */
    budget = (thaw_storage_budget){.left = 3000, .rows = SIZE_MAX};
    for (int s = 0; s < 3; s++) {
        thaw_features *features;
        expect_ok(thaw_storage_rows(&budget, cache, keys + s * ROWS, ROWS, D, &features, &err));
        assert_int_equal(thaw_features_in_memory(features), expected[s]);
        thaw_features_close(features);
    }
    assert_int_equal(budget.left, 0);
    thaw_cache_close(cache);
}

/* ---- precision ----------------------------------------------------------------------------- */

static bool narrow_too(const void *device, thaw_dtype dtype) {
    (void)device;
    return dtype == THAW_F32 || dtype == THAW_BF16;
}

static const char *name_precision(thaw_dtype dtype) {
    return dtype == THAW_F32 ? "fp32" : "bf16 mix";
}

static const char *name_gpu_precision(thaw_dtype dtype) {
    return dtype == THAW_F32 ? "tf32 (CUDA)" : dtype == THAW_F16 ? "fp16 (CUDA)" : "bf16 (CUDA)";
}

/* What is enough of a device and a network to name a cache. */
static const thaw_kernels two_types = {.computes = narrow_too, .precision = name_precision};
static const thaw_backend device = {.kernels = &two_types};
static thaw_cut last_cut = {.name = "pool"};
static const thaw_network network = {
    .model = {.path = "m.onnx"}, .cut = &last_cut, .n_features = 4, .trunk_hash = {1, 2}};

static void keep_features(const thaw_options *options, thaw_dtype compute) {
    thaw_arena arena = {0};
    thaw_cache_spec spec;
    thaw_cache *cache;
    thaw_hash key = test_key(0);
    float row[4] = {0};
    expect_ok(thaw_storage_spec(options, &network, &device, compute, options->cache.dir, &arena,
                                &spec, &err));
    assert_string_equal(spec.about, "m.onnx at pool");
    expect_ok(thaw_cache_open(&cache, &spec, &err));
    expect_ok(thaw_cache_append(cache, &key, 1, row, &err));
    thaw_cache_close(cache);
    thaw_arena_free(&arena);
}

static void expect_precision(const thaw_options *options, thaw_dtype expected, bool expected_kept) {
    thaw_dtype compute;
    bool kept;
    expect_ok(thaw_storage_precision(options, &network, &device, &compute, &kept, &err));
    assert_int_equal(compute, expected);
    assert_int_equal(kept, expected_kept);
}

/* A measured speed decides at most once: then there are features, and they do. */
static void auto_goes_by_what_is_kept(void **state) {
    (void)state;
    thaw_options options = options_of("precision", "auto");
    expect_ok(thaw_options_set(&options, "cache.dir", "wide", "test", &err));
    expect_precision(&options, THAW_BF16, false);
    keep_features(&options, THAW_F32);
    expect_precision(&options, THAW_F32, true);
    keep_features(&options, THAW_BF16);
    expect_precision(&options, THAW_BF16, true);
    expect_ok(thaw_options_set(&options, "cache.dir", "narrow", "test", &err));
    keep_features(&options, THAW_BF16);
    expect_precision(&options, THAW_BF16, true);
    expect_ok(thaw_options_set(&options, "cache.dir", "none", "test", &err));
    expect_precision(&options, THAW_BF16, false);
    expect_ok(thaw_options_set(&options, "cache.dir", "narrow", "test", &err));
    expect_ok(thaw_options_set(&options, "precision", "fp32", "test", &err));
    expect_precision(&options, THAW_F32, false);
    thaw_options_free(&options);
}

static void kept_features_outweigh_speed(void **state) {
    (void)state;
    assert_true(thaw_storage_takes_narrow(false, 120, 100));
    assert_false(thaw_storage_takes_narrow(false, 110, 100));
    assert_true(thaw_storage_takes_narrow(true, 50, 100));
}

/* fp32 kept as fp32, or rounded when it was stored; types whose layers round, on another GPU. */
static void what_another_machine_may_differ_by(void **state) {
    (void)state;
    static const thaw_kernels gpu = {.precision = name_gpu_precision};
    static const double measured = 1.2e-7; /* MobileNetV2 in fp16, kernels of two GPUs. */
    assert_true(thaw_compare_tolerance(&two_types, THAW_F32, THAW_F32) == 1e-8);
    assert_true(thaw_compare_tolerance(&two_types, THAW_F32, THAW_F16) == 1e-5);
    assert_true(thaw_compare_tolerance(&gpu, THAW_F32, THAW_F32) > 100 * measured);
    assert_true(thaw_compare_tolerance(&gpu, THAW_F16, THAW_F32) > 100 * measured);
    assert_true(thaw_compare_tolerance(&gpu, THAW_F16, THAW_F16) < 1e-3);
    assert_true(thaw_compare_tolerance(&gpu, THAW_BF16, THAW_F32) == 1e-3);
    assert_true(thaw_compare_tolerance(&two_types, THAW_BF16, THAW_F32) == 1e-3);
}

/* ---- the program ---------------------------------------------------------------------------- */

/* Whatever train computed in, explain finds it by the same options. */
static void explain_goes_by_the_rules_of_train(void **state) {
    (void)state;
    static const char *const precisions[] = {"fp32", "bf16"};
    for (int i = 0; i < 2; i++) {
        program p = {0};
        program_run(&p, TRAIN_LINE "--out=a --cache.dir=rules%d --precision=%s", i, precisions[i]);
        bool has_type = p.code == 0;
        if (!has_type) program_expect_text(&p, program_refusal(&p, 1), "no bf16 instructions");
        program_free(&p);
        if (!has_type) continue;
        program_expect_ok(&p, "cache explain --model=m.onnx --cache.dir=rules%d --precision=auto",
                          i);
        program_expect_text(&p, p.out, "these settings have a trunk in the cache");
        program_free(&p);
        program_expect_ok(&p, TRAIN_LINE "--out=b --cache.dir=rules%d --precision=auto", i);
        expect_counts(&p, ALL, 0);
        program_free(&p);
        expect_equal_files("a/model.onnx", "b/model.onnx");
    }
}

/* Multiplies the values of every record of a shard, and makes its checks right again. */
static void falsify(const char *path, double factor) {
    int fd = open(path, O_RDWR);
    thaw__shard_header header;
    thaw__record_layout layout;
    thaw__record_header h;
    assert_int_equal(pread(fd, &header, sizeof header, 0), sizeof header);
    assert_true(thaw__cache_layout(&layout, header.trunk, (int64_t)header.D, header.dtype));
    float *row = malloc(layout.payload);
    assert_non_null(row);
    for (size_t i = 0, n = thaw__cache_whole_records(fd, &layout); i < n; i++) {
        off_t at = thaw__cache_offset(&layout, i);
        assert_true(thaw__cache_read_record(fd, &layout, i, &h, row));
        for (int64_t k = 0; k < layout.D; k++)
            row[k] = (float)(row[k] * factor);
        h.payload_check = thaw__cache_payload_check(&layout, row);
        h.header_check = thaw__cache_header_check(&layout, &h);
        assert_int_equal(pwrite(fd, &h, sizeof h, at), sizeof h);
        assert_int_equal(pwrite(fd, row, layout.payload, at + (off_t)sizeof h), layout.payload);
    }
    free(row);
    close(fd);
}

/* Records whose values are other ones, under right checks: no checksum tells, the self-test does. */
static void a_cache_that_lies_is_refused(void **state) {
    (void)state;
    char shard[PATH_MAX];
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=true --cache.dir=lies");
    program_free(&p);
    assert_true(find_shard("lies", shard));
    falsify(shard, 1 + 1e-5); /* As another processor might round. */
    program_expect_ok(&p, TRAIN_LINE "--out=rounded --cache.dir=lies");
    expect_counts(&p, ALL, 0);
    program_expect_text(&p, p.err, "cache self-test: 64 random records computed anew");
    program_free(&p);
    falsify(shard, 1.001);
    program_expect_ok(&p, "cache verify --cache.dir=lies");
    program_free(&p);
    program_run(&p, TRAIN_LINE "--out=lied --cache.dir=lies");
    const char *said = program_refusal(&p, 1);
    program_expect_text(&p, said, "the cache's record for pics/");
    program_expect_text(&p, said,
                        "differs from what this program computes (NMSE 1.0e-06, 1e-08 is "
                        "allowed): remove the cache folder");
    assert_false(is_there("lied") || is_there("lied.partial"));
    program_free(&p);
}

/* Three at once: every picture is computed by one of them, and all make the same model. */
static void processes_share_the_work(void **state) {
    (void)state;
    enum { N = 3 };
    program p[N] = {{0}};
    unsigned hits, misses, computed = 0;
    for (int i = 0; i < N; i++)
        program_start(&p[i], TRAIN_LINE "--out=share%d --cache.dir=share --batch=4 --threads=1", i);
    for (int i = 0; i < N; i++) {
        program_wait(&p[i]);
        if (p[i].code) fail_msg("%s", p[i].err);
        counts_of(&p[i], &hits, &misses);
        assert_int_equal(hits + misses, ALL);
        computed += misses;
        program_free(&p[i]);
    }
    assert_int_equal(computed, ALL);
    expect_equal_files("share0/model.onnx", "share1/model.onnx");
    expect_equal_files("share0/model.onnx", "share2/model.onnx");
    program v = {0};
    program_expect_ok(&v, "cache verify --cache.dir=share");
    program_expect_text(&v, v.out, "32 records of 1 trunks");
    program_free(&v);
}

/* The cache has no room for the first batch: the trunk's side gives up while threads decode ahead; the
 * caller gets the reason, or, when it wants none, the code alone. */
static void the_pipeline_fails_as_a_whole(void **state) {
    (void)state;
    thaw_options options = options_of("model", "m.onnx");
    thaw_network opened;
    thaw_backend cpu;
    thaw_dataset dataset;
    thaw_dataset_spec folders = {.folder = {[THAW_SPLIT_TRAIN] = "pics/train"}};
    thaw_extract_options how = {.batch = 4, .compute = THAW_F32};
    expect_ok(thaw_network_open(&opened, &options, &err));
    expect_ok(thaw_backend_cpu_open(&cpu, 2, &err));
    expect_ok(thaw_dataset_open(&dataset, &folders, &err));
    thaw_cache_spec spec = {.D = opened.n_features, .dtype = THAW_F32, .memory_bytes = 1};
    thaw_error *wanted[] = {&err, NULL};
    for (int i = 0; i < 2; i++) {
        thaw_cache *cache;
        thaw_extraction x;
        expect_ok(thaw_cache_open(&cache, &spec, &err));
        assert_int_equal(thaw_extract(&opened, &dataset, &how, &cpu, cache, NULL, &x, wanted[i]),
                         THAW_ERR_IO);
        assert_int_equal(x.n_rejected, 0);
        thaw_extraction_free(&x);
        thaw_cache_close(cache);
    }
    assert_non_null(strstr(err.text, "the features need more than"));
    thaw_dataset_close(&dataset);
    thaw_backend_close(&cpu);
    thaw_network_close(&opened);
    thaw_options_free(&options);
}

static char *stream_so_far(const char *path) {
    size_t n;
    char *text = (char *)test_read(path, &n);
    text[n] = '\0';
    return text;
}

/* Waits until the running program has said this. */
static void wait_for_words(const program *p, const char *words) {
    for (;;) {
        char *text = stream_so_far(p->err_path);
        bool said = strstr(text, words) != NULL;
        free(text);
        if (said) return;
        if (waitpid(p->pid, NULL, WNOHANG) != 0) fail_msg("the program never said: %s", words);
        usleep(1000);
    }
}

/* Claims a picture in the only trunk of a cache, as a process does that is about to compute it.
 * Returns the descriptor that the claim ends with. */
static int claim_picture(const char *cache, const char *picture) {
    char path[PATH_MAX];
    size_t n;
    uint8_t *bytes = test_read(picture, &n);
    thaw_hash key = thaw_hash_bytes((thaw_hash){0}, bytes, n);
    free(bytes);
    assert_true(find_shard(cache, path));
    strcpy(strrchr(path, '/'), "/claims");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)(key.lo >> 2), .l_len = 1};
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}

/* A process that ends before it has computed what it claimed leaves it to the one that waits. */
static void the_work_of_the_dead_is_done(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p,
                      "train --data.train=pics/test --model=m.onnx --epochs=1 --out=few "
                      "--data.validation=0 --cache.dir=claimed");
    expect_counts(&p, 0, CLASSES * TEST);
    program_free(&p);
    int claim = claim_picture("claimed", "pics/train/rose/rose-0000.jpg");
    program_start(&p, TRAIN_LINE "--out=waited --cache.dir=claimed");
    wait_for_words(&p, "waiting for 1 pictures that another process computes");
    close(claim);
    program_wait(&p);
    if (p.code) fail_msg("%s", p.err);
    expect_counts(&p, CLASSES * TEST, CLASSES * TRAIN);
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=alone --cache.dir=none");
    program_free(&p);
    expect_equal_files("waited/model.onnx", "alone/model.onnx");
}

/* Nobody waits for ever for a process that was stopped. */
static void patience_ends(void **state) {
    (void)state;
    enum { N = 5 };
    size_t waiting[N] = {0, 1, 2, 3, 4}, mine[N];
    thaw_hash keys[N];
    thaw_fact fact = {"network", "x"};
    float rows[4 * N] = {0};
    thaw_cache_spec spec = {.root = "patience", .D = 4, .facts = &fact, .n_facts = 1};
    thaw_cache *cache, *other;
    expect_ok(thaw_cache_open(&cache, &spec, &err));
    expect_ok(thaw_cache_open(&other, &spec, &err));
    for (uint64_t i = 0; i < N; i++) {
        keys[i] = test_key(i);
        if (i != 3) assert_int_equal(thaw_cache_claim_record(other, keys[i]), THAW_CLAIM_MINE);
    }
    expect_ok(thaw_cache_append(other, keys, 2, rows, &err));
    thaw_others o = {.waiting = waiting, .n_waiting = N, .mine = mine};
    assert_int_equal(thaw_others_wait(&o, cache, keys, NULL, NULL), 2); /* 0 and 1 are kept. */
    assert_true(o.n_mine == 1 && mine[0] == 3 && o.n_waiting == 2 && !o.impatient);
    assert_int_equal(thaw_others_wait(&o, cache, keys, NULL, NULL), 0);
    assert_true(o.n_mine == 2 && mine[0] == 2 && mine[1] == 4 && o.n_waiting == 0 && o.impatient);
    o = (thaw_others){.waiting = waiting, .n_waiting = 1, .mine = mine, .patience_s = 1e9};
    waiting[0] = 2;
    volatile int stop = 1;
    assert_int_equal(thaw_others_wait(&o, cache, keys, &stop, NULL), 0);
    assert_true(o.n_mine == 0 && o.n_waiting == 1);
    thaw_cache_close(other);
    thaw_cache_close(cache);
}

/* Once the features are there nobody waits for a process, also not for a picture that it could not
 * read. */
static void nothing_stays_claimed(void **state) {
    (void)state;
    char claims[PATH_MAX];
    write_bytes("pics/train/rose/broken.jpg", "\xff\xd8\xff\xe0 broken", 11);
    program p = {0};
    program_start(&p,
                  TRAIN_LINE "--epochs=100000 --out=long --cache.dir=long_cache --data.max_bad=1");
    while (!is_there("long.partial/epochs.jsonl"))
        usleep(1000);
    assert_true(find_shard("long_cache", claims));
    strcpy(strrchr(claims, '/'), "/claims");
    int fd = open(claims, O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
    close(fd);
    kill(p.pid, SIGINT);
    program_wait(&p);
    program_refusal(&p, 1);
    program_expect_text(&p, p.err, "1 pictures rejected");
    program_free(&p);
    unlink("pics/train/rose/broken.jpg");
    assert_int_equal(lock.l_type, F_UNLCK);
}

static int let_all_read(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)kind, (void)walk;
    return chmod(path, info->st_mode & ~0222u);
}

static int let_owner_write(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)kind, (void)walk;
    return chmod(path, info->st_mode | 0200u);
}

static void a_warm_cache_may_be_read_only(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=warm --cache.dir=warm_cache");
    program_free(&p);
    assert_int_equal(nftw("warm_cache", let_all_read, 16, FTW_PHYS), 0);
    tempdir_folder(&place, "open");
    tempdir_check(chmod("open", 0777) == 0, "open");
    p = (program){.as_nobody = geteuid() == 0};
    program_run(&p,
                "train --data.train=pics --model=m.onnx --epochs=2 --out=open/read "
                "--cache.dir=warm_cache");
    assert_int_equal(nftw("warm_cache", let_owner_write, 16, FTW_PHYS), 0);
    if (p.code == 126 || p.code == 127) {
        print_message("SKIPPED: user %d can't run the program\n", PROGRAM_NOBODY);
        program_free(&p);
        skip();
    }
    if (p.code) fail_msg("%s", p.err);
    expect_counts(&p, ALL, 0);
    program_free(&p);
    expect_equal_files("warm/model.onnx", "open/read/model.onnx");
}

static void others_may_not_write_unless_told(void **state) {
    (void)state;
    static const char *const lines[] = {TRAIN_LINE "--out=c --cache.dir=open_cache",
                                        "cache gc --cache.dir=open_cache"};
    tempdir_folder(&place, "open_cache");
    tempdir_check(chmod("open_cache", 0777) == 0, "open_cache");
    for (int i = 0; i < 2; i++) {
        program p = {0};
        program_run(&p, "%s", lines[i]);
        const char *said = program_refusal(&p, 2);
        program_expect_text(&p, said,
                            "others may write to the cache folder open_cache (mode 0777)");
        program_expect_text(&p, said, "cache.shared = true");
        program_free(&p);
        program_expect_ok(&p, "%s --cache.shared", lines[i]);
        program_free(&p);
    }
}

/* A cut that somebody has begun with and kept nothing of hides none below it. */
static void empty_cuts_are_passed_over(void **state) {
    (void)state;
    char shard[PATH_MAX];
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE
                      "--out=begun --freeze=stage3 --top.epochs=1 "
                      "--cache.dir=emptied");
    program_free(&p);
    assert_true(find_shard("emptied", shard));
    assert_int_equal(unlink(shard), 0);
    program_expect_ok(&p, TRAIN_LINE
                      "--out=below --freeze=stage2 --top.epochs=1 "
                      "--cache.dir=emptied");
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=above --cache.dir=emptied");
    program_expect_text(&p, p.err, "were computed from what the cache has of cut 7");
    program_free(&p);
}

/* Deeper cuts go on from what is kept of shallower ones, whose damaged records are no use, and make the model
 * that pixels make. What lies there is found out. */
static void deeper_features_come_from_kept_ones(void **state) {
    (void)state;
    char shard[PATH_MAX];
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE
                      "--out=shallow --freeze=stage2 --top.epochs=1 "
                      "--cache.dir=levels");
    program_free(&p);
    assert_true(find_shard("levels", shard));
    test_flip(shard, 64 + 64 + 40, 3); /* In the first record. */
    program_expect_ok(&p, TRAIN_LINE "--out=deep --cache.dir=levels");
    expect_counts(&p, 0, ALL);
    char words[64];
    snprintf(words, sizeof words, "%d of them were computed from what the cache has of cut",
             ALL - 1);
    program_expect_text(&p, p.err, words);
    program_expect_text(&p, p.err, "the largest difference is NMSE 0.0e+00");
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=pixels --cache.dir=fresh");
    expect_counts(&p, 0, ALL);
    assert_null(strstr(p.err, "of them were computed"));
    program_free(&p);
    expect_equal_files("deep/model.onnx", "pixels/model.onnx");

    test_flip(shard, 64 + 64 + 40, 3);
    falsify(shard, 1.001);
    program_run(&p, TRAIN_LINE "--out=lied --cache.dir=levels --freeze=stage3 --top.epochs=1");
    program_expect_text(&p, program_refusal(&p, 1), "differs from what this program computes");
    program_free(&p);
}

/* A disk that the cache has filled: the next run finds what is there, and makes the same model. */
static void a_full_disk_changes_no_model(void **state) {
    (void)state;
    tempdir_folder(&place, "small");
    if (geteuid() != 0 || mount("tmpfs", "small", "tmpfs", 0, "size=16k") != 0) {
        print_message("SKIPPED: this user can't mount a small disk\n");
        skip();
    }
    program full[2] = {{0}}, roomy = {0};
    for (int i = 0; i < 2; i++)
        program_run(&full[i], TRAIN_LINE "--out=full%d --cache.dir=small/cache --batch=4", i);
    umount2("small", MNT_DETACH);
    program_expect_ok(&roomy, TRAIN_LINE "--out=roomy --cache.dir=roomy_cache");
    program_free(&roomy);
    unsigned hits = 0, misses = 0;
    for (int i = 0; i < 2; i++) {
        if (full[i].code) fail_msg("%s", full[i].err);
        program_expect_text(&full[i], full[i].err, "the disk is full");
        counts_of(&full[i], &hits, &misses);
        program_free(&full[i]);
    }
    assert_in_range(hits, 1, ALL - 1);
    assert_int_equal(hits + misses, ALL);
    expect_equal_files("full0/model.onnx", "roomy/model.onnx");
    expect_equal_files("full1/model.onnx", "roomy/model.onnx");
}

/* Names of models and folders reach the terminal as text. */
static void names_steer_no_terminal(void **state) {
    (void)state;
    program p = {0};
    copy_file("m.onnx", "m\x1b[2J\n.onnx");
    program_expect_ok(&p,
                      "train --data.train=pics --model=m\x1b[2J\n.onnx --epochs=2 --out=d "
                      "--cache.dir=ca\x1b"
                      "che");
    program_free(&p);
    static const char *const commands[] = {"ls", "verify"};
    static const size_t lines[] = {3, 2};
    for (int i = 0; i < 2; i++) {
        program_expect_ok(&p,
                          "cache %s --cache.dir=ca\x1b"
                          "che",
                          commands[i]);
        size_t n = 0;
        for (const char *c = p.out; *c; c++) {
            n += *c == '\n';
            if ((unsigned char)*c < ' ' && *c != '\n') fail_msg("cache %s: %s", commands[i], p.out);
        }
        assert_int_equal(n, lines[i]);
        program_free(&p);
    }
    program_expect_ok(&p,
                      "cache ls --cache.dir=ca\x1b"
                      "che");
    program_expect_text(&p, p.out, "m?[2J?.onnx at ");
    program_expect_text(&p, p.out, "MB in ca?che\n");
    program_free(&p);
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(TRAIN, TEST);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_share_one_budget),
        cmocka_unit_test(auto_goes_by_what_is_kept),
        cmocka_unit_test(kept_features_outweigh_speed),
        cmocka_unit_test(what_another_machine_may_differ_by),
        cmocka_unit_test(explain_goes_by_the_rules_of_train),
        cmocka_unit_test(a_cache_that_lies_is_refused),
        cmocka_unit_test(empty_cuts_are_passed_over),
        cmocka_unit_test(deeper_features_come_from_kept_ones),
        cmocka_unit_test(the_pipeline_fails_as_a_whole),
        cmocka_unit_test(processes_share_the_work),
        cmocka_unit_test(the_work_of_the_dead_is_done),
        cmocka_unit_test(patience_ends),
        cmocka_unit_test(nothing_stays_claimed),
        cmocka_unit_test(a_warm_cache_may_be_read_only),
        cmocka_unit_test(others_may_not_write_unless_told),
        cmocka_unit_test(a_full_disk_changes_no_model),
        cmocka_unit_test(names_steer_no_terminal),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
