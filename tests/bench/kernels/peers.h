/* NVIDIA's libraries, as peers. They are loaded when the benchmark runs, so that it starts where
 * they are missing; their headers are needed when it is built, or their columns say so. */
#ifndef THAW_BENCH_PEERS_H
#define THAW_BENCH_PEERS_H

#include <functional>
#include <string>
#include <vector>

#include "cuda_kernels.h"

/* Where a plan finds its operands on the device. All activations are half, NHWC; channels are a
 * multiple of 8. */
struct peer_buffers {
    const void *x;         /* [N,H,W,C] */
    const void *w;         /* half [K,R,S,C/G] */
    const void *half_bias; /* [K] */
    const float *bias;     /* [K] */
    const void *residual;  /* [N,P,Q,K] or NULL */
    void *y;               /* [N,P,Q,K] */
    void *workspace;       /* peer_plan's workspace_bytes of it. */
};

/* One way in which a library computes a layer. */
struct peer_plan {
    std::string name;
    size_t workspace_bytes = 0;
    /* Returns 0, or the library's code. On the stream that the plans were made for. */
    std::function<int(const peer_buffers &)> run;
};

struct peer_problem {
    thaw_conv_shape shape;
    bool residual, clipped; /* Clipped to 0 ... upper. */
    float upper;
};

/* What cuDNN offers for a problem, best guess first: the plain convolution, and the one with bias,
 * residual and activation in the same pass. trouble: why there is none. */
struct cudnn_offer {
    std::vector<peer_plan> plain, fused;
    std::string plain_trouble, fused_trouble;
};

/* "" when cuDNN is loaded and works on the stream; otherwise why not. */
std::string cudnn_open(cudaStream_t stream);
std::string cudnn_version();
/* Takes about `seconds` at most: engines that are compiled at run time are slow to make. scratch:
 * buffers for those algorithms that cuDNN itself measures. */
cudnn_offer cudnn_plans(const peer_problem &problem, double seconds);
void cudnn_close();

/* n x n x n product of half precision, summed in float: milliseconds, median of a few; 0 with a
 * sentence in trouble. */
double cublas_product_ms(cudaStream_t stream, int n, std::string *trouble);

#endif
