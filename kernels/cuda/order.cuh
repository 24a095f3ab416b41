/* An epoch's order on the device. */
#ifndef THAW_CUDA_ORDER_CUH
#define THAW_CUDA_ORDER_CUH

#include "common.cuh"

namespace thaw {

/* The row at a position in 0 .. n - 1. */
__device__ inline int64_t row_at(const thaw_cuda_order &order, int64_t at) {
    if (!order.index) return at;
    return order.index32 ? (int64_t)((const int32_t *)order.index)[at]
                         : ((const int64_t *)order.index)[at];
}

}  // namespace thaw

#endif
