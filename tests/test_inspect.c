/* What `thaw inspect` prints of a model, to the letter; and that names of a file can neither steer a
 * terminal nor fake a line. */
#include "gpu_models.h"
#include "onnx_testing.h"
#include "program.h"
#include "trunk/backend.h"

static tempdir place;

static int open_place(void **state) {
    *state = &place;
    place = tempdir_make();
    tempdir_check(chdir(place.root) == 0, place.root);
    return 0;
}

/* Copies tests/data/onnx/FILE.onnx, after an edit, to m.onnx. */
static void put_model(const char *file, test_edit *change) {
    size_t n;
    uint8_t *bytes = test_edited(file, change, &n);
    write_bytes("m.onnx", bytes, n);
    free(bytes);
}

static void expect_lines(const char *file, test_edit *change, const char *all,
                         const char *const *lines) {
    program p = {0};
    put_model(file, change);
    program_expect_ok(&p, "inspect m.onnx --device=cpu%s", all);
    const char *at = p.out;
    for (; *lines; lines++) {
        size_t n = strcspn(at, "\n");
        if (strlen(*lines) != n || strncmp(*lines, at, n) != 0)
            fail_msg("%s: expected \"%s\", not \"%.*s\"", file, *lines, (int)n, at);
        at += n + (at[n] == '\n');
    }
    if (*at) fail_msg("%s: more than expected: %s", file, at);
    program_free(&p);
}

/* clang-format would break the lines. */
// clang-format off
#define RESNET_HEAD \
    "file        m.onnx, 0.1 MB, opset 17, from pytorch 2.15.0", \
    "input       x, 32 x 32, 3 channels", \
    "output      scores, N x 5", \
    "operators   Add 4, Conv 10, Gemm 1, GlobalAveragePool 1, MaxPool 1, Relu 9", \
    "batch norm  none: folded into the convolutions at export, or never there. That is", \
    "            fine for frozen layers, and they can be trained as they are", \
    "preprocess  imagenet (x/255, ImageNet's mean and deviation): the file comes from PyTorch; a guess", \
    "            thaw inspect MODEL FOLDER asks pictures; preprocess = NAME says it", \
    "old head    /fc/Gemm (Gemm) and what follows it, 5 numbers, is replaced", \
    "            head.at = NODE says otherwise", \
    "trunk       16 features an image, hash d5e30667e3da225702498cce9129d018", \
    "", \
    "                                                    parameters, M           GFLOP", \
    "  cut  stage     shape                 KB/image      below      above     below     above  node"
