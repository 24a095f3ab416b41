/* Pictures: what Pillow makes of the same bytes (tests/data/make_image_refs.py) is what comes out
 * here; every orientation, channel count and depth; what is no picture is refused by name; a decode
 * that skips columns equals one that does not. Damage and limits have tests of their own. */
#include "testing.h"

#include "picture/image.h"

#define PICTURES THAW_SOURCE_DIR "/tests/data/image/"

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

static thaw_geometry square(int size, int shorter) {
    return (thaw_geometry){.width = size,
                           .height = size,
                           .fit = THAW_FIT_CROP,
                           .shorter = shorter,
                           .channels = 3,
                           .background = 255};
}

/* A copy of the decoded picture, to be freed. */
static uint8_t *load(const char *name, int *width, int *height) {
    char path[256];
    size_t n;
    thaw_pixels pixels;
    thaw_error err = {0};
    snprintf(path, sizeof path, PICTURES "%s", name);
    uint8_t *bytes = test_read(path, &n);
    if (thaw_image_decode_full(decoder, bytes, n, 255, &pixels, &err) != THAW_OK)
        fail_msg("%s: %s", name, err.text);
    free(bytes);
    size_t size = 3 * (size_t)pixels.width * (size_t)pixels.height;
    uint8_t *copy = malloc(size);
    memcpy(copy, pixels.rgb, size);
    *width = pixels.width;
    *height = pixels.height;
    return copy;
}

static void same_within_one_level(const char *what, const uint8_t *want, const uint8_t *got,
                                  size_t n) {
    size_t apart = 0;
    int worst = 0;
    for (size_t i = 0; i < n; i++) {
        int difference = abs(want[i] - got[i]);
        apart += difference > 1;
        if (difference > worst) worst = difference;
    }
    if (apart * 1000 > n)
        fail_msg("%s: %zu of %zu values differ by more than one level, the worst by %d", what,
                 apart, n, worst);
}

/* ---- against Pillow ------------------------------------------------------------------------ */

