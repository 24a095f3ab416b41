/* What a run says of pictures, and where: predict, eval and the tables of both, the report's mistakes,
 * the lines of the log. That it can be parsed whatever things are called, that pictures whose scores
 * are not numbers are named, that twenty thousand classes train and open, and that memory does not
 * grow with the pictures.
 *
 * The tests run in the order of the list at the end and share run1, which the first one trains. */
#include "onnx/onnx_build.h"
#include "picture/image.h"
#include "program.h"
#include "report/results.h"

enum { CLASSES = 8, TRAIN = 7, TEST = 2, ALL = CLASSES * (TRAIN + TEST) };

static tempdir place;

#define TRAIN_LINE "train --data.train=pics --model=m.onnx --cache.dir=cache "

static int count_lines(const char *text) {
    int lines = 0;
    for (; (text = strchr(text, '\n')); text++)
        lines++;
    return lines;
}

static int count_of(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

/* No file in the working folder begins like this. */
static void expect_none_called(const char *start) {
    DIR *folder = opendir(".");
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder));)
        if (strncmp(entry->d_name, start, strlen(start)) == 0) fail_msg("%s", entry->d_name);
    closedir(folder);
}

/* ---- the log --------------------------------------------------------------------------------- */

/* How many lines begin with this. */
static int lines_with(const char *text, const char *start) {
    int n = strncmp(text, start, strlen(start)) == 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        n += strncmp(at + 1, start, strlen(start)) == 0;
    return n;
}

static void epochs_that_matter_are_shown(void **state) {
    (void)state;
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE "--out=run1 --epochs=12");
    program_expect_text(&p, p.err, "epoch   1/12");
    program_expect_text(&p, p.err, "epoch  12/12");
    program_expect_text(&p, p.err, "epoch 12 is kept: the last one");
    assert_int_equal(lines_with(p.err, "epoch "),
                     1 + 10 + 1); /* The first, ten tenths, the choice. */
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=run2 --epochs=1000");
    assert_int_equal(lines_with(p.err, "epoch "), 1 + 10 + 1);
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=run2 --epochs=1000 --log=debug");
    assert_true(count_lines(p.err) > 1000);
    program_free(&p);
    /* One that stops early ends with the last that was run, and says what is kept. */
    program_expect_ok(&p, TRAIN_LINE "--out=run2 --epochs=1000 --head.patience=3");
    int run = (int)number_in("run2/metrics.json", "epochs.run");
    int kept = (int)number_in("run2/metrics.json", "epochs.kept");
    char line[64];
    assert_int_equal(run, kept + 3);
    snprintf(line, sizeof line, "epoch %3d/1000", run);
    program_expect_text(&p, p.err, line);
    snprintf(line, sizeof line, "epoch %d is kept: its validation loss", kept);
    program_expect_text(&p, p.err, line);
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=run2 --epochs=3 --data.validation=0");
    program_expect_text(&p, p.err, "epoch 3 is kept: the last one, since nothing validates");
    program_free(&p);
}

/* The linear probe: penalties in the place of epochs, and nothing that it could not heed. */
static void a_solver_tries_penalties(void **state) {
    (void)state;
    program p = {0};
    size_t n;
    program_expect_ok(&p, TRAIN_LINE "--out=probe --head.solver=lbfgs");
    program_expect_text(&p, p.err, "penalty  1/45");
    program_expect_text(&p, p.err, "is kept: its validation loss");
    assert_true(lines_with(p.err, "penalty ") <= 1 + 10 + 1);
    program_expect_text(&p, p.out, " passes at ");
    int run = (int)number_in("probe/metrics.json", "epochs.run");
    int kept = (int)number_in("probe/metrics.json", "epochs.kept");
    assert_true(run == 45 || run == kept + 10);
    program_free(&p);
    char *lines = (char *)test_read("probe/epochs.jsonl", &n);
    lines[n] = '\0';
    assert_int_equal(count_lines(lines), run);
    assert_non_null(strstr(lines, "\"penalty\":10,\"l2\":"));
    free(lines);
    char *page = (char *)test_read("probe/report.html", &n);
    page[n] = '\0';
    assert_non_null(strstr(page, "<h2>Penalties</h2>"));
    assert_non_null(strstr(page, "<p class=sub>Penalty "));
    free(page);
    /* Its own train.ini, with the defaults of what has no part, repeats it; the seed has no part. */
    program_expect_ok(&p, "train probe/train.ini --out=again --seed=5");
    program_free(&p);
    expect_equal_files("probe/model.onnx", "again/model.onnx");
    program_expect_ok(&p, TRAIN_LINE "--out=one --head.solver=lbfgs --head.weight_decay=0.01");
    program_expect_text(&p, p.err, "penalty  1/1  l2 1.0e-02");
    program_expect_text(&p, p.err, "is kept: no other was tried");
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE "--out=one --head.solver=lbfgs --data.validation=0");
    program_expect_text(&p, p.err, "is kept: no other was tried");
    program_free(&p);
    static const char *const steps[] = {"epochs=5",
                                        "head.lr=0.1",
                                        "head.kind=hidden",
                                        "head.patience=3",
                                        "head.momentum=0.5",
                                        "head.warmup=2",
                                        "head.schedule=constant",
                                        "head.batch=32",
                                        "head.optimizer=adamw"};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        program_run(&p, TRAIN_LINE "--out=none --head.solver=lbfgs --%s", steps[i]);
        program_expect_text(&p, program_refusal(&p, 2), "has no part in head.solver = lbfgs");
        program_free(&p);
    }
}

/* ---- views ------------------------------------------------------------------------------------ */

