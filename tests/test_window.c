/* image.window: what text says it, and what becomes of samples of more than 8 bits, of each format that
 * has them: by a formula in double, of values that are known. */
#include "testing.h"

#include "picture/decoder.h"

#define TINY THAW_SOURCE_DIR "/tests/data/image/tiny/"

enum { WIDTH = 19, HEIGHT = 13, N = WIDTH * HEIGHT };

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

/* ---- text ---------------------------------------------------------------------------------- */

static void text_comes_back(void **state) {
    (void)state;
    static const struct {
        const char *text;
        thaw_pixel_window window;
    } rows[] = {
        {"file", {THAW_WINDOW_FILE, 0, 0}},
        {"minmax", {THAW_WINDOW_MINMAX, 0, 0}},
        {"percentile(0.5,99.5)", {THAW_WINDOW_PERCENTILE, 0.5, 99.5}},
        {"percentile(0,100)", {THAW_WINDOW_PERCENTILE, 0, 100}},
        {"-1000..400", {THAW_WINDOW_FIXED, -1000, 400}},
        {"0.25..0.75", {THAW_WINDOW_FIXED, 0.25, 0.75}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        thaw_pixel_window w = {0};
        char text[THAW_WINDOW_TEXT];
        assert_true(thaw_pixel_window_parse(rows[i].text, &w));
        const thaw_pixel_window *want = &rows[i].window;
        assert_true(w.kind == want->kind && w.low == want->low && w.high == want->high);
        thaw_pixel_window_text(&w, text);
        assert_string_equal(text, rows[i].text);
    }
    thaw_pixel_window w = {0};
    assert_true(thaw_pixel_window_parse("percentile(1, 99)", &w)); /* As people write it. */
    static const char *const wrong[] = {
        "",
        "full",
        "percentile",
        "percentile(1)",
        "percentile(-1,99)",
        "400..-100",
        "5..5",
        "percentile(1,100.5)",
        "percentile(99,1)",
        "1..",
        "..5",
        "1...5",
        "1..2x",
        "percentile(1,2",
        "fixed",
        "1..2..3",
        "nan..1",
        "0..inf",
        "minmax(1,2)",
        "percentile(1,2) ",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (thaw_pixel_window_parse(wrong[i], &w)) fail_msg("'%s' is no window", wrong[i]);
}

/* ---- pixels -------------------------------------------------------------------------------- */

/* Grey of 16 bits, as a PNM. */
static uint8_t *make_pnm(const uint16_t *grey, size_t *n) {
    uint8_t *bytes = malloc(64 + 2 * N);
    int head = sprintf((char *)bytes, "P5 %d %d 65535\n", WIDTH, HEIGHT);
    for (int i = 0; i < N; i++) {
        bytes[head + 2 * i] = (uint8_t)(grey[i] >> 8);
        bytes[head + 2 * i + 1] = (uint8_t)grey[i];
    }
    *n = (size_t)head + 2 * N;
    return bytes;
}

static thaw_status read(const uint8_t *bytes, size_t n, const char *window, uint8_t *rgb,
                        thaw_error *err) {
    thaw_geometry g = {
        .width = WIDTH, .height = HEIGHT, .fit = THAW_FIT_SQUASH, .channels = 3, .background = 255};
    assert_true(thaw_pixel_window_parse(window, &g.window));
    return thaw_image_decode(decoder, bytes, n, &g, rgb, err);
}

static void expect(const char *what, const char *window, const uint8_t *bytes, size_t n,
                   const double *samples, bool colour, double low, double high) {
    uint8_t rgb[3 * N];
    thaw_error err = {0};
    if (read(bytes, n, window, rgb, &err) != THAW_OK) fail_msg("%s: %s", what, err.text);
    for (int i = 0; i < 3 * N; i++) {
        double share = (samples[colour ? i : i / 3] - low) / (high - low);
        double want = 255 * (share < 0 ? 0 : share > 1 ? 1 : share);
        if (!(fabs(rgb[i] - want) <= 0.5 + 1e-3))
            fail_msg("%s, %s: sample %d is %d, expected %.3f", what, window, i, rgb[i], want);
    }
}

static int compare(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static void windows_are_what_they_say(void **state) {
    (void)state;
    uint16_t grey[N];
    double samples[N], sorted[N];
    uint64_t seed = 5;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++)
            samples[i] = grey[i] =
                (uint16_t)(round % 2 ? test_random(&seed) % 65536 : 700 + test_random(&seed) % 90);
        memcpy(sorted, samples, sizeof sorted);
        qsort(sorted, N, sizeof *sorted, compare);
        size_t n;
        uint8_t *bytes = make_pnm(grey, &n);
        expect("PNM", "minmax", bytes, n, samples, false, sorted[0], sorted[N - 1]);
        expect("PNM", "percentile(0,100)", bytes, n, samples, false, sorted[0], sorted[N - 1]);
        expect("PNM", "percentile(10,80)", bytes, n, samples, false, sorted[(int)(0.1 * (N - 1))],
               sorted[(int)(0.8 * (N - 1))]);
        expect("PNM", "710..760", bytes, n, samples, false, 710, 760);
        expect("PNM", "-500..70000", bytes, n, samples, false, -500, 70000);
        expect("PNM", "file", bytes, n, samples, false, 0, 65535);
        free(bytes);
    }
    /* One value: black, whatever the window would divide by. */
    size_t n;
    for (int i = 0; i < N; i++)
        grey[i] = 4711;
    uint8_t *bytes = make_pnm(grey, &n), rgb[3 * N];
    assert_int_equal(read(bytes, n, "minmax", rgb, NULL), THAW_OK);
    for (int i = 0; i < 3 * N; i++)
        assert_int_equal(rgb[i], 0);
    free(bytes);
}

/* The ramps of make_tiny_pictures.py, colours(). */
static void ramps(int channels, double most, double *samples) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < channels; c++) {
                double third = (x + 2.0 * y) / (WIDTH + 2 * HEIGHT);
                double v = c == 0   ? (double)x / WIDTH
                           : c == 1 ? (double)y / HEIGHT
                                    : (x > 2 * y ? 1 - third : third);
                samples[(y * WIDTH + x) * channels + c] = rint(v * most);
            }
}

