/* What ptx.cuh needs: asynchronous copies and the tensor cores' collectives, from the lane maps of
 * the PTX ISA 8.0, sections 9.7.8.25 (cp.async) and 9.7.13 (mma, ldmatrix). */
#include <atomic>

#include "block.h"

namespace simt {

uint8_t *shared_memory() {
    return current_block->shared;
}

/* Of n bytes at an address that must be shared memory and aligned to n. */
static size_t shared_offset(const void *memory, size_t n, place where) {
    block &b = *current_block;
    ptrdiff_t offset = (const uint8_t *)memory - b.shared;
    if (offset < 0 || (size_t)offset + n > b.shared_bytes) {
        error(where, "access to bytes %td to %td of shared memory, which has %zu", offset,
              offset + (ptrdiff_t)n - 1, b.shared_bytes);
    }
    if ((size_t)offset % n)
        error(where, "shared memory at byte %td, which is not aligned to %zu", offset, n);
    return (size_t)offset;
}

/* ---- cp.async ------------------------------------------------------------------------------- */

void cp_async_16(void *shared, const void *global, bool valid, place where) {
    block &b = *current_block;
    thread &t = *current_thread;
    size_t offset = shared_offset(shared, 16, where);
    if (valid) {
        if ((uintptr_t)global % 16) error(where, "cp.async from a misaligned address");
        access(global, 16, false, {where, nullptr});
    }
    b.shadow.issue(offset, 16, b.now(t), {where, nullptr});
    t.queue.copies.push_back({shared, global, valid, where});
}

void cp_async_commit() {
    copy_queue &q = current_thread->queue;
    q.ends.push_back(q.copies.size());
}

/* Only now the bytes are read and land: as late as the hardware may be. */
void cp_async_wait(int newest, place) {
    static const uint8_t zeros[16] = {};
    block &b = *current_block;
    copy_queue &q = current_thread->queue;
    for (; q.groups() > (size_t)newest; q.landed_groups++) {
        for (; q.landed < q.ends[q.landed_groups]; q.landed++) {
            const copy &c = q.copies[q.landed];
            memcpy(c.to, c.valid ? c.from : zeros, 16);
            b.shadow.land((size_t)((uint8_t *)c.to - b.shared), 16, b.now(*current_thread));
        }
    }
    if (q.groups() == 0 && q.landed == q.copies.size()) q.clear();
}

/* ---- ldmatrix ------------------------------------------------------------------------------- */

static std::atomic<uint64_t> n_conflicts{0};

uint64_t bank_conflicts() {
    return n_conflicts;
}

struct ldmatrix_argument {
    uint32_t *r; /* Of the load that is looked at, likewise row. */
    const uint8_t *row;
};

/* The eight rows of a matrix are read at once, where no two lie in the same four of the 32 banks;
 * else each that shares them costs one more turn. */
static uint64_t conflicts_of(void **eight) {
    unsigned rows_at[8] = {}, most = 0;
    for (int i = 0; i < 8; i++) {
        const uint8_t *row = ((ldmatrix_argument *)eight[i])->row;
        bool again = false; /* Equal addresses are one read. */
        for (int j = 0; j < i; j++)
            again = again || ((ldmatrix_argument *)eight[j])->row == row;
        if (!again) most = std::max(most, ++rows_at[(uintptr_t)row / 16 % 8]);
    }
    return most - 1;
}

static void load_matrices(void **all) {
    uint64_t conflicts = 0;
    for (int i = 0; i < 4; i++)
        conflicts += conflicts_of(all + 8 * i);
    if (conflicts) n_conflicts += conflicts;
    for (int lane = 0; lane < WARP; lane++) {
        for (int i = 0; i < 4; i++) {
            auto *from = (ldmatrix_argument *)all[8 * i + lane / 4];
            memcpy(&((ldmatrix_argument *)all[lane])->r[i], from->row + lane % 4 * 4, 4);
        }
    }
}

static void load_all(int n, ptrdiff_t stride, void **all) {
    for (int i = 0; i < n; i++) {
        load_matrices(all);
        for (int lane = 0; lane < WARP; lane++) {
            auto *a = (ldmatrix_argument *)all[lane];
            a->r += 4;
            a->row += stride;
        }
    }
}

void ldmatrix_x4(int n, uint32_t *r, const void *shared_row, ptrdiff_t stride, place where) {
    block &b = *current_block;
    const uint8_t *row = (const uint8_t *)shared_row;
    for (int i = 0; i < n; i++) {
        size_t offset = shared_offset(row + i * stride, 16, where);
        b.shadow.read(offset, 16, b.now(*current_thread), {where, nullptr});
    }
    ldmatrix_argument mine = {r, row};
    meet(LDMATRIX, 0xffffffffu, &mine, where, [=](void **all) { load_all(n, stride, all); });
}

/* ---- mma ------------------------------------------------------------------------------------ */

struct mma_argument {
    float *d;
    const uint32_t *a, *b;
};

/* The arithmetic is most of the emulation's time, and knows no address but its own: sanitizers need
 * not follow it. */
#define UNWATCHED __attribute__((no_sanitize("address", "undefined")))

UNWATCHED static inline float as_float(uint32_t bits) {
    return __builtin_bit_cast(float, bits);
}

/* Without a branch, for all 16 bits at once: the exponent moves from a bias of 15 to 127 by a
 * product that is exact, subnormals included. */
UNWATCHED static inline float half_factor(uint32_t bits) {
    float f = as_float((bits & 0x7fff) << 13) * 0x1p112f;
    uint32_t infinite = f >= 0x1p16f ? 0x7f800000u : 0; /* Infinity and NaN had exponent 31. */
    return as_float(__builtin_bit_cast(uint32_t, f) | infinite | (bits & 0x8000) << 16);
}

/* n registers into their factors: two each for 16-bit types, the lower first; one for tf32, whose
 * lower 13 bits the hardware does not read. */
UNWATCHED static void unpack(factor type, int n, const uint32_t *from, float *to) {
    if (type == HALF) {
        for (int i = 0; i < n; i++) {
            to[2 * i] = half_factor(from[i] & 0xffff);
            to[2 * i + 1] = half_factor(from[i] >> 16);
        }
    } else if (type == BF16) {
        for (int i = 0; i < n; i++) {
            to[2 * i] = as_float(from[i] << 16);
            to[2 * i + 1] = as_float(from[i] & 0xffff0000u);
        }
    } else {
        for (int i = 0; i < n; i++)
            to[i] = as_float(from[i] & 0xffffe000u);
    }
}

/* Row by row, as 32 bytes lie in memory: a of 16 rows, b of 8 columns; as they are multiplied, b by depth. */
struct factors_a {
    float v[16][16];
};
struct factors_b {
    float v[16][8];
};

/* Register i of lane 4 g + t has row g + i % 2 * 8, word i / 2 * 4 + t; likewise of b. */
UNWATCHED static factors_a gather_a(factor type, int depth, void **all, int at) {
    uint32_t words[16][8];
    factors_a f;
    for (int lane = 0; lane < WARP; lane++) {
        const uint32_t *a = ((mma_argument *)all[lane])->a + at * 4;
        for (int i = 0; i < 4; i++)
            words[lane / 4 + i % 2 * 8][i / 2 * 4 + lane % 4] = a[i];
    }
    float rows[16 * 16];
    unpack(type, 16 * 8, words[0], rows);
    for (int row = 0; row < 16; row++)
        memcpy(f.v[row], rows + row * depth, (size_t)depth * sizeof(float));
    return f;
}

UNWATCHED static factors_b gather_b(factor type, int depth, void **all, int at) {
    uint32_t words[8][8];
    factors_b f;
    for (int lane = 0; lane < WARP; lane++) {
        const uint32_t *b = ((mma_argument *)all[lane])->b + at * 2;
        for (int i = 0; i < 2; i++)
            words[lane / 4][i * 4 + lane % 4] = b[i];
    }
    float columns[8 * 16];
    unpack(type, 8 * 8, words[0], columns);
    for (int col = 0; col < 8; col++) {
        for (int k = 0; k < depth; k++)
            f.v[k][col] = columns[col * depth + k];
    }
    return f;
}

/* The products of 16-bit factors and of tf32 are exact: a fused addition gives no other bits. */
__attribute__((target_clones("avx2,fma", "default"))) UNWATCHED static void multiply(
    int depth, const factors_a &a, const factors_b &b, float (*d)[8]) {
    for (int row = 0; row < 16; row++) {
        for (int k = 0; k < depth; k++) {
            for (int col = 0; col < 8; col++)
                d[row][col] += a.v[row][k] * b.v[k][col];
        }
    }
}

UNWATCHED static void multiply_lanes(factor type, int m, int n, void **all) {
    const int depth = type == TF32 ? 8 : 16;
    std::vector<factors_b> b;
    for (int j = 0; j < n; j++)
        b.push_back(gather_b(type, depth, all, j));
    for (int i = 0; i < m; i++) {
        const factors_a a = gather_a(type, depth, all, i);
        for (int j = 0; j < n; j++) {
            float d[16][8];
            auto place = [&](int lane, int k) -> float & {
                return ((mma_argument *)all[lane])->d[(i * n + j) * 4 + k];
            };
            for (int lane = 0; lane < WARP; lane++) {
                for (int k = 0; k < 4; k++)
                    d[lane / 4 + k / 2 * 8][lane % 4 * 2 + k % 2] = place(lane, k);
            }
            multiply(depth, a, b[(size_t)j], d);
            for (int lane = 0; lane < WARP; lane++) {
                for (int k = 0; k < 4; k++)
                    place(lane, k) = d[lane / 4 + k / 2 * 8][lane % 4 * 2 + k % 2];
            }
        }
    }
}

void mma(factor type, int m, int n, float *d, const uint32_t *a, const uint32_t *b, place where) {
    mma_argument mine = {d, a, b};
    meet(MMA, 0xffffffffu, &mine, where, [=](void **all) { multiply_lanes(type, m, n, all); });
}

}  // namespace simt
