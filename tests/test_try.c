/* thaw sagemaker try: the whole life of a model, on drawn pictures; and each of its checks against the thing
 * that it is for, broken. What is broken on the way is broken while the program is held: SIGSTOP halts it,
 * and not the child that it watches. */
#include "program.h"
#include "sagemaker/observed.h"

enum { TRAIN = 6, TEST = 2, CLASSES = 8 };

#define TRY "sagemaker try pics --model=m.onnx "
#define STEPS 7

static tempdir place;

/* The folder of the try under way; false: there is none. */
static bool find_root(char root[PATH_MAX]) {
    DIR *dir = opendir("tmp");
    const struct dirent *entry;
    bool found = false;
    while (dir && !found && (entry = readdir(dir))) {
        found = !strncmp(entry->d_name, "thaw-try-", 9);
        if (found) snprintf(root, PATH_MAX, "%.400s/tmp/%.100s", place.root, entry->d_name);
    }
    if (dir) closedir(dir);
    return found;
}

static void expect_nothing_left(void) {
    char root[PATH_MAX];
    if (find_root(root)) fail_msg("%s is left", root);
}

static size_t count_of(const char *text, const char *part) {
    size_t n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

/* The row of a step in the table, which may have several lines; until the next call. */
static const char *row_of(const program *p, const char *step) {
    static char row[2 * THAW_ERROR_TEXT];
    const char *table = strstr(p->out, "\nstep ");
    char name[32];
    snprintf(name, sizeof name, "\n%s ", step);
    const char *begin = table ? strstr(table + 1, name) : NULL;
    if (!begin) fail_msg("thaw %s: no row '%s' in\n%s\n%s", p->line, step, p->out, p->err);
    const char *end = begin + 1 + strcspn(begin + 1, "\n");
    while (end[0] == '\n' && end[1] == ' ')
        end += 1 + strcspn(end + 1, "\n");
    snprintf(row, sizeof row, "%.*s", (int)(end - begin - 1), begin + 1);
    return row;
}

static void expect_row(const program *p, const char *step, const char *part) {
    program_expect_text(p, row_of(p, step), part);
}

/* It went wrong in this step, and says so on all ways. */
static void expect_wrong(program *p, const char *step, const char *said) {
    const char *sentence = program_refusal(p, 1);
    program_expect_text(p, sentence, said);
    program_expect_text(p, sentence, step);
    expect_row(p, step, "  WRONG  ");
    expect_row(p, step, said);
    assert_int_equal(count_of(p->out, "  WRONG  "), 1);
    expect_nothing_left();
    program_free(p);
}

static void expect_all_good(const program *p) {
    static const char *const steps[STEPS] = {"train", "go on",   "metrics", "pack",
                                             "serve", "answers", "stop"};
    if (p->code != 0) fail_msg("thaw %s: exit code %d\n%s\n%s", p->line, p->code, p->out, p->err);
    for (int i = 0; i < STEPS; i++)
        expect_row(p, steps[i], "  ok  ");
    program_expect_text(p, p->out, "top-1 0.");
    program_expect_text(p, p->out, "each answer as in training");
    expect_row(p, "go on", "went on: features of ");
}

/* ---- all goes well -------------------------------------------------------------------------- */

/* The JSON in an output, between its first brace and the one alone on a line. */
static json_t *request_in(const char *text) {
    const char *begin = strstr(text, "\n{\n"), *end = strstr(text, "\n}\n");
    begin = begin ? begin : strchr(text, '{');
    if (!begin || !end) fail_msg("no request in\n%s", text);
    json_t *json = json_loadb(begin, (size_t)(end + 3 - begin), JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(json);
    json_object_del(json, "TrainingJobName");
    return json;
}

/* What the job was given is what `thaw sagemaker job` would send, to the letter. */
static void a_life(void **state) {
    (void)state;
    static const char options[] = "--epochs=3 --learning_rate=0.05 --seed=5";
    program p = {0}, job = {0};
    char root[PATH_MAX], path[PATH_MAX];
    program_run(&p, TRY "%s --keep", options);
    expect_all_good(&p);
    assert_true(find_root(root));
    snprintf(path, sizeof path, "%.500s/ml/input/config/hyperparameters.json", root);
    json_t *given = load(path), *tried = request_in(p.out);
    program_expect_ok(&job,
                      "sagemaker job %s --role=arn:aws:iam::111122223333:role/thaw "
                      "--image=111122223333.dkr.ecr.us-east-1.amazonaws.com/thaw:cuda "
                      "--train=s3://your-bucket/train/ --test=s3://your-bucket/test/ "
                      "--model=s3://your-bucket/m.onnx --instance=ml.g5.xlarge "
                      "--checkpoints=s3://your-bucket/checkpoints/",
                      options);
    json_t *sent = request_in(job.out);
    assert_true(json_equal(tried, sent));
    assert_true(json_equal(given, json_object_get(sent, "HyperParameters")));
    assert_int_equal(json_object_size(given), 3);
    static const char *const kept[] = {"training.log", "endpoint.log", "model.tar.gz",
                                       "ml/output/data/report.html", "endpoint/model/bundle.json"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        snprintf(path, sizeof path, "%.500s/%s", root, kept[i]);
        assert_true(is_there(path));
    }
    remove_tree(root);
    json_decref(given);
    json_decref(tried);
    json_decref(sent);
    program_free(&p);
    program_free(&job);
}

/* More than a head; without folders for a split, from an ini file. */
static void a_deep_life(void **state) {
    (void)state;
    static const char ini[] =
        "freeze = stage2\nhead.solver = lbfgs\nhead.weight_decay = 0.01\n"
        "data.validation = 0.3\n[top]\nepochs = 30\nbatch = 8\n"
        "[sagemaker]\nname = deep-1\ninput_mode = FastFile\n";
    program p = {0};
    write_bytes("cloud.ini", ini, strlen(ini));
    program_run(&p, "sagemaker try cloud.ini pics/train --model=m.onnx");
    expect_all_good(&p);
    expect_row(&p, "train", "exit code 143");
    expect_row(&p, "train", "with the best model so far");
    expect_row(&p, "go on", "and a half-trained network");
    expect_row(&p, "metrics", "validation:accuracy");
    expect_row(&p, "answers", " validation pictures");
    program_expect_text(&p, p.out, "training job deep-1, host algo-1");
    expect_nothing_left();
    program_free(&p);
}

/* ---- what is wrong from the start ----------------------------------------------------------- */

static void what_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *words, *said;
        bool missing; /* And no matter of how it was asked for. */
    } rows[] = {
        {"pics", "model is not given", false},
        {"pics --model=pics", "is no file: a job gets an ONNX file", false},
        {"pics --model=nothing.onnx", "cannot find nothing.onnx", true},
        {"m.onnx --model=m.onnx", "m.onnx is no folder", false},
        {"pics/train --model=m.onnx --test=s3://bucket/test/", "sagemaker.test asks for a channel",
         false},
        {"pics --model=m.onnx --count=2", "here is one machine", false},
        {"pics --model=m.onnx --momentum=7", "head.momentum = '7': expected", false},
        {"pics --model=m.onnx --instance=ml.c5.large", "does not train on this machine", false},
        {"pics --model=m.onnx --submit", "does nothing in thaw sagemaker try", false},
        {"pics --model=m.onnx --out=x", "does nothing in thaw sagemaker try", false},
        {"image.ini pics --model=m.onnx", "sagemaker.model = b0 is in the image", false},
        {"", "too few arguments", false},
    };
    write_bytes("image.ini", "[sagemaker]\nmodel = b0\n", 23);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        program p = {0};
        program_run(&p, "sagemaker try %s", rows[i].words);
        program_expect_text(&p, program_refusal(&p, rows[i].missing ? 1 : 2), rows[i].said);
        program_free(&p);
        expect_nothing_left();
    }
}

