/* What the tests of data sets share: the one that is open, as options ask for it, and its pictures as texts. */
#ifndef THAW_DATASET_TESTING_H
#define THAW_DATASET_TESTING_H

#include "data/dataset.h"
#include "program.h"

static tempdir place;
static thaw_dataset dataset;
static thaw_arena arena; /* Of its spec. */
static thaw_error err;

static inline int teardown(void **state) {
    (void)state;
    thaw_dataset_close(&dataset);
    thaw_arena_free(&arena);
    return 0;
}

/* What data.train = train and perhaps one more option (key NULL: none) ask for. */
static inline thaw_status open_dataset(const char *train, const char *key, const char *value) {
    thaw_options options;
    thaw_dataset_spec spec = {0};
    teardown(NULL);
    assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
    assert_int_equal(thaw_options_set(&options, "data.train", train, "test", &err), THAW_OK);
    if (key) assert_int_equal(thaw_options_set(&options, key, value, "test", &err), THAW_OK);
    thaw_status status = thaw_dataset_spec_from_options(&options, &spec, &arena, &err);
    if (status == THAW_OK) status = thaw_dataset_open(&dataset, &spec, &err);
    thaw_options_free(&options);
    return status;
}

/* Pictures as "path class split", in order. */
static inline void expect_pictures(const char *const *pictures) {
    for (size_t i = 0; i < dataset.n; i++) {
        char path[PATH_MAX], text[PATH_MAX + 64];
        thaw_dataset_path(&dataset, i, path);
        snprintf(text, sizeof text, "%s %s %s", path, dataset.class_name[dataset.label[i]],
                 thaw_split_name(dataset.split[i]));
        assert_string_equal(text, pictures[i] ? pictures[i] : "(none)");
    }
    assert_null(pictures[dataset.n]);
}
#define EXPECT_PICTURES(...) expect_pictures((const char *const[]){__VA_ARGS__, NULL})

#endif