/* Each view is computed once, and again only where it would be another. */
static void views_are_kept(void **state) {
    (void)state;
    enum { LEARN = CLASSES * TRAIN, OTHER = CLASSES * TEST };
    const struct {
        const char *options;
        unsigned hits, misses;
    } rows[] = {
        {"", 0, LEARN + OTHER},
        {"--views=3", LEARN + OTHER, 2 * LEARN},
        {"--views=3 --seed=4", 3 * LEARN + OTHER, 0},
        {"--views=4", 3 * LEARN + OTHER, LEARN},
        {"--views=2", 2 * LEARN + OTHER, 0},
        {"--views=3 --views.flip=false", LEARN + OTHER, 2 * LEARN},
        {"--views=3 --views.rotate=10 --head.solver=lbfgs", LEARN + OTHER, 2 * LEARN},
        {"--views=3 --head.kind=hidden", 3 * LEARN + OTHER, 0},
    };
    size_t n = 0, n_before;
    uint8_t *model = NULL, *before;
    char records[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        program p = {0};
        program_expect_ok(&p,
                          "train --data.train=pics/train --data.test=pics/test "
                          "--data.validation=0 --model=m.onnx --cache.dir=views "
                          "--out=viewed %s",
                          rows[i].options);
        expect_counts(&p, rows[i].hits, rows[i].misses);
        snprintf(records, sizeof records, " MB for %u pictures (", rows[i].hits + rows[i].misses);
        program_expect_text(&p, p.err, records);
        program_free(&p);
        before = model, n_before = n;
        model = test_read("viewed/model.onnx", &n);
        if (i > 0 && n == n_before && memcmp(model, before, n) == 0)
            fail_msg("'%s' does nothing", rows[i].options);
        free(before);
    }
    free(model);
}

static void views_are_shown(void **state) {
    (void)state;
    program p = {0};
    thaw_error err;
    thaw_decoder *decoder;
    thaw_pixels sheet;
    size_t n;
    assert_int_equal(thaw_decoder_create(&decoder, &err), THAW_OK);
    program_expect_ok(&p, TRAIN_LINE "--out=shown --epochs=1 --views=3 --views.show=sheet.jpg");
    program_free(&p);
    uint8_t *bytes = test_read("sheet.jpg", &n);
    assert_int_equal(thaw_image_decode_full(decoder, bytes, n, 0, &sheet, &err), THAW_OK);
    int side = sheet.width / 3;
    assert_true(sheet.width == 3 * side && sheet.height == 6 * side);
    int dark = 0;
    for (int i = 0; i < sheet.width * sheet.height; i++)
        dark += sheet.rgb[3 * i] + sheet.rgb[3 * i + 1] + sheet.rgb[3 * i + 2] < 12;
    assert_true(dark < sheet.width * sheet.height / 10); /* No place is left empty. */
    free(bytes);
    thaw_decoder_free(decoder);
    static const char *const refused[] = {
        "--views.flip=false",
        "--views.crop=0.3",
        "--views.show=x.jpg",
        "--views=3 --views.flip=false --views.crop=1 --views.colour=0",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        program_run(&p, TRAIN_LINE "--out=none %s", refused[i]);
        program_expect_text(&p, program_refusal(&p, 2), "views");
        program_free(&p);
    }
}

/* ---- predict --------------------------------------------------------------------------------- */

/* The n-th field of a line of predict's, which has one tab between; fails the test without it. */
static char *field(const char *line, int n, char text[256]) {
    for (; n > 0; n--, line++)
        if (!(line = strpbrk(line, "\t\n")) || *line == '\n') fail_msg("too few fields: %s", line);
    snprintf(text, 256, "%.*s", (int)strcspn(line, "\t\n"), line);
    return text;
}

static void predict_names_classes(void **state) {
    (void)state;
    char text[256], other[256];
    program p = {0};
    program_expect_ok(&p, "predict run1 pics/test/rose/rose-0000.jpg --top=2");
    assert_string_equal(field(p.out, 0, text), "pics/test/rose/rose-0000.jpg");
    assert_string_not_equal(field(p.out, 1, text), field(p.out, 3, other));
    double one = atof(field(p.out, 2, text)), two = atof(field(p.out, 4, text));
    assert_true(one >= two && two > 0 && one + two <= 1.0001);
    int tabs = 0;
    for (const char *at = p.out; *at; at++)
        tabs += *at == '\t';
    assert_int_equal(tabs, 4);
    program_free(&p);

    write_bytes("broken\t\n.jpg", "\xff\xd8\xff\xe0 broken", 11);
    copy_file("broken\t\n.jpg", "broken.jpg");
    program_run(&p, "predict run1 pics/test/rose/rose-0000.jpg broken.jpg gone.jpg --json --top=1");
    program_expect_text(&p, program_refusal(&p, 1), "2 of 3 pictures");
    char *line = strtok(p.out, "\n");
    for (int i = 0; i < 3; i++, line = strtok(NULL, "\n")) {
        json_t *json = line ? json_loads(line, 0, NULL) : NULL;
        assert_non_null(json);
        assert_int_equal(json_array_size(json_object_get(json, "predictions")), i == 0);
        assert_int_equal(json_is_string(json_object_get(json, "error")), i > 0);
        json_decref(json);
    }
    assert_null(line);
    program_free(&p);

    /* A line stays a line, and a field a field, whatever a file is called. */
    write_bytes("list", "broken.jpg\r\n\n", 13);
    tempdir_folder(&place, "odd");
    rename_or_fail("broken\t\n.jpg", "odd/broken\t\n.jpg");
    program_run(&p, "predict run1 odd");
    program_expect_text(&p, program_refusal(&p, 1), "1 of 1 pictures");
    assert_string_equal(field(p.out, 0, text), "odd/broken??.jpg");
    assert_string_equal(field(p.out, 1, text), "");
    program_expect_text(&p, field(p.out, 2, text), "damaged");
    program_free(&p);
    remove_tree("odd");
}

/* Folders, links to them, a list and files, in this order, and one line each; the same pictures in
 * batches of any size score the same. */
