/* How long the trunk alone takes: pixels to features, nothing read, decoded or cached.
 *
 * usage: bench_trunk MODEL PIXELS FEATURES BATCH THREADS fp32|bf16|fp16 REPEATS [DEVICE]
 *
 * PIXELS: u8 [n, H, W, C] of the model's input size, any number of pictures. FEATURES: written,
 * float [n, D]. One repetition runs over all pictures, BATCH at a time. Prints a JSON object with
 * milliseconds a picture, from the first batch's way in to the last one's way out and of the
 * computation alone, and with scale and shift, by which pixels become the network's input.
 *
 * DEVICE: cpu (also when it is left out), cuda or cuda:N. On a GPU a repetition begins with pixels
 * in page-locked memory and ends with features in the host's, batches on their way beside each
 * other, as in training.
 *
 * With REPEATS = 0 it repeats once for each line of standard input, and prints a JSON object with
 * the milliseconds of each, wall and CPU: so a script can let this and its peers take turns.
 */
#include <string.h>

#include "bench.h"
#include "file.h"
#include "model/network.h"

typedef struct bench {
    thaw_options options;
    thaw_network network;
    thaw_backend backend;
    thaw_trunk *trunk;
    thaw_arena arena;
    uint8_t *pixels;
    void *pinned; /* pixels, where a device takes them from. */
    float *features;
    int64_t n, batch;
    double compute_s; /* Of the last pass. */
    size_t image_bytes;
    double plan_s;
} bench;

static thaw_status load_pixels(bench *b, const char *path, thaw_error *err) {
    size_t bytes;
    THAW_TRY(thaw_file_read(path, (size_t)1 << 40, &b->arena, (char **)&b->pixels, &bytes, err));
    const thaw_model *m = &b->network.model;
    b->image_bytes = (size_t)(m->height * m->width * m->channels);
    b->n = (int64_t)(bytes / b->image_bytes);
    if (b->n < 1 || bytes % b->image_bytes)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s: %zu bytes are no whole number of pictures of %zu bytes", path, bytes,
                         b->image_bytes);
    b->features =
        thaw_arena_array(&b->arena, (size_t)(b->n * b->network.n_features), sizeof(float));
    return b->features ? THAW_OK : thaw_fail(err, THAW_ERR_NOMEM, "not enough memory");
}

/* THAW_U8: none of these. */
static thaw_dtype type_named(const char *name) {
    static const thaw_dtype types[] = {THAW_F32, THAW_BF16, THAW_F16};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(thaw_dtype_name(types[i]), name) == 0) return types[i];
    return THAW_U8;
}

/* Pixels as the program decodes them: where a device copies from while it computes. */
static thaw_status pin_pixels(bench *b, thaw_error *err) {
    const thaw_memory *memory = b->backend.kernels->memory;
    size_t bytes = (size_t)b->n * b->image_bytes;
    if (!memory) return THAW_OK;
    if (memory->alloc_pinned(bytes, &b->pinned) != 0)
        return thaw_fail(err, THAW_ERR_NOMEM, "no page-locked memory for %zu bytes", bytes);
    memcpy(b->pinned, b->pixels, bytes);
    b->pixels = b->pinned;
    return THAW_OK;
}

static thaw_status open_bench(bench *b, char **argv, const char *device, thaw_error *err) {
    b->batch = bench_number(argv[4], 1);
    THAW_TRY(thaw_options_init(&b->options, err));
    THAW_TRY(thaw_options_set(&b->options, "model", argv[1], "command line", err));
    THAW_TRY(thaw_network_open(&b->network, &b->options, err));
    THAW_TRY(load_pixels(b, argv[2], err));
    THAW_TRY(thaw_backend_open(&b->backend, device, (int)bench_number(argv[5], 1), err));
    if (!b->backend.kernels->computes(b->backend.device, type_named(argv[6])))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "%s does not multiply %s", device, argv[6]);
    double start = bench_now_s();
    THAW_TRY(thaw_network_plan(&b->network, NULL, b->batch, type_named(argv[6]), &b->backend,
                               &b->trunk, err));
    b->plan_s = bench_now_s() - start;
    return pin_pixels(b, err);
}

static void close_bench(bench *b) {
    thaw_trunk_free(b->trunk);
    if (b->pinned) b->backend.kernels->memory->release_pinned(b->pinned);
    thaw_backend_close(&b->backend);
    thaw_network_close(&b->network);
    thaw_options_free(&b->options);
    thaw_arena_free(&b->arena);
}

static int64_t batch_at(const bench *b, int64_t i) {
    return b->n - i < b->batch ? b->n - i : b->batch;
}

