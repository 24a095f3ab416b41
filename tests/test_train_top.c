/* Training above a cut, as its user runs it: recipes and BN modes train and say so, the bundle answers as
 * training did, threads change no bit, and a run that was stopped or killed at any moment ends, resumed,
 * in the very bits of one that was not. A stopped one leaves what it has reached, where it is asked to.
 */
#include "program.h"

enum { CLASSES = 8, TRAIN = 9, TEST = 2 };

static tempdir place;

#define TRAIN_LINE                                                                  \
    "train --data.train=pics --model=m.onnx --cache.dir=cache --head.solver=lbfgs " \
    "--head.weight_decay=0.01 "
#define TOP_LINE TRAIN_LINE "--freeze=stage2 --top.epochs=4 --top.batch=24 "

static void every_recipe_trains(void **state) {
    (void)state;
    static const struct {
        const char *options, *said[3];
    } runs[] = {
        {"", {"recipe lp_ft", "BN frozen", "epoch   4/4"}},
        {"--recipe=gradual --top.norm=affine", {"recipe gradual", "BN affine", "epoch   4/4"}},
        {"--recipe=joint --top.norm=full --top.optimizer=adamw",
         {"recipe joint", "BN full", "images/s"}},
        {"--views=3 --top.mixup=0.2 --top.ema=0.9 --top.clip=1 --top.sampling=balanced "
         "--top.stage_factor=0.5 --top.patience=2 --head.class_weights=balanced",
         {"recipe lp_ft", "epoch", "is kept"}},
        {"--head.kind=hidden --head.solver=steps --epochs=3", {"recipe lp_ft", "epoch", "is kept"}},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        program p = {0};
        program_expect_ok(&p, TOP_LINE "--out=run %s", runs[i].options);
        for (int k = 0; k < 3; k++)
            program_expect_text(&p, p.err, runs[i].said[k]);
        program_free(&p);
        assert_true(number_in("run/metrics.json", "top1") >= 0.5);
        assert_true(number_in("run/metrics.json", "trained_parameters") > 100000);
        assert_false(is_there("run.checkpoint"));
        /* What serves answers as training did. */
        program_expect_ok(&p, "eval run pics --cache.dir=cache --json");
        const char *top1 = strstr(p.out, "\"top1\":");
        assert_non_null(top1);
        assert_float_equal(strtod(top1 + 7, NULL), number_in("run/metrics.json", "top1"), 1e-9);
        program_free(&p);
    }
}

/* Other weights above the cut than the file's, and the file's below it. */
static void threads_and_freeze_depths(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, TOP_LINE "--out=two --threads=2");
    program_free(&p);
    program_expect_ok(&p, TOP_LINE "--out=one --threads=1");
    program_free(&p);
    expect_equal_files("two/model.onnx", "one/model.onnx");
    expect_equal_files("two/predictions.csv", "one/predictions.csv");
    program_expect_ok(&p, TRAIN_LINE "--freeze=none --top.epochs=1 --out=none");
    program_free(&p);
    assert_true(number_in("none/metrics.json", "trained_parameters") >
                number_in("two/metrics.json", "trained_parameters"));
    /* A second round on what the first has made. */
    program_expect_ok(&p,
                      "train --data.train=pics --model=two/model.onnx --cache.dir=cache "
                      "--freeze=stage2 --top.epochs=1 --out=again");
    program_free(&p);
}

/* Starts it, lets it go on for a while, and sends a signal; then again with --resume, until it ends. */
static int run_in_parts(const char *out, const char *options, int signal, int ms) {
    program p = {0};
    for (int parts = 1; parts <= 60; parts++) {
        program_start(&p, TOP_LINE "--top.epochs=6 --resume --out=%s %s", out, options);
        pause_ms(ms);
        bool stopped = program_is_running(&p);
        if (stopped) kill(p.pid, signal);
        program_wait(&p);
        if (p.code == 0) return program_free(&p), parts;
        bool early = p.code == PROGRAM_KILLED + SIGTERM; /* It did not listen yet. */
        if (signal == SIGTERM && !early) program_expect_text(&p, program_refusal(&p, 1), "stopped");
        if (signal == SIGKILL) assert_int_equal(p.code, PROGRAM_KILLED + SIGKILL);
        program_free(&p);
        ms += 100 + parts * 20; /* Each gets further than the one before. */
    }
    fail_msg("%s never ended", out);
    return 0;
}

static void a_resumed_run_ends_bit_equal(void **state) {
    (void)state;
    program p = {0};
    static const char options[] =
        "--top.norm=affine --top.ema=0.9 --top.mixup=0.3 --top.dropout=0.2 --views=2";
    program_expect_ok(&p, TOP_LINE "--top.epochs=6 --out=whole %s", options);
    program_free(&p);
    static const struct {
        int signal, ms;
        const char *more;
    } ways[] = {{SIGTERM, 200, ""},
                {SIGTERM, 450, ""},
                {SIGKILL, 300, " --checkpoint.minutes=0"},
                {SIGKILL, 500, " --checkpoint.minutes=0"}};
    /* Sanitized, each signal once. */
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i += program_is_sanitized() ? 2 : 1) {
        char all[256];
        snprintf(all, sizeof all, "%s%s", options, ways[i].more);
        run_in_parts("parts", all, ways[i].signal, ways[i].ms);
        expect_equal_files("whole/model.onnx", "parts/model.onnx");
        expect_equal_files("whole/predictions.csv", "parts/predictions.csv");
        assert_false(is_there("parts.checkpoint"));
        remove_tree("parts");
    }
}

