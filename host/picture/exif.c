/* Orientation: how the camera was held, in the three ways in which files tell it. */
#include <string.h>

#include "bytes.h"
#include "decoder.h"

enum { ORIENTATION = 0x0112 };

/* The bytes of a number of this TIFF type, 0: it is none. */
static int number_bytes(unsigned type) {
    enum { SHORT = 3, LONG = 4, SIGNED_SHORT = 8, SIGNED_LONG = 9 };
    if (type == SHORT || type == SIGNED_SHORT) return 2;
    return type == LONG || type == SIGNED_LONG ? 4 : 0;
}

/* Value of the directory's entry: in its last four bytes, or where they point when there are more.
 * 0: none. */
static int entry_value(thaw_bytes tiff, thaw_bytes entry) {
    int size = number_bytes(thaw_bytes_number(&entry, 2));
    uint32_t count = thaw_bytes_number(&entry, 4);
    if (size == 0 || count == 0) return 0;
    if ((uint64_t)size * count > 4) {
        thaw_bytes_take(&tiff, thaw_bytes_number(&entry, 4));
        entry = tiff;
    }
    uint32_t value = thaw_bytes_number(&entry, size);
    thaw_bytes_take(&entry, (uint64_t)size * (count - 1));
    if (entry.ended) return 0;
    return value >= 1 && value <= 8 ? (int)value : 1;
}

int thaw__exif_orientation(const uint8_t *exif, size_t n) {
    thaw_bytes all = {.at = exif, .left = n};
    if (n >= 6 && memcmp(exif, "Exif\0", 6) == 0) thaw_bytes_take(&all, 6);
    if (all.left < 8 || (memcmp(all.at, "II", 2) != 0 && memcmp(all.at, "MM", 2) != 0)) return 0;
    all.big = all.at[0] == 'M';
    thaw_bytes directory = all;
    thaw_bytes_take(&directory, 2);
    if (thaw_bytes_number(&directory, 2) != 42) return 0;
    uint32_t offset = thaw_bytes_number(&directory, 4);
    directory = all;
    thaw_bytes_take(&directory, offset);
    for (uint32_t left = thaw_bytes_number(&directory, 2); left > 0; left--) {
        thaw_bytes entry = {.at = thaw_bytes_take(&directory, 12), .left = 12, .big = all.big};
        if (!entry.at) return 0;
        int value = thaw_bytes_number(&entry, 2) == ORIENTATION ? entry_value(all, entry) : 0;
        if (value) return value;
    }
    return 0;
}

int thaw__xmp_orientation(const uint8_t *text, size_t n) {
    static const char name[] = "tiff:Orientation";
    const size_t length = sizeof name - 1;
    const uint8_t *end = text + n, *at = text;
    while ((at = memmem(at, (size_t)(end - at), name, length)) != NULL) {
        at += length; /* It is an attribute, ="6", or an element, >6<. */
        if (end - at >= 2 && at[0] == '=' && at[1] == '"')
            at += 2;
        else if (end - at >= 1 && at[0] == '>')
            at += 1;
        else
            continue;
        if (at < end && *at >= '0' && *at <= '9') return *at >= '1' && *at <= '8' ? *at - '0' : 1;
    }
    return 0;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* An empty line, one with the kind, one with the length, then the digits in lines. */
int thaw__hex_orientation(const uint8_t *text, size_t n) {
    uint8_t exif[1 << 12]; /* The directory stands at the beginning. */
    size_t at = 0, digits = 0;
    for (int line = 0; line < 3; line++) {
        const uint8_t *end = memchr(text + at, '\n', n - at);
        if (!end) return 0;
        at = (size_t)(end - text) + 1;
    }
    for (; at < n && digits < 2 * sizeof exif; at++) {
        int value = hex_digit(text[at]);
        if (value < 0) continue;
        exif[digits / 2] = (uint8_t)(digits % 2 ? exif[digits / 2] | value : value << 4);
        digits++;
    }
    return thaw__exif_orientation(exif, digits / 2);
}
