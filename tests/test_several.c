/* Pictures with several classes, or none: what a list says of them, who is held out, that the head and the layers
 * above a cut learn them to the same bits again, what is told of them, and a sentence for all that knows one
 * class alone. */
#include "dataset_testing.h"
#include "serve/answer.h"

static thaw_status open_list(const char *text, const char *key, const char *value) {
    tempdir_file(&place, "x.csv", text);
    return open_dataset("x.csv", key, value);
}

static void expect_said(const char *said) {
    if (!strstr(err.text, said)) fail_msg("expected \"%s\" in\n%s", said, err.text);
}

/* "name class,class split" of picture i. */
static void expect_picture(size_t i, const char *picture) {
    char text[256] = "";
    assert_in_range(i, 0, dataset.n - 1);
    snprintf(text, sizeof text, "%s ", dataset.name[i]);
    for (size_t k = 0; k < dataset.n_classes; k++)
        if (thaw_label_has(dataset.sets, dataset.label[i], (int64_t)k))
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s,", dataset.class_name[k]);
    snprintf(text + strlen(text), sizeof text - strlen(text), " %s",
             thaw_split_name(dataset.split[i]));
    assert_string_equal(text, picture);
}

/* ---- the list ------------------------------------------------------------------------------- */

static void sets_of_classes(void **state) {
    (void)state;
    assert_int_equal(open_list("path,label,split\n1,b|a10,\n2,a2,\n3,a10|b,\n4,,\n5,a2|b,val\n"
                               "6,b,test\n",
                               "seed", "1"),
                     THAW_OK);
    assert_int_equal(dataset.n_classes, 3);
    assert_string_equal(dataset.class_name[0], "a2");
    assert_string_equal(dataset.class_name[1], "a10");
    assert_int_equal(dataset.sets->n, 5);
    expect_picture(0, "4  train");
    expect_picture(1, "2 a2, train");
    expect_picture(2, "3 a10,b, train");
    expect_picture(3, "1 a10,b, train");
    assert_int_equal(dataset.label[2], dataset.label[3]); /* In either order. */
    expect_picture(4, "5 a2,b, validation");
    expect_picture(5, "6 b, test");
    /* One class each is no reason for sets, unless they are asked for. */
    assert_int_equal(open_list("path,label\n1,a\n2,b\n", "seed", "1"), THAW_OK);
    assert_null(dataset.sets);
    assert_int_equal(open_list("path,label\n1,a\n2,b\n", "head.loss", "sigmoid"), THAW_OK);
    expect_picture(1, "2 b, train");
    tempdir_file(&place, "f/ant/1.jpg", "");
    tempdir_file(&place, "f/bee/2.jpg", "");
    assert_int_equal(open_dataset("f", "head.loss", "sigmoid"), THAW_OK);
    expect_picture(1, "2.jpg bee, train");
    char path[PATH_MAX];
    thaw_dataset_path(&dataset, 1, path);
    assert_string_equal(path, "f/bee/2.jpg");
    /* Another sign makes names. */
    assert_int_equal(open_list("path,label\n1,a;b\n2,b\n", "seed", "1"), THAW_OK);
    assert_int_equal(dataset.n_classes, 2);
    assert_non_null(strstr(dataset.notes[0], "'a;b' is the name of one class"));
    /* As JSON has them. */
    tempdir_file(
        &place, "m.jsonl",
        "{\"source-ref\": \"1\", \"c\": [1, 0], \"c-metadata\": {\"class-map\": {\"0\": \"ant\", "
        "\"1\": "
        "\"bee\"}}}\n{\"source-ref\": \"2\", \"c\": [], \"c-metadata\": {\"class-map\": {}}}\n");
    assert_int_equal(open_dataset("m.jsonl", "data.validation", "0"), THAW_OK);
    expect_picture(0, "2  train");
    expect_picture(1, "1 ant,bee, train");
    tempdir_file(&place, "m.jsonl",
                 "{\"source-ref\": \"1\", \"c\": [3, 0]}\n{\"source-ref\": \"2\", \"c\": 3}\n");
    assert_int_equal(open_dataset("m.jsonl", "data.validation", "0"), THAW_OK);
    expect_picture(0, "2 3, train");
    expect_picture(1, "1 0,3, train");
}

