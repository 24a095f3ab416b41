/* JPEG by libjpeg-turbo, as Pillow uses it. The library goes on where data is missing or wrong, and
 * only warns; here such a warning ends the decode at once. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "decoder.h"

enum {
    MARKER_BYTES = 0xffff,
    MOST_SCANS = 100, /* Encoders write about ten; each costs a pass over the whole picture. */
};

typedef struct jpeg_job {
    struct jpeg_decompress_struct info; /* First: the library's callbacks get it. */
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    thaw_decoder *decoder;
    const char *reason; /* Why it was ended here, not by the library. */
    bool stopped;
    bool no_end;   /* The file ends before the end marker. */
    unsigned seen; /* Bit c: component c was in a scan. */
    uint8_t *ink;  /* A row of CMYK. */
} jpeg_job;

static void end_job(jpeg_job *job, const char *reason) {
    job->reason = reason;
    longjmp(job->back, 1);
}

static void on_fatal(j_common_ptr common) {
    longjmp(((jpeg_job *)common)->back, 1);
}

/* Stray bytes between segments are common and harmless; missing or wrong coded data is not. Without
 * an end marker all pixels may still be there. */
static void on_message(j_common_ptr common, int level) {
    jpeg_job *job = (jpeg_job *)common;
    if (level >= 0) return;
    switch (common->err->msg_code) {
        case JWRN_HIT_MARKER:
        case JWRN_HUFF_BAD_CODE:
        case JWRN_ARITH_BAD_CODE:
        case JWRN_MUST_RESYNC:
        case JWRN_BOGUS_PROGRESSION:
            end_job(job, "cut off or damaged in the middle");
            break;
        case JWRN_JPEG_EOF:
            job->no_end = true;
            break;
        default:
            break;
    }
}

/* Called for each row of blocks of each scan. */
static void on_progress(j_common_ptr common) {
    jpeg_job *job = (jpeg_job *)common;
    job->stopped = thaw__picture_stopped(job->decoder);
    if (job->stopped) longjmp(job->back, 1);
    if (job->info.input_scan_number > MOST_SCANS) end_job(job, "it has more than 100 scans");
    for (int i = 0; i < job->info.comps_in_scan; i++)
        job->seen |= 1u << job->info.cur_comp_info[i]->component_index;
}

/* Whether the scans hold all of the picture, once they are read: all components, and of a
 * progressive one all coefficients to the last bit, as all encoders write them. Of a coarser one
 * each version of the library makes another picture. */
static bool is_whole(const jpeg_job *job) {
    const struct jpeg_decompress_struct *info = &job->info;
    for (int c = 0; c < info->num_components; c++) {
        if (!(job->seen & 1u << c)) return false;
        for (int k = 0; info->progressive_mode && k < DCTSIZE2; k++)
            if (info->coef_bits[c][k] != 0) return false;
    }
    return true;
}

static int orientation(const struct jpeg_decompress_struct *info) {
    static const char exif[6] = "Exif\0", xmp[29] = "http://ns.adobe.com/xap/1.0/";
    int found = 0;
    jpeg_saved_marker_ptr m = info->marker_list;
    for (; m && !found; m = m->next)
        if (m->data_length >= sizeof exif && memcmp(m->data, exif, sizeof exif) == 0)
            found = thaw__exif_orientation(m->data, m->data_length);
    for (m = info->marker_list; m && !found; m = m->next)
        if (m->data_length >= sizeof xmp && memcmp(m->data, xmp, sizeof xmp) == 0)
            found = thaw__xmp_orientation(m->data + sizeof xmp, m->data_length - sizeof xmp);
    return found;
}

/* What the library keeps of a picture of several scans: coefficients. */
static uint64_t coefficient_bytes(struct jpeg_decompress_struct *info) {
    uint64_t bytes = 0;
    for (int c = 0; jpeg_has_multiple_scans(info) && c < info->num_components; c++)
        bytes += (uint64_t)info->comp_info[c].width_in_blocks *
                 info->comp_info[c].height_in_blocks * sizeof(JBLOCK);
    return bytes;
}

/* Columns outside of what the resize reads are not transformed back from frequencies: a third less
 * of that work for a 3:2 picture. A block of margin on each side keeps the neighbours that the
 * upsampling looks at, so the columns in use are what a full decode gives (a test compares). */
