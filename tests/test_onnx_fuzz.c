/* Damaged and hostile ONNX files: whatever the bytes are, reading, cutting, hashing and planning
 * end with a result or one sentence; never with a crash, a leak (in the sanitizer's build), an
 * endless loop or all of the machine's memory.
 *
 * Mutant i is a function of i alone. `test_onnx_fuzz 1234` runs that one, `test_onnx_fuzz 0 99999`
 * that range.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "graph/cuts.h"
#include "graph/ops.h"
#include "onnx.pb-c.h"
#include "onnx/onnx_read.h"
#include "testing.h"
#include "trunk/trunk.h"

enum { MUTANTS = 40000, SECONDS = 100, MOST_SEEDS = 128 };

typedef struct seed {
    uint8_t *bytes;
    size_t n;
    char name[64];
} seed;

static seed seeds[MOST_SEEDS];
static int n_seeds;
static int first_mutant, n_mutants = MUTANTS;
static volatile sig_atomic_t current; /* For the reproducer. */

static int by_name(const void *a, const void *b) {
    return strcmp(((const seed *)a)->name, ((const seed *)b)->name);
}

static int read_seeds(void **state) {
    (void)state;
    DIR *folder = opendir(TEST_MODELS);
    assert_non_null(folder);
    struct dirent *entry;
    while ((entry = readdir(folder)) && n_seeds < MOST_SEEDS) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 5, ".onnx") != 0) continue;
        char path[512];
        seed *s = &seeds[n_seeds++];
        snprintf(s->name, sizeof s->name, "%.60s", entry->d_name);
        snprintf(path, sizeof path, TEST_MODELS "%s", s->name);
        s->bytes = test_read(path, &s->n);
    }
    closedir(folder);
    qsort(seeds, (size_t)n_seeds, sizeof seeds[0], by_name); /* readdir's order is the disk's. */
    assert_true(n_seeds > 50);
    return 0;
}

static int free_seeds(void **state) {
    (void)state;
    for (int i = 0; i < n_seeds; i++)
        free(seeds[i].bytes);
    return 0;
}

/* ---- mutations ----------------------------------------------------------------------------- */

typedef struct bytes {
    uint8_t *at;
    size_t n;
} bytes;

static size_t below(uint64_t *random, size_t n) {
    return n ? test_random(random) % n : 0;
}

static int64_t interesting(uint64_t *random) {
    static const int64_t numbers[] = {0,
                                      1,
                                      -1,
                                      2,
                                      -2,
                                      3,
                                      4,
                                      5,
                                      7,
                                      16,
                                      255,
                                      65536,
                                      1 << 20,
                                      INT32_MAX,
                                      INT64_C(1) << 31,
                                      UINT32_MAX,
                                      INT64_C(1) << 40,
                                      INT64_C(1) << 62,
                                      INT64_MAX,
                                      INT64_MIN,
                                      INT64_MIN + 1,
                                      THAW_BATCH,
                                      -THAW_BATCH};
    return numbers[below(random, sizeof numbers / sizeof numbers[0])];
}

/* Anything that can happen to bytes on a disk or a wire, and numbers of other lengths. */
static void damage(bytes *b, uint64_t *random) {
    static const uint8_t varints[][10] = {
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x00},
        {0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0x00, 0x00, 0x00, 0x00},
        {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80},
        {0xff, 0xff, 0xff, 0xff, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00},
    };
    size_t at = below(random, b->n), length = 1 + below(random, 64);
    /* Structure lies at both ends of a file; the middle is weights. */
    if (test_random(random) & 1) at = below(random, b->n < 512 ? b->n : 512);
    if (!(test_random(random) & 3)) at = b->n - 1 - at;
    if (length > b->n - at) length = b->n - at;
    const seed *other = &seeds[below(random, (size_t)n_seeds)];
    switch (below(random, 7)) {
        case 0:
            b->at[at] ^= (uint8_t)(1u << below(random, 8));
            break;
        case 1:
            b->at[at] = (uint8_t)test_random(random);
            break;
        case 2:
            b->n = at + 1;
            break;
        case 3: /* Part of another file over this one. */
            for (size_t i = 0; i < length; i++)
                b->at[at + i] = other->bytes[(at + i) % other->n];
            break;
        case 4:
            memmove(b->at + at, b->at + at + length, b->n - at - length);
            b->n -= length;
            break;
        case 5: { /* A piece twice. The buffer has room. */
            memmove(b->at + at + length, b->at + at, b->n - at);
            b->n += length;
            break;
        }
        default: {
            size_t n = sizeof varints[0] < b->n - at ? sizeof varints[0] : b->n - at;
            memcpy(b->at + at, varints[below(random, 5)], n);
        }
    }
    if (b->n == 0) b->n = 1;
}

