/* Pictures through a trunk when something goes wrong on the way: the trunk, a thread, the decoder, the
 * source, the sink, the user. Whatever it is, the pipeline ends, says why, and counts what is done;
 * what an extraction has kept by then is kept. And what should come out in order does, and a cache
 * that lies is refused.
 *
 * The linker's --wrap lets threads and decoders fail; kernels fail by a table of their own. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "draw.h"
#include "run/compare.h"
#include "run/extract.h"
#include "run/pipeline.h"
#include "tempdir.h"
#include "testing.h"

enum { PICTURES = 40, BATCH = 4 };

static tempdir place;
static thaw_network network;
static thaw_dataset dataset;
static thaw_backend backend;
static thaw_kernels kernels; /* The backend's: a copy of the CPU's. */
static thaw_error err;

/* ---- what fails ----------------------------------------------------------------------------- */

static atomic_int threads_left, decoders_left, exports_left; /* Before they fail; below 0: never. */

/* Whether it is time to fail. */
static bool is_spent(atomic_int *left) {
    return atomic_load(left) >= 0 && atomic_fetch_sub(left, 1) <= 0 &&
           (atomic_store(left, 0), true);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *),
                          void *argument) {
    return is_spent(&threads_left) ? EAGAIN : __real_pthread_create(thread, how, run, argument);
}

thaw_status __real_thaw_decoder_create(thaw_decoder **decoder, thaw_error *why);
thaw_status __wrap_thaw_decoder_create(thaw_decoder **decoder, thaw_error *why);
thaw_status __wrap_thaw_decoder_create(thaw_decoder **decoder, thaw_error *why) {
    *decoder = NULL;
    return is_spent(&decoders_left) ? thaw_fail_memory(why, "for the test")
                                    : __real_thaw_decoder_create(decoder, why);
}

static int export_or_fail(const thaw_step *step, const thaw_run_context *context) {
    return is_spent(&exports_left) ? 77
                                   : thaw_cpu_kernels.trunk[THAW_STEP_export].run(step, context);
}

static const char *explain(int code) {
    return code == 77 ? "the test's own failure" : "another failure";
}

/* ---- a source and a sink --------------------------------------------------------------------- */

/* The dataset's pictures; every `bad`-th is no picture, picture fails_at ends it with an error, and
 * picture stops_at is to be decoded when everything is to stop. The sink checks that they come in
 * order, and stops or fails when so many have come. */
typedef struct ends {
    size_t next, bad, fails_at, stops_at;       /* 0: never. */
    size_t most;                                /* 0: nobody knows. */
    size_t come, n_bad, stop_at, sink_fails_at; /* 0: never. */
    volatile int stop;
} ends;

static thaw_status next_path(void *ctx, char path[PATH_MAX], thaw_error *why) {
    ends *e = ctx;
    size_t i = e->next++;
    path[0] = '\0';
    if (e->fails_at && i == e->fails_at) return thaw_fail(why, THAW_ERR_IO, "the source is dry");
    if (e->stops_at && i == e->stops_at) e->stop = 1;
    if (i >= dataset.n) return THAW_OK;
    if (e->bad && i % e->bad == 0)
        snprintf(path, PATH_MAX, "no-picture-%zu", i);
    else
        thaw_dataset_path(&dataset, i, path);
    return THAW_OK;
}

static thaw_status take(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                        thaw_error *why) {
    ends *e = ctx;
    for (size_t k = 0; k < n; k++, e->come++) {
        bool bad = e->bad && e->come % e->bad == 0;
        assert_int_equal(pictures[k].i, e->come);
        assert_int_equal(pictures[k].problem != NULL, bad);
        e->n_bad += bad;
        if (!bad) assert_true(isfinite(features[k * (size_t)network.n_features]));
    }
    if (e->stop_at && e->come >= e->stop_at) e->stop = 1;
    if (e->sink_fails_at && e->come >= e->sink_fails_at)
        return thaw_fail(why, THAW_ERR_IO, "the sink is full");
    return THAW_OK;
}

static thaw_status run(ends *e, thaw_pipeline_result *result) {
    thaw_pipeline pipeline = {
        .network = &network,
        .backend = &backend,
        .batch = BATCH,
        .compute = THAW_F32,
        .source = {.next = next_path, .ctx = e, .most = e->most ? e->most : SIZE_MAX},
        .sink = {take, e},
        .stop = &e->stop};
    err = (thaw_error){0};
    return thaw_pipeline_run(&pipeline, result, &err);
}

