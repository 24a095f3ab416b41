/* Saying unknown, as a user meets it: six drawn species are trained, two are not. That the table, the metrics, eval,
 * predict, the tar and the server say the same of the same pictures; that two runs are bit-equal, with one
 * thread or two; what happens where nothing validates; bundles that are older, or damaged.
 *
 * The tests run in the order of the list at the end and share the run called `run`. */
#include <math.h>

#include "http.h"
#include "program.h"

enum { CLASSES = 8, KNOWN = 6, TRAIN = 20, TEST = 5, MOST = 256 };

static tempdir place;

#define TRAIN_LINE "train --data.train=some --model=m.onnx --cache.dir=cache --epochs=8 "

/* some/train has the first six classes, some/test all of them. */
static int make_place(void **state) {
    place = program_place(TRAIN, TEST);
    *state = &place;
    tempdir_folder(&place, "some/train");
    tempdir_check(symlink("../pics/test", "some/test") == 0, "some/test");
    struct dirent **entries;
    int n = scandir("pics/train", &entries, NULL, alphasort), taken = 0;
    for (int i = 0; i < n; i++) {
        char to[PATH_MAX], from[PATH_MAX];
        snprintf(to, sizeof to, "some/train/%s", entries[i]->d_name);
        snprintf(from, sizeof from, "../../pics/train/%s", entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && taken++ < KNOWN) tempdir_check(!symlink(from, to), to);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(taken, CLASSES);
    return 0;
}

/* ---- the table -------------------------------------------------------------------------------- */

typedef struct row {
    char path[PATH_MAX / 4], truth[64], answer[64];
    float score, distance;
    bool known, rejected;
} row;

/* Reads path,truth,answer,score,margin,distance,rejected; known: the class is trained. */
static size_t read_table(const char *path, row rows[MOST]) {
    char line[1024];
    size_t n = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    assert_string_equal(line, "path,truth,answer,score,margin,distance,rejected\r\n");
    for (; fgets(line, sizeof line, file); n++) {
        char *part[7], *rest = line, folder[128];
        for (int i = 0; i < 7; i++)
            part[i] = strsep(&rest, ",");
        assert_true(n < MOST && part[6] && !rest);
        row *r = &rows[n];
        snprintf(r->path, sizeof r->path, "%s", part[0]);
        snprintf(r->truth, sizeof r->truth, "%s", part[1]);
        snprintf(r->answer, sizeof r->answer, "%s", part[2]);
        r->score = strtof(part[3], NULL);
        r->distance = strtof(part[5], NULL);
        r->rejected = strcmp(part[6], "yes\r\n") == 0;
        assert_true(r->rejected || strcmp(part[6], "no\r\n") == 0);
        snprintf(folder, sizeof folder, "some/train/%s", r->truth);
        r->known = *r->truth && is_there(folder);
    }
    fclose(file);
    return n;
}

/* Pair by pair. */
static double plain_auroc(const row *rows, size_t n, bool by_score) {
    double above = 0, pairs = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            if (rows[i].known || !rows[j].known) continue;
            float unknown = by_score ? -rows[i].score : rows[i].distance;
            float known = by_score ? -rows[j].score : rows[j].distance;
            above += unknown > known ? 1 : unknown == known ? 0.5 : 0;
            pairs++;
        }
    return above / pairs;
}

/* How many of the known, or of the unknown ones are rejected. */
static int count_rejected(const row *rows, size_t n, bool known) {
    int rejected = 0;
    for (size_t i = 0; i < n; i++)
        rejected += rows[i].known == known && rows[i].rejected;
    return rejected;
}

