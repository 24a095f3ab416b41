#include "decoder.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "view.h"

enum {
    MOST_PIXELS = 1 << 28,
    KEPT_BYTES = 64 << 20, /* A decoder does not hold on to more than this between pictures. */
};

/* ---- a decoder and its memory -------------------------------------------------------------- */

thaw_status thaw_decoder_create(thaw_decoder **decoder, thaw_error *err) {
    *decoder = calloc(1, sizeof **decoder);
    if (!*decoder) return thaw_fail_memory(err, "for a decoder");
    (*decoder)->most_pixels = MOST_PIXELS;
    (*decoder)->shrink = 1;
    return THAW_OK;
}

void thaw_decoder_share(thaw_decoder *decoder, thaw_image_budget *budget,
                        const volatile int *stop) {
    decoder->budget = budget;
    decoder->stop = stop;
}

/* Frees what a picture is decoded into when it holds more than n bytes. */
static void give_up(thaw_decoder *d, size_t n) {
    if (d->rgb_bytes > n) {
        free(d->rgb);
        d->rgb = NULL;
        d->rgb_bytes = 0;
    }
    if (d->deep.bytes > n) {
        free(d->deep.samples);
        d->deep.samples = NULL;
        d->deep.bytes = 0;
    }
}

/* Between pictures: what a large one took goes back. */
static void picture_close(thaw_decoder *d) {
    give_up(d, KEPT_BYTES);
    if (d->borrowed) thaw__budget_return(d->budget, d->borrowed);
    d->borrowed = 0;
}

void thaw_decoder_free(thaw_decoder *decoder) {
    if (!decoder) return;
    picture_close(decoder);
    thaw_axis_free(&decoder->x.axis);
    thaw_axis_free(&decoder->y.axis);
    free(decoder->rgb);
    free(decoder->deep.samples);
    free(decoder->small);
    free(decoder->scratch);
    free(decoder->seen);
    free(decoder);
}

/* Grows *memory to n bytes; what it held is lost. */
static thaw_status reserve(void **memory, size_t *have, size_t n, thaw_error *err) {
    if (n <= *have) return THAW_OK;
    free(*memory);
    *memory = malloc(n);
    *have = *memory ? n : 0;
    if (*memory) return THAW_OK;
    return thaw_fail_memory(err, "for a picture of %zu MB", n >> 20);
}

thaw_status thaw__picture_rows(thaw_decoder *d, thaw_error *err) {
    size_t columns = (size_t)d->n_columns * (size_t)d->height;
    size_t deep = columns * (size_t)d->deep.channels * sizeof(float);
    if (deep) THAW_TRY(reserve((void **)&d->deep.samples, &d->deep.bytes, deep, err));
    return reserve((void **)&d->rgb, &d->rgb_bytes, columns * (size_t)d->channels, err);
}

bool thaw__picture_is_deep(const thaw_decoder *d) {
    return d->geometry && d->geometry->window.kind != THAW_WINDOW_FILE;
}

thaw_status thaw__picture_damaged(const char *format, const char *how, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_FORMAT, "the %s is damaged: %s", format, how);
}

thaw_status thaw__picture_unread(const char *format, const char *package, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_FORMAT,
                     "this build reads no %s pictures: install %s and build Thaw again, or convert "
                     "it to JPEG or PNG",
                     format, package);
}

bool thaw__picture_stopped(const thaw_decoder *d) {
    return d->stop && *d->stop;
}

/* ---- colours --------------------------------------------------------------------------------- */

void thaw__cmyk_to_rgb(const uint8_t *ink, int n, uint8_t *rgb) {
    for (int i = 0; i < n; i++) {
        unsigned light = ink[4 * i + 3];
        for (int c = 0; c < 3; c++) {
            unsigned t = (255u - ink[4 * i + c]) * light + 128;
            rgb[3 * i + c] = (uint8_t)(light - ((t + (t >> 8)) >> 8));
        }
    }
}

void thaw__unpremultiply(uint8_t rgba[4]) {
    unsigned alpha = rgba[3];
    for (int c = 0; alpha > 0 && alpha < 255 && c < 3; c++) {
        unsigned value = 255u * rgba[c] / alpha;
        rgba[c] = (uint8_t)(value < 255 ? value : 255);
    }
}

/* ---- what it is ---------------------------------------------------------------------------- */

typedef struct format {
    const char *name;
    size_t at; /* Where its magic stands. */
    const char *magic;
    size_t length;
    thaw_status (*decode)(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);
    thaw_version *version; /* Of its library; NULL: it has none. */
} format;

