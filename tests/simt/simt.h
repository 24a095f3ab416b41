/* How a launch runs on a CPU, and what it watches.
 *
 * A thread is a fiber, a block an OS thread; a few blocks run at the same time. Barriers, shuffles,
 * votes and the collectives of ptx.cuh are rendezvous: the last lane to arrive does the work for
 * all. Between two rendezvous the fibers run in a random order, drawn from THAW_SIMT_SEED and the
 * block's index.
 *
 * It is hostile. Memory starts as NaN; shared memory is exactly as large as the launch asks for. A
 * cp.async lands at its wait and not before. These are errors, each printed with file and line and
 * the lines that called it; the process then ends with status 3:
 * - a barrier or collective that some of its threads do not reach, or reach elsewhere;
 * - a copy that is still under way when its thread ends;
 * - an instruction that the architecture lacks;
 * - in the checked build: two accesses to shared memory by different threads, one of them a write
 *   and not both atomic, without a barrier between; a read of shared memory that nothing wrote, or
 *   whose cp.async has not been waited for; a read of device memory that nothing wrote; an access
 *   that is misaligned, or outside shared memory, live device memory and the thread's own stack;
 *   host code that touches device memory. The checked build sees each access because the kernels
 *   are compiled with the calls that GCC makes for ThreadSanitizer; shadow.cc answers them. Under
 *   AddressSanitizer and UBSan, those see what lies outside and what is misaligned instead.
 *
 * What it does not see: races in device memory; calls of memcpy and its like in kernels; the limit
 * of threads that __launch_bounds__ sets.
 *
 * The environment: THAW_SIMT_SEED=N another order; THAW_SIMT_MEMORY=BYTES as large a device;
 * THAW_SIMT_FAIL_AT and THAW_SIMT_FAIL_CODE, see cuda_runtime.h.
 */
#ifndef THAW_SIMT_H
#define THAW_SIMT_H

#include <stddef.h>
#include <stdint.h>

#include <source_location>

namespace simt {

using place = std::source_location;

int lane(); /* Of the thread that runs, in its warp. */

void block_barrier(place where);
void warp_barrier(unsigned mask, place where);
uint64_t shuffle(unsigned mask, uint64_t bits, int from, place where);
unsigned ballot(unsigned mask, bool predicate, place where);
void memory_fence();
unsigned atomic_add(unsigned *to, unsigned value, place where);
unsigned long long atomic_add(unsigned long long *to, unsigned long long value, place where);

/* ---- what ptx.cuh needs --------------------------------------------------------------------- */

uint8_t *shared_memory();
void cp_async_16(void *shared, const void *global, bool valid, place where);
void cp_async_commit();
void cp_async_wait(int newest, place where);
/* n loads, the rows of each `stride` bytes behind those of the one before. */
void ldmatrix_x4(int n, uint32_t *r, const void *shared_row, ptrdiff_t stride, place where);

enum factor { HALF, BF16, TF32 };

/* d[i][j] += a[i] b[j] for m times n products of a[16,32 bytes] b[32 bytes,8]: registers as in ptx.cuh, d[m][n][4],
 * a[m][4], b[n][2]. */
void mma(factor type, int m, int n, float *d, const uint32_t *a, const uint32_t *b, place where);

/* Turns that ldmatrix took beyond one a matrix, since the process began: rows in one bank. */
uint64_t bank_conflicts();

/* Prints the sentence with place, block and thread; ends the process with status 3. */
[[noreturn]] __attribute__((format(printf, 2, 3))) void error(place where, const char *format, ...);

}  // namespace simt

#endif
