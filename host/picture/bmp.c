/* BMP: uncompressed, with a palette of 1, 4 or 8 bits, or colours of 16, 24 or 32 bits, whose bits
 * may be told by masks; rows from below, or from above when the height is negative. */
#include <string.h>

#include "bytes.h"
#include "decoder.h"

enum {
    FILE_HEADER = 14,
    OS2_HEADER = 12, /* This and the next: of these many bytes. */
    WINDOWS_HEADER = 40,
    ALPHA_HEADER = 56,    /* From here on there is a mask for alpha. */
    MOST_COLOURS = 65536, /* Of which some files declare more than a pixel can name. */
};

typedef struct bmp_header {
    uint32_t size;         /* Of itself. */
    uint64_t file_bytes;   /* As it says; often 0. */
    uint64_t pixels_at;    /* 0: behind header and palette. */
    int64_t width, height; /* Height as it is shown. */
    bool from_above;
    uint32_t bits, compression, colours;
    uint32_t masks[4]; /* Red, green, blue, alpha. */
} bmp_header;

/* Masks where the file has none: five bits a colour in 16, eight in 24 and 32. */
static void usual_masks(bmp_header *h, bool alpha) {
    static const uint32_t five[4] = {0x7c00, 0x3e0, 0x1f, 0};
    static const uint32_t eight[4] = {0xff0000, 0xff00, 0xff, 0};
    memcpy(h->masks, h->bits == 16 ? five : eight, sizeof h->masks);
    if (alpha) h->masks[3] = 0xff000000;
}

/* The masks stand in a long header, or behind one of 40 bytes. */
static void read_masks(thaw_bytes *b, bmp_header *h) {
    bool any = false;
    for (int i = 0; i < (h->size >= ALPHA_HEADER ? 4 : 3); i++) {
        h->masks[i] = thaw_bytes_number(b, 4);
        any |= h->masks[i] != 0;
    }
    if (!any && h->bits == 32) usual_masks(h, true);
}

/* False: it is not a header that is known. */
static bool read_header(thaw_bytes *b, bmp_header *h) {
    *h = (bmp_header){0};
    thaw_bytes_take(b, 2);
    h->file_bytes = thaw_bytes_number(b, 4);
    thaw_bytes_take(b, 4);
    h->pixels_at = thaw_bytes_number(b, 4);
    h->size = thaw_bytes_number(b, 4);
    thaw_bytes rest = *b; /* What follows the header. */
    if (h->size < 4 || !thaw_bytes_take(&rest, h->size - 4)) return false;
    int number = h->size == OS2_HEADER ? 2 : 4;
    h->width = thaw_bytes_number(b, number);
    h->height = thaw_bytes_number(b, number);
    thaw_bytes_number(b, 2); /* Planes: some write 1, some 0. */
    h->bits = thaw_bytes_number(b, 2);
    if (h->size == OS2_HEADER) {
        usual_masks(h, false);
        *b = rest;
        return true;
    }
    h->height = (int32_t)h->height;
    h->from_above = h->height < 0;
    if (h->from_above) h->height = -h->height;
    h->compression = thaw_bytes_number(b, 4);
    thaw_bytes_take(b, 12); /* Size, resolution. */
    h->colours = thaw_bytes_number(b, 4);
    thaw_bytes_take(b, 4); /* How many of them matter. */
    if (h->compression == 3)
        read_masks(b, h);
    else
        usual_masks(h, false);
    if (h->size != WINDOWS_HEADER) *b = rest;
    return h->size >= WINDOWS_HEADER;
}

static uint64_t row_bytes(const bmp_header *h) {
    return ((uint64_t)h->width * h->bits + 31) / 32 * 4;
}

/* ---- colours ------------------------------------------------------------------------------- */

/* b stands behind the header. Fills palette[256] with RGB; returns how many of them there are. */
static uint32_t read_palette(thaw_bytes *b, bmp_header *h, uint8_t (*palette)[3]) {
    uint64_t n = h->colours ? h->colours : 1u << h->bits, entry = h->size == OS2_HEADER ? 3 : 4;
    uint64_t at = FILE_HEADER + h->size;
    /* Some forget the palette when they say where the pixels are: they stand behind it. */
    if (h->pixels_at == 0 || h->pixels_at == at) h->pixels_at = at + n * entry;
    /* One that would lie over the pixels ends before them. */
    uint64_t room = h->pixels_at < at ? 0 : (h->pixels_at - at) / entry;
    if (n > room) n = room;
    if (n > 1u << h->bits) n = 1u << h->bits;
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *bgr = thaw_bytes_take(b, entry);
        if (!bgr) return 0;
        for (int c = 0; c < 3; c++)
            palette[i][c] = bgr[2 - c];
    }
    return (uint32_t)n;
}

