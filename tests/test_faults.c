/* What the machine refuses: memory, descriptors, a sound disk, open standard streams.
 *
 * - Each allocation of a small run fails once: train with a cold and with a warm cache, eval, predict,
 *   inspect, new, and the cache commands. The program ends in a sentence, with nothing half-written,
 *   or makes what the undisturbed run makes, byte for byte apart from times.
 * - What is wrong with the machine is not blamed on a picture.
 * - What was written is on disk before the program says so.
 *
 * tests/faults/preload.c does it, and tells which allocations do not count. In a run there are
 * thousands; many are reached on one way, so that of each way one is tried, the first, over all
 * commands. THAW_FAULTS=all tries every one (a quarter of an hour on two cores), THAW_FAULTS=N each
 * N-th. */
#include <jansson.h>

#include <time.h>

#include "program.h"
//
#include "cache/cache.h"

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { TRAIN = 2, TEST = 1, WORKERS = 2, PATIENCE = 120 };

static tempdir place;

/* Pictures may be bad: one that want of memory made bad would leave another model. */
#define TRAIN_LINE                                                                   \
    "train --data.train=../pics --model=../m.onnx --out=run --epochs=2 --threads=1 " \
    "--data.max_bad=1000 "

/* ---- the library --------------------------------------------------------------------------- */

/* Starts p with the library, which the environment tells what to do. */
#define start_with(p, variable, value, ...)           \
    do {                                              \
        setenv("LD_PRELOAD", THAW_FAULTS_LIBRARY, 1); \
        setenv(variable, value, 1);                   \
        program_start((p), __VA_ARGS__);              \
        unsetenv(variable);                           \
        unsetenv("LD_PRELOAD");                       \
    } while (0)

static void skip_sanitized(void) {
    if (!SANITIZED) return;
    print_message("SKIPPED: the sanitizer's allocator is not to be replaced\n");
    skip();
}

/* ---- what a run leaves --------------------------------------------------------------------- */

/* A file of JSON without what differs from run to run. */
static json_t *load_timeless(const char *path) {
    json_t *json = json_load_file(path, 0, NULL);
    if (!json) fail_msg("%s is damaged", path);
    json_object_del(json, "created");
    json_object_del(json, "seconds");
    json_object_del(json_object_get(json, "metrics"), "seconds");
    return json;
}

static void expect_same_json(const char *a, const char *b) {
    json_t *json[] = {load_timeless(a), load_timeless(b)};
    if (!json_equal(json[0], json[1])) fail_msg("%s and %s differ", a, b);
    json_decref(json[0]);
    json_decref(json[1]);
}

/* Characters of the figure at text, with the unit of a time that may stand behind it. */
static size_t figure_length(const char *text) {
    static const char *const units[] = {" ms", " min", " s", " h"};
    size_t n = strspn(text, "0123456789.");
    for (size_t i = 0; n && i < sizeof units / sizeof *units; i++)
        if (strncmp(text + n, units[i], strlen(units[i])) == 0) return n + strlen(units[i]);
    return n;
}

/* A text without its figures, to be freed. */
static char *load_words(const char *path) {
    size_t n, k = 0;
    char *text = (char *)test_read(path, &n);
    text[n] = '\0';
    for (size_t i = 0; i < n;) {
        size_t figure = figure_length(text + i);
        if (!figure) text[k++] = text[i++];
        i += figure;
    }
    text[k] = '\0';
    return text;
}

static void expect_same_words(const char *a, const char *b) {
    char *words[] = {load_words(a), load_words(b)};
    size_t same = 0;
    while (words[0][same] && words[0][same] == words[1][same])
        same++;
    if (words[0][same] != words[1][same])
        fail_msg("%s and %s differ: '%.80s', and '%.80s'", a, b, words[0] + same, words[1] + same);
    free(words[0]);
    free(words[1]);
}

/* The lines of a file of epochs, without their times. */
static json_t *load_epochs(const char *path) {
    json_t *list = json_array();
    FILE *file = fopen(path, "r");
    char line[1024];
    if (!file) fail_msg("%s is missing", path);
    while (fgets(line, sizeof line, file)) {
        json_t *epoch = json_loads(line, 0, NULL);
        if (!epoch) fail_msg("%s: not JSON: %s", path, line);
        json_object_del(epoch, "seconds");
        json_array_append_new(list, epoch);
    }
    fclose(file);
    return list;
}

