/* The stem's index arithmetic, run through exhaustively on the host:
 * - blocks reach each output and each chunk of filters once, and find the pixels of the formula;
 * - staged outputs are a permutation, without bank conflicts on the way in and out;
 * - packed weights: each place once, each weight where the lane that multiplies it reads;
 * - the loads of pixels meet few banks twice with the pitch that is chosen, none in most networks;
 * - chosen tiles fit, two blocks or more in a multiprocessor where half precision is stored.
 */
#include <set>

#include "cuda_testing.h"
#include "stem_tile.h"

using namespace thaw;

struct tile_case {
    const char *name;
    void (*run)();
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* A convolution and the pool behind it; pool.P 0: none. */
struct network {
    const char *name;
    thaw_conv_shape conv;
    thaw_pool_shape pool;

    const thaw_pool_shape *pool_or_null() const {
        return pool.P ? &pool : NULL;
    }
};

#define SQUARE(r, stride, pad) \
    { r, r, stride, stride, 1, 1, pad, pad, pad, pad }

/* Shapes of no network: few columns, so some conflicts cannot be helped. */
enum { LOPSIDED_K = 70 };

/* clang-format off */
static const network networks[] = {
    /* name, {N, H, W, C, P, Q, K, G, window}, {N, H, W, C, P, Q, window, max} */
    {"resnet", {64, 224, 224, 3, 112, 112, 64, 1, SQUARE(7, 2, 3)}, {64, 112, 112, 64, 56, 56, SQUARE(3, 2, 1), true}},
    {"resnet without pool", {64, 224, 224, 3, 112, 112, 64, 1, SQUARE(7, 2, 3)}},
    {"mobilenet v2", {64, 224, 224, 3, 112, 112, 32, 1, SQUARE(3, 2, 1)}},
    {"mobilenet v1", {64, 224, 224, 3, 112, 112, 32, 1, {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}}},
    {"mobilenet v3", {1, 224, 224, 3, 112, 112, 16, 1, SQUARE(3, 2, 1)}},
    {"convnext", {64, 224, 224, 3, 56, 56, 96, 1, SQUARE(4, 4, 0)}},
    {"alexnet", {64, 224, 224, 3, 55, 55, 64, 1, SQUARE(11, 4, 2)}, {64, 55, 55, 64, 27, 27, SQUARE(3, 2, 0), true}},
    {"vgg", {64, 224, 224, 3, 224, 224, 64, 1, SQUARE(3, 1, 1)}},
    {"squeezenet", {64, 224, 224, 3, 111, 111, 64, 1, SQUARE(3, 2, 0)}, {64, 111, 111, 64, 55, 55, SQUARE(3, 2, 0), true}},
    {"inception", {64, 299, 299, 3, 149, 149, 32, 1, SQUARE(3, 2, 0)}},
    {"efficientnet b4", {64, 380, 380, 3, 190, 190, 48, 1, SQUARE(3, 2, 1)}},
    {"densenet at one picture", {1, 224, 224, 3, 112, 112, 64, 1, SQUARE(7, 2, 3)}, {1, 112, 112, 64, 56, 56, SQUARE(3, 2, 1), true}},
    {"lenet", {64, 28, 28, 1, 28, 28, 6, 1, SQUARE(5, 1, 2)}, {64, 28, 28, 6, 14, 14, SQUARE(2, 2, 0), true}},
    {"lopsided", {3, 19, 23, 2, 9, 9, LOPSIDED_K, 1, {4, 2, 2, 3, 1, 1, 1, 3, 2, 0}}, {3, 9, 9, LOPSIDED_K, 5, 8, {2, 3, 2, 1, 1, 1, 1, 0, 1, 1}, true}},
};
/* clang-format on */

static const thaw_cuda_device A10G = {86, 80, 70, 600, 6};

/* ---- blocks --------------------------------------------------------------------------------- */

/* The conv output that number m of a block is, its taps' pixels against the formula. */
static bool right_pixels(const stem_geometry &g, const stem_block &at, const thaw_window &win) {
    for (int m = 0; m < g.conv_h * g.conv_w; m++) {
        int p = at.conv_p + m / g.conv_w, q = at.conv_q + m % g.conv_w;
        for (int tap = 0; tap < g.steps * STEM_STEP; tap++) {
            int last = tap < g.taps ? tap : g.taps - 1;
            int h = p * (int)win.stride_h - (int)win.pad_top + last / (int)win.S;
            int w = q * (int)win.stride_w - (int)win.pad_left + last % (int)win.S;
            int pixel = stem_pixel_of_output(g, m) + stem_pixel_of_tap(g, tap);
            if (pixel != (h - at.h) * g.pitch + w - at.w || h < at.h || h >= at.h + g.patch_h ||
                w < at.w || w >= at.w + g.patch_w) {
                fail("output %d of the block at %d,%d, tap %d: pixel %d", m, at.out_p, at.out_q,
                     tap, pixel);
                return false;
            }
        }
    }
    /* What the warps compute beyond the tile must still lie in the patch. */
    for (int m = g.conv_h * g.conv_w; m < STEM_OUTPUTS; m++) {
        if (stem_pixel_of_output(g, m) != stem_pixel_of_output(g, g.conv_h * g.conv_w - 1)) {
            fail("output %d beyond the tile", m);
            return false;
        }
    }
    return true;
}

static bool right_blocks(const network &net, int out_h, int out_w) {
    const thaw_pool_shape *pool = net.pool_or_null();
    stem_geometry g = make_stem_geometry(net.conv, pool, out_h, out_w, 1);
    g.pitch = g.patch_w + 3;
    if (g.conv_h * g.conv_w > STEM_OUTPUTS) return true;
    int N = (int)(net.conv.N < 3 ? net.conv.N : 3);
    std::vector<int> seen((size_t)(N * g.out_H * g.out_W * g.blocks_k));
    for (int block = 0; block < N * g.tiles * g.blocks_k; block++) {
        stem_block at = place_of_stem_block(g, (uint32_t)block);
        for (int i = 0; i < out_h * out_w; i++) {
            int p = at.out_p + i / out_w, q = at.out_q + i % out_w;
            if (p >= g.out_H || q >= g.out_W) continue;
            seen[(size_t)(((at.n * g.out_H + p) * g.out_W + q) * g.blocks_k + at.block_k)]++;
            /* Its window lies in the tile's conv outputs. */
            int top = p * g.pool_stride_h - g.pool_top, left = q * g.pool_stride_w - g.pool_left;
            if (top < at.conv_p || top + g.pool_R > at.conv_p + g.conv_h || left < at.conv_q ||
                left + g.pool_S > at.conv_q + g.conv_w) {
                fail("the window of %d,%d leaves the tile", p, q);
                return false;
            }
        }
        if (at.n == 0 && at.block_k == 0 && !right_pixels(g, at, net.conv.window)) return false;
    }
    for (int times : seen) {
        if (times != 1) {
            fail("%s: an output is computed %d times with tiles of %d x %d", net.name, times, out_h,
                 out_w);
            return false;
        }
    }
    return true;
}

static void blocks() {
    for (const network &net : networks) {
        for (thaw_dtype dtype : {THAW_F16, THAW_F32}) {
            thaw_cuda_stem_choice c = cuda_stem_choose(&net.conv, net.pool_or_null(), dtype, &A10G);
            if (!right_blocks(net, c.out_h, c.out_w)) return;
        }
        for (int h : {1, 3, 5, 16}) {
            if (!right_blocks(net, h, 16 / h)) return;
        }
    }
}

/* ---- staging -------------------------------------------------------------------------------- */

/* Accesses of `bytes` each that shared memory serves together: 128 bytes of them. */
template <class Place>
static bool meets_a_bank_twice(int bytes, Place place) {
    std::set<int> banks;
    for (int i = 0; i < 128 / bytes; i++) {
        if (place(i) % bytes != 0) return true;
        for (int b = 0; b < bytes; b += 4)
            banks.insert((place(i) + b) / 4 % 32);
    }
    return banks.size() != 32;
}

template <class T>
static void staging_of() {
    const int size = (int)sizeof(T), vectors = STEM_CHUNK / VECTOR<T>;
    std::set<int> places;
    for (int m = 0; m < STEM_OUTPUTS; m++) {
        for (int c = 0; c < STEM_CHUNK; c++)
            places.insert(stem_staged<T>(m, c));
    }
    if ((int)places.size() != STEM_OUTPUTS * STEM_CHUNK || *places.begin() != 0 ||
        *places.rbegin() != (STEM_OUTPUTS * STEM_CHUNK - 1) * size)
        return fail("%d bytes: no permutation", size);
    /* Fragments on their way in: two channels a lane, four lanes an output. */
    for (int m = 0; m < STEM_OUTPUTS; m += 128 / (2 * size) / 4) {
        for (int c = 0; c < STEM_CHUNK; c += 8) {
            if (meets_a_bank_twice(2 * size, [&](int lane) {
                    return stem_staged<T>(m + lane / 4, c + lane % 4 * 2);
                }))
                return fail("%d bytes: storing output %d, channel %d", size, m, c);
        }
    }
    /* Outputs on their way out: a vector a lane, all of an output, then the next or that after. */
    for (int stride : {1, 2}) {
        /* Without a pool they start at an even one, since a phase of half precision loads two. */
        for (int m = 0; m + 8 / vectors * stride <= STEM_OUTPUTS; m += 3 - stride) {
            if (meets_a_bank_twice(16, [&](int lane) {
                    return stem_staged<T>(m + lane / vectors * stride, lane % vectors * VECTOR<T>);
                }))
                return fail("%d bytes: loading every %d. output from %d", size, stride, m);
        }
    }
}

static void staging() {
    staging_of<half_t>();
    staging_of<float>();
}

/* ---- weights -------------------------------------------------------------------------------- */

template <class T>
static void packing_of() {
    const int64_t K = 96, steps = 3;
    std::set<int64_t> places;
    for (int64_t k = 0; k < K; k++) {
        for (int64_t step = 0; step < steps; step++) {
            for (int64_t t = 0; t < 4; t++) {
                for (int64_t c = 0; c < 4; c++) {
                    int64_t place = stem_packed<T>(steps, k, step, t, c);
                    places.insert(place);
                    /* The kernel: vector ((chunk steps + step) LOADS + load) 32 + lane. */
                    int64_t vector = place / VECTOR<T>, lane = vector % 32;
                    int64_t load = vector / 32 % STEM_LOADS<T>;
                    int64_t row = vector / 32 / STEM_LOADS<T>;
                    int64_t tile = sizeof(T) == 4 ? load : 2 * load + place % 8 / 4;
                    if (row != k / 32 * steps + step || tile != k % 32 / 8 || lane / 4 != k % 8 ||
                        lane % 4 != t || place % 4 != c) {
                        return fail("filter %d, step %d, tap %d, channel %d", (int)k, (int)step,
                                    (int)t, (int)c);
                    }
                }
            }
        }
    }
    if ((int64_t)places.size() != K * steps * 16 || *places.rbegin() != K * steps * 16 - 1)
        fail("no permutation");
}

static void packing() {
    packing_of<half_t>();
    packing_of<float>();
}

/* ---- choice --------------------------------------------------------------------------------- */

/* A block's loads of pixels, in the units that stem_conflicts counts. */
static int phases(const stem_geometry &g, int pixel_bytes) {
    return (int)ceil_div(g.conv_h * g.conv_w, 128 / pixel_bytes / STEM_STEP) * g.steps;
}

static void conflicts() {
    for (const network &net : networks) {
        for (thaw_dtype dtype : {THAW_F16, THAW_F32}) {
            int pixel_bytes = STEM_CHANNELS * (int)thaw_dtype_bytes(dtype);
            thaw_cuda_stem_choice c = cuda_stem_choose(&net.conv, net.pool_or_null(), dtype, &A10G);
            stem_geometry g =
                make_stem_geometry(net.conv, net.pool_or_null(), c.out_h, c.out_w, c.pitch);
            int all = phases(g, pixel_bytes), again = stem_conflicts(g, pixel_bytes);
            /* Where the tile's rows end within a phase of four or two outputs, some are left. */
            bool whole = g.conv_w % 4 == 0;
            if (again > (whole ? 0 : all / 5) && net.conv.K != LOPSIDED_K)
                fail("%s, %d bytes, pitch %d: %d of %d", net.name, pixel_bytes, g.pitch, again,
                     all);
            /* That it finds any: a filter of 3 has taps in two rows in each step. */
            g.pitch = 128;
            if (whole && net.conv.window.S == 3 && stem_conflicts(g, pixel_bytes) == 0)
                fail("%s, %d bytes: no conflicts with a pitch of 128", net.name, pixel_bytes);
        }
    }
}

static void limits() {
    for (const network &net : networks) {
        for (int sm : {75, 80, 86, 90}) {
            for (thaw_dtype dtype : {THAW_F16, THAW_F32}) {
                if (sm == 75 && dtype == THAW_F32) continue;
                thaw_cuda_device device = A10G;
                device.sm = sm;
                thaw_cuda_stem_choice c =
                    cuda_stem_choose(&net.conv, net.pool_or_null(), dtype, &device);
                stem_geometry g =
                    make_stem_geometry(net.conv, net.pool_or_null(), c.out_h, c.out_w, c.pitch);
                int bytes = stem_shared_bytes(g, (int)thaw_dtype_bytes(dtype));
                /* Two blocks beside each other where that is possible. */
                int most = (sm == 75 ? 64 : dtype == THAW_F32 ? 99 : 49) * 1024;
                if (c.out_h < 1 || c.out_w < 1 || g.conv_h * g.conv_w > STEM_OUTPUTS ||
                    c.pitch < g.patch_w || bytes > most || !(c.expected_us > 0)) {
                    fail("%s, sm_%d: tile %d x %d, pitch %d, %d bytes, %g us", net.name, sm,
                         c.out_h, c.out_w, c.pitch, bytes, c.expected_us);
                }
            }
        }
    }
}

static const tile_case cases[] = {
    {"blocks", blocks},       {"staging", staging}, {"packing", packing},
    {"conflicts", conflicts}, {"limits", limits},
};

int main(int argc, char **argv) {
    auto once = [](thaw_dtype type, int) { return type == THAW_F16; };
    return test_main(
        argc, argv, cases, [](const tile_case &c, auto) { c.run(); }, once);
}
