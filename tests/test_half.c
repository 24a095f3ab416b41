/* Half precision: every half survives the way through float, and every float between two halves
 * goes to the nearer one, ties to the even one. The reference is ldexp in double. */
#include "half.h"
#include "testing.h"

static double value_of(uint16_t h) {
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double magnitude = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

static bool is_finite(uint16_t h) {
    return (h & 0x7c00) != 0x7c00;
}

static uint16_t to_half(float value) {
    uint16_t h;
    thaw_half_from_float(&value, 1, &h);
    return h;
}

static void every_half(void **state) {
    (void)state;
    static uint16_t halves[65536], back[65536];
    static float floats[65536];
    for (int i = 0; i < 65536; i++)
        halves[i] = (uint16_t)i;
    thaw_float_from_half(halves, 65536, floats);
    thaw_half_from_float(floats, 65536, back);
    for (int i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        if (is_finite(h) &&
            (floats[i] != (float)value_of(h) || (signbit(floats[i]) != 0) != h >> 15))
            fail_msg("half %04x is %a, not %a", h, (double)floats[i], value_of(h));
        if (!is_finite(h) && (h & 1023)) {
            assert_true(isnan(floats[i]));
            assert_true(!is_finite(back[i]) && (back[i] & 1023));
        } else if (back[i] != h) {
            fail_msg("half %04x comes back as %04x", h, back[i]);
        }
    }
    assert_true(isinf(floats[0x7c00]) && floats[0x7c00] > 0);
    assert_true(isinf(floats[0xfc00]) && floats[0xfc00] < 0);
}

/* Between each half and the next: the middle, and the floats to its left and right. The middle
 * has one bit more than a half, so float holds it. */
static void every_rounding(void **state) {
    (void)state;
    for (uint16_t h = 0; h < 0x7c00; h++) {
        double above = h + 1 < 0x7c00 ? value_of((uint16_t)(h + 1)) : 65536;
        float middle = (float)((value_of(h) + above) / 2);
        uint16_t even = h & 1 ? (uint16_t)(h + 1) : h;
        for (int sign = 0; sign < 2; sign++) {
            uint16_t s = (uint16_t)(sign << 15);
            float m = sign ? -middle : middle;
            assert_int_equal(to_half(m), s | even);
            assert_int_equal(to_half(nextafterf(m, 0)), s | h);
            assert_int_equal(to_half(nextafterf(m, sign ? -INFINITY : INFINITY)), s | (h + 1));
        }
    }
}

static void extremes(void **state) {
    (void)state;
    assert_int_equal(to_half(INFINITY), 0x7c00);
    assert_int_equal(to_half(-INFINITY), 0xfc00);
    assert_int_equal(to_half(3.4e38f), 0x7c00);
    assert_int_equal(to_half(-3.4e38f), 0xfc00);
    assert_int_equal(to_half(1e-45f), 0);
    assert_int_equal(to_half(-1e-45f), 0x8000);
    assert_int_equal(to_half(-0.0f), 0x8000);
    assert_false(is_finite(to_half(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half),
        cmocka_unit_test(every_rounding),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
