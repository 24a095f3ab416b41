#include "fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_picture("GIF89a", 6, data, n);
    return 0;
}
