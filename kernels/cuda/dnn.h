/* Convolutions and their gradients by cuDNN. dnn_dlopen.cc finds the library when the program runs,
 * since a machine that only serves has none; tests/simt/dnn.cc computes its calls on the CPU. */
#ifndef THAW_CUDA_DNN_H
#define THAW_CUDA_DNN_H

#include <cuda_runtime.h>
#include <stddef.h>

#include "kernels.h"

extern "C" {
#include "status.h"
}

namespace thaw {

/* The functions in use, as the headers of cuDNN 8 and 9 have them; they return cudnnStatus_t. */
struct dnn_calls {
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*set_stream)(void *handle, cudaStream_t stream);
    int (*create_tensor)(void **tensor);
    int (*destroy_tensor)(void *tensor);
    int (*set_tensor)(void *tensor, int format, int type, int n, int c, int h, int w);
    int (*create_filter)(void **filter);
    int (*destroy_filter)(void *filter);
    int (*set_filter)(void *filter, int type, int format, int k, int c, int r, int s);
    int (*create_convolution)(void **convolution);
    int (*destroy_convolution)(void *convolution);
    int (*set_convolution)(void *convolution, int pad_h, int pad_w, int stride_h, int stride_w,
                           int dilation_h, int dilation_w, int mode, int type);
    int (*set_math)(void *convolution, int math);
    int (*forward_bytes)(void *handle, void *x, void *w, void *convolution, void *y, int algorithm,
                         size_t *bytes);
    int (*data_bytes)(void *handle, void *w, void *dy, void *convolution, void *dx, int algorithm,
                      size_t *bytes);
    int (*filter_bytes)(void *handle, void *x, void *dy, void *convolution, void *dw, int algorithm,
                        size_t *bytes);
    int (*forward)(void *handle, const void *alpha, void *x_tensor, const void *x, void *w_filter,
                   const void *w, void *convolution, int algorithm, void *workspace, size_t bytes,
                   const void *beta, void *y_tensor, void *y);
    int (*data)(void *handle, const void *alpha, void *w_filter, const void *w, void *dy_tensor,
                const void *dy, void *convolution, int algorithm, void *workspace, size_t bytes,
                const void *beta, void *dx_tensor, void *dx);
    int (*filter)(void *handle, const void *alpha, void *x_tensor, const void *x, void *dy_tensor,
                  const void *dy, void *convolution, int algorithm, void *workspace, size_t bytes,
                  const void *beta, void *dw_filter, void *dw);
    const char *(*explain)(int status);
};

/* The numbers that mean something to both sides: they are the same in 8 and 9. */
enum dnn_numbers {
    DNN_NHWC = 1,              /* CUDNN_TENSOR_NHWC; of a filter: K,R,S,C. */
    DNN_FLOAT = 0,             /* CUDNN_DATA_FLOAT */
    DNN_BFLOAT16 = 9,          /* CUDNN_DATA_BFLOAT16 */
    DNN_CROSS_CORRELATION = 1, /* CUDNN_CROSS_CORRELATION */
    DNN_DEFAULT_MATH = 0,      /* CUDNN_DEFAULT_MATH: tf32 of float where the device has it. */
    DNN_TENSOR_OP_MATH = 1,    /* CUDNN_TENSOR_OP_MATH: of bf16 as it is. */
    DNN_FMA_MATH = 3,          /* CUDNN_FMA_MATH: no rounding to tf32. */
    DNN_FORWARD = 1,           /* CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM */
    DNN_DATA = 1,              /* CUDNN_CONVOLUTION_BWD_DATA_ALGO_1: deterministic, 0 is not. */
    DNN_FILTER = 1,          /* CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1: so is this, 0 and 3 are not. */
    DNN_NOT_SUPPORTED_8 = 9, /* CUDNN_STATUS_NOT_SUPPORTED of 8; 9 has it and its reasons in */
    DNN_NOT_SUPPORTED_9 = 3000, /* 3000 to 3999. */
};

/* Whether the library was found, with all of them. */
bool dnn_find(dnn_calls *calls);

/* Opens cuDNN for one stream. Returns 0, or a code with a sentence in err; ERR_UNSUPPORTED: it was not
 * found. The caller closes. NULL closes nothing. */
struct dnn;
int dnn_open(cudaStream_t stream, dnn **library, thaw_error *err);
void dnn_close(dnn *library);

/* A convolution of a shape, without groups; x, y and their gradients are NHWC, w and dw [K,R,S,C], all of
 * one type, THAW_F32 or THAW_BF16, and without gaps. Sums are float. */
struct dnn_conv {
    dnn *library;
    void *x, *y, *w, *convolution;                  /* Descriptors. */
    size_t forward_bytes, data_bytes, filter_bytes; /* Of workspace. */
};

/* *conv: NULL where cuDNN does not take the shape. tf32: as blas_open's, of floats. Returns 0, or a code
 * with a sentence in err. The caller closes. NULL closes nothing. */
int dnn_conv_open(dnn *library, const thaw_conv_shape *shape, thaw_dtype dtype, bool tf32,
                  dnn_conv **conv, thaw_error *err);
void dnn_conv_close(dnn_conv *conv);

/* Queued on the stream. Return 0, or cuDNN's status with a sentence in err (NULL: none). */
int dnn_forward(const dnn_conv *conv, const void *x, const void *w, void *workspace, void *y,
                thaw_error *err);
int dnn_data(const dnn_conv *conv, const void *dy, const void *w, void *workspace, void *dx,
             thaw_error *err);
int dnn_filter(const dnn_conv *conv, const void *x, const void *dy, void *workspace, void *dw,
               thaw_error *err);

}  // namespace thaw

#endif
