/* A .npy file: what is read has as many numbers as its shape says. */
#include "fuzz.h"
#include "npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    thaw_arena arena = {0};
    thaw_npy npy;
    thaw_error err = {0};
    thaw_status status = thaw_npy_parse(data, n, "x.npy", &arena, &npy, &err);
    fuzz_check_status(status, &err);
    int64_t count = 1;
    for (int i = 0; status == THAW_OK && i < npy.rank; i++)
        count *= npy.dims[i];
    float sum = 0;
    for (int64_t i = 0; status == THAW_OK && i < npy.n; i++)
        sum += npy.values[i] == npy.values[i];
    FUZZ_CHECK(status != THAW_OK || (count == npy.n && sum <= (float)npy.n));
    thaw_arena_free(&arena);
    return 0;
}
