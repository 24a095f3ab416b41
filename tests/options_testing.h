/* Options for tests of what takes them: defaults before each test, then what it sets. */
#ifndef THAW_OPTIONS_TESTING_H
#define THAW_OPTIONS_TESTING_H

#include "options/options.h"
#include "testing.h"

static thaw_options options;

static inline int options_setup(void **state) {
    (void)state;
    return thaw_options_init(&options, NULL);
}

static inline int options_teardown(void **state) {
    (void)state;
    thaw_options_free(&options);
    return 0;
}

static inline void options_put(const char *key, const char *value) {
    thaw_error err = {0};
    if (thaw_options_set(&options, key, value, "test", &err) != THAW_OK) fail_msg("%s", err.text);
}

#define OPTIONS_TEST(f) cmocka_unit_test_setup_teardown(f, options_setup, options_teardown)

#endif