static void a_test_of_other_classes_is_measured(void **state) {
    (void)state;
    program p = {0};
    row rows[MOST];
    program_expect_ok(&p, TRAIN_LINE "--out=run");
    program_expect_text(
        &p, p.err, "are of classes that the training did not know, and are measured as unknown:");
    program_expect_text(&p, p.out, "\ncalibration temperature ");
    program_expect_text(&p, p.out, "\nknown       rejected ");
    program_expect_text(&p, p.out, "\nunknown     rejected ");
    program_free(&p);
    size_t n = read_table("run/predictions.csv", rows);
    assert_int_equal(n, CLASSES * TEST);
    json_t *metrics = load("run/metrics.json"), *bundle = load("run/bundle.json");
    double threshold = number_at(bundle, "reject.threshold");
    for (size_t i = 0; i < n; i++)
        if (fabs(rows[i].distance - threshold) > 1e-6)
            assert_true(rows[i].rejected == (rows[i].distance > threshold));
    assert_true(number_at(metrics, "known.n") == KNOWN * TEST);
    assert_true(number_at(metrics, "unknown.n") == (CLASSES - KNOWN) * TEST);
    assert_true(number_at(metrics, "known.rejected") == count_rejected(rows, n, true));
    assert_true(number_at(metrics, "unknown.rejected") == count_rejected(rows, n, false));
    double auroc = number_at(metrics, "unknown.auroc");
    assert_true(fabs(auroc - plain_auroc(rows, n, false)) < 0.01); /* Of six digits. */
    assert_true(auroc > 0.6 && count_rejected(rows, n, false) > 0);
    assert_true(number_at(metrics, "reject.rate") == 0.05);
    assert_true(number_at(metrics, "n") == KNOWN * TEST); /* The others are in no other figure. */
    int right = 0, kept = 0;
    for (size_t i = 0; i < n; i++) {
        kept += rows[i].known && !rows[i].rejected;
        right += rows[i].known && !rows[i].rejected && !strcmp(rows[i].truth, rows[i].answer);
    }
    assert_true(fabs(number_at(metrics, "known.top1_kept") - (double)right / kept) < 1e-9);
    double T = number_at(bundle, "temperature");
    assert_true(T != 1 && fabs(number_at(metrics, "temperature") - T) < 1e-6 * T);
    assert_true(number_at(metrics, "ece_uncalibrated") != number_at(metrics, "ece"));
    json_decref(metrics);
    json_decref(bundle);
    char *page = (char *)test_read("run/report.html", &n);
    page[n] = '\0';
    assert_non_null(strstr(page, "<h2>What it does not know</h2>"));
    assert_non_null(strstr(page, "Share of pictures by distance"));
    assert_non_null(strstr(page, "without the temperature"));
    free(page);
}

static void eval_says_the_same(void **state) {
    (void)state;
    program p = {0};
    static row trained[MOST], evaluated[MOST];
    program_expect_ok(&p, "eval run pics/test --cache.dir=cache --json --csv=eval.csv");
    json_t *said = json_loads(p.out, 0, NULL);
    assert_non_null(said);
    static const char *const fields[] = {"known.n",
                                         "known.rejected",
                                         "known.top1_kept",
                                         "unknown.n",
                                         "unknown.rejected",
                                         "unknown.auroc",
                                         "top1",
                                         "n"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        assert_true(fabs(number_at(said, fields[i]) - number_in("run/metrics.json", fields[i])) <
                    1e-8);
    json_decref(said);
    program_free(&p);
    size_t n = read_table("run/predictions.csv", trained);
    assert_int_equal(read_table("eval.csv", evaluated), n);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(trained[i].answer, evaluated[i].answer);
        assert_true(trained[i].rejected == evaluated[i].rejected);
        assert_true(fabsf(trained[i].distance - evaluated[i].distance) < 1e-4F);
    }
    program_expect_ok(&p, "eval run pics/test --cache.dir=cache");
    program_expect_text(&p, p.out, "\nunknown     rejected ");
    program_free(&p);
    /* A list of the same pictures. */
    FILE *list = fopen("list.csv", "w");
    fputs("path,label\n", list);
    for (size_t i = 0; i < n; i++)
        fprintf(list, "%s,%s\n", strstr(trained[i].path, "test/"), trained[i].truth);
    fclose(list);
    program_expect_ok(&p, "eval run list.csv --data.root=pics --cache.dir=cache --json");
    said = json_loads(p.out, 0, NULL);
    assert_true(fabs(number_at(said, "unknown.auroc") -
                     number_in("run/metrics.json", "unknown.auroc")) < 1e-8);
    json_decref(said);
    program_free(&p);
}

/* ---- predict and serve ------------------------------------------------------------------------ */

