/* The index arithmetic of the convolution kernels, run through exhaustively on the host:
 * - divide is integer division;
 * - swizzled places are a permutation of each row, and neither ldmatrix nor 16-byte stores meet a
 *   bank twice in a phase; nor do the epilogue's writes and reads;
 * - blocks reach each tile once, splits each iteration once;
 * - masks and steps give the addresses of the formula;
 * - sizes beyond what is counted are refused, not wrapped;
 * - a depthwise convolution's blocks compute each output once;
 * - packed weights: each place once, each weight in the tile that multiplies it.
 */
#include <set>

#include "conv_tile.h"
#include "cuda_testing.h"
#include "depthwise_tile.h"
#include "index.h"

using namespace thaw;

struct index_case {
    const char *name;
    void (*run)();
};

static void division() {
    random_source random = {1};
    std::vector<uint32_t> divisors;
    for (uint32_t d = 1; d <= 1030; d++)
        divisors.push_back(d);
    for (uint32_t d : {3136u, 12544u, 50176u, 65535u, 65536u, 65537u, 0x7ffffffeu, 0x7fffffffu})
        divisors.push_back(d);
    for (uint32_t d : divisors) {
        divisor by = make_divisor(d);
        for (int i = 0; i < 2000; i++) {
            uint32_t n =
                i < 1000 ? (uint32_t)i * d / 7 & 0x7fffffff : (uint32_t)random.next() & 0x7fffffff;
            /* Quotients are wrong first next to multiples of d. */
            for (uint32_t near : {n, n / d * d, n / d * d + d - 1, 0x7fffffffu}) {
                if (near > 0x7fffffffu) continue;
                if (divide(near, by) != near / d) {
                    return fail("%u / %u is %u, expected %u", near, d, divide(near, by), near / d);
                }
            }
        }
    }
}

/* Eight accesses of 16 bytes that one phase makes, as places in units of 16 bytes. */
static bool meets_a_bank_twice(const int (&places)[8]) {
    std::set<int> groups;
    for (int place : places)
        groups.insert(place % 8);
    return groups.size() != 8;
}

static void swizzled_tiles() {
    for (int vectors : {4, 8}) {
        for (int row = 0; row < 256; row++) {
            std::set<int> seen;
            for (int v = 0; v < vectors; v++)
                seen.insert(swizzle(row, v, vectors));
            if ((int)seen.size() != vectors || *seen.rbegin() >= vectors)
                return fail("row %d of %d vectors is no permutation", row, vectors);
            if (swizzle(row, 1, vectors) != swizzle(row + 16, 1, vectors))
                return fail("rows %d and %d differ: fragments count on 16", row, row + 16);
        }
        /* ldmatrix: lanes 8i to 8i + 7 give rows r .. r + 7, all the same vector. */
        for (int row = 0; row < 64; row += 8) {
            for (int v = 0; v < vectors; v++) {
                int places[8];
                for (int i = 0; i < 8; i++)
                    places[i] = (row + i) * vectors + swizzle(row + i, v, vectors);
                if (meets_a_bank_twice(places))
                    return fail("ldmatrix at row %d vector %d of %d", row, v, vectors);
            }
        }
        /* Copies: thread t writes vector t % vectors of row t / vectors. */
        for (int first = 0; first < 128; first += 8) {
            int places[8];
            for (int i = 0; i < 8; i++) {
                int row = (first + i) / vectors;
                places[i] = row * vectors + swizzle(row, (first + i) % vectors, vectors);
            }
            if (meets_a_bank_twice(places)) return fail("store by thread %d", first);
        }
    }
}

/* The epilogue writes 8 bytes a lane (16 lanes a phase) and reads 16 bytes a lane (8 a phase). */
static void epilogue_banks() {
    for (int warp_n : {32, 64}) {
        int row = conv_tile{2 * warp_n, 2 * warp_n, 4, 2, 2}.epilogue_row(), groups = warp_n / 8;
        for (int phase = 0; phase < 2 * groups; phase++) {
            int half = phase % 2, group = phase / 2;
            std::set<int> banks;
            for (int lane = half * 16; lane < half * 16 + 16; lane++)
                banks.insert((lane / 4 * row + group * 8 +
                              (lane % 4 * 2 ^ epilogue_swap(lane / 4, group, groups))) %
                             32);
            if (banks.size() != 16) return fail("write, rows of %d floats", row);
        }
        for (int first = 0; first < 32; first += 8) {
            for (int load = 0; load < 2; load++) {
                std::set<int> banks;
                for (int lane = first; lane < first + 8; lane++) {
                    int swap = epilogue_swap(lane / groups, lane % groups, groups);
                    banks.insert((lane / groups * row + lane % groups * 8 + (4 * load ^ swap)) %
                                 32);
                }
                if (banks.size() != 8) return fail("read, rows of %d floats, lane %d", row, first);
            }
        }
    }
}

