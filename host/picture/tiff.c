/* TIFF by libtiff: grey, RGB, CMYK and palettes of 8 bits, grey and RGB of 16 and 32, as integers or
 * floats, in strips or tiles; what else there is of up to 8 bits is made RGB by the library (bilevel, 2
 * and 4 bits, YCbCr, Lab). The first of its pictures. The library goes on behind some damage to pixels,
 * and only warns; here such a warning is damage. */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tiffio.h>

#include "decoder.h"

typedef struct tiff_job {
    TIFF *tiff;
    thaw_decoder *decoder;
    const uint8_t *bytes;
    uint64_t n, at;
    bool in_pixels, failed; /* Of a warning there: as good as an error. */
    char reason[160];

    uint32_t width, height;
    uint16_t bits, samples, photometric, planar, compression, format, orientation;
    int colours; /* Of the samples, the first: 1, 3 or, of CMYK, 4. */
    enum { NO_ALPHA, ALPHA, PREMULTIPLIED } alpha;
    const uint16_t *palette[3];
} tiff_job;

/* ---- the file, and what the library says of it ---------------------------------------------- */

static tmsize_t on_read(thandle_t handle, void *to, tmsize_t n) {
    tiff_job *job = handle;
    uint64_t left = job->at < job->n ? job->n - job->at : 0;
    if (n < 0) return 0;
    if ((uint64_t)n > left) n = (tmsize_t)left;
    memcpy(to, job->bytes + (left ? job->at : 0), (size_t)n);
    job->at += (uint64_t)n;
    return n;
}

static tmsize_t on_write(thandle_t handle, void *from, tmsize_t n) {
    (void)handle, (void)from, (void)n;
    return 0;
}

static toff_t on_seek(thandle_t handle, toff_t offset, int whence) {
    tiff_job *job = handle;
    job->at = whence == SEEK_SET ? offset : whence == SEEK_CUR ? job->at + offset : job->n + offset;
    return job->at;
}

static int on_close(thandle_t handle) {
    (void)handle;
    return 0;
}

static toff_t on_size(thandle_t handle) {
    return ((tiff_job *)handle)->n;
}

static int on_map(thandle_t handle, void **memory, toff_t *n) {
    tiff_job *job = handle;
    *memory = (void *)job->bytes;
    *n = job->n;
    return 1;
}

static void on_unmap(thandle_t handle, void *memory, toff_t n) {
    (void)handle, (void)memory, (void)n;
}

/* Its first complaint is kept. */
__attribute__((format(printf, 3, 0))) static void on_error(thandle_t handle, const char *module,
                                                           const char *format, va_list arguments) {
    tiff_job *job = handle;
    (void)module;
    if (!job || job->failed) return;
    job->failed = true;
    vsnprintf(job->reason, sizeof job->reason, format, arguments);
}

/* A tag that decides about pixels is passed over when it makes no sense, or the file is cut off in its
 * values; so are many that do not matter. */
static bool matters(const char *warning) {
    static const char *const words[] = {
        "IO error",      "BitsPerSample", "ColorMap",   "Compression",
        "ExtraSamples",  "FillOrder",     "JPEGTables", "Orientation",
        "Photometric",   "Planar",        "Predictor",  "SampleFormat",
        "SamplesPerPix", "Strip",         "Tile",       "YCbCr"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(warning, words[i])) return true;
    return false;
}

__attribute__((format(printf, 3, 0))) static void on_warning(thandle_t handle, const char *module,
                                                             const char *format,
                                                             va_list arguments) {
    tiff_job *job = handle;
    char text[sizeof job->reason];
    (void)module;
    if (!job || job->failed) return;
    vsnprintf(text, sizeof text, format, arguments);
    job->failed = job->in_pixels || matters(text);
    if (job->failed) memcpy(job->reason, text, sizeof text);
}

/* The handlers are the process's; their first argument tells whose file it is. */
static void set_handlers(void) {
    TIFFSetErrorHandler(NULL);
    TIFFSetWarningHandler(NULL);
    TIFFSetErrorHandlerExt(on_error);
    TIFFSetWarningHandlerExt(on_warning);
}

static thaw_status damaged(const tiff_job *job, const char *how, thaw_error *err) {
    if (thaw__picture_stopped(job->decoder))
        return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped while a TIFF was read");
    return thaw__picture_damaged("TIFF", job->reason[0] ? job->reason : how, err);
}