/* Until it has written a checkpoint, and then stops. */
static void leave_checkpoint(const char *out) {
    program p = {0};
    program_start(&p, TOP_LINE "--top.epochs=2000 --checkpoint.minutes=0 --out=%s", out);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.checkpoint/training~", out);
    while (program_is_running(&p) && !is_there(path))
        pause_ms(2);
    kill(p.pid, SIGTERM);
    program_wait(&p);
    program_expect_text(&p, program_refusal(&p, 1), "thaw train --resume");
    program_free(&p);
}

/* The epoch with the lowest validation loss, of a file of epochs. */
static double lowest_of(const char *path) {
    double lowest = INFINITY, epoch = 0;
    char line[1024];
    FILE *file = fopen(path, "r");
    tempdir_check(file != NULL, path);
    while (fgets(line, sizeof line, file)) {
        json_t *one = json_loads(line, 0, NULL);
        if (number_at(one, "validation_loss") < lowest) {
            lowest = number_at(one, "validation_loss");
            epoch = number_at(one, "epoch");
        }
        json_decref(one);
    }
    fclose(file);
    return epoch;
}

/* Until the file has something in it, and then stops. */
static void stop_once_written(program *p, const char *path) {
    struct stat info;
    while (program_is_running(p) && (stat(path, &info) != 0 || info.st_size == 0))
        pause_ms(2);
    kill(p->pid, SIGTERM);
    program_wait(p);
    program_expect_text(p, program_refusal(p, 1), "stopped has the model of epoch");
}

static void a_stopped_run_leaves_its_best(void **state) {
    (void)state;
    static const struct {
        const char *options, *lines; /* The second: what has lines once an epoch has ended. */
        bool rest;
    } rows[] = {
        {"--epochs=100000 --head.solver=steps", "stopped.partial/epochs.jsonl", false},
        {"--epochs=100000 --head.solver=steps --freeze=stage2", "stopped.partial/head_epochs.jsonl",
         false},
        {"--head.weight_decay=0.01 --head.solver=lbfgs --freeze=stage2 --top.epochs=100000 "
         "--recipe=gradual",
         "stopped.partial/epochs.jsonl", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        program p = {0};
        program_start(&p,
                      "train --data.train=pics --model=m.onnx --cache.dir=cache --out=stopped "
                      "--checkpoint.bundle %s",
                      rows[i].options);
        stop_once_written(&p, rows[i].lines);
        program_free(&p);
        json_t *metrics = load("stopped/metrics.json");
        assert_true(json_is_true(json_object_get(json_object_get(metrics, "epochs"), "stopped")));
        assert_true(number_at(metrics, "epochs.run") >= 1);
        if (i != 1) /* There all epochs are the head's, in another file. */
            assert_true(number_at(metrics, "epochs.kept") == lowest_of("stopped/epochs.jsonl"));
        assert_true((number_at(metrics, "trained_parameters") > 100000) == rows[i].rest);
        program_expect_ok(&p, "eval stopped pics --cache.dir=cache --json");
        const char *top1 = strstr(p.out, "\"top1\":");
        assert_non_null(top1);
        assert_float_equal(strtod(top1 + 7, NULL), number_at(metrics, "top1"), 1e-9);
        program_free(&p);
        json_decref(metrics);
        remove_tree("stopped");
        remove_tree("stopped.checkpoint");
    }
    /* Without an epoch of everything and without a head's training, there is nothing to leave. */
    program p = {0};
    program_start(&p, TOP_LINE
                  "--recipe=joint --out=stopped --checkpoint.bundle --top.batch=1 "
                  "--top.epochs=100000");
    while (program_is_running(&p) && !is_there("stopped.partial/epochs.jsonl"))
        pause_ms(1);
    kill(p.pid, SIGTERM);
    program_wait(&p);
    program_refusal(&p, 1);
    assert_int_equal(is_there("stopped"), strstr(p.err, "has the model of") != NULL);
    program_free(&p);
}

static void a_checkpoint_fits_its_own_run(void **state) {
    (void)state;
    leave_checkpoint("left");
    static const struct {
        const char *line, *said;
    } others[] = {
        {TOP_LINE "--top.epochs=2000 --top.lr=0.002 --out=left --resume", "another set of options"},
        {TRAIN_LINE "--freeze=3 --top.batch=24 --top.epochs=2000 --out=left --resume",
         "another model or cut"},
        {TOP_LINE "--top.epochs=2000 --data.validation=0.3 --out=left --resume", "another set of"},
    };
    program p = {0};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        program_run(&p, "%s", others[i].line);
        program_expect_text(&p, program_refusal(&p, 1), others[i].said);
        program_free(&p);
    }
    /* A damaged one is passed over for the one before it; two damaged ones are said. */
    for (int damaged = 1; damaged <= 2; damaged++) {
        size_t n;
        const char *path = damaged == 1 ? "left.checkpoint/training" : "left.checkpoint/training~";
        uint8_t *bytes = test_read(path, &n);
        bytes[n / 2] ^= 1;
        FILE *file = fopen(path, "wb");
        assert_true(file && fwrite(bytes, n, 1, file) == 1);
        fclose(file);
        free(bytes);
        program_start(&p,
                      TOP_LINE "--top.epochs=2000 --checkpoint.minutes=100 --out=left --resume");
        for (int i = 0; i < 400 && program_is_running(&p); i++)
            pause_ms(5);
        kill(p.pid, SIGKILL);
        program_wait(&p);
        bool goes_on = !strstr(p.err, "epoch    1/2000") || damaged == 2;
        assert_true(goes_on);
        program_free(&p);
    }
}

