/* The trunk as a whole: what a run may not do, and what its results may not depend on.
 *
 * - A run allocates nothing: the linker's --wrap counts the allocations of our own code.
 * - An image's features are the same bits whatever its neighbours, the batch, its place in it, or
 *   the run; also where the batch does not divide into groups.
 * - Frozen means frozen: a hundred runs change no constant.
 * - Planned for 1 or for 32 images, features agree up to rounding; bf16 up to its 8 bits.
 */
#include <dirent.h>
#include <malloc.h>
#include <unistd.h>

#include "graph/cuts.h"
#include "onnx/onnx_read.h"
#include "picture/image.h"
#include "testing.h"
#include "trunk/trunk.h"

/* ---- allocations of our own code ------------------------------------------------------------ */

static int n_allocations;

#define WRAP(type, name, parameters, arguments) \
    type __real_##name parameters;              \
    type __wrap_##name parameters;              \
    type __wrap_##name parameters {             \
        n_allocations++;                        \
        return __real_##name arguments;         \
    }
WRAP(void *, malloc, (size_t n), (n))
WRAP(void *, calloc, (size_t count, size_t n), (count, n))
WRAP(void *, realloc, (void *p, size_t n), (p, n))
WRAP(int, posix_memalign, (void **p, size_t alignment, size_t n), (p, alignment, n))
WRAP(void *, mmap, (void *p, size_t n, int prot, int flags, int fd, long offset),
     (p, n, prot, flags, fd, offset))

/* ---- networks ------------------------------------------------------------------------------- */

/* One of each kind: residuals in place, depthwise, joins, gates, a matrix behind a flattened map.
 */
static const char *const networks[] = {"resnet_17", "mobilenetv2_13", "squeezenet_13",
                                       "vgg_9",     "densenet_13",    "se_gate",
                                       "silu",      "residuals"};
enum { N_NETWORKS = sizeof networks / sizeof networks[0], IMAGES = 37 };

typedef struct net {
    thaw_model model;
    thaw_cuts cuts;
    size_t image_bytes;
    uint8_t *pixels; /* IMAGES of them. */
} net;

static thaw_backend backend;

static void open_file(net *net, const char *path) {
    thaw_error err = {0};
    if (thaw_model_read(&net->model, path, 0, 0, &err) != THAW_OK ||
        thaw_cuts_find(&net->model.graph, &net->cuts, &err) != THAW_OK)
        fail_msg("%s", err.text);
    net->image_bytes = (size_t)(net->model.channels * net->model.height * net->model.width);
    net->pixels = malloc(IMAGES * net->image_bytes);
    assert_non_null(net->pixels);
}

/* One of `networks`, with noise to look at. */
static void open_net(net *net, const char *name) {
    char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s.onnx", name);
    open_file(net, path);
    uint64_t random = 99;
    for (size_t i = 0; i < IMAGES * net->image_bytes; i++)
        net->pixels[i] = (uint8_t)test_random(&random);
}

static void close_net(net *net) {
    free(net->pixels);
    thaw_model_free(&net->model);
}

/* Pixels enter as x / 128 - 1. */
static thaw_trunk *plan(net *net, int64_t batch, thaw_dtype compute, bool pooled) {
    static const float scale[3] = {1 / 128.0f, 1 / 128.0f, 1 / 128.0f}, shift[3] = {-1, -1, -1};
    thaw_trunk_options options = {
        .batch = batch, .compute = compute, .scale = scale, .shift = shift, .pooled = pooled};
    thaw_trunk *trunk;
    thaw_error err = {0};
    if (thaw_trunk_create(&trunk, &net->model.graph, &net->cuts.cuts[net->cuts.last], &options,
                          &backend, &err) != THAW_OK)
        fail_msg("%s", err.text);
    return trunk;
}

static size_t features_of(const thaw_trunk *trunk) {
    thaw_trunk_size size = thaw_trunk_measure(trunk);
    return (size_t)(size.H * size.W * size.C);
}