/* A tenth is held out, no class of all its pictures, and no group in part. */
static void held_out(void **state) {
    (void)state;
    enum { N = 400 };
    static char csv[1 << 15];
    size_t left[4] = {0}, n_held_out = 0;
    bool of_group[N] = {0}, seen[N] = {0};
    strcpy(csv, "path,label,group\n");
    for (int i = 0; i < N; i++)
        snprintf(csv + strlen(csv), 64, "%d,a%s%s%s,g%d\n", i, i % 3 ? "|b" : "",
                 i % 100 == 7 ? "|c" : "", i == 11 ? "|d" : "", i / 2);
    assert_int_equal(open_list(csv, "seed", "1"), THAW_OK);
    assert_int_equal(dataset.n, N);
    for (size_t i = 0; i < N; i++) {
        int group = atoi(dataset.name[i]) / 2;
        bool is = dataset.split[i] == THAW_SPLIT_VALIDATION;
        if (seen[group]) assert_int_equal(of_group[group], is);
        of_group[group] = is;
        seen[group] = true;
        n_held_out += is;
        if (!is) thaw_dataset_tally(&dataset, dataset.label[i], 1, left);
    }
    assert_in_range(n_held_out, 20, 60);
    for (int k = 0; k < 4; k++)
        assert_true(left[k] > 0);
    /* Where chance would take all of a class, its pictures come back. */
    assert_int_equal(open_list(csv, "data.validation", "0.9"), THAW_OK);
    memset(left, 0, sizeof left);
    for (size_t i = 0; i < N; i++)
        if (dataset.split[i] == THAW_SPLIT_TRAIN)
            thaw_dataset_tally(&dataset, dataset.label[i], 1, left);
    for (int k = 0; k < 4; k++)
        assert_true(left[k] > 0);
}

static void bad_lists(void **state) {
    (void)state;
    static const struct {
        const char *text, *key, *value, *said;
    } lists[] = {
        {"path,label\n1,a||b\n2,b\n", "seed", "1", "'a||b' has an empty name"},
        {"path,label\n1,a|\n2,b\n", "seed", "1", "'a|' has an empty name"},
        {"path,label\n1,a|b|a\n2,b\n", "seed", "1", "'a|b|a' names 'a' twice"},
        {"path,label\n1,a\n2,\n3,b\n", "seed", "1", "row 3 of 'x.csv', '2', has no label"},
        {"path,label\n1,a|b\n2,b\n", "head.loss", "softmax",
         "such as 'a|b', and softmax tells one"},
        {"path,label\n1,a|b\n2,b\n", "data.fold", "1/2", "data.fold deals pictures by their class"},
        {"path,label,split\n1,a|b,\n2,b|c,val\n", "seed", "1", "no row of class 'c'"},
        {"path,label\n1,a\n2,a\n", "head.loss", "sigmoid", "only one class, 'a'"},
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        assert_true(open_list(lists[i].text, lists[i].key, lists[i].value) != THAW_OK);
        expect_said(lists[i].said);
    }
    tempdir_file(&place, "no.jsonl", "{\"source-ref\": \"1\", \"c\": []}\n");
    assert_int_equal(open_dataset("no.jsonl", "seed", "1"), THAW_ERR_DATA);
    expect_said("names no class of any picture");
    tempdir_file(&place, "bars/a|b/1.jpg", "");
    tempdir_file(&place, "bars/c/2.jpg", "");
    assert_int_equal(open_dataset("bars", "head.loss", "sigmoid"), THAW_ERR_DATA);
    expect_said("the folder 'a|b' of 'bars' has a |");
    assert_int_equal(open_dataset("bars", "seed", "1"), THAW_OK);
    tempdir_file(&place, "v.csv", "path,label\n3,a|z\n");
    assert_int_equal(open_list("path,label\n1,a|b\n2,b\n", "data.validation", "v.csv"),
                     THAW_ERR_DATA);
    expect_said("class 'z' of 'v.csv' is not one of the 2 classes");
    /* For eval they are left out. */
    static const char *const classes[] = {"a", "b"};
    thaw_dataset_spec spec = {.classes = classes, .n_classes = 2, .several = THAW_SEVERAL_YES};
    tempdir_file(&place, "v.csv", "path,label\n3,a|z\n4,b|a\n5,b\n");
    thaw_dataset_close(&dataset);
    assert_int_equal(thaw_dataset_find_splits("v.csv", &spec, &arena, &err), THAW_OK);
    assert_int_equal(thaw_dataset_open(&dataset, &spec, &err), THAW_OK);
    assert_int_equal(dataset.n, 2);
    assert_non_null(strstr(dataset.notes[0], "1 pictures in 'v.csv' are of classes"));
}

/* ---- an answer ------------------------------------------------------------------------------ */