static void blocks_and_splits() {
    for (int m = 1; m < 12; m++) {
        for (int n = 1; n < 36; n++) {
            std::set<std::pair<int, int>> seen;
            block_order order = make_block_order(m, n);
            for (int b = 0; b < m * n; b++) {
                tile_place at = place_of_block((uint32_t)b, order);
                if (at.m < 0 || at.m >= m || at.n < 0 || at.n >= n)
                    return fail("block %d of %d x %d tiles is at %d,%d", b, m, n, at.m, at.n);
                seen.insert({at.m, at.n});
            }
            if ((int)seen.size() != m * n) return fail("%d x %d tiles: some are left out", m, n);
        }
    }
    /* Nearly 2^31 blocks: in one band of all columns, in whole bands, in whole ones and a rest. */
    for (int n : {1, 7, 8, 16, 1000, 1 << 20, (1 << 20) + 3}) {
        int m = INT32_MAX / n;
        tile_place far = place_of_block((uint32_t)m * (uint32_t)n - 1, make_block_order(m, n));
        if (far.m != m - 1 || far.n != n - 1) fail("%d x %d tiles overflow", m, n);
    }
    for (int n = 1; n < 70; n++) {
        for (int splits = 1; splits <= n; splits++) {
            int end = 0;
            for (int s = 0; s < splits; s++) {
                iteration_range range = split_range(n, splits, s);
                if (range.begin != end || range.end <= range.begin)
                    return fail("%d iterations, split %d of %d", n, s, splits);
                if (range.end - range.begin > ceil_div(n, splits)) return fail("not balanced");
                end = range.end;
            }
            if (end != n) return fail("%d iterations in %d splits end at %d", n, splits, end);
        }
    }
}

static void taps() {
    for (int first = -9; first < 12; first++) {
        for (int dilation = 1; dilation < 4; dilation++) {
            for (int size = 1; size < 10; size++) {
                uint32_t mask = tap_mask(first, dilation, MAX_TAPS, size);
                for (int i = 0; i < MAX_TAPS; i++) {
                    bool in = first + i * dilation >= 0 && first + i * dilation < size;
                    if (in != (mask >> i & 1)) return fail("tap %d from %d", i, first);
                }
            }
        }
    }
    for (int R = 1; R <= 5; R++) {
        for (int S = 1; S <= 5; S++) {
            const int64_t W = 37, dh = 2, dw = 3, pixel = 6, slice = 4;
            tap_steps steps = make_tap_steps(R, S, W, dh, dw, pixel, slice);
            int64_t offset = 0;
            for (int i = 0; i < 3 * R * S; i++) {
                tap_place at = place_of_iteration(i, R, S);
                int64_t want = at.slice * slice + (at.r * dh * W + at.s * dw) * pixel;
                if (offset != want) return fail("%dx%d, iteration %d", R, S, i);
                offset += at.s + 1 < S   ? steps.next_s
                          : at.r + 1 < R ? steps.next_r
                                         : steps.next_slice;
            }
        }
    }
}

/* Every filter finds its channels in its tile's range, for all shapes of groups in use. */
static void groups() {
    const int shapes[][3] = {{64, 64, 1},   {3, 17, 1},      {12, 24, 12},   {128, 128, 32},
                             {24, 24, 3},   {960, 960, 960}, {232, 232, 29}, {48, 480, 48},
                             {480, 48, 48}, {6, 9, 3},       {1024, 64, 2}};
    for (auto &s : shapes) {
        int C = s[0], K = s[1], G = s[2];
        for (int tile_n : {64, 128}) {
            for (int vector : {4, 8}) {
                for (int slice : {16, 32, 64}) {
                    int64_t slices = slices_of_conv(tile_n, slice, C, K, G, vector);
                    for (int k = 0; k < K; k++) {
                        channel_range r = channels_of_tile(k / tile_n, tile_n, C, K, G, vector);
                        int first = k / (K / G) * (C / G), last = first + C / G;
                        if (r.begin > first || r.begin + slices * slice < last || r.end < last ||
                            r.begin % vector != 0) {
                            return fail("filter %d of %d->%d in %d groups", k, C, K, G);
                        }
                    }
                }
            }
        }
    }
}

