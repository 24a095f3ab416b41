/* Bundles that somebody has changed: thaw_bundle_open refuses or opens them, and never does
 * anything else. A small run is trained here; then bundle.json is damaged in a thousand ways, on
 * purpose and at random. (That what opens scores right is tested in test_program.c and against
 * ONNX Runtime.) */
#include <jansson.h>
#include <time.h>

#include "draw.h"
#include "model/bundle.h"
#include "run/run_folder.h"
#include "run/session.h"
#include "run/train.h"
#include "tempdir.h"
#include "testing.h"

static tempdir place;
static thaw_backend backend;
static thaw_error err;

static thaw_status open_run(void) {
    thaw_bundle bundle;
    err = (thaw_error){0};
    thaw_status status = thaw_bundle_open(&bundle, "run", &backend, &err);
    thaw_bundle_close(&bundle);
    if (status == THAW_OK) return THAW_OK;
    assert_int_equal(err.code, status);
    assert_true(err.text[0] != '\0');
    return status;
}

static void write_bytes(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* ---- on purpose ------------------------------------------------------------------------------ */

static void golden_paths_stay_inside(void **state) {
    (void)state;
    static const char *const paths[] = {"/etc/passwd",
                                        "../run/golden/0.jpg",
                                        "golden/../golden/0.jpg",
                                        "..",
                                        "golden",
                                        "golden/link.jpg",
                                        "",
                                        "golden/0.jpg/",
                                        ".",
                                        "gone.jpg"};
    assert_int_equal(symlink("gone", "run/golden/link.jpg"), 0);
    size_t n;
    uint8_t *saved = test_read("run/bundle.json", &n);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        json_t *json = json_loadb((char *)saved, n, 0, NULL);
        json_t *first = json_array_get(json_object_get(json, "golden"), 0);
        json_object_set_new(first, "file", json_string(paths[i]));
        assert_int_equal(json_dump_file(json, "run/bundle.json", 0), 0);
        json_decref(json);
        if (open_run() == THAW_OK) fail_msg("a golden picture at '%s' passed", paths[i]);
    }
    write_bytes("run/bundle.json", saved, n);
    unlink("run/golden/link.jpg");
    free(saved);
    assert_int_equal(open_run(), THAW_OK);
}

/* Every value of the file, one after the other, replaced by each of these; most make no sense. */
static void every_value_may_be_nonsense(void **state) {
    (void)state;
    static const char *const nonsense[] = {"null", "[]",   "{}",   "\"\"",
                                           "-1",   "1e99", "true", "123456789012345678"};
    static const char *const needed[] = {"format", "model_hash", "labels", "preprocess", "golden"};
    size_t n;
    uint8_t *saved = test_read("run/bundle.json", &n);
    json_t *original = json_loadb((char *)saved, n, 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(original, key, value) {
        bool is_needed = false;
        for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
            is_needed |= !strcmp(needed[i], key);
        for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
            json_t *copy = json_deep_copy(original);
            json_object_set_new(copy, key, json_loads(nonsense[i], JSON_DECODE_ANY, NULL));
            json_dump_file(copy, "run/bundle.json", 0);
            json_decref(copy);
            thaw_status status = open_run();
            if (is_needed && status == THAW_OK) fail_msg("%s = %s passed", key, nonsense[i]);
        }
    }
    json_object_foreach(json_object_get(original, "preprocess"), key, value) {
        for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
            json_t *copy = json_deep_copy(original);
            json_object_set_new(json_object_get(copy, "preprocess"), key,
                                json_loads(nonsense[i], JSON_DECODE_ANY, NULL));
            json_dump_file(copy, "run/bundle.json", 0);
            json_decref(copy);
            if (open_run() == THAW_OK) fail_msg("preprocess.%s = %s passed", key, nonsense[i]);
        }
    }
    json_decref(original);
    write_bytes("run/bundle.json", saved, n);
    free(saved);
}

/* ---- at random ------------------------------------------------------------------------------- */

/* One to three changes: a bit, a byte, a piece that is gone, doubled or overwritten. */
static size_t damage(uint64_t *random, uint8_t *bytes, size_t n) {
    for (uint64_t changes = 1 + test_random(random) % 3; changes-- > 0 && n > 1;) {
        size_t at = test_random(random) % n, length = 1 + test_random(random) % 16;
        if (length > n - at) length = n - at;
        switch (test_random(random) % 5) {
            case 0:
                bytes[at] ^= (uint8_t)(1 << test_random(random) % 8);
                break;
            case 1:
                bytes[at] = (uint8_t)test_random(random);
                break;
            case 2:
                memmove(bytes + at, bytes + at + length, n - at - length);
                n -= length;
                break;
            case 3:
                memmove(bytes + at + length, bytes + at, n - at);
                n += length;
                break;
            default:
                memmove(bytes + at, bytes + test_random(random) % (n - length + 1), length);
        }
    }
    return n;
}

