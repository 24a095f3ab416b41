/* The same bytes on both sides of a split or in two classes, and classes that are much rarer than
 * others: counted, named, said once, and not seen where they are not. */
#include <limits.h>
#include <stdarg.h>

#include "data/lint.h"
#include "testing.h"

enum { CLASSES = 3 };

/* A dataset with a row for each picture: class, split, and a letter for its bytes; '!' is unread. */
typedef struct picture {
    uint32_t label;
    uint8_t split;
    char bytes;
} picture;

static thaw_arena arena;
static thaw_error err;
static char *said;

static int teardown(void **state) {
    (void)state;
    thaw_arena_free(&arena);
    free(said);
    said = NULL;
    return 0;
}

/* Looks at n pictures called after their places, and keeps what is said of them. */
static thaw_lint look(const picture *pictures, size_t n, bool weighted) {
    static const char *const classes[CLASSES] = {"aster", "lily", "rose"};
    thaw_dataset *d = thaw_arena_alloc(&arena, sizeof *d);
    uint32_t *label = thaw_arena_array(&arena, n, sizeof *label);
    uint8_t *split = thaw_arena_array(&arena, n, sizeof *split);
    const char **name = thaw_arena_array(&arena, n, sizeof *name);
    thaw_hash *keys = thaw_arena_array(&arena, n, sizeof *keys);
    bool *rejected = thaw_arena_array(&arena, n, sizeof *rejected);
    for (size_t i = 0; i < n; i++) {
        label[i] = pictures[i].label;
        split[i] = pictures[i].split;
        name[i] = thaw_arena_printf(&arena, "%zu", i);
        rejected[i] = pictures[i].bytes == '!';
        if (!rejected[i]) keys[i] = thaw_hash_bytes((thaw_hash){0}, &pictures[i].bytes, 1);
    }
    *d = (thaw_dataset){.n = n, .n_classes = CLASSES, .class_name = classes};
    d->label = label;
    d->split = d->source = split;
    d->name = name;
    d->folder[THAW_SPLIT_TRAIN] = "train";
    d->folder[THAW_SPLIT_VALIDATION] = "val";
    d->folder[THAW_SPLIT_TEST] = "test";
    thaw_lint lint;
    assert_int_equal(thaw_lint_look(&lint, d, keys, rejected, &arena, &err), THAW_OK);
    size_t bytes;
    free(said);
    FILE *out = open_memstream(&said, &bytes);
    thaw_log log;
    thaw_log_open(&log, out, THAW_LOG_INFO);
    thaw_lint_say(&lint, weighted, &log);
    thaw_log_close(&log);
    fclose(out);
    return lint;
}
#define LOOK(pictures) look(pictures, sizeof(pictures) / sizeof *(pictures), false)

enum { TRAIN = THAW_SPLIT_TRAIN, VAL = THAW_SPLIT_VALIDATION, TEST = THAW_SPLIT_TEST };

static void expect_pair(const thaw_lint *lint, size_t i, size_t one, size_t other) {
    assert_true(i < lint->n_twins);
    assert_int_equal(lint->twins[i].one, one);
    assert_int_equal(lint->twins[i].other, other);
}

static void nothing(void **state) {
    (void)state;
    /* Twice in one class of one split does no harm; what was not read has no bytes. */
    static const picture pictures[] = {{0, TRAIN, 'a'}, {0, TRAIN, 'a'}, {1, TRAIN, 'b'},
                                       {2, TRAIN, 'c'}, {0, TEST, '!'},  {1, TRAIN, '!'},
                                       {1, VAL, 'd'},   {1, VAL, 'd'}};
    thaw_lint lint = LOOK(pictures);
    assert_int_equal(lint.n_twins, 0);
    assert_string_equal(said, "");
    thaw_json json = thaw_json_begin();
    thaw_lint_json(&lint, &json, json.root);
    assert_null(json_object_get(json.root, "duplicates"));
    thaw_json_free(&json);
}

