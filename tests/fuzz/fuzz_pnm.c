#include "fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 2) return 0;
    char magic[] = {'P', (char)('1' + data[1] % 6)};
    if (data[1] >= '1' && data[1] <= '6') magic[1] = (char)data[1];
    fuzz_picture(magic, 2, data, n);
    return 0;
}