static const char *const short_resnet[] = {
    RESNET_HEAD,
    "    0            N x 3 x 32 x 32           12.0      0.000      0.012     0.000     0.001  input",
    "    2  stage1    N x 8 x 16 x 16            8.0      0.001      0.011     0.001     0.001  /stem/stem.2/Relu",
    "    7  stage2    N x 8 x 8 x 8              2.0      0.004      0.008     0.001     0.000  /blocks/blocks.1/Relu",
    "   11  stage3    N x 16 x 4 x 4             1.0      0.012      0.000     0.001     0.000  /blocks/blocks.3/Relu",
    "*  12            N x 16 x 1 x 1             0.1      0.012      0.000     0.001     0.000  /GlobalAveragePool",
    "",
    "* is freeze = last: only the head above it is trained.",
    "Of each stage the narrowest cut stands here; --all lists 9 more.",
    NULL,
};
static const char *const resnet[] = {
    RESNET_HEAD,
    "    0            N x 3 x 32 x 32           12.0      0.000      0.012     0.000     0.001  input",
    "    1            N x 8 x 16 x 16            8.0      0.001      0.011     0.001     0.001  /stem/stem.0/Conv",
    "    2  stage1    N x 8 x 16 x 16            8.0      0.001      0.011     0.001     0.001  /stem/stem.2/Relu",
    "    3            N x 8 x 8 x 8              2.0      0.001      0.011     0.001     0.001  /pool/MaxPool",
    "    4            N x 8 x 8 x 8              2.0      0.002      0.010     0.001     0.000  /blocks/blocks.0/Add",
    "    5  stage2.1  N x 8 x 8 x 8              2.0      0.002      0.010     0.001     0.000  /blocks/blocks.0/Relu",
    "    6            N x 8 x 8 x 8              2.0      0.004      0.008     0.001     0.000  /blocks/blocks.1/Add",
    "    7  stage2    N x 8 x 8 x 8              2.0      0.004      0.008     0.001     0.000  /blocks/blocks.1/Relu",
    "    8            N x 16 x 4 x 4             1.0      0.007      0.005     0.001     0.000  /blocks/blocks.2/Add",
    "    9  stage3.1  N x 16 x 4 x 4             1.0      0.007      0.005     0.001     0.000  /blocks/blocks.2/Relu",
    "   10            N x 16 x 4 x 4             1.0      0.012      0.000     0.001     0.000  /blocks/blocks.3/Add",
    "   11  stage3    N x 16 x 4 x 4             1.0      0.012      0.000     0.001     0.000  /blocks/blocks.3/Relu",
    "*  12            N x 16 x 1 x 1             0.1      0.012      0.000     0.001     0.000  /GlobalAveragePool",
    "   13            N x 5                      0.0      0.012      0.000     0.001     0.000  /fc/Gemm",
    "",
    "* is freeze = last: only the head above it is trained.",
    NULL,
};
static const char *const outputs[] = {
    "file        m.onnx, 0.0 MB, opset 13, from make_models",
    "input       x, 12 x 12, 3 channels",
    "output      t10, N x 5",
    "            and t5, N x 3",
    "operators   Conv 2, Gemm 1, GlobalAveragePool 1, Relu 2",
    "batch norm  none: folded into the convolutions at export, or never there. That is",
    "            fine for frozen layers, and they can be trained as they are",
    "preprocess  imagenet (x/255, ImageNet's mean and deviation): nothing in the file speaks "
    "for another one; a guess",
    "            thaw inspect MODEL FOLDER asks pictures; preprocess = NAME says it",
    "old head    Gemm_10 (Gemm) and what follows it, 5 numbers, is replaced",
    "            head.at = NODE says otherwise",
    "note        the model has 2 outputs, t5, t10: t10 is taken, which most of it lies below; "
    "output = NAME takes another",
    "trunk       9 features an image, hash c02061b9297930d732a3bd789bd50ddf",
    "",
    "                                                    parameters, M           GFLOP",
    "  cut  stage     shape                 KB/image      below      above     below     above  node",
    "    0            N x 3 x 12 x 12            1.7      0.000      0.001     0.000     0.000  input",
    "    1            N x 8 x 5 x 5              0.8      0.000      0.001     0.000     0.000  Conv_1",
    "    2  stage1    N x 8 x 5 x 5              0.8      0.000      0.001     0.000     0.000  Relu_2",
    "    3            N x 9 x 3 x 3              0.3      0.001      0.000     0.000     0.000  Conv_6",
    "    4  stage2    N x 9 x 3 x 3              0.3      0.001      0.000     0.000     0.000  Relu_7",
    "*   5            N x 9 x 1 x 1              0.0      0.001      0.000     0.000     0.000  GlobalAveragePool_8",
    "    6            N x 5                      0.0      0.001      0.000     0.000     0.000  Gemm_10",
    "",
    "* is freeze = last: only the head above it is trained.",
    NULL,
};
// clang-format on

static void a_model_is_told_to_the_letter(void **state) {
    (void)state;
    expect_lines("resnet_17", NULL, "", short_resnet);
    expect_lines("resnet_17", NULL, " --all", resnet);
    expect_lines("two_outputs", NULL, " --all", outputs);
}

/* ---- names --------------------------------------------------------------------------------- */

static void rename_all_nodes(Onnx__ModelProto *m) {
    static const char *const names[] = {"red\x1b[31m\x1b]0;title\a", "two\nlines\r",
                                        "b\xc3\xa9ton \xe2\x80\xae"
                                        "desrever\xc2\x9b",
                                        "a name that is longer than thirty-six letters "
                                        "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac, to its end"};
    for (size_t i = 0; i < m->graph->n_node; i++)
        test_replace(&m->graph->node[i]->name, names[i % 4]);
    test_replace(&m->producer_name, "evil\x1b[2J\nfile        another.onnx");
}

static void names_steer_no_terminal(void **state) {
    (void)state;
    program p = {0};
    put_model("two_outputs", rename_all_nodes);
    program_expect_ok(&p, "inspect m.onnx --all");
    for (const char *c = p.out; *c; c++)
        if (((unsigned char)*c < ' ' && *c != '\n') || *c == 0x7f) fail_msg("%d is printed", *c);
    assert_null(strstr(p.out, "\xc2\x9b"));
    assert_null(strstr(p.out, "\xe2\x80\xae"));
    assert_null(strstr(p.out, "\nfile        another.onnx"));
    program_expect_text(&p, p.out, "  two?lines?\n");
    program_expect_text(&p, p.out, "  b\xc3\xa9ton ???desrever??\n");
    program_expect_text(&p, p.out,
                        "thirty-six letters \xe2\x82\xac\xe2\x82\xac\xe2\x82\xac, to its end\n");
    program_free(&p);
    /* The plan prints steps, and names nothing. */
    program_expect_ok(&p, "inspect m.onnx --plan --device=cpu");
    program_expect_text(&p, p.out, "conv 3x3 s2");
    program_expect_text(&p, p.out, "activations ");
    program_free(&p);
}

/* ---- a file beside the model ----------------------------------------------------------------- */

static void put_text(const char *path, const char *text) {
    write_bytes(path, text, strlen(text));
}

static void expect_preprocess(const char *words, const char *said) {
    program p = {0};
    program_expect_ok(&p, "inspect %s", words);
    program_expect_text(&p, p.out, said);
    program_free(&p);
}