static void two_splits(void **state) {
    (void)state;
    static const picture pictures[] = {{0, TRAIN, 'a'}, {1, TRAIN, 'b'}, {2, TRAIN, 'c'},
                                       {0, VAL, 'x'},   {0, VAL, 'a'},   {0, TEST, 'a'},
                                       {0, TEST, 'x'},  {1, TEST, 'y'}};
    thaw_lint lint = LOOK(pictures);
    assert_int_equal(lint.n_across_splits, 3);
    assert_int_equal(lint.n_across_classes, 0);
    assert_int_equal(lint.n_twins, 3);
    expect_pair(&lint, 0, 0, 4);
    expect_pair(&lint, 1, 0, 5);
    expect_pair(&lint, 2, 3, 6);
    assert_string_equal(
        said,
        "warning: pictures of the validation or the test with the same bytes as one of another "
        "split: 3, so that what is measured on them is too good; 'train/aster/0' and "
        "'val/aster/4' are one picture\n");
}

static void two_classes(void **state) {
    (void)state;
    static const picture pictures[] = {{0, TRAIN, 'a'}, {0, TRAIN, 'b'}, {1, TRAIN, 'b'},
                                       {1, TRAIN, 'b'}, {2, TRAIN, 'c'}, {2, TEST, 'a'}};
    thaw_lint lint = LOOK(pictures);
    assert_int_equal(lint.n_across_splits, 1);
    assert_int_equal(lint.n_across_classes, 5);
    assert_int_equal(lint.n_twins, 5);
    assert_non_null(strstr(said, "same bytes as one of another split: 1, so that"));
    assert_non_null(strstr(said, "'train/aster/0' and 'test/rose/5' are one picture\n"));
    assert_non_null(strstr(said,
                           "warning: pictures with the same bytes as one of another class: 5, "
                           "so that one label is wrong; '"));
    thaw_json json = thaw_json_begin();
    thaw_lint_json(&lint, &json, json.root);
    const json_t *found = json_object_get(json.root, "duplicates");
    assert_int_equal(json_integer_value(json_object_get(found, "across_splits")), 1);
    assert_int_equal(json_integer_value(json_object_get(found, "across_classes")), 5);
    const json_t *pairs = json_object_get(found, "pairs"), *pair = json_array_get(pairs, 4);
    assert_int_equal(json_array_size(pairs), 5);
    assert_string_equal(json_string_value(json_array_get(pair, 0)), "train/aster/0");
    assert_string_equal(json_string_value(json_array_get(pair, 1)), "test/rose/5");
    thaw_json_free(&json);
}

/* One placeholder in the place of everything: the pairs are as many as the pictures, not their
 * square. */
static void all_the_same(void **state) {
    (void)state;
    enum { N = 30000 };
    picture *pictures = calloc(N, sizeof *pictures);
    for (size_t i = 0; i < N; i++)
        pictures[i] = (picture){(uint32_t)(i % CLASSES), i < N / 2 ? TRAIN : TEST, 'a'};
    thaw_lint lint = look(pictures, N, false);
    assert_int_equal(lint.n_across_splits, N / 2);
    assert_int_equal(lint.n_across_classes, N);
    assert_int_equal(lint.n_twins, N);
    for (size_t i = 0; i < N; i++)
        assert_true(lint.twins[i].one < lint.twins[i].other);
    thaw_json json = thaw_json_begin();
    thaw_lint_json(&lint, &json, json.root);
    const json_t *found = json_object_get(json.root, "duplicates");
    assert_int_equal(json_array_size(json_object_get(found, "pairs")), 1000);
    thaw_json_free(&json);
    free(pictures);
}

static void rare_classes(void **state) {
    (void)state;
    static picture pictures[40];
    for (size_t i = 0; i < 40; i++)
        pictures[i] = (picture){i < 6 ? 0 : i < 10 ? 2 : 1, TRAIN, (char)('A' + i)};
    LOOK(pictures);
    assert_string_equal(said,
                        "warning: class 'lily' has 30 pictures to learn from, class 'rose' has 4: "
                        "head.class_weights = balanced keeps rare classes from being forgotten\n");
    look(pictures, 40, true);
    assert_string_equal(said, "");
    for (size_t i = 10; i < 22; i++)
        pictures[i].split = TEST; /* 18 against 4. */
    LOOK(pictures);
    assert_string_equal(said, "");
}

int main(void) {
#define TEST_OF(f) cmocka_unit_test_teardown(f, teardown)
    const struct CMUnitTest tests[] = {TEST_OF(nothing), TEST_OF(two_splits), TEST_OF(two_classes),
                                       TEST_OF(all_the_same), TEST_OF(rare_classes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