static void predict_takes_folders_and_lists(void **state) {
    (void)state;
    program p = {0}, one = {0};
    write_bytes("broken.jpg", "\xff\xd8\xff\xe0 broken", 11);
    char list[] = "pics/test/tulip\r\n\nbroken.jpg\npics/train/rose/rose-0001.jpg";
    write_bytes("list", list, strlen(list));
    program_run(&p,
                "predict run1 pics/test/rose/ pics/test/lily --list=list --csv=table.csv --top=1");
    program_expect_text(&p, program_refusal(&p, 1), "1 of 8 pictures");
    static const char *const paths[] = {"pics/test/rose/rose-0000.jpg",
                                        "pics/test/rose/rose-0001.jpg",
                                        "pics/test/lily/lily-0000.jpg",
                                        "pics/test/lily/lily-0001.jpg",
                                        "pics/test/tulip/tulip-0000.jpg",
                                        "pics/test/tulip/tulip-0001.jpg",
                                        "broken.jpg",
                                        "pics/train/rose/rose-0001.jpg"};
    size_t n;
    char *table = (char *)test_read("table.csv", &n), text[256];
    table[n] = '\0';
    const char *line = p.out, *row = strstr(table, "\r\n");
    assert_non_null(row);
    assert_int_equal(strncmp(table, "path,answer,score,margin,problem\r\n", 34), 0);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++, line = strchr(line, '\n') + 1) {
        assert_string_equal(field(line, 0, text), paths[i]);
        assert_int_equal(strncmp(row + 2, paths[i], strlen(paths[i])), 0);
        if (i != 6) {
            char answer[300];
            snprintf(answer, sizeof answer, "%s,%s,0.", paths[i], field(line, 1, text));
            assert_int_equal(strncmp(row + 2, answer, strlen(answer)), 0);
        } else {
            assert_int_equal(strncmp(row + 2, "broken.jpg,,,,the JPEG is", 25), 0);
        }
        row = strstr(row + 2, "\r\n");
        assert_non_null(row);
    }
    assert_string_equal(line, "");
    assert_string_equal(row, "\r\n");
    program_run(&one, "predict run1 pics/test/rose pics/test/lily --list=list --top=1 --batch=1");
    assert_string_equal(one.out, p.out);
    program_free(&one);
    program_free(&p);
    free(table);

    program_expect_ok(&p, "predict run1 pics --json --top=1");
    assert_int_equal(count_lines(p.out), ALL);
    program_free(&p);
}