static void what_a_server_says(void **state) {
    (void)state;
    static const char *const labels[] = {"a", "b", "c"};
    static const char *const no_problem[] = {NULL};
    static const float scores[] = {0.75f, 0.25f, 0.875f}, none[] = {0.25f, 0.5f, 0.125f};
    thaw_answered a = {.n = 1,
                       .problem = no_problem,
                       .scores = scores,
                       .labels = labels,
                       .n_labels = 3,
                       .sigmoid = true};
    const thaw_answer_form verbose = {.shape = THAW_ANSWER_VERBOSE};
    char *text;
    assert_int_equal(thaw_answer_write(verbose, &a, &text, &err), THAW_OK);
    assert_non_null(strstr(text, "\"predicted_labels\":[\"a\",\"c\"]"));
    assert_non_null(strstr(text, "\"predicted_label\":\"c\""));
    free(text);
    a.scores = none;
    assert_int_equal(thaw_answer_write(verbose, &a, &text, &err), THAW_OK);
    assert_non_null(strstr(text, "\"predicted_labels\":[]"));
    free(text);
    a.sigmoid = false;
    assert_int_equal(thaw_answer_write(verbose, &a, &text, &err), THAW_OK);
    assert_null(strstr(text, "predicted_labels"));
    free(text);
}

/* ---- the program ----------------------------------------------------------------------------- */

enum { CLASSES = 8, TRAIN = 6, TEST = 2 };

static const char *const drawn[CLASSES] = {"bellflower", "lily", "lupin",     "marguerite",
                                           "pansy",      "rose", "sunflower", "tulip"};

/* Six species, of which four are also early, every second also odd; two have no class of their own. */
static void list_drawn(void) {
    FILE *csv = fopen("several.csv", "w");
    fputs("path,label,split\n", csv);
    for (int s = 0; s < 2; s++)
        for (int k = 0; k < CLASSES; k++)
            for (int i = 0; i < (s ? TEST : TRAIN); i++) {
                const char *split = s ? "test" : "train";
                fprintf(csv, "pics/%s/%s/%s-%04d.jpg,%s%s%s%s,%s\n", split, drawn[k], drawn[k], i,
                        k < 6 ? drawn[k] : "", k < 4 ? "|early" : "", k % 2 && k < 6 ? "|" : "",
                        k % 2 ? "odd" : "", split);
            }
    fclose(csv);
}

static char *read_text(const char *path) {
    size_t n;
    char *text = (char *)test_read(path, &n);
    text[n] = '\0';
    return text;
}

static void expect_in_file(const char *path, const char *text) {
    char *all = read_text(path);
    if (!strstr(all, text)) fail_msg("expected \"%s\" in %s", text, path);
    free(all);
}

#define WITH "train --data.train=several.csv --model=m.onnx --cache.dir=cache "

/* What it has learnt: chance gives 0.3. */
static void expect_learnt(const char *said) {
    double map = 0;
    const char *at = strstr(said, "\nmAP ");
    assert_true(at && sscanf(at, " mAP %lf", &map) == 1);
    if (map < 0.7) fail_msg("mAP is %g", map);
}

static void trained_measured_and_told(void **state) {
    (void)state;
    program p = {0};
    list_drawn();
    program_expect_ok(&p, WITH "--out=r --metrics --threads=1");
    program_expect_text(&p, p.out, "validation_map=");
    program_expect_text(&p, p.out, "test_map=");
    expect_learnt(p.out);
    char *totals = strdup(strstr(p.out, "\nmAP "));
    *strchr(totals + 1, '\n') = '\0';
    program_free(&p);
    program_expect_ok(&p, WITH "--out=again --threads=2");
    program_free(&p);
    static const char *const same[] = {"model.onnx", "predictions.csv", "neighbours.csv"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char a[64], b[64];
        snprintf(a, sizeof a, "r/%s", same[i]);
        snprintf(b, sizeof b, "again/%s", same[i]);
        expect_equal_files(a, b);
    }
    expect_in_file("r/metrics.json", "\"f1_macro\":");
    expect_in_file("r/metrics.json", "\"average_precision\":");
    expect_in_file("r/bundle.json", "\"scores\": \"sigmoid\"");
    expect_in_file("r/epochs.jsonl", "\"validation_map\":");
    expect_in_file("r/report.html", "mAP, test");
    expect_in_file("r/predictions.csv",
                   "path,truth,answer,bellflower,early,lily,lupin,marguerite,odd,pansy,rose\r\n");
    expect_in_file("r/predictions.csv", ",early|lily|odd,");
    assert_false(is_there("r/suspects.csv"));
    /* Measured again it is the same, and the list of single classes has its own. */
    program_expect_ok(&p, "eval r several.csv --cache.dir=cache");
    program_expect_text(&p, p.out, totals);
    program_free(&p);
    free(totals);
    program_expect_ok(&p, "eval r several.csv --cache.dir=cache --json");
    program_expect_text(&p, p.out, "\"map\":");
    program_free(&p);
    /* What is above 0.5 of a picture, in three forms. */
    program_expect_ok(&p, "predict r pics/test/lily/lily-0000.jpg --csv=p.csv");
    program_expect_text(&p, p.out, "lily\t0.");
    program_expect_text(&p, p.out, "odd\t0.");
    program_expect_text(&p, p.out, "early\t0.");
    for (const char *at = p.out; (at = strstr(at, "\t0.")); at++)
        assert_true(atof(at + 1) > 0.5);
    program_free(&p);
    expect_in_file("p.csv", "lily-0000.jpg,");
    expect_in_file("p.csv", "|");
    program_expect_ok(&p, "predict r pics/test/lily/lily-0000.jpg --json --top=2");
    json_t *json = json_loads(p.out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(json, "predictions")), 2);
    json_decref(json);
    program_free(&p);
}

