/* PNM: P1 to P6 of Netpbm (pbm(5), pgm(5), ppm(5)), grey and colours of any depth up to 16 bits. */
#include <math.h>
#include <string.h>

#include "bytes.h"
#include "decoder.h"

typedef struct pnm_header {
    bool plain;  /* Numbers as text. */
    int samples; /* A pixel: 1 or 3. */
    uint32_t width, height;
    uint32_t most; /* The sample that is white; 0: bits, of which 1 is black. */
} pnm_header;

static bool is_space(uint32_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next character that is neither space nor in a comment, which goes to the end of its line. */
static uint32_t next_character(thaw_bytes *b) {
    uint32_t c = thaw_bytes_number(b, 1);
    while (!b->ended && (is_space(c) || c == '#')) {
        while (c == '#' && b->left > 0 && *b->at != '\n' && *b->at != '\r')
            thaw_bytes_take(b, 1);
        c = thaw_bytes_number(b, 1);
    }
    return c;
}

/* The next number of text, at most `most`, and the space behind it. A number that the file's end
 * follows may have lost digits. */
static bool read_number(thaw_bytes *b, uint32_t most, uint32_t *number) {
    uint32_t c = next_character(b);
    if (c < '0' || c > '9') return false;
    for (*number = 0; c >= '0' && c <= '9'; c = thaw_bytes_number(b, 1)) {
        *number = *number * 10 + (c - '0');
        if (*number > most) return false;
    }
    return !b->ended && is_space(c);
}

static bool read_header(thaw_bytes *b, pnm_header *h) {
    enum { MOST_SIDE = 1 << 30, MOST_SAMPLE = 65535 };
    const uint8_t *magic = thaw_bytes_take(b, 2);
    int kind = magic[1] - '1'; /* Bits, grey, colour; the same again, raw. */
    *h = (pnm_header){.plain = kind < 3, .samples = kind % 3 == 2 ? 3 : 1};
    if (!b->left || !is_space(*b->at)) return false;
    if (!read_number(b, MOST_SIDE, &h->width) || !read_number(b, MOST_SIDE, &h->height))
        return false;
    return kind % 3 == 0 || (read_number(b, MOST_SAMPLE, &h->most) && h->most > 0);
}

static int64_t row_samples(const pnm_header *h) {
    return (int64_t)h->width * h->samples;
}

/* Bytes of a row; of a plain one at the least: digits, and the space behind a number. */
static uint64_t row_bytes(const pnm_header *h) {
    uint64_t n = (uint64_t)row_samples(h);
    if (h->plain) return h->most ? 2 * n : n;
    return h->most ? n * (h->most > 255 ? 2 : 1) : (n + 7) / 8;
}

/* What each sample becomes, 8 bits, rounded as Python rounds. */
static void make_levels(uint32_t most, uint8_t *level) {
    if (!most) memcpy(level, "\xff\0", 2);
    for (uint32_t i = 0; most && i <= most; i++)
        level[i] = (uint8_t)nearbyint((double)i / most * 255);
}

/* Where the samples of a row go: to 8 bits by `level`, or as they are. */
typedef struct pnm_row {
    const uint8_t *level;
    uint8_t *out;
    float *deep; /* NULL: out counts. */
} pnm_row;

static void put_sample(const pnm_row *row, int64_t i, uint32_t sample) {
    if (row->deep)
        row->deep[i] = (float)sample;
    else
        row->out[i] = row->level[sample];
}

/* A row of text; false: something in it is no sample. */
static bool read_plain(thaw_bytes *b, const pnm_header *h, const pnm_row *row) {
    int64_t n = row_samples(h);
    for (int64_t i = 0; i < n; i++) {
        uint32_t sample;
        if (h->most) {
            if (!read_number(b, h->most, &sample)) return false;
        } else {
            sample = next_character(b) - '0';
            if (sample > 1) return false;
        }
        put_sample(row, i, sample);
    }
    return true;
}

static bool read_raw(thaw_bytes *b, const pnm_header *h, const pnm_row *row) {
    int64_t n = row_samples(h);
    const uint8_t *p = thaw_bytes_take(b, row_bytes(h));
    if (h->most == 255) { /* As in most files. */
        memcpy(row->out, p, (size_t)n);
        return true;
    }
    for (int64_t i = 0; i < n; i++) {
        uint32_t sample = !h->most        ? p[i / 8] >> (7 - i % 8) & 1u
                          : h->most > 255 ? (uint32_t)p[2 * i] << 8 | p[2 * i + 1]
                                          : p[i];
        if (sample > h->most && h->most) return false;
        put_sample(row, i, sample);
    }
    return true;
}

/* A row of grey in its first third to RGB. */
static void spread(uint8_t *row, uint32_t width) {
    for (uint32_t x = width; x-- > 0;)
        memset(row + 3 * (size_t)x, row[x], 3);
}

static thaw_status refuse(const thaw_bytes *b, const char *what, thaw_error *err) {
    return thaw__picture_damaged("PNM", b->ended ? "it is cut off" : what, err);
}

thaw_status thaw__pnm_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    thaw_bytes b = {.at = bytes, .left = n, .big = true};
    pnm_header h;
    uint8_t level[1 << 16];
    if (!read_header(&b, &h)) return refuse(&b, "its header makes no sense", err);
    b.ended = b.left < row_bytes(&h) * h.height;
    if (b.ended) return refuse(&b, "", err);
    bool deep = h.most > 255 && thaw__picture_is_deep(d);
    thaw_picture picture = {
        .width = h.width, .height = h.height, .channels = 3, .deep_channels = deep ? h.samples : 0};
    THAW_TRY(thaw__picture_open(d, &picture, err));
    THAW_TRY(thaw__picture_rows(d, err));
    make_levels(h.most, level);
    for (uint32_t y = 0; y < h.height; y++) {
        pnm_row row = {.level = level,
                       .out = thaw__picture_row(d, y),
                       .deep = deep ? thaw__picture_deep_row(d, y) : NULL};
        if (!(h.plain ? read_plain : read_raw)(&b, &h, &row))
            return refuse(&b, "a sample is none, or above the largest", err);
        if (h.samples == 1 && !deep) spread(row.out, h.width);
    }
    return THAW_OK;
}
