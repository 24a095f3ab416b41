/* HEIC and AVIF by libheif, which mirrors, turns and crops them as the file says: EXIF's orientation
 * counts nothing here (ISO/IEC 23008-12, A.2.4). Of more than 8 bits a sample the upper ones are kept. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libheif/heif.h>

#include "decoder.h"
#include "hevc.h"

/* ---- what the codecs print ------------------------------------------------------------------ */

/* libde265 and dav1d print what they dislike to stderr, and cannot be told not to. They find another
 * stream there (stderr is a variable, in glibc one that may be set), which is silent for a thread that
 * decodes. */
static _Thread_local bool is_decoding;

static ssize_t write_on(void *cookie, const char *text, size_t n) {
    (void)cookie;
    for (size_t written = 0; !is_decoding && written < n;) {
        ssize_t more = write(STDERR_FILENO, text + written, n - written);
        if (more <= 0) return (ssize_t)written;
        written += (size_t)more;
    }
    return (ssize_t)n;
}

static void replace_stderr(void) {
    FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_on});
    if (!stream) return;
    setvbuf(stream, NULL, _IONBF, 0);
    stderr = stream;
}

static void prepare_once(void) {
    replace_stderr();
    thaw__hevc_register();
}

static void prepare_library(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_once);
}

/* ---- pictures ------------------------------------------------------------------------------- */

static thaw_status refuse(const thaw_decoder *d, struct heif_error error, thaw_error *err) {
    if (thaw__picture_stopped(d))
        return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped while a HEIC or AVIF was read");
    if (error.code == heif_error_Memory_allocation_error)
        return thaw_fail_memory(err, "for a HEIC or AVIF");
    if (error.code == heif_error_Unsupported_filetype ||
        error.code == heif_error_Unsupported_feature)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "HEIC and AVIF pictures of this kind are not read (%.200s); convert it to "
                         "JPEG or PNG",
                         error.message);
    char how[256];
    snprintf(how, sizeof how, "%.200s", error.message);
    return thaw__picture_damaged("HEIC or AVIF", how, err);
}

static thaw_status copy_pixels(thaw_decoder *d, const struct heif_image *image, bool premultiplied,
                               thaw_error *err) {
    int stride;
    const uint8_t *from = heif_image_get_plane_readonly(image, heif_channel_interleaved, &stride);
    if (!from || heif_image_get_width(image, heif_channel_interleaved) != d->width ||
        heif_image_get_height(image, heif_channel_interleaved) != d->height)
        return thaw__picture_damaged("HEIC or AVIF", "its header does not fit its pixels", err);
    size_t row_bytes = (size_t)d->width * (size_t)d->channels;
    for (int y = 0; y < d->height; y++) {
        uint8_t *row = thaw__picture_row(d, y);
        memcpy(row, from + (size_t)y * (size_t)stride, row_bytes);
        for (int x = 0; premultiplied && x < d->width; x++)
            thaw__unpremultiply(row + 4 * (size_t)x);
    }
    return THAW_OK;
}

static thaw_status read_picture(thaw_decoder *d, const struct heif_image_handle *handle,
                                thaw_error *err) {
    bool alpha = heif_image_handle_has_alpha_channel(handle);
    int64_t width = heif_image_handle_get_width(handle),
            height = heif_image_handle_get_height(handle);
    /* Its planes, up to 16 bits each, before and after a turn, and RGB. */
    thaw_picture picture = {.width = width,
                            .height = height,
                            .channels = alpha ? 4 : 3,
                            .more_bytes = (uint64_t)width * (uint64_t)height * 16};
    THAW_TRY(thaw__picture_open(d, &picture, err));
    struct heif_decoding_options *options = heif_decoding_options_alloc();
    if (!options) return thaw_fail_memory(err, "for a HEIC or AVIF");
    options->convert_hdr_to_8bit = 1;
    options->strict_decoding = 1;
    struct heif_image *image = NULL;
    struct heif_error error = heif_decode_image(
        handle, &image, heif_colorspace_RGB,
        alpha ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB, options);
    heif_decoding_options_free(options);
    if (error.code != heif_error_Ok) return refuse(d, error, err);
    thaw_status status = thaw__picture_rows(d, err);
    if (status == THAW_OK)
        status =
            copy_pixels(d, image, alpha && heif_image_handle_is_premultiplied_alpha(handle), err);
    heif_image_release(image);
    return status;
}

static thaw_status read_file(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    struct heif_context *context = heif_context_alloc();
    struct heif_image_handle *handle = NULL;
    if (!context) return thaw_fail_memory(err, "for a HEIC or AVIF");
    heif_context_set_maximum_image_size_limit(context, THAW__LONGEST_SIDE);
    heif_context_set_max_decoding_threads(context, 0); /* Others decode meanwhile. */
    struct heif_error error = heif_context_read_from_memory_without_copy(context, bytes, n, NULL);
    if (error.code == heif_error_Ok && thaw__picture_stopped(d))
        error.code = heif_error_Usage_error;
    if (error.code == heif_error_Ok)
        error = heif_context_get_primary_image_handle(context, &handle);
    thaw_status status =
        error.code == heif_error_Ok ? read_picture(d, handle, err) : refuse(d, error, err);
    if (handle) heif_image_handle_release(handle);
    heif_context_free(context);
    return status;
}

thaw_status thaw__heif_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    prepare_library();
    is_decoding = true;
    thaw_status status = read_file(d, bytes, n, err);
    is_decoding = false;
    return status;
}

/* With the codecs that it uses: their names have their versions. */
void thaw__heif_version(char text[THAW__VERSION]) {
    static const enum heif_compression_format formats[] = {heif_compression_HEVC,
                                                           heif_compression_AV1};
    prepare_library();
    size_t n = (size_t)snprintf(text, THAW__VERSION, "libheif %s", heif_get_version());
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const struct heif_decoder_descriptor *decoder;
        if (heif_get_decoder_descriptors(formats[i], &decoder, 1) < 1 || n >= THAW__VERSION)
            continue;
        n += (size_t)snprintf(text + n, THAW__VERSION - n, ", %s",
                              heif_decoder_descriptor_get_name(decoder));
    }
}