static void predict_does_not_guess(void **state) {
    (void)state;
    program p = {0};
    static row rows[MOST];
    size_t n = read_table("run/predictions.csv", rows);
    char text[2 * PATH_MAX], path[PATH_MAX];
    program_expect_ok(&p, "export run --tar model.tar.gz");
    program_expect_text(&p, p.out, "and what it knows");
    program_free(&p);
    tempdir_folder(&place, "unpacked");
    tempdir_check(system("tar -xzf model.tar.gz -C unpacked") == 0, "tar");
    program lines = {0}, json = {0};
    program_expect_ok(&lines, "predict run some/test --csv=predict.csv");
    program_expect_ok(&json, "predict unpacked some/test --json");
    size_t length;
    char *csv = (char *)test_read("predict.csv", &length);
    csv[length] = '\0';
    assert_true(!strncmp(csv, "path,answer,score,margin,problem,distance\r\n", 43));
    for (size_t i = 0; i < n; i++) {
        const char *name = strstr(rows[i].path, "test/");
        snprintf(path, sizeof path, "some/%s", name);
        const char *line = strstr(lines.out, path), *object = strstr(json.out, path),
                   *cells = strstr(csv, path);
        assert_true(line && object && cells);
        snprintf(text, sizeof text, "%s\tunknown\t", path);
        assert_true(!strncmp(line, text, strlen(text)) == rows[i].rejected);
        snprintf(text, sizeof text, "%s,unknown,,,,", path);
        assert_true(!strncmp(cells, text, strlen(text)) == rows[i].rejected);
        snprintf(text, sizeof text, "%.*s", (int)strcspn(object, "\n"), object);
        assert_true((strstr(text, "\"unknown\":true,\"distance\":") != NULL) == rows[i].rejected);
        assert_true((strstr(text, "\"unknown\":false,\"distance\":") != NULL) == !rows[i].rejected);
        assert_true((strstr(text, "\"predictions\":[]") != NULL) == rows[i].rejected);
    }
    free(csv);
    program_free(&lines);
    program_free(&json);
}

static void the_server_says_so(void **state) {
    (void)state;
    program p = {0};
    static row rows[MOST];
    size_t n = read_table("run/predictions.csv", rows), size;
    program_start(&p, "serve unpacked --serve.port=0 --device=cpu");
    int port = http_port(&p);
    http_await_ready(&p, port);
    for (size_t i = 0; i < n; i++) {
        uint8_t *bytes = test_read(rows[i].path, &size);
        const char *verbose = rows[i].rejected ? "\"predicted_label\":\"unknown\",\"distance\":"
                                               : "\"unknown\":false";
        http_reply r = http_ask(port, "POST /invocations", "Accept: application/json;verbose\r\n",
                                bytes, size);
        http_expect(&r, 200, verbose, rows[i].path);
        r = http_ask(port, "POST /invocations", "Accept: application/json\r\n", bytes, size);
        http_expect(&r, 200, rows[i].rejected ? "],\"unknown\":true}" : "],\"unknown\":false}",
                    rows[i].path);
        free(bytes);
    }
    kill(p.pid, SIGTERM);
    program_wait(&p);
    assert_int_equal(p.code, 0);
    program_expect_text(&p, p.err, "says unknown");
    program_free(&p);
}

/* ---- training it ------------------------------------------------------------------------------ */

static void two_runs_are_equal(void **state) {
    (void)state;
    program p = {0};
    static const char *const same[] = {"model.onnx", "known.bin", "predictions.csv"};
    for (int threads = 1; threads <= 2; threads++) {
        program_expect_ok(&p, TRAIN_LINE "--out=again --threads=%d", threads);
        program_free(&p);
        for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
            char a[64], b[64];
            snprintf(a, sizeof a, "run/%s", same[i]);
            snprintf(b, sizeof b, "again/%s", same[i]);
            expect_equal_files(a, b);
        }
        json_t *one = load("run/bundle.json"), *two = load("again/bundle.json");
        assert_true(json_equal(json_object_get(one, "reject"), json_object_get(two, "reject")));
        assert_true(number_at(one, "temperature") == number_at(two, "temperature"));
        json_decref(one);
        json_decref(two);
    }
}

/* The rate is what was asked for, above the head as well, whose rows are not the cache's. */
static void layers_above_a_cut_are_told_by_what_they_make(void **state) {
    (void)state;
    program p = {0};
    static row rows[MOST];
    program_expect_ok(&p, TRAIN_LINE
                      "--out=top --freeze=stage3 --top.epochs=2 --reject.rate=0.25 "
                      "--data.unknown=pics/test --data.test=pics/test");
    program_free(&p);
    size_t n = read_table("top/predictions.csv", rows);
    assert_int_equal(n, 2 * CLASSES * TEST);
    program_expect_ok(&p, "eval top pics/test --cache.dir=cache --json --csv=top.csv");
    program_free(&p);
    static row evaluated[MOST];
    size_t n_evaluated = read_table("top.csv", evaluated);
    assert_int_equal(n_evaluated, CLASSES * TEST);
    for (size_t i = 0; i < n_evaluated; i++)
        assert_true(fabsf(rows[i].distance - evaluated[i].distance) < 1e-3F);
    json_t *metrics = load("top/metrics.json");
    assert_true(number_at(metrics, "reject.validation") == number_at(metrics, "images.validation"));
    assert_true(number_at(metrics, "reject.rate") == 0.25);
    json_decref(metrics);
}