#define MAGIC(at, text) at, text, sizeof(text) - 1
/* HEIF's files differ in how their pictures are coded. */
#define HEIF(name, brand) \
    { name, MAGIC(4, "ftyp" brand), thaw__heif_decode, thaw__heif_version }
static const format formats[] = {
    {"JPEG", MAGIC(0, "\xff\xd8\xff"), thaw__jpeg_decode, thaw__jpeg_version},
    {"PNG", MAGIC(0, "\x89PNG"), thaw__png_decode, thaw__png_version},
    {"GIF", MAGIC(0, "GIF87a"), thaw__gif_decode, NULL},
    {"GIF", MAGIC(0, "GIF89a"), thaw__gif_decode, NULL},
    {"BMP", MAGIC(0, "BM"), thaw__bmp_decode, NULL},
    {"PSD", MAGIC(0, "8BPS"), thaw__psd_decode, NULL},
    {"PNM", MAGIC(0, "P1"), thaw__pnm_decode, NULL},
    {"PNM", MAGIC(0, "P2"), thaw__pnm_decode, NULL},
    {"PNM", MAGIC(0, "P3"), thaw__pnm_decode, NULL},
    {"PNM", MAGIC(0, "P4"), thaw__pnm_decode, NULL},
    {"PNM", MAGIC(0, "P5"), thaw__pnm_decode, NULL},
    {"PNM", MAGIC(0, "P6"), thaw__pnm_decode, NULL},
    {"WebP", MAGIC(8, "WEBPVP8"), thaw__webp_decode, thaw__webp_version},
    {"TIFF", MAGIC(0, "II*\0"), thaw__tiff_decode, thaw__tiff_version},
    {"TIFF", MAGIC(0, "MM\0*"), thaw__tiff_decode, thaw__tiff_version},
    {"TIFF", MAGIC(0, "II+\0"), thaw__tiff_decode, thaw__tiff_version}, /* BigTIFF. */
    {"TIFF", MAGIC(0, "MM\0+"), thaw__tiff_decode, thaw__tiff_version},
    {"DICOM", MAGIC(128, "DICM"), thaw__dicom_decode, thaw__dicom_version},
    HEIF("HEIC", "heic"),
    HEIF("HEIC", "heix"),
    HEIF("HEIC", "hevc"),
    HEIF("HEIC", "hevx"),
    HEIF("HEIC", "mif1"),
    HEIF("HEIC", "msf1"),
    HEIF("AVIF", "avif"),
    HEIF("AVIF", "avis"),
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static bool holds(const uint8_t *bytes, size_t n, size_t at, const char *magic, size_t length) {
    return n >= at + length && memcmp(bytes + at, magic, length) == 0;
}

/* The name of a picture format that is not read, NULL when it is none of those. */
static const char *foreign_format(const uint8_t *b, size_t n) {
    if (holds(b, n, MAGIC(0, "\xff\x0a")) || holds(b, n, MAGIC(0, "\0\0\0\x0cJXL ")))
        return "JPEG XL";
    if (holds(b, n, MAGIC(0, "\0\0\0\x0cjP  "))) return "JPEG 2000";
    return NULL;
}

static thaw_status refuse_format(const uint8_t *b, size_t n, thaw_error *err) {
    const char *name = foreign_format(b, n);
    if (n == 0) return thaw_fail(err, THAW_ERR_FORMAT, "the file is empty");
    if (name)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s pictures are not read; convert it to JPEG or PNG", name);
    if (holds(b, n, MAGIC(4, "ftyp")))
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "this is a video, or a picture of a kind that is not read ('%.4s'); "
                         "convert it to JPEG or PNG",
                         n >= 12 ? (const char *)b + 8 : "");
    char start[3 * 8 + 1] = "";
    for (size_t i = 0; i < n && i < 8; i++)
        snprintf(start + 3 * i, 4, "%02x ", b[i]);
    return thaw_fail(err, THAW_ERR_FORMAT,
                     "this is not a JPEG, PNG, WebP, TIFF, HEIC, AVIF, DICOM, BMP, GIF, PSD or PNM "
                     "picture (it starts with %s)",
                     start);
}

bool thaw_image_reads(const char *name) {
    char version[THAW__VERSION];
    for (size_t i = 0; i < N_FORMATS; i++) {
        if (strcmp(formats[i].name, name) != 0) continue;
        if (!formats[i].version) return true;
        formats[i].version(version);
        return version[0] != 0;
    }
    return false;
}

/* ---- what identifies the decoders ---------------------------------------------------------- */

static char decoder_id[8 * THAW__VERSION];

