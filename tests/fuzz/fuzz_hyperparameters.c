/* hyperparameters.json: its values are set, or a sentence says what is wrong with one. */
#include "fuzz.h"
#include "json.h"
#include "sagemaker/hyperparameters.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    json_t *json = NULL;
    thaw_options options;
    thaw_error err = {0};
    thaw_status status =
        thaw_json_parse((const char *)data, n, "hyperparameters.json", &json, &err);
    fuzz_check_status(status, &err);
    if (!json_is_object(json)) {
        json_decref(json);
        return 0;
    }
    FUZZ_CHECK(thaw_options_init(&options, &err) == THAW_OK);
    status = thaw_hyperparameters_set(json, &options, &err);
    fuzz_check_status(status, &err);
    if (status == THAW_OK) status = thaw_options_settle(&options, &err);
    fuzz_check_status(status, &err);
    thaw_options_free(&options);
    json_decref(json);
    return 0;
}
