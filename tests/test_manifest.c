/* Augmented manifests as lists: what is the class, where S3's objects lie, and a sentence for what cannot be
 * used. */
#include "dataset_testing.h"

static thaw_status open_with(const char *train, const char *root) {
    thaw_dataset_spec spec = {.root = root};
    thaw_dataset_close(&dataset);
    thaw_arena_free(&arena);
    THAW_TRY(thaw_dataset_find_splits(train, &spec, &arena, &err));
    return thaw_dataset_open(&dataset, &spec, &err);
}

static void expect_picture(size_t i, const char *path, const char *class_name) {
    char is[PATH_MAX];
    assert_in_range(i, 0, dataset.n - 1);
    thaw_dataset_path(&dataset, i, is);
    assert_string_equal(is, path);
    assert_string_equal(dataset.class_name[dataset.label[i]], class_name);
}

static void classes(void **state) {
    (void)state;
    static const char *const twice[] = {
        /* Numbers, in whatever form; the order is natural. */
        "{\"source-ref\": \"a/1.jpg\", \"class\": 10}\r\n\n"
        "{\"class\": \"2\", \"source-ref\": \"2.jpg\", \"class-metadata\": {\"confidence\": 1}}",
        /* Names. */
        "{\"source-ref\": \"a/1.jpg\", \"species\": \"wild, rose\"}\n"
        "{\"source-ref\": \"./2.jpg\", \"species\": \"lily\"}\n",
        /* As Ground Truth writes it: the metadata have the name. */
        "{\"source-ref\": \"a/1.jpg\", \"c\": 0, \"c-metadata\": {\"class-name\": \"rose\"}}\n"
        "{\"source-ref\": \"2.jpg\", \"c\": 1, \"c-metadata\": {\"class-name\": \"lily\"}}\n",
    };
    static const char *const names[][2] = {{"2", "10"}, {"lily", "wild, rose"}, {"lily", "rose"}};
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) {
        const char *file = i % 2 ? "l/m.jsonl" : "l/m.manifest";
        tempdir_file(&place, file, twice[i]);
        if (open_with(file, NULL) != THAW_OK) fail_msg("%s", err.text);
        assert_int_equal(dataset.n, 2);
        expect_picture(0, "l/2.jpg", names[i][0]);
        expect_picture(1, "l/a/1.jpg", names[i][1]);
    }
}

/* What was fetched of s3://bucket/a/b/ lies below the root in one of three ways. */
static void objects_of_s3(void **state) {
    (void)state;
    static const char *const there[][3] = {
        {"k/a/b/r/1.jpg", "k/a/b/r/1.jpg", "k/a/b/l/2.jpg"},
        {"e/b/r/1.jpg", "e/b/r/1.jpg", "e/b/l/2.jpg"},
        {"p/r/1.jpg", "p/r/1.jpg", "p/l/2.jpg"},
        {"o/other.jpg", "o/a/b/r/1.jpg", "o/a/b/l/2.jpg"}, /* Nowhere: their keys tell. */
    };
    tempdir_file(&place, "s3.manifest",
                 "{\"source-ref\": \"s3://bucket/a/b/r/1.jpg\", \"class\": \"rose\"}\n"
                 "{\"source-ref\": \"s3://bucket/a/b/l/2.jpg\", \"class\": \"lily\"}\n");
    for (int i = 0; i < 4; i++) {
        char root[] = {there[i][0][0], '\0'};
        tempdir_file(&place, there[i][0], "");
        if (open_with("s3.manifest", root) != THAW_OK) fail_msg("%s", err.text);
        expect_picture(0, there[i][2], "lily");
        expect_picture(1, there[i][1], "rose");
    }
}

static void bad_manifests(void **state) {
    (void)state;
#define ROW "{\"source-ref\": \"1\", \"class\": \"a\"}\n"
    static const struct {
        const char *text, *said;
        thaw_status code;
    } lists[] = {
        {"path,label\n", "row 1 of 'x.manifest'", THAW_ERR_FORMAT},
        {ROW "[1]\n", "row 2 of 'x.manifest' is no object", THAW_ERR_FORMAT},
        {ROW "{\"class\": \"b\"}\n", "row 2 of 'x.manifest' has no source-ref", THAW_ERR_FORMAT},
        {ROW "{\"source-ref\": 2, \"class\": \"b\"}\n", "has no source-ref", THAW_ERR_FORMAT},
        {ROW "{\"source-ref\": \"2\", \"c-metadata\": {}}\n", "has no attribute beside source-ref",
         THAW_ERR_FORMAT},
        {ROW "{\"source-ref\": \"2\", \"a\": \"b\", \"z\": 1}\n",
         "has two attributes beside source-ref, 'a' and 'z'", THAW_ERR_FORMAT},
        {ROW "{\"source-ref\": \"2\", \"class\": [0, [1]]}\n",
         "row 2 of 'x.manifest' has a label that is neither", THAW_ERR_FORMAT},
        {"{\"source-ref\": \"2\", \"c\": [0, 1], \"c-metadata\": {\"class-map\": {\"0\": "
         "\"a\"}}}\n",
         "row 1 of 'x.manifest' has a class that its class-map has no name for", THAW_ERR_FORMAT},
        {ROW "{\"source-ref\": \"2\", \"class\": null}\n", "neither a whole number nor a name",
         THAW_ERR_FORMAT},
        {ROW "{\"source-ref\": \"2\", \"class\": 1, \"class-metadata\": {\"class-name\": \"b\"}}\n",
         "row 2 of 'x.manifest' has a class-name in its metadata, unlike", THAW_ERR_FORMAT},
        {ROW "{\"source-ref\": \"s3://bucket\", \"class\": \"b\"}\n", "without a key",
         THAW_ERR_FORMAT},
        {ROW "{\"source-ref\": \"s3://bucket/../2\", \"class\": \"b\"}\n", "leads out",
         THAW_ERR_DATA},
        {ROW "{\"source-ref\": \"1\", \"class\": \"b\"}\n", "rows 1 and 2", THAW_ERR_DATA},
        {ROW, "only one class, 'a'", THAW_ERR_DATA},
        {"\n", "lists no picture", THAW_ERR_DATA},
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        tempdir_file(&place, "x.manifest", lists[i].text);
        assert_int_equal(open_with("x.manifest", NULL), lists[i].code);
        if (!strstr(err.text, lists[i].said))
            fail_msg("expected \"%s\" in\n%s", lists[i].said, err.text);
    }
}

/* The program takes one where it takes a folder. */
static void trained_and_measured(void **state) {
    (void)state;
    program p = {0};
    static const char *const classes[] = {"lily", "rose"};
    FILE *out = fopen("m.manifest", "w");
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 4; i++)
            fprintf(out,
                    "{\"source-ref\": \"s3://b/c/pics/train/%s/%s-%04d.jpg\", \"class\": %d, "
                    "\"class-metadata\": {\"class-name\": \"%s\"}}\n",
                    classes[k], classes[k], i, k, classes[k]);
    fclose(out);
    program_expect_ok(&p, "train --data.train=m.manifest --model=m.onnx --out=r --cache.dir=cache");
    program_free(&p);
    program_expect_ok(&p, "eval r m.manifest --cache.dir=cache");
    program_expect_text(&p, p.out, "on 8 pictures");
    program_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(classes, teardown),
        cmocka_unit_test_teardown(objects_of_s3, teardown),
        cmocka_unit_test_teardown(bad_manifests, teardown),
        cmocka_unit_test(trained_and_measured),
    };
    place = program_place(4, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    program_leave(&place);
    return failed;
}
