/* image.decode = fast: a large JPEG is what libjpeg makes of it at the smallest size that still has two
 * pixels for each of the result, resized as any picture; it shows what an exact decode shows, in
 * every orientation, at odd sizes and in every view; and it changes nothing that is small. */
#include "testing.h"

#include <jpeglib.h>

#include "picture/decoder.h"
#include "picture/view.h"

static thaw_decoder *decoder;

static int open_decoder(void **state) {
    (void)state;
    return thaw_decoder_create(&decoder, NULL);
}

static int close_decoder(void **state) {
    (void)state;
    thaw_decoder_free(decoder);
    return 0;
}

/* ---- pictures ------------------------------------------------------------------------------ */

typedef struct kind {
    const char *name;
    int channels, sampling; /* Of the colours: 1 or 2. */
    bool progressive;
} kind;

static const kind kinds[] = {
    {"4:2:0", 3, 2, false}, {"4:4:4", 3, 1, false},      {"grey", 1, 1, false},
    {"CMYK", 4, 1, false},  {"progressive", 3, 2, true},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* Slopes, on which a shift shows, and a little noise. */
static void draw_row(int y, int width, int height, int channels, uint8_t *row) {
    uint64_t seed = (uint64_t)y;
    for (int x = 0; x < width; x++)
        for (int c = 0; c < channels; c++) {
            int slope = c == 1 ? 230 * y / height : c == 0 ? 230 * x / width : 115;
            row[x * channels + c] = (uint8_t)(slope + (int)(test_random(&seed) % 20));
        }
}

/* A JPEG file, to be freed. orientation 0: it says nothing. */
static uint8_t *make_jpeg(const kind *k, int width, int height, int orientation, size_t *n) {
    uint8_t exif[] = "Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\0\0\0\0\0\0\0";
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    uint8_t *row = malloc((size_t)width * 4);
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &size);
    info.image_width = (unsigned)width;
    info.image_height = (unsigned)height;
    info.input_components = k->channels;
    info.in_color_space = k->channels == 1 ? JCS_GRAYSCALE : k->channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 90, TRUE);
    info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = k->sampling;
    if (k->progressive) jpeg_simple_progression(&info);
    jpeg_start_compress(&info, TRUE);
    exif[24] = (uint8_t)orientation;
    if (orientation) jpeg_write_marker(&info, JPEG_APP0 + 1, exif, sizeof exif - 1);
    for (int y = 0; y < height; y++) {
        draw_row(y, width, height, k->channels, row);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    free(row);
    *n = size;
    return bytes;
}

/* RGB at a fraction of the size, by libjpeg alone; to be freed. */
static uint8_t *shrink_with_libjpeg(const uint8_t *bytes, size_t n, unsigned shrink, int *width,
                                    int *height) {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    info.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, bytes, n);
    jpeg_read_header(&info, TRUE);
    bool cmyk = info.num_components == 4;
    info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    info.scale_num = 1;
    info.scale_denom = shrink;
    jpeg_start_decompress(&info);
    *width = (int)info.output_width;
    *height = (int)info.output_height;
    uint8_t *rgb = malloc((size_t)3 * info.output_width * info.output_height);
    uint8_t *row = malloc((size_t)4 * info.output_width);
    for (uint8_t *to = rgb; info.output_scanline < info.output_height;
         to += (size_t)3 * info.output_width) {
        jpeg_read_scanlines(&info, &row, 1);
        if (cmyk)
            thaw__cmyk_to_rgb(row, *width, to);
        else
            memcpy(to, row, (size_t)3 * info.output_width);
    }
    jpeg_destroy_decompress(&info);
    free(row);
    return rgb;
}

static thaw_geometry square(int side, thaw_decode decode) {
    return (thaw_geometry){.width = side,
                           .height = side,
                           .fit = THAW_FIT_CROP,
                           .shorter = side,
                           .channels = 3,
                           .background = 255,
                           .decode = decode};
}

enum { MOST = 128 * 128 * 3 };

static void decode(const char *what, const uint8_t *bytes, size_t n, thaw_geometry g,
                   const thaw_view *view, uint8_t *out) {
    thaw_error err = {0};
    if (thaw_image_decode_view(decoder, bytes, n, &g, view, out, &err) != THAW_OK)
        fail_msg("%s: %s", what, err.text);
}

/* ---- tests --------------------------------------------------------------------------------- */