static void crop_columns(struct jpeg_decompress_struct *info, thaw_decoder *d) {
    int margin = DCTSIZE, low = d->x.axis.low;
    JDIMENSION x = (JDIMENSION)(low > margin ? low - margin : 0);
    JDIMENSION end = (JDIMENSION)(d->x.axis.high + margin);
    if (end > info->output_width) end = info->output_width;
    JDIMENSION width = end - x;
    if (x > 0 || end < info->output_width) jpeg_crop_scanline(info, &x, &width);
    d->first_column = (int)x;
    d->n_columns = (int)width;
}

/* Inks are stored inverted, as Adobe does; Pillow, browsers and viewers take that for granted whether
 * Adobe's marker is there or not. */
static void read_rows(jpeg_job *job, bool cmyk) {
    struct jpeg_decompress_struct *info = &job->info;
    while (info->output_scanline < info->output_height) {
        uint8_t *rgb = thaw__picture_row(job->decoder, info->output_scanline);
        JSAMPROW row = cmyk ? job->ink : rgb;
        if (jpeg_read_scanlines(info, &row, 1) == 1 && cmyk)
            thaw__cmyk_to_rgb(job->ink, job->decoder->n_columns, rgb);
    }
}

/* Everything from the header on; returns by longjmp when the library gives up. What follows the
 * last row does not matter. */
static thaw_status read_picture(jpeg_job *job, thaw_error *err) {
    struct jpeg_decompress_struct *info = &job->info;
    thaw_decoder *d = job->decoder;
    jpeg_read_header(info, TRUE);
    bool cmyk = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
    info->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    info->dct_method = JDCT_ISLOW;
    thaw_picture picture = {.width = info->image_width,
                            .height = info->image_height,
                            .channels = 3,
                            .orientation = orientation(info),
                            .shrinks = true,
                            .more_bytes = coefficient_bytes(info)};
    THAW_TRY(thaw__picture_open(d, &picture, err));
    /* Halves, quarters and eighths have transforms of their own in SIMD; others cost more than the
     * whole. Subsampled colours are transformed to the size of the grey where they can be. */
    info->scale_denom = (unsigned)d->shrink;
    jpeg_start_decompress(info); /* Reads all scans where there are several. */
    if (jpeg_has_multiple_scans(info) && !is_whole(job)) end_job(job, "cut off, scans are missing");
    if (d->geometry) crop_columns(info, d);
    THAW_TRY(thaw__picture_rows(d, err));
    job->ink = cmyk ? malloc(4 * (size_t)d->n_columns) : NULL;
    if (cmyk && !job->ink) return thaw_fail_memory(err, "for a picture");
    read_rows(job, cmyk);
    /* The arithmetic decoder makes zeros of what is missing, without a warning of its own. */
    if (job->no_end && info->arith_code) end_job(job, "cut off");
    return THAW_OK;
}

static thaw_status refuse(const jpeg_job *job, thaw_error *err) {
    char text[JMSG_LENGTH_MAX];
    if (job->stopped) return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped while a JPEG was read");
    if (job->reason) return thaw__picture_damaged("JPEG", job->reason, err);
    if (job->errors.msg_code == JERR_OUT_OF_MEMORY) return thaw_fail_memory(err, "for a JPEG");
    job->errors.format_message((j_common_ptr)&job->info, text);
    return thaw__picture_damaged("JPEG", text, err);
}

/* The library comes back here when it gives up. */
static thaw_status run(jpeg_job *job, const uint8_t *bytes, size_t n, thaw_error *err) {
    if (setjmp(job->back)) return refuse(job, err);
    jpeg_create_decompress(&job->info);
    job->info.progress = &job->progress;
    jpeg_mem_src(&job->info, bytes, n);
    jpeg_save_markers(&job->info, JPEG_APP0 + 1, MARKER_BYTES);
    return read_picture(job, err);
}

thaw_status thaw__jpeg_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    jpeg_job job = {.decoder = d};
    job.info.err = jpeg_std_error(&job.errors);
    job.errors.error_exit = on_fatal;
    job.errors.emit_message = on_message;
    job.progress.progress_monitor = on_progress;
    thaw_status status = run(&job, bytes, n, err);
    jpeg_destroy_decompress(&job.info);
    free(job.ink);
    return status;
}

#define TEXT(x) #x
#define NUMBER(x) TEXT(x)
void thaw__jpeg_version(char text[THAW__VERSION]) {
    snprintf(text, THAW__VERSION, "libjpeg-turbo " NUMBER(LIBJPEG_TURBO_VERSION));
}
