/* GIF: its first picture, on a screen that is transparent where it has a transparent colour and
 * shows colour 0 elsewhere (CompuServe, GIF89a specification). */
#include <string.h>

#include "bytes.h"
#include "decoder.h"

typedef struct gif_header {
    uint32_t screen_width, screen_height;
    uint32_t x, y, width, height; /* Of the picture on the screen. */
    bool interlaced;
    int transparent;        /* Index, -1: none. */
    const uint8_t *palette; /* NULL: grey levels. */
    uint32_t n_colours;
    int code_bits; /* Smallest size of a code, less one. */
} gif_header;

static thaw_status damaged(const thaw_bytes *b, const char *how, thaw_error *err) {
    return thaw__picture_damaged("GIF", b->ended ? "it is cut off" : how, err);
}

/* ---- header -------------------------------------------------------------------------------- */

static void read_palette(thaw_bytes *b, gif_header *h, uint32_t flags) {
    if (!(flags & 0x80)) return;
    h->n_colours = 2u << (flags & 7);
    h->palette = thaw_bytes_take(b, (uint64_t)3 * h->n_colours);
}

/* An extension. That for graphic control may name a transparent colour. */
static void read_extension(thaw_bytes *b, gif_header *h) {
    enum { GRAPHIC_CONTROL = 0xf9 };
    uint32_t kind = thaw_bytes_number(b, 1), size;
    bool first = true;
    while ((size = thaw_bytes_number(b, 1)) > 0) {
        const uint8_t *block = thaw_bytes_take(b, size);
        if (kind == GRAPHIC_CONTROL && first && block && size >= 4 && block[0] & 1)
            h->transparent = block[3];
        first = false;
    }
}

/* Up to the coded pixels. False: there is no picture. */
static bool read_header(thaw_bytes *b, gif_header *h) {
    *h = (gif_header){.transparent = -1, .n_colours = 256};
    thaw_bytes_take(b, 6);
    h->screen_width = thaw_bytes_number(b, 2);
    h->screen_height = thaw_bytes_number(b, 2);
    uint32_t flags = thaw_bytes_number(b, 1), kind;
    thaw_bytes_take(b, 2); /* Background, which nobody shows, and aspect. */
    read_palette(b, h, flags);
    while ((kind = thaw_bytes_number(b, 1)) != ',') { /* Stray bytes between blocks occur. */
        if (kind == ';' || b->ended) return false;
        if (kind == '!') read_extension(b, h);
    }
    h->x = thaw_bytes_number(b, 2);
    h->y = thaw_bytes_number(b, 2);
    h->width = thaw_bytes_number(b, 2);
    h->height = thaw_bytes_number(b, 2);
    flags = thaw_bytes_number(b, 1);
    h->interlaced = flags & 0x40;
    read_palette(b, h, flags);
    h->code_bits = (int)thaw_bytes_number(b, 1);
    return !b->ended && h->width > 0 && h->height > 0 && h->code_bits >= 1 && h->code_bits <= 8;
}

/* ---- pixels -------------------------------------------------------------------------------- */

/* Where the next pixel goes. */
typedef struct gif_place {
    const gif_header *header;
    thaw_decoder *decoder;
    uint32_t x, y;
    int pass;
    uint8_t *at;
    bool done;
} gif_place;

/* The four passes of an interlaced picture begin at these rows and take each so many-th. */
static const uint8_t pass_first[] = {0, 4, 2, 1}, pass_step[] = {8, 8, 4, 2};

static void begin_row(gif_place *p) {
    const gif_header *h = p->header;
    while (p->y >= h->height && h->interlaced && p->pass < 3)
        p->y = pass_first[++p->pass];
    p->done = p->y >= h->height;
    p->x = 0;
    if (!p->done) p->at = thaw__picture_row(p->decoder, h->y + p->y) + 3 * (size_t)h->x;
}

static void put_colour(const thaw_decoder *d, const gif_header *h, uint32_t index, uint8_t *rgb) {
    if ((int)index == h->transparent)
        memset(rgb, d->background, 3);
    else if (h->palette)
        memcpy(rgb, h->palette + 3 * index, 3);
    else
        memset(rgb, (int)index, 3);
}

/* False: the palette lacks the colour. */
static bool put_pixel(gif_place *p, uint32_t index) {
    const gif_header *h = p->header;
    if (index >= h->n_colours && (int)index != h->transparent) return false;
    put_colour(p->decoder, h, index, p->at);
    p->at += 3;
    if (++p->x == h->width) {
        p->y += h->interlaced ? pass_step[p->pass] : 1;
        begin_row(p);
    }
    return true;
}

