/* A CUDA device that was opened, and its memory: what table.cu puts into the kernel table. */
#ifndef THAW_CUDA_DEVICE_H
#define THAW_CUDA_DEVICE_H

#include <cuda_runtime.h>

#include "cuda_kernels.h"

extern "C" {
#include "arena.h"
#include "status.h"
}

namespace thaw {

struct tuning_table;
struct blas;
struct dnn;

struct open_device {
    int index;
    bool modelled; /* There is no such device: plans are made, nothing is kept or run. */
    char name[64], described[80]; /* "NVIDIA A10G", and with its number. */
    thaw_cuda_device facts;
    tuning_table *tuning; /* NULL: kernels are chosen by the cost model. */
    cudaStream_t stream;
    blas *products
        [2]; /* What trains layers, in float and in tf32, once there was one; NULL before. */
    dnn *convolutions;
};

/* As thaw_kernels has them. */
int device_open(int index, int threads, void **device, void **stream, thaw_error *err);
void device_close(void *device, void *stream);
extern const thaw_memory device_memory;

/* n elements, zero. *code keeps the first failure. */
template <class T>
T *take(size_t n, int *code) {
    void *memory = nullptr;
    if (!*code) *code = device_memory.alloc(n * sizeof(T), &memory);
    if (!*code && memory) *code = (int)cudaMemset(memory, 0, n * sizeof(T));
    return (T *)memory;
}

/* The backend's table; table.cu. */
thaw_kernels make_cuda_table();

/* Of head.cu. */
extern const thaw_head_slots device_head_slots;

/* Of weights.cu. */
extern const thaw_weights_slots device_weights_slots;

}  // namespace thaw

#endif