/* Features of n images from pixels, to be freed; full of NaN before. */
static float *run(thaw_trunk *trunk, int64_t n, const uint8_t *pixels) {
    size_t count = (size_t)n * features_of(trunk);
    float *y = malloc((count + 1) * sizeof *y);
    assert_non_null(y);
    for (size_t i = 0; i <= count; i++)
        y[i] = NAN;
    thaw_error err = {0};
    if (thaw_trunk_run(trunk, n, pixels, y, &err) != THAW_OK) fail_msg("%s", err.text);
    assert_true(isnan(y[count])); /* Not one more than it should write. */
    return y;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_run_allocates_nothing(void **state) {
    (void)state;
    for (int i = 0; i < N_NETWORKS; i++) {
        net net;
        open_net(&net, networks[i]);
        n_allocations = 0;
        thaw_trunk *trunk = plan(&net, 8, THAW_F32, false);
        assert_true(n_allocations > 0); /* The counter counts. */
        float *y = malloc(IMAGES * features_of(trunk) * sizeof *y);
        assert_non_null(y);
        /* Whole groups and a rest; the second time is like every later one. */
        assert_int_equal(thaw_trunk_run(trunk, IMAGES, net.pixels, y, NULL), THAW_OK);
        n_allocations = 0;
        size_t before = mallinfo2().uordblks;
        assert_int_equal(thaw_trunk_run(trunk, IMAGES, net.pixels, y, NULL), THAW_OK);
        assert_int_equal(n_allocations, 0);
        assert_int_equal(mallinfo2().uordblks, before); /* Nor does the library keep anything. */
        free(y);
        thaw_trunk_free(trunk);
        close_net(&net);
    }
}

/* Features at a cut, to be freed; of a trunk that begins at a cut below, x are those there. NULL: it cannot
 * begin there. */
static float *features_at(net *net, const thaw_cut *cut, const thaw_cut *from, bool pooled,
                          thaw_dtype compute, const float *x, size_t *D) {
    static const float scale[3] = {1 / 128.0f, 1 / 128.0f, 1 / 128.0f}, shift[3] = {-1, -1, -1};
    thaw_trunk_options options = {.batch = 8,
                                  .compute = compute,
                                  .scale = scale,
                                  .shift = shift,
                                  .pooled = pooled,
                                  .from = from};
    thaw_trunk *trunk;
    thaw_error err = {0};
    thaw_status status =
        thaw_trunk_create(&trunk, &net->model.graph, cut, &options, &backend, &err);
    if (from && status == THAW_ERR_UNSUPPORTED) return NULL;
    if (status != THAW_OK) fail_msg("%s", err.text);
    *D = features_of(trunk);
    float *y = malloc(IMAGES * *D * sizeof *y);
    assert_non_null(y);
    status = from ? thaw_trunk_run_from(trunk, IMAGES, x, y, &err)
                  : thaw_trunk_run(trunk, IMAGES, net->pixels, y, &err);
    if (status != THAW_OK) fail_msg("%s", err.text);
    thaw_trunk_free(trunk);
    return y;
}

/* What is computed from the features at a cut below has the bits of what is computed from pixels. */
static void a_trunk_goes_on_from_a_cut(void **state) {
    (void)state;
    for (int i = 0; i <= N_NETWORKS; i++) {
        /* Of the last one, BN goes into convolutions below and above cuts. */
        const char *name = i < N_NETWORKS ? networks[i] : "densenet_17_bn";
        net net;
        open_net(&net, name);
        const thaw_cut *cuts = net.cuts.cuts, *last = &cuts[net.cuts.last];
        int n_apart = 0, n = 0;
        for (int half = 0; half < 2; half++) {
            const thaw_cut *to = half ? &cuts[(net.cuts.last + 1) / 2] : last;
            bool pooled = !half && thaw_cut_is_map(&net.model.graph, to);
            for (int narrow = 0; narrow < 2; narrow++) {
                thaw_dtype compute = narrow ? THAW_BF16 : THAW_F32;
                if (!backend.kernels->computes(backend.device, compute)) continue;
                size_t D, D_from;
                float *want = features_at(&net, to, NULL, pooled, compute, NULL, &D);
                for (int from = 0; from < to->index; from++, n++) {
                    float *x = features_at(&net, &cuts[from], NULL, false, compute, NULL, &D_from);
                    float *y = features_at(&net, to, &cuts[from], pooled, compute, x, &D);
                    if (y && memcmp(y, want, IMAGES * D * sizeof *y) != 0)
                        fail_msg("%s from %s to %s: other bits", name, cuts[from].name, to->name);
                    if (!y && cuts[from].stage)
                        fail_msg("%s: a step spans %s", name, cuts[from].stage);
                    n_apart += y != NULL;
                    free(y);
                    free(x);
                }
                free(want);
            }
        }
        print_message("%s: %d of %d pairs of cuts have steps of their own\n", name, n_apart, n);
        assert_true(n_apart > 0);
        close_net(&net);
    }
}

/* Each image alone, first, last, in the middle of others and in a rest: the same bits. */
static void features_depend_on_the_image_alone(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 7, 8, 9, 31, IMAGES};
    for (int i = 0; i < N_NETWORKS; i++) {
        net net;
        open_net(&net, networks[i]);
        thaw_trunk *trunk = plan(&net, 8, THAW_F32, false);
        size_t n = features_of(trunk), bytes = n * sizeof(float);
        float *all = run(trunk, IMAGES, net.pixels);
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
            for (int64_t from = 0; from + sizes[s] <= IMAGES; from += 5) {
                float *some = run(trunk, sizes[s], net.pixels + (size_t)from * net.image_bytes);
                if (memcmp(some, all + (size_t)from * n, (size_t)sizes[s] * bytes) != 0)
                    fail_msg("%s: images %d to %d have other features when they come alone",
                             networks[i], (int)from, (int)(from + sizes[s]));
                free(some);
            }
        float *again = run(trunk, IMAGES, net.pixels);
        assert_memory_equal(again, all, IMAGES * bytes);
        assert_int_equal(thaw_trunk_run(trunk, 0, NULL, NULL, NULL), THAW_OK);
        free(again);
        free(all);
        thaw_trunk_free(trunk);
        close_net(&net);
    }
}