/* False: a pixel has a colour that the palette lacks. */
static bool put_palette_row(const bmp_header *h, const uint8_t *p, uint8_t (*palette)[3],
                            uint32_t n_colours, uint8_t *out) {
    uint32_t per_byte = 8 / h->bits, mask = (1u << h->bits) - 1;
    for (uint32_t x = 0; x < h->width; x++) {
        uint32_t shift = 8 - h->bits * (x % per_byte + 1);
        uint32_t colour = p[x / per_byte] >> shift & mask;
        if (colour >= n_colours) return false;
        memcpy(out + 3 * x, palette[colour], 3);
    }
    return true;
}

/* A mask is a run of at most 16 bits within the pixel; those of the colours are not empty. */
static bool are_masks(const bmp_header *h) {
    uint32_t all = 0;
    for (int c = 0; c < 4; c++) {
        uint32_t m = h->masks[c], run = m ? m >> __builtin_ctz(m) : 0;
        if ((!m && c < 3) || (run & (run + 1)) || run > 0xffff || (all & m)) return false;
        all |= m;
    }
    return h->bits == 32 || all >> h->bits == 0;
}

static void put_masked_row(const bmp_header *h, const uint8_t *p, int channels, uint8_t *out) {
    uint32_t shift[4] = {0}, most[4] = {1, 1, 1, 1}, bytes = h->bits / 8;
    for (int c = 0; c < channels; c++) {
        shift[c] = (uint32_t)__builtin_ctz(h->masks[c]);
        most[c] = h->masks[c] >> shift[c];
    }
    for (int64_t x = 0; x < h->width; x++, p += bytes) {
        uint32_t pixel = 0;
        for (uint32_t i = 0; i < bytes; i++)
            pixel |= (uint32_t)p[i] << 8 * i;
        for (int c = 0; c < channels; c++) {
            uint32_t v = pixel >> shift[c] & most[c];
            *out++ = (uint8_t)(most[c] == 255 ? v : v * 255 / most[c]);
        }
    }
}

/* ---- the whole ----------------------------------------------------------------------------- */

static thaw_status check_kind(const bmp_header *h, thaw_error *err) {
    bool palette = h->bits == 1 || h->bits == 4 || h->bits == 8;
    bool colour = h->bits == 16 || h->bits == 24 || h->bits == 32;
    bool known = h->compression == 0 || (h->compression == 3 && colour && h->size != 64);
    if (!known || (!palette && !colour))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "BMP pictures of %u bits with compression %u are not read; convert it to "
                         "PNG",
                         h->bits, h->compression);
    if (palette && h->colours > MOST_COLOURS)
        return thaw__picture_damaged("BMP", "its palette is too large", err);
    if (colour && !are_masks(h))
        return thaw__picture_damaged("BMP", "its colour masks make no sense", err);
    return THAW_OK;
}

thaw_status thaw__bmp_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    thaw_bytes b = {.at = bytes, .left = n};
    bmp_header h;
    uint8_t palette[256][3];
    uint32_t n_colours = 0;
    if (!read_header(&b, &h))
        return thaw__picture_damaged("BMP", "its header is cut off or unknown", err);
    THAW_TRY(check_kind(&h, err));
    if (h.bits <= 8) n_colours = read_palette(&b, &h, palette);
    if (h.pixels_at == 0) h.pixels_at = n - b.left;
    thaw_picture picture = {
        .width = h.width, .height = h.height, .channels = h.bits > 8 && h.masks[3] ? 4 : 3};
    THAW_TRY(thaw__picture_open(d, &picture, err));
    if (h.pixels_at < FILE_HEADER + h.size)
        return thaw__picture_damaged("BMP", "its pixels lie in its header", err);
    if (h.file_bytes > n || h.pixels_at > n || row_bytes(&h) * (uint64_t)h.height > n - h.pixels_at)
        return thaw__picture_damaged("BMP", "it is cut off", err);
    THAW_TRY(thaw__picture_rows(d, err));
    for (int64_t y = 0; y < h.height; y++) {
        const uint8_t *row = bytes + h.pixels_at + row_bytes(&h) * (uint64_t)y;
        uint8_t *out = thaw__picture_row(d, h.from_above ? y : h.height - 1 - y);
        if (h.bits > 8)
            put_masked_row(&h, row, d->channels, out);
        else if (!put_palette_row(&h, row, palette, n_colours, out))
            return thaw__picture_damaged("BMP", "a pixel has a colour that the palette lacks", err);
    }
    return THAW_OK;
}