/* The job fails, or the endpoint does: with the sentence that SageMaker would show. */
static void what_goes_wrong(void **state) {
    (void)state;
    static const struct {
        const char *words, *step, *said, *left;
    } rows[] = {
        {"--model=no.onnx", "train", "exit code 1: ", "6 could not be tried"},
        {"--model=m.onnx --num_classes=5", "train", "and the pictures have 8 classes",
         "6 could not be tried"},
        {"--model=m.onnx --freeze=nowhere", "train", "exit code 2: ", "6 could not be tried"},
        {"--model=m.onnx --epochs=1 --environment=THAW_SERVE_WAIT=x", "serve",
         "the endpoint has ended with exit code 2: thaw: THAW_SERVE_WAIT", "2 could not be tried"},
        {"--model=m.onnx --epochs=1 --environment=THAW_SERVE_MAX_BODY=1024", "answers",
         "the endpoint says 413: ", "1 of 7 steps went wrong: answers"},
    };
    write_bytes("no.onnx", "This is no model.", 17);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        program p = {0};
        program_run(&p, "sagemaker try pics %s", rows[i].words);
        program_expect_text(&p, p.err, rows[i].left);
        expect_wrong(&p, rows[i].step, rows[i].said);
    }
}

/* ---- what goes wrong on the way ------------------------------------------------------------- */

static void skip_without_children(void) {
    if (is_there("/proc/thread-self/children")) return;
    print_message("SKIPPED: this kernel does not list a process's children\n");
    skip();
}

