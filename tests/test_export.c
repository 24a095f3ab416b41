/* `thaw export`: the network with its preprocessing in front, by the command and by a training; weights in a file
 * of their own go wherever the network goes, and count as a part of it. (That ONNX Runtime answers as predict does
 * is tests/peer/test_export.py's.) */
#include "model/export_onnx.h"
#include "model/model_file.h"
#include "program.h"

static tempdir place;

static int open_place(void **state) {
    program p = {0};
    *state = &place;
    place = program_place(4, 2);
    program_expect_ok(&p,
                      "train --model=m.onnx --data.train=pics/train --out=run --epochs=2 "
                      "--log=error --export.preprocess");
    program_free(&p);
    return 0;
}

static void expect_refusal(int code, const char *words, const char *said) {
    program p = {0};
    program_run(&p, "%s", words);
    program_expect_text(&p, program_refusal(&p, code), said);
    program_free(&p);
}

static void a_network_takes_decoded_pixels(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "export run --onnx=front.onnx --export.preprocess");
    program_expect_text(&p, p.out, "front.onnx: takes decoded pixels, u8 [N, H, W, 3]");
    program_free(&p);
    expect_equal_files("front.onnx", "run/pixels.onnx"); /* Which the training wrote. */
    program_expect_ok(&p, "inspect front.onnx");
    program_expect_text(&p, p.out,
                        "\ninput       pixels, 96 x 96, 3 channels (NHWC), whole numbers\n");
    program_expect_text(&p, p.out, "\npreprocess  from the model's own metadata; certain\n");
    program_free(&p);
    program_expect_ok(&p, "export run --onnx=same.onnx");
    program_free(&p);
    program_expect_ok(&p, "inspect same.onnx");
    program_expect_text(&p, p.out, "\ninput       input, 96 x 96, 3 channels\n");
    program_free(&p);
    /* It is a model to train on: the same pictures, the same features, the same head. */
    program_expect_ok(&p,
                      "train --model=front.onnx --data.train=pics/train --out=next --epochs=2 "
                      "--log=error --head.at=thaw_logits");
    program_free(&p);
    program_expect_ok(&p,
                      "train --model=run --data.train=pics/train --out=next2 --epochs=2 "
                      "--log=error --head.at=thaw_logits");
    program_free(&p);
    assert_true(fabs(number_in("next/metrics.json", "loss") -
                     number_in("next2/metrics.json", "loss")) < 1e-5);
}

static void what_cannot_be_exported_is_refused(void **state) {
    (void)state;
    expect_refusal(2, "export run", "--onnx FILE, --safetensors FILE or --tar FILE.tar.gz");
    expect_refusal(2, "export run --onnx=run/model.onnx", "that is the run's own model");
    expect_refusal(2, "export run --onnx=x.onnx --preprocess", "did you mean --export.preprocess?");
    expect_refusal(1, "export pics --onnx=x.onnx", "bundle.json");
    assert_false(is_there("x.onnx"));
}

/* The run with its weights outside, as a network of more than 2 GB would be. */
static void put_big_run(const char *folder) {
    char path[PATH_MAX], hash[THAW_HASH_TEXT];
    thaw_error err = {0};
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (thaw_export_onnx("run", path, false, 1000, &err) != THAW_OK) fail_msg("%s", err.text);
    assert_int_equal(thaw_model_hash(path, hash, &err), THAW_OK);
    json_t *json = load("run/bundle.json");
    json_object_set_new(json, "model_hash", json_string(hash));
    snprintf(path, sizeof path, "%s/bundle.json", folder);
    assert_int_equal(json_dump_file(json, path, JSON_INDENT(1)), 0);
    snprintf(path, sizeof path, "%s/golden", folder);
    mkdir(path, 0777);
    const json_t *golden = json_object_get(json, "golden");
    for (size_t i = 0; i < json_array_size(golden); i++) {
        const char *file = json_string_value(json_object_get(json_array_get(golden, i), "file"));
        char from[PATH_MAX];
        snprintf(from, sizeof from, "run/%s", file);
        snprintf(path, sizeof path, "%s/%s", folder, file);
        copy_file(from, path);
    }
    json_decref(json);
}

static char *predicted(const char *run) {
    program p = {0};
    program_expect_ok(&p, "predict %s pics/test", run);
    char *out = strdup(p.out);
    program_free(&p);
    return out;
}

static void weights_outside_go_along(void **state) {
    (void)state;
    program p = {0};
    put_big_run("big");
    assert_true(is_there("big/" THAW_MODEL_DATA));
    char *inside = predicted("run"), *outside = predicted("big");
    assert_string_equal(inside, outside);
    free(inside);
    free(outside);
    program_expect_ok(&p, "export big --tar=big.tar.gz");
    program_free(&p);
    program_expect_ok(&p, "inspect big.tar.gz");
    program_free(&p);
    program_expect_ok(&p, "export big --onnx=front_big.onnx --export.preprocess");
    program_free(&p);
    expect_equal_files("front_big.onnx", "front.onnx");
    /* They count as a part of the network. */
    size_t n;
    uint8_t *bytes = test_read("big/" THAW_MODEL_DATA, &n);
    bytes[n / 2] ^= 1;
    write_bytes("big/" THAW_MODEL_DATA, bytes, n);
    free(bytes);
    expect_refusal(1, "predict big pics/test",
                   "is not the model that its bundle.json was written for");
    /* A run that is trained again takes them away with the rest. */
    program_expect_ok(&p,
                      "train --model=m.onnx --data.train=pics/train --out=big --epochs=2 "
                      "--log=error");
    program_free(&p);
    assert_false(is_there("big/" THAW_MODEL_DATA));
    assert_true(is_there("big~/" THAW_MODEL_DATA));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_takes_decoded_pixels),
        cmocka_unit_test(what_cannot_be_exported_is_refused),
        cmocka_unit_test(weights_outside_go_along),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
