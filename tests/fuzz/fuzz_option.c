/* The text of one option, as from the command line: the first line is the key, the rest the value.
 * A refused one leaves the options as they were. */
#include "fuzz.h"
#include "options/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char *key = fuzz_text(data, n), *value = strchr(key, '\n');
    thaw_options options;
    thaw_error err = {0};
    FUZZ_CHECK(thaw_options_init(&options, &err) == THAW_OK);
    if (value) *value++ = '\0';
    thaw_status status = thaw_options_set(&options, key, value ? value : "", "command line", &err);
    fuzz_check_status(status, &err);
    for (size_t i = 0; status != THAW_OK && i < thaw_options_count(); i++)
        FUZZ_CHECK(strcmp(options.origin[i].source, "default") == 0);
    thaw_options_free(&options);
    free(key);
    return 0;
}