/* The child of a program; 0: it has none. */
static pid_t child_of(const program *p) {
    char path[64];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", p->pid, p->pid);
    FILE *file = fopen(path, "r");
    if (!file) fail_msg("%s: cannot be read", path);
    if (fscanf(file, "%d", &child) != 1) child = 0;
    fclose(file);
    return child;
}

static bool has_printed(const char *path, const char *text) {
    size_t n;
    if (!is_there(path)) return false;
    char *all = (char *)test_read(path, &n);
    all[n] = '\0';
    bool found = strstr(all, text);
    free(all);
    return found;
}

/* Waits for the child of the step whose title is given, and holds the program. Returns the child. */
static pid_t hold(const program *p, const char *title) {
    pid_t child = 0;
    while (program_is_running(p) && (!has_printed(p->out_path, title) || !(child = child_of(p))))
        pause_ms(1);
    kill(p->pid, SIGSTOP);
    if (!child) fail_msg("thaw %s has no child in '%s'", p->line, title);
    return child;
}

/* Until the child of a program that is held has ended: it is a zombie then. */
static void await_end(pid_t child) {
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    while (state != 'Z') {
        FILE *file = fopen(path, "r");
        if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = 'Z';
        if (file) fclose(file);
        pause_ms(1);
    }
}

static void go_on(program *p) {
    kill(p->pid, SIGCONT);
    program_wait(p);
}

static void a_job_that_dies(void **state) {
    (void)state;
    skip_without_children();
    program p = {0};
    program_start(&p, TRY);
    kill(hold(&p, "\ntrain: "), SIGKILL);
    go_on(&p);
    expect_wrong(&p, "train", "exit code 137, and no output/failure that says why");
}

static void checkpoints_that_get_lost(void **state) {
    (void)state;
    skip_without_children();
    program p = {0};
    char root[PATH_MAX], path[PATH_MAX];
    program_start(&p, TRY "--epochs=1");
    await_end(hold(&p, "\ntrain: "));
    assert_true(find_root(root));
    snprintf(path, sizeof path, "%.500s/ml/checkpoints/cache", root);
    remove_tree(path);
    go_on(&p);
    expect_row(&p, "train", "too quick to be stopped");
    expect_wrong(&p, "go on", "it began again");
}

/* Other bytes in the place of these, wherever they are. */
static void replace_in(const char *path, const char *from, const char *to) {
    size_t n;
    char *text = (char *)test_read(path, &n);
    text[n] = '\0';
    assert_int_equal(strlen(from), strlen(to));
    char *at = strstr(text, from);
    if (!at) fail_msg("%s has no \"%s\"", path, from);
    for (; at; at = strstr(at, from))
        memcpy(at, to, strlen(to));
    write_bytes(path, text, n);
    free(text);
}

static void a_log_without_the_metric(void **state) {
    (void)state;
    skip_without_children();
    program p = {0};
    char root[PATH_MAX], path[PATH_MAX];
    program_start(&p, TRY "--epochs=2000");
    await_end(hold(&p, "\ngo on: "));
    assert_true(find_root(root));
    snprintf(path, sizeof path, "%.500s/training.log", root);
    replace_in(path, " test_accuracy=", " last_accuracy=");
    go_on(&p);
    expect_row(&p, "answers", "  ok  ");
    expect_row(&p, "stop", "  ok  ");
    expect_wrong(&p, "metrics", "no line of the log has test:accuracy");
}

/* Held while the endpoint gets ready. */
static pid_t hold_serving(program *p, char root[PATH_MAX]) {
    char log[PATH_MAX];
    program_start(p, TRY "--epochs=1");
    pid_t child = hold(p, "\nserve: ");
    assert_true(find_root(root));
    snprintf(log, sizeof log, "%.500s/endpoint.log", root);
    while (!has_printed(log, "ready\n"))
        pause_ms(1);
    return child;
}

static void an_endpoint_that_answers_otherwise(void **state) {
    (void)state;
    skip_without_children();
    program p = {0};
    char root[PATH_MAX], path[PATH_MAX], line[1024], *fields[3];
    hold_serving(&p, root);
    snprintf(path, sizeof path, "%.500s/ml/output/data/predictions.csv", root);
    FILE *table = fopen(path, "r");
    assert_true(table && fgets(line, sizeof line, table) && fgets(line, sizeof line, table));
    fclose(table);
    /* Each class has a name of its own: some other one as the first row's answer. */
    char *rest = line, from[1024], to[1024];
    for (int i = 0; i < 3; i++)
        fields[i] = strsep(&rest, ",");
    snprintf(from, sizeof from, "%.500s,%.200s,%.200s,", fields[0], fields[1], fields[2]);
    fields[2][0] = fields[2][0] == 'x' ? 'y' : 'x';
    snprintf(to, sizeof to, "%.500s,%.200s,%.200s,", fields[0], fields[1], fields[2]);
    replace_in(path, from, to);
    go_on(&p);
    expect_row(&p, "stop", "  ok  ");
    expect_wrong(&p, "answers", "1 of 16 pictures are answered otherwise than in training");
}