/* ---- what it holds -------------------------------------------------------------------------- */

/* The number of a tag that has a default, or that of a file without it. */
static uint16_t number(const tiff_job *job, uint32_t tag, uint16_t without) {
    uint16_t value = without;
    TIFFGetFieldDefaulted(job->tiff, tag, &value);
    return value;
}

static void read_alpha(tiff_job *job) {
    uint16_t n = 0, *kinds = NULL;
    TIFFGetFieldDefaulted(job->tiff, TIFFTAG_EXTRASAMPLES, &n, &kinds);
    job->alpha = NO_ALPHA;
    if (job->samples <= job->colours || job->colours == 4) return;
    if (n == 0) job->alpha = job->samples == 4 ? ALPHA : NO_ALPHA; /* As Pillow has it. */
    if (n > 0 && kinds[0] == EXTRASAMPLE_UNASSALPHA) job->alpha = ALPHA;
    if (n > 0 && kinds[0] == EXTRASAMPLE_ASSOCALPHA) job->alpha = PREMULTIPLIED;
}

static bool read_header(tiff_job *job) {
    if (!TIFFGetField(job->tiff, TIFFTAG_IMAGEWIDTH, &job->width) ||
        !TIFFGetField(job->tiff, TIFFTAG_IMAGELENGTH, &job->height) ||
        !TIFFGetField(job->tiff, TIFFTAG_PHOTOMETRIC, &job->photometric))
        return false;
    job->bits = number(job, TIFFTAG_BITSPERSAMPLE, 1);
    job->samples = number(job, TIFFTAG_SAMPLESPERPIXEL, 1);
    job->planar = number(job, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    job->compression = number(job, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
    job->format = number(job, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT);
    job->orientation = number(job, TIFFTAG_ORIENTATION, 1);
    job->colours = job->photometric == PHOTOMETRIC_RGB         ? 3
                   : job->photometric == PHOTOMETRIC_SEPARATED ? 4
                                                               : 1;
    read_alpha(job);
    return true;
}

/* Whether its samples are put in their places here, not by the library. */
static bool is_plain(tiff_job *job) {
    bool contiguous = job->planar == PLANARCONFIG_CONTIG;
    bool integers = job->format == SAMPLEFORMAT_UINT || job->format == SAMPLEFORMAT_INT;
    if (job->samples < job->colours) return false;
    switch (job->photometric) {
        case PHOTOMETRIC_MINISBLACK:
        case PHOTOMETRIC_MINISWHITE:
        case PHOTOMETRIC_RGB:
            return (integers && (job->bits == 8 || job->bits == 16 || job->bits == 32)) ||
                   (job->format == SAMPLEFORMAT_IEEEFP && job->bits == 32);
        case PHOTOMETRIC_SEPARATED:
            return integers && job->bits == 8 && contiguous;
        case PHOTOMETRIC_PALETTE:
            return integers && job->bits == 8 && contiguous &&
                   TIFFGetField(job->tiff, TIFFTAG_COLORMAP, &job->palette[0], &job->palette[1],
                                &job->palette[2]);
        default:
            return false;
    }
}

static thaw_status refuse_kind(const tiff_job *job, const char *why, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "TIFF pictures with %u samples of %u bits, photometric %u and compression %u "
                     "are not read%s%s; convert it to PNG",
                     job->samples, job->bits, job->photometric, job->compression, *why ? ": " : "",
                     why);
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* Strips or tiles. */
typedef struct blocks {
    bool tiles;
    uint32_t width, height, n_planes;
    uint64_t bytes; /* Of one. */
} blocks;

static bool measure_blocks(const tiff_job *job, blocks *b) {
    *b = (blocks){.tiles = TIFFIsTiled(job->tiff), .width = job->width, .height = job->height};
    if (b->tiles) {
        TIFFGetField(job->tiff, TIFFTAG_TILEWIDTH, &b->width);
        TIFFGetField(job->tiff, TIFFTAG_TILELENGTH, &b->height);
    } else {
        uint32_t rows = 0;
        TIFFGetFieldDefaulted(job->tiff, TIFFTAG_ROWSPERSTRIP, &rows);
        if (rows > 0 && rows < job->height) b->height = rows;
    }
    b->n_planes = job->planar == PLANARCONFIG_SEPARATE ? job->samples : 1;
    tmsize_t bytes = b->tiles ? TIFFTileSize(job->tiff) : TIFFStripSize(job->tiff);
    b->bytes = bytes > 0 ? (uint64_t)bytes : 0;
    return b->bytes > 0 && b->width > 0 && b->height > 0 && b->bytes <= INT_MAX;
}

/* Whether the file holds what its directory says: nothing gets memory for less. */
static bool are_there(const tiff_job *job, const blocks *b) {
    uint32_t n = b->tiles ? TIFFNumberOfTiles(job->tiff) : TIFFNumberOfStrips(job->tiff);
    uint64_t bytes = 0, row_bytes = ((uint64_t)job->width * job->bits + 7) / 8;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t at = TIFFGetStrileOffset(job->tiff, i),
                 size = TIFFGetStrileByteCount(job->tiff, i);
        if (at > job->n || size > job->n - at || size == 0) return false;
        bytes += size;
    }
    bool packed = job->compression != COMPRESSION_NONE || job->photometric == PHOTOMETRIC_YCBCR;
    return packed || bytes >= row_bytes * job->height * job->samples;
}

/* ---- samples -------------------------------------------------------------------------------- */

static float deep_sample(const tiff_job *job, const uint8_t *at) {
    uint32_t bits = 0;
    float value;
    uint16_t half;
    if (job->bits == 16) {
        memcpy(&half, at, sizeof half);
        return job->format == SAMPLEFORMAT_INT ? (float)(int16_t)half : (float)half;
    }
    memcpy(&bits, at, sizeof bits);
    memcpy(&value, at, sizeof value);
    return job->format == SAMPLEFORMAT_IEEEFP ? value
           : job->format == SAMPLEFORMAT_INT  ? (float)(int32_t)bits
                                              : (float)bits;
}

/* The upper eight bits of an integer. */
static uint8_t upper_bits(const tiff_job *job, const uint8_t *at) {
    uint32_t value = *at;
    uint16_t half;
    if (job->bits == 16) {
        memcpy(&half, at, sizeof half);
        value = half >> 8;
    } else if (job->bits == 32) {
        memcpy(&value, at, sizeof value);
        value >>= 24;
    }
    return (uint8_t)(job->format == SAMPLEFORMAT_INT ? value ^ 0x80 : value);
}

/* n samples of channel c, of the picture's row y from column x on, `step` bytes apart. */
static void put_samples(const tiff_job *job, const uint8_t *from, size_t step, int c, uint32_t x,
                        uint32_t y, uint32_t n) {
    const thaw_decoder *d = job->decoder;
    bool is_alpha = c == job->colours;
    uint8_t flip = job->photometric == PHOTOMETRIC_MINISWHITE && !is_alpha ? 0xff : 0;
    if (d->deep.channels) {
        float *to = thaw__picture_deep_row(d, y) + (size_t)x * (size_t)d->deep.channels + c;
        for (uint32_t i = 0; i < n; i++, from += step, to += d->deep.channels)
            *to = is_alpha ? (float)upper_bits(job, from) : deep_sample(job, from);
        return;
    }
    uint8_t *to = thaw__picture_row(d, y) + (size_t)x * (size_t)d->channels;
    int first = is_alpha ? 3 : c, copies = job->colours == 1 && !is_alpha ? 3 : 1;
    for (uint32_t i = 0; i < n; i++, from += step, to += d->channels)
        for (int k = 0; k < copies; k++)
            to[first + k] = upper_bits(job, from) ^ flip;
}

static void put_palette(const tiff_job *job, const uint8_t *from, uint32_t x, uint32_t y,
                        uint32_t n) {
    uint8_t *to = thaw__picture_row(job->decoder, y) + (size_t)x * 3;
    for (uint32_t i = 0; i < n; i++, from += job->samples)
        for (int c = 0; c < 3; c++)
            *to++ = (uint8_t)(job->palette[c][*from] >> 8);
}

static void put_inks(const tiff_job *job, const uint8_t *from, uint32_t x, uint32_t y, uint32_t n) {
    uint8_t *to = thaw__picture_row(job->decoder, y) + (size_t)x * 3;
    for (uint32_t i = 0; i < n; i++, from += job->samples, to += 3) {
        uint8_t light[4];
        for (int c = 0; c < 4; c++)
            light[c] = 255 - from[c];
        thaw__cmyk_to_rgb(light, 1, to);
    }
}

/* A row of a block. */
static void put_row(const tiff_job *job, const uint8_t *from, uint32_t plane, uint32_t x,
                    uint32_t y, uint32_t n) {
    size_t sample = job->bits / 8;
    int kept = job->colours + (job->alpha != NO_ALPHA);
    if (job->photometric == PHOTOMETRIC_PALETTE) {
        put_palette(job, from, x, y, n);
    } else if (job->photometric == PHOTOMETRIC_SEPARATED) {
        put_inks(job, from, x, y, n);
    } else if (job->planar == PLANARCONFIG_SEPARATE) {
        if ((int)plane < kept) put_samples(job, from, sample, (int)plane, x, y, n);
    } else {
        for (int c = 0; c < kept; c++)
            put_samples(job, from + (size_t)c * sample, sample * job->samples, c, x, y, n);
    }
}

static bool read_block(tiff_job *job, const blocks *b, uint8_t *buffer, uint32_t plane, uint32_t x,
                       uint32_t y) {
    uint32_t rows = job->height - y < b->height ? job->height - y : b->height;
    uint32_t columns = job->width - x < b->width ? job->width - x : b->width;
    uint64_t row_bytes = b->bytes / b->height;
    tmsize_t want = (tmsize_t)(b->tiles ? b->bytes : row_bytes * rows);
    tmsize_t got =
        b->tiles
            ? TIFFReadEncodedTile(job->tiff, TIFFComputeTile(job->tiff, x, y, 0, (uint16_t)plane),
                                  buffer, want)
            : TIFFReadEncodedStrip(job->tiff, TIFFComputeStrip(job->tiff, y, (uint16_t)plane),
                                   buffer, want);
    if (got != want || job->failed || thaw__picture_stopped(job->decoder)) return false;
    for (uint32_t i = 0; i < rows; i++)
        put_row(job, buffer + i * row_bytes, plane, x, y + i, columns);
    return true;
}

static bool read_blocks(tiff_job *job, const blocks *b, uint8_t *buffer) {
    for (uint32_t plane = 0; plane < b->n_planes; plane++)
        for (uint32_t y = 0; y < job->height; y += b->height)
            for (uint32_t x = 0; x < job->width; x += b->width)
                if (!read_block(job, b, buffer, plane, x, y)) return false;
    return true;
}

/* ---- pictures ------------------------------------------------------------------------------- */

static void straighten(const thaw_decoder *d) {
    for (int y = 0; y < d->height; y++)
        for (int x = 0; x < d->width; x++)
            thaw__unpremultiply(thaw__picture_row(d, y) + 4 * (size_t)x);
}

/* A row that is not a whole number of bytes long, or planes of which one is shorter, are nothing that
 * this reads: blocks are dense. */
static thaw_status read_plain(tiff_job *job, const blocks *b, thaw_error *err) {
    thaw_decoder *d = job->decoder;
    bool deep = job->bits > 8 && thaw__picture_is_deep(d);
    if (job->format == SAMPLEFORMAT_IEEEFP && !deep)
        return refuse_kind(job, "floats have no range of their own, set image.window", err);
    uint32_t in_block = job->planar == PLANARCONFIG_SEPARATE ? 1 : job->samples;
    if (b->bytes != (uint64_t)b->width * b->height * in_block * (job->bits / 8))
        return damaged(job, "its header does not fit its pixels", err);
    thaw_picture picture = {.width = job->width,
                            .height = job->height,
                            .channels = job->alpha ? 4 : 3,
                            .deep_channels = deep ? job->colours + (job->alpha != NO_ALPHA) : 0,
                            .orientation = job->orientation,
                            .more_bytes = b->bytes};
    THAW_TRY(thaw__picture_open(d, &picture, err));
    THAW_TRY(thaw__picture_rows(d, err));
    d->deep.invert = job->photometric == PHOTOMETRIC_MINISWHITE;
    uint8_t *buffer = calloc(b->bytes, 1);
    if (!buffer) return thaw_fail_memory(err, "for a TIFF");
    bool done = read_blocks(job, b, buffer);
    free(buffer);
    if (!done) return damaged(job, "it is cut off", err);
    if (job->alpha == PREMULTIPLIED && !deep) straighten(d);
    return THAW_OK;
}

/* In memory of the library's order: one number a pixel. */
static thaw_status read_by_library(tiff_job *job, TIFFRGBAImage *image, thaw_error *err) {
    thaw_decoder *d = job->decoder;
    size_t n = (size_t)d->width * (size_t)d->height;
    uint32_t *pixels = calloc(n, sizeof *pixels);
    if (!pixels) return thaw_fail_memory(err, "for a TIFF");
    image->orientation = image->req_orientation = ORIENTATION_TOPLEFT; /* Turned later. */
    bool done = TIFFRGBAImageGet(image, pixels, job->width, job->height) && !job->failed;
    for (size_t i = 0; done && i < n; i++) {
        d->rgb[3 * i] = (uint8_t)TIFFGetR(pixels[i]);
        d->rgb[3 * i + 1] = (uint8_t)TIFFGetG(pixels[i]);
        d->rgb[3 * i + 2] = (uint8_t)TIFFGetB(pixels[i]);
    }
    free(pixels);
    return done ? THAW_OK : damaged(job, "it is cut off", err);
}

static thaw_status read_other(tiff_job *job, const blocks *b, thaw_error *err) {
    char why[1024] = "";
    TIFFRGBAImage image;
    thaw_picture picture = {
        .width = job->width,
        .height = job->height,
        .channels = 3,
        .orientation = job->orientation,
        .more_bytes = b->bytes + (uint64_t)4 * job->width * job->height,
    };
    if (job->bits > 8) return refuse_kind(job, "", err);
    THAW_TRY(thaw__picture_open(job->decoder, &picture, err));
    THAW_TRY(thaw__picture_rows(job->decoder, err));
    if (!TIFFRGBAImageOK(job->tiff, why) || !TIFFRGBAImageBegin(&image, job->tiff, 1, why))
        return refuse_kind(job, why, err);
    thaw_status status = read_by_library(job, &image, err);
    TIFFRGBAImageEnd(&image);
    return status;
}

static thaw_status read_picture(tiff_job *job, thaw_error *err) {
    blocks b;
    uint32_t kind = 0;
    if (!read_header(job)) return damaged(job, "its header makes no sense", err);
    if (TIFFGetField(job->tiff, TIFFTAG_SUBFILETYPE, &kind) && kind & FILETYPE_REDUCEDIMAGE)
        return thaw_fail(
            err, THAW_ERR_UNSUPPORTED,
            "the first picture of this TIFF is a small one of another, as in a camera's "
            "raw file, which is not read; convert it to JPEG or PNG");
    if (job->compression == COMPRESSION_OJPEG || !TIFFIsCODECConfigured(job->compression))
        return refuse_kind(job, "", err);
    if (job->width > THAW__LONGEST_SIDE || job->height > THAW__LONGEST_SIDE) { /* Says so. */
        thaw_picture large = {.width = job->width, .height = job->height, .channels = 3};
        return thaw__picture_open(job->decoder, &large, err);
    }
    if (!measure_blocks(job, &b) || job->failed)
        return damaged(job, "its header makes no sense", err);
    if (!are_there(job, &b)) return damaged(job, "it is cut off", err);
    job->in_pixels = true;
    return is_plain(job) ? read_plain(job, &b, err) : read_other(job, &b, err);
}

thaw_status thaw__tiff_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_handlers);
    tiff_job job = {.decoder = d, .bytes = bytes, .n = n};
    job.tiff = TIFFClientOpen("TIFF", "r", &job, on_read, on_write, on_seek, on_close, on_size,
                              on_map, on_unmap);
    if (!job.tiff) return damaged(&job, "its header makes no sense", err);
    thaw_status status = read_picture(&job, err);
    TIFFClose(job.tiff);
    return status;
}

/* "LIBTIFF, Version 4.5.0" and more lines. */
void thaw__tiff_version(char text[THAW__VERSION]) {
    const char *version = TIFFGetVersion(), *number = strstr(version, "Version ");
    if (number) version = number + strlen("Version ");
    snprintf(text, THAW__VERSION, "libtiff %.*s", (int)strcspn(version, "\n"), version);
}