static void make_decoder_id(void) {
    size_t n = 0;
    for (size_t i = 0; i < N_FORMATS; i++) {
        char version[THAW__VERSION];
        if (!formats[i].version || (i > 0 && formats[i].version == formats[i - 1].version))
            continue;
        formats[i].version(version);
        if (version[0])
            n += (size_t)snprintf(decoder_id + n, sizeof decoder_id - n, "%s; ", version);
    }
    snprintf(decoder_id + n, sizeof decoder_id - n, "bmp gif pnm psd 1; resize 1");
}

const char *thaw_image_decoder_id(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_decoder_id);
    return decoder_id;
}

/* NULL: none of those that are read. */
static const format *find_format(const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < N_FORMATS; i++)
        if (holds(bytes, n, formats[i].at, formats[i].magic, formats[i].length)) return &formats[i];
    return NULL;
}

const char *thaw_image_format(const void *bytes, size_t n) {
    const format *found = find_format(bytes, n);
    return found ? found->name : foreign_format(bytes, n);
}

/* ---- where it goes ------------------------------------------------------------------------- */

static thaw_turn turn_from_exif(int orientation) {
    int o = orientation;
    return (thaw_turn){.swap = o >= 5 && o <= 8,
                       .flip_x = o == 2 || o == 3 || o == 7 || o == 8,
                       .flip_y = o == 3 || o == 4 || o == 6 || o == 7};
}

/* Size after the resize, and the part of it that is kept, along one shown axis. */
typedef struct span {
    int out, first, n;
} span;

static int round_half_even(int twice) {
    int down = twice / 2;
    return twice % 2 == 0 ? down : down + (down & 1);
}

/* As torchvision's Resize(shorter) and CenterCrop: the long side is rounded down, the offset to the
 * nearest even where it falls between. */
static void place(const thaw_geometry *g, int width, int height, span *x, span *y) {
    *x = (span){g->width, 0, g->width};
    *y = (span){g->height, 0, g->height};
    if (g->fit == THAW_FIT_SQUASH) return;
    int shorter = g->shorter;
    if (shorter < g->width) shorter = g->width;
    if (shorter < g->height) shorter = g->height;
    bool wide = width >= height;
    int64_t longer = (int64_t)shorter * (wide ? width : height) / (wide ? height : width);
    /* A strip of 1 x 60000 would be blown up to millions of rows of which few are kept; that is
     * fine, only the kept ones are computed. */
    if (longer > INT32_MAX / 4) longer = INT32_MAX / 4;
    x->out = wide ? (int)longer : shorter;
    y->out = wide ? shorter : (int)longer;
    x->first = round_half_even(x->out - g->width);
    y->first = round_half_even(y->out - g->height);
}

/* One axis of a crop: the whole is resized so that the crop becomes n pixels. */
static span place_crop(int in, double first, double length, int n) {
    span s = {.out = (int)lrint(fmin((double)n * in / length, INT32_MAX / 4)), .n = n};
    if (s.out < n) s.out = n;
    s.first = (int)lrint(first * s.out / in);
    if (s.first > s.out - n) s.first = s.out - n;
    return s;
}

static void place_view(const thaw_view *view, const thaw_geometry *g, int width, int height,
                       span *x, span *y) {
    thaw_box box = thaw_view_box(view, width, height, (double)g->width / g->height);
    *x = place_crop(width, box.x, box.width, g->width);
    *y = place_crop(height, box.y, box.height, g->height);
}

static bool same_span(const thaw_span *a, const thaw_span *b) {
    return a->in == b->in && fabs(a->length - b->length) <= 0 && a->out == b->out &&
           a->first == b->first && a->n == b->n && a->filter == b->filter;
}

/* in: of the file. */
static thaw_status prepare_axis(thaw_cached_axis *cached, int in, int shrink, span s, bool flip,
                                thaw_filter filter, thaw_error *err) {
    thaw_span wanted = {.in = (in + shrink - 1) / shrink,
                        .length = (double)in / shrink,
                        .out = s.out,
                        .first = flip ? s.out - s.first - s.n : s.first,
                        .n = s.n,
                        .filter = filter};
    if (same_span(&cached->span, &wanted)) return THAW_OK;
    thaw_axis_free(&cached->axis);
    cached->span = (thaw_span){0};
    THAW_TRY(thaw_axis_make(&cached->axis, &wanted, err));
    cached->span = wanted;
    return THAW_OK;
}

/* The smallest size that still has two pixels for each of the result, along both axes. */
static int choose_shrink(int width, int height, span x, span y) {
    int shrink = 8;
    while (shrink > 1 &&
           (width < (int64_t)2 * shrink * x.out || height < (int64_t)2 * shrink * y.out))
        shrink /= 2;
    return shrink;
}