static void expect_same_epochs(const char *a, const char *b) {
    json_t *json[] = {load_epochs(a), load_epochs(b)};
    if (!json_equal(json[0], json[1])) fail_msg("%s and %s differ", a, b);
    json_decref(json[0]);
    json_decref(json[1]);
}

static char *in(const char *folder, const char *name, char path[PATH_MAX]) {
    tempdir_check(snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX, name);
    return path;
}

static void expect_same_run(const char *a, const char *b) {
    static const char *const equal[] = {
        "run/model.onnx",   "run/predictions.csv", "run/neighbours.csv", "run/map.csv",
        "run/golden/0.jpg", "run/golden/1.jpg",    "run/golden/2.jpg"};
    char p[PATH_MAX], q[PATH_MAX];
    for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
        expect_equal_files(in(a, equal[i], p), in(b, equal[i], q));
    expect_same_json(in(a, "run/bundle.json", p), in(b, "run/bundle.json", q));
    expect_same_json(in(a, "run/metrics.json", p), in(b, "run/metrics.json", q));
    expect_same_epochs(in(a, "run/epochs.jsonl", p), in(b, "run/epochs.jsonl", q));
    expect_same_words(in(a, "run/report.html", p), in(b, "run/report.html", q));
    assert_true(is_there(in(b, "run/train.ini", q))); /* Absolute paths are in it. */
}

/* ---- each allocation ----------------------------------------------------------------------- */

typedef struct scenario {
    const char *name, *line;
    bool makes_run;  /* "run"; otherwise standard output counts. */
    bool cold_cache; /* "cache" is removed before each run. */
} scenario;

/* Each in a folder of its own beside pics, m.onnx and trained/run, with trained/cache as cache. */
static const scenario scenarios[] = {
    {"train", TRAIN_LINE "--cache.dir=cache", true, true},
    {"train, warm", TRAIN_LINE "--cache.dir=cache", true, false},
    {"train, views", TRAIN_LINE "--cache.dir=cache --views=2 --views.show=sheet.jpg", true, true},
    {"eval",
     "eval ../trained/run ../pics/test --threads=1 --cache.dir=cache --json --data.max_bad=1000",
     false, true},
    {"predict",
     "predict ../trained/run ../pics/test/rose/rose-0000.jpg ../pics/test/lily/lily-0000.jpg "
     "--json",
     false, false},
    {"predict, text", "predict ../trained/run ../pics/test/rose/rose-0000.jpg", false, false},
    {"inspect", "inspect ../m.onnx", false, false},
    {"new", "new --arch=resnet18 --classes=2 -o new.onnx", false, false},
    {"cache ls", "cache ls --cache.dir=../trained/cache", false, false},
    {"cache verify", "cache verify --cache.dir=../trained/cache", false, false},
    {"cache gc", "cache gc --cache.dir=cache", false, false},
    {"cache explain",
     "cache explain --model=../m.onnx --image.filter=bicubic --cache.dir=../trained/cache", false,
     false},
    {"options", "options", false, false},
    {"train --help", "train --help", false, false},
};

/* A place where one run after the other is tried. */
typedef struct worker {
    char folder[32];
    program p;
    long number; /* Of the allocation that failed. */
} worker;

/* Makes the folder anew, with a copy of the trained run's cache. */
static void make_folder(const char *folder) {
    char line[PATH_MAX];
    remove_tree(folder);
    tempdir_folder(&place, folder);
    snprintf(line, sizeof line, "cp -r trained/cache %.1000s", folder);
    assert_int_equal(system(line), 0);
}

static void prepare(const scenario *s, const worker *w) {
    char path[PATH_MAX];
    remove_tree(in(w->folder, "run", path));
    if (s->cold_cache) remove_tree(in(w->folder, "cache", path));
}

static void start(const scenario *s, worker *w, long number) {
    char text[32];
    prepare(s, w);
    w->number = number;
    w->p = (program){.folder = w->folder, .seconds = PATIENCE};
    snprintf(text, sizeof text, "%ld", number);
    start_with(&w->p, "FAULT_ALLOC", text, "%s", s->line);
}

static thaw_status expect_whole(void *context, const thaw_cache_entry *e, thaw_error *err) {
    (void)context, (void)err;
    if (e->damaged || e->foreign)
        fail_msg("the cache is damaged: %zu, %zu", e->damaged, e->foreign);
    return THAW_OK;
}

