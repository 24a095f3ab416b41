#include "fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_picture(n & 1 ? "II*\0" : "MM\0*", 4, data, n);
    return 0;
}
