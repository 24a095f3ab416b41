/* A JSON file beside a model: a record that can be, or a sentence. */
#include <math.h>

#include "fuzz.h"
#include "model/beside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    thaw_beside b;
    thaw_error err = {0};
    json_t *json = json_loadb((const char *)data, n, 0, NULL);
    if (!json) return 0;
    thaw_status status = thaw_beside_parse(json, "x.json", &b, &err);
    fuzz_check_status(status, &err);
    FUZZ_CHECK(status != THAW_OK || (b.fit >= -1 && b.fit <= THAW_FIT_SQUASH));
    FUZZ_CHECK(status != THAW_OK || !b.numbers || (b.std[0] > 0 && isfinite(b.mean[0])));
    json_decref(json);
    return 0;
}
