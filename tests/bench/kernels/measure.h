/* One layer: its operands on the device, our kernels and cuDNN's for it, verified and timed. */
#ifndef THAW_BENCH_MEASURE_H
#define THAW_BENCH_MEASURE_H

#include <memory>
#include <string>
#include <vector>

#include "layers.h"
#include "timing.h"

struct bench_device {
    thaw_cuda_device facts; /* As the program itself has them. */
    cudaStream_t stream;
    size_t l2_bytes;
    bool cudnn;
};

/* One of the implicit GEMM's variants: what the cost model says, and what three samples said. */
struct candidate {
    std::string kernel;
    double expected_us, us;
};

struct layer_result {
    double flops, bytes; /* bytes: input, weights, output and residual once. */
    std::string kernel, model_kernel;
    std::unique_ptr<contender> ours, model;  /* model: the cost model's choice; NULL: it is ours. */
    std::unique_ptr<contender> apart, fused; /* cuDNN's, or NULL: */
    std::vector<candidate> candidates;
    std::string apart_trouble, fused_trouble;
    std::string failure; /* One of our variants gave a wrong result, or failed. */

    /* cuDNN's better time over ours; 0 without cuDNN. */
    double ratio() const;
};

/* Throws trouble when nothing could be measured at all. */
layer_result measure_layer(const bench_device &device, const layer &l, int64_t N);

/* Bytes that a layer must move at least. */
double layer_bytes(const layer &l, int64_t N);

#endif
