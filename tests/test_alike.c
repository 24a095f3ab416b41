/* Damaged copies of a picture are found, other pictures are not; the search finds what comparing all with
 * all finds, without doing so, and ends however alike all are. */
#include "draw.h"
#include "jpeg_encode.h"
#include "lint/alike.h"
#include "picture/image.h"
#include "testing.h"

enum { SIDE = 160, PICTURES = 30 };

static thaw_arena arena;
static thaw_error err;

static int teardown(void **state) {
    (void)state;
    thaw_arena_free(&arena);
    return 0;
}

/* ---- looks ------------------------------------------------------------------------------------- */

/* The look of a picture's file. */
static thaw_look look_at_file(const void *bytes, size_t n) {
    static const thaw_geometry g = {.width = THAW_LOOK_SIDE,
                                    .height = THAW_LOOK_SIDE,
                                    .fit = THAW_FIT_SQUASH,
                                    .channels = 3,
                                    .background = 255};
    uint8_t rgb[3 * THAW_LOOK_SIDE * THAW_LOOK_SIDE];
    thaw_decoder *decoder;
    assert_int_equal(thaw_decoder_create(&decoder, &err), THAW_OK);
    assert_int_equal(thaw_image_decode(decoder, bytes, n, &g, rgb, &err), THAW_OK);
    thaw_decoder_free(decoder);
    return thaw_look_at(rgb);
}

static thaw_look look_at_pixels(const uint8_t *rgb, int width, int height, int quality) {
    unsigned char *jpeg;
    unsigned long n;
    assert_int_equal(thaw_jpeg_encode(rgb, width, height, quality, &jpeg, &n), 0);
    thaw_look look = look_at_file(jpeg, n);
    free(jpeg);
    return look;
}

static void draw(int i, uint8_t *rgb) {
    assert_int_equal(thaw_draw_picture(i % THAW_DRAW_KINDS, 11, (uint32_t)i, SIDE, SIDE, rgb, &err),
                     THAW_OK);
}

/* What may be done to a picture that stays the same picture. */
static thaw_look re_encoded(const uint8_t *rgb) {
    return look_at_pixels(rgb, SIDE, SIDE, 35);
}

static thaw_look scaled(const uint8_t *rgb) {
    enum { WIDTH = 71, HEIGHT = 71 };
    static const thaw_geometry g = {
        .width = WIDTH, .height = HEIGHT, .fit = THAW_FIT_SQUASH, .channels = 3};
    uint8_t small[3 * WIDTH * HEIGHT];
    thaw_decoder *decoder;
    thaw_pixels pixels = {rgb, SIDE, SIDE};
    assert_int_equal(thaw_decoder_create(&decoder, &err), THAW_OK);
    assert_int_equal(thaw_image_resize(decoder, &pixels, &g, small, &err), THAW_OK);
    thaw_decoder_free(decoder);
    return look_at_pixels(small, WIDTH, HEIGHT, 75);
}

static thaw_look times(const uint8_t *rgb, double factor) {
    uint8_t out[3 * SIDE * SIDE];
    for (int i = 0; i < 3 * SIDE * SIDE; i++)
        out[i] = (uint8_t)fmin(factor * rgb[i], 255);
    return look_at_pixels(out, SIDE, SIDE, 90);
}

static thaw_look darker(const uint8_t *rgb) {
    return times(rgb, 0.7);
}

static thaw_look brighter(const uint8_t *rgb) {
    return times(rgb, 1.15);
}

static thaw_look noisy(const uint8_t *rgb) {
    uint8_t out[3 * SIDE * SIDE];
    uint64_t random = 3;
    for (int i = 0; i < 3 * SIDE * SIDE; i++)
        out[i] = (uint8_t)fmax(0, fmin(255, rgb[i] + 12 * (double)test_uniform(&random)));
    return look_at_pixels(out, SIDE, SIDE, 90);
}

static thaw_look mirrored(const uint8_t *rgb) {
    uint8_t out[3 * SIDE * SIDE];
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            memcpy(out + 3 * (SIDE * y + x), rgb + 3 * (SIDE * y + SIDE - 1 - x), 3);
    return look_at_pixels(out, SIDE, SIDE, 90);
}

static const struct damage {
    const char *name;
    thaw_look (*make)(const uint8_t *rgb);
} damages[] = {{"re-encoded", re_encoded}, {"scaled", scaled}, {"darker", darker},
               {"brighter", brighter},     {"noisy", noisy},   {"mirrored", mirrored}};
enum { DAMAGES = sizeof damages / sizeof *damages };