static void what_cannot_be_trained_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *options, *said[2];
        int code;
    } rows[] = {
        {"--top.lr=100 --top.warmup=0", {"is not finite in step", "lower top.lr"}, 2},
        {"--top.norm=full --top.batch=1", {"at least two pictures", "it has 1"}, 2},
        {"--top.norm=full --top.batch=4096", {"at most all of them", "4096"}, 2},
        {"--freeze=last --init=random", {"init has no part", "only the head"}, 2},
        {"--top.precision=bf16 --device=cpu", {"the CPU trains layers in fp32", "or auto"}, 2},
        {"--checkpoint.dir=m.onnx", {"m.onnx", ""}, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        program p = {0};
        program_run(&p, TOP_LINE "--out=refused %s", rows[i].options);
        const char *said = program_refusal(&p, rows[i].code);
        for (int k = 0; k < 2; k++)
            program_expect_text(&p, said, rows[i].said[k]);
        assert_false(is_there("refused") || is_there("refused.partial"));
        program_free(&p);
    }
}

/* Weights that are not the file's, the same for the same seed; a network that thaw new has written. */
static void from_scratch(void **state) {
    (void)state;
    program p = {0};
    bool whole = !program_is_sanitized(); /* Sanitized, it would take minutes to learn something. */
    program_expect_ok(
        &p, TRAIN_LINE "--freeze=none --init=random --top.epochs=%d --top.batch=24 --out=scratch",
        whole ? 30 : 1);
    program_expect_text(&p, p.err, "recipe joint, BN full");
    program_free(&p);
    program_expect_ok(&p, "eval scratch pics/train --cache.dir=cache --json");
    const char *top1 = strstr(p.out, "\"top1\":");
    assert_true(top1 && (!whole || strtod(top1 + 7, NULL) > 0.4)); /* Chance is an eighth. */
    program_free(&p);
    program_expect_ok(&p, "new --arch=resnet18 --size=32 --classes=2 -o new.onnx");
    program_free(&p);
    for (int i = 0; i < 3 && whole; i++) {
        program_expect_ok(
            &p,
            "train --data.train=pics --model=new.onnx --cache.dir=cache --freeze=none "
            "--init=random --top.epochs=1 --out=new%d --seed=%d",
            i, 5 + i / 2);
        program_free(&p);
    }
    if (!whole) return;
    expect_equal_files("new0/model.onnx", "new1/model.onnx");
    size_t n;
    uint8_t *a = test_read("new0/model.onnx", &n), *b = test_read("new2/model.onnx", &n);
    assert_memory_not_equal(a, b, n);
    free(a);
    free(b);
}

static void what_it_takes_is_told(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, "inspect m.onnx --train");
    program_expect_text(&p, p.out, "Training above a stage's cut");
    program_expect_text(&p, p.out, "    0  none           0.222");
    program_expect_text(&p, p.out, "stage2");
    program_free(&p);
    program_expect_ok(&p, TOP_LINE "--out=exported");
    program_free(&p);
    program_run(&p, "export exported");
    program_expect_text(&p, program_refusal(&p, 2), "safetensors");
    program_free(&p);
    program_run(&p, "export pics --safetensors=x");
    program_expect_text(&p, program_refusal(&p, 1), "pics/model.onnx");
    program_free(&p);
    program_expect_ok(&p, "export exported --safetensors=x");
    program_expect_text(&p, p.out, "tensors that were trained");
    program_free(&p);
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(TRAIN, TEST);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recipe_trains),
        cmocka_unit_test(threads_and_freeze_depths),
        cmocka_unit_test(a_resumed_run_ends_bit_equal),
        cmocka_unit_test(a_stopped_run_leaves_its_best),
        cmocka_unit_test(a_checkpoint_fits_its_own_run),
        cmocka_unit_test(what_cannot_be_trained_is_refused),
        cmocka_unit_test(from_scratch),
        cmocka_unit_test(what_it_takes_is_told),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