static void every_format_has_windows(void **state) {
    (void)state;
    static const struct {
        const char *file, *format;
        int channels;
        double most, shift; /* Of the ramps; what is added to each sample. */
    } rows[] = {
        {"grey16.png", "PNG", 1, 65535, 0},   {"rgb16.png", "PNG", 3, 65535, 0},
        {"rgb16i.png", "PNG", 3, 65535, 0},   {"raw16.psd", "PSD", 3, 65535, 0},
        {"packed16.psd", "PSD", 3, 65535, 0}, {"grey300.p2.pnm", "PNM", 1, 300, 0},
        {"rgb300.p6.pnm", "PNM", 3, 300, 0},  {"grey16.tif", "TIFF", 1, 65535, 0},
        {"rgb16.tif", "TIFF", 3, 65535, 0},   {"float32.tif", "TIFF", 1, 65535, 0},
        {"white16.tif", "TIFF", 1, 65535, 0}, {"signed16.tif", "TIFF", 1, 65535, -30000},
        {"grey12.dcm", "DICOM", 1, 4000, 0},  {"hounsfield.dcm", "DICOM", 1, 4000, -1024},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!thaw_image_reads(rows[i].format)) {
            printf("SKIPPED: %s, which this build does not read\n", rows[i].file);
            continue;
        }
        char path[256], window[64];
        double samples[3 * N], least = INFINITY, greatest = -INFINITY;
        size_t n;
        bool beside = strstr("float32.tif white16.tif signed16.tif", rows[i].file) != NULL;
        snprintf(path, sizeof path, TINY "%s%s", beside ? "../" : "", rows[i].file);
        uint8_t *bytes = test_read(path, &n);
        ramps(rows[i].channels, rows[i].most, samples);
        for (int k = 0; k < N * rows[i].channels; k++) {
            samples[k] += rows[i].shift;
            least = fmin(least, samples[k]);
            greatest = fmax(greatest, samples[k]);
        }
        double low = least + 0.2 * (greatest - least), high = least + 0.7 * (greatest - least);
        bool inverted = strncmp(rows[i].file, "white", 5) == 0, colour = rows[i].channels == 3;
        snprintf(window, sizeof window, "%.17g..%.17g", low, high);
        if (inverted) {
            expect(rows[i].file, "minmax", bytes, n, samples, colour, greatest, least);
            expect(rows[i].file, window, bytes, n, samples, colour, high, low);
        } else {
            expect(rows[i].file, "minmax", bytes, n, samples, colour, least, greatest);
            expect(rows[i].file, window, bytes, n, samples, colour, low, high);
        }
        free(bytes);
    }
}

/* Of 8 bits, and the transparency of deep ones, nothing changes. */
static void eight_bits_stay(void **state) {
    (void)state;
    static const char *const names[] = {"rgb8.png",  "grey8.png",  "rgb255.p6.pnm", "rgb8.tif",
                                        "grey8.dcm", "lossy.webp", "420.jpg"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        uint8_t plain[3 * N], windowed[3 * N];
        size_t n;
        thaw_error err = {0};
        snprintf(path, sizeof path, TINY "%s", names[i]);
        uint8_t *bytes = test_read(path, &n);
        thaw_status status = read(bytes, n, "file", plain, &err);
        if (status != THAW_OK && strstr(err.text, "this build reads no")) {
            printf("SKIPPED: %s\n", err.text);
        } else {
            assert_int_equal(status, THAW_OK);
            assert_int_equal(read(bytes, n, "100..120", windowed, NULL), THAW_OK);
            assert_memory_equal(plain, windowed, sizeof plain);
        }
        free(bytes);
    }
    size_t n;
    uint8_t *bytes = test_read(TINY "rgba16.png", &n), plain[3 * N], windowed[3 * N];
    assert_int_equal(read(bytes, n, "file", plain, NULL), THAW_OK);
    assert_int_equal(read(bytes, n, "0..65535", windowed, NULL), THAW_OK);
    assert_true(memcmp(plain, windowed, sizeof plain) != 0);
    for (int i = 0; i < 3 * N; i++)
        assert_true(abs(plain[i] - windowed[i]) <= 1); /* One is cut off, the other rounded. */
    free(bytes);
}

static void floats_need_a_window(void **state) {
    (void)state;
    if (!thaw_image_reads("TIFF")) skip();
    size_t n;
    uint8_t *bytes = test_read(TINY "../float32.tif", &n), rgb[3 * N];
    thaw_error err = {0};
    assert_int_equal(read(bytes, n, "file", rgb, &err), THAW_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "image.window"));
    static const uint8_t not_a_number[] = {0, 0, 0xc0, 0x7f};
    memcpy(bytes + 100, not_a_number, 4);
    assert_int_equal(read(bytes, n, "minmax", rgb, &err), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "finite number"));
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_comes_back),          cmocka_unit_test(windows_are_what_they_say),
        cmocka_unit_test(every_format_has_windows), cmocka_unit_test(eight_bits_stay),
        cmocka_unit_test(floats_need_a_window),
    };
    return cmocka_run_group_tests(tests, open_decoder, close_decoder);
}
