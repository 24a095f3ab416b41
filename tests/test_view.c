/* Views: what is drawn stays in its ranges and is drawn again, what is done to the pixels is what the
 * numbers say, and a view in which nothing changes is the picture. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
//
#include <cmocka.h>

#include "picture/view.h"

enum { SIDE = 64, SMALL = 32, PIXELS = SMALL * SMALL };

static const thaw_view_ranges ranges = {.crop = 0.3, .flip = true, .rotate = 20, .colour = 0.4};
static const thaw_view still = {.brightness = 1, .contrast = 1, .saturation = 1};
static thaw_decoder *decoder;
static thaw_error err;

static thaw_hash picture(int i) {
    return thaw_hash_bytes((thaw_hash){0}, &i, sizeof i);
}

/* ---- numbers -------------------------------------------------------------------------------- */

static void draws_stay_in_their_ranges(void **state) {
    (void)state;
    enum { N = 2000 };
    int flips = 0, wide = 0;
    double least = 1, most_degrees = 0, darkest = 1;
    for (int i = 0; i < N; i++) {
        thaw_view v = thaw_view_draw(&ranges, picture(i), 1 + i % 7);
        thaw_view again = thaw_view_draw(&ranges, picture(i), 1 + i % 7);
        thaw_box b = thaw_view_box(&v, 300, 200, 1);
        assert_true(v.at_x == again.at_x && v.area == again.area && v.contrast == again.contrast);
        assert_true(b.x >= 0 && b.y >= 0 && b.x + b.width <= 300.001 && b.y + b.height <= 200.001);
        assert_true(b.width / b.height < 4.0 / 3 + 1e-3 && b.width / b.height > 0.75 - 1e-3);
        assert_true(fabs((double)v.degrees) <= 20 && v.brightness >= 0.6f && v.brightness <= 1.4f);
        assert_true(v.contrast >= 0.6f && v.saturation <= 1.4f && v.crop);
        least = fmin(least, b.width * b.height / 60000);
        most_degrees = fmax(most_degrees, fabs((double)v.degrees));
        darkest = fmin(darkest, (double)v.brightness);
        flips += v.flip;
        wide += b.width > b.height;
    }
    assert_true(least > 0.29 && least < 0.33 && most_degrees > 19 && darkest < 0.62);
    assert_in_range(flips, N * 45 / 100, N * 55 / 100);
    assert_in_range(wide, N * 40 / 100, N * 60 / 100);
    thaw_view a = thaw_view_draw(&ranges, picture(1), 1),
              b = thaw_view_draw(&ranges, picture(1), 2);
    assert_true(a.at_x != b.at_x);
    assert_true(a.at_x != thaw_view_draw(&ranges, picture(2), 1).at_x);
    /* Of a strip only what the network's shape allows, wherever it lies. */
    thaw_box strip = thaw_view_box(&a, 1000, 10, 2);
    assert_true(strip.height <= 10 && strip.width < 2 * 10 * 1.34 && strip.width > 2 * 10 * 0.5);
}

static bool same(thaw_hash a, thaw_hash b) {
    return a.hi == b.hi && a.lo == b.lo;
}

static void keys_tell_all_that_matters(void **state) {
    (void)state;
    thaw_hash p = picture(3), key = thaw_view_key(&ranges, p, 2);
    assert_true(same(thaw_view_key(&ranges, p, 0), p)); /* Its own record serves. */
    assert_true(same(thaw_view_key(&ranges, p, 2), key));
    assert_false(same(thaw_view_key(&ranges, p, 1), key));
    assert_false(same(thaw_view_key(&ranges, picture(4), 2), key));
    thaw_view_ranges other[] = {ranges, ranges, ranges, ranges};
    other[0].crop = 0.31;
    other[1].flip = false;
    other[2].rotate = 21;
    other[3].colour = 0.41;
    for (int i = 0; i < 4; i++)
        assert_false(same(thaw_view_key(&other[i], p, 2), key));
}

static void stillness(void **state) {
    (void)state;
    assert_true(thaw_views_are_still(&(thaw_view_ranges){.crop = 1}));
    assert_false(thaw_views_are_still(&(thaw_view_ranges){.crop = 0.9}));
    assert_false(thaw_views_are_still(&(thaw_view_ranges){.crop = 1, .flip = true}));
    assert_false(thaw_views_are_still(&(thaw_view_ranges){.crop = 1, .rotate = 1}));
    assert_false(thaw_views_are_still(&(thaw_view_ranges){.crop = 1, .colour = 0.1}));
}

/* ---- pixels --------------------------------------------------------------------------------- */

/* A PPM of SIDE x SIDE with a colour of its own at each pixel. */
static const char *ppm(size_t *n) {
    static char bytes[16 + SIDE * SIDE * 3];
    int head = snprintf(bytes, sizeof bytes, "P6 %d %d 255\n", SIDE, SIDE);
    for (int i = 0; i < SIDE * SIDE; i++) {
        bytes[head + 3 * i] = (char)(i % SIDE * 4);
        bytes[head + 3 * i + 1] = (char)(i / SIDE * 4);
        bytes[head + 3 * i + 2] = (char)(i * 7);
    }
    *n = (size_t)head + SIDE * SIDE * 3;
    return bytes;
}