static Onnx__NodeProto *any_node(const Onnx__GraphProto *g, uint64_t *random) {
    return g->n_node ? g->node[below(random, g->n_node)] : NULL;
}

static void swap_strings(char **a, char **b) {
    char *t = *a;
    *a = *b;
    *b = t;
}

static void drop_ints(Onnx__AttributeProto *attr) {
    free(attr->ints);
    attr->ints = NULL;
    attr->n_ints = 0;
}

/* A well-formed file with one wrong fact in it. */
static void lie(Onnx__GraphProto *g, uint64_t *random) {
    Onnx__NodeProto *node = any_node(g, random), *other = any_node(g, random);
    Onnx__AttributeProto *attr =
        node && node->n_attribute ? node->attribute[below(random, node->n_attribute)] : NULL;
    Onnx__TensorProto *tensor =
        g->n_initializer ? g->initializer[below(random, g->n_initializer)] : NULL;
    int n_ops;
    const thaw_op *const *table = thaw_op_table(&n_ops);
    switch (below(random, 12)) {
        case 0:
            if (tensor && tensor->n_dims)
                tensor->dims[below(random, tensor->n_dims)] = interesting(random);
            break;
        case 1:
            if (attr && attr->n_ints)
                attr->ints[below(random, attr->n_ints)] = interesting(random);
            else if (attr)
                attr->i = interesting(random);
            break;
        case 2: /* Another operator with this one's inputs. */
            if (node && node->op_type) {
                const char *type = table[below(random, (size_t)n_ops)]->type;
                free(node->op_type);
                node->op_type = strdup(type);
            }
            break;
        case 3:
            if (node && other && node->n_input && other->n_input)
                swap_strings(&node->input[below(random, node->n_input)],
                             &other->input[below(random, other->n_input)]);
            break;
        case 4:
            if (node && node->n_input) free(node->input[--node->n_input]);
            break;
        case 5:
            if (node && node->n_output && node->output[0][0]) node->output[0][0] = 0;
            break;
        case 6: /* The attribute's numbers get another type. */
            if (attr && attr->n_ints && !attr->n_floats) {
                attr->floats = malloc(attr->n_ints * sizeof(float));
                attr->n_floats = below(random, attr->n_ints) + 1;
                for (size_t i = 0; i < attr->n_floats; i++)
                    attr->floats[i] = 1;
                if (test_random(random) & 1) drop_ints(attr);
            }
            break;
        case 7:
            if (attr && attr->n_ints > 1)
                attr->n_ints -= 1 + below(random, attr->n_ints - 1);
            else if (attr)
                drop_ints(attr);
            break;
        case 8: {
            Onnx__TypeProto *type = g->n_input ? g->input[0]->type : NULL;
            Onnx__TensorShapeProto *shape =
                type && type->tensor_type ? type->tensor_type->shape : NULL;
            if (!shape || !shape->n_dim) break;
            Onnx__TensorShapeProto__Dimension *dim = shape->dim[below(random, shape->n_dim)];
            if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
                free(dim->dim_param);
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = interesting(random);
            break;
        }
        case 9: /* Numbers that are shapes, axes or indices. */
            for (size_t i = 0; i < g->n_initializer; i++) {
                Onnx__TensorProto *t = g->initializer[i];
                int64_t value = interesting(random);
                if (t->data_type == 7 && t->raw_data.len >= 8)
                    memcpy(t->raw_data.data + 8 * below(random, t->raw_data.len / 8), &value, 8);
            }
            break;
        case 10:
            if (tensor) tensor->data_type = (int32_t)below(random, 20);
            break;
        default:
            if (node && g->n_output && node->n_output) {
                free(g->output[0]->name);
                g->output[0]->name = strdup(node->output[0]);
            }
    }
}

/* Mutant number i, to be freed. */
static bytes make_mutant(int i) {
    uint64_t random = (uint64_t)i * 0x632be59bd9b4e019u + 1;
    const seed *s = &seeds[below(&random, (size_t)n_seeds)];
    int changes = 1 + (int)below(&random, 4);
    bytes b = {malloc(s->n + 64 * 8 + 1), s->n};
    assert_non_null(b.at);
    memcpy(b.at, s->bytes, s->n);
    if (i % 3 == 0) {
        while (changes--)
            damage(&b, &random);
        return b;
    }
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, s->n, s->bytes);
    assert_non_null(m);
    while (changes--)
        lie(m->graph, &random);
    free(b.at);
    b.n = onnx__model_proto__get_packed_size(m);
    b.at = malloc(b.n + 1);
    assert_non_null(b.at);
    onnx__model_proto__pack(m, b.at);
    onnx__model_proto__free_unpacked(m, NULL);
    return b;
}

/* ---- what is done with each ---------------------------------------------------------------- */

