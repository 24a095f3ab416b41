/* PSD: the merged picture in RGB of 8 or 16 bits a channel, raw or packed (Adobe, Photoshop File
 * Formats Specification). A fourth channel is taken for alpha, as Pillow does. */
#include <string.h>

#include "bytes.h"
#include "decoder.h"

typedef struct psd_header {
    uint32_t channels, height, width, bits, mode, compression;
} psd_header;

static void read_header(thaw_bytes *b, psd_header *h) {
    thaw_bytes_take(b, 12); /* Signature, version, reserved. */
    h->channels = thaw_bytes_number(b, 2);
    h->height = thaw_bytes_number(b, 4);
    h->width = thaw_bytes_number(b, 4);
    h->bits = thaw_bytes_number(b, 2);
    h->mode = thaw_bytes_number(b, 2);
    for (int section = 0; section < 3; section++) /* Colour mode, resources, layers. */
        thaw_bytes_take(b, thaw_bytes_number(b, 4));
    h->compression = thaw_bytes_number(b, 2);
}

/* PackBits: n bytes from exactly those of `packed`; false: they are not that. */
static bool unpack(thaw_bytes packed, uint8_t *out, uint64_t n) {
    while (packed.left > 0) {
        uint32_t head = thaw_bytes_number(&packed, 1);
        if (head == 128) continue;
        uint32_t count = head < 128 ? head + 1 : 257 - head;
        const uint8_t *p = thaw_bytes_take(&packed, head < 128 ? count : 1);
        if (!p || count > n) return false;
        if (head < 128)
            memcpy(out, p, count);
        else
            memset(out, *p, count);
        out += count;
        n -= count;
    }
    return n == 0;
}

static uint64_t row_bytes(const psd_header *h) {
    return (uint64_t)h->width * h->bits / 8;
}

/* Rows of one channel after another. `lengths` stands at the table of packed rows' lengths, b
 * behind it; buffer: one row. Of 16 bits the upper eight are kept, unless the samples are deep. */
static thaw_status read_channels(thaw_decoder *d, const psd_header *h, thaw_bytes *lengths,
                                 thaw_bytes *b, uint8_t *buffer, thaw_error *err) {
    uint32_t step = h->bits / 8, kept = d->deep.channels ? step : 1; /* Bytes of a sample. */
    for (int c = 0; c < d->channels; c++) {
        for (uint32_t y = 0; y < h->height; y++) {
            uint64_t n = h->compression ? thaw_bytes_number(lengths, 2) : row_bytes(h);
            const uint8_t *row = thaw_bytes_take(b, n);
            if (!row) return thaw__picture_damaged("PSD", "it is cut off", err);
            thaw_bytes packed = {.at = row, .left = n};
            if (h->compression && !unpack(packed, buffer, row_bytes(h)))
                return thaw__picture_damaged(
                    "PSD", "a row has more or fewer pixels than the picture is wide", err);
            if (h->compression) row = buffer;
            uint8_t *out = d->deep.channels ? (uint8_t *)thaw__picture_deep_row(d, y)
                                            : thaw__picture_row(d, y);
            for (uint32_t x = 0; x < h->width; x++)
                memcpy(out + ((size_t)x * (size_t)d->channels + (size_t)c) * kept,
                       row + (size_t)x * step, kept);
        }
    }
    for (uint32_t y = 0; d->deep.channels && y < h->height; y++)
        thaw__picture_widen(d, y);
    return THAW_OK;
}

/* Whether the bytes of all rows that are read are there. */
static bool is_long_enough(const psd_header *h, int channels, thaw_bytes lengths,
                           const thaw_bytes *b) {
    uint64_t rows = (uint64_t)channels * h->height, bytes = 0;
    if (!h->compression) bytes = rows * row_bytes(h);
    for (uint64_t i = 0; h->compression && i < rows && !lengths.ended; i++)
        bytes += thaw_bytes_number(&lengths, 2);
    return !lengths.ended && bytes <= b->left;
}

thaw_status thaw__psd_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    thaw_bytes b = {.at = bytes, .left = n, .big = true};
    psd_header h;
    uint8_t row[2 * THAW__LONGEST_SIDE];
    if (n < 6 || bytes[4] != 0 || bytes[5] != 1)
        return thaw__picture_damaged("PSD", "its version is not 1", err);
    read_header(&b, &h);
    if (b.ended) return thaw__picture_damaged("PSD", "it is cut off", err);
    if (h.mode != 3 || h.channels < 3 || (h.bits != 8 && h.bits != 16) || h.compression > 1)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "PSD pictures of mode %u with %u channels of %u bits and compression %u "
                         "are not read; convert it to PNG",
                         h.mode, h.channels, h.bits, h.compression);
    thaw_picture picture = {
        .width = h.width, .height = h.height, .channels = h.channels == 4 ? 4 : 3};
    if (h.bits == 16 && thaw__picture_is_deep(d)) picture.deep_channels = picture.channels;
    THAW_TRY(thaw__picture_open(d, &picture, err));
    thaw_bytes lengths = b;
    if (h.compression) thaw_bytes_take(&b, (uint64_t)2 * h.channels * h.height);
    if (b.ended || !is_long_enough(&h, picture.channels, lengths, &b))
        return thaw__picture_damaged("PSD", "it is cut off", err);
    THAW_TRY(thaw__picture_rows(d, err));
    return read_channels(d, &h, &lengths, &b, row, err);
}