static void packing() {
    thaw_conv_shape s = {1, 9, 9, 40, 7, 7, 100, 1, {3, 3, 1, 1, 1, 1, 0, 0, 0, 0}};
    for (int sm : {75, 80, 86, 90}) {
        for (int variant = 0; variant < CONV_VARIANTS; variant++) {
            conv_tile tile = tile_of(variant, sm);
            conv_size size = size_of_conv(s, tile, 8);
            int64_t n = (int64_t)size.n_tiles * size.iterations * tile.n * tile.vectors * 8;
            std::vector<bool> seen((size_t)n);
            for (int64_t t = 0; t < size.n_tiles; t++)
                for (int i = 0; i < size.iterations; i++)
                    for (int k = 0; k < tile.n; k++)
                        for (int v = 0; v < tile.vectors; v++)
                            for (int e = 0; e < 8; e++)
                                seen[(size_t)packed_place(t, i, size.iterations, k, v, e, tile,
                                                          8)] = true;
            for (bool one : seen) {
                if (!one) return fail("sm_%d variant %d leaves places out", sm, variant);
            }
            if (tile.shared_bytes(tile.stages) > (sm == 75   ? 32
                                                  : sm == 80 ? 80
                                                  : sm < 90  ? 48
                                                             : 110) *
                                                     1024)
                return fail("sm_%d variant %d: two blocks do not fit", sm, variant);
        }
    }
}

