#include "fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_picture("\xff\xd8\xff", 3, data, n);
    return 0;
}