static thaw_hash hash_constants(const thaw_graph *graph) {
    thaw_hash h = {0, 0};
    for (int i = 0; i < graph->n_values; i++) {
        const thaw_value *v = &graph->values[i];
        if (!v->data) continue;
        size_t bytes = (size_t)thaw_value_elements(v) * thaw_dtype_bytes(v->dtype);
        h = thaw_hash_bytes(h, v->data, bytes);
    }
    return h;
}

static void a_hundred_runs_change_nothing(void **state) {
    (void)state;
    for (int i = 0; i < N_NETWORKS; i++) {
        net net;
        open_net(&net, networks[i]);
        thaw_hash before = hash_constants(&net.model.graph);
        thaw_trunk *trunk = plan(&net, 4, THAW_F32, false);
        float *first = run(trunk, 4, net.pixels);
        for (int k = 0; k < 100; k++)
            free(run(trunk, 3, net.pixels + (size_t)k % 30 * net.image_bytes));
        float *last = run(trunk, 4, net.pixels);
        assert_memory_equal(first, last, 4 * features_of(trunk) * sizeof *first);
        assert_true(thaw_hash_equal(before, hash_constants(&net.model.graph)));
        free(first);
        free(last);
        thaw_trunk_free(trunk);
        close_net(&net);
    }
}

static double distance(net *net, thaw_trunk *a, thaw_trunk *b) {
    float *ya = run(a, 32, net->pixels), *yb = run(b, 32, net->pixels);
    double nmse = test_nmse(32 * features_of(a), ya, yb);
    free(ya);
    free(yb);
    thaw_trunk_free(a);
    thaw_trunk_free(b);
    return nmse;
}

static void other_batches_round_only(void **state) {
    (void)state;
    for (int i = 0; i < N_NETWORKS; i++) {
        net net;
        open_net(&net, networks[i]);
        thaw_trunk *one = plan(&net, 1, THAW_F32, false), *many = plan(&net, 32, THAW_F32, false);
        assert_int_equal(thaw_trunk_measure(one).N, 1);
        double nmse = distance(&net, one, many);
        if (!(nmse <= 1e-10)) fail_msg("%s: batch 1 and 32 differ by NMSE %g", networks[i], nmse);
        close_net(&net);
    }
}

/* The mean over the picture is the mean of the map. */
static void pooled_is_the_mean_of_the_map(void **state) {
    (void)state;
    net net;
    open_net(&net, "se_gate");
    thaw_trunk *map = plan(&net, 4, THAW_F32, false), *mean = plan(&net, 4, THAW_F32, true);
    thaw_trunk_size size = thaw_trunk_measure(map);
    assert_true(size.H > 1 && features_of(mean) == (size_t)size.C);
    float *y = run(map, 4, net.pixels), *m = run(mean, 4, net.pixels);
    for (int64_t n = 0; n < 4; n++)
        for (int64_t c = 0; c < size.C; c++) {
            double sum = 0;
            for (int64_t p = 0; p < size.H * size.W; p++)
                sum += y[(n * size.H * size.W + p) * size.C + c];
            assert_true(fabs(sum / (double)(size.H * size.W) - m[n * size.C + c]) < 1e-5);
        }
    free(y);
    free(m);
    thaw_trunk_free(map);
    thaw_trunk_free(mean);
    close_net(&net);
}

static void skip_without_bf16(void) {
    if (backend.kernels->computes(backend.device, THAW_BF16)) return;
    print_message("SKIPPED: this processor has no bf16 instructions\n");
    skip();
}