static bool blames_pictures(const program *p) {
    const char *reason = program_refusal(p, 1);
    return strstr(reason, "cannot be used") || strstr(reason, "have no answer");
}

/* Returns whether the failure ended the program. */
static bool check(const scenario *s, worker *w, const char *expected) {
    char path[PATH_MAX];
    program_wait(&w->p);
    bool ended = w->p.code != 0;
    if (ended && w->p.code != 1)
        fail_msg("%s, allocation %ld: exit code %d\n%s", s->name, w->number, w->p.code, w->p.err);
    if (ended && blames_pictures(&w->p))
        fail_msg("%s, allocation %ld: a picture is blamed\n%s", s->name, w->number, w->p.err);
    if (ended && is_there(in(w->folder, "run", path)))
        fail_msg("%s, allocation %ld: a run is left\n%s", s->name, w->number, w->p.err);
    if (!ended && s->makes_run) expect_same_run("undisturbed", w->folder);
    if (!ended && !s->makes_run && strcmp(w->p.out, expected) != 0)
        fail_msg("%s, allocation %ld: exit code 0, but\n%s", s->name, w->number, w->p.out);
    thaw_error err;
    in(w->folder, "cache", path);
    if (thaw_cache_walk(path, true, expect_whole, NULL, &err) != THAW_OK) fail_msg("%s", err.text);
    program_free(&w->p);
    return ended;
}

/* The undisturbed run. Returns its output, to be freed, and writes the ways of its allocations to the
 * file. */
static char *run_undisturbed(const scenario *s, const char *ways) {
    char path[PATH_MAX];
    worker w = {.folder = "undisturbed", .p = {.folder = "undisturbed"}};
    make_folder(w.folder);
    prepare(s, &w);
    unlink(tempdir_path(&place, ways, path));
    start_with(&w.p, "FAULT_PATHS", path, "%s", s->line);
    program_wait(&w.p);
    if (w.p.code) fail_msg("%s: %s", s->name, w.p.err);
    char *out = strdup(w.p.out);
    program_free(&w.p);
    return out;
}

/* Hashes of the ways that were tried. */
enum { MOST_WAYS = 16384 };
static unsigned long long tried[MOST_WAYS];
static size_t n_tried;

static bool is_new(unsigned long long way) {
    for (size_t i = 0; i < n_tried; i++)
        if (tried[i] == way) return false;
    assert_true(n_tried < MOST_WAYS);
    tried[n_tried++] = way;
    return true;
}

/* Which allocations to let fail, by the file of ways; at most `most`. */
static size_t choose(const char *ways, long *numbers, size_t most) {
    const char *wish = getenv("THAW_FAULTS");
    long step = !wish ? 0 : strcmp(wish, "all") == 0 ? 1 : atol(wish), last = 0;
    size_t n = 0;
    FILE *file = fopen(ways, "r");
    assert_non_null(file);
    unsigned long long way;
    for (long number; fscanf(file, "%ld %llx", &number, &way) == 2; last = number)
        if (!step && is_new(way) && n < most) numbers[n++] = number;
    fclose(file);
    for (long number = 1; step && number <= last && n < most; number += step)
        numbers[n++] = number;
    return n;
}

static void try_scenario(const scenario *s, size_t *n_runs, size_t *n_ended) {
    enum { MOST = 100000 };
    static long numbers[MOST];
    static worker workers[WORKERS];
    char *expected = run_undisturbed(s, "ways");
    size_t n = choose("ways", numbers, MOST);
    for (int k = 0; k < WORKERS; k++) {
        snprintf(workers[k].folder, sizeof workers[k].folder, "worker%d", k);
        make_folder(workers[k].folder);
    }
    for (size_t i = 0; i < n; i += WORKERS) {
        size_t m = n - i < WORKERS ? n - i : WORKERS;
        for (size_t k = 0; k < m; k++)
            start(s, &workers[k], numbers[i + k]);
        for (size_t k = 0; k < m; k++)
            *n_ended += check(s, &workers[k], expected);
    }
    *n_runs += n;
    free(expected);
}

static void each_allocation(void **state) {
    (void)state;
    skip_sanitized();
    size_t n_runs = 0, n_ended = 0;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        try_scenario(&scenarios[i], &n_runs, &n_ended);
    print_message("%zu allocations failed, %zu ended the program\n", n_runs, n_ended);
    assert_true(n_ended > 200 && n_ended < n_runs);
}