/* The features of the batch whose first picture is i. */
static thaw_status collect(bench *b, int64_t i, thaw_error *err) {
    float *features;
    thaw_trunk_times times;
    THAW_TRY(thaw_trunk_collect(b->trunk, &features, &times, err));
    size_t row = (size_t)b->network.n_features;
    memcpy(b->features + (size_t)i * row, features, (size_t)batch_at(b, i) * row * sizeof(float));
    b->compute_s += times.compute[1] - times.compute[0];
    return THAW_OK;
}

/* Milliseconds a picture of one pass over all of them. */
static thaw_status pass(bench *b, double *ms, thaw_error *err) {
    int64_t ahead = thaw_trunk_measure(b->trunk).lanes - 1;
    double start = bench_now_s();
    b->compute_s = 0;
    for (int64_t i = 0, done = 0; done < b->n;) {
        if (i < b->n) {
            const uint8_t *pixels = b->pixels + (size_t)i * b->image_bytes;
            THAW_TRY(thaw_trunk_submit(b->trunk, batch_at(b, i), pixels, err));
            i += b->batch;
        }
        if (i < b->n && i - done <= ahead * b->batch) continue;
        THAW_TRY(collect(b, done, err));
        done += b->batch;
    }
    *ms = (bench_now_s() - start) * 1e3 / (double)b->n;
    return THAW_OK;
}

static thaw_status on_request(bench *b, thaw_error *err) {
    int c;
    double ms;
    while ((c = getchar()) != EOF) {
        if (c != '\n') continue;
        double cpu = bench_cpu_s();
        THAW_TRY(pass(b, &ms, err));
        cpu = (bench_cpu_s() - cpu) * 1e3 / (double)b->n;
        printf("{\"ms_per_image\": %.6g, \"cpu_ms_per_image\": %.6g}\n", ms, cpu);
        fflush(stdout);
    }
    return THAW_OK;
}

static thaw_status repeat(bench *b, size_t repeats, char **argv, const char *device,
                          thaw_error *err) {
    double *ms = thaw_arena_array(&b->arena, repeats, sizeof *ms);
    double *compute_ms = thaw_arena_array(&b->arena, repeats, sizeof *compute_ms);
    if (!ms || !compute_ms) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory");
    for (size_t i = 0; i < repeats; i++) {
        THAW_TRY(pass(b, &ms[i], err));
        compute_ms[i] = b->compute_s * 1e3 / (double)b->n;
    }
    thaw_trunk_size size = thaw_trunk_measure(b->trunk);
    printf("{\"bench\": \"trunk\", \"device\": \"%s\", \"precision\": \"%s\", ", device, argv[6]);
    printf("\"images\": %lld, \"features\": %lld, ", (long long)b->n,
           (long long)b->network.n_features);
    printf("\"batch\": %lld, \"group\": %lld, \"threads\": %s, \"repeats\": %zu, ",
           (long long)b->batch, (long long)size.N, argv[5], repeats);
    printf("\"plan_s\": %.4f, \"weight_bytes\": %zu, \"activation_bytes\": %zu, ", b->plan_s,
           size.weight_bytes, size.activation_bytes);
    float scale[3], shift[3];
    thaw_preprocess_affine(&b->network.preprocess, scale, shift);
    printf("\"scale\": [%.9g, %.9g, %.9g], \"shift\": [%.9g, %.9g, %.9g], ", scale[0], scale[1],
           scale[2], shift[0], shift[1], shift[2]);
    bench_print_spread("ms_per_image", ms, repeats);
    printf(", ");
    bench_print_spread("compute_ms_per_image", compute_ms, repeats);
    printf("}\n");
    return THAW_OK;
}

int main(int argc, char **argv) {
    if (argc < 8 || argc > 9 || type_named(argv[6]) == THAW_U8) {
        fprintf(stderr,
                "usage: bench_trunk MODEL PIXELS FEATURES BATCH THREADS fp32|bf16|fp16 REPEATS "
                "[cpu|cuda|cuda:N]\n");
        return 2;
    }
    const char *device = argc == 9 ? argv[8] : "cpu";
    bench b = {0};
    thaw_error err = {0};
    double warm;
    size_t repeats = (size_t)bench_number(argv[7], 0);
    thaw_status status = open_bench(&b, argv, device, &err);
    if (status == THAW_OK) status = pass(&b, &warm, &err);
    if (status == THAW_OK)
        status = thaw_file_write(argv[3], b.features,
                                 (size_t)(b.n * b.network.n_features) * sizeof(float), &err);
    if (status == THAW_OK)
        status = repeats ? repeat(&b, repeats, argv, device, &err) : on_request(&b, &err);
    if (status != THAW_OK) fprintf(stderr, "bench_trunk: %s\n", err.text);
    close_bench(&b);
    return status == THAW_OK ? 0 : 1;
}
