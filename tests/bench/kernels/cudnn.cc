/* cuDNN's convolutions by its graph interface (what its heuristics propose, in their order) and by
 * its older one (every algorithm), each as a plan that the benchmark verifies and times. */
#include "peers.h"

#include <dlfcn.h>

#include <chrono>
#include <memory>

#include "library.h"

#if __has_include(<cudnn.h>)
#include <cudnn.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* ---- loading -------------------------------------------------------------------------------- */

#define FUNCTIONS(X)                           \
    X(cudnnCreate)                             \
    X(cudnnDestroy)                            \
    X(cudnnSetStream)                          \
    X(cudnnGetVersion)                         \
    X(cudnnGetErrorString)                     \
    X(cudnnCreateTensorDescriptor)             \
    X(cudnnDestroyTensorDescriptor)            \
    X(cudnnSetTensor4dDescriptor)              \
    X(cudnnCreateFilterDescriptor)             \
    X(cudnnDestroyFilterDescriptor)            \
    X(cudnnSetFilter4dDescriptor)              \
    X(cudnnCreateConvolutionDescriptor)        \
    X(cudnnDestroyConvolutionDescriptor)       \
    X(cudnnSetConvolution2dDescriptor)         \
    X(cudnnSetConvolutionGroupCount)           \
    X(cudnnSetConvolutionMathType)             \
    X(cudnnCreateActivationDescriptor)         \
    X(cudnnDestroyActivationDescriptor)        \
    X(cudnnSetActivationDescriptor)            \
    X(cudnnGetConvolutionForwardWorkspaceSize) \
    X(cudnnConvolutionForward)                 \
    X(cudnnConvolutionBiasActivationForward)   \
    X(cudnnBackendCreateDescriptor)            \
    X(cudnnBackendDestroyDescriptor)           \
    X(cudnnBackendFinalize)                    \
    X(cudnnBackendSetAttribute)                \
    X(cudnnBackendGetAttribute)                \
    X(cudnnBackendExecute)

static struct {
#define X(name) decltype(&::name) name;
    FUNCTIONS(X)
#undef X
} api;
static cudnnHandle_t handle;

static std::string words(const char *what, cudnnStatus_t status) {
    return std::string(what) + ": " + api.cudnnGetErrorString(status);
}

std::string cudnn_open(cudaStream_t stream) {
    const char *const names[] = {"libcudnn.so.9", "libcudnn.so.8", nullptr};
    void *library = thaw::open_library(names);
    if (!library) return "cuDNN is not installed";
#define X(name)                                          \
    api.name = (decltype(&::name))dlsym(library, #name); \
    if (!api.name) return "this cuDNN lacks the function " #name;
    FUNCTIONS(X)
#undef X
    cudnnStatus_t status = api.cudnnCreate(&handle);
    if (status != CUDNN_STATUS_SUCCESS) return words("cudnnCreate", status);
    status = api.cudnnSetStream(handle, stream);
    return status == CUDNN_STATUS_SUCCESS ? "" : words("cudnnSetStream", status);
}

std::string cudnn_version() {
    if (!handle) return "";
    size_t v = api.cudnnGetVersion();
    return v >= 90000 ? std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." +
                            std::to_string(v % 100)
                      : std::to_string(v);
}

void cudnn_close() {
    if (handle) api.cudnnDestroy(handle);
    handle = nullptr;
}

/* ---- the graph interface -------------------------------------------------------------------- */

/* A descriptor under construction. The first call that fails is remembered; later ones are left
 * out, so that one look at the end is enough. */
class descriptor {
    struct release {
        void operator()(void *d) const {
            api.cudnnBackendDestroyDescriptor((cudnnBackendDescriptor_t)d);
        }
    };
    std::shared_ptr<void> raw;

   public:
    cudnnStatus_t status;

    explicit descriptor(cudnnBackendDescriptorType_t type) {
        cudnnBackendDescriptor_t d = nullptr;
        status = api.cudnnBackendCreateDescriptor(type, &d);
        if (status == CUDNN_STATUS_SUCCESS) raw = std::shared_ptr<void>((void *)d, release());
    }
    cudnnBackendDescriptor_t get() const {
        return (cudnnBackendDescriptor_t)raw.get();
    }
    void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n,
             const void *values) {
        if (status == CUDNN_STATUS_SUCCESS)
            status = api.cudnnBackendSetAttribute(get(), name, type, n, values);
    }
    void set(cudnnBackendAttributeName_t name, const descriptor &d) {
        if (status == CUDNN_STATUS_SUCCESS) status = d.status;
        cudnnBackendDescriptor_t value = d.get();
        set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
    }
    void set(cudnnBackendAttributeName_t name, int64_t value) {
        set(name, CUDNN_TYPE_INT64, 1, &value);
    }
    void set(cudnnBackendAttributeName_t name, double value) {
        set(name, CUDNN_TYPE_DOUBLE, 1, &value);
    }
    void set(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
        set(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
    }
    void set_handle(cudnnBackendAttributeName_t name) {
        set(name, CUDNN_TYPE_HANDLE, 1, &handle);
    }
    void finish() {
        if (status == CUDNN_STATUS_SUCCESS) status = api.cudnnBackendFinalize(get());
    }
};

/* How operands are known in a graph. */
enum operand : int64_t {
    OPERAND_X = 1,
    OPERAND_W,
    OPERAND_BIAS,
    OPERAND_RESIDUAL,
    OPERAND_Y,
    INNER
};

/* [n,c,h,w] in the order N,H,W,C. Inner tensors exist in registers only. */
static descriptor tensor(int64_t id, cudnnDataType_t type, int64_t n, int64_t c, int64_t h,
                         int64_t w) {
    int64_t sizes[] = {n, c, h, w}, strides[] = {h * w * c, 1, w * c, c};
    bool inner = id >= INNER;
    descriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    d.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, sizes);
    d.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
    d.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, (int64_t)16);
    if (inner) d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &inner);
    d.finish();
    return d;
}

