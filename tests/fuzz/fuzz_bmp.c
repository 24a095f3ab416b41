#include "fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_picture("BM", 2, data, n);
    return 0;
}