/* ---- the machine is to blame --------------------------------------------------------------- */

/* With few descriptors a run makes what it always makes, or ends with the reason; no picture is
 * rejected. */
static void few_descriptors(void **state) {
    (void)state;
    enum { FEWEST = 4, MOST = 16 };
    size_t n_refused = 0;
    program p = {.folder = "undisturbed"};
    make_folder("undisturbed");
    program_expect_ok(&p, TRAIN_LINE "--cache.dir=new");
    program_free(&p);
    for (rlim_t files = FEWEST; files <= MOST; files++) {
        p = (program){.folder = "worker0", .most_files = files, .seconds = PATIENCE};
        make_folder("worker0");
        program_run(&p, TRAIN_LINE "--cache.dir=new");
        n_refused += p.code != 0;
        if (p.code == 0)
            expect_equal_files("undisturbed/run/model.onnx", "worker0/run/model.onnx");
        else if (p.code == 1 && strstr(p.err, "thaw: "))
            program_expect_text(&p, program_refusal(&p, 1), "Too many open files");
        else if (p.code != 127 && p.code != 1) /* The loader, too, needs some. */
            fail_msg("%d descriptors: exit code %d\n%s", (int)files, p.code, p.err);
        if (is_there("worker0/run.partial")) fail_msg("%d descriptors: half a run", (int)files);
        program_free(&p);
    }
    assert_in_range(n_refused, 1, MOST - FEWEST);
}

static const struct {
    const char *variable;
    int number;
    bool rejects; /* The picture is to blame. */
} picture_faults[] = {
    {"FAULT_OPEN", EMFILE, false}, {"FAULT_OPEN", ENFILE, false}, {"FAULT_OPEN", ENOMEM, false},
    {"FAULT_OPEN", EIO, false},    {"FAULT_OPEN", ESTALE, false}, {"FAULT_READ", EIO, false},
    {"FAULT_READ", ENOMEM, false}, {"FAULT_OPEN", EACCES, true},  {"FAULT_OPEN", ENOENT, true},
};

/* A picture that can't be opened or read is rejected when that is its own fault; otherwise the run
 * ends with the reason and names it. */
static void who_is_to_blame(void **state) {
    (void)state;
    skip_sanitized();
    enum { LINES = 2 };
    static const char *const lines[LINES] = {
        TRAIN_LINE "--cache.dir=new",
        "predict ../trained/run ../pics/test/lily/lily-0000.jpg ../pics/test/rose/rose-0000.jpg"};
    for (size_t i = 0; i < sizeof picture_faults / sizeof *picture_faults; i++)
        for (int k = 0; k < LINES; k++) {
            program p = {.folder = "worker0"};
            char fault[64];
            snprintf(fault, sizeof fault, "test/rose/rose-0000.jpg %d", picture_faults[i].number);
            make_folder("worker0");
            start_with(&p, picture_faults[i].variable, fault, "%s", lines[k]);
            program_wait(&p);
            const char *reason = strerror(picture_faults[i].number);
            if (picture_faults[i].rejects && k == 0) {
                if (p.code) fail_msg("%s: %s", reason, p.err);
                program_expect_text(&p, p.err, "1 pictures rejected");
            } else if (picture_faults[i].rejects) {
                program_expect_text(&p, program_refusal(&p, 1), "1 of 2 pictures have no answer");
                program_expect_text(&p, p.out, reason);
            } else {
                program_expect_text(&p, program_refusal(&p, 1), reason);
                program_expect_text(&p, program_refusal(&p, 1), "test/rose/rose-0000.jpg");
                if (is_there("worker0/run.partial")) fail_msg("%s: half a run", reason);
            }
            program_free(&p);
        }
}

/* ---- closed descriptors -------------------------------------------------------------------- */

/* Whoever starts the program may have closed its standard streams: what it prints must not land in
 * the files that get their numbers. */
