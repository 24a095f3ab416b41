/* PNG by libpng: checksums are checked, and what libpng only warns of is damage. */
#include <png.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "bytes.h"
#include "decoder.h"

typedef struct png_job {
    png_structp png;
    png_infop info;
    thaw_decoder *decoder;
    const uint8_t *bytes;
    size_t n, at;
    size_t limit; /* Where reading must not go: n, but less while the last row is read. */
    bool stopped, no_memory;
    char reason[128];
} png_job;

static void on_error(png_structp png, png_const_charp message) {
    png_job *job = png_get_error_ptr(png);
    if (!job->reason[0]) snprintf(job->reason, sizeof job->reason, "%s", message);
    png_longjmp(png, 1);
}

/* All chunks of which a warning would be a matter of taste are skipped; what is left is lost pixels
 * and wrong palettes. Bytes behind the end of the compressed stream hurt nobody. */
static void on_warning(png_structp png, png_const_charp message) {
    if (strcmp(message, "IDAT: Extra compressed data") != 0) on_error(png, message);
}

static void on_read(png_structp png, png_bytep to, png_size_t n) {
    png_job *job = png_get_io_ptr(png);
    job->stopped = thaw__picture_stopped(job->decoder);
    if (job->stopped) png_error(png, "stopped");
    if (n > job->n - job->at) png_error(png, "it is cut off");
    if (n > job->limit - job->at) png_error(png, "it holds more than its pixels");
    memcpy(to, job->bytes + job->at, n);
    job->at += n;
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t n) {
    png_job *job = png_get_mem_ptr(png);
    void *memory = malloc(n);
    job->no_memory |= !memory;
    return memory;
}

static void on_free(png_structp png, png_voidp memory) {
    (void)png;
    free(memory);
}

/* What follows the keyword in the first chunk of that type whose data begins with it; its checksum
 * is libpng's to check. at is NULL: there is none. */
static thaw_bytes find_chunk(const png_job *job, const char type[4], const char *keyword,
                             size_t length) {
    thaw_bytes all = {.at = job->bytes, .left = job->n, .big = true};
    thaw_bytes_take(&all, 8);
    while (!all.ended) {
        uint32_t n = thaw_bytes_number(&all, 4);
        const uint8_t *name = thaw_bytes_take(&all, 4), *data = thaw_bytes_take(&all, n);
        if (data && memcmp(name, type, 4) == 0 && n >= length && memcmp(data, keyword, length) == 0)
            return (thaw_bytes){.at = data + length, .left = n - length};
        thaw_bytes_take(&all, 4); /* The checksum. */
    }
    return (thaw_bytes){0};
}

/* From a chunk for it, from where ImageMagick has put it before there was one, or from XMP. */
static int orientation(const png_job *job) {
    static const char magick[] = "Raw profile type exif", xmp[] = "XML:com.adobe.xmp\0";
    thaw_bytes chunk = find_chunk(job, "eXIf", "", 0);
    int found = chunk.at ? thaw__exif_orientation(chunk.at, chunk.left) : 0;
    chunk = find_chunk(job, "tEXt", magick, sizeof magick);
    if (!found && chunk.at) found = thaw__hex_orientation(chunk.at, chunk.left);
    chunk = find_chunk(job, "zTXt", magick, sizeof magick);
    if (!found && chunk.left > 1) { /* A byte for the method, of which there is one. */
        uint8_t text[1 << 13];
        uLongf n = sizeof text; /* It may hold more; what matters stands at the beginning. */
        uncompress(text, &n, chunk.at + 1, chunk.left - 1);
        found = thaw__hex_orientation(text, n);
    }
    chunk = find_chunk(job, "iTXt", xmp, sizeof xmp);
    if (!found && chunk.at) found = thaw__xmp_orientation(chunk.at, chunk.left);
    return found;
}

/* RGB of 8 bits, with alpha where the file has it or a transparent colour. Of 16 bits the upper
 * eight are kept, unless they are wanted as they are. */
