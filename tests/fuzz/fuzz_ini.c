/* A train.ini: what is accepted is written back as an ini file that is accepted, too. */
#include "fuzz.h"
#include "options/options.h"

static void write_and_read(const thaw_options *options) {
    char *text = NULL;
    size_t size = 0;
    thaw_options again;
    thaw_error err = {0};
    FILE *out = open_memstream(&text, &size);
    FUZZ_CHECK(out);
    thaw_status status = thaw_options_write_ini(out, options, NULL, &err);
    fuzz_check_status(status, &err);
    fclose(out);
    FUZZ_CHECK(thaw_options_init(&again, &err) == THAW_OK);
    if (status == THAW_OK) {
        FUZZ_CHECK(thaw_options_parse_ini(&again, "again.ini", text, &err) == THAW_OK);
        for (size_t i = 0; i < thaw_options_count(); i++)
            FUZZ_CHECK(strcmp(options->origin[i].text, again.origin[i].text) == 0);
    }
    thaw_options_free(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char *text = fuzz_text(data, n);
    thaw_options options;
    thaw_error err = {0};
    FUZZ_CHECK(thaw_options_init(&options, &err) == THAW_OK);
    thaw_status status = thaw_options_parse_ini(&options, "train.ini", text, &err);
    fuzz_check_status(status, &err);
    if (status == THAW_OK) write_and_read(&options);
    thaw_options_free(&options);
    free(text);
    return 0;
}
