/* HEVC for libheif by libde265, in the place of libheif's own use of it, which shows what lay in memory
 * where a damaged picture has no pixels, says nothing of what the decoder has made up, and lets it take
 * memory of any size. */
#include "hevc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libde265/de265.h>
#include <libheif/heif.h>
#include <libheif/heif_plugin.h>

#include "decoder.h"

static const struct heif_error fine = {heif_error_Ok, heif_suberror_Unspecified, ""};

static struct heif_error fail(const char *how) {
    return (struct heif_error){heif_error_Decoder_plugin_error, heif_suberror_Unspecified, how};
}

/* ---- memory for pixels ---------------------------------------------------------------------- */

/* Zeros, room for 16 bits a sample, and behind each plane for what vectors read there. False: there is
 * none, or it would be too much. */
static int get_buffer(de265_decoder_context *context, struct de265_image_spec *spec,
                      struct de265_image *image, void *unused) {
    enum { MOST_PIXELS = 1 << 28, BEHIND = 64, ALIGNED = 64 };
    int n = spec->format == de265_image_format_mono8 ? 1 : 3;
    (void)context, (void)unused;
    if (spec->width < 1 || spec->height < 1 || (int64_t)spec->width * spec->height > MOST_PIXELS)
        return 0;
    for (int c = 0; c < n; c++) {
        bool half = c > 0 && spec->format != de265_image_format_YUV444P8;
        size_t width = half ? ((size_t)spec->width + 1) / 2 : (size_t)spec->width;
        size_t stride = (width + ALIGNED - 1) / ALIGNED * ALIGNED;
        void *plane = calloc(2 * stride * (size_t)spec->height + BEHIND, 1);
        de265_set_image_plane(image, c, plane, (int)stride, plane);
        if (!plane) return 0;
    }
    return 1;
}

static void release_buffer(de265_decoder_context *context, struct de265_image *image,
                           void *unused) {
    (void)context, (void)unused;
    for (int c = 0; c < 3; c++) {
        free(de265_get_image_plane_user_data(image, c));
        de265_set_image_plane(image, c, NULL, 0, NULL);
    }
}

/* ---- the decoder ---------------------------------------------------------------------------- */

static const char *get_name(void) {
    return "libde265 " LIBDE265_VERSION;
}

static void init(void) {
    de265_init();
}

static void deinit(void) {
    de265_free();
}

static int supports(enum heif_compression_format format) {
    enum { ABOVE_ITS_OWN = 200 };
    return format == heif_compression_HEVC ? ABOVE_ITS_OWN : 0;
}

static struct heif_error new_decoder(void **decoder) {
    static struct de265_image_allocation memory = {get_buffer, release_buffer};
    *decoder = de265_new_decoder();
    if (!*decoder) return fail("there is no memory for it");
    de265_set_image_allocation_functions(*decoder, &memory, NULL);
    return fine;
}

static void free_decoder(void *decoder) {
    de265_free_decoder(decoder);
}

