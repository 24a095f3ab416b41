/* A folder of pictures to features on disk, and each stage of it alone.
 *
 * usage: bench_pipeline MODEL FOLDER BATCH THREADS fp32|bf16|fp16 REPEATS [DEVICE]
 *
 * FOLDER: one folder a class. DEVICE: cpu (also when it is left out), cuda or cuda:N. Stages:
 *   decode    all pictures, read, decoded and resized by THREADS threads, into page-locked memory
 *             where there is a device
 *   trunk     the same pixels to features, batches overlapping as in the pipeline
 *   keep      the features into a cache folder, checksums included
 *   pipeline  thaw_extract from the folder into an empty cache, planning left out
 * Stages take turns. The ideal is that of the slowest stage on a device, which works beside the
 * host; on the CPU, where stages share the cores, their times add up. Prints a JSON object with
 * pictures a second, and the share of the ideal. Temporary files lie in TMPDIR, or /tmp.
 */
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "picture/picture_file.h"
#include "run/extract.h"

enum { DECODE, TRUNK, KEEP, PIPELINE, IDEAL, SHARE, N_MEASURES };
static const char *const names[N_MEASURES] = {"decode",   "trunk", "keep",
                                              "pipeline", "ideal", "share_of_ideal"};

typedef struct bench {
    thaw_options options;
    thaw_network network;
    thaw_dataset dataset;
    thaw_backend backend;
    thaw_trunk *trunk;
    thaw_arena arena;
    thaw_dtype compute;
    int64_t batch;
    long threads;
    size_t image_bytes;
    uint8_t *pixels;
    float *features;
    thaw_hash *keys;
    char folder[64];    /* Of the caches. */
    atomic_size_t next; /* Picture that the next free thread decodes. */
    atomic_size_t bad;
} bench;

/* ---- stages: each returns its pictures a second ---------------------------------------------- */

static void *decode_some(void *argument) {
    bench *b = argument;
    thaw_arena arena = {0};
    thaw_decoder *decoder = NULL;
    size_t i, n;
    char *bytes, path[PATH_MAX];
    bool ok = thaw_decoder_create(&decoder, NULL) == THAW_OK;
    while (ok && (i = atomic_fetch_add(&b->next, 1)) < b->dataset.n) {
        thaw_dataset_path(&b->dataset, i, path);
        thaw_arena_free(&arena);
        bool good = thaw_picture_read(path, &arena, &bytes, &n, NULL) == THAW_OK &&
                    thaw_image_decode(decoder, bytes, n, &b->network.preprocess.geometry,
                                      b->pixels + i * b->image_bytes, NULL) == THAW_OK;
        if (good)
            b->keys[i] = thaw_hash_bytes((thaw_hash){0}, bytes, n);
        else
            atomic_fetch_add(&b->bad, 1);
    }
    if (!ok) atomic_fetch_add(&b->bad, 1);
    thaw_decoder_free(decoder);
    thaw_arena_free(&arena);
    return NULL;
}

static thaw_status decode(bench *b, double *rate, thaw_error *err) {
    pthread_t threads[256];
    long started = 0, wanted = b->threads < 256 ? b->threads : 256;
    double start = bench_now_s();
    atomic_store(&b->next, 0);
    while (started < wanted && pthread_create(&threads[started], NULL, decode_some, b) == 0)
        started++;
    for (long t = 0; t < started; t++)
        pthread_join(threads[t], NULL);
    *rate = (double)b->dataset.n / (bench_now_s() - start);
    if (!b->bad && started) return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA, "%zu pictures cannot be decoded", b->bad);
}

static thaw_status run_trunk(bench *b, double *rate, thaw_error *err) {
    double start = bench_now_s();
    THAW_TRY(thaw_trunk_run(b->trunk, (int64_t)b->dataset.n, b->pixels, b->features, err));
    *rate = (double)b->dataset.n / (bench_now_s() - start);
    return THAW_OK;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info, (void)kind, (void)place;
    return remove(path);
}