static void look(const thaw_view *view, int channels, thaw_order order, uint8_t *out) {
    thaw_geometry g = {
        .width = SMALL, .height = SMALL, .shorter = SMALL, .channels = channels, .order = order};
    size_t n;
    const char *bytes = ppm(&n);
    if (thaw_image_decode_view(decoder, bytes, n, &g, view, out, &err) != THAW_OK)
        fail_msg("%s", err.text);
}

static void a_view_without_change_is_the_picture(void **state) {
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2)
        for (int order = 0; order < 2; order++) {
            uint8_t plain[3 * PIXELS], seen[3 * PIXELS];
            look(NULL, channels, (thaw_order)order, plain);
            look(&still, channels, (thaw_order)order, seen);
            assert_memory_equal(plain, seen, (size_t)channels * PIXELS);
        }
}

static void a_crop_is_these_pixels(void **state) {
    (void)state;
    thaw_view v = still;
    uint8_t out[3 * PIXELS];
    v.crop = true;
    v.area = 0.25f; /* 32 x 32 of 64 x 64: no pixel is resized. */
    v.at_x = 0.5f;
    v.at_y = 0.25f;
    look(&v, 3, THAW_ORDER_RGB, out);
    for (int i = 0; i < PIXELS; i++) {
        assert_int_equal(out[3 * i], (16 + i % SMALL) * 4);
        assert_int_equal(out[3 * i + 1], (8 + i / SMALL) * 4);
    }
    look(&v, 3, THAW_ORDER_BGR, out);
    assert_int_equal(out[2], 16 * 4);
}

static void mirrors_and_turns(void **state) {
    (void)state;
    uint8_t plain[3 * PIXELS], out[3 * PIXELS];
    look(NULL, 3, THAW_ORDER_RGB, plain);
    thaw_view flip = still, quarter = still, half = still;
    flip.flip = true;
    quarter.degrees = 90;
    half.degrees = 180;
    look(&flip, 3, THAW_ORDER_RGB, out);
    for (int y = 0; y < SMALL; y++)
        for (int x = 0; x < SMALL; x++)
            assert_memory_equal(out + 3 * (y * SMALL + x), plain + 3 * (y * SMALL + SMALL - 1 - x),
                                3);
    look(&quarter, 3, THAW_ORDER_RGB, out);
    for (int y = 0; y < SMALL; y++) /* The right edge becomes the upper one. */
        for (int x = 0; x < SMALL; x++)
            assert_memory_equal(out + 3 * (y * SMALL + x), plain + 3 * (x * SMALL + SMALL - 1 - y),
                                3);
    look(&half, 3, THAW_ORDER_RGB, out);
    for (int i = 0; i < PIXELS; i++)
        assert_memory_equal(out + 3 * i, plain + 3 * (PIXELS - 1 - i), 3);
    half.degrees = 30; /* Corners repeat the edge: nothing is made up. */
    look(&half, 3, THAW_ORDER_RGB, out);
    for (int i = 0; i < PIXELS; i++)
        assert_in_range(out[3 * i], plain[0], plain[3 * (PIXELS - 1)]);
}

static int grey(const uint8_t *p) {
    return (int)lrint(0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]);
}

static void colours_change_as_told(void **state) {
    (void)state;
    uint8_t plain[3 * PIXELS], out[3 * PIXELS];
    look(NULL, 3, THAW_ORDER_RGB, plain);
    thaw_view dark = still, flat = still, pale = still, bright = still;
    dark.brightness = 0.5f;
    flat.contrast = 0;
    pale.saturation = 0;
    bright.brightness = 100;
    look(&dark, 3, THAW_ORDER_RGB, out);
    for (int i = 0; i < 3 * PIXELS; i++)
        assert_true(abs(2 * out[i] - plain[i]) <= 1);
    look(&pale, 3, THAW_ORDER_RGB, out);
    for (int i = 0; i < PIXELS; i++) {
        assert_true(out[3 * i] == out[3 * i + 1] && out[3 * i] == out[3 * i + 2]);
        assert_true(abs(out[3 * i] - grey(plain + 3 * i)) <= 1);
    }
    double mean = 0;
    for (int i = 0; i < PIXELS; i++)
        mean += grey(plain + 3 * i);
    look(&flat, 3, THAW_ORDER_RGB, out);
    for (int i = 0; i < 3 * PIXELS; i++)
        assert_true(fabs(out[i] - mean / PIXELS) <= 1);
    look(&bright, 3, THAW_ORDER_RGB, out);
    for (int i = 0; i < 3 * PIXELS; i++)
        assert_true(out[i] == (plain[i] >= 3 ? 255 : out[i]));
}

static int open_decoder(void **state) {
    (void)state;
    return thaw_decoder_create(&decoder, &err);
}

static int free_decoder(void **state) {
    (void)state;
    thaw_decoder_free(decoder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_stay_in_their_ranges),
        cmocka_unit_test(keys_tell_all_that_matters),
        cmocka_unit_test(stillness),
        cmocka_unit_test(a_view_without_change_is_the_picture),
        cmocka_unit_test(a_crop_is_these_pixels),
        cmocka_unit_test(mirrors_and_turns),
        cmocka_unit_test(colours_change_as_told),
    };
    return cmocka_run_group_tests(tests, open_decoder, free_decoder);
}