/* What stands in a list, or behind the run, and is no picture. */
static void predict_refuses_in_words(void **state) {
    (void)state;
    static const struct {
        const char *line;
        int code;
        const char *said;
    } cases[] = {
        {"predict run1", 2, "--list"},
        {"predict run1 --list=gone", 1, "cannot read the list 'gone': No such file"},
        {"predict run1 --list=pics", 1, "cannot read the list 'pics': Is a directory"},
        {"predict run1 --list=zero", 1, "line 2 of the list 'zero' is no path"},
        {"predict run1 --list=endless", 1, "line 1 of the list 'endless' is no path"},
        {"predict run1 hollow", 1, "no picture lies in the folder 'hollow'"},
        {"predict run1 m.onnx/ --csv=no/such.csv", 1, "no/such.csv"},
    };
    tempdir_folder(&place, "hollow");
    write_bytes("zero", "a.jpg\nb\0c.jpg\n", 14);
    char *text = malloc(100000);
    memset(text, 'x', 100000);
    write_bytes("endless", text, 100000);
    free(text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        program p = {0};
        program_run(&p, "%s", cases[i].line);
        program_expect_text(&p, program_refusal(&p, cases[i].code), cases[i].said);
        program_free(&p);
    }
    /* Nobody writes to standard input, and the program ends when it is asked to. */
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    program p = {.input = ends[0]};
    program_start(&p, "predict run1 --list=- --batch=1 --csv=partly.csv");
    char path[] = "pics/test/rose/rose-0000.jpg\n";
    assert_int_equal(write(ends[1], path, strlen(path)), strlen(path));
    program_await_output(&p);
    kill(p.pid, SIGTERM);
    program_wait(&p);
    program_expect_text(&p, program_refusal(&p, 1), "stopped by a signal after 1 pictures");
    program_expect_text(&p, p.out, "pics/test/rose/rose-0000.jpg\t");
    expect_none_called("partly.csv");
    program_free(&p);
    close(ends[0]);
    close(ends[1]);
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* Reads a table of predictions: how many rows there are and how many are right. */
static void read_table(const char *path, int *rows, int *right) {
    char line[1024];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    assert_string_equal(line, "path,truth,answer,score,margin\r\n");
    for (*rows = *right = 0; fgets(line, sizeof line, file); ++*rows) {
        char *part[5], *rest = line;
        for (int i = 0; i < 5; i++)
            part[i] = strsep(&rest, ",");
        if (!part[4] || rest || !strstr(part[4], "\r\n")) fail_msg("%s: row %d", path, *rows);
        assert_true(is_there(part[0]));
        if (!strstr(part[0], part[1])) fail_msg("%s is not in the folder of %s", part[0], part[1]);
        double score = atof(part[3]), margin = atof(part[4]);
        assert_true(score > 0 && score <= 1 && margin >= 0 && margin <= score);
        *right += strcmp(part[1], part[2]) == 0;
    }
    fclose(file);
}

/* Two tables with the same rows and words, and numbers that differ in their last digit at most: eval
 * takes logarithms of scores, training has logits. */
static void expect_same_answers(const char *a, const char *b) {
    FILE *files[2] = {fopen(a, "r"), fopen(b, "r")};
    assert_true(files[0] && files[1]);
    char lines[2][PATH_MAX];
    while (fgets(lines[0], PATH_MAX, files[0])) {
        assert_non_null(fgets(lines[1], PATH_MAX, files[1]));
        for (int column = 0; column < 2; column++) {
            char *last[2] = {strrchr(lines[0], ','), strrchr(lines[1], ',')};
            assert_true(last[0] && last[1]);
            double difference = strtod(last[0] + 1, NULL) - strtod(last[1] + 1, NULL);
            assert_true(fabs(difference) < 2e-6);
            *last[0] = *last[1] = '\0';
        }
        assert_string_equal(lines[0], lines[1]);
    }
    assert_null(fgets(lines[1], PATH_MAX, files[1]));
    fclose(files[0]);
    fclose(files[1]);
}

static void tables_say_what_the_metrics_say(void **state) {
    (void)state;
    program p = {0};
    int rows, right;
    read_table("run1/predictions.csv", &rows, &right);
    assert_int_equal(rows, CLASSES * TEST);
    assert_float_equal(number_in("run1/metrics.json", "top1"), (double)right / rows, 1e-6);
    program_expect_ok(&p, "eval run1 pics --cache.dir=cache --csv=eval.csv");
    expect_same_answers("run1/predictions.csv", "eval.csv");
    program_free(&p);
    size_t n;
    char *page = (char *)test_read("run1/report.html", &n);
    page[n] = '\0';
    assert_int_equal(count_of(page, "<figure class=mistake"), rows - right);
    free(page);
    /* Of the training pictures, where nothing else is there. */
    program_expect_ok(&p,
                      "train --data.train=pics/train --data.validation=0 --model=m.onnx --out=all "
                      "--cache.dir=cache --epochs=1");
    read_table("all/predictions.csv", &rows, &right);
    assert_int_equal(rows, CLASSES * TRAIN);
    program_free(&p);
    program_run(&p, "eval run1 pics --cache.dir=cache --csv=no/such/table.csv");
    program_expect_text(&p, program_refusal(&p, 1), "no/such/table.csv");
    program_free(&p);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

/* A report whose labels were mixed up: every picture of the test is a mistake, the surest first, and
 * the page stays small. */
static void the_report_shows_mistakes(void **state) {
    (void)state;
    enum { SHOWN = 24 };
    program p = {0};
    tempdir_folder(&place, "mixed");
    tempdir_check(symlink("../pics/train", "mixed/train") == 0, "symlink");
    static const char *const names[CLASSES] = {"bellflower", "lily", "lupin",     "marguerite",
                                               "pansy",      "rose", "sunflower", "tulip"};
    for (int k = 0; k < CLASSES; k++) {
        char folder[64], from[64], to[128];
        snprintf(folder, sizeof folder, "mixed/test/%s", names[k]);
        tempdir_folder(&place, folder);
        const char *other = names[(k + 1) % CLASSES];
        for (int i = 0; i < TRAIN; i++) {
            snprintf(from, sizeof from, "pics/train/%s/%s-%04d.jpg", other, other, i);
            snprintf(to, sizeof to, "%s/<b>%d&\".jpg", folder, i);
            copy_file(from, to);
        }
    }
    program_expect_ok(&p,
                      "train --data.train=mixed --model=m.onnx --out=mistaken --cache.dir=cache");
    assert_true(number_in("mistaken/metrics.json", "top1") < 0.2);
    size_t n;
    char *page = (char *)test_read("mistaken/report.html", &n);
    page[n] = '\0';
    assert_int_equal(count_of(page, "<figure class=mistake"), SHOWN);
    assert_int_equal(count_of(page, ", cosine "), 3 * SHOWN);
    /* The picture itself, unless that validates. */
    assert_true(count_of(page, ", cosine 1.000: mixed/train/") >= SHOWN / 2);
    int doubts = count_of(page, "<figure class=doubt");
    assert_int_equal(doubts, SHOWN);
    assert_int_equal(count_of(page, "src=\"data:image/jpeg;base64,/9j/"),
                     SHOWN + 3 * SHOWN + doubts + SHOWN); /* As many twins. */
    assert_int_equal(count_of(page, "\".jpg"), 0);        /* Names are text. */
    assert_true(count_of(page, "&lt;b&gt;") >= SHOWN);
    assert_true(n < 1000000);
    double before = 101;
    for (const char *at = page; (at = strstr(at, "<figure class=mistake")); at++) {
        const char *score = strstr(at, "</b> ");
        assert_non_null(score);
        assert_true(atof(score + 5) <= before);
        before = atof(score + 5);
    }
    free(page);
    page = (char *)test_read("mistaken/suspects.csv", &n);
    page[n] = '\0';
    assert_true(strstr(page, "path,split,label,answer,label_score,answer_score,in_sample\r\n") ==
                page);
    assert_true(count_of(page, ",no\r\n") > SHOWN);
    free(page);
    page = (char *)test_read("mistaken/neighbours.csv", &n);
    page[n] = '\0';
    assert_int_equal(count_of(page, "\r\n"), 1 + 3 * SHOWN);
    free(page);
    program_free(&p);
    remove_tree("mixed");
}

/* Little is said of few classes: all five of five are always among five. */
static void top_five_needs_more_classes(void **state) {
    (void)state;
    program p = {0};
    for (int k = 0; k < 3; k++) {
        static const char *const names[] = {"rose", "tulip", "lily"};
        char from[64], to[64];
        snprintf(from, sizeof from, "../pics/train/%s", names[k]);
        snprintf(to, sizeof to, "three/%s", names[k]);
        tempdir_folder(&place, "three");
        tempdir_check(symlink(from, to) == 0, "symlink");
    }
    program_expect_ok(&p, "train --data.train=three --model=m.onnx --out=few --cache.dir=cache");
    assert_null(strstr(p.out, "top-5"));
    program_expect_text(&p, p.out, "top-1 ");
    program_free(&p);
    size_t n;
    char *page = (char *)test_read("few/report.html", &n);
    page[n] = '\0';
    assert_null(strstr(page, "top-5"));
    free(page);
    program_expect_ok(&p, "eval run1 pics/test --cache.dir=cache");
    program_expect_text(&p, p.out, "top-5 ");
    program_free(&p);
}

/* ---- options -------------------------------------------------------------------------------- */

/* Each option of the head makes another model, so that none is lost on the way to the trainer. */
static void options_of_the_head_act(void **state) {
    (void)state;
    static const char *const options[] = {"--epochs=7",
                                          "--head.lr=0.02",
                                          "--head.weight_decay=0.01",
                                          "--head.momentum=0.5",
                                          "--head.batch=16",
                                          "--head.warmup=3",
                                          "--head.schedule=step",
                                          "--head.label_smoothing=0.2",
                                          "--head.optimizer=adamw",
                                          "--head.kind=hidden",
                                          "--seed=5",
                                          "--head.kind=hidden --head.hidden=20",
                                          "--head.kind=hidden --head.dropout=0.6"};
    program p = {0};
    size_t n_plain, n_before = 0, n;
    program_expect_ok(&p, TRAIN_LINE "--out=plain --epochs=6");
    program_free(&p);
    uint8_t *plain = test_read("plain/model.onnx", &n_plain), *before = NULL;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        program_expect_ok(&p, TRAIN_LINE "--out=other --epochs=6 %s", options[i]);
        program_free(&p);
        uint8_t *other = test_read("other/model.onnx", &n);
        if (n == n_plain && memcmp(plain, other, n) == 0) fail_msg("%s does nothing", options[i]);
        if (n == n_before && memcmp(before, other, n) == 0)
            fail_msg("%s does nothing more", options[i]);
        free(before);
        before = other;
        n_before = n;
    }
    free(before);
    free(plain);
    /* Of classes of different sizes. */
    tempdir_folder(&place, "rare/rose");
    tempdir_check(symlink("../pics/train/lily", "rare/lily") == 0, "symlink");
    copy_file("pics/train/rose/rose-0000.jpg", "rare/rose/0.jpg");
    copy_file("pics/train/rose/rose-0001.jpg", "rare/rose/1.jpg");
    program_expect_ok(&p, "train --data.train=rare --model=m.onnx --out=rare1 --cache.dir=cache");
    program_free(&p);
    program_expect_ok(&p,
                      "train --data.train=rare --model=m.onnx --out=rare2 --cache.dir=cache "
                      "--head.class_weights=balanced");
    program_free(&p);
    plain = test_read("rare1/model.onnx", &n_plain);
    uint8_t *other = test_read("rare2/model.onnx", &n);
    if (n == n_plain && memcmp(plain, other, n) == 0) fail_msg("class_weights does nothing");
    free(plain);
    free(other);
}

/* The golden pictures show different classes, as far as there are some. */
static void golden_pictures_differ(void **state) {
    (void)state;
    static const char *const classes[] = {"bellflower", "lily", "lupin"};
    for (int i = 0; i < 3; i++) {
        char golden[64], first[64];
        snprintf(golden, sizeof golden, "run1/golden/%d.jpg", i);
        bool found = false;
        for (int k = 0; k < TRAIN && !found; k++) {
            snprintf(first, sizeof first, "pics/train/%s/%s-%04d.jpg", classes[i], classes[i], k);
            size_t n, m;
            uint8_t *a = test_read(golden, &n), *b = test_read(first, &m);
            found = n == m && memcmp(a, b, n) == 0;
            free(a);
            free(b);
        }
        if (!found) fail_msg("%s shows no %s", golden, classes[i]);
    }
}

/* ---- names ----------------------------------------------------------------------------------- */

/* A class called so that it would break the table: in it, everything is a letter. */
static void names_stay_in_their_column(void **state) {
    (void)state;
    static const char *const names[] = {"G\u00e4nse\nbl\u00fcmchen", "rose\t\x1b[2J",
                                        "tulip, \"red\""};
    static const char *const sources[] = {"pansy", "rose", "tulip"};
    program p = {0};
    for (int k = 0; k < 3; k++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "../pics/train/%s", sources[k]);
        snprintf(to, sizeof to, "odd/%s", names[k]);
        tempdir_folder(&place, "odd");
        tempdir_check(symlink(from, to) == 0, "symlink");
    }
    program_expect_ok(&p, "train --data.train=odd --model=m.onnx --out=odd_run --cache.dir=cache");
    program_expect_text(&p, p.out, "G\u00e4nse?bl\u00fcmchen  ");
    assert_null(strchr(p.out, '\x1b'));
    assert_null(strchr(p.out, '\t'));
    program_free(&p);
    program_expect_ok(&p, "eval odd_run odd --cache.dir=cache");
    assert_null(strchr(p.out, '\x1b'));
    program_free(&p);
    program_expect_ok(&p, "predict odd_run pics/test/rose --top=3 --csv=odd.csv");
    assert_int_equal(count_lines(p.out), TEST);
    assert_int_equal(count_of(p.out, "\t"), TEST * 6);
    program_free(&p);
    /* Machines get the bytes. */
    json_t *metrics = load("odd_run/metrics.json");
    const json_t *first = json_array_get(json_object_get(metrics, "classes"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "name")), names[0]);
    json_decref(metrics);
    size_t n;
    char *table = (char *)test_read("odd_run/predictions.csv", &n);
    table[n] = '\0';
    program_expect_text(&p, table, "\"odd/tulip, \"\"red\"\"/");
    free(table);
}