static thaw_backend backend;
static int n_read, n_planned;

/* Small enough that planning and running it takes no time. */
static bool is_tiny(const thaw_graph *graph, const thaw_cut *cut) {
    int64_t elements = thaw_value_elements(&graph->values[graph->input]);
    for (int i = 0; i < graph->n_nodes; i++)
        for (int k = 0; graph->nodes[i].live && k < graph->nodes[i].n_out; k++) {
            const thaw_value *out = thaw_node_out(graph, &graph->nodes[i], k);
            if (out && out->rank > 0 && !out->data) elements += thaw_value_elements(out);
        }
    return elements < 1 << 18 && cut->flop_below < 1 << 22;
}

static void plan(const thaw_graph *graph, const thaw_cut *cut, thaw_error *err) {
    static const float scale[3] = {1, 1, 1}, shift[3] = {0, 0, 0};
    thaw_trunk_options options = {.batch = 2, .compute = THAW_F32, .scale = scale, .shift = shift};
    thaw_trunk *trunk;
    if (thaw_trunk_create(&trunk, graph, cut, &options, &backend, err) != THAW_OK) return;
    n_planned++;
    thaw_trunk_size size = thaw_trunk_measure(trunk);
    const thaw_port input = {.N = 3};
    int64_t n_pixels = thaw_value_elements(&graph->values[graph->input]);
    uint8_t *pixels = calloc((size_t)(input.N * n_pixels), 1);
    float *features = calloc((size_t)(input.N * size.H * size.W * size.C), sizeof *features);
    assert_true(pixels && features);
    assert_int_equal(thaw_trunk_run(trunk, input.N, pixels, features, err), THAW_OK);
    free(pixels);
    free(features);
    thaw_trunk_free(trunk);
}

static void survive(const bytes *b) {
    thaw_model model;
    thaw_cuts cuts;
    thaw_error err = {0};
    thaw_status status = thaw_model_parse(&model, b->at, b->n, TEST_MODELS "mutant", 0, 0, &err);
    if (status == THAW_OK) {
        n_read++;
        assert_int_equal(thaw_cuts_find(&model.graph, &cuts, &err), THAW_OK);
        assert_true(cuts.n >= 1 && cuts.last >= 0 && cuts.last < cuts.n);
        const thaw_cut *cut = &cuts.cuts[cuts.last];
        thaw_hash hash;
        assert_int_equal(thaw_cut_hash(&model.graph, cut, false, &hash, &err), THAW_OK);
        for (int c = 0; c < cuts.n; c++) {
            assert_true(cuts.cuts[c].elements > 0 && cuts.cuts[c].flop_below >= 0);
            assert_true(cuts.cuts[c].flop_above >= 0 && cuts.cuts[c].params_above >= 0);
        }
        if (is_tiny(&model.graph, cut)) plan(&model.graph, cut, &err);
    }
    if (status != THAW_OK || err.code) assert_true(strlen(err.text) > 10);
    thaw_model_free(&model);
}

static void say_which(void) {
    char text[80];
    int n = snprintf(text, sizeof text, "reproduce with: test_onnx_fuzz %d\n", (int)current);
    if (write(STDERR_FILENO, text, (size_t)n) < 0) _exit(1);
}

static void on_signal(int number) {
    say_which();
    signal(number, SIG_DFL);
    raise(number);
}

/* The sanitizers' hook; absent in other builds. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void mutants_end_in_a_result_or_a_sentence(void **state) {
    (void)state;
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(say_which);
    } else {
        /* The sanitizers reserve more addresses than this. */
        struct rlimit limit = {(rlim_t)4 << 30, (rlim_t)4 << 30};
        setrlimit(RLIMIT_AS, &limit);
    }
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], on_signal);
    assert_int_equal(thaw_backend_open(&backend, "cpu", 1, NULL), THAW_OK);
    double start = now();
    int done = 0;
    for (int i = first_mutant; done < n_mutants; i++, done++) {
        if (now() - start > SECONDS) break;
        current = i;
        alarm(10); /* For one mutant. */
        bytes b = make_mutant(i);
        survive(&b);
        free(b.at);
    }
    alarm(0);
    thaw_backend_close(&backend);
    print_message("%d mutants in %.1f s: %d were read, %d planned and run\n", done, now() - start,
                  n_read, n_planned);
    if (done < n_mutants) print_message("NOT all %d: this machine is slow today\n", n_mutants);
}

int main(int argc, char **argv) {
    if (argc > 1) first_mutant = atoi(argv[1]);
    if (argc > 1) n_mutants = argc > 2 ? atoi(argv[2]) - first_mutant + 1 : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutants_end_in_a_result_or_a_sentence),
    };
    return cmocka_run_group_tests(tests, read_seeds, free_seeds);
}
