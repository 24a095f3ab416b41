#include "sheet.h"

#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "jpeg_encode.h"
#include "picture/picture_file.h"

/* The whole page, and room for one picture as it is decoded. */
typedef struct page {
    const thaw_sheet *sheet;
    thaw_decoder *decoder;
    thaw_geometry g;
    int64_t columns, width, height; /* Of the page in pictures; in pixels. */
    uint8_t *rgb, *picture;
    thaw_arena arena;
} page;

static thaw_status allocate(page *p, thaw_error *err) {
    const thaw_sheet *s = p->sheet;
    p->g = *s->seen;
    p->g.order = THAW_ORDER_RGB;
    p->columns = s->n_views < THAW_SHEET_COLUMNS ? s->n_views : THAW_SHEET_COLUMNS;
    p->width = p->columns * p->g.width;
    p->height = (int64_t)s->n_pictures * p->g.height;
    p->rgb = thaw_arena_array(&p->arena, (size_t)(p->width * p->height), 3);
    p->picture = thaw_arena_array(&p->arena, (size_t)p->g.width * (size_t)p->g.height, 3);
    if (!p->rgb || !p->picture) return thaw_fail_memory(err, "for a contact sheet");
    return thaw_decoder_create(&p->decoder, err);
}

/* The decoded picture, of one channel or three, at its place. */
static void put(page *p, size_t row, int64_t column) {
    const uint8_t *from = p->picture;
    for (int y = 0; y < p->g.height; y++) {
        int64_t line = (int64_t)row * p->g.height + y;
        uint8_t *to = p->rgb + 3 * (line * p->width + column * p->g.width);
        for (int x = 0; x < p->g.width; x++, from += p->g.channels, to += 3)
            for (int c = 0; c < 3; c++)
                to[c] = from[p->g.channels == 3 ? c : 0];
    }
}

static thaw_status put_row(page *p, size_t row, thaw_error *err) {
    const thaw_sheet *s = p->sheet;
    thaw_arena arena = {0};
    char *bytes;
    size_t n;
    thaw_status status = thaw_picture_read(s->paths[row], &arena, &bytes, &n, err);
    for (int64_t k = 0; k < p->columns && status == THAW_OK; k++) {
        thaw_view view;
        if (k > 0) view = thaw_view_draw(s->ranges, thaw_hash_bytes((thaw_hash){0}, bytes, n), k);
        status = thaw_image_decode_view(p->decoder, bytes, n, &p->g, k > 0 ? &view : NULL,
                                        p->picture, err);
        if (status == THAW_OK) put(p, row, k);
    }
    thaw_arena_free(&arena);
    return thaw_status_rejects(status) ? THAW_OK : status;
}

static thaw_status write_page(const page *p, const char *path, thaw_error *err) {
    enum { QUALITY = 90 };
    unsigned char *jpeg;
    unsigned long n;
    int code = thaw_jpeg_encode(p->rgb, (int)p->width, (int)p->height, QUALITY, &jpeg, &n);
    thaw_status status = code ? thaw_fail_memory(err, "for a contact sheet of %lld x %lld pixels",
                                                 (long long)p->width, (long long)p->height)
                              : thaw_file_write(path, jpeg, n, err);
    free(jpeg);
    return status;
}

thaw_status thaw_sheet_write(const thaw_sheet *sheet, const char *path, thaw_error *err) {
    page p = {.sheet = sheet};
    thaw_status status = allocate(&p, err);
    for (size_t row = 0; row < sheet->n_pictures && status == THAW_OK; row++)
        status = put_row(&p, row, err);
    if (status == THAW_OK) status = write_page(&p, path, err);
    thaw_decoder_free(p.decoder);
    thaw_arena_free(&p.arena);
    return status;
}