/* Units, each behind its length. */
static struct heif_error push_data(void *decoder, const void *data, size_t n) {
    const uint8_t *at = data;
    while (n > 0) {
        uint32_t size = n < 4 ? 0 : (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
        if (n < 4 || size > n - 4 || size > INT32_MAX) return fail("it is cut off");
        if (de265_push_NAL(decoder, at + 4, (int)size, 0, NULL) != DE265_OK)
            return fail("there is no memory for it");
        at += 4 + (size_t)size;
        n -= 4 + (size_t)size;
    }
    return fine;
}

static struct heif_error copy_plane(const struct de265_image *from, int c,
                                    enum heif_channel channel, struct heif_image *to) {
    int width = de265_get_image_width(from, c), height = de265_get_image_height(from, c);
    int bits = de265_get_bits_per_pixel(from, c), stride, to_stride;
    if (width < 1 || height < 1 || bits != de265_get_bits_per_pixel(from, 0))
        return fail("its planes do not fit");
    struct heif_error error = heif_image_add_plane(to, channel, width, height, bits);
    if (error.code != heif_error_Ok) return error;
    const uint8_t *source = de265_get_image_plane(from, c, &stride);
    uint8_t *target = heif_image_get_plane(to, channel, &to_stride);
    size_t bytes = (size_t)width * (size_t)((bits + 7) / 8);
    for (int y = 0; y < height; y++)
        memcpy(target + (size_t)y * (size_t)to_stride, source + (size_t)y * (size_t)stride, bytes);
    return fine;
}

/* How its numbers become colours, where the file does not say it. */
static void set_profile(const struct de265_image *from, struct heif_image *to) {
    struct heif_color_profile_nclx *profile = heif_nclx_color_profile_alloc();
    if (!profile) return;
    heif_nclx_color_profile_set_color_primaries(profile,
                                                (uint16_t)de265_get_image_colour_primaries(from));
    heif_nclx_color_profile_set_transfer_characteristics(
        profile, (uint16_t)de265_get_image_transfer_characteristics(from));
    heif_nclx_color_profile_set_matrix_coefficients(
        profile, (uint16_t)de265_get_image_matrix_coefficients(from));
    profile->full_range_flag = (uint8_t)de265_get_image_full_range_flag(from);
    heif_image_set_nclx_color_profile(to, profile);
    heif_nclx_color_profile_free(profile);
}

static struct heif_error convert(const struct de265_image *from, struct heif_image **to) {
    static const enum heif_channel channels[] = {heif_channel_Y, heif_channel_Cb, heif_channel_Cr};
    enum de265_chroma chroma = de265_get_chroma_format(from);
    bool grey = chroma == de265_chroma_mono;
    struct heif_error error = heif_image_create(
        de265_get_image_width(from, 0), de265_get_image_height(from, 0),
        grey ? heif_colorspace_monochrome : heif_colorspace_YCbCr, (enum heif_chroma)chroma, to);
    if (error.code != heif_error_Ok) return error;
    for (int c = 0; error.code == heif_error_Ok && c < (grey ? 1 : 3); c++)
        error = copy_plane(from, c, channels[c], *to);
    if (error.code == heif_error_Ok) {
        set_profile(from, *to);
    } else {
        heif_image_release(*to);
        *to = NULL;
    }
    return error;
}

/* Whether all went well: what the decoder only warns of is damage. */
static bool is_clean(de265_decoder_context *decoder) {
    de265_error warning;
    while ((warning = de265_get_warning(decoder)) != DE265_OK)
        if (warning != DE265_WARNING_NO_WPP_CANNOT_USE_MULTITHREADING) return false;
    return true;
}

static struct heif_error decode_image(void *decoder, struct heif_image **image) {
    const struct de265_image *picture = NULL;
    de265_error error = de265_flush_data(decoder);
    for (int more = 1; more && !picture && error == DE265_OK;) {
        error = de265_decode(decoder, &more);
        picture = de265_get_next_picture(decoder);
    }
    if (!picture || (error != DE265_OK && error != DE265_ERROR_WAITING_FOR_INPUT_DATA) ||
        !is_clean(decoder))
        return fail("its pixels make no sense");
    return convert(picture, image);
}

static void set_strict(void *decoder, int strict) {
    (void)decoder, (void)strict;
}

void thaw__hevc_register(void) {
    static const struct heif_decoder_plugin plugin = {.plugin_api_version = 3,
                                                      .get_plugin_name = get_name,
                                                      .init_plugin = init,
                                                      .deinit_plugin = deinit,
                                                      .does_support_format = supports,
                                                      .new_decoder = new_decoder,
                                                      .free_decoder = free_decoder,
                                                      .push_data = push_data,
                                                      .decode_image = decode_image,
                                                      .set_strict_decoding = set_strict,
                                                      .id_name = "thaw-libde265"};
    heif_register_decoder_plugin(&plugin);
}
