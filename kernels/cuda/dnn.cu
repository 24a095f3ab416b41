/* Convolutions by cuDNN: its descriptors, and what its refusals mean. */
#include "dnn.h"

#include <cuda_runtime.h>
#include <stdlib.h>

namespace thaw {

struct dnn {
    dnn_calls calls;
    void *handle;
};

static int failed(const dnn *library, const char *call, int status, thaw_error *err) {
    if (status)
        thaw_fail(err, THAW_ERR_BACKEND, "cuDNN: %s failed: %s (%d)", call,
                  library->calls.explain(status), status);
    return status;
}

int dnn_open(cudaStream_t stream, dnn **library, thaw_error *err) {
    *library = nullptr;
    dnn *d = (dnn *)calloc(1, sizeof *d);
    if (!d || !dnn_find(&d->calls)) {
        free(d);
        thaw_fail(err, THAW_ERR_UNSUPPORTED,
                  "cuDNN (libcudnn.so.9 or .8) was not found: neither by the loader "
                  "(LD_LIBRARY_PATH) nor beside the program, in /usr/local/cuda or in a Python's "
                  "package nvidia-cudnn");
        return (int)cudaErrorInvalidValue;
    }
    int code = failed(d, "cudnnCreate", d->calls.create(&d->handle), err);
    if (!code) code = failed(d, "cudnnSetStream", d->calls.set_stream(d->handle, stream), err);
    if (code) {
        dnn_close(d);
        return code;
    }
    *library = d;
    return 0;
}

void dnn_close(dnn *d) {
    if (d && d->handle) d->calls.destroy(d->handle);
    free(d);
}

/* The outputs that a pad on both sides gives. */
static bool is_even(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t dilation,
                    int64_t pad) {
    return (in + 2 * pad - dilation * (taps - 1) - 1) / stride + 1 == out;
}

/* cuDNN pads both sides alike. What the far side has more of may lie where no window reaches. */
static bool takes(const thaw_conv_shape &s) {
    const thaw_window &w = s.window;
    return s.G == 1 && is_even(s.H, s.P, w.R, w.stride_h, w.dilation_h, w.pad_top) &&
           is_even(s.W, s.Q, w.S, w.stride_w, w.dilation_w, w.pad_left);
}

static bool is_refusal(int status) {
    return status == DNN_NOT_SUPPORTED_8 ||
           (status >= DNN_NOT_SUPPORTED_9 && status < DNN_NOT_SUPPORTED_9 + 1000);
}

static int describe(dnn_conv *c, const thaw_conv_shape &s, thaw_dtype dtype, bool tf32,
                    thaw_error *err) {
    const dnn *d = c->library;
    const dnn_calls &calls = d->calls;
    const thaw_window &w = s.window;
    const bool bf16 = dtype == THAW_BF16;
    const int type = bf16 ? DNN_BFLOAT16 : DNN_FLOAT;
    const int math = bf16 ? DNN_TENSOR_OP_MATH : tf32 ? DNN_DEFAULT_MATH : DNN_FMA_MATH;
    int code = failed(d, "cudnnCreateTensorDescriptor", calls.create_tensor(&c->x), err);
    if (!code) code = failed(d, "cudnnCreateTensorDescriptor", calls.create_tensor(&c->y), err);
    if (!code) code = failed(d, "cudnnCreateFilterDescriptor", calls.create_filter(&c->w), err);
    if (!code)
        code = failed(d, "cudnnCreateConvolutionDescriptor",
                      calls.create_convolution(&c->convolution), err);
    if (!code)
        code = failed(
            d, "cudnnSetTensor4dDescriptor",
            calls.set_tensor(c->x, DNN_NHWC, type, (int)s.N, (int)s.C, (int)s.H, (int)s.W), err);
    if (!code)
        code = failed(
            d, "cudnnSetTensor4dDescriptor",
            calls.set_tensor(c->y, DNN_NHWC, type, (int)s.N, (int)s.K, (int)s.P, (int)s.Q), err);
    if (!code)
        code = failed(
            d, "cudnnSetFilter4dDescriptor",
            calls.set_filter(c->w, type, DNN_NHWC, (int)s.K, (int)s.C, (int)w.R, (int)w.S), err);
    if (!code)
        code = failed(d, "cudnnSetConvolution2dDescriptor",
                      calls.set_convolution(c->convolution, (int)w.pad_top, (int)w.pad_left,
                                            (int)w.stride_h, (int)w.stride_w, (int)w.dilation_h,
                                            (int)w.dilation_w, DNN_CROSS_CORRELATION, DNN_FLOAT),
                      err);
    if (!code)
        code = failed(d, "cudnnSetConvolutionMathType", calls.set_math(c->convolution, math), err);
    return code;
}

/* A status that means that there is no such kernel is no failure. */
static int ask(const dnn *d, const char *call, int status, bool *refused, thaw_error *err) {
    *refused = is_refusal(status);
    return *refused ? 0 : failed(d, call, status, err);
}

static int measure(dnn_conv *c, bool *refused, thaw_error *err) {
    const dnn *d = c->library;
    const dnn_calls &calls = d->calls;
    int code = ask(d, "cudnnGetConvolutionForwardWorkspaceSize",
                   calls.forward_bytes(d->handle, c->x, c->w, c->convolution, c->y, DNN_FORWARD,
                                       &c->forward_bytes),
                   refused, err);
    if (!code && !*refused)
        code = ask(
            d, "cudnnGetConvolutionBackwardDataWorkspaceSize",
            calls.data_bytes(d->handle, c->w, c->y, c->convolution, c->x, DNN_DATA, &c->data_bytes),
            refused, err);
    if (!code && !*refused)
        code = ask(d, "cudnnGetConvolutionBackwardFilterWorkspaceSize",
                   calls.filter_bytes(d->handle, c->x, c->y, c->convolution, c->w, DNN_FILTER,
                                      &c->filter_bytes),
                   refused, err);
    return code;
}

int dnn_conv_open(dnn *library, const thaw_conv_shape *shape, thaw_dtype dtype, bool tf32,
                  dnn_conv **conv, thaw_error *err) {
    *conv = nullptr;
    if (!takes(*shape)) return 0;
    dnn_conv *c = (dnn_conv *)calloc(1, sizeof *c);
    if (!c) {
        thaw_fail_memory(err, "for a convolution");
        return (int)cudaErrorMemoryAllocation;
    }
    c->library = library;
    bool refused = false;
    int code = describe(c, *shape, dtype, tf32, err);
    if (!code) code = measure(c, &refused, err);
    if (code || refused) {
        dnn_conv_close(c);
        return code;
    }
    *conv = c;
    return 0;
}

void dnn_conv_close(dnn_conv *c) {
    if (!c) return;
    const dnn_calls &calls = c->library->calls;
    if (c->x) calls.destroy_tensor(c->x);
    if (c->y) calls.destroy_tensor(c->y);
    if (c->w) calls.destroy_filter(c->w);
    if (c->convolution) calls.destroy_convolution(c->convolution);
    free(c);
}

static const float ONE = 1, ZERO = 0;

int dnn_forward(const dnn_conv *c, const void *x, const void *w, void *workspace, void *y,
                thaw_error *err) {
    const dnn *d = c->library;
    return failed(d, "cudnnConvolutionForward",
                  d->calls.forward(d->handle, &ONE, c->x, x, c->w, w, c->convolution, DNN_FORWARD,
                                   workspace, c->forward_bytes, &ZERO, c->y, y),
                  err);
}

int dnn_data(const dnn_conv *c, const void *dy, const void *w, void *workspace, void *dx,
             thaw_error *err) {
    const dnn *d = c->library;
    return failed(d, "cudnnConvolutionBackwardData",
                  d->calls.data(d->handle, &ONE, c->w, w, c->y, dy, c->convolution, DNN_DATA,
                                workspace, c->data_bytes, &ZERO, c->x, dx),
                  err);
}

int dnn_filter(const dnn_conv *c, const void *x, const void *dy, void *workspace, void *dw,
               thaw_error *err) {
    const dnn *d = c->library;
    return failed(d, "cudnnConvolutionBackwardFilter",
                  d->calls.filter(d->handle, &ONE, c->x, x, c->y, dy, c->convolution, DNN_FILTER,
                                  workspace, c->filter_bytes, &ZERO, c->w, dw),
                  err);
}

}  // namespace thaw