/* All originals first, then what became of them. */
static void copies_are_found(void **state) {
    (void)state;
    enum { N = PICTURES * (1 + DAMAGES) };
    static thaw_look looks[N];
    thaw_hash keys[N];
    bool left_out[N] = {false};
    uint8_t rgb[3 * SIDE * SIDE];
    for (int i = 0; i < PICTURES; i++) {
        draw(i, rgb);
        looks[i] = look_at_pixels(rgb, SIDE, SIDE, 95);
        for (int k = 0; k < DAMAGES; k++)
            looks[PICTURES * (1 + k) + i] = damages[k].make(rgb);
    }
    for (size_t i = 0; i < N; i++)
        keys[i] = (thaw_hash){i, 1};
    thaw_alike_result found;
    assert_int_equal(thaw_alike_find(keys, looks, left_out, N, &arena, &found, &err), THAW_OK);
    for (size_t i = 0; i < N; i++) {
        size_t original = i % PICTURES, k = i / PICTURES;
        if (found.of[i].leader != original)
            fail_msg("picture %zu, %s: it is taken for %zu", original,
                     k ? damages[k - 1].name : "itself", found.of[i].leader);
        if (found.of[i].mirrored && strcmp(damages[k - 1].name, "mirrored") != 0)
            fail_msg("picture %zu, %s: it is taken for mirrored", original, damages[k - 1].name);
        assert_int_equal(found.of[i].first, i);
    }
}

static void mirroring_is_a_mask(void **state) {
    (void)state;
    uint8_t rgb[3 * THAW_LOOK_SIDE * THAW_LOOK_SIDE], other[sizeof rgb];
    uint64_t random = 5;
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)test_random(&random);
    for (int y = 0; y < THAW_LOOK_SIDE; y++)
        for (int x = 0; x < THAW_LOOK_SIDE; x++)
            memcpy(other + 3 * (THAW_LOOK_SIDE * y + x),
                   rgb + 3 * (THAW_LOOK_SIDE * y + THAW_LOOK_SIDE - 1 - x), 3);
    thaw_look a = thaw_look_at(rgb), b = thaw_look_at(other);
    /* But for the mean, and for a wave of which there is next to nothing, either way round. */
    assert_in_range(__builtin_popcountll(thaw_look_mirrored(a.bits) ^ b.bits), 0, 2);
    assert_true(thaw_look_compare(&a, &b, true) > 0.999);
    assert_true(thaw_look_compare(&a, &b, false) < 0.9);
    assert_false(a.uniform || a.grey);
}

static void nothing_to_see(void **state) {
    (void)state;
    uint8_t rgb[3 * THAW_LOOK_SIDE * THAW_LOOK_SIDE];
    memset(rgb, 90, sizeof rgb);
    for (size_t i = 0; i < sizeof rgb; i += 7)
        rgb[i] += THAW_LOOK_UNIFORM;
    assert_true(thaw_look_at(rgb).uniform);
    rgb[300] = 90 + THAW_LOOK_UNIFORM + 1;
    assert_false(thaw_look_at(rgb).uniform);
    memset(rgb, 90, sizeof rgb);
    rgb[4] = 92;
    assert_true(thaw_look_at(rgb).grey);
    rgb[4] = 93;
    assert_false(thaw_look_at(rgb).grey);
}

/* ---- the search -------------------------------------------------------------------------------- */

static thaw_look random_look(uint64_t *random) {
    thaw_look look = {.bits = test_random(random) & ~(uint64_t)1};
    for (int i = 0; i < THAW_LOOK_BYTES; i++)
        look.small[i] = (uint8_t)test_random(random);
    return look;
}

/* Every second look is one before it, but for some bits. */
static thaw_look *make_looks(size_t n, uint64_t random) {
    thaw_look *looks = malloc(n * sizeof *looks);
    assert_non_null(looks);
    for (size_t i = 0; i < n; i++) {
        looks[i] = random_look(&random);
        if (!i || i % 2) continue;
        looks[i] = looks[test_random(&random) % i];
        for (uint64_t k = test_random(&random) % (THAW_LOOK_MOST_BITS + 3); k; k--)
            looks[i].bits ^= (uint64_t)2 << test_random(&random) % 63;
    }
    return looks;
}

static thaw_hash *make_keys(size_t n) {
    thaw_hash *keys = malloc(n * sizeof *keys);
    assert_non_null(keys);
    for (size_t i = 0; i < n; i++)
        keys[i] = (thaw_hash){i, 7};
    return keys;
}