/* What is promised of bf16: the features' NMSE stays below 1e-4. */
static double check_bf16(net *net, const char *name) {
    thaw_trunk *exact = plan(net, 8, THAW_F32, false), *half = plan(net, 8, THAW_BF16, false);
    double nmse = distance(net, exact, half);
    print_message("%-16s bf16 NMSE %.2g\n", name, nmse);
    if (!(nmse <= 1e-4)) fail_msg("%s: bf16 makes an NMSE of %g", name, nmse);
    return nmse;
}

static void bf16_is_close_on_noise(void **state) {
    (void)state;
    skip_without_bf16();
    double most = 0;
    for (int i = 0; i < N_NETWORKS; i++) {
        net net;
        open_net(&net, networks[i]);
        most = fmax(most, check_bf16(&net, networks[i]));
        close_net(&net);
    }
    assert_true(most > 0); /* Some layer did compute in bf16. */
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* The first three pictures of each class, until there are `most`; how many there were. */
static int read_photographs(const char *folder, int most, uint8_t *pixels) {
    const thaw_geometry geometry = {
        .width = 224, .height = 224, .fit = THAW_FIT_CROP, .shorter = 224, .channels = 3};
    thaw_decoder *decoder;
    assert_int_equal(thaw_decoder_create(&decoder, NULL), THAW_OK);
    struct dirent **classes, **files;
    int n_classes = scandir(folder, &classes, visible, alphasort), n = 0;
    for (int i = 0; i < n_classes; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, classes[i]->d_name);
        int n_files = scandir(path, &files, visible, alphasort);
        for (int k = 0; k < n_files; k++) {
            if (k < 3 && n < most) {
                snprintf(path, sizeof path, "%s/%s/%s", folder, classes[i]->d_name,
                         files[k]->d_name);
                size_t size;
                uint8_t *bytes = test_read(path, &size);
                assert_int_equal(thaw_image_decode(decoder, bytes, size, &geometry,
                                                   pixels + (size_t)n++ * 224 * 224 * 3, NULL),
                                 THAW_OK);
                free(bytes);
            }
            free(files[k]);
        }
        if (n_files >= 0) free(files);
        free(classes[i]);
    }
    if (n_classes >= 0) free(classes);
    thaw_decoder_free(decoder);
    return n;
}

/* MobileNetV2 is the hard case: depthwise layers and a linear stream, in float weights that were
 * 8 bits once. */
static void bf16_is_close_on_photographs(void **state) {
    (void)state;
    skip_without_bf16();
    const char *model = THAW_SOURCE_DIR "/../shared/models/mobilenet_v2.onnx";
    const char *folder = THAW_SOURCE_DIR "/../shared/data/oxford12/test";
    if (access(model, R_OK) != 0 || access(folder, R_OK) != 0) {
        print_message("SKIPPED: there is no %s or no %s\n", model, folder);
        skip();
    }
    net net;
    open_file(&net, model);
    assert_in_range(read_photographs(folder, IMAGES, net.pixels), 32, IMAGES);
    check_bf16(&net, "mobilenet_v2");
    close_net(&net);
}

static void a_senseless_plan_is_refused(void **state) {
    (void)state;
    net net;
    open_net(&net, "resnet_17");
    static const float one[3] = {1, 1, 1};
    thaw_trunk_options options = {.batch = 0, .compute = THAW_F32, .scale = one, .shift = one};
    thaw_trunk *trunk;
    thaw_error err = {0};
    const thaw_cut *cut = &net.cuts.cuts[net.cuts.last];
    assert_int_equal(thaw_trunk_create(&trunk, &net.model.graph, cut, &options, &backend, &err),
                     THAW_ERR_USAGE);
    assert_null(trunk);
    options.batch = 1;
    options.compute = THAW_F16;
    assert_int_equal(thaw_trunk_create(&trunk, &net.model.graph, cut, &options, &backend, &err),
                     THAW_ERR_UNSUPPORTED);
    assert_null(trunk);
    thaw_trunk_free(trunk);
    close_net(&net);
}

static int open_backend(void **state) {
    (void)state;
    return thaw_backend_open(&backend, "cpu", 2, NULL);
}

static int close_backend(void **state) {
    (void)state;
    thaw_backend_close(&backend);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_allocates_nothing),
        cmocka_unit_test(a_trunk_goes_on_from_a_cut),
        cmocka_unit_test(features_depend_on_the_image_alone),
        cmocka_unit_test(a_hundred_runs_change_nothing),
        cmocka_unit_test(other_batches_round_only),
        cmocka_unit_test(pooled_is_the_mean_of_the_map),
        cmocka_unit_test(bf16_is_close_on_noise),
        cmocka_unit_test(bf16_is_close_on_photographs),
        cmocka_unit_test(a_senseless_plan_is_refused),
    };
    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