static void decodes_as_pillow(void **state) {
    (void)state;
    static const char *const names[][2] = {
        {"420.jpg", "420.full.png"},         {"444.jpg", "444.full.png"},
        {"grey.jpg", "grey.full.png"},       {"progressive.jpg", "progressive.full.png"},
        {"cmyk.jpg", "cmyk.full.png"},       {"alpha.png", "alpha.full.png"},
        {"palette.png", "palette.full.png"}, {"grey16.png", "grey16.full.png"},
        {"plain.bmp", "plain.full.png"},     {"still.gif", "still.full.png"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int width, height, want_width, want_height;
        uint8_t *got = load(names[i][0], &width, &height);
        uint8_t *want = load(names[i][1], &want_width, &want_height);
        assert_int_equal(width, want_width);
        assert_int_equal(height, want_height);
        same_within_one_level(names[i][0], want, got, 3 * (size_t)width * (size_t)height);
        free(got);
        free(want);
    }
}

typedef struct resize_case {
    const char *picture;
    int width, height;
    thaw_fit fit;
    int shorter;
} resize_case;

static void check_resize(const resize_case *c, thaw_filter filter) {
    char name[128], path[256];
    const char *dot = strchr(c->picture, '.');
    snprintf(name, sizeof name, "%.*s.%dx%d.%s%d.%s.png", (int)(dot - c->picture), c->picture,
             c->width, c->height, c->fit == THAW_FIT_CROP ? "crop" : "squash", c->shorter,
             filter == THAW_FILTER_BICUBIC ? "bicubic" : "bilinear");
    int width, height;
    uint8_t *want = load(name, &width, &height);
    assert_int_equal(width, c->width);
    assert_int_equal(height, c->height);
    thaw_geometry g = {.width = width,
                       .height = height,
                       .fit = c->fit,
                       .shorter = c->shorter,
                       .filter = filter,
                       .channels = 3,
                       .background = 255};
    size_t n, size = 3 * (size_t)width * (size_t)height;
    snprintf(path, sizeof path, PICTURES "%s", c->picture);
    uint8_t *bytes = test_read(path, &n), *got = malloc(size);
    thaw_error err = {0};
    if (thaw_image_decode(decoder, bytes, n, &g, got, &err) != THAW_OK)
        fail_msg("%s: %s", name, err.text);
    same_within_one_level(name, want, got, size);
    free(bytes);
    free(got);
    free(want);
}

static void resizes_as_pillow(void **state) {
    (void)state;
    static const resize_case cases[] = {
        {"base.png", 64, 64, THAW_FIT_CROP, 72}, {"base.png", 33, 47, THAW_FIT_SQUASH, 0},
        {"base.png", 97, 97, THAW_FIT_CROP, 0},  {"base.png", 150, 101, THAW_FIT_SQUASH, 0},
        {"base.png", 9, 7, THAW_FIT_SQUASH, 0},  {"base.png", 170, 60, THAW_FIT_SQUASH, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_resize(&cases[i], THAW_FILTER_BILINEAR);
        check_resize(&cases[i], THAW_FILTER_BICUBIC);
    }
    static const char *const jpegs[] = {"420.jpg", "444.jpg", "progressive.jpg", "grey.jpg",
                                        "cmyk.jpg"};
    for (size_t i = 0; i < sizeof jpegs / sizeof *jpegs; i++)
        check_resize(&(resize_case){jpegs[i], 64, 64, THAW_FIT_CROP, 72}, THAW_FILTER_BILINEAR);
}

static void turns_as_exif_says(void **state) {
    (void)state;
    for (int orientation = 1; orientation <= 8; orientation++) {
        char name[32];
        snprintf(name, sizeof name, "exif%d.jpg", orientation);
        check_resize(&(resize_case){name, 20, 20, THAW_FIT_CROP, 22}, THAW_FILTER_BILINEAR);
    }
}

/* ---- properties ---------------------------------------------------------------------------- */

/* A picture that has the target's size comes through untouched. */
static void keeps_what_fits(void **state) {
    (void)state;
    int width, height;
    uint8_t *want = load("base.png", &width, &height);
    thaw_geometry g = {.width = width, .height = height, .fit = THAW_FIT_SQUASH, .channels = 3};
    thaw_pixels pixels = {want, width, height};
    uint8_t *got = malloc(3 * (size_t)width * (size_t)height);
    assert_int_equal(thaw_image_resize(decoder, &pixels, &g, got, NULL), THAW_OK);
    assert_memory_equal(got, want, 3 * (size_t)width * (size_t)height);
    free(got);
    free(want);
}

/* The decode that leaves out columns gives the same pixels as the whole one. */
static void skipping_columns_changes_nothing(void **state) {
    (void)state;
    static const char *const jpegs[] = {"420.jpg", "444.jpg", "progressive.jpg", "grey.jpg",
                                        "cmyk.jpg"};
    for (size_t i = 0; i < sizeof jpegs / sizeof *jpegs; i++) {
        for (int size = 8; size <= 96; size += 22) {
            char path[256];
            size_t n, bytes_out = 3 * (size_t)size * (size_t)size;
            int width, height;
            thaw_geometry g = square(size, 101); /* The height: only columns are cut. */
            uint8_t *whole = load(jpegs[i], &width, &height);
            uint8_t *want = malloc(bytes_out), *got = malloc(bytes_out);
            thaw_pixels pixels = {whole, width, height};
            snprintf(path, sizeof path, PICTURES "%s", jpegs[i]);
            uint8_t *bytes = test_read(path, &n);
            assert_int_equal(thaw_image_resize(decoder, &pixels, &g, want, NULL), THAW_OK);
            assert_int_equal(thaw_image_decode(decoder, bytes, n, &g, got, NULL), THAW_OK);
            assert_memory_equal(got, want, bytes_out);
            free(whole);
            free(want);
            free(got);
            free(bytes);
        }
    }
}

static void orders_and_grey(void **state) {
    (void)state;
    int width, height;
    uint8_t *rgb = load("base.png", &width, &height);
    thaw_pixels pixels = {rgb, width, height};
    thaw_geometry g = {.width = width,
                       .height = height,
                       .fit = THAW_FIT_SQUASH,
                       .channels = 3,
                       .order = THAW_ORDER_BGR};
    size_t n = (size_t)width * (size_t)height;
    uint8_t *out = malloc(3 * n);
    assert_int_equal(thaw_image_resize(decoder, &pixels, &g, out, NULL), THAW_OK);
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < 3; c++)
            assert_int_equal(out[3 * i + c], rgb[3 * i + 2 - c]);
    g.channels = 1;
    assert_int_equal(thaw_image_resize(decoder, &pixels, &g, out, NULL), THAW_OK);
    for (size_t i = 0; i < n; i++) {
        double luma = 0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2];
        assert_true(fabs(out[i] - luma) <= 0.51);
    }
    free(out);
    free(rgb);
}

