#include "image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include <stb/stb_image.h>

#include "resize.h"

enum {
    MOST_PIXELS = 1 << 28,
    KEPT_BYTES = 64 << 20, /* A decoder does not hold on to more than this between pictures. */
};

/* The part of a picture that lies in the decoder's buffer. */
typedef struct region {
    int x, y, width, height; /* In the stored picture; rows dense. */
} region;

/* An axis and what it was made for: pictures of one dataset often have one size. */
typedef struct cached_axis {
    thaw_axis axis;
    int in, out, first, n;
    thaw_filter filter;
} cached_axis;

struct thaw_decoder {
    uint8_t *rgb, *small;
    float *scratch;
    size_t rgb_bytes, small_bytes, scratch_bytes;
    cached_axis x, y;
};

thaw_status thaw_decoder_create(thaw_decoder **decoder, thaw_error *err) {
    *decoder = calloc(1, sizeof **decoder);
    return *decoder ? THAW_OK : thaw_fail_memory(err, "for a decoder");
}

void thaw_decoder_free(thaw_decoder *decoder) {
    if (!decoder) return;
    thaw_axis_free(&decoder->x.axis);
    thaw_axis_free(&decoder->y.axis);
    free(decoder->rgb);
    free(decoder->small);
    free(decoder->scratch);
    free(decoder);
}

/* Grows *memory to n bytes; what it held is lost. */
static thaw_status reserve(void **memory, size_t *have, size_t n, thaw_error *err) {
    if (n <= *have && *have <= KEPT_BYTES) return THAW_OK;
    free(*memory);
    *memory = malloc(n);
    *have = *memory ? n : 0;
    if (*memory) return THAW_OK;
    return thaw_fail_memory(err, "for a picture of %zu MB", n >> 20);
}

static thaw_status reserve_rgb(thaw_decoder *d, const region *part, thaw_error *err) {
    size_t n = 3 * (size_t)part->width * (size_t)part->height;
    return reserve((void **)&d->rgb, &d->rgb_bytes, n, err);
}

/* ---- what it is ---------------------------------------------------------------------------- */

static bool starts(const uint8_t *bytes, size_t n, const char *magic, size_t length) {
    return n >= length && memcmp(bytes, magic, length) == 0;
}

/* The name of a picture format that is not read, NULL when it is none of those. */
static const char *foreign_format(const uint8_t *b, size_t n) {
    if (starts(b, n, "RIFF", 4) && n >= 12 && memcmp(b + 8, "WEBP", 4) == 0) return "WebP";
    if (n >= 12 && memcmp(b + 4, "ftyp", 4) == 0)
        return memcmp(b + 8, "avif", 4) == 0 ? "AVIF" : "HEIC (or a video)";
    if (starts(b, n, "II*\0", 4) || starts(b, n, "MM\0*", 4)) return "TIFF";
    if (starts(b, n, "\xff\x0a", 2) || starts(b, n, "\0\0\0\x0cJXL ", 8)) return "JPEG XL";
    if (starts(b, n, "\0\0\0\x0cjP  ", 8)) return "JPEG 2000";
    return NULL;
}

static bool is_jpeg(const uint8_t *b, size_t n) {
    return starts(b, n, "\xff\xd8\xff", 3);
}

static bool is_stb(const uint8_t *b, size_t n) {
    return starts(b, n, "\x89PNG", 4) || starts(b, n, "BM", 2) || starts(b, n, "GIF8", 4) ||
           starts(b, n, "8BPS", 4) || starts(b, n, "P5", 2) || starts(b, n, "P6", 2);
}

static thaw_status refuse_format(const uint8_t *b, size_t n, thaw_error *err) {
    const char *name = foreign_format(b, n);
    if (n == 0) return thaw_fail(err, THAW_ERR_FORMAT, "the file is empty");
    if (name)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s pictures are not read; convert it to JPEG or PNG", name);
    char start[3 * 8 + 1] = "";
    for (size_t i = 0; i < n && i < 8; i++)
        snprintf(start + 3 * i, 4, "%02x ", b[i]);
    return thaw_fail(err, THAW_ERR_FORMAT,
                     "this is not a JPEG, PNG, BMP, GIF, PSD or PNM picture (it starts with %s)",
                     start);
}

static thaw_status check_size(int64_t width, int64_t height, thaw_error *err) {
    if (width < 1 || height < 1)
        return thaw_fail(err, THAW_ERR_FORMAT, "the picture has no pixels");
    if (width * height > MOST_PIXELS)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "the picture has %lld x %lld pixels, more than 2^28", (long long)width,
                         (long long)height);
    return THAW_OK;
}

/* ---- where it goes ------------------------------------------------------------------------- */

