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
    uint32_t *r;
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

void ldmatrix_x4(uint32_t *r, const void *shared_row, place where) {
    block &b = *current_block;
    size_t offset = shared_offset(shared_row, 16, where);
    b.shadow.read(offset, 16, b.now(*current_thread), {where, nullptr});
    ldmatrix_argument mine = {r, (const uint8_t *)shared_row};
    meet(LDMATRIX, 0xffffffffu, &mine, where, load_matrices);
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

/* Row by row, as 32 bytes lie in memory: a[16 rows], b[8 columns]. */
struct operands {
    uint32_t a[16][8], b[8][8];
    float d[16][8];
};

UNWATCHED static void multiply(factor type, operands *o) {
    const int depth = type == TF32 ? 8 : 16;
    float a[16 * 16], b[8 * 16], by_depth[16][8];
    unpack(type, 16 * 8, o->a[0], a);
    unpack(type, 8 * 8, o->b[0], b);
    for (int col = 0; col < 8; col++) {
        for (int k = 0; k < depth; k++)
            by_depth[k][col] = b[col * depth + k];
    }
    for (int row = 0; row < 16; row++) {
        for (int k = 0; k < depth; k++) {
            for (int col = 0; col < 8; col++)
                o->d[row][col] += a[row * depth + k] * by_depth[k][col];
        }
    }
}

static void multiply_lanes(factor type, void **all) {
    operands o;
    for (int lane = 0; lane < WARP; lane++) {
        auto *m = (mma_argument *)all[lane];
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            o.a[g + i % 2 * 8][i / 2 * 4 + t] = m->a[i];
            o.d[g + i / 2 * 8][t * 2 + i % 2] = m->d[i];
        }
        for (int i = 0; i < 2; i++)
            o.b[g][i * 4 + t] = m->b[i];
    }
    multiply(type, &o);
    for (int lane = 0; lane < WARP; lane++) {
        for (int i = 0; i < 4; i++)
            ((mma_argument *)all[lane])->d[i] = o.d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    }
}

void mma(factor type, float *d, const uint32_t *a, const uint32_t *b, place where) {
    mma_argument mine = {d, a, b};
    meet(MMA, 0xffffffffu, &mine, where, [type](void **all) { multiply_lanes(type, all); });
}

}  // namespace simt