/* ---- refusals ------------------------------------------------------------------------------ */

static void refuses(const char *what, const void *bytes, size_t n, const char *expected) {
    thaw_geometry g = square(16, 16);
    uint8_t out[16 * 16 * 3];
    thaw_error err = {0};
    thaw_status status = thaw_image_decode(decoder, bytes, n, &g, out, &err);
    if (status == THAW_OK || !strstr(err.text, expected))
        fail_msg("%s: expected \"%s\", got %d \"%s\"", what, expected, status, err.text);
}

static void refuses_what_is_no_picture(void **state) {
    (void)state;
    refuses("nothing", "", 0, "empty");
    refuses("text", "hello world, I am text", 22, "68 65 6c 6c");
    refuses("WebP", "RIFF\x24\0\0\0WEBPVP8 ", 16, "WebP");
    refuses("HEIC",
            "\0\0\0\x18"
            "ftypheic",
            12, "HEIC");
    refuses("AVIF",
            "\0\0\0\x18"
            "ftypavif",
            12, "AVIF");
    refuses("TIFF", "II*\0abcdefgh", 12, "TIFF");
    refuses("HEIF of no known kind",
            "\0\0\0\x18"
            "ftypmp42",
            12, "mp42");
    /* A pixel, of a kind that says it is a thumbnail. */
    static const char raw[] =
        "II*\0\x08\0\0\0\x08\0\xfe\0\4\0\1\0\0\0\1\0\0\0\0\1\3\0\1\0\0\0\1\0\0\0\1\1\3\0\1\0\0\0\1"
        "\0\0\0\2\1\3\0\1\0\0\0\x08\0\0\0\6\1\3\0\1\0\0\0\1\0\0\0\x11\1\4\0\1\0\0\0\x08\0\0\0"
        "\x16\1\4\0\1\0\0\0\1\0\0\0\x17\1\4\0\1\0\0\0\1\0\0\0\0\0\0\0";
    if (thaw_image_reads("TIFF")) refuses("camera raw", raw, sizeof raw - 1, "raw file");
    refuses("JPEG start", "\xff\xd8\xff\xe0", 4, "JPEG");
    refuses("PNG start", "\x89PNG\r\n\x1a\n", 8, "cut off");
}

/* Its text is part of what identifies cached features. */
static void the_decoders_are_named(void **state) {
    (void)state;
    static const struct {
        const char *format, *library;
    } rows[] = {{"JPEG", "libjpeg-turbo "}, {"PNG", "libpng "},   {"WebP", "libwebp "},
                {"TIFF", "libtiff "},       {"HEIC", "libheif "}, {"AVIF", "libheif "},
                {"DICOM", "DCMTK "},        {"PSD", "psd "},      {"GIF", "gif "}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *at = strstr(thaw_image_decoder_id(), rows[i].library);
        assert_int_equal(at != NULL, thaw_image_reads(rows[i].format));
        if (at && i < 7) assert_in_range(at[strlen(rows[i].library)], '0', '9');
    }
    assert_false(thaw_image_reads("JPEG 2000"));
    assert_ptr_equal(thaw_image_decoder_id(), thaw_image_decoder_id());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_as_pillow),
        cmocka_unit_test(resizes_as_pillow),
        cmocka_unit_test(turns_as_exif_says),
        cmocka_unit_test(keeps_what_fits),
        cmocka_unit_test(skipping_columns_changes_nothing),
        cmocka_unit_test(orders_and_grey),
        cmocka_unit_test(refuses_what_is_no_picture),
        cmocka_unit_test(the_decoders_are_named),
    };
    return cmocka_run_group_tests(tests, open_decoder, close_decoder);
}
