#include "tuning.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "step.h"
#include "types.h"

extern "C" {
#include "file.h"
}

namespace thaw {

enum { CANDIDATES = 4, WARM_UPS = 2, GROUPS = 5, RUNS = 8, LARGEST_FILE = 16 << 20 };

struct measurement {
    int variant, splits;
    double us;
};

struct tuning_table {
    std::string path;
    std::map<std::string, measurement> layers;
};

/* ---- the file ------------------------------------------------------------------------------- */

static void parse(const char *text, std::map<std::string, measurement> &layers) {
    while (*text) {
        const char *end = strchrnul(text, '\n');
        std::string line(text, end);
        size_t sign = line.rfind(" = ");
        measurement m;
        int used = 0;
        if (sign != std::string::npos &&
            sscanf(line.c_str() + sign, " = %d %d %lf%n", &m.variant, &m.splits, &m.us, &used) ==
                3 &&
            sign + (size_t)used == line.size())
            layers[line.substr(0, sign)] = m;
        text = *end ? end + 1 : end;
    }
}

/* A file that is not there is an empty one. */
static thaw_status read_file(const std::string &path, std::map<std::string, measurement> &layers,
                             thaw_error *err) {
    if (access(path.c_str(), F_OK) != 0) return THAW_OK;
    thaw_arena arena = {};
    char *bytes;
    size_t n;
    thaw_status status = thaw_file_read(path.c_str(), LARGEST_FILE, &arena, &bytes, &n, err);
    if (status == THAW_OK) parse(bytes, layers);
    thaw_arena_free(&arena);
    return status;
}

/* Adds a layer to what the file holds by now: other processes write to it, too. That it cannot be
 * written costs the next run its time, and this one nothing. */
static void remember(tuning_table *t, const std::string &key, const measurement &m) {
    t->layers[key] = m;
    int lock = open((t->path + ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (lock < 0) return;
    if (flock(lock, LOCK_EX) == 0 && read_file(t->path, t->layers, nullptr) == THAW_OK) {
        t->layers[key] = m;
        std::string text;
        for (const auto &[name, layer] : t->layers) {
            char numbers[64];
            snprintf(numbers, sizeof numbers, " = %d %d %.3f\n", layer.variant, layer.splits,
                     layer.us);
            text += name + numbers;
        }
        thaw_file_write(t->path.c_str(), text.data(), text.size(), nullptr);
    }
    close(lock);
}

int device_tune(void *device, const char *path, thaw_error *err) {
    open_device *opened = (open_device *)device;
    tuning_table *t = new tuning_table{path, {}};
    if (read_file(t->path, t->layers, err) != THAW_OK) {
        delete t;
        return -1;
    }
    tuning_close(opened->tuning);
    opened->tuning = t;
    return 0;
}

void tuning_close(tuning_table *t) {
    delete t;
}

/* ---- a layer -------------------------------------------------------------------------------- */

static std::string key_of(const thaw_conv_shape &s, const thaw_step *step,
                          const open_device &device) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    const thaw_window &w = s.window;
    const thaw_epilogue &e = step->epilogue;
    char text[512];
    snprintf(text, sizeof text,
             "%s sm_%d x%d driver %d runtime %d kernels %s: conv %lldx%lldx%lldx%lld to "
             "%lldx%lldx%lld g%lld f%lldx%lld s%lldx%lld d%lldx%lld p%lld,%lld %s act %d%s",
             device.name, device.facts.sm, device.facts.n_sm, driver, runtime, THAW_KERNEL_HASH,
             (long long)s.N, (long long)s.H, (long long)s.W, (long long)s.C, (long long)s.P,
             (long long)s.Q, (long long)s.K, (long long)s.G, (long long)w.R, (long long)w.S,
             (long long)w.stride_h, (long long)w.stride_w, (long long)w.dilation_h,
             (long long)w.dilation_w, (long long)w.pad_top, (long long)w.pad_left,
             thaw_dtype_name(step->out->dtype), (int)e.act, e.residual ? " residual" : "");
    return text;
}

/* Device memory that goes with the scope. */
struct scratch {
    std::vector<void *> all;
    int code = 0;

    ~scratch() {
        for (void *memory : all)
            device_memory.release(memory);
    }
    void *take(size_t bytes) {
        void *memory = nullptr;
        if (!code) code = device_memory.alloc(bytes, &memory);
        if (!code && bytes) code = (int)cudaMemset(memory, 0, bytes);
        all.push_back(memory);
        return memory;
    }
    void *take_copy(const void *from, size_t bytes) {
        void *memory = take(bytes);
        if (!code && bytes) code = (int)cudaMemcpy(memory, from, bytes, cudaMemcpyHostToDevice);
        return memory;
    }
};

/* A tensor of numbers between -1 and 1, its padding zero. */
static std::vector<uint8_t> draw_tensor(int64_t pixels, int64_t C, thaw_dtype dtype) {
    int64_t Cp = padded_channels(C);
    size_t each = thaw_dtype_bytes(dtype);
    std::vector<uint8_t> bytes((size_t)(pixels * Cp) * each);
    uint32_t state = 1;
    for (int64_t i = 0; i < pixels * Cp; i++) {
        state = state * 1664525 + 1013904223;
        float x = i % Cp < C ? (float)(int32_t)state * 0x1p-31f : 0;
        uint8_t *to = &bytes[(size_t)i * each];
        if (dtype == THAW_F16)
            store((half_t *)to, x);
        else if (dtype == THAW_BF16)
            store((bf16_t *)to, x);
        else
            store((float *)to, x);
    }
    return bytes;
}

static float element(const uint8_t *bytes, size_t i, thaw_dtype dtype) {
    return dtype == THAW_F16    ? value(((const half_t *)bytes)[i])
           : dtype == THAW_BF16 ? value(((const bf16_t *)bytes)[i])
                                : ((const float *)bytes)[i];
}

/* Another order of sums, and then one rounding to the storage type. */
static bool agree(const std::vector<uint8_t> &want, const std::vector<uint8_t> &got,
                  thaw_dtype dtype) {
    double difference = 0, power = 1e-30;
    for (size_t i = 0; i < want.size() / thaw_dtype_bytes(dtype); i++) {
        double w = element(want.data(), i, dtype), d = element(got.data(), i, dtype) - w;
        difference += d * d;
        power += w * w;
    }
    return difference <= (dtype == THAW_BF16 ? 1e-4 : 1e-6) * power;
}

struct timed_layer {
    scratch memory;
    thaw_cuda_conv conv = {};
    size_t y_bytes;
};

/* Where the layer's tensors lie, whichever kernel computes it. */
static int take_tensors(const thaw_step *step, const thaw_conv_shape &s, timed_layer *l) {
    thaw_dtype dtype = step->out->dtype;
    const thaw_epilogue &e = step->epilogue;
    std::vector<uint8_t> x = draw_tensor(s.N * s.H * s.W, s.C, dtype), residual;
    if (e.residual) residual = draw_tensor(s.N * s.P * s.Q, s.K, dtype);
    l->y_bytes = (size_t)(s.N * s.P * s.Q * padded_channels(s.K)) * thaw_dtype_bytes(dtype);
    thaw_cuda_conv &c = l->conv;
    c.shape = s;
    c.dtype = dtype;
    c.act = e.act;
    c.a = e.a;
    c.b = e.b;
    c.residual_place = e.residual ? THAW_RESIDUAL_BEFORE_ACT : THAW_NO_RESIDUAL;
    c.x = l->memory.take_copy(x.data(), x.size());
    c.residual = e.residual ? l->memory.take_copy(residual.data(), residual.size()) : nullptr;
    c.y = l->memory.take(l->y_bytes);
    return l->memory.code;
}

/* The median of some groups of runs. Returns the runtime's code. */
static int time_launches(const thaw_cuda_conv &conv, int sm, cudaStream_t stream, double *us) {
    thaw_cuda_launch launch = {};
    launch.stream = stream;
    void *from = nullptr, *to = nullptr;
    int code = device_memory.create_event(&from);
    if (!code) code = device_memory.create_event(&to);
    for (int i = 0; i < WARM_UPS && !code; i++)
        code = cuda_conv(&launch, &conv, sm);
    float ms[GROUPS] = {};
    for (int group = 0; group < GROUPS && !code; group++) {
        code = device_memory.mark(stream, from);
        for (int i = 0; i < RUNS && !code; i++)
            code = cuda_conv(&launch, &conv, sm);
        if (!code) code = device_memory.mark(stream, to);
        if (!code) code = device_memory.reach(to);
        if (!code) code = device_memory.between(from, to, &ms[group]);
    }
    device_memory.release_event(from);
    device_memory.release_event(to);
    std::sort(ms, ms + GROUPS);
    *us = (double)ms[GROUPS / 2] * 1e3 / (int)RUNS;
    return code;
}

/* Times one choice and fetches what it computed. */
static int measure(const thaw_step *step, int sm, const thaw_cuda_conv_choice &choice,
                   cudaStream_t stream, timed_layer *l, double *us, std::vector<uint8_t> *result) {
    thaw_cuda_conv c = l->conv;
    scratch memory;
    c.choice = choice;
    std::vector<uint8_t> w(cuda_conv_weight_bytes(&c.shape, c.dtype, sm, &choice));
    std::vector<float> b(cuda_conv_bias_count(&c.shape, sm, &choice));
    cuda_conv_pack(&c.shape, c.dtype, sm, &choice, step->w, step->b, w.data(), b.data());
    c.w = memory.take_copy(w.data(), w.size());
    c.bias = (const float *)memory.take_copy(b.data(), b.size() * sizeof(float));
    c.workspace = memory.take(cuda_conv_workspace_bytes(&c.shape, sm, &choice));
    c.counters =
        (uint32_t *)memory.take(cuda_conv_counters(&c.shape, sm, &choice) * sizeof(uint32_t));
    int code = memory.code;
    if (!code) code = time_launches(c, sm, stream, us);
    result->resize(l->y_bytes);
    if (!code) code = (int)cudaMemcpy(result->data(), c.y, l->y_bytes, cudaMemcpyDeviceToHost);
    return code;
}

/* The fastest whose result is that of the first. Returns the runtime's code. */
static int find_fastest(const thaw_step *step, const thaw_conv_shape &s, int sm,
                        const thaw_cuda_conv_choice *choices, int n, cudaStream_t stream,
                        measurement *best) {
    timed_layer layer;
    std::vector<uint8_t> want, got;
    int code = take_tensors(step, s, &layer);
    for (int i = 0; i < n && !code; i++) {
        double us = 0;
        code = measure(step, sm, choices[i], stream, &layer, &us, i ? &got : &want);
        if (code || (i > 0 && (us >= best->us || !agree(want, got, layer.conv.dtype)))) continue;
        /* As the file has it: the plan says the same when it is read again. */
        *best = {choices[i].variant, choices[i].splits, round(us * 1e3) / 1e3};
    }
    return code;
}

thaw_cuda_conv_choice tuned_choice(const thaw_step *step, const open_device &device, double *us) {
    thaw_conv_shape s = shape_of(step);
    thaw_cuda_conv_choice choices[CANDIDATES];
    int n = cuda_conv_rank(&s, step->out->dtype, &device.facts, CANDIDATES, choices);
    std::string key = key_of(s, step, device);
    *us = 0;
    auto known = device.tuning->layers.find(key);
    /* A file may say anything: only what would be tried is taken. */
    for (int i = 0; i < n && known != device.tuning->layers.end(); i++) {
        const measurement &m = known->second;
        if (choices[i].variant != m.variant || choices[i].splits != m.splits) continue;
        *us = m.us;
        return choices[i];
    }
    measurement best = {};
    cudaStream_t stream = nullptr;
    int code = (int)cudaStreamCreate(&stream);
    if (!code) code = find_fastest(step, s, device.facts.sm, choices, n, stream, &best);
    if (stream) cudaStreamDestroy(stream);
    cudaGetLastError(); /* Out of memory is not sticky; what is comes back with the next call. */
    if (code) return choices[0];
    remember(device.tuning, key, best);
    *us = best.us;
    return *std::find_if(choices, choices + n, [&](const thaw_cuda_conv_choice &c) {
        return c.variant == best.variant && c.splits == best.splits;
    });
}

}  // namespace thaw