/* A new cache in an empty folder. */
static thaw_status open_cache(bench *b, thaw_cache **cache, thaw_error *err) {
    nftw(b->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    thaw_cache_spec spec = {.root = b->folder, .D = b->network.n_features, .dtype = THAW_F32};
    return thaw_cache_open(cache, &spec, err);
}

static thaw_status keep(bench *b, double *rate, thaw_error *err) {
    thaw_cache *cache;
    THAW_TRY(open_cache(b, &cache, err));
    double start = bench_now_s();
    thaw_status status = THAW_OK;
    for (size_t i = 0, n; i < b->dataset.n && status == THAW_OK; i += n) {
        n = b->dataset.n - i < (size_t)b->batch ? b->dataset.n - i : (size_t)b->batch;
        status = thaw_cache_append(cache, b->keys + i, n,
                                   b->features + (int64_t)i * b->network.n_features, err);
    }
    *rate = (double)b->dataset.n / (bench_now_s() - start);
    thaw_cache_close(cache);
    return status;
}

static thaw_status pipeline(bench *b, double *rate, thaw_error *err) {
    thaw_cache *cache;
    thaw_extraction result = {0};
    thaw_extract_options options = {.batch = b->batch, .compute = b->compute};
    THAW_TRY(open_cache(b, &cache, err));
    thaw_status status =
        thaw_extract(&b->network, &b->dataset, &options, &b->backend, cache, NULL, &result, err);
    *rate = (double)result.misses / (result.seconds - result.plan_seconds);
    thaw_extraction_free(&result);
    thaw_cache_close(cache);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static uint8_t *take_pixels(bench *b, size_t n) {
    const thaw_memory *memory = b->backend.kernels->memory;
    void *pixels = NULL;
    if (!memory) return malloc(n);
    return memory->alloc_pinned(n, &pixels) == 0 ? pixels : NULL;
}

static thaw_status open_bench(bench *b, char **argv, const char *device, thaw_error *err) {
    thaw_dataset_spec spec = {.folder = {argv[2]}};
    const char *tmp = getenv("TMPDIR");
    snprintf(b->folder, sizeof b->folder, "%.40s/thaw-pipeline-XXXXXX", tmp ? tmp : "/tmp");
    THAW_TRY(thaw_options_init(&b->options, err));
    THAW_TRY(thaw_options_set(&b->options, "model", argv[1], "command line", err));
    THAW_TRY(thaw_network_open(&b->network, &b->options, err));
    THAW_TRY(thaw_dataset_open(&b->dataset, &spec, err));
    THAW_TRY(thaw_backend_open(&b->backend, device, (int)b->threads, err));
    if (!b->backend.kernels->computes(b->backend.device, b->compute))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "%s does not multiply %s", device, argv[5]);
    THAW_TRY(
        thaw_network_plan(&b->network, NULL, b->batch, b->compute, &b->backend, &b->trunk, err));
    const thaw_geometry *g = &b->network.preprocess.geometry;
    b->image_bytes = (size_t)g->width * (size_t)g->height * (size_t)g->channels;
    b->pixels = take_pixels(b, b->dataset.n * b->image_bytes);
    b->features = thaw_arena_array(&b->arena, b->dataset.n * (size_t)b->network.n_features,
                                   sizeof *b->features);
    b->keys = thaw_arena_array(&b->arena, b->dataset.n, sizeof *b->keys);
    if (!b->pixels || !b->features || !b->keys)
        return thaw_fail(err, THAW_ERR_NOMEM,
                         "no memory for the pixels and features of %zu "
                         "pictures",
                         b->dataset.n);
    if (!mkdtemp(b->folder))
        return thaw_fail(err, THAW_ERR_IO, "no temporary folder can be made as %s", b->folder);
    return THAW_OK;
}

static void close_bench(bench *b) {
    nftw(b->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    thaw_trunk_free(b->trunk);
    if (b->backend.kernels && b->backend.kernels->memory)
        b->backend.kernels->memory->release_pinned(b->pixels);
    else
        free(b->pixels);
    thaw_backend_close(&b->backend);
    thaw_dataset_close(&b->dataset);
    thaw_network_close(&b->network);
    thaw_options_free(&b->options);
    thaw_arena_free(&b->arena);
}

static double ideal(const bench *b, const double *rate) {
    if (!b->backend.kernels->memory)
        return 1 / (1 / rate[DECODE] + 1 / rate[TRUNK] + 1 / rate[KEEP]);
    double least = rate[DECODE] < rate[TRUNK] ? rate[DECODE] : rate[TRUNK];
    return least < rate[KEEP] ? least : rate[KEEP];
}

static thaw_status measure(bench *b, double *rate, thaw_error *err) {
    THAW_TRY(decode(b, &rate[DECODE], err));
    THAW_TRY(run_trunk(b, &rate[TRUNK], err));
    THAW_TRY(keep(b, &rate[KEEP], err));
    THAW_TRY(pipeline(b, &rate[PIPELINE], err));
    rate[IDEAL] = ideal(b, rate);
    rate[SHARE] = rate[PIPELINE] / rate[IDEAL];
    return THAW_OK;
}

static thaw_status repeat(bench *b, size_t repeats, const char *device, thaw_error *err) {
    double warm[N_MEASURES], one[N_MEASURES], *all[N_MEASURES];
    THAW_TRY(measure(b, warm, err));
    for (int m = 0; m < N_MEASURES; m++)
        if (!(all[m] = thaw_arena_array(&b->arena, repeats, sizeof *all[m])))
            return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory");
    for (size_t i = 0; i < repeats; i++) {
        THAW_TRY(measure(b, one, err));
        for (int m = 0; m < N_MEASURES; m++)
            all[m][i] = one[m];
    }
    printf(
        "{\"bench\": \"pipeline\", \"device\": \"%s\", \"precision\": \"%s\", \"images\": %zu, "
        "\"batch\": %lld, \"threads\": %ld, \"repeats\": %zu",
        device, thaw_dtype_name(b->compute), b->dataset.n, (long long)b->batch, b->threads,
        repeats);
    for (int m = 0; m < N_MEASURES; m++) {
        printf(", ");
        bench_print_spread(names[m], all[m], repeats);
    }
    printf("}\n");
    return THAW_OK;
}

int main(int argc, char **argv) {
    static const thaw_dtype types[] = {THAW_F32, THAW_BF16, THAW_F16};
    bench b = {.compute = THAW_U8};
    for (size_t i = 0; argc > 5 && i < sizeof types / sizeof *types; i++)
        if (strcmp(thaw_dtype_name(types[i]), argv[5]) == 0) b.compute = types[i];
    if (argc < 7 || argc > 8 || b.compute == THAW_U8) {
        fprintf(stderr,
                "usage: bench_pipeline MODEL FOLDER BATCH THREADS fp32|bf16|fp16 REPEATS "
                "[cpu|cuda|cuda:N]\n");
        return 2;
    }
    const char *device = argc == 8 ? argv[7] : "cpu";
    thaw_error err = {0};
    b.batch = bench_number(argv[3], 1);
    b.threads = bench_number(argv[4], 1);
    thaw_status status = open_bench(&b, argv, device, &err);
    if (status == THAW_OK) status = repeat(&b, (size_t)bench_number(argv[6], 1), device, &err);
    if (status != THAW_OK) fprintf(stderr, "bench_pipeline: %s\n", err.text);
    close_bench(&b);
    return status == THAW_OK ? 0 : 1;
}