/* EXIF orientation 1..8: the shown pixel (x, y) is the stored one at (y, x) if `swap`, counted from
 * the other end if `flip`. */
typedef struct turn {
    bool swap, flip_x, flip_y; /* Flips of the stored axes. */
} turn;

static turn turn_from_exif(int orientation) {
    int o = orientation;
    return (turn){.swap = o >= 5 && o <= 8,
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

static thaw_status prepare_axis(cached_axis *cached, int in, span s, bool flip, thaw_filter filter,
                                thaw_error *err) {
    int first = flip ? s.out - s.first - s.n : s.first;
    if (cached->in == in && cached->out == s.out && cached->first == first && cached->n == s.n &&
        cached->filter == filter)
        return THAW_OK;
    thaw_axis_free(&cached->axis);
    cached->in = 0;
    THAW_TRY(thaw_axis_make(&cached->axis, in, s.out, first, s.n, filter, err));
    cached->in = in;
    cached->out = s.out;
    cached->first = first;
    cached->n = s.n;
    cached->filter = filter;
    return THAW_OK;
}

/* Both axes of the stored picture, such that the shown one is what the geometry asks for. */
static thaw_status prepare_axes(thaw_decoder *d, const thaw_geometry *g, int width, int height,
                                turn t, thaw_error *err) {
    span x, y;
    place(g, t.swap ? height : width, t.swap ? width : height, &x, &y);
    THAW_TRY(prepare_axis(&d->x, width, t.swap ? y : x, t.flip_x, g->filter, err));
    return prepare_axis(&d->y, height, t.swap ? x : y, t.flip_y, g->filter, err);
}

/* The small stored picture to the shown one, in the channel order that is asked for. */
static void put_out(const thaw_decoder *d, const thaw_geometry *g, turn t, uint8_t *out) {
    int stored_width = d->x.n, stored_height = d->y.n;
    int first = g->order == THAW_ORDER_BGR ? 2 : 0;
    for (int y = 0; y < g->height; y++) {
        for (int x = 0; x < g->width; x++) {
            int sx = t.swap ? y : x, sy = t.swap ? x : y;
            if (t.flip_x) sx = stored_width - 1 - sx;
            if (t.flip_y) sy = stored_height - 1 - sy;
            const uint8_t *p = d->small + 3 * ((size_t)sy * (size_t)stored_width + (size_t)sx);
            if (g->channels == 1) {
                *out++ = (uint8_t)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
            } else {
                out[0] = p[first];
                out[1] = p[1];
                out[2] = p[2 - first];
                out += 3;
            }
        }
    }
}

/* From the region in the decoder's buffer to the result. */
static thaw_status finish(thaw_decoder *d, const uint8_t *rgb, const region *part,
                          const thaw_geometry *g, turn t, uint8_t *out, thaw_error *err) {
    size_t small = 3 * (size_t)d->x.n * (size_t)d->y.n;
    size_t scratch = thaw_resize_scratch(&d->x.axis) * sizeof(float);
    THAW_TRY(reserve((void **)&d->scratch, &d->scratch_bytes, scratch, err));
    bool straight =
        !t.swap && !t.flip_x && !t.flip_y && g->channels == 3 && g->order == THAW_ORDER_RGB;
    if (!straight) THAW_TRY(reserve((void **)&d->small, &d->small_bytes, small, err));
    thaw_resize(rgb, 3 * (size_t)part->width, part->x, part->y, &d->x.axis, &d->y.axis, d->scratch,
                straight ? out : d->small);
    if (!straight) put_out(d, g, t, out);
    return THAW_OK;
}

/* ---- JPEG ---------------------------------------------------------------------------------- */

typedef struct jpeg_errors {
    struct jpeg_error_mgr base;
    jmp_buf back;
    bool damaged; /* A warning that means lost pixels. */
} jpeg_errors;

static void jpeg_fatal(j_common_ptr info) {
    longjmp(((jpeg_errors *)info->err)->back, 1);
}

/* Stray bytes between segments are common and harmless; missing or wrong coded data is not. */
static void jpeg_message(j_common_ptr info, int level) {
    int code = info->err->msg_code;
    if (level < 0 &&
        (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE))
        ((jpeg_errors *)info->err)->damaged = true;
}

static unsigned read_u16(const uint8_t *p, bool little) {
    return little ? p[0] | p[1] << 8u : p[0] << 8u | p[1];
}

static uint32_t read_u32(const uint8_t *p, bool little) {
    unsigned a = read_u16(p, little), b = read_u16(p + 2, little);
    return little ? a | b << 16 : a << 16 | b;
}

/* Tag 0x0112 of the first directory of an EXIF segment; 1 when absent or damaged. */
static int exif_orientation(const uint8_t *p, size_t n) {
    enum { TAG = 0x0112, SHORT = 3, HEADER = 6 };
    if (n < HEADER + 8 || memcmp(p, "Exif\0\0", HEADER) != 0) return 1;
    p += HEADER;
    n -= HEADER;
    bool little = p[0] == 'I';
    uint32_t at = read_u32(p + 4, little);
    if (at > n - 2 || n < 2) return 1;
    unsigned entries = read_u16(p + at, little);
    for (size_t e = at + 2; entries-- > 0 && e + 12 <= n; e += 12) {
        if (read_u16(p + e, little) != TAG || read_u16(p + e + 2, little) != SHORT) continue;
        unsigned value = read_u16(p + e + 8, little);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

static turn jpeg_turn(const struct jpeg_decompress_struct *info) {
    for (jpeg_saved_marker_ptr m = info->marker_list; m; m = m->next) {
        int orientation = exif_orientation(m->data, m->data_length);
        if (orientation != 1) return turn_from_exif(orientation);
    }
    return turn_from_exif(1);
}

/* CMYK in place of which `ink` bytes stand (4 a pixel) to RGB, as Pillow converts. Adobe stores
 * inverted inks. */
static void cmyk_to_rgb(const uint8_t *ink, int n, bool inverted, uint8_t *rgb) {
    for (int i = 0; i < n; i++) {
        unsigned light = inverted ? ink[4 * i + 3] : 255u - ink[4 * i + 3];
        for (int c = 0; c < 3; c++) {
            unsigned amount = inverted ? 255u - ink[4 * i + c] : ink[4 * i + c];
            unsigned t = amount * light + 128;
            rgb[3 * i + c] = (uint8_t)(light - ((t + (t >> 8)) >> 8));
        }
    }
}

/* Columns outside of what the resize reads are not transformed back from frequencies: a third less
 * of that work for a 3:2 picture. A block of margin on each side keeps the neighbours that the
 * upsampling looks at, so the columns in use are what a full decode gives (a test compares). */
static void crop_columns(struct jpeg_decompress_struct *info, int low, int high, region *part) {
    int margin = DCTSIZE;
    JDIMENSION x = (JDIMENSION)(low > margin ? low - margin : 0);
    JDIMENSION end = (JDIMENSION)(high + margin);
    if (end > info->output_width) end = info->output_width;
    JDIMENSION width = end - x;
    if (x > 0 || end < info->output_width) jpeg_crop_scanline(info, &x, &width);
    part->x = (int)x;
    part->width = (int)width;
}

/* Everything between header and end; returns by longjmp on a fatal error. g NULL: all of it. */
static thaw_status jpeg_pixels(thaw_decoder *d, struct jpeg_decompress_struct *info,
                               const thaw_geometry *g, region *part, turn *t,
                               uint8_t *volatile *ink, thaw_error *err) {
    jpeg_read_header(info, TRUE);
    THAW_TRY(check_size(info->image_width, info->image_height, err));
    *t = jpeg_turn(info);
    bool cmyk = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
    info->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    info->dct_method = JDCT_ISLOW;
    int width = (int)info->image_width, height = (int)info->image_height;
    *part = (region){0, 0, width, height};
    if (g) THAW_TRY(prepare_axes(d, g, width, height, *t, err));
    jpeg_start_decompress(info);
    if (g) crop_columns(info, d->x.axis.low, d->x.axis.high, part);
    THAW_TRY(reserve_rgb(d, part, err));
    if (cmyk) {
        *ink = malloc(4 * (size_t)part->width);
        if (!*ink) return thaw_fail_memory(err, "for a picture");
    }
    while (info->output_scanline < info->output_height) {
        uint8_t *rgb = d->rgb + 3 * (size_t)part->width * info->output_scanline;
        JSAMPROW row = cmyk ? *ink : rgb;
        if (jpeg_read_scanlines(info, &row, 1) == 1 && cmyk)
            cmyk_to_rgb(*ink, part->width, info->saw_Adobe_marker, rgb);
    }
    jpeg_finish_decompress(info);
    return THAW_OK;
}

static thaw_status decode_jpeg(thaw_decoder *d, const uint8_t *bytes, size_t n,
                               const thaw_geometry *g, region *part, turn *t, thaw_error *err) {
    enum { MARKER_BYTES = 0xffff };
    struct jpeg_decompress_struct info;
    jpeg_errors errors;
    uint8_t *volatile ink = NULL;
    volatile thaw_status status = THAW_OK;
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = jpeg_fatal;
    errors.base.emit_message = jpeg_message;
    errors.damaged = false;
    if (setjmp(errors.back)) {
        char text[JMSG_LENGTH_MAX];
        info.err->format_message((j_common_ptr)&info, text);
        status = info.err->msg_code == JERR_OUT_OF_MEMORY
                     ? thaw_fail_memory(err, "for a JPEG")
                     : thaw_fail(err, THAW_ERR_FORMAT, "the JPEG is damaged: %s", text);
    } else {
        jpeg_create_decompress(&info);
        jpeg_mem_src(&info, bytes, n);
        jpeg_save_markers(&info, JPEG_APP0 + 1, MARKER_BYTES);
        status = jpeg_pixels(d, &info, g, part, t, &ink, err);
        if (status == THAW_OK && errors.damaged)
            status =
                thaw_fail(err, THAW_ERR_FORMAT, "the JPEG is cut off or damaged in the middle");
    }
    jpeg_destroy_decompress(&info);
    free(ink);
    return status;
}

/* ---- the rest ------------------------------------------------------------------------------ */

/* stb_image gives a BMP that ends early black rows; its header says how long it should be. */
static bool is_short_bmp(const uint8_t *bytes, size_t n) {
    return starts(bytes, n, "BM", 2) && (n < 6 || read_u32(bytes + 2, true) > n);
}

static uint8_t blend(unsigned colour, unsigned background, unsigned alpha) {
    unsigned t = colour * alpha + background * (255 - alpha) + 128;
    return (uint8_t)((t + (t >> 8)) >> 8);
}

/* 16-bit samples keep their high byte. A GIF's first picture counts. */
static thaw_status decode_stb(thaw_decoder *d, const uint8_t *bytes, size_t n, uint8_t background,
                              region *part, thaw_error *err) {
    int width, height, channels;
    if (n > INT32_MAX)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "the picture's file is larger than 2 GB");
    if (!stbi_info_from_memory(bytes, (int)n, &width, &height, &channels))
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "the picture's header is damaged, or of a kind that is not read");
    THAW_TRY(check_size(width, height, err));
    bool alpha = channels == 2 || channels == 4;
    *part = (region){0, 0, width, height};
    THAW_TRY(reserve_rgb(d, part, err));
    uint8_t *decoded =
        stbi_load_from_memory(bytes, (int)n, &width, &height, &channels, alpha ? 4 : 3);
    bool short_bmp = is_short_bmp(bytes, n);
    if (!decoded || short_bmp || width != part->width || height != part->height) {
        stbi_image_free(decoded);
        return thaw_fail(err, THAW_ERR_FORMAT, "the picture is damaged or cut off");
    }
    size_t pixels = (size_t)width * (size_t)height;
    if (!alpha) memcpy(d->rgb, decoded, 3 * pixels);
    for (size_t i = 0; alpha && i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            d->rgb[3 * i + c] = blend(decoded[4 * i + c], background, decoded[4 * i + 3]);
    stbi_image_free(decoded);
    return THAW_OK;
}

thaw_status thaw_image_decode(thaw_decoder *d, const void *bytes, size_t n, const thaw_geometry *g,
                              uint8_t *out, thaw_error *err) {
    region part;
    turn t = {0};
    if (is_jpeg(bytes, n)) {
        THAW_TRY(decode_jpeg(d, bytes, n, g, &part, &t, err));
    } else if (is_stb(bytes, n)) {
        THAW_TRY(decode_stb(d, bytes, n, g->background, &part, err));
        THAW_TRY(prepare_axes(d, g, part.width, part.height, t, err));
    } else {
        return refuse_format(bytes, n, err);
    }
    return finish(d, d->rgb, &part, g, t, out, err);
}

/* ---- for tests ----------------------------------------------------------------------------- */

thaw_status thaw_image_decode_full(thaw_decoder *d, const void *bytes, size_t n, uint8_t background,
                                   thaw_pixels *pixels, thaw_error *err) {
    region part;
    turn t;
    if (is_jpeg(bytes, n))
        THAW_TRY(decode_jpeg(d, bytes, n, NULL, &part, &t, err));
    else if (is_stb(bytes, n))
        THAW_TRY(decode_stb(d, bytes, n, background, &part, err));
    else
        return refuse_format(bytes, n, err);
    *pixels = (thaw_pixels){d->rgb, part.width, part.height};
    return THAW_OK;
}

thaw_status thaw_image_resize(thaw_decoder *d, const thaw_pixels *pixels, const thaw_geometry *g,
                              uint8_t *out, thaw_error *err) {
    turn t = {0};
    region all = {0, 0, pixels->width, pixels->height};
    THAW_TRY(prepare_axes(d, g, pixels->width, pixels->height, t, err));
    return finish(d, pixels->rgb, &all, g, t, out, err);
}

#define TEXT(x) #x
#define NUMBER(x) TEXT(x)
const char *thaw_image_decoder_id(void) {
    return "libjpeg-turbo " NUMBER(LIBJPEG_TURBO_VERSION) "; stb_image 2; resize 1";
}
