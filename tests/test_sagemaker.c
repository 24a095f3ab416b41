/* The program as a SageMaker training job, against the same files and signals: what it takes for one, what
 * it reads, where it leaves its files, what the failure file says, and how it ends when it is stopped.
 */
#include "sagemaker/disks.h"
#include "sagemaker_testing.h"

static tempdir place;

static void expect_finished(const program *p) {
    static const char *const files[] = {"model/model.onnx", "model/bundle.json",
                                        "output/data/metrics.json", "output/data/report.html",
                                        "output/data/predictions.csv"};
    if (p->code != 0) fail_msg("thaw %s: exit code %d, %s", p->line, p->code, sm_failure());
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!is_there(sm_path(files[i]))) fail_msg("%s is missing\n%s", files[i], p->err);
    assert_false(is_there(sm_path("output/failure")));
    assert_false(is_there(sm_path("thaw.work/run")) ||
                 is_there(sm_path("output/data/bundle.json")));
}

/* Names, sizes and times of a tree, as a number. */
static uint64_t tree_state;
static int add_state(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)kind, (void)walk;
    for (const char *c = path; *c; c++)
        tree_state = tree_state * 31 + (uint64_t)*c;
    tree_state = tree_state * 31 + (uint64_t)info->st_size;
    tree_state = tree_state * 31 + (uint64_t)info->st_mtim.tv_nsec + (uint64_t)info->st_mtim.tv_sec;
    return 0;
}
static uint64_t state_of(const char *path) {
    tree_state = 0;
    nftw(path, add_state, 16, FTW_PHYS);
    return tree_state;
}

/* As a job for the built-in algorithm comes, with the image swapped. */
static void a_job_for_the_built_in_algorithm(void **state) {
    (void)state;
    sm_lay_out(
        "builtin",
        "{\"num_classes\":\"8\",\"num_training_samples\":\"50\",\"use_pretrained_model\":\"1\","
        "\"num_layers\":\"18\",\"image_shape\":\"3,96,96\",\"epochs\":\"4\","
        "\"mini_batch_size\":\" 16 \",\"learning_rate\":\"0.01\",\"optimizer\":\"\\\"nag\\\"\","
        "\"early_stopping\":\"True\",\"early_stopping_patience\":\"9\",\"momentum\":0.8,"
        "\"data.max_bad\":\"[3]\",\"head.keep_old\":\"true\",\"reject.rate\":\"0.2\",\"sagemaker_"
        "region\":\"x\","
        "\"_tuning_objective_metric\":\"validation:accuracy\",\"sagemaker_program\":\"\"}");
    sm_config("resourceConfig.json",
              "{\"current_host\":\"algo-1-xxsq9\",\"hosts\":[\"algo-1-xxsq9\"],"
              "\"current_instance_type\":\"local\"}");
    uint64_t before = state_of(sm_path("input")), pictures = state_of("pics");
    program p = {0};
    program_run(&p, "train");
    expect_finished(&p);
    assert_true(is_there(sm_path("model/known.bin")));
    assert_false(is_there(sm_path("output/data/known.bin")));
    assert_true(state_of(sm_path("input")) == before && state_of("pics") == pictures);
    static const char *const said[] = {
        "host algo-1-xxsq9 (1 of 1), local",
        "disk: ",
        "head.batch             = 16               (hyperparameters.json)",
        "head.lr                = 0.01             (hyperparameters.json)",
        "head.patience          = 9                (hyperparameters.json)",
        "head.momentum          = 0.8              (hyperparameters.json)",
        "data.max_bad           = 3                (hyperparameters.json)",
        "metrics                = true             (SageMaker)",
        "warning: num_layers = 18: the network is the one",
        "warning: optimizer = nag: Thaw has no such optimizer",
        "data.pictures (num_training_samples) = 50, and there are",
    };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        program_expect_text(&p, p.err, said[i]);
    program_expect_text(&p, p.out, "\nepoch=4;");
    program_expect_text(&p, p.out, "\nkept: epoch=");
    program_expect_text(&p, p.out, "Epoch[4] Validation-accuracy=");
    assert_null(strstr(p.err, "region"));
    program_free(&p);
    /* What an endpoint gets is whole: it answers as the training says. */
    unsetenv("SAGEMAKER_BASE_DIR");
    program_expect_ok(&p, "eval %s pics/test --json --cache.dir=none", sm_path("model"));
    const char *top1 = strstr(p.out, "\"top1\":");
    assert_non_null(top1);
    assert_float_equal(strtod(top1 + 7, NULL),
                       number_in(sm_path("output/data/metrics.json"), "top1"), 1e-9);
    program_free(&p);
}

