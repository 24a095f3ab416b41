#include "thumbnail.h"

#include <stdlib.h>

#include "jpeg_encode.h"
#include "picture/picture_file.h"

static void put_base64(FILE *out, const unsigned char *bytes, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16;
        if (i + 1 < n) three |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < n) three |= bytes[i + 2];
        for (size_t k = 0; k < 4; k++)
            fputc(i + k > n ? '=' : digits[three >> (18 - 6 * k) & 63], out);
    }
}

/* What the network sees, smaller, and in colours as they are. */
static thaw_geometry small_geometry(const thaw_geometry *seen, int side) {
    thaw_geometry g = *seen;
    int longer = g.width > g.height ? g.width : g.height;
    g.width = (g.width * side + longer - 1) / longer;
    g.height = (g.height * side + longer - 1) / longer;
    g.shorter = (int)((int64_t)g.shorter * side / longer);
    g.channels = 3;
    g.order = THAW_ORDER_RGB;
    return g;
}

static thaw_status read_small(thaw_decoder *decoder, const char *path, const thaw_geometry *g,
                              uint8_t *pixels, thaw_error *err) {
    thaw_arena arena = {0};
    char *bytes;
    size_t n;
    thaw_status status = thaw_picture_read(path, &arena, &bytes, &n, err);
    if (status == THAW_OK) status = thaw_image_decode(decoder, bytes, n, g, pixels, err);
    thaw_arena_free(&arena);
    return status;
}

static thaw_status put_image(FILE *out, const uint8_t *pixels, const thaw_geometry *g,
                             thaw_error *err) {
    enum { QUALITY = 80 };
    unsigned char *jpeg;
    unsigned long n;
    int code = thaw_jpeg_encode(pixels, g->width, g->height, QUALITY, &jpeg, &n);
    if (code == 0) {
        fprintf(out, "<img width=%d height=%d alt=\"\" src=\"data:image/jpeg;base64,", g->width,
                g->height);
        put_base64(out, jpeg, n);
        fputs("\">", out);
    }
    free(jpeg);
    return code == 0 ? THAW_OK : thaw_fail_memory(err, "for a thumbnail");
}

thaw_status thaw_thumbnail_put(FILE *out, thaw_decoder *decoder, const char *path,
                               const thaw_geometry *seen, int side, thaw_error *err) {
    thaw_geometry g = small_geometry(seen, side);
    uint8_t pixels[3 * THAW_THUMBNAIL_SIDE * THAW_THUMBNAIL_SIDE];
    thaw_status status = read_small(decoder, path, &g, pixels, err);
    if (status != THAW_OK) return thaw_status_rejects(status) ? THAW_OK : status;
    return put_image(out, pixels, &g, err);
}
