/* y[m] = x[index[m]], rows of D floats: how a shuffled batch is put together. A copy, so bit-exact.
 */
#include <string.h>

#include "cpu.h"

int cpu_gather(int64_t M, int64_t D, const float *x, const int64_t *index, float *y) {
    for (int64_t m = 0; m < M; m++)
        memcpy(y + m * D, x + index[m] * D, (size_t)D * sizeof *y);
    return 0;
}