static void a_json_beside_the_model_is_found(void **state) {
    (void)state;
    static const char half[] = "\"mean\": [0.5, 0.5, 0.5], \"std\": [0.5, 0.5, 0.5]";
    char text[256];
    program p = {0};
    put_model("open_size", NULL);
    snprintf(text, sizeof text, "{\"pretrained_cfg\": {%s, \"input_size\": [3, 96, 80]}}", half);
    put_text("config.json", text);
    expect_preprocess("m.onnx",
                      "preprocess  inception (x/255, mean and deviation 0.5): config.json "
                      "beside the model says so; certain\n");
    expect_preprocess("./m.onnx", "\ninput       x, 80 x 96, 3 channels, size left open\n");
    expect_preprocess("m.onnx", "80 x 96 is taken, as the file beside it says; image.size sets it");
    expect_preprocess("m.onnx --image.size=64", "\ninput       x, 64 x 64, 3 channels");
    expect_preprocess("m.onnx --preprocess=caffe",
                      "preprocess  caffe (BGR, 0..255, mean subtracted): given");
    /* The nearest name counts; where the network's size is fixed, that does. */
    put_text("m.json", "{\"image_mean\": 0, \"image_std\": 1}");
    expect_preprocess("m.onnx",
                      "preprocess  unit (x/255): m.json beside the model says so; certain\n");
    put_model("resnet_17", NULL);
    remove("m.json");
    expect_preprocess(
        "m.onnx",
        "note        config.json says 80 x 96, and the network takes 32 x 32: that counts");
    /* As Hugging Face's folders have it: in the folder itself, or above one called onnx. */
    mkdir("hub", 0777);
    mkdir("hub/onnx", 0777);
    rename_or_fail("m.onnx", "hub/onnx/model.onnx");
    rename_or_fail("config.json", "hub/preprocessor_config.json");
    expect_preprocess("hub/onnx/model.onnx", "preprocessor_config.json beside the model says so");
    expect_preprocess("hub/onnx", "preprocessor_config.json beside the model says so");
    rename_or_fail("hub/onnx/model.onnx", "hub/model.onnx");
    expect_preprocess("hub", "preprocessor_config.json beside the model says so");
    put_text("hub/model.json", "{\"mean\": [0.5}");
    program_run(&p, "inspect hub");
    program_expect_text(&p, program_refusal(&p, 1), "hub/model.json stands beside the model");
    program_free(&p);
    expect_preprocess("hub --preprocess=tf", "preprocess  tf (x/128 - 1): given; certain");
    put_text("hub/model.json", "{\"mean\": [0.5], \"std\": \"one\"}");
    program_run(&p, "inspect hub");
    program_expect_text(&p, program_refusal(&p, 1),
                        "hub/model.json: \"std\" is not one number above 0");
    program_free(&p);
}

/* Microseconds that the plan of m.onnx expects of a GPU that is not there. */
static double expected_us(const char *gpu) {
    program p = {0};
    double us = 0;
    program_expect_ok(&p, "inspect m.onnx --plan --device=cuda:%s --precision=fp16 --batch=256",
                      gpu);
    program_expect_text(&p, p.out, "stem, tile");
    program_expect_text(&p, p.out, "implicit GEMM");
    const char *sum = strstr(p.out, "\nexpected ");
    if (!sum || sscanf(sum, "\nexpected %lf us for 256 pictures", &us) != 1 || !(us > 0))
        fail_msg("no sum for %s in:\n%s", gpu, p.out);
    program_free(&p);
    return us;
}

static void a_plan_needs_no_gpu(void **state) {
    (void)state;
    program p = {0};
    thaw_backend backend;
    thaw_error err = {0};
    put_model("mobilenetv2_17_bn", NULL);
    if (!thaw_gpu_model_kernels) {
        program_run(&p, "inspect m.onnx --plan --device=cuda:a10g");
        program_expect_text(&p, program_refusal(&p, 1), "this build has no CUDA kernels");
        program_free(&p);
        return;
    }
#define X(name, ...) (void)expected_us(name);
    THAW_GPU_MODEL_LIST(X)
#undef X
    assert_true(expected_us("h100") < expected_us("A10G"));
    assert_true(expected_us("a10g") < expected_us("t4"));
    /* It multiplies no bf16, which is known without it. */
    program_run(&p, "inspect m.onnx --plan --device=cuda:t4 --precision=bf16");
    program_expect_text(&p, program_refusal(&p, 1), "this GPU has no bf16 instructions; use fp16");
    program_free(&p);
    /* What computes takes none of them. */
    assert_int_equal(thaw_backend_open(&backend, "cuda:a10g", 1, &err), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "for inspect --plan alone"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_needs_no_gpu),
        cmocka_unit_test(a_model_is_told_to_the_letter),
        cmocka_unit_test(a_json_beside_the_model_is_found),
        cmocka_unit_test(names_steer_no_terminal),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