/* Both axes of a stored picture of that size in the file, such that the shown one is what the
 * geometry asks for. */
static thaw_status prepare_axes(thaw_decoder *d, const thaw_geometry *g, int width, int height,
                                bool shrinks, thaw_error *err) {
    span x, y;
    thaw_turn t = d->turn;
    int shown_width = t.swap ? height : width, shown_height = t.swap ? width : height;
    if (d->view && d->view->crop)
        place_view(d->view, g, shown_width, shown_height, &x, &y);
    else
        place(g, shown_width, shown_height, &x, &y);
    span stored_x = t.swap ? y : x, stored_y = t.swap ? x : y;
    d->shrink = shrinks && g->decode == THAW_DECODE_FAST
                    ? choose_shrink(width, height, stored_x, stored_y)
                    : 1;
    THAW_TRY(prepare_axis(&d->x, width, d->shrink, stored_x, t.flip_x, g->filter, err));
    return prepare_axis(&d->y, height, d->shrink, stored_y, t.flip_y, g->filter, err);
}

/* RGB as it is asked for; returns where the next one goes. */
static uint8_t *put_pixel(const thaw_geometry *g, const uint8_t *p, uint8_t *out) {
    int first = g->order == THAW_ORDER_BGR ? 2 : 0;
    if (g->channels == 1) {
        *out = (uint8_t)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
        return out + 1;
    }
    out[0] = p[first];
    out[1] = p[1];
    out[2] = p[2 - first];
    return out + 3;
}

/* The small stored picture to the shown one, in the channel order that is asked for. */
static void put_out(const thaw_decoder *d, const thaw_geometry *g, uint8_t *out) {
    thaw_turn t = d->turn;
    int stored_width = d->x.span.n, stored_height = d->y.span.n;
    for (int y = 0; y < g->height; y++) {
        for (int x = 0; x < g->width; x++) {
            int sx = t.swap ? y : x, sy = t.swap ? x : y;
            if (t.flip_x) sx = stored_width - 1 - sx;
            if (t.flip_y) sy = stored_height - 1 - sy;
            out =
                put_pixel(g, d->small + 3 * ((size_t)sy * (size_t)stored_width + (size_t)sx), out);
        }
    }
}

/* From stored pixels (d->rgb, or a test's) to the result. */
static thaw_status finish(thaw_decoder *d, const uint8_t *rgb, const thaw_geometry *g, uint8_t *out,
                          thaw_error *err) {
    size_t small = 3 * (size_t)d->x.span.n * (size_t)d->y.span.n;
    size_t scratch = thaw_resize_scratch(&d->x.axis) * sizeof(float);
    THAW_TRY(reserve((void **)&d->scratch, &d->scratch_bytes, scratch, err));
    thaw_turn t = d->turn;
    bool straight =
        !t.swap && !t.flip_x && !t.flip_y && g->channels == 3 && g->order == THAW_ORDER_RGB;
    if (!straight) THAW_TRY(reserve((void **)&d->small, &d->small_bytes, small, err));
    thaw_resize(rgb, 3 * (size_t)d->n_columns, d->first_column, 0, &d->x.axis, &d->y.axis,
                d->scratch, straight ? out : d->small);
    if (!straight) put_out(d, g, out);
    return THAW_OK;
}

/* The same for a view: what a person would see of it, changed, and then as it is asked for. */
static thaw_status finish_view(thaw_decoder *d, const thaw_geometry *g, uint8_t *out,
                               thaw_error *err) {
    thaw_geometry shown = *g;
    size_t n = (size_t)g->width * (size_t)g->height;
    shown.channels = 3;
    shown.order = THAW_ORDER_RGB;
    THAW_TRY(reserve((void **)&d->seen, &d->seen_bytes, 6 * n, err));
    THAW_TRY(finish(d, d->rgb, &shown, d->seen, err));
    thaw_view_finish(d->view, g->width, g->height, d->seen, d->seen + 3 * n);
    for (size_t i = 0; i < n; i++)
        out = put_pixel(g, d->seen + 3 * i, out);
    return THAW_OK;
}

/* ---- decoding ------------------------------------------------------------------------------ */