static void where_nothing_validates(void **state) {
    (void)state;
    program p = {0};
    program_run(&p, TRAIN_LINE "--out=none --data.validation=0 --reject.rate=0.1");
    program_expect_text(&p, program_refusal(&p, 2), "reject.rate = 0.1: nothing validates");
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=none --data.validation=0");
    program_expect_text(&p, p.err,
                        "nothing validates: the run will not say unknown of any picture");
    program_expect_text(&p, p.err, "nothing validates: the scores are not calibrated");
    program_expect_text(&p, p.out,
                        "\nunknown     nothing is rejected of 10 of other classes; AUROC ");
    program_free(&p);
    json_t *metrics = load("none/metrics.json"), *bundle = load("none/bundle.json");
    assert_true(number_at(metrics, "temperature") == 1);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(metrics, "unknown"), "by")), "score");
    assert_null(json_object_get(bundle, "reject"));
    assert_null(json_object_get(metrics, "ece_uncalibrated"));
    json_decref(metrics);
    json_decref(bundle);
    assert_false(is_there("none/known.bin"));
    /* Of three pictures one is none; a class may be called so; a few that validate tell no low rate. */
    tempdir_folder(&place, "others/deep");
    write_bytes("others/bad.jpg", "nonsense", 8);
    copy_file("pics/test/rose/rose-0000.jpg", "others/a.jpg");
    copy_file("pics/test/rose/rose-0001.jpg", "others/deep/b.jpg");
    tempdir_folder(&place, "two");
    tempdir_check(!symlink("../pics/train/rose", "two/rose"), "two/rose");
    tempdir_check(!symlink("../pics/train/tulip", "two/unknown"), "two/unknown");
    program_expect_ok(
        &p,
        "train --data.train=two --model=m.onnx --cache.dir=cache --epochs=2 --out=two_run "
        "--data.unknown=others");
    program_expect_text(&p, p.err, "a class is called unknown");
    program_expect_text(&p, p.err, "others/bad.jpg: ");
    program_expect_text(&p, p.err, "tell no rate below");
    program_expect_text(&p, p.out, ", of the same pictures\n");
    program_free(&p);
    assert_true(number_in("two_run/metrics.json", "unknown.n") == 2);
    assert_true(number_in("two_run/metrics.json", "unknown.n_without_scores") == 1);
    program_run(&p, TRAIN_LINE "--out=none --data.unknown=nowhere");
    program_expect_text(&p, program_refusal(&p, 1), "data.unknown = nowhere: ");
    program_free(&p);
    program_run(&p, TRAIN_LINE "--out=none --data.unknown=m.onnx");
    program_expect_text(&p, program_refusal(&p, 2), "data.unknown = m.onnx is no folder");
    program_free(&p);
}

/* A given temperature divides what a run without one puts out, and changes no answer. */
static void a_given_temperature(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=plain --head.temperature=1 --reject.rate=0");
    assert_null(strstr(p.out, "calibration temperature"));
    program_free(&p);
    assert_false(is_there("plain/known.bin"));
    program_expect_ok(&p, TRAIN_LINE "--out=warm --head.temperature=2 --reject.rate=0");
    program_expect_text(&p, p.out, "calibration temperature 2.000; calibration error ");
    program_free(&p);
    assert_true(number_in("plain/metrics.json", "top1") == number_in("warm/metrics.json", "top1"));
    assert_true(fabs(number_in("plain/metrics.json", "ece") -
                     number_in("warm/metrics.json", "ece_uncalibrated")) < 1e-6);
    program one = {0}, two = {0};
    program_expect_ok(&one, "predict plain pics/test/rose/rose-0000.jpg --json --top=6");
    program_expect_ok(&two, "predict warm pics/test/rose/rose-0000.jpg --json --top=6");
    json_t *a = json_loads(one.out, 0, NULL), *b = json_loads(two.out, 0, NULL);
    const json_t *of_a = json_object_get(a, "predictions"),
                 *of_b = json_object_get(b, "predictions");
    assert_null(json_object_get(a, "unknown"));
    double sum = 0;
    for (size_t k = 0; k < KNOWN; k++)
        sum += sqrt(number_at(json_array_get(of_a, k), "score"));
    for (size_t k = 0; k < KNOWN; k++) {
        double expected = sqrt(number_at(json_array_get(of_a, k), "score")) / sum;
        assert_true(fabs(number_at(json_array_get(of_b, k), "score") - expected) < 1e-5);
    }
    json_decref(a);
    json_decref(b);
    program_free(&one);
    program_free(&two);
}