static descriptor convolution(const thaw_conv_shape &s, const descriptor &y) {
    const thaw_window &win = s.window;
    int64_t before[] = {win.pad_top, win.pad_left}, after[] = {win.pad_bottom, win.pad_right};
    int64_t strides[] = {win.stride_h, win.stride_w};
    int64_t dilations[] = {win.dilation_h, win.dilation_w};
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    descriptor how(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    how.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, (int64_t)2);
    how.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    how.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    how.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before);
    how.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, after);
    how.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    how.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations);
    how.finish();

    float one = 1, zero = 0;
    descriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
           tensor(OPERAND_X, CUDNN_DATA_HALF, s.N, s.C, s.H, s.W));
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
           tensor(OPERAND_W, CUDNN_DATA_HALF, s.K, s.C / s.G, win.R, win.S));
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    op.finish();
    return op;
}

/* y = x + b, or y = clip(x, 0, upper) where b is NULL. */
static descriptor pointwise(const descriptor &x, const descriptor *b, float upper,
                            const descriptor &y) {
    cudnnPointwiseMode_t mode = b ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_RELU_FWD;
    descriptor how(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    how.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    if (!b && upper < 1e30f) {
        how.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.0);
        how.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, (double)upper);
    }
    how.finish();
    descriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    op.finish();
    return op;
}

/* The problem's operations one after the other; only the convolution where !fused. */
static std::vector<descriptor> operations(const peer_problem &problem, bool fused) {
    const thaw_conv_shape &s = problem.shape;
    int n = fused ? 2 + problem.residual + problem.clipped : 1;
    std::vector<descriptor> ops;
    int64_t next = INNER;
    auto output = [&] {
        bool last = (int)ops.size() == n - 1;
        return tensor(last ? (int64_t)OPERAND_Y : next++, last ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT,
                      s.N, s.K, s.P, s.Q);
    };
    descriptor y = output();
    ops.push_back(convolution(s, y));
    auto follow = [&](const descriptor *b) {
        descriptor sum = output();
        ops.push_back(pointwise(y, b, problem.upper, sum));
        y = sum;
    };
    if (!fused) return ops;
    descriptor bias = tensor(OPERAND_BIAS, CUDNN_DATA_HALF, 1, s.K, 1, 1);
    follow(&bias);
    descriptor residual = tensor(OPERAND_RESIDUAL, CUDNN_DATA_HALF, s.N, s.K, s.P, s.Q);
    if (problem.residual) follow(&residual);
    if (problem.clipped) follow(nullptr);
    return ops;
}

static descriptor graph_of(const std::vector<descriptor> &ops) {
    std::vector<cudnnBackendDescriptor_t> raw;
    descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    for (const descriptor &op : ops) {
        raw.push_back(op.get());
        if (graph.status == CUDNN_STATUS_SUCCESS) graph.status = op.status;
    }
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, (int64_t)raw.size(),
              raw.data());
    graph.set_handle(CUDNN_ATTR_OPERATIONGRAPH_HANDLE);
    graph.finish();
    return graph;
}

/* At most `most` configurations of engines that the heuristic proposes. */
static std::vector<descriptor> proposals(const descriptor &graph, cudnnBackendHeurMode_t mode,
                                         int most, cudnnStatus_t *status) {
    std::vector<descriptor> configs;
    descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    heuristic.finish();
    *status = heuristic.status;
    if (heuristic.status != CUDNN_STATUS_SUCCESS) return configs;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (int i = 0; i < most; i++) {
        configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
        if (configs.back().status != CUDNN_STATUS_SUCCESS) return {};
        raw.push_back(configs.back().get());
    }
    int64_t count = 0;
    *status = api.cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count, raw.data());
    if (*status != CUDNN_STATUS_SUCCESS) count = 0;
    if (count < most) configs.erase(configs.begin() + count, configs.end());
    return configs;
}