thaw_status thaw__picture_open(thaw_decoder *d, const thaw_picture *p, thaw_error *err) {
    if (p->width < 1 || p->height < 1)
        return thaw_fail(err, THAW_ERR_FORMAT, "the picture has no pixels");
    if (p->width > THAW__LONGEST_SIDE || p->height > THAW__LONGEST_SIDE ||
        p->width * p->height > d->most_pixels)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "the picture has %lld x %lld pixels: at most 2^28, and 2^16 a side, are "
                         "read",
                         (long long)p->width, (long long)p->height);
    d->shrink = 1;
    d->first_column = 0;
    d->channels = p->channels;
    d->orientation = p->orientation;
    d->stored_width = (int)p->width;
    d->stored_height = (int)p->height;
    d->deep.channels = p->deep_channels;
    d->deep.invert = false;
    d->turn = turn_from_exif(p->orientation);
    if (d->geometry)
        THAW_TRY(prepare_axes(d, d->geometry, (int)p->width, (int)p->height, p->shrinks, err));
    d->width = d->n_columns = ((int)p->width + d->shrink - 1) / d->shrink;
    d->height = ((int)p->height + d->shrink - 1) / d->shrink;
    uint64_t pixel = (uint64_t)p->channels + (uint64_t)p->deep_channels * sizeof(float);
    uint64_t bytes = (uint64_t)d->width * (uint64_t)d->height * pixel + p->more_bytes;
    if (!d->budget || bytes <= KEPT_BYTES) return THAW_OK;
    give_up(d, 0); /* What is left of the picture before would not count. */
    if (!thaw__budget_take(d->budget, bytes, d->stop))
        return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped while a picture waited for memory");
    d->borrowed = bytes;
    return THAW_OK;
}

/* Lays RGB with alpha on the background, in place. */
static void flatten(thaw_decoder *d) {
    size_t n = (size_t)d->n_columns * (size_t)d->height;
    for (size_t i = 0; i < n; i++) {
        unsigned alpha = d->rgb[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            unsigned t = d->rgb[4 * i + c] * alpha + d->background * (255 - alpha) + 128;
            d->rgb[3 * i + c] = (uint8_t)((t + (t >> 8)) >> 8);
        }
    }
    d->channels = 3;
}

/* A file to pixels. g NULL: all of them. */
static thaw_status decode(thaw_decoder *d, const uint8_t *bytes, size_t n, const thaw_geometry *g,
                          uint8_t background, thaw_error *err) {
    picture_close(d);
    d->geometry = g;
    d->background = background;
    const format *found = find_format(bytes, n);
    if (!found) return refuse_format(bytes, n, err);
    d->format = found->name;
    d->deep.channels = 0;
    THAW_TRY(found->decode(d, bytes, n, err));
    if (d->deep.channels) THAW_TRY(thaw__window_apply(d, &g->window, err));
    if (d->channels == 4) flatten(d);
    return THAW_OK;
}

thaw_image_facts thaw_decoder_facts(const thaw_decoder *d) {
    return (thaw_image_facts){.format = d->format,
                              .width = d->turn.swap ? d->stored_height : d->stored_width,
                              .height = d->turn.swap ? d->stored_width : d->stored_height,
                              .orientation = d->orientation};
}

thaw_status thaw_image_decode_view(thaw_decoder *d, const void *bytes, size_t n,
                                   const thaw_geometry *g, const thaw_view *view, uint8_t *out,
                                   thaw_error *err) {
    d->view = view;
    thaw_status status = decode(d, bytes, n, g, g->background, err);
    if (status == THAW_OK)
        status = view ? finish_view(d, g, out, err) : finish(d, d->rgb, g, out, err);
    picture_close(d);
    d->view = NULL;
    return status;
}

thaw_status thaw_image_decode(thaw_decoder *d, const void *bytes, size_t n, const thaw_geometry *g,
                              uint8_t *out, thaw_error *err) {
    return thaw_image_decode_view(d, bytes, n, g, NULL, out, err);
}

/* ---- for tests ----------------------------------------------------------------------------- */

thaw_status thaw_image_decode_full(thaw_decoder *d, const void *bytes, size_t n, uint8_t background,
                                   thaw_pixels *pixels, thaw_error *err) {
    THAW_TRY(decode(d, bytes, n, NULL, background, err));
    *pixels = (thaw_pixels){d->rgb, d->width, d->height};
    return THAW_OK;
}

thaw_status thaw_image_resize(thaw_decoder *d, const thaw_pixels *pixels, const thaw_geometry *g,
                              uint8_t *out, thaw_error *err) {
    d->width = d->n_columns = pixels->width;
    d->height = pixels->height;
    d->first_column = 0;
    d->turn = (thaw_turn){0};
    THAW_TRY(prepare_axes(d, g, d->width, d->height, false, err));
    return finish(d, pixels->rgb, g, out, err);
}