/* ---- scores that are not numbers --------------------------------------------------------------- */

/* A network whose first feature is w r - w r: 0, or NaN where w r is beyond what a float holds. The
 * others are the mean of green and of blue. */
static void write_overflowing_model(const char *path) {
    static const float big = 2e36f; /* 128 of it fit, 255 don't. */
    const float w1[] = {big, 0, 0, big, 0, 0, 0, 1, 0, 0, 0, 1};
    const float w2[] = {1, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, w3[6] = {0};
    thaw_onnx_builder b = {0};
    thaw_error err = {0};
    thaw_onnx_start(&b, 8, 8);
    thaw_onnx_tensor(&b, "w1", 4, (int64_t[]){4, 3, 1, 1}, w1);
    thaw_onnx_tensor(&b, "w2", 4, (int64_t[]){3, 4, 1, 1}, w2);
    thaw_onnx_tensor(&b, "w3", 2, (int64_t[]){2, 3}, w3);
    thaw_onnx_node(&b, "Conv", "a", (const char *[]){"x", "w1", NULL}, "a");
    thaw_onnx_node(&b, "Conv", "b", (const char *[]){"a", "w2", NULL}, "b");
    thaw_onnx_node(&b, "GlobalAveragePool", "p", (const char *[]){"b", NULL}, "p");
    thaw_onnx_node(&b, "Flatten", "f", (const char *[]){"p", NULL}, "f");
    Onnx__NodeProto *gemm = thaw_onnx_node(&b, "Gemm", "y", (const char *[]){"f", "w3", NULL}, "y");
    thaw_onnx_int(&b, gemm, "transB", 1);
    thaw_onnx_ends(&b, "x", 4, (int64_t[]){1, 3, 8, 8}, "y", 2, (int64_t[]){1, 2});
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = {&opset};
    opset.version = 13;
    opset.domain = "";
    opset.has_version = model.has_ir_version = 1;
    model.ir_version = 8;
    model.n_opset_import = 1;
    model.opset_import = opsets;
    if (thaw_onnx_save(&b, &model, path, &err) != THAW_OK) fail_msg("%s", err.text);
    thaw_arena_free(&b.arena);
}

/* An 8 x 8 picture of one colour. */
static void write_colour(const char *path, int red, int green, int blue) {
    char bytes[11 + 8 * 8 * 3] = "P6\n8 8\n255\n";
    for (int i = 0; i < 64; i++) {
        bytes[11 + 3 * i] = (char)red;
        bytes[12 + 3 * i] = (char)green;
        bytes[13 + 3 * i] = (char)blue;
    }
    tempdir_file(&place, path, "");
    write_bytes(path, bytes, sizeof bytes);
}

static void pictures_without_scores_are_named(void **state) {
    (void)state;
    write_overflowing_model("overflow.onnx");
    for (int i = 0; i < 12; i++) {
        char path[64];
        snprintf(path, sizeof path, "dark/train/green/%d.ppm", i);
        write_colour(path, 10 + i, 100 + i, 5);
        snprintf(path, sizeof path, "dark/train/blue/%d.ppm", i);
        write_colour(path, 10 + i, 5, 100 + i);
    }
    write_colour("dark/test/green/good.ppm", 50, 90, 3);
    write_colour("dark/test/green/white.ppm", 255, 255, 255);
    write_colour("dark/test/blue/good.ppm", 50, 3, 90);
    program p = {0};
    program_expect_ok(&p,
                      "train --data.train=dark --model=overflow.onnx --preprocess=raw "
                      "--out=dark_run --cache.dir=none --data.validation=0.2");
    program_expect_text(&p, p.err,
                        "the scores of 1 of 3 pictures are not numbers, which counts as wrong; the "
                        "first is dark/test/green/white.ppm");
    program_free(&p);
    assert_int_equal(number_in("dark_run/metrics.json", "n_without_scores"), 1);
    assert_float_equal(number_in("dark_run/metrics.json", "top1"), 2.0 / 3, 1e-6);
    assert_true(number_in("dark_run/metrics.json", "loss") < 0.5);
    size_t n;
    char *table = (char *)test_read("dark_run/predictions.csv", &n);
    table[n] = '\0';
    program_expect_text(&p, table, "dark/test/green/white.ppm,green,,,\r\n");
    free(table);
    program_expect_ok(&p, "eval dark_run dark --cache.dir=none --csv=dark.csv --json");
    program_expect_text(&p, p.err, "dark/test/green/white.ppm");
    json_t *json = json_loads(p.out, 0, NULL);
    assert_int_equal(number_at(json, "n_without_scores"), 1);
    json_decref(json);
    program_free(&p);
    expect_equal_files("dark_run/predictions.csv", "dark.csv");
    program_run(&p, "predict dark_run dark/test --top=1");
    program_expect_text(&p, program_refusal(&p, 1), "1 of 3 pictures have no answer");
    program_expect_text(&p, p.out,
                        "dark/test/green/white.ppm\t\tthe network's scores of this picture are not "
                        "numbers\n");
    program_free(&p);
    /* One that validates: its fellows still tell which epoch is the best. */
    rename_or_fail("dark/test", "dark/validation");
    program_expect_ok(&p,
                      "train --data.train=dark --model=overflow.onnx --preprocess=raw "
                      "--out=dark_run --cache.dir=none --head.patience=5 --epochs=40");
    assert_true(number_in("dark_run/metrics.json", "epochs.kept") > 1);
    program_free(&p);
}

/* ---- very many classes ------------------------------------------------------------------------- */

/* Where it takes minutes, so many that a dense confusion matrix would not be read any more. */
static void twenty_thousand_classes_train_and_open(void **state) {
    (void)state;
    enum { TESTED = 50, MOST_MB = 900 };
    int many = program_is_sanitized() ? 4000 : 20000;
    char path[64], from[64];
    for (int k = 0; k < many; k++) {
        snprintf(path, sizeof path, "many/train/%05d", k);
        if (k == 0) tempdir_folder(&place, path);
        mkdir(path, 0755);
        snprintf(from, sizeof from, "pics/train/rose/rose-%04d.jpg", k % TRAIN);
        strcat(path, "/a.jpg");
        tempdir_check(link(from, path) == 0, path);
        if (k % (many / TESTED)) continue;
        snprintf(path, sizeof path, "many/test/%05d", k);
        tempdir_folder(&place, path);
        strcat(path, "/b.jpg");
        tempdir_check(link(from, path) == 0, path);
    }
    program p = {0};
    program_expect_ok(&p,
                      "train --data.train=many --model=m.onnx --out=many_run --cache.dir=cache "
                      "--epochs=1 --head.batch=256");
    if (!program_is_sanitized() && p.peak_bytes > (size_t)MOST_MB << 20)
        fail_msg("%d classes took %zu MB", many, p.peak_bytes >> 20);
    if (strlen(p.err) > 20000 || strlen(p.out) > 20000)
        fail_msg("%zu and %zu bytes were said", strlen(p.err), strlen(p.out));
    program_free(&p);
    json_t *metrics = load("many_run/metrics.json"), *bundle = load("many_run/bundle.json");
    assert_int_equal(json_array_size(json_object_get(metrics, "classes")), many);
    assert_in_range(json_array_size(json_object_get(metrics, "confusion")), 1, TESTED);
    assert_int_equal(json_array_size(json_object_get(bundle, "labels")), many);
    assert_null(json_object_get(json_object_get(bundle, "metrics"), "classes"));
    json_decref(metrics);
    json_decref(bundle);
    struct stat info;
    assert_int_equal(stat("many_run/report.html", &info), 0);
    assert_true(info.st_size < 400000);
    program_expect_ok(&p, "predict many_run pics/test/rose --top=3");
    assert_int_equal(count_lines(p.out), TEST);
    program_free(&p);
    program_expect_ok(&p, "eval many_run many/test --cache.dir=cache");
    assert_true(strlen(p.out) < 20000);
    program_free(&p);
    remove_tree("many");
}

/* ---- memory ------------------------------------------------------------------------------------ */

/* A picture of its own: a comment behind the first marker makes other bytes of it. */
static void write_variant(const uint8_t *jpeg, size_t n, const char *path, int number) {
    uint8_t comment[] = {0xff, 0xfe, 0, 4, (uint8_t)(number >> 8), (uint8_t)number};
    FILE *file = fopen(path, "wb");
    tempdir_check(file != NULL, path);
    fwrite(jpeg, 1, 2, file);
    fwrite(comment, 1, sizeof comment, file);
    fwrite(jpeg + 2, 1, n - 2, file);
    tempdir_check(fclose(file) == 0, path);
}

/* Ten times as many pictures: what is kept of each is some bytes, not its pixels or its scores. */
static void memory_does_not_grow_with_pictures(void **state) {
    (void)state;
    enum { FEW = 200, TIMES = 10, MOST_BYTES_EACH = 500, SLACK = 4 << 20 };
    static const char *const lines[] = {
        "train --data.train=%s --data.validation=0.5 --model=m.onnx --out=%s_run "
        "--cache.dir=%s_cache "
        "--epochs=1 --cache.memory=1",
        "predict run1 %s --json --csv=%s.csv --list=/dev/null%.0s",
    };
    if (program_is_sanitized()) {
        print_message("SKIPPED: peaks of memory, which sanitizers make up\n");
        skip();
    }
    size_t n, peaks[2][2];
    uint8_t *jpeg = test_read("pics/train/rose/rose-0000.jpg", &n);
    for (int large = 0; large < 2; large++) {
        const char *root = large ? "large" : "small";
        for (int i = 0; i < FEW * (large ? TIMES : 1); i++) {
            char path[64];
            snprintf(path, sizeof path, "%s/%s", root, i % 2 ? "rose" : "tulip");
            if (i < 2) tempdir_folder(&place, path);
            snprintf(path, sizeof path, "%s/%s/%d.jpg", root, i % 2 ? "rose" : "tulip", i);
            write_variant(jpeg, n, path, i);
        }
        for (int command = 0; command < 2; command++) {
            program p = {0};
            char line[256];
            snprintf(line, sizeof line, lines[command], root, root, root);
            program_expect_ok(&p, "%s", line);
            peaks[command][large] = p.peak_bytes;
            program_free(&p);
        }
    }
    free(jpeg);
    for (int command = 0; command < 2; command++) {
        const size_t *peak = peaks[command];
        print_message("%.7s: %.1f MB of %d pictures, %.1f MB of %d\n", lines[command],
                      (double)peak[0] / 1e6, FEW, (double)peak[1] / 1e6, FEW * TIMES);
        if (peak[1] > peak[0] + FEW * (TIMES - 1) * MOST_BYTES_EACH + SLACK)
            fail_msg("%.7s: memory grows with the pictures", lines[command]);
    }
}

/* More rows than are scored at once: the truth of each is still its own. */
static void many_rows_are_evaluated(void **state) {
    (void)state;
    enum { ROWS = 600 };
    size_t n;
    int rows, right;
    program p = {0};
    uint8_t *jpeg = test_read("pics/train/rose/rose-0000.jpg", &n);
    for (int i = 0; i < ROWS; i++) {
        char path[64];
        snprintf(path, sizeof path, "rows/%s", i % 2 ? "rose" : "tulip");
        if (i < 2) tempdir_folder(&place, path);
        snprintf(path, sizeof path, "rows/%s/%d.jpg", i % 2 ? "rose" : "tulip", i);
        write_variant(jpeg, n, path, i);
    }
    free(jpeg);
    program_expect_ok(&p, "eval run1 rows --cache.dir=cache --csv=rows.csv");
    program_expect_text(&p, p.out, "on 600 pictures");
    program_free(&p);
    read_table("rows.csv", &rows, &right);
    assert_int_equal(rows, ROWS);
    assert_int_equal(right, ROWS / 2); /* All look alike. */
}

/* A run that keeps the old head gives its answers everywhere, and they do not depend on the new head. */
static void expect_old_answers(const char *run, double one[TEST]) {
    program p = {0};
    program_expect_ok(&p, "predict %s pics/test/rose --json --top=1 --csv=%s.csv", run, run);
    char *line = strtok(p.out, "\n");
    for (int i = 0; i < TEST; i++, line = strtok(NULL, "\n")) {
        json_t *json = line ? json_loads(line, 0, NULL) : NULL;
        const json_t *old = json_object_get(json, "old");
        assert_string_equal(json_string_value(json_object_get(old, "class")), "petals");
        one[i] = json_number_value(json_object_get(old, "score"));
        assert_true(one[i] > 0.5 && one[i] <= 1);
        json_decref(json);
    }
    program_free(&p);
    char table[64];
    snprintf(table, sizeof table, "%s.csv", run);
    size_t n;
    char *csv = (char *)test_read(table, &n),
         head[] = "path,answer,score,margin,problem,old_answer,old_score\r\n";
    assert_memory_equal(csv, head, sizeof head - 1);
    csv[n - 1] = 0;
    assert_int_equal(count_of(csv, ",,petals,"), TEST);
    free(csv);
    program_expect_ok(&p, "predict %s pics/test/rose/rose-0000.jpg --top=1", run);
    char text[256];
    assert_string_equal(field(p.out, 3, text), "petals");
    program_free(&p);
    program_expect_ok(&p, "eval %s pics --cache.dir=cache", run);
    program_expect_text(&p, p.out, "old head    petals ");
    program_free(&p);
    program_expect_ok(&p, "eval %s pics --cache.dir=cache --json", run);
    program_expect_text(&p, p.out, "\"answer\": \"petals\"");
    program_free(&p);
}

static void the_old_head_answers(void **state) {
    (void)state;
    double linear[TEST], hidden[TEST], trained[TEST];
    program p = {0};
    write_bytes("old.txt", "petals\nother \r\n", 16);
    program_expect_ok(&p, TRAIN_LINE
                      "--out=kept --epochs=2 --head.keep_old "
                      "--head.old_labels=old.txt");
    program_expect_text(&p, p.out, "old head    petals ");
    program_free(&p);
    program_expect_ok(&p, TRAIN_LINE
                      "--out=kept2 --epochs=2 --head.keep_old --head.kind=hidden "
                      "--head.old_labels=old.txt");
    program_free(&p);
    size_t n;
    char *page = (char *)test_read("kept/report.html", &n);
    page[n] = 0;
    assert_non_null(strstr(page, "the old head says"));
    assert_non_null(strstr(page, "says what it always said"));
    free(page);
    expect_old_answers("kept", linear);
    expect_old_answers("kept2", hidden);
    for (int i = 0; i < TEST; i++)
        assert_float_equal(linear[i], hidden[i], 1e-6);

    /* What lies below it is trained: other answers, which is said. */
    program_expect_ok(&p, TRAIN_LINE
                      "--out=kept3 --freeze=stage3 --top.epochs=2 --top.lr=0.02 "
                      "--head.keep_old --head.old_labels=old.txt");
    program_expect_text(&p, p.err, "its answers will change");
    char *said = strdup(strstr(p.out, "old head "));
    program_free(&p);
    *strchr(said, '\n') = 0;
    program_expect_ok(&p, "eval kept3 pics --cache.dir=cache");
    program_expect_text(&p, p.out, said);
    program_free(&p);
    free(said);
    expect_old_answers("kept3", trained);
    assert_true(linear[0] != trained[0] || linear[1] != trained[1]);

    /* The next round has both outputs to choose from, the newest head's first. */
    program_expect_ok(&p,
                      "train --data.train=pics --model=kept/model.onnx --cache.dir=cache "
                      "--out=kept4 --epochs=2");
    program_expect_text(&p, p.err, "scores_1 is taken, the newest head's");
    program_free(&p);
    program_expect_ok(&p, "export kept --safetensors=kept.safetensors");
    program_expect_text(&p, p.out, "2 tensors");
    program_free(&p);
}

static void an_old_head_that_cannot_stay(void **state) {
    (void)state;
    program p = {0};
    write_bytes("three.txt", "a\nb\nc\n", 6);
    program_run(&p, TRAIN_LINE "--out=no --head.keep_old --head.old_labels=three.txt");
    program_expect_text(&p, program_refusal(&p, 1), "three.txt has 3 lines");
    program_free(&p);
    program_run(&p, TRAIN_LINE "--out=no --head.old_labels=three.txt");
    program_expect_text(&p, program_refusal(&p, 2), "head.old_labels has no part");
    program_free(&p);
    program_run(&p, TRAIN_LINE "--out=no --head.keep_old --head.at=none");
    program_expect_text(&p, program_refusal(&p, 1), "there is no old head");
    program_free(&p);
    expect_none_called("no");
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(TRAIN, TEST);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_that_matter_are_shown),
        cmocka_unit_test(a_solver_tries_penalties),
        cmocka_unit_test(views_are_kept),
        cmocka_unit_test(views_are_shown),
        cmocka_unit_test(predict_names_classes),
        cmocka_unit_test(predict_takes_folders_and_lists),
        cmocka_unit_test(predict_refuses_in_words),
        cmocka_unit_test(tables_say_what_the_metrics_say),
        cmocka_unit_test(the_report_shows_mistakes),
        cmocka_unit_test(top_five_needs_more_classes),
        cmocka_unit_test(options_of_the_head_act),
        cmocka_unit_test(golden_pictures_differ),
        cmocka_unit_test(the_old_head_answers),
        cmocka_unit_test(an_old_head_that_cannot_stay),
        cmocka_unit_test(names_stay_in_their_column),
        cmocka_unit_test(pictures_without_scores_are_named),
        cmocka_unit_test(many_rows_are_evaluated),
        cmocka_unit_test(memory_does_not_grow_with_pictures),
        cmocka_unit_test(twenty_thousand_classes_train_and_open),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