static void an_endpoint_that_writes(void **state) {
    (void)state;
    skip_without_children();
    program p = {0};
    char root[PATH_MAX], path[PATH_MAX];
    hold_serving(&p, root);
    snprintf(path, sizeof path, "%.500s/endpoint/model", root);
    assert_int_equal(chmod(path, 0755), 0);
    strcat(path, "/note");
    write_bytes(path, "x", 1);
    go_on(&p);
    expect_wrong(&p, "stop", "the endpoint has written into its model");
}

static void an_endpoint_that_dies(void **state) {
    (void)state;
    skip_without_children();
    program p = {0};
    char root[PATH_MAX];
    kill(hold_serving(&p, root), SIGKILL);
    go_on(&p);
    expect_wrong(&p, "serve", "the endpoint has ended with exit code 137");
}

static void a_try_that_is_stopped(void **state) {
    (void)state;
    skip_without_children();
    program p = {0};
    char root[PATH_MAX];
    pid_t child = hold_serving(&p, root);
    kill(p.pid, SIGINT);
    go_on(&p);
    program_expect_text(&p, program_refusal(&p, 1), "stopped by a signal");
    assert_int_equal(kill(child, 0), -1);
    expect_nothing_left();
    program_free(&p);
}

/* ---- metrics -------------------------------------------------------------------------------- */

static void what_expressions_find(void **state) {
    (void)state;
    static const char log[] = "a=1; b=x;\nnothing\n a=2.5e-3; \r\na=\n";
    thaw_arena arena = {0};
    thaw_error err = {0};
    thaw_observed *list;
    size_t n;
    json_t *good = json_pack("[{s:s,s:s},{s:s,s:s}]", "Name", "the:a", "Regex", "a=([0-9.e-]+);",
                             "Name", "the:c", "Regex", "c=([0-9]+);");
    json_t *bad[] = {json_pack("[{s:s,s:s}]", "Name", "n", "Regex", "a=[0-9]+;"),
                     json_pack("[{s:s,s:s}]", "Name", "n", "Regex", "a=([0-9"),
                     json_pack("[{s:s,s:s}]", "Name", "n", "Regex", "b=(.);")};
    static const char *const said[] = {"has no group", "is no expression", "is no number"};
    write_bytes("log", log, strlen(log));
    assert_int_equal(thaw_observed_read("log", good, &arena, &list, &n, &err), THAW_OK);
    assert_int_equal(n, 2);
    const thaw_observed *a = thaw_observed_find(list, n, "the:a");
    assert_true(a->n == 2 && a->first == 1 && a->last == 2.5e-3);
    assert_int_equal(thaw_observed_find(list, n, "the:c")->n, 0);
    assert_null(thaw_observed_find(list, n, "a"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(thaw_observed_read("log", bad[i], &arena, &list, &n, &err),
                         THAW_ERR_FORMAT);
        if (!strstr(err.text, said[i])) fail_msg("%s", err.text);
        json_decref(bad[i]);
    }
    json_decref(good);
    thaw_arena_free(&arena);
}

/* What a test before has left when it failed is not this one's. */
static int clear(void **state) {
    (void)state;
    remove_tree("tmp");
    return mkdir("tmp", 0755);
}

static int open_place(void **state) {
    char path[PATH_MAX];
    *state = &place;
    place = program_place(TRAIN, TEST);
    setenv("TMPDIR", tempdir_path(&place, "tmp", path), 1);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_life, clear),
        cmocka_unit_test_setup(a_deep_life, clear),
        cmocka_unit_test_setup(what_is_refused, clear),
        cmocka_unit_test_setup(what_goes_wrong, clear),
        cmocka_unit_test_setup(a_job_that_dies, clear),
        cmocka_unit_test_setup(checkpoints_that_get_lost, clear),
        cmocka_unit_test_setup(a_log_without_the_metric, clear),
        cmocka_unit_test_setup(an_endpoint_that_answers_otherwise, clear),
        cmocka_unit_test_setup(an_endpoint_that_writes, clear),
        cmocka_unit_test_setup(an_endpoint_that_dies, clear),
        cmocka_unit_test_setup(a_try_that_is_stopped, clear),
        cmocka_unit_test_setup(what_expressions_find, clear),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