/* ---- bundles ---------------------------------------------------------------------------------- */

/* Copies run to `odd` with one field of "reject" changed; value NULL: removed. */
static void change_field(const char *field, json_t *value) {
    json_t *bundle = load("run/bundle.json"), *reject = json_object_get(bundle, "reject");
    if (value)
        json_object_set_new(reject, field, value);
    else
        json_object_del(reject, field);
    assert_int_equal(json_dump_file(bundle, "odd/bundle.json", 0), 0);
    json_decref(bundle);
}

static void expect_odd(const char *said) {
    program p = {0};
    program_run(&p, "predict odd pics/test/rose/rose-0000.jpg");
    program_expect_text(&p, program_refusal(&p, 1), said);
    program_free(&p);
}

static bool has_neighbours(void) {
    json_t *bundle = load("run/bundle.json");
    bool has = json_object_get(json_object_get(bundle, "reject"), "neighbours");
    json_decref(bundle);
    return has;
}

static void damage_is_seen(void **state) {
    (void)state;
    tempdir_check(system("rm -rf odd && cp -r run odd") == 0, "cp");
    static const char *const numbers[] = {"neighbours", "rows", "features", "threshold"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (i == 0 && !has_neighbours()) continue;
        change_field(numbers[i], NULL);
        expect_odd("\"reject\" is damaged");
        if (i == 3) continue;
        change_field(numbers[i], json_integer(-1));
        expect_odd("\"reject\" is damaged");
        change_field(numbers[i], json_integer(INT64_MAX));
        expect_odd("\"reject\" is damaged");
    }
    change_field("method", json_string("guess"));
    expect_odd("\"reject\" is damaged");
    change_field("features", json_integer(7));
    expect_odd("told by 7 features");
    change_field("rows", json_integer(3));
    expect_odd("known.bin");
    change_field("hash", json_string("0"));
    expect_odd("known.bin is not the file that its bundle.json was written for");
    copy_file("run/bundle.json", "odd/bundle.json");
    size_t n;
    uint8_t *bytes = test_read("run/known.bin", &n);
    bytes[n / 2] ^= 1;
    write_bytes("odd/known.bin", bytes, n);
    expect_odd("known.bin is not the file that its bundle.json was written for");
    bytes[n / 2] ^= 1;
    write_bytes("odd/known.bin", bytes, n - 2);
    expect_odd("known.bin is not the file that its bundle.json was written for");
    free(bytes);
    assert_int_equal(unlink("odd/known.bin"), 0);
    expect_odd("known.bin");
    program p = {0};
    program_run(&p, "export odd --tar odd.tar.gz");
    program_expect_text(&p, program_refusal(&p, 1), "known.bin");
    program_free(&p);
}

static void older_bundles_always_answer(void **state) {
    (void)state;
    program p = {0};
    json_t *bundle = load("run/bundle.json");
    json_object_del(bundle, "reject");
    json_object_del(bundle, "temperature");
    assert_int_equal(json_dump_file(bundle, "odd/bundle.json", 0), 0);
    json_decref(bundle);
    program_expect_ok(&p, "predict odd pics/test");
    assert_null(strstr(p.out, "\tunknown\t"));
    program_free(&p);
    program_expect_ok(&p, "export odd --tar odd.tar.gz");
    program_free(&p);
    program_expect_ok(&p, "eval odd pics/test --cache.dir=cache --json");
    json_t *said = json_loads(p.out, 0, NULL);
    static row rows[MOST];
    size_t n = read_table("run/predictions.csv", rows);
    assert_true(fabs(number_at(said, "unknown.auroc") - plain_auroc(rows, n, true)) < 0.01);
    assert_null(json_object_get(said, "known"));
    json_decref(said);
    program_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_test_of_other_classes_is_measured),
        cmocka_unit_test(eval_says_the_same),
        cmocka_unit_test(predict_does_not_guess),
        cmocka_unit_test(the_server_says_so),
        cmocka_unit_test(two_runs_are_equal),
        cmocka_unit_test(layers_above_a_cut_are_told_by_what_they_make),
        cmocka_unit_test(where_nothing_validates),
        cmocka_unit_test(a_given_temperature),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(older_bundles_always_answer),
    };
    return cmocka_run_group_tests(tests, make_place, program_close);
}