/* "engine 57": for the record only. */
static std::string engine_name(const descriptor &config) {
    descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendDescriptor_t raw = engine.get();
    int64_t count = 0, index = -1;
    api.cudnnBackendGetAttribute(config.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &raw);
    api.cudnnBackendGetAttribute(raw, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count,
                                 &index);
    return "engine " + std::to_string(index);
}

static cudnnStatus_t execute(const descriptor &plan, const std::vector<int64_t> &ids,
                             const peer_buffers &b) {
    std::vector<const void *> pointers;
    for (int64_t id : ids) {
        pointers.push_back(id == OPERAND_X          ? b.x
                           : id == OPERAND_W        ? b.w
                           : id == OPERAND_BIAS     ? b.half_bias
                           : id == OPERAND_RESIDUAL ? b.residual
                                                    : b.y);
    }
    descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    int64_t n = (int64_t)ids.size();
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, pointers.data());
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, ids.data());
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &b.workspace);
    pack.finish();
    if (pack.status != CUDNN_STATUS_SUCCESS) return pack.status;
    return api.cudnnBackendExecute(handle, plan.get(), pack.get());
}

static double now() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

/* Finalizes what the heuristics propose, until `end`. */
static std::string add_graph_plans(const peer_problem &problem, bool fused, double end,
                                   std::vector<peer_plan> *plans) {
    auto ops = std::make_shared<std::vector<descriptor>>(operations(problem, fused));
    descriptor graph = graph_of(*ops);
    if (graph.status != CUDNN_STATUS_SUCCESS) return words("operation graph", graph.status);
    std::vector<int64_t> ids = {OPERAND_X, OPERAND_W, OPERAND_Y};
    if (fused) ids.push_back(OPERAND_BIAS);
    if (fused && problem.residual) ids.push_back(OPERAND_RESIDUAL);
    std::string trouble = "the heuristics propose nothing";
    for (cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
        cudnnStatus_t status;
        for (const descriptor &config :
             proposals(graph, mode, mode == CUDNN_HEUR_MODE_A ? 6 : 2, &status)) {
            if (now() > end && !plans->empty()) return "";
            descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
            plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
            plan.set_handle(CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
            plan.finish();
            int64_t bytes = 0, count = 0;
            if (plan.status == CUDNN_STATUS_SUCCESS)
                plan.status = api.cudnnBackendGetAttribute(plan.get(),
                                                           CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                           CUDNN_TYPE_INT64, 1, &count, &bytes);
            if (plan.status != CUDNN_STATUS_SUCCESS) {
                trouble = words("execution plan", plan.status);
                continue;
            }
            peer_plan p;
            p.name = (fused ? "fused, " : "") + engine_name(config);
            p.workspace_bytes = (size_t)bytes;
            p.run = [ops, graph, config, plan, ids](const peer_buffers &b) {
                return (int)execute(plan, ids, b);
            };
            plans->push_back(p);
        }
        if (status != CUDNN_STATUS_SUCCESS) trouble = words("heuristics", status);
    }
    return plans->empty() ? trouble : "";
}

/* ---- the older interface -------------------------------------------------------------------- */

struct old_descriptors {
    cudnnTensorDescriptor_t x = nullptr, y = nullptr, bias = nullptr;
    cudnnFilterDescriptor_t w = nullptr;
    cudnnConvolutionDescriptor_t conv = nullptr;
    cudnnActivationDescriptor_t act = nullptr;
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;

    void keep(cudnnStatus_t next) {
        if (status == CUDNN_STATUS_SUCCESS) status = next;
    }
    explicit old_descriptors(const peer_problem &problem) {
        const thaw_conv_shape &s = problem.shape;
        const thaw_window &win = s.window;
        keep(api.cudnnCreateTensorDescriptor(&x));
        keep(api.cudnnCreateTensorDescriptor(&y));
        keep(api.cudnnCreateTensorDescriptor(&bias));
        keep(api.cudnnCreateFilterDescriptor(&w));
        keep(api.cudnnCreateConvolutionDescriptor(&conv));
        keep(api.cudnnCreateActivationDescriptor(&act));
        if (status != CUDNN_STATUS_SUCCESS) return;
        keep(api.cudnnSetTensor4dDescriptor(x, CUDNN_TENSOR_NHWC, CUDNN_DATA_HALF, (int)s.N,
                                            (int)s.C, (int)s.H, (int)s.W));
        keep(api.cudnnSetTensor4dDescriptor(y, CUDNN_TENSOR_NHWC, CUDNN_DATA_HALF, (int)s.N,
                                            (int)s.K, (int)s.P, (int)s.Q));
        keep(api.cudnnSetTensor4dDescriptor(bias, CUDNN_TENSOR_NHWC, CUDNN_DATA_HALF, 1, (int)s.K,
                                            1, 1));
        keep(api.cudnnSetFilter4dDescriptor(w, CUDNN_DATA_HALF, CUDNN_TENSOR_NHWC, (int)s.K,
                                            (int)(s.C / s.G), (int)win.R, (int)win.S));
        keep(api.cudnnSetConvolution2dDescriptor(
            conv, (int)win.pad_top, (int)win.pad_left, (int)win.stride_h, (int)win.stride_w,
            (int)win.dilation_h, (int)win.dilation_w, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
        keep(api.cudnnSetConvolutionGroupCount(conv, (int)s.G));
        keep(api.cudnnSetConvolutionMathType(conv, CUDNN_TENSOR_OP_MATH));
        keep(api.cudnnSetActivationDescriptor(
            act, problem.clipped ? CUDNN_ACTIVATION_RELU : CUDNN_ACTIVATION_IDENTITY,
            CUDNN_NOT_PROPAGATE_NAN, 0));
    }
    old_descriptors(const old_descriptors &) = delete;
    ~old_descriptors() {
        if (x) api.cudnnDestroyTensorDescriptor(x);
        if (y) api.cudnnDestroyTensorDescriptor(y);
        if (bias) api.cudnnDestroyTensorDescriptor(bias);
        if (w) api.cudnnDestroyFilterDescriptor(w);
        if (conv) api.cudnnDestroyConvolutionDescriptor(conv);
        if (act) api.cudnnDestroyActivationDescriptor(act);
    }
};

/* The two algorithms of the older interface that multiply as implicit GEMM on tensor cores, and
 * every other one that takes the layer. FFT and Winograd ask for more workspace than is allowed
 * here where they would be of use at all. */
static std::string add_old_plans(const peer_problem &problem, cudnn_offer *offer) {
    const size_t MOST_WORKSPACE = (size_t)512 << 20;
    auto d = std::make_shared<old_descriptors>(problem);
    if (d->status != CUDNN_STATUS_SUCCESS) return words("descriptors", d->status);
    for (int algo = 0; algo < CUDNN_CONVOLUTION_FWD_ALGO_COUNT; algo++) {
        size_t bytes = 0;
        cudnnStatus_t status = api.cudnnGetConvolutionForwardWorkspaceSize(
            handle, d->x, d->w, d->conv, d->y, (cudnnConvolutionFwdAlgo_t)algo, &bytes);
        if (status != CUDNN_STATUS_SUCCESS || bytes > MOST_WORKSPACE) continue;
        peer_plan p;
        p.name = "algorithm " + std::to_string(algo);
        p.workspace_bytes = bytes;
        p.run = [d, algo, bytes](const peer_buffers &b) {
            float one = 1, zero = 0;
            return (int)api.cudnnConvolutionForward(handle, &one, d->x, b.x, d->w, b.w, d->conv,
                                                    (cudnnConvolutionFwdAlgo_t)algo, b.workspace,
                                                    bytes, &zero, d->y, b.y);
        };
        offer->plain.push_back(p);
        /* It offers relu and the identity, the latter with one algorithm only. */
        bool fusable = algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM &&
                       !(problem.clipped && problem.upper < 1e30f);
        if (!fusable) continue;
        p.name = "fused, " + p.name;
        p.run = [d, algo, bytes](const peer_buffers &b) {
            float one = 1, more = b.residual ? 1.0f : 0.0f;
            return (int)api.cudnnConvolutionBiasActivationForward(
                handle, &one, d->x, b.x, d->w, b.w, d->conv, (cudnnConvolutionFwdAlgo_t)algo,
                b.workspace, bytes, &more, d->y, b.residual ? b.residual : b.y, d->bias,
                b.half_bias, d->act, d->y, b.y);
        };
        offer->fused.push_back(p);
    }
    return "";
}

cudnn_offer cudnn_plans(const peer_problem &problem, double seconds) {
    cudnn_offer offer;
    if (!handle) return offer;
    double start = now();
    offer.plain_trouble = add_graph_plans(problem, false, start + seconds / 2, &offer.plain);
    offer.fused_trouble = add_graph_plans(problem, true, start + seconds, &offer.fused);
    std::string trouble = add_old_plans(problem, &offer);
    if (offer.plain.empty() && !trouble.empty()) offer.plain_trouble += "; " + trouble;
    return offer;
}

#else

std::string cudnn_open(cudaStream_t) {
    return "the benchmark was built without cuDNN's header";
}
std::string cudnn_version() {
    return "";
}
cudnn_offer cudnn_plans(const peer_problem &, double) {
    return {};
}
void cudnn_close() {
}

#endif