static void a_large_jpeg_is_shrunk_by_libjpeg(void **state) {
    (void)state;
    /* The least side is 304: at 19, 304 = 2 * 8 * 19 pixels are just enough for an eighth. */
    static const struct {
        int side;
        unsigned shrink;
    } rows[] = {{8, 8}, {19, 8}, {20, 4}, {38, 4}, {39, 2}, {76, 2}, {77, 1}, {120, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < N_KINDS; k++) {
            int side = rows[i].side, width, height;
            size_t n, size = (size_t)(3 * side * side);
            uint8_t want[MOST], got[MOST], exact[MOST];
            uint8_t *bytes = make_jpeg(&kinds[k], 400, 304, 0, &n);
            uint8_t *rgb = shrink_with_libjpeg(bytes, n, rows[i].shrink, &width, &height);
            thaw_geometry g = square(side, THAW_DECODE_FAST);
            decode(kinds[k].name, bytes, n, g, NULL, got);
            assert_int_equal((unsigned)decoder->shrink, rows[i].shrink);
            decode(kinds[k].name, bytes, n, square(side, THAW_DECODE_EXACT), NULL, exact);
            assert_int_equal(decoder->shrink, 1);
            assert_int_equal(
                thaw_image_resize(decoder, &(thaw_pixels){rgb, width, height}, &g, want, NULL),
                THAW_OK);
            if (memcmp(got, want, size) != 0)
                fail_msg("%s at %d: other pixels", kinds[k].name, side);
            assert_int_equal(memcmp(got, exact, size) == 0, rows[i].shrink == 1);
            free(rgb);
            free(bytes);
        }
    }
}

/* The slopes are right to a level or two in each place: a shift by a tenth of a pixel is more. */
static void same_picture(const char *what, int a, int b, const uint8_t *fast, const uint8_t *exact,
                         size_t n) {
    double sum = 0;
    int worst = 0;
    for (size_t i = 0; i < n; i++) {
        int apart = abs(fast[i] - exact[i]);
        sum += apart;
        if (apart > worst) worst = apart;
    }
    if (sum / (double)n > 0.6 || worst > 3)
        fail_msg("%s %d, %d: %.2f levels apart, at most %d", what, a, b, sum / (double)n, worst);
}

static void every_orientation_and_size_shows_the_same(void **state) {
    (void)state;
    enum { SIDE = 16, N = 3 * SIDE * SIDE };
    for (int orientation = 1; orientation <= 8; orientation++) {
        for (int more = 0; more < 8; more += 3) { /* Of a block that is not whole. */
            for (size_t k = 0; k < N_KINDS; k++) {
                uint8_t fast[N], exact[N];
                size_t n;
                uint8_t *bytes = make_jpeg(&kinds[k], 280 + more, 400 + 7 - more, orientation, &n);
                decode(kinds[k].name, bytes, n, square(SIDE, THAW_DECODE_FAST), NULL, fast);
                assert_int_equal(decoder->shrink, 8);
                decode(kinds[k].name, bytes, n, square(SIDE, THAW_DECODE_EXACT), NULL, exact);
                same_picture(kinds[k].name, orientation, more, fast, exact, N);
                thaw_geometry squashed = square(SIDE, THAW_DECODE_FAST);
                squashed.fit = THAW_FIT_SQUASH;
                decode(kinds[k].name, bytes, n, squashed, NULL, fast);
                squashed.decode = THAW_DECODE_EXACT;
                decode(kinds[k].name, bytes, n, squashed, NULL, exact);
                same_picture(kinds[k].name, orientation, more, fast, exact, N);
                free(bytes);
            }
        }
    }
}

/* A view of a part needs more pixels than one of the whole. */
static void every_view_shows_the_same(void **state) {
    (void)state;
    enum { SIDE = 16, N = 3 * SIDE * SIDE };
    const thaw_view_ranges ranges = {.crop = 0.1, .flip = true, .rotate = 10, .colour = 0.1};
    bool seen[9] = {false};
    size_t n;
    uint8_t *bytes = make_jpeg(&kinds[0], 403, 299, 6, &n);
    for (int i = 1; i <= 60; i++) {
        uint8_t fast[N], exact[N];
        thaw_view view = thaw_view_draw(&ranges, (thaw_hash){1, 2}, i);
        decode("view", bytes, n, square(SIDE, THAW_DECODE_FAST), &view, fast);
        seen[decoder->shrink] = true;
        decode("view", bytes, n, square(SIDE, THAW_DECODE_EXACT), &view, exact);
        same_picture("view", i, 0, fast, exact, N);
    }
    assert_true(seen[4] && seen[8]);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_jpeg_is_shrunk_by_libjpeg),
        cmocka_unit_test(every_orientation_and_size_shows_the_same),
        cmocka_unit_test(every_view_shows_the_same),
    };
    return cmocka_run_group_tests(tests, open_decoder, close_decoder);
}
