#include "measure.h"

#include <string.h>

#include <algorithm>

#include "on_device.h"
#include "peers.h"
#include "types.h"

using thaw::half_t;
using thaw::padded_channels;

/* pixel * scale + shift: exact in half precision, with a level that stands for zero. */
static const float SCALE = 1.0f / 128, SHIFT = -1;
/* Half precision's own rounding is 2^-22 at most. cuDNN's convolution rounds before its epilogue
 * once more; a mistake is orders of magnitude above either. */
static const double MOST_NMSE = 1e-6 + 0x1p-22, MOST_PEER_NMSE = 1e-5;

double layer_result::ratio() const {
    double best = 0;
    for (const contender *c : {apart.get(), fused.get()})
        if (c && (best == 0 || c->median() < best)) best = c->median();
    return ours && best > 0 ? best / ours->median() : 0;
}

double layer_bytes(const layer &l, int64_t N) {
    thaw_conv_shape s = shape_of(l, N);
    double in = (double)(s.N * s.H * s.W * s.C) * (l.kind == LAYER_STEM ? 1 : 2);
    double out = (double)(s.N * s.P * s.Q * s.K) * 2;
    return in + out * (l.residual ? 2 : 1) + (double)(s.K * (s.C / s.G) * l.R * l.R) * 2;
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Device memory that is freed together. */
class pool {
    std::vector<void *> all;

   public:
    pool() = default;
    pool(const pool &) = delete;
    ~pool() {
        for (void *memory : all)
            cudaFree(memory);
    }
    void *take(size_t n) {
        void *memory = nullptr;
        must(cudaMalloc(&memory, n ? n : 16), "cudaMalloc");
        all.push_back(memory);
        return memory;
    }
    template <class T>
    T *upload(const std::vector<T> &from) {
        T *to = (T *)take(from.size() * sizeof(T));
        must(cudaMemcpy(to, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice),
             "cudaMemcpy");
        return to;
    }
};

/* ---- operands ------------------------------------------------------------------------------- */

/* What all contenders of a layer share. */
struct operands {
    const bench_device &device;
    const layer &l;
    thaw_conv_shape shape;
    int n_sets;
    pool memory;
    size_t x_step, y_step, pixels_step; /* Bytes from one set to the next. */
    uint8_t *x, *y, *residual, *pixels; /* n_sets of each; residual, pixels may be NULL. */
    std::vector<float> w, b;            /* On the host; what half precision can hold. */
    float *w_device, *b_device;
    void *peer_w, *peer_b; /* cuDNN's order: [K,R,S,C/G padded], half. */
    float *want[2];        /* Image 0 and image N - 1 of the result for set 0. */
    difference *sum;
    float scale[3] = {SCALE, SCALE, SCALE}, shift[3] = {SHIFT, SHIFT, SHIFT};

    operands(const bench_device &device, const layer &l, int64_t N);
    void make_weights();
    void make_inputs();
    void make_references();
    double nmse_of_set_0();
};

static size_t rounded(size_t n) {
    return (n + 255) / 256 * 256;
}

operands::operands(const bench_device &device, const layer &l, int64_t N)
    : device(device), l(l), shape(shape_of(l, N)) {
    const int MOST_SETS = 64;
    const thaw_conv_shape &s = shape;
    x_step = rounded((size_t)(s.N * s.H * s.W * padded_channels(s.C)) * 2);
    y_step = rounded((size_t)(s.N * s.P * s.Q * padded_channels(s.K)) * 2);
    pixels_step = l.kind == LAYER_STEM ? rounded((size_t)(s.N * s.H * s.W * s.C)) : 0;
    /* The stem's contenders read either pixels or x: the smaller of them must not stay in L2. */
    size_t in_step = pixels_step ? pixels_step : x_step;
    size_t step = in_step + y_step * (l.residual ? 2 : 1);
    n_sets = (int)std::min((size_t)MOST_SETS, 2 * device.l2_bytes / step + 2);
    x = (uint8_t *)memory.take(x_step * (size_t)n_sets);
    y = (uint8_t *)memory.take(y_step * (size_t)n_sets);
    residual = l.residual ? (uint8_t *)memory.take(y_step * (size_t)n_sets) : nullptr;
    pixels = pixels_step ? (uint8_t *)memory.take(pixels_step * (size_t)n_sets) : nullptr;
    sum = (difference *)memory.take(sizeof *sum);
    make_weights();
    make_inputs();
    make_references();
}

/* Deterministic; uniform, variance 1 over the products of a sum. */
void operands::make_weights() {
    const thaw_conv_shape &s = shape;
    int64_t channels = s.C / s.G, taps = (int64_t)l.R * l.R;
    uint64_t state = 88172645463325252u; /* xorshift64 (Marsaglia 2003) */
    auto uniform = [&state] {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (float)(int32_t)(state >> 32) * 0x1p-31f;
    };
    auto half = [](float v) { return thaw::half_float(thaw::half_bits(v)); };
    float size = 3 / sqrtf((float)(channels * taps));
    w.resize((size_t)(s.K * channels * taps));
    b.resize((size_t)s.K);
    for (float &v : w)
        v = half(uniform() * size);
    for (float &v : b)
        v = half(uniform());
    w_device = memory.upload(w);
    b_device = memory.upload(b);
    int64_t padded = s.G > 1 ? channels : padded_channels(channels);
    std::vector<uint16_t> order((size_t)(s.K * taps * padded)), half_b((size_t)s.K);
    for (int64_t k = 0; k < s.K; k++) {
        half_b[(size_t)k] = thaw::half_bits(b[(size_t)k]);
        for (int64_t c = 0; c < channels; c++)
            for (int64_t t = 0; t < taps; t++)
                order[(size_t)((k * taps + t) * padded + c)] =
                    thaw::half_bits(w[(size_t)((k * channels + c) * taps + t)]);
    }
    peer_w = memory.upload(order);
    peer_b = memory.upload(half_b);
}

void operands::make_inputs() {
    const thaw_conv_shape &s = shape;
    cudaStream_t stream = device.stream;
    must(cudaMemset(y, 0xff, y_step * (size_t)n_sets), "cudaMemset");
    if (residual)
        must(fill_halves(stream, residual, (int64_t)(y_step / 2) * n_sets, 1), "fill_halves");
    if (!pixels) {
        must(fill_halves(stream, x, (int64_t)(x_step / 2) * n_sets, 2), "fill_halves");
        return;
    }
    must(fill_bytes(stream, pixels, (int64_t)pixels_step * n_sets, 3), "fill_bytes");
    float *scales = memory.upload(std::vector<float>(scale, scale + 3));
    float *shifts = memory.upload(std::vector<float>(shift, shift + 3));
    for (int i = 0; i < n_sets; i++) {
        thaw_cuda_launch launch = {};
        launch.stream = stream;
        must(cuda_import(&launch, s.N, s.H, s.W, s.C, THAW_F16, pixels + pixels_step * (size_t)i,
                         scales, shifts, x + x_step * (size_t)i),
             "cuda_import");
    }
}

void operands::make_references() {
    const thaw_conv_shape &s = shape;
    reference_job job = {};
    job.shape = s;
    job.x = pixels ? nullptr : x;
    job.pixels = pixels;
    job.scale = SCALE;
    job.shift = SHIFT;
    job.w = w_device;
    job.bias = b_device;
    job.residual = residual;
    job.clipped = l.act != LAYER_LINEAR;
    job.upper = upper_of(l);
    for (int i = 0; i < 2; i++) {
        want[i] = (float *)memory.take((size_t)(s.P * s.Q * s.K) * sizeof(float));
        must(reference_image(device.stream, job, i ? s.N - 1 : 0, want[i]), "reference");
    }
    must(cudaStreamSynchronize(device.stream), "reference");
}

/* Of the first and the last image; infinite where a value is not finite. */
double operands::nmse_of_set_0() {
    const thaw_conv_shape &s = shape;
    difference total;
    must(cudaMemsetAsync(sum, 0, sizeof *sum, device.stream), "cudaMemset");
    for (int i = 0; i < 2; i++) {
        size_t image = (size_t)(s.P * s.Q * padded_channels(s.K)) * 2;
        must(compare_image(device.stream, y + (i ? (size_t)(s.N - 1) * image : 0), want[i],
                           s.P * s.Q, s.K, sum),
             "compare");
    }
    must(cudaMemcpyAsync(&total, sum, sizeof total, cudaMemcpyDeviceToHost, device.stream),
         "cudaMemcpy");
    must(cudaStreamSynchronize(device.stream), "compare");
    return total.n_not_finite > 0 || !(total.power > 0) ? INFINITY : total.error / total.power;
}

/* ---- contenders ----------------------------------------------------------------------------- */

typedef std::unique_ptr<contender> contender_ptr;

/* Runs once into a poisoned y and compares; then makes the launches ready to be timed and takes
 * three samples. */
static contender_ptr try_out(operands &o, const std::string &name, double most_nmse,
                             const std::function<int(int)> &launch) {
    must(cudaMemsetAsync(o.y, 0xff, o.y_step, o.device.stream), "cudaMemset");
    int code = launch(0);
    if (code) {
        cudaGetLastError();
        throw trouble{name + " is refused with code " + std::to_string(code)};
    }
    must(cudaStreamSynchronize(o.device.stream), name.c_str());
    double nmse = o.nmse_of_set_0();
    if (!(nmse <= most_nmse)) {
        char text[64];
        snprintf(text, sizeof text, ": NMSE %.2g, at most %.2g expected", nmse, most_nmse);
        throw trouble{name + text};
    }
    contender_ptr c(new contender(name, o.device.stream, o.n_sets, launch));
    c->nmse = nmse;
    for (int i = 0; i < 3; i++)
        c->sample();
    return c;
}

static bool faster(const contender_ptr &a, const contender_ptr &b) {
    return a && (!b || a->median() < b->median());
}

/* After a failure: whether the device still answers. Where not, nothing else can be measured. */
static void still_there(const trouble &why) {
    if (cudaDeviceSynchronize() != cudaSuccess)
        throw trouble{why.text + "; the device no longer answers"};
}

/* The packed weights stay in the layer's pool, which outlives the contenders. */
static std::function<int(int)> conv_launch(operands &o, thaw_cuda_conv_choice choice) {
    const thaw_conv_shape &s = o.shape;
    int sm = o.device.facts.sm;
    std::vector<uint8_t> w(cuda_conv_weight_bytes(&s, THAW_F16, sm, &choice));
    std::vector<float> b(cuda_conv_bias_count(&s, sm, &choice));
    cuda_conv_pack(&s, THAW_F16, sm, &choice, o.w.data(), o.b.data(), w.data(), b.data());
    thaw_cuda_conv conv = {};
    conv.shape = s;
    conv.dtype = THAW_F16;
    conv.act = act_of(o.l);
    conv.a = 0;
    conv.b = upper_of(o.l);
    conv.residual_place = o.l.residual ? THAW_RESIDUAL_BEFORE_ACT : THAW_NO_RESIDUAL;
    conv.choice = choice;
    conv.w = o.memory.upload(w);
    conv.bias = o.memory.upload(b);
    conv.workspace = o.memory.take(cuda_conv_workspace_bytes(&s, sm, &choice));
    size_t counters = cuda_conv_counters(&s, sm, &choice) * sizeof(uint32_t);
    conv.counters = (uint32_t *)o.memory.take(counters);
    must(cudaMemset(conv.counters, 0, counters), "cudaMemset");
    return [&o, conv, sm](int set) mutable {
        thaw_cuda_launch launch = {};
        launch.stream = o.device.stream;
        conv.x = o.x + o.x_step * (size_t)set;
        conv.y = o.y + o.y_step * (size_t)set;
        conv.residual = o.residual ? o.residual + o.y_step * (size_t)set : nullptr;
        return cuda_conv(&launch, &conv, sm);
    };
}

static std::string choice_name(const thaw_cuda_conv_choice &choice) {
    std::string name = "conv variant " + std::to_string(choice.variant);
    return choice.splits > 1 ? name + ", " + std::to_string(choice.splits) + " splits" : name;
}

/* The best of the cost model's first few, and its very first. */
static void measure_conv(operands &o, layer_result *r) {
    const int CANDIDATES = 10;
    thaw_cuda_reason reason;
    const char *why = cuda_conv_refuses(&o.shape, THAW_F16, &o.device.facts, &reason);
    if (why) throw trouble{why};
    thaw_cuda_conv_choice choices[CANDIDATES];
    int n = cuda_conv_rank(&o.shape, THAW_F16, &o.device.facts, CANDIDATES, choices);
    for (int i = 0; i < n; i++) {
        try {
            std::string name = choice_name(choices[i]);
            contender_ptr c = try_out(o, name, MOST_NMSE, conv_launch(o, choices[i]));
            r->candidates.push_back({name, choices[i].expected_us, c->median()});
            if (i == 0) r->model_kernel = name;
            if (faster(c, r->ours)) {
                if (r->ours && r->ours->name == r->model_kernel) r->model = std::move(r->ours);
                r->ours = std::move(c);
            } else if (i == 0) {
                r->model = std::move(c);
            }
        } catch (const trouble &t) {
            still_there(t);
            r->failure = t.text;
        }
    }
}

static void measure_stem(operands &o, layer_result *r) {
    const thaw_conv_shape &s = o.shape;
    thaw_cuda_reason reason;
    const char *why = cuda_stem_refuses(&s, nullptr, act_of(o.l), THAW_F16, o.scale, o.shift,
                                        &o.device.facts, &reason);
    if (why) throw trouble{why};
    std::vector<uint8_t> w(cuda_stem_weight_bytes(&s, THAW_F16));
    std::vector<float> constants(cuda_stem_constants(&s));
    cuda_stem_pack(&s, THAW_F16, o.w.data(), o.b.data(), o.scale, o.shift, w.data(),
                   constants.data());
    thaw_cuda_stem stem = {};
    stem.shape = s;
    stem.dtype = THAW_F16;
    stem.act = act_of(o.l);
    stem.b = upper_of(o.l);
    stem.choice = cuda_stem_choose(&s, nullptr, THAW_F16, &o.device.facts);
    stem.w = o.memory.upload(w);
    stem.constants = o.memory.upload(constants);
    r->ours = try_out(o, "stem, from u8 pixels", MOST_NMSE, [&o, stem](int set) mutable {
        thaw_cuda_launch launch = {};
        launch.stream = o.device.stream;
        stem.pixels = o.pixels + o.pixels_step * (size_t)set;
        stem.y = o.y + o.y_step * (size_t)set;
        return cuda_stem(&launch, &stem);
    });
}

static void measure_depthwise(operands &o, layer_result *r) {
    const thaw_conv_shape &s = o.shape;
    thaw_cuda_reason reason;
    const char *why = cuda_depthwise_refuses(&s, &reason);
    if (why) throw trouble{why};
    std::vector<float> w(cuda_depthwise_weight_count(&s)), b((size_t)padded_channels(s.K));
    cuda_depthwise_pack(&s, o.w.data(), o.b.data(), w.data(), b.data());
    thaw_cuda_depthwise d = {};
    d.shape = s;
    d.dtype = THAW_F16;
    d.act = act_of(o.l);
    d.b = upper_of(o.l);
    d.w = o.memory.upload(w);
    d.bias = o.memory.upload(b);
    r->ours = try_out(o, "depthwise", MOST_NMSE, [&o, d](int set) mutable {
        thaw_cuda_launch launch = {};
        launch.stream = o.device.stream;
        d.x = o.x + o.x_step * (size_t)set;
        d.y = o.y + o.y_step * (size_t)set;
        return cuda_depthwise(&launch, &d);
    });
}

/* ---- cuDNN ---------------------------------------------------------------------------------- */

static peer_buffers peer_set(const operands &o, int set, void *workspace) {
    return {o.x + o.x_step * (size_t)set,
            o.peer_w,
            o.peer_b,
            o.b_device,
            o.residual ? o.residual + o.y_step * (size_t)set : nullptr,
            o.y + o.y_step * (size_t)set,
            workspace};
}

/* The fastest of the plans, each with the epilogue behind it where it has none of its own. */
static contender_ptr best_of(operands &o, const std::vector<peer_plan> &plans, bool fused,
                             std::string *why_none) {
    const size_t MOST_WORKSPACE = (size_t)1 << 30;
    contender_ptr best;
    for (const peer_plan &plan : plans) {
        if (plan.workspace_bytes > MOST_WORKSPACE) continue;
        try {
            void *workspace = o.memory.take(plan.workspace_bytes);
            auto launch = [&o, plan, fused, workspace](int set) {
                peer_buffers b = peer_set(o, set, workspace);
                int code = plan.run(b);
                if (code || fused) return code;
                const thaw_conv_shape &s = o.shape;
                return epilogue_pass(o.device.stream, b.y, b.bias, b.residual, s.N * s.P * s.Q, s.K,
                                     o.l.act != LAYER_LINEAR, 0, upper_of(o.l));
            };
            contender_ptr c = try_out(o, plan.name, MOST_PEER_NMSE, launch);
            if (faster(c, best)) best = std::move(c);
        } catch (const trouble &t) {
            still_there(t);
            *why_none = t.text;
        }
    }
    if (!best && why_none->empty()) *why_none = "it offers no plan";
    return best;
}

static void measure_cudnn(operands &o, layer_result *r) {
    const double SECONDS = 1.5; /* For building plans. */
    peer_problem problem = {};
    problem.shape = o.shape;
    if (problem.shape.G == 1) problem.shape.C = padded_channels(problem.shape.C);
    problem.residual = o.l.residual;
    problem.clipped = o.l.act != LAYER_LINEAR;
    problem.upper = upper_of(o.l);
    if (o.l.kind == LAYER_DEPTHWISE) problem.shape.G = problem.shape.C;
    cudnn_offer offer = cudnn_plans(problem, SECONDS);
    r->apart_trouble = offer.plain_trouble;
    r->fused_trouble = offer.fused_trouble;
    r->apart = best_of(o, offer.plain, false, &r->apart_trouble);
    r->fused = best_of(o, offer.fused, true, &r->fused_trouble);
}

/* ---- a layer -------------------------------------------------------------------------------- */

layer_result measure_layer(const bench_device &device, const layer &l, int64_t N) {
    const int SAMPLES = 9;
    operands o(device, l, N);
    layer_result r = {};
    const thaw_conv_shape &s = o.shape;
    r.flops = 2.0 * (double)(s.N * s.P * s.Q * s.K) * (double)(s.C / s.G * l.R * l.R);
    r.bytes = layer_bytes(l, N);
    if (l.kind == LAYER_CONV) measure_conv(o, &r);
    if (l.kind == LAYER_STEM) measure_stem(o, &r);
    if (l.kind == LAYER_DEPTHWISE) measure_depthwise(o, &r);
    if (!r.ours) throw trouble{r.failure};
    r.kernel = r.ours->name;
    if (r.model_kernel.empty() && l.kind != LAYER_CONV) r.model_kernel = r.kernel;
    if (device.cudnn) measure_cudnn(o, &r);
    contender *all[] = {r.ours.get(), r.model.get(), r.apart.get(), r.fused.get()};
    for (contender *c : all)
        if (c) c->us.clear();
    for (int i = 0; i < SAMPLES; i++)
        for (contender *c : all)
            if (c) c->sample();
    return r;
}
