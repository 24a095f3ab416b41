#include "look.h"

#include <math.h>
#include <stddef.h>

enum { SIDE = THAW_LOOK_SIDE, LOW = 8, BLOCK = SIDE / THAW_LOOK_SMALL };

const double thaw_look_alike = 0.95;

/* Twice what JPEG's rounding leaves in a frequency that the picture has nothing of, as drawn ones may:
 * half a level of grey in each of the 1024 pixels. */
static const int64_t NOTHING = INT64_C(16) * 1000 << 28;

/* cos((2 x + 1) u pi / 64), 14 bits behind the point. */
static void make_waves(int32_t wave[LOW][SIDE]) {
    for (int u = 0; u < LOW; u++)
        for (int x = 0; x < SIDE; x++)
            wave[u][x] = (int32_t)lrint(16384 * cos((2 * x + 1) * u * M_PI / (2 * SIDE)));
}

static uint64_t hash(const uint8_t *rgb) {
    int32_t wave[LOW][SIDE];
    int64_t rows[SIDE][LOW];
    uint64_t bits = 0;
    make_waves(wave);
    for (int y = 0; y < SIDE; y++)
        for (int u = 0; u < LOW; u++) {
            rows[y][u] = 0;
            for (int x = 0; x < SIDE; x++) {
                const uint8_t *p = rgb + 3 * (SIDE * y + x);
                rows[y][u] += (int64_t)wave[u][x] * (299 * p[0] + 587 * p[1] + 114 * p[2]);
            }
        }
    for (int v = 0; v < LOW; v++)
        for (int u = 0; u < LOW; u++) {
            int64_t sum = 0; /* Below 2^56. */
            for (int y = 0; y < SIDE; y++)
                sum += wave[v][y] * rows[y][u];
            if (sum > NOTHING && u + v > 0) bits |= (uint64_t)1 << (LOW * v + u);
        }
    return bits;
}

static uint8_t mean_of_block(const uint8_t *rgb, int bx, int by, int c) {
    unsigned sum = BLOCK * BLOCK / 2;
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < BLOCK; x++)
            sum += rgb[3 * (SIDE * (BLOCK * by + y) + BLOCK * bx + x) + c];
    return (uint8_t)(sum / (BLOCK * BLOCK));
}

static bool is_uniform(const uint8_t *rgb) {
    for (int c = 0; c < 3; c++) {
        uint8_t least = UINT8_MAX, most = 0;
        for (int i = c; i < 3 * SIDE * SIDE; i += 3) {
            if (rgb[i] < least) least = rgb[i];
            if (rgb[i] > most) most = rgb[i];
        }
        if (most - least > THAW_LOOK_UNIFORM) return false;
    }
    return true;
}

/* JPEG's colour conversion rounds: a grey picture may be off by one or two. */
static bool is_grey(const uint8_t *rgb) {
    enum { ROUNDING = 2 };
    for (int i = 0; i < 3 * SIDE * SIDE; i += 3)
        for (int c = 1; c < 3; c++)
            if (rgb[i + c] > rgb[i] + ROUNDING || rgb[i + c] + ROUNDING < rgb[i]) return false;
    return true;
}

thaw_look thaw_look_at(const uint8_t *rgb) {
    thaw_look look = {.bits = hash(rgb), .uniform = is_uniform(rgb), .grey = is_grey(rgb)};
    uint8_t *small = look.small;
    for (int y = 0; y < THAW_LOOK_SMALL; y++)
        for (int x = 0; x < THAW_LOOK_SMALL; x++)
            for (int c = 0; c < 3; c++)
                *small++ = mean_of_block(rgb, x, y, c);
    return look;
}

/* Mirroring changes the sign of the odd waves along a row. */
uint64_t thaw_look_mirrored(uint64_t bits) {
    return bits ^ UINT64_C(0xaaaaaaaaaaaaaaaa);
}

double thaw_look_compare(const thaw_look *a, const thaw_look *b, bool mirror) {
    int64_t sum_a = 0, sum_b = 0, aa = 0, bb = 0, ab = 0, n = THAW_LOOK_BYTES;
    for (int y = 0; y < THAW_LOOK_SMALL; y++)
        for (int x = 0; x < THAW_LOOK_SMALL; x++)
            for (int c = 0; c < 3; c++) {
                int other = mirror ? THAW_LOOK_SMALL - 1 - x : x;
                int64_t p = a->small[3 * (THAW_LOOK_SMALL * y + x) + c];
                int64_t q = b->small[3 * (THAW_LOOK_SMALL * y + other) + c];
                sum_a += p, sum_b += q, aa += p * p, bb += q * q, ab += p * q;
            }
    double spread = (double)(n * aa - sum_a * sum_a) * (double)(n * bb - sum_b * sum_b);
    return spread > 0 ? (double)(n * ab - sum_a * sum_b) / sqrt(spread) : 0;
}