/* Variable-length codes in blocks of up to 255 bytes. */
typedef struct gif_codes {
    thaw_bytes *bytes;
    thaw_bytes block;
    uint32_t bits;
    int n_bits;
} gif_codes;

/* -1: the data ends. */
static int next_code(gif_codes *c, int size) {
    while (c->n_bits < size) {
        if (c->block.left == 0) {
            uint32_t n = thaw_bytes_number(c->bytes, 1);
            c->block = (thaw_bytes){.at = thaw_bytes_take(c->bytes, n), .left = n};
            if (n == 0 || !c->block.at) return -1;
        }
        c->bits |= thaw_bytes_number(&c->block, 1) << c->n_bits;
        c->n_bits += 8;
    }
    int code = (int)(c->bits & ((1u << size) - 1));
    c->bits >>= size;
    c->n_bits -= size;
    return code;
}

enum { CODES = 4096 };

/* Code i is what `link[i]` stands for, followed by `last[i]`. */
typedef struct gif_table {
    uint16_t link[CODES];
    uint8_t last[CODES], reversed[CODES];
    int clear, next, size; /* The code that empties it, the next free one, bits of a code. */
    int before;            /* The code before this one, -1: none since it was emptied. */
    uint8_t first;         /* Of the pixels that `before` stands for. */
} gif_table;

static void empty_table(gif_table *t, int code_bits) {
    t->clear = 1 << code_bits;
    t->next = t->clear + 2;
    t->size = code_bits + 1;
    t->before = -1;
}

/* The pixels that a code stands for go out; the table learns. False: it cannot be. */
static bool expand(gif_table *t, int code, gif_place *place) {
    int n = 0, c = code;
    if (code > t->next || (t->before < 0 && code >= t->clear)) return false;
    if (code == t->next) { /* What it is about to learn: the one before and its own first pixel. */
        t->reversed[n++] = t->first;
        c = t->before;
    }
    for (; c >= t->clear; c = t->link[c])
        t->reversed[n++] = t->last[c];
    t->reversed[n++] = (uint8_t)c;
    t->first = (uint8_t)c;
    if (t->before >= 0 && t->next < CODES) {
        t->link[t->next] = (uint16_t)t->before;
        t->last[t->next] = t->first;
        if (++t->next == 1 << t->size && t->size < 12) t->size++;
    }
    t->before = code;
    while (n > 0 && !place->done)
        if (!put_pixel(place, t->reversed[--n])) return false;
    return true;
}

/* Lempel, Ziv and Welch's compression until all pixels are there. */
static thaw_status read_pixels(thaw_decoder *d, thaw_bytes *b, const gif_header *h,
                               thaw_error *err) {
    gif_codes codes = {.bytes = b};
    gif_place place = {.header = h, .decoder = d};
    gif_table table = {0};
    empty_table(&table, h->code_bits);
    begin_row(&place);
    while (!place.done) {
        int code = next_code(&codes, table.size);
        if (code < 0 || code == table.clear + 1) return damaged(b, "its pixels end early", err);
        if (code == table.clear)
            empty_table(&table, h->code_bits);
        else if (!expand(&table, code, &place))
            return damaged(b, "its pixels make no sense", err);
    }
    return THAW_OK;
}

static void fill(thaw_decoder *d, const gif_header *h) {
    uint32_t index = h->transparent >= 0 ? (uint32_t)h->transparent : 0;
    for (int x = 0; x < d->width; x++)
        put_colour(d, h, index, d->rgb + 3 * (size_t)x);
    for (int y = 1; y < d->height; y++)
        memcpy(thaw__picture_row(d, y), d->rgb, 3 * (size_t)d->width);
}

thaw_status thaw__gif_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    thaw_bytes b = {.at = bytes, .left = n};
    gif_header h;
    if (!read_header(&b, &h)) return damaged(&b, "it holds no picture", err);
    uint32_t right = h.x + h.width, bottom = h.y + h.height;
    bool covered = h.x == 0 && h.y == 0 && right >= h.screen_width && bottom >= h.screen_height;
    thaw_picture picture = {.width = right > h.screen_width ? right : h.screen_width,
                            .height = bottom > h.screen_height ? bottom : h.screen_height,
                            .channels = 3};
    THAW_TRY(thaw__picture_open(d, &picture, err));
    THAW_TRY(thaw__picture_rows(d, err));
    if (!covered) fill(d, &h);
    return read_pixels(d, &b, &h, err);
}