/* Nothing, the word, or flags, which win; an ini file means something else. A second job takes the place of
 * the first. */
static void ways_to_start(void **state) {
    (void)state;
    sm_lay_out("ways", "{\"epochs\":\"2\"}");
    static const struct {
        const char *line, *last;
    } rows[] = {{" ", "\nepoch=2;"},
                {"train", "\nepoch=2;"},
                {"--epochs=3", "\nepoch=3;"},
                {"train --epochs=3 --metrics=true", "\nepoch=3;"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        program p = {0};
        write_bytes(sm_path("output/failure"), "old", 3);
        program_run(&p, "%s", rows[i].line);
        expect_finished(&p);
        program_expect_text(&p, p.out, rows[i].last);
        program_free(&p);
    }
    program p = {0};
    program_run(&p, "train nothing.ini");
    program_expect_text(&p, program_refusal(&p, 1), "nothing.ini");
    assert_false(is_there(sm_path("output/failure")));
    program_free(&p);
    program_expect_ok(&p, "--version");
    program_free(&p);
    program_expect_ok(&p, "--help");
    program_free(&p);
}

/* Where layers below the head are trained, what other programs have for all of a training is theirs, too. */
static void more_than_the_head(void **state) {
    (void)state;
    program p = {0};
    sm_lay_out("more",
               "{\"train_only_top_layer\":\"False\",\"epochs\":\"2\",\"learning_rate\":\"0.002\","
               "\"batch_size\":\"16\",\"top.warmup\":\"0\"}");
    program_run(&p, "train");
    expect_finished(&p);
    static const char *const said[] = {
        "freeze                 = half             (hyperparameters.json)",
        "top.epochs             = 2                (hyperparameters.json)",
        "top.lr                 = 0.002            (hyperparameters.json)",
        "head.lr                = 0.002            (hyperparameters.json)",
        "top.batch              = 16               (hyperparameters.json)",
        "warning: train_only_top_layer = False: the more frozen half",
        "recipe lp_ft",
    };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        program_expect_text(&p, p.err, said[i]);
    program_expect_text(&p, p.out, "\nkept: epoch=2;");
    program_free(&p);
    double trained = number_in(sm_path("output/data/metrics.json"), "trained_parameters");
    assert_true(trained > 0.222e6 / 2 && trained < 0.222e6); /* Of all that the network has. */
}

static void the_disk_with_room(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_error err;
    const char *folder;
    char expected[256], temporary[128];
    const char *before = getenv("TMPDIR");
    snprintf(temporary, sizeof temporary, "%s", before ? before : "");
    /* Memory is no disk; of two on one disk the first. */
    static const char *const bases[] = {"/dev/shm", "."};
    setenv("TMPDIR", place.root, 1);
    for (int i = 0; i < 2; i++) {
        snprintf(expected, sizeof expected, "%s/thaw.work", i ? "." : place.root);
        assert_int_equal(thaw_disks_choose(bases[i], &arena, &folder, &err), THAW_OK);
        assert_string_equal(folder, expected);
    }
    *temporary ? setenv("TMPDIR", temporary, 1) : unsetenv("TMPDIR");
    thaw_arena_free(&arena);
}

/* ---- what is refused ------------------------------------------------------------------------ */

typedef struct refusal {
    const char *hyperparameters, *channels; /* NULL: good ones. */
    int code;
    const char *said[3];
} refusal;

static void expect_failure(const refusal *r) {
    program p = {0};
    if (r->channels) sm_config("inputdataconfig.json", r->channels);
    program_run(&p, "train");
    const char *sentence = program_refusal(&p, r->code), *failure = sm_failure();
    for (int i = 0; i < 3 && r->said[i]; i++)
        program_expect_text(&p, failure, r->said[i]);
    /* The same sentence on both ways, and nothing that looks like a model. */
    assert_true(!strncmp(sentence + 6, failure, strlen(failure)) && strlen(failure) <= 1024);
    assert_false(is_there(sm_path("model/bundle.json")));
    assert_string_equal(p.out, "");
    program_free(&p);
}

static void refusals_are_written_down(void **state) {
    (void)state;
    static const refusal rows[] = {
        {"{\"learning_rat\":\"1\"}",
         NULL,
         2,
         {"hyperparameters.json: unknown option 'learning_rat'"}},
        {"{\"head.lrr\":\"1\"}", NULL, 2, {"did you mean 'head.lr'"}},
        {"{\"momentum\":\"7\"}", NULL, 2, {"hyperparameters.json: head.momentum = '7': expected"}},
        {"{\"multi_label\":\"1\"}", NULL, 2, {"multi_label = '1' is refused"}},
        {"{\"predict.csv\":\"x\"}", NULL, 2, {"predict.csv does nothing in a training job"}},
        {"{\"out\":\"x\"}", NULL, 2, {"out cannot be set"}},
        {"{\"epochs\":\"{}\"}", NULL, 2, {"epochs is no text, number"}},
        {"{\"freeze\":\"last\",\"train_only_top_layer\":\"False\"}",
         NULL,
         2,
         {"contradicts freeze = last"}},
        {"{\"num_classes\":\"5\"}",
         NULL,
         1,
         {"(num_classes) = 5, and the pictures have 8 classes: "}},
        {"{", NULL, 1, {"hyperparameters.json"}},
        {"[]", NULL, 1, {"hyperparameters.json is no JSON object"}},
        {"{}", "{", 1, {"inputdataconfig.json"}},
        {"{}",
         "{\"validation\":{}}",
         1,
         {"channel validation was announced", "input/data/validation", "No such file"}},
        {"{}",
         "{\"test\":{},\"model\":{}}",
         2,
         {"no channel called train", "there is test, model"}},
        {"{}", "{}", 2, {"no channel called train", "there is none at all"}},
        {"{}", "{\"train\":{},\"empty\":{},\"training\":{}}", 2, {"two channels to train on"}},
        {"{}",
         "{\"train\":{\"TrainingInputMode\":\"Fast\"}}",
         1,
         {"input mode 'Fast'; expected File"}},
        {"{}", "{\"../x\":{}}", 1, {"is no channel"}},
        {"{}", "{\"train\":{}}", 2, {"no network to start from", "/nowhere"}},
        {"{\"model\":\"other\"}",
         NULL,
         2,
         {"model = other: there is no such file in the channel model"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sm_lay_out("refused", rows[i].hyperparameters);
        expect_failure(&rows[i]);
    }
    sm_lay_out("refused", "{}");
    mkdir("nothing", 0755);
    sm_channel("train", "nothing");
    expect_failure(&(refusal){NULL, NULL, 1, {"the channel train is empty", "input/data/train"}});
    sm_channel("train", "pics/train");
    sm_config("resourceconfig.json", "{\"current_host\":\"algo-3\",\"hosts\":[\"algo-1\"]}");
    expect_failure(&(refusal){NULL, NULL, 1, {"current_host algo-3 is not among the hosts"}});
}

/* Which network: by name from two in the channel, from the image, or the only one there. */
static void models_are_found(void **state) {
    (void)state;
    mkdir("two", 0755);
    copy_file("m.onnx", "two/a.onnx");
    copy_file("m.onnx", "two/b.onnx");
    sm_lay_out("models", "{\"epochs\":\"1\"}");
    sm_channel("model", "two");
    expect_failure(&(refusal){NULL, NULL, 2, {"the channel model has 2 models: a.onnx, b.onnx"}});
    static const char *const names[] = {"{\"epochs\":\"1\",\"model\":\"b\"}",
                                        "{\"epochs\":\"1\",\"model\":\"b.onnx\"}"};
    program p = {0};
    for (int i = 0; i < 2; i++) {
        sm_config("hyperparameters.json", names[i]);
        program_run(&p, "train");
        expect_finished(&p);
        program_expect_text(&p, p.err, "input/data/model/b.onnx (hyperparameters.json)");
        program_free(&p);
    }
    sm_lay_out("models", "{\"epochs\":\"1\"}");
    sm_config("inputdataconfig.json",
              "{\"training\":{},\"code\":{},\"sm_drivers\":{},\"other\":{}}");
    sm_channel("training", "pics/train");
    char folder[PATH_MAX], here[PATH_MAX / 2];
    snprintf(folder, sizeof folder, "%s/models", getcwd(here, sizeof here));
    setenv("THAW_MODELS", folder, 1);
    program_run(&p, "train");
    expect_finished(&p);
    program_expect_text(&p, p.err, "models/m.onnx");
    program_expect_text(&p, p.err, "warning: the channel other is not looked at");
    assert_null(strstr(p.err, "channel code"));
    program_free(&p);
}

/* ---- how it ends ---------------------------------------------------------------------------- */

/* Until there is a file in the tree, or the program has ended. */
static void await_file(const program *p, const char *name) {
    struct stat info;
    while (program_is_running(p) && (stat(name, &info) != 0 || info.st_size == 0))
        pause_ms(1);
}

static void expect_stopped(program *p) {
    kill(p->pid, SIGTERM);
    program_wait(p);
    if (p->code != 143) fail_msg("exit code %d\n%s", p->code, p->err);
    assert_false(is_there(sm_path("output/failure")));
}

static void a_stopped_job_leaves_its_best(void **state) {
    (void)state;
    static const struct {
        const char *hyperparameters;
        bool early; /* Stopped before anything is trained. */
    } rows[] = {
        {"{\"epochs\":\"100000\"}", true},
        {"{\"epochs\":\"100000\"}", false},
        {"{\"head.solver\":\"lbfgs\",\"weight_decay\":\"0.01\",\"top.epochs\":\"100000\","
         "\"train_only_top_layer\":\"False\"}",
         false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        program p = {0};
        char shard[PATH_MAX];
        sm_lay_out("stopped", rows[i].hyperparameters);
        program_start(&p, "train");
        if (rows[i].early)
            while (program_is_running(&p) && !find_shard(sm_path("thaw.work/cache"), shard))
                pause_ms(1);
        else
            program_await_output(&p);
        expect_stopped(&p);
        bool trained = strstr(p.out, "kept: epoch=");
        assert_true(rows[i].early || trained);
        assert_int_equal(is_there(sm_path("model/bundle.json")), trained);
        assert_int_equal(is_there(sm_path("output/data/metrics.json")), trained);
        program_free(&p);
        if (!trained) continue;
        json_t *metrics = load(sm_path("output/data/metrics.json"));
        assert_true(json_is_true(json_object_get(json_object_get(metrics, "epochs"), "stopped")));
        json_decref(metrics);
        unsetenv("SAGEMAKER_BASE_DIR");
        program_expect_ok(&p, "predict %s pics/test", sm_path("model"));
        program_free(&p);
    }
}

/* Killed or stopped anywhere, and started again as the platform does, with what is in checkpoints. */
static void a_spot_job_goes_on(void **state) {
    (void)state;
    static const char hyperparameters[] =
        "{\"head.solver\":\"lbfgs\",\"weight_decay\":\"0.01\",\"top.epochs\":\"24\",\"freeze\":"
        "\"stage2\","
        "\"checkpoint.minutes\":\"0\",\"top.batch\":\"8\"}";
    program p = {0};
    sm_lay_out("spot", hyperparameters);
    program_run(&p, "train");
    expect_finished(&p);
    program_free(&p);
    copy_file(sm_path("model/model.onnx"), "whole.onnx");
    copy_file(sm_path("output/data/predictions.csv"), "whole.csv");
    sm_lay_out("spot", hyperparameters);
    tempdir_check(mkdir(sm_path("checkpoints"), 0755) == 0, "checkpoints");
    for (int part = 0; part < 3; part++) {
        char shard[PATH_MAX];
        program_start(&p, "train");
        while (part == 0 && program_is_running(&p) &&
               !find_shard(sm_path("checkpoints/cache"), shard))
            pause_ms(1);
        if (part == 1) await_file(&p, sm_path("checkpoints/training/training~"));
        if (part == 2) program_await_output(&p); /* Epochs that were restored are told again. */
        kill(p.pid, part == 1 ? SIGTERM : SIGKILL);
        program_wait(&p);
        assert_int_equal(p.code, part == 1 ? 143 : PROGRAM_KILLED + SIGKILL);
        if (part > 0) program_expect_text(&p, p.err, "resume: ");
        program_free(&p);
        remove_tree(
            sm_path("thaw.work")); /* What is not in checkpoints is lost with the machine. */
    }
    program_run(&p, "train");
    expect_finished(&p);
    program_expect_text(&p, p.err, "resumed after step");
    program_free(&p);
    expect_equal_files("whole.onnx", "spot/model/model.onnx");
    expect_equal_files("whole.csv", "spot/output/data/predictions.csv");
    assert_false(is_there(sm_path("checkpoints/training")));
    assert_true(is_there(sm_path("checkpoints/cache")));
}

static void a_fault_is_written_down(void **state) {
    (void)state;
    static const struct {
        int signal;
        const char *name;
    } rows[] = {{SIGSEGV, "SIGSEGV"}, {SIGABRT, "SIGABRT"}, {SIGILL, "SIGILL"}, {SIGBUS, "SIGBUS"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        program p = {0};
        sm_lay_out("fault", "{\"epochs\":\"100000\"}");
        program_start(&p, "train");
        program_await_output(&p);
        kill(p.pid, rows[i].signal);
        program_wait(&p);
        assert_int_equal(p.code, PROGRAM_KILLED + rows[i].signal);
        program_expect_text(&p, sm_failure(), rows[i].name);
        program_expect_text(&p, sm_failure(), "a fault of the program");
        program_free(&p);
    }
}

static void a_full_disk_is_a_sentence(void **state) {
    (void)state;
    program p = {.most_bytes = 200000}; /* Enough for the features, and not for the model. */
    sm_lay_out("full", "{\"epochs\":\"1\"}");
    program_run(&p, "train");
    program_refusal(&p, 1);
    program_expect_text(&p, sm_failure(), "cannot write");
    assert_false(is_there(sm_path("model/bundle.json")));
    program_free(&p);
}

/* The folder of the model is often a disk of its own. */
static void the_model_may_be_on_another_disk(void **state) {
    (void)state;
    struct stat here, there;
    char other[] = "/dev/shm/thaw-test-XXXXXX";
    sm_lay_out("disks", "{\"epochs\":\"1\"}");
    if (!mkdtemp(other)) {
        fprintf(stderr, "skipped: no second disk at /dev/shm\n");
        skip();
    }
    tempdir_check(stat(sm_base, &here) == 0 && stat(other, &there) == 0, other);
    if (here.st_dev == there.st_dev) {
        rmdir(other);
        fprintf(stderr, "skipped: /dev/shm is on the disk of the tests\n");
        skip();
    }
    program p = {0};
    rmdir(sm_path("model"));
    tempdir_check(symlink(other, sm_path("model")) == 0, "model");
    for (int round = 0; round < 2; round++) { /* The second one finds the first one's files. */
        program_run(&p, "train");
        expect_finished(&p);
        program_free(&p);
    }
    unsetenv("SAGEMAKER_BASE_DIR");
    program_run(&p, "predict %s pics/test", other);
    remove_tree(other);
    assert_int_equal(p.code, 0);
    program_free(&p);
}

/* Of several hosts with the same pictures the first one trains, and alone has something to say. */
static void one_host_leads(void **state) {
    (void)state;
    program p = {0};
    sm_lay_out("host2", "{\"epochs\":\"1\"}");
    sm_config("resourceconfig.json",
              "{\"current_host\":\"algo-2\",\"hosts\":[\"algo-2\",\"algo-1\"]}");
    program_run(&p, "train");
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "");
    program_expect_text(&p, p.err, "host algo-2 has nothing to do: algo-1");
    assert_false(is_there(sm_path("model/bundle.json")) || is_there(sm_path("output/failure")));
    program_free(&p);
    sm_config("resourceconfig.json",
              "{\"current_host\":\"algo-1\",\"hosts\":[\"algo-2\",\"algo-1\"]}");
    program_run(&p, "train");
    expect_finished(&p);
    program_free(&p);
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(SM_TRAIN, SM_TEST);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_for_the_built_in_algorithm),
        cmocka_unit_test(ways_to_start),
        cmocka_unit_test(more_than_the_head),
        cmocka_unit_test(the_disk_with_room),
        cmocka_unit_test(refusals_are_written_down),
        cmocka_unit_test(models_are_found),
        cmocka_unit_test(a_stopped_job_leaves_its_best),
        cmocka_unit_test(a_spot_job_goes_on),
        cmocka_unit_test(a_fault_is_written_down),
        cmocka_unit_test(a_full_disk_is_a_sentence),
        cmocka_unit_test(the_model_may_be_on_another_disk),
        cmocka_unit_test(one_host_leads),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