static void expect_words(const char *words) {
    if (!strstr(err.text, words)) fail_msg("\"%s\" lacks \"%s\"", err.text, words);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void all_come_in_order(void **state) {
    (void)state;
    for (size_t bad = 0; bad <= 3; bad++) {
        ends e = {.bad = bad};
        thaw_pipeline_result result;
        if (run(&e, &result) != THAW_OK) fail_msg("%s", err.text);
        assert_int_equal(e.come, PICTURES);
        assert_int_equal(result.n, PICTURES);
        assert_int_equal(result.n_bad, e.n_bad);
        assert_int_equal(result.n_skipped, 0);
    }
    ends none = {.next = PICTURES};
    thaw_pipeline_result result;
    assert_int_equal(run(&none, &result), THAW_OK);
    assert_int_equal(result.n, 0);
}

static void a_trunk_that_fails_ends_it(void **state) {
    (void)state;
    for (int runs = 0; runs <= PICTURES; runs += 7) {
        ends e = {0};
        thaw_pipeline_result result;
        atomic_store(&exports_left, runs);
        thaw_status status = run(&e, &result);
        atomic_store(&exports_left, -1);
        if (status == THAW_OK) {
            assert_int_equal(e.come, PICTURES); /* A run takes several pictures. */
            assert_true(runs > 1);
            continue;
        }
        assert_int_equal(status, THAW_ERR_BACKEND);
        assert_int_equal(err.code, status);
        expect_words("the test's own failure");
        assert_int_equal(result.n, e.come);
        assert_true(e.come < PICTURES && e.come % BATCH == 0);
    }
}

static void threads_that_do_not_start_are_done_without(void **state) {
    (void)state;
    thaw_pipeline_result result;
    ends none = {0}, one = {0};
    atomic_store(&threads_left, 0);
    assert_int_equal(run(&none, &result), THAW_ERR_SYSTEM);
    expect_words("no thread can be started to decode pictures: Resource temporarily unavailable");
    assert_int_equal(none.next, 0);
    atomic_store(&threads_left, 1);
    if (run(&one, &result) != THAW_OK) fail_msg("%s", err.text);
    assert_int_equal(one.come, PICTURES);
    atomic_store(&threads_left, -1);
}

static void a_decoder_that_cannot_be_made_ends_it(void **state) {
    (void)state;
    for (int made = 0; made < backend.threads; made++) {
        thaw_pipeline_result result;
        ends e = {0};
        atomic_store(&decoders_left, made);
        assert_int_equal(run(&e, &result), THAW_ERR_NOMEM);
        expect_words("not enough memory for the test");
    }
    atomic_store(&decoders_left, -1);
}

static void a_source_or_a_sink_that_fails_ends_it(void **state) {
    (void)state;
    thaw_pipeline_result result;
    ends dry = {.fails_at = 17}, full = {.sink_fails_at = 13};
    assert_int_equal(run(&dry, &result), THAW_ERR_IO);
    expect_words("the source is dry");
    assert_int_equal(run(&full, &result), THAW_ERR_IO);
    expect_words("the sink is full");
    assert_int_equal(full.come, 16);
    assert_int_equal(result.n, 12); /* What the sink refused is not done. */
}

static void a_stop_is_heard(void **state) {
    (void)state;
    thaw_pipeline_result result;
    ends before = {.stop = 1}, amid = {.stop_at = 9},
         last = {.stop_at = PICTURES, .most = PICTURES};
    ends decoding = {.stops_at = 3};
    assert_int_equal(run(&before, &result), THAW_ERR_INTERRUPTED);
    assert_int_equal(before.come, 0);
    assert_int_equal(run(&amid, &result), THAW_ERR_INTERRUPTED);
    expect_words("stopped by a signal after 12 pictures");
    assert_int_equal(amid.come, 12);
    assert_int_equal(result.n, 12);
    assert_int_equal(run(&decoding, &result), THAW_ERR_INTERRUPTED);
    expect_words("stopped by a signal after 0 pictures");
    assert_int_equal(run(&last, &result), THAW_OK); /* There was nothing left to stop. */
    assert_int_equal(last.come, PICTURES);
}

/* ---- with a cache ---------------------------------------------------------------------------- */

static thaw_cache *open_cache(void) {
    thaw_cache *cache;
    thaw_cache_spec spec = {.D = network.n_features, .dtype = THAW_F32};
    if (thaw_cache_open(&cache, &spec, &err) != THAW_OK) fail_msg("%s", err.text);
    return cache;
}

static thaw_status extract(thaw_cache *cache, thaw_extraction *extraction,
                           const volatile int *stop) {
    thaw_extract_options options = {.batch = BATCH, .compute = THAW_F32, .stop = stop};
    err = (thaw_error){0};
    return thaw_extract(&network, &dataset, &options, &backend, cache, NULL, extraction, &err);
}

static void what_was_computed_is_kept(void **state) {
    (void)state;
    thaw_cache *cache = open_cache();
    thaw_extraction x;
    atomic_store(&exports_left, 3);
    assert_int_equal(extract(cache, &x, NULL), THAW_ERR_BACKEND);
    atomic_store(&exports_left, -1);
    size_t kept = x.misses;
    assert_int_equal(thaw_cache_measure(cache).records, kept);
    thaw_extraction_free(&x);
    volatile int stop = 1;
    assert_int_equal(extract(cache, &x, &stop), THAW_ERR_INTERRUPTED);
    expect_words("of 40 pictures; what was computed is in the cache");
    thaw_extraction_free(&x);
    if (extract(cache, &x, NULL) != THAW_OK) fail_msg("%s", err.text);
    assert_int_equal(x.hits, kept);
    assert_int_equal(x.hits + x.misses, PICTURES);
    assert_int_equal(thaw_cache_measure(cache).records, PICTURES);
    thaw_extraction_free(&x);
    thaw_cache_close(cache);
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* Pictures among others that are none get their own features, not a neighbour's. */
static void bad_pictures_shift_nothing(void **state) {
    (void)state;
    thaw_cache *truth = open_cache(), *cache = open_cache();
    thaw_extraction all, some;
    if (extract(truth, &all, NULL) != THAW_OK) fail_msg("%s", err.text);
    thaw_dataset good = dataset;
    for (int i = 0; i < PICTURES / 8; i++) {
        char path[64];
        snprintf(path, sizeof path, "pics/train/rose/rose-%04d-bad.jpg", i);
        write_file(path, "no picture");
    }
    thaw_dataset_spec spec = {.folder = {"pics/train"}};
    assert_int_equal(thaw_dataset_open(&dataset, &spec, &err), THAW_OK);
    thaw_extract_options options = {
        .batch = BATCH, .compute = THAW_F32, .max_bad = {.number = PICTURES}};
    if (thaw_extract(&network, &dataset, &options, &backend, cache, NULL, &some, &err) != THAW_OK)
        fail_msg("%s", err.text);
    assert_int_equal(some.n_rejected, PICTURES / 8);
    assert_int_equal(some.misses, PICTURES);
    float a[4096], b[4096];
    for (size_t i = 0; i < all.n; i++) {
        assert_int_equal(thaw_cache_read(truth, all.keys[i], a, &err), THAW_OK);
        assert_int_equal(thaw_cache_read(cache, all.keys[i], b, &err), THAW_OK);
        assert_memory_equal(a, b, (size_t)network.n_features * sizeof *a);
    }
    for (int i = 0; i < PICTURES / 8; i++) {
        char path[64];
        snprintf(path, sizeof path, "pics/train/rose/rose-%04d-bad.jpg", i);
        unlink(path);
    }
    thaw_dataset_close(&dataset);
    dataset = good;
    thaw_extraction_free(&all);
    thaw_extraction_free(&some);
    thaw_cache_close(truth);
    thaw_cache_close(cache);
}

/* Nobody waits for features of a file that turned out to hold no picture. */
static void a_bad_picture_is_claimed_no_longer(void **state) {
    (void)state;
    thaw_cache_spec spec = {.root = "shared", .D = network.n_features, .dtype = THAW_F32};
    thaw_cache *mine, *others;
    thaw_extraction x;
    thaw_dataset good = dataset;
    write_file("pics/train/rose/bad.jpg", "no picture");
    thaw_dataset_spec folder = {.folder = {"pics/train"}};
    assert_int_equal(thaw_dataset_open(&dataset, &folder, &err), THAW_OK);
    if (thaw_cache_open(&mine, &spec, &err) != THAW_OK ||
        thaw_cache_open(&others, &spec, &err) != THAW_OK)
        fail_msg("%s", err.text);
    thaw_extract_options options = {.batch = BATCH, .compute = THAW_F32, .max_bad = {.number = 1}};
    if (thaw_extract(&network, &dataset, &options, &backend, mine, NULL, &x, &err) != THAW_OK)
        fail_msg("%s", err.text);
    thaw_hash hash = thaw_hash_bytes((thaw_hash){0}, "no picture", 10);
    assert_int_equal(thaw_cache_claim_record(others, hash), THAW_CLAIM_MINE);
    thaw_extraction_free(&x);
    thaw_cache_close(mine);
    thaw_cache_close(others);
    unlink("pics/train/rose/bad.jpg");
    thaw_dataset_close(&dataset);
    dataset = good;
}

/* Fills a cache with records of all pictures that are off by a factor. */
static void fill_with_lies(thaw_cache *lies, thaw_cache *truth, const thaw_extraction *x,
                           float factor) {
    float row[4096];
    assert_in_range(network.n_features, 1, 4096);
    for (size_t i = 0; i < x->n; i++) {
        assert_int_equal(thaw_cache_read(truth, x->keys[i], row, &err), THAW_OK);
        for (int64_t d = 0; d < network.n_features; d++)
            row[d] *= factor;
        assert_int_equal(thaw_cache_append(lies, &x->keys[i], 1, row, &err), THAW_OK);
    }
}

static const char *call_it_tf32(thaw_dtype dtype) {
    (void)dtype;
    return "tf32";
}

/* A record's NMSE is the square of how far its factor is from 1. */
static void a_cache_that_lies_is_refused(void **state) {
    (void)state;
    static const struct {
        float factor;
        bool tf32;
        thaw_dtype stored;
        thaw_status status;
    } cases[] = {
        {1, false, THAW_F32, THAW_OK},
        {1.01f, false, THAW_F32, THAW_ERR_MISMATCH},
        {1.001f, false, THAW_F32, THAW_ERR_MISMATCH},
        {1.001f, false, THAW_F16, THAW_OK}, /* As rounding may. */
        {1.001f, true, THAW_F32, THAW_OK},  /* As another GPU, or other kernels of it, may. */
        {1.02f, true, THAW_F32, THAW_ERR_MISMATCH},
        {NAN, false, THAW_F32, THAW_ERR_MISMATCH},
    };
    thaw_cache *truth = open_cache();
    thaw_extraction x;
    if (extract(truth, &x, NULL) != THAW_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thaw_cache *cache = open_cache();
        thaw_cache_test test;
        thaw_way way = {&backend, THAW_F32, BATCH};
        fill_with_lies(cache, truth, &x, cases[i].factor);
        if (cases[i].tf32) kernels.precision = call_it_tf32;
        err = (thaw_error){0};
        thaw_status status = thaw_compare_cache(&network, &dataset, &x, &way, cache,
                                                cases[i].stored, 16, &test, &err);
        kernels.precision = thaw_cpu_kernels.precision;
        if (status != cases[i].status) fail_msg("case %zu: %d, %s", i, status, err.text);
        if (status != THAW_OK) expect_words("remove the cache folder, or choose another");
        assert_true(test.n > 0);
        thaw_cache_close(cache);
    }
    thaw_extraction_free(&x);
    thaw_cache_close(truth);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static int set_up(void **state) {
    (void)state;
    atomic_store(&threads_left, -1);
    atomic_store(&decoders_left, -1);
    atomic_store(&exports_left, -1);
    place = tempdir_make();
    tempdir_check(chdir(place.root) == 0, place.root);
    thaw_draw_options draw = {.root = "pics",
                              .set = THAW_DRAW_SET_DEMO8,
                              .n_train = PICTURES / 8,
                              .n_test = 1,
                              .size = 32,
                              .seed = 3};
    thaw_options options;
    thaw_dataset_spec spec = {.folder = {"pics/train"}};
    if (thaw_draw_dataset(&draw, &err) != THAW_OK || thaw_options_init(&options, &err) != THAW_OK ||
        thaw_options_set(&options, "model", THAW_SOURCE_DIR "/datasets/flower_or_not.onnx", "test",
                         &err) != THAW_OK ||
        thaw_network_open(&network, &options, &err) != THAW_OK ||
        thaw_dataset_open(&dataset, &spec, &err) != THAW_OK ||
        thaw_backend_cpu_open(&backend, 3, &err) != THAW_OK)
        fail_msg("%s", err.text);
    thaw_options_free(&options);
    kernels = *backend.kernels;
    kernels.trunk[THAW_STEP_export].run = export_or_fail;
    kernels.explain = explain;
    backend.kernels = &kernels;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    thaw_backend_close(&backend);
    thaw_dataset_close(&dataset);
    thaw_network_close(&network);
    tempdir_check(chdir("/") == 0, "/");
    tempdir_remove(&place);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_come_in_order),
        cmocka_unit_test(a_trunk_that_fails_ends_it),
        cmocka_unit_test(threads_that_do_not_start_are_done_without),
        cmocka_unit_test(a_decoder_that_cannot_be_made_ends_it),
        cmocka_unit_test(a_source_or_a_sink_that_fails_ends_it),
        cmocka_unit_test(a_stop_is_heard),
        cmocka_unit_test(what_was_computed_is_kept),
        cmocka_unit_test(bad_pictures_shift_nothing),
        cmocka_unit_test(a_bad_picture_is_claimed_no_longer),
        cmocka_unit_test(a_cache_that_lies_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