static void above_a_cut_and_with_views(void **state) {
    (void)state;
    program p = {0};
#define ABOVE WITH "--freeze=stage3 --top.epochs=2 --top.mixup=0.3 --head.class_weights=balanced "
    program_expect_ok(&p, ABOVE "--out=t1 --threads=1");
    expect_learnt(p.out);
    program_free(&p);
    program_expect_ok(&p, ABOVE "--out=t2 --threads=2");
    program_free(&p);
    expect_equal_files("t1/model.onnx", "t2/model.onnx");
    expect_in_file("t1/epochs.jsonl", "\"validation_map\":");
    expect_in_file("t1/head_epochs.jsonl", "\"validation_map\":");
    program_expect_ok(&p, "eval t1 several.csv --cache.dir=cache");
    expect_learnt(p.out);
    program_free(&p);
    program_expect_ok(&p, WITH "--out=v --views=2 --head.kind=hidden --head.label_smoothing=0.1");
    expect_learnt(p.out);
    program_free(&p);
    /* Folders have one class each, which sigmoids learn, too; and the run can be trained on. */
    program_expect_ok(&p,
                      "train --data.train=pics --model=t1 --head.loss=sigmoid --out=one "
                      "--cache.dir=cache");
    expect_learnt(p.out);
    program_free(&p);
    program_expect_ok(&p, "eval one pics --cache.dir=cache");
    program_free(&p);
}

static void what_knows_one_class_alone(void **state) {
    (void)state;
    static const struct {
        const char *line, *said;
    } refused[] = {
        {WITH "--out=no --head.solver=lbfgs", "L-BFGS solves a head of softmax"},
        {WITH "--out=no --head.keep_old", "head.keep_old counts each old answer"},
        {WITH "--out=no --reject.rate=0.05", "reject.rate has no part"},
        {WITH "--out=no --head.temperature=2", "head.temperature has no part"},
        {WITH "--out=no --head.loss=softmax", "that takes a training with head.loss = sigmoid"},
        {WITH "--out=no --freeze=stage3 --top.sampling=balanced", "top.sampling = balanced draws"},
        {"sweep --data.train=several.csv --model=m.onnx --out=no --cache.dir=cache "
         "--head.lr=0.1,0.2",
         "a sweep trains heads of softmax"},
        {"bench freeze --data.train=several.csv --model=m.onnx --out=no --cache.dir=cache "
         "--bench.cuts=last,stage3",
         "bench freeze compares top-1"},
        {"eval soft several.csv --cache.dir=cache", "softmax tells one class of each"},
    };
    program p = {0};
    program_expect_ok(&p, "train --data.train=pics --model=m.onnx --out=soft --cache.dir=cache");
    program_free(&p);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        program_run(&p, "%s", refused[i].line);
        assert_true(p.code == 1 || p.code == 2);
        program_expect_text(&p, program_refusal(&p, p.code), refused[i].said);
        program_free(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(sets_of_classes, teardown),
        cmocka_unit_test_teardown(held_out, teardown),
        cmocka_unit_test_teardown(bad_lists, teardown),
        cmocka_unit_test(what_a_server_says),
        cmocka_unit_test(trained_measured_and_told),
        cmocka_unit_test(above_a_cut_and_with_views),
        cmocka_unit_test(what_knows_one_class_alone),
    };
    place = program_place(TRAIN, TEST);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    program_leave(&place);
    return failed;
}
