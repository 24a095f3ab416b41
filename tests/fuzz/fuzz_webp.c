#include "fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    uint8_t head[16];
    if (n < sizeof head) return 0;
    memcpy(head, data, sizeof head);
    memcpy(head, "RIFF", 4); /* The length that follows is the fuzzer's. */
    memcpy(head + 8, "WEBPVP8", 7);
    fuzz_picture((const char *)head, sizeof head, data, n);
    return 0;
}