static void random_damage_is_survived(void **state) {
    (void)state;
    enum { TIMES = 800, ROOM = 64 };
    size_t n, passed = 0;
    uint8_t *saved = test_read("run/bundle.json", &n);
    uint8_t *bytes = malloc(n + ROOM);
    uint64_t random = 1;
    for (int i = 0; i < TIMES; i++) {
        uint64_t seed = random;
        memcpy(bytes, saved, n);
        write_bytes("run/bundle.json", bytes, damage(&random, bytes, n));
        passed += open_run() == THAW_OK;
        if (err.code == THAW_ERR_NOMEM)
            fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
    }
    /* Options, metrics and dates may change; they are for people. */
    print_message("%zu of %d damaged bundles open\n", passed, TIMES);
    assert_true(passed < TIMES);
    write_bytes("run/bundle.json", saved, n);
    free(bytes);
    free(saved);
    assert_int_equal(open_run(), THAW_OK);
}

/* With a hash that fits: whoever changes the model can compute it. */
static void a_forged_model_is_survived(void **state) {
    (void)state;
    enum { TIMES = 100, ROOM = 64 };
    size_t n, n_json;
    uint8_t *saved = test_read("run/model.onnx", &n);
    uint8_t *saved_json = test_read("run/bundle.json", &n_json);
    uint8_t *bytes = malloc(n + ROOM);
    uint64_t random = 2;
    for (int i = 0; i < TIMES; i++) {
        char hash[THAW_HASH_TEXT];
        memcpy(bytes, saved, n);
        size_t damaged = damage(&random, bytes, n);
        write_bytes("run/model.onnx", bytes, damaged);
        thaw_hash_text(thaw_hash_bytes((thaw_hash){0}, bytes, damaged), hash);
        json_t *json = json_loadb((char *)saved_json, n_json, 0, NULL);
        json_object_set_new(json, "model_hash", json_string(hash));
        json_dump_file(json, "run/bundle.json", 0);
        json_decref(json);
        open_run();
    }
    write_bytes("run/model.onnx", saved, n);
    write_bytes("run/bundle.json", saved_json, n_json);
    free(bytes);
    free(saved);
    free(saved_json);
    assert_int_equal(open_run(), THAW_OK);
}

/* ---- the folder ------------------------------------------------------------------------------ */

static void a_run_folder_is_locked_and_named(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_run_folder first = {0}, second = {0};
    const char *older;
    assert_int_equal(thaw_run_begin("deep/new//", &arena, &first, &err), THAW_OK);
    assert_string_equal(first.partial, "deep/new.partial");
    assert_int_equal(thaw_run_begin("deep/new", &arena, &second, &err), THAW_ERR_IO);
    thaw_run_abandon(&second, true); /* There is none. */
    assert_int_equal(access("deep/new.partial", F_OK), 0);
    tempdir_file(&place, "deep/new.partial/rejected.csv", "path,reason\r\n");
    tempdir_file(&place, "deep/new.partial/model.onnx.tmp7", "half");
    thaw_run_abandon(&first, true);
    assert_int_equal(access("deep/new.partial/rejected.csv", F_OK), 0);
    assert_int_equal(access("deep/new.partial/model.onnx.tmp7", F_OK), -1);
    /* A killed run's rest goes; a run that is finished frees its place. */
    assert_int_equal(thaw_run_begin("deep/new", &arena, &first, &err), THAW_OK);
    assert_int_equal(access("deep/new.partial/rejected.csv", F_OK), -1);
    tempdir_file(&place, "deep/new.partial/bundle.json", "1");
    assert_int_equal(thaw_run_finish(&first, &older, &err), THAW_OK);
    assert_int_equal(access("deep/new/bundle.json", F_OK), 0);
    assert_int_equal(thaw_run_begin("deep/new", &arena, &first, &err), THAW_OK);
    thaw_run_abandon(&first, false);
    assert_int_equal(access("deep/new/bundle.json", F_OK), 0);
    thaw_arena_free(&arena);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void set(thaw_options *options, const char *key, const char *value) {
    if (thaw_options_set(options, key, value, "test", &err) != THAW_OK) fail_msg("%s", err.text);
}

static int make_run(void **state) {
    (void)state;
    place = tempdir_make();
    tempdir_check(chdir(place.root) == 0, place.root);
    thaw_draw_options draw = {.root = "pics",
                              .set = THAW_DRAW_SET_BASE2,
                              .n_train = 4,
                              .n_test = 1,
                              .size = 32,
                              .seed = 3};
    assert_int_equal(thaw_draw_dataset(&draw, &err), THAW_OK);
    thaw_options options;
    assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
    set(&options, "model", THAW_SOURCE_DIR "/datasets/flower_or_not.onnx");
    set(&options, "data.train", "pics");
    set(&options, "out", "run");
    set(&options, "epochs", "1");
    set(&options, "threads", "1");
    set(&options, "cache.dir", "none");
    set(&options, "log", "error");
    thaw_train_summary summary;
    thaw_status status = thaw_train_run(&options, "test", &summary, &err);
    thaw_options_free(&options);
    if (status != THAW_OK) fail_msg("%s", err.text);
    return thaw_backend_open(&backend, "cpu", 1, &err);
}

static int remove_run(void **state) {
    (void)state;
    thaw_backend_close(&backend);
    tempdir_check(chdir("/") == 0, "/");
    tempdir_remove(&place);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_paths_stay_inside),
        cmocka_unit_test(every_value_may_be_nonsense),
        cmocka_unit_test(random_damage_is_survived),
        cmocka_unit_test(a_forged_model_is_survived),
        cmocka_unit_test(a_run_folder_is_locked_and_named),
    };
    return cmocka_run_group_tests(tests, make_run, remove_run);
}