static void ask_for_rgb(png_job *job, thaw_picture *p) {
    png_set_expand(job->png);
    bool alpha = png_get_color_type(job->png, job->info) & PNG_COLOR_MASK_ALPHA ||
                 png_get_valid(job->png, job->info, PNG_INFO_tRNS);
    p->channels = alpha ? 4 : 3;
    if (png_get_bit_depth(job->png, job->info) == 16 && thaw__picture_is_deep(job->decoder)) {
        bool colour = png_get_color_type(job->png, job->info) & PNG_COLOR_MASK_COLOR;
        p->deep_channels = (colour ? 3 : 1) + alpha;
        return;
    }
    png_set_strip_16(job->png);
    png_set_gray_to_rgb(job->png);
}

/* libpng reads the compressed stream to its end, which may be gigabytes away, together with the
 * last row. That much of the file no row takes. */
static size_t most_of_a_row(const png_job *job) {
    enum { SLACK = 1 << 16 };
    size_t most = 4 * png_get_rowbytes(job->png, job->info) + SLACK;
    return most < job->n - job->at ? job->at + most : job->n;
}

/* Everything; returns by longjmp when libpng gives up. */
static thaw_status read_picture(png_job *job, thaw_error *err) {
    thaw_decoder *d = job->decoder;
    png_read_info(job->png, job->info);
    thaw_picture picture = {.width = png_get_image_width(job->png, job->info),
                            .height = png_get_image_height(job->png, job->info),
                            .orientation = orientation(job)};
    ask_for_rgb(job, &picture);
    THAW_TRY(thaw__picture_open(d, &picture, err));
    int passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    /* There is no other way, but room in memory depends on it. */
    int deep = d->deep.channels, bytes = deep ? 2 * deep : d->channels; /* A pixel. */
    if (png_get_rowbytes(job->png, job->info) != (size_t)d->width * (size_t)bytes)
        png_error(job->png, "its header does not fit its pixels");
    THAW_TRY(thaw__picture_rows(d, err));
    for (int pass = 0; pass < passes; pass++) {
        for (int y = 0; y < d->height; y++) {
            if (pass == passes - 1 && y == d->height - 1) job->limit = most_of_a_row(job);
            uint8_t *row = deep ? (uint8_t *)thaw__picture_deep_row(d, y) : thaw__picture_row(d, y);
            png_read_row(job->png, row, NULL);
        }
    }
    for (int y = 0; deep && y < d->height; y++)
        thaw__picture_widen(d, y);
    job->limit = job->n;
    png_read_end(job->png, NULL);
    return THAW_OK;
}

static thaw_status refuse(const png_job *job, thaw_error *err) {
    if (job->stopped) return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped while a PNG was read");
    if (job->no_memory) return thaw_fail_memory(err, "for a PNG");
    return thaw__picture_damaged("PNG", job->reason, err);
}

/* libpng comes back here when it gives up. */
static thaw_status run(png_job *job, thaw_error *err) {
    if (setjmp(png_jmpbuf(job->png))) return refuse(job, err);
    job->info = png_create_info_struct(job->png);
    if (!job->info) return thaw_fail_memory(err, "for a PNG");
    png_set_read_fn(job->png, job, on_read);
    png_set_crc_action(job->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    /* Sizes are thaw__picture_open's to judge. */
    png_set_user_limits(job->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    /* All that does not change pixels is skipped, its checksum apart. */
    png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    return read_picture(job, err);
}

thaw_status thaw__png_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    png_job job = {.decoder = d, .bytes = bytes, .n = n, .limit = n};
    job.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning, &job,
                                       on_malloc, on_free);
    if (!job.png) return thaw_fail_memory(err, "for a PNG");
    thaw_status status = run(&job, err);
    png_destroy_read_struct(&job.png, &job.info, NULL);
    return status;
}

void thaw__png_version(char text[THAW__VERSION]) {
    snprintf(text, THAW__VERSION, "libpng %s", png_get_libpng_ver(NULL));
}