static void closed_descriptors(void **state) {
    (void)state;
    char a[PATH_MAX], b[PATH_MAX];
    program p = {.folder = "undisturbed"};
    make_folder("undisturbed");
    program_expect_ok(&p, TRAIN_LINE "--cache.dir=new");
    program_free(&p);
    for (unsigned closed = 1; closed < 8; closed++) {
        p = (program){.folder = "worker0", .closed = closed, .seconds = PATIENCE};
        make_folder("worker0");
        program_run(&p, TRAIN_LINE "--cache.dir=new --log=debug");
        if (p.code) fail_msg("closed %u: exit code %d\n%s", closed, p.code, p.err);
        program_free(&p);
        assert_true(find_shard("undisturbed/new", a) && find_shard("worker0/new", b));
        expect_equal_files(a, b);
        expect_equal_files("undisturbed/run/model.onnx", "worker0/run/model.onnx");
        expect_same_epochs("undisturbed/run/epochs.jsonl", "worker0/run/epochs.jsonl");
        json_decref(load_timeless("worker0/run/bundle.json"));
    }
}

/* ---- on disk ------------------------------------------------------------------------------- */

/* What a run did, a line each. */
typedef struct events {
    char *text, *lines[256];
    size_t n;
} events;

/* The number of the first line from `from` on that starts with what and path, and, if whole, ends
 * there; fails the test when there is none. */
static size_t find_event(const events *e, size_t from, const char *what, const char *path,
                         bool whole) {
    char text[2 * PATH_MAX];
    size_t n = (size_t)snprintf(text, sizeof text, "%s%s", what, path);
    for (size_t i = from; i < e->n; i++)
        if (whole ? strcmp(e->lines[i], text) == 0 : strncmp(e->lines[i], text, n) == 0) return i;
    fail_msg("\"%s\" did not happen", text);
    return 0;
}

static events run_and_watch(const char *folder) {
    char log[PATH_MAX];
    events e = {0};
    program p = {.folder = folder};
    make_folder(folder);
    unlink(tempdir_path(&place, "log", log));
    start_with(&p, "FAULT_LOG", log, TRAIN_LINE "--cache.dir=new");
    program_wait(&p);
    if (p.code) fail_msg("%s", p.err);
    program_free(&p);
    e.text = program_stream(log);
    for (char *rest = e.text, *line; (line = strsep(&rest, "\n")) && *line;) {
        assert_true(e.n < sizeof e.lines / sizeof *e.lines);
        e.lines[e.n++] = line;
    }
    return e;
}

/* A power cut after the program's end costs nothing: each file is synced before it is renamed, its
 * folder after it, and so are the shard and the folders that are new. */
static void on_disk_before_the_end(void **state) {
    (void)state;
    skip_sanitized();
    static const char *const files[] = {"model.onnx",  "bundle.json", "metrics.json",
                                        "report.html", "train.ini",   "predictions.csv",
                                        "map.csv"};
    char root[PATH_MAX], path[PATH_MAX], shard[PATH_MAX], from[PATH_MAX];
    events e = run_and_watch("worker0");
    assert_non_null(realpath("worker0", root));
    in(root, "run.partial", from);
    size_t last = find_event(&e, 0, "rename ", "run.partial run", true);
    find_event(&e, last, "sync ", root, true);
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        size_t synced = find_event(&e, 0, "sync ", in(from, files[k], path), false);
        size_t renamed = find_event(&e, synced, "rename run.partial/", files[k], false);
        assert_int_equal(renamed, synced + 1);
        assert_int_equal(find_event(&e, renamed, "sync ", from, true), renamed + 1);
        assert_true(renamed < last);
    }
    assert_true(find_event(&e, 0, "sync ", in(from, "epochs.jsonl", path), true) < last);
    assert_true(find_shard("worker0/new", path));
    assert_non_null(realpath(path, shard));
    size_t made = find_event(&e, 0, "make ", shard, true);
    find_event(&e, made, "sync ", shard, true);
    *strrchr(shard, '/') = '\0';
    find_event(&e, made, "sync ", shard, true); /* The trunk's folder. */
    *strrchr(shard, '/') = '\0';
    find_event(&e, 0, "sync ", shard, true); /* That of the cache, where the former is new. */
    free(e.text);
}

static int train_once(void **state) {
    *state = &place;
    place = program_place(TRAIN, TEST);
    program p = {.folder = "trained"};
    tempdir_folder(&place, "trained");
    program_expect_ok(&p, TRAIN_LINE "--cache.dir=cache");
    program_free(&p);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_descriptors),    cmocka_unit_test(who_is_to_blame),
        cmocka_unit_test(closed_descriptors), cmocka_unit_test(on_disk_before_the_end),
        cmocka_unit_test(each_allocation),
    };
    return cmocka_run_group_tests(tests, train_once, program_close);
}