/* The nearest leader before picture i, by comparing it with all. */
static size_t find_slowly(const thaw_look *looks, const thaw_alike *of, size_t i) {
    size_t best = i;
    int least = THAW_LOOK_MOST_BITS + 1;
    double most = 0;
    for (size_t k = 0; k < i; k++) {
        if (of[k].leader != k) continue;
        int bits = __builtin_popcountll(looks[i].bits ^ looks[k].bits);
        double correlation = thaw_look_compare(&looks[i], &looks[k], false);
        if (bits > least || bits > THAW_LOOK_MOST_BITS || correlation < thaw_look_alike) continue;
        if (bits == least && correlation <= most) continue;
        best = k;
        least = bits;
        most = correlation;
    }
    return best;
}

static void the_search_is_complete(void **state) {
    (void)state;
    enum { N = 3000 };
    thaw_look *looks = make_looks(N, 17);
    thaw_hash *keys = make_keys(N);
    bool left_out[N] = {false};
    thaw_alike_result found;
    size_t joined = 0;
    assert_int_equal(thaw_alike_find(keys, looks, left_out, N, &arena, &found, &err), THAW_OK);
    for (size_t i = 0; i < N; i++) {
        size_t leader = find_slowly(looks, found.of, i);
        if (found.of[i].leader != leader)
            fail_msg("look %zu: leader %zu, expected %zu", i, found.of[i].leader, leader);
        joined += leader != i;
    }
    assert_in_range(joined, N / 4, N / 2);
    assert_int_equal(found.n_cut_short, 0);
    free(looks);
    free(keys);
}

/* As many as a large set has: comparing all with all would be 2 * 10^10. */
static void a_large_set_is_no_square(void **state) {
    (void)state;
    enum { N = 200000, MOST_EACH = 1000 };
    thaw_look *looks = make_looks(N, 23);
    thaw_hash *keys = make_keys(N);
    bool *left_out = calloc(N, sizeof *left_out);
    thaw_alike_result found;
    assert_int_equal(thaw_alike_find(keys, looks, left_out, N, &arena, &found, &err), THAW_OK);
    assert_in_range(found.n_looked_at, N, (size_t)N * MOST_EACH);
    assert_int_equal(found.n_cut_short, 0);
    free(looks);
    free(keys);
    free(left_out);
}

/* One hash and nothing else in common: a series of nearly dark pictures may be that. */
static void a_set_of_one_look_ends(void **state) {
    (void)state;
    enum { N = 20000 };
    thaw_look *looks = make_looks(N, 29);
    thaw_hash *keys = make_keys(N);
    bool *left_out = calloc(N, sizeof *left_out);
    for (size_t i = 0; i < N; i++)
        looks[i].bits = 0x1234567890abcdee;
    thaw_alike_result found;
    assert_int_equal(thaw_alike_find(keys, looks, left_out, N, &arena, &found, &err), THAW_OK);
    assert_in_range(found.n_cut_short, N / 4, N);
    assert_in_range(found.n_looked_at, N, (size_t)2 * N * THAW_ALIKE_MOST);
    free(looks);
    free(keys);
    free(left_out);
}

/* The same bytes go with their first; what was not read, and what is uniform, goes with nothing. */
static void copies_follow_the_first(void **state) {
    (void)state;
    enum { N = 6 };
    uint64_t random = 31;
    thaw_look looks[N];
    thaw_hash keys[N] = {{1, 0}, {2, 0}, {2, 0}, {1, 0}, {0, 0}, {0, 0}};
    bool left_out[N] = {false, false, false, false, true, true};
    for (size_t i = 0; i < N; i++)
        looks[i] = random_look(&random);
    looks[1] = looks[2] = looks[0];
    looks[1].bits ^= 6;
    thaw_alike_result found;
    assert_int_equal(thaw_alike_find(keys, looks, left_out, N, &arena, &found, &err), THAW_OK);
    static const size_t first[N] = {0, 1, 1, 0, 4, 5}, leader[N] = {0, 0, 0, 0, 4, 5};
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(found.of[i].first, first[i]);
        assert_int_equal(found.of[i].leader, leader[i]);
    }
    assert_int_equal(found.of[2].bits, 2);
    looks[1].uniform = true;
    assert_int_equal(thaw_alike_find(keys, looks, left_out, N, &arena, &found, &err), THAW_OK);
    assert_int_equal(found.of[1].leader, 1);
    assert_int_equal(found.of[2].leader, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_are_found),         cmocka_unit_test(mirroring_is_a_mask),
        cmocka_unit_test(nothing_to_see),           cmocka_unit_test(the_search_is_complete),
        cmocka_unit_test(a_large_set_is_no_square), cmocka_unit_test(a_set_of_one_look_ends),
        cmocka_unit_test(copies_follow_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
