/* cuDNN for the emulation: the calls in use, naive loops, kept by a stream that is being captured. It
 * insists on what the real one would be wrong or slow without: algorithms with one order of sums, the
 * workspace it has asked for, shapes that belong together. THAW_SIMT_DNN=no: there is none; =refuses:
 * it has a kernel for no shape. */
#include "dnn.h"

#include <functional>
#include <vector>

#include "block.h"
#include "types.h"

namespace thaw {

enum { BAD_PARAM = 2000, EXECUTION_FAILED = 5000, WORKSPACE = 64 };

namespace {

struct fake_tensor {
    int n, c, h, w, type;
};
struct fake_filter {
    int k, c, r, s, type;
};
struct fake_convolution {
    int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, math;
};
struct fake_handle {
    cudaStream_t stream;
};

int injected() {
    return simt::injected_failure() ? EXECUTION_FAILED : 0;
}

template <class T>
int create(void **made) {
    if (int failure = injected()) return failure;
    *made = new T{};
    return 0;
}

template <class T>
int destroy(void *made) {
    delete (T *)made;
    return 0;
}

int set_stream(void *handle, cudaStream_t stream) {
    ((fake_handle *)handle)->stream = stream;
    return injected();
}

bool is_type(int type) {
    return type == DNN_FLOAT || (type == DNN_BFLOAT16 && THAW_SIMT_ARCH >= 800);
}

int set_tensor(void *tensor, int format, int type, int n, int c, int h, int w) {
    *(fake_tensor *)tensor = {n, c, h, w, type};
    return format == DNN_NHWC && is_type(type) ? injected() : BAD_PARAM;
}

int set_filter(void *filter, int type, int format, int k, int c, int r, int s) {
    *(fake_filter *)filter = {k, c, r, s, type};
    return format == DNN_NHWC && is_type(type) ? injected() : BAD_PARAM;
}

int set_convolution(void *convolution, int pad_h, int pad_w, int stride_h, int stride_w,
                    int dilation_h, int dilation_w, int mode, int type) {
    *(fake_convolution *)convolution = {pad_h,      pad_w,      stride_h, stride_w,
                                        dilation_h, dilation_w, 0};
    return mode == DNN_CROSS_CORRELATION && type == DNN_FLOAT ? injected() : BAD_PARAM;
}

int set_math(void *convolution, int math) {
    ((fake_convolution *)convolution)->math = math;
    return injected();
}

int outputs(int in, int taps, int pad, int stride, int dilation) {
    return (in + 2 * pad - dilation * (taps - 1) - 1) / stride + 1;
}

/* Whether the four belong together, and sums have one order. */
bool fits(const void *x, const void *w, const void *convolution, const void *y, int algorithm) {
    const fake_tensor &a = *(const fake_tensor *)x, &b = *(const fake_tensor *)y;
    const fake_filter &f = *(const fake_filter *)w;
    const fake_convolution &c = *(const fake_convolution *)convolution;
    bool math = a.type == DNN_BFLOAT16 ? c.math == DNN_TENSOR_OP_MATH
                                       : c.math == DNN_FMA_MATH || c.math == DNN_DEFAULT_MATH;
    return algorithm == 1 && math && a.type == b.type && a.type == f.type && a.n == b.n &&
           a.c == f.c && b.c == f.k &&
           b.h == outputs(a.h, f.r, c.pad_h, c.stride_h, c.dilation_h) &&
           b.w == outputs(a.w, f.s, c.pad_w, c.stride_w, c.dilation_w);
}

int bytes_of(const void *x, const void *w, const void *convolution, const void *y, int algorithm,
             size_t *bytes) {
    const char *mode = getenv("THAW_SIMT_DNN");
    *bytes = WORKSPACE;
    if (!fits(x, w, convolution, y, algorithm)) return BAD_PARAM;
    if (mode && strcmp(mode, "refuses") == 0) return DNN_NOT_SUPPORTED_9;
    return injected();
}

int forward_bytes(void *, void *x, void *w, void *c, void *y, int algorithm, size_t *bytes) {
    return bytes_of(x, w, c, y, algorithm, bytes);
}
int data_bytes(void *, void *w, void *dy, void *c, void *dx, int algorithm, size_t *bytes) {
    return bytes_of(dx, w, c, dy, algorithm, bytes);
}
int filter_bytes(void *, void *x, void *dy, void *c, void *dw, int algorithm, size_t *bytes) {
    return bytes_of(x, dw, c, dy, algorithm, bytes);
}

/* A factor, in a convolution whose mathematics may be tf32's. */
float factor(const fake_convolution &c, const void *from, int i) {
    if (c.math == DNN_TENSOR_OP_MATH) return value(((const bf16_t *)from)[i]);
    float x = ((const float *)from)[i];
    return c.math == DNN_DEFAULT_MATH && THAW_SIMT_ARCH >= 800 ? tf32_round(x) : x;
}

/* Calls f(place in x, in w, in y) for each product of the convolution, in a fixed order. */
template <class F>
void for_each_product(const fake_tensor &x, const fake_filter &f, const fake_convolution &c,
                      const fake_tensor &y, F visit) {
    for (int n = 0; n < y.n; n++)
        for (int p = 0; p < y.h; p++)
            for (int q = 0; q < y.w; q++)
                for (int r = 0; r < f.r; r++)
                    for (int s = 0; s < f.s; s++) {
                        int h = p * c.stride_h + r * c.dilation_h - c.pad_h;
                        int w = q * c.stride_w + s * c.dilation_w - c.pad_w;
                        if (h < 0 || h >= x.h || w < 0 || w >= x.w) continue;
                        for (int k = 0; k < f.k; k++)
                            for (int i = 0; i < f.c; i++)
                                visit(((n * x.h + h) * x.w + w) * x.c + i,
                                      ((k * f.r + r) * f.s + s) * f.c + i,
                                      ((n * y.h + p) * y.w + q) * y.c + k);
                    }
}

/* The work, behind what is queued, on n floats that are zero and then stored as `to` is; its workspace is
 * written to, since the real one's is. */
int run(void *handle, void *workspace, size_t bytes, const void *alpha, const void *beta, void *to,
        int type, size_t n, std::function<void(float *)> work) {
    if (*(const float *)alpha != 1 || *(const float *)beta != 0 || bytes < WORKSPACE)
        return BAD_PARAM;
    if (int failure = injected()) return failure;
    auto all = [=] {
        memset(workspace, 0, WORKSPACE);
        std::vector<float> sums(n);
        work(sums.data());
        for (size_t i = 0; type == DNN_BFLOAT16 && i < n; i++)
            store((bf16_t *)to + i, sums[i]);
        if (type == DNN_FLOAT) memcpy(to, sums.data(), n * sizeof(float));
        simt::mark_written(to, nullptr, n * (type == DNN_FLOAT ? 4 : 2));
        return cudaSuccess;
    };
    return simt::queue(((fake_handle *)handle)->stream, all) == cudaSuccess ? 0 : EXECUTION_FAILED;
}

size_t size_of(const fake_tensor &t) {
    return (size_t)t.n * (size_t)t.h * (size_t)t.w * (size_t)t.c;
}
size_t size_of(const fake_filter &f) {
    return (size_t)f.k * (size_t)f.r * (size_t)f.s * (size_t)f.c;
}

int forward(void *handle, const void *alpha, void *x_tensor, const void *x, void *w_filter,
            const void *w, void *convolution, int algorithm, void *workspace, size_t bytes,
            const void *beta, void *y_tensor, void *y) {
    if (!fits(x_tensor, w_filter, convolution, y_tensor, algorithm)) return BAD_PARAM;
    fake_tensor a = *(fake_tensor *)x_tensor, b = *(fake_tensor *)y_tensor;
    fake_filter f = *(fake_filter *)w_filter;
    fake_convolution c = *(fake_convolution *)convolution;
    return run(handle, workspace, bytes, alpha, beta, y, b.type, size_of(b), [=](float *to) {
        for_each_product(a, f, c, b,
                         [=](int i, int j, int k) { to[k] += factor(c, x, i) * factor(c, w, j); });
    });
}

int data(void *handle, const void *alpha, void *w_filter, const void *w, void *dy_tensor,
         const void *dy, void *convolution, int algorithm, void *workspace, size_t bytes,
         const void *beta, void *dx_tensor, void *dx) {
    if (!fits(dx_tensor, w_filter, convolution, dy_tensor, algorithm)) return BAD_PARAM;
    fake_tensor a = *(fake_tensor *)dx_tensor, b = *(fake_tensor *)dy_tensor;
    fake_filter f = *(fake_filter *)w_filter;
    fake_convolution c = *(fake_convolution *)convolution;
    return run(handle, workspace, bytes, alpha, beta, dx, a.type, size_of(a), [=](float *to) {
        for_each_product(a, f, c, b,
                         [=](int i, int j, int k) { to[i] += factor(c, dy, k) * factor(c, w, j); });
    });
}

int filter(void *handle, const void *alpha, void *x_tensor, const void *x, void *dy_tensor,
           const void *dy, void *convolution, int algorithm, void *workspace, size_t bytes,
           const void *beta, void *dw_filter, void *dw) {
    if (!fits(x_tensor, dw_filter, convolution, dy_tensor, algorithm)) return BAD_PARAM;
    fake_tensor a = *(fake_tensor *)x_tensor, b = *(fake_tensor *)dy_tensor;
    fake_filter f = *(fake_filter *)dw_filter;
    fake_convolution c = *(fake_convolution *)convolution;
    return run(handle, workspace, bytes, alpha, beta, dw, f.type, size_of(f), [=](float *to) {
        for_each_product(a, f, c, b,
                         [=](int i, int j, int k) { to[j] += factor(c, dy, k) * factor(c, x, i); });
    });
}

const char *explain(int status) {
    return status == BAD_PARAM ? "CUDNN_STATUS_BAD_PARAM" : "CUDNN_STATUS_EXECUTION_FAILED";
}

}  // namespace

bool dnn_find(dnn_calls *calls) {
    const char *mode = getenv("THAW_SIMT_DNN");
    if (mode && strcmp(mode, "no") == 0) return false;
    *calls = {create<fake_handle>,
              destroy<fake_handle>,
              set_stream,
              create<fake_tensor>,
              destroy<fake_tensor>,
              set_tensor,
              create<fake_filter>,
              destroy<fake_filter>,
              set_filter,
              create<fake_convolution>,
              destroy<fake_convolution>,
              set_convolution,
              set_math,
              forward_bytes,
              data_bytes,
              filter_bytes,
              forward,
              data,
              filter,
              explain};
    return true;
}

}  // namespace thaw