/* What is too large to count is refused in words; what is just small enough is not. */
static void limits() {
    const thaw_cuda_device a10g = {86, 80, 70, 600, 6}, t4 = {75, 40, 30, 320, 4};
    const thaw_window one = {1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
    thaw_cuda_reason reason;
    thaw_conv_shape s = {1 << 11, 1 << 10, 1 << 10, 8, 1 << 10, 1 << 10, 8, 1, one};
    auto refuses = [&](const char *words) {
        const char *why = cuda_conv_refuses(&s, THAW_F16, &a10g, &reason);
        if (!why || !strstr(why, words)) fail("'%s' is not in '%s'", words, why ? why : "(taken)");
    };
    refuses("2147483648 output pixels, at most 2147483647");
    s.N = (1 << 11) - 8;
    refuses("vectors of 16 bytes, at most 2147483647");
    s.N = 1 << 9;
    if (cuda_conv_refuses(&s, THAW_F16, &a10g, &reason)) fail("2^32 elements: %s", reason.text);
    s.window.R = 17;
    refuses("17 x 1, at most 16 x 16");
    s.window = one;
    s.G = 3;
    refuses("3 groups do not divide");
    s.G = 1;
    if (!cuda_conv_refuses(&s, THAW_BF16, &t4, &reason) || !strstr(reason.text, "sm_75"))
        fail("bf16 on sm_75: %s", reason.text);
    if (!cuda_tensor_refuses(1 << 20, 1 << 10, 1 << 3, 8, &reason)) fail("2^33 vectors are taken");
    if (cuda_tensor_refuses(1 << 10, 1 << 10, 1 << 10, 8, &reason)) fail("2^30: %s", reason.text);
    s = {1 << 20, 1 << 10, 1 << 10, 64, 1 << 10, 1 << 10, 64, 64, one};
    if (!cuda_depthwise_refuses(&s, &reason)) fail("2^46 pixels of depthwise are taken");
}

/* All threads together reach each strip of each row once. */
static void check_cut(const thaw_conv_shape &s, thaw_dtype dtype) {
    depthwise_cut cut = cut_depthwise(s, dtype);
    int64_t vectors = padded_channels(s.C) / 8;
    int64_t strips = ceil_div(s.Q, depthwise_strip(s.window, dtype));
    int block = depthwise_block(cut);
    if (block > DEPTHWISE_THREADS || block % 32 != 0) return fail("a block of %d threads", block);
    std::vector<uint8_t> reached((size_t)(s.N * s.P * strips * vectors));
    for (int64_t thread = 0; thread < cut.threads; thread++) {
        depthwise_place at = place_of_depthwise(cut, (uint32_t)thread);
        if (at.n >= s.N || at.vector >= vectors || at.strip >= strips)
            return fail("thread %lld is outside", (long long)thread);
        for (int p = at.p; p < at.p + cut.walk && p < s.P; p++)
            reached[(size_t)(((at.n * s.P + p) * strips + at.strip) * vectors + at.vector)]++;
    }
    for (uint8_t times : reached) {
        if (times != 1)
            return fail("N %lld, P %lld, Q %lld, C %lld: an output is computed %d times",
                        (long long)s.N, (long long)s.P, (long long)s.Q, (long long)s.C, times);
    }
}

/* Sizes around those of strips and walks, and some so large that threads walk. */
static void depthwise_cuts() {
    const thaw_window window = {3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
    for (int64_t C : {8, 24, 40, 64, 72, 120})
        for (int64_t P : {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33})
            for (int64_t Q : {1, 4, 5, 8, 13, 16, 17, 33, 65})
                check_cut({2, P, Q, C, P, Q, C, C, window}, THAW_F16);
    bool walks = false;
    for (int64_t P : {20, 34, 56}) {
        thaw_conv_shape s = {1500, P, 40, 64, P, 40, 64, 64, window};
        walks |= cut_depthwise(s, THAW_F16).walk == 4;
        check_cut(s, THAW_F16);
    }
    if (!walks) fail("no thread walks");
}

/* Conversions of the host against a search over all 16-bit values. */
static void conversions() {
    for (uint32_t h = 0; h < 65536; h++) {
        float f = half_float((uint16_t)h);
        if (f == f && half_bits(f) != h) return fail("half %04x -> %g -> %04x", h, f, half_bits(f));
        float b = bits_float(h << 16);
        if (b == b && bf16_bits(b) != h) return fail("bf16 %04x -> %04x", h, bf16_bits(b));
        if (f != f && half_bits(f) == 0x7c00) return fail("a NaN became infinity");
        uint32_t up = h + 1;
        if ((h & 0x7fff) >= 0x7bff || (h & 0x7fff) >= 0x7f7f) continue;
        float middle = (float)(((double)f + half_float((uint16_t)up)) / 2);
        if (half_bits(middle) != (h & 1 ? up : h)) return fail("tie at half %04x", h);
        float between = (float)(((double)b + bits_float(up << 16)) / 2);
        if (bf16_bits(between) != (h & 1 ? up : h)) return fail("tie at bf16 %04x", h);
    }
    if (tf32_round(1 + 0x1p-11f) != 1 + 0x1p-10f || tf32_round(1 + 0x1p-12f) != 1)
        fail("tf32 rounds to nearest, ties away from zero");
}

/* Of all outputs the one whose window has the input there, found by looking. */
static void outputs_of_taps() {
    for (int at = 0; at < 9; at++)
        for (int tap = 0; tap < 4; tap++)
            for (int stride = 1; stride < 4; stride++)
                for (int dilation = 1; dilation < 3; dilation++)
                    for (int pad = 0; pad < 4; pad++)
                        for (int n = 1; n < 9; n++) {
                            int want = -1;
                            for (int out = 0; out < n; out++)
                                if (out * stride + tap * dilation - pad == at) want = out;
                            if (output_of(at, tap, stride, dilation, pad, n) != want)
                                return fail("input %d under tap %d of stride %d", at, tap, stride);
                        }
}

static const index_case cases[] = {
    {"division", division},
    {"swizzled tiles", swizzled_tiles},
    {"epilogue banks", epilogue_banks},
    {"blocks and splits", blocks_and_splits},
    {"taps", taps},
    {"outputs of taps", outputs_of_taps},
    {"groups", groups},
    {"packing", packing},
    {"limits", limits},
    {"depthwise cuts", depthwise_cuts},
    {"conversions", conversions},
};

int main(int argc, char **argv) {
    auto once = [](thaw_dtype type, int) { return type == THAW_F32; };
    return test_main(
        argc, argv, cases, [](const index_case &c, auto) { c.run(); }, once);
}
