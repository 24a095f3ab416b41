#include "freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "data/dataset.h"
#include "file.h"
#include "freeze_results.h"
#include "session.h"
#include "stop.h"
#include "storage.h"

extern char **environ;

typedef struct bench {
    thaw_freeze freeze;
    thaw_network network;
    thaw_log log;
    const volatile int *stop;
    const char *ini,
        *head_ini; /* What trainings have in common; without what only the top heeds. */
    const char *precision;
    double start;
    double last_seconds; /* Of a training of the last depth with a top, */
    int64_t last_flop;   /* and that of it above the cut; 0: none yet. */
    thaw_arena arena;
} bench;

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the benchmark");
}

/* ---- options -------------------------------------------------------------------------------- */

/* Options that only what lies above a cut heeds. */
static bool is_of_top(const char *key) {
    return strncmp(key, "top.", 4) == 0 || strcmp(key, "recipe") == 0;
}

/* What differs from training to training is set for each; a stopped one that leaves a model would be taken
 * for a finished one. */
static bool is_own(const char *key) {
    static const char *const own[] = {
        "out", "freeze", "init", "resume", "data.fold", "checkpoint.dir", "checkpoint.bundle"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(key, own[i]) == 0) return true;
    return false;
}

/* A copy without them; head: without options of the top, either. To be freed. */
static thaw_status copy_options(const thaw_options *from, bool head, thaw_options *to,
                                thaw_error *err) {
    THAW_TRY(thaw_options_init(to, err));
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const char *key = thaw_options_key(i);
        if (is_own(key) || (head && is_of_top(key)) || thaw_options_has_default(from, key))
            continue;
        THAW_TRY(thaw_options_set(to, key, from->origin[i].text, from->origin[i].source, err));
    }
    return THAW_OK;
}

/* As text, with absolute paths; to be freed. */
static thaw_status print_ini(const thaw_options *from, bool head, char **text, size_t *n,
                             thaw_error *err) {
    char here[PATH_MAX];
    thaw_options copy;
    thaw_status status = copy_options(from, head, &copy, err);
    FILE *out = status == THAW_OK ? open_memstream(text, n) : NULL;
    if (status == THAW_OK && !out) status = no_memory(err);
    if (status == THAW_OK)
        status = thaw_options_write_ini(out, &copy, getcwd(here, sizeof here), err);
    if (out && fclose(out) != 0 && status == THAW_OK) status = no_memory(err);
    thaw_options_free(&copy);
    return status;
}

/* Options that decide for how long it runs and what it costs may change from one time to the next. */
static bool may_change(const char *line, size_t n) {
    static const char *const keys[] = {"minutes", "cuts",    "scratch",        "instance", "seeds",
                                       "dir",     "threads", "price_per_hour", "log"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        size_t length = strlen(keys[i]);
        if (n > length && strncmp(line, keys[i], length) == 0 && line[length] == ' ') return true;
    }
    return n == 0 || line[0] == '#' || line[0] == ';';
}

/* The first line of `now` that says something else than `before`; NULL: none does. */
static const char *find_difference(const char *before, const char *now, size_t *n) {
    while (*before && *now) {
        size_t a = strcspn(before, "\n"), b = strcspn(now, "\n");
        *n = b;
        if ((a != b || strncmp(before, now, a) != 0) && !may_change(now, b)) return now;
        before += a + (before[a] == '\n');
        now += b + (now[b] == '\n');
    }
    return NULL;
}

/* Writes an ini file, or sees to it that one that is there says the same. */
static thaw_status keep_ini(bench *b, const char *path, bool head, thaw_error *err) {
    char *now = NULL, *before;
    size_t n = 0, n_before, n_line;
    thaw_status status = print_ini(b->freeze.options, head, &now, &n, err);
    if (status == THAW_OK && access(path, F_OK) == 0) {
        status = thaw_file_read(path, 1 << 20, &b->arena, &before, &n_before, err);
        const char *line = status == THAW_OK ? find_difference(before, now, &n_line) : NULL;
        if (line)
            status = thaw_fail(err, THAW_ERR_USAGE,
                               "out = %s holds a benchmark with other options; the first is now "
                               "\"%.*s\": give another out, or remove that one",
                               b->freeze.out, (int)(n_line < 120 ? n_line : 120), line);
    }
    if (status == THAW_OK) status = thaw_file_write(path, now, n, err);
    free(now);
    return status;
}

/* ---- once for all --------------------------------------------------------------------------- */

static thaw_status open_network(bench *b, thaw_error *err) {
    thaw_options copy;
    thaw_status status = copy_options(b->freeze.options, true, &copy, err);
    if (status == THAW_OK) status = thaw_network_open(&b->network, &copy, err);
    b->freeze.network = &b->network;
    thaw_options_free(&copy);
    return status;
}

/* Records that a cut has: of pictures, and of views of those to train on. */
static thaw_status count_images(bench *b, size_t *records, thaw_error *err) {
    thaw_dataset dataset;
    thaw_dataset_spec spec = {.stop = b->stop};
    const thaw_options *o = b->freeze.options;
    THAW_TRY(thaw_dataset_spec_from_options(o, &spec, &b->arena, err));
    thaw_status status = thaw_dataset_open(&dataset, &spec, err);
    if (status == THAW_OK) {
        size_t trained =
            b->freeze.folds ? dataset.n : thaw_dataset_count(&dataset, THAW_SPLIT_TRAIN);
        b->freeze.n_images = dataset.n;
        *records = dataset.n + trained * (size_t)(o->views.n - 1);
        if (!b->freeze.folds && thaw_dataset_count(&dataset, THAW_SPLIT_TEST) == 0)
            thaw_log_write(&b->log, THAW_LOG_WARN,
                           "there are no test pictures: depths are compared on what validates, "
                           "which flatters those that were chosen by it; bench.folds compares on "
                           "all");
    }
    thaw_dataset_close(&dataset);
    return status;
}

static thaw_status choose_depths(bench *b, thaw_error *err) {
    const char *root;
    size_t records = 0;
    uint64_t room;
    THAW_TRY(thaw_storage_root(b->freeze.options, &b->arena, &root, err));
    if (!root)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "cache.dir = none: the depths share what was computed of the pictures; "
                         "give a folder");
    THAW_TRY(thaw_cache_make_root(root, b->freeze.options->cache.shared, err));
    THAW_TRY(thaw_file_free_bytes(root, &room, err));
    THAW_TRY(count_images(b, &records, err));
    return thaw_depths_choose(&b->network, b->freeze.options, records, room / 10 * 9, &b->arena,
                              &b->freeze.depths, err);
}

/* The lowest cut that is measured: the pictures are decoded up to there. */
static const thaw_depth *lowest(const thaw_freeze *f) {
    const thaw_depth *found = &f->depths.list[0];
    for (int i = 0; i < f->depths.n; i++) {
        const thaw_depth *d = &f->depths.list[i];
        if (!d->left_out && !d->scratch && d->index < found->index) found = d;
    }
    return found;
}

static thaw_status extract(bench *b, thaw_error *err) {
    const thaw_depth *depth = lowest(&b->freeze);
    thaw_options copy;
    thaw_session session;
    thaw_network network = {0};
    thaw_status status = copy_options(b->freeze.options, depth->head, &copy, err);
    if (status == THAW_OK)
        status = thaw_options_set(&copy, "freeze", depth->freeze, "bench freeze", err);
    if (status == THAW_OK && b->freeze.folds)
        status = thaw_options_set(&copy, "data.fold", "1/2", "bench freeze", err);
    if (status == THAW_OK) {
        thaw_dataset_spec spec = {.stop = b->stop};
        status = thaw_session_open(&session, &copy, err);
        if (status == THAW_OK) status = thaw_network_open(&network, &copy, err);
        if (status == THAW_OK)
            status = thaw_dataset_spec_from_options(&copy, &spec, &session.lists, err);
        if (status == THAW_OK) status = thaw_session_extract(&session, &network, &spec, NULL, err);
        if (status == THAW_OK && session.dataset.sets)
            status = thaw_fail(err, THAW_ERR_UNSUPPORTED,
                               "bench freeze compares top-1, and these pictures may have several "
                               "classes: train with the cuts in question, and compare their mAP");
        b->precision = thaw_dtype_name(session.compute);
        b->freeze.threads = session.backend.threads;
        thaw_network_close(&network);
        thaw_session_close(&session);
    }
    thaw_options_free(&copy);
    return status;
}

/* ---- one training --------------------------------------------------------------------------- */

static bool is_done(bench *b, const char *folder) {
    char *path = thaw_file_join(&b->arena, folder, "process.json");
    return path && access(path, F_OK) == 0;
}

/* What the words of a training's command line are, ended by NULL. */
static thaw_status make_words(bench *b, const thaw_depth *d, int rep, const char *folder,
                              char *words[16], thaw_error *err) {
    const thaw_freeze *f = &b->freeze;
    int n = 0;
    words[n++] = "thaw";
    words[n++] = "train";
    words[n++] = (char *)(d->head ? b->head_ini : b->ini);
    words[n++] = thaw_arena_printf(&b->arena, "--freeze=%s", d->freeze);
    words[n++] = thaw_arena_printf(&b->arena, "--out=%s", folder);
    words[n++] = thaw_arena_printf(&b->arena, "--precision=%s", b->precision);
    words[n++] = "--log=warn";
    words[n++] = "--resume";
    words[n++] =
        f->folds ? thaw_arena_printf(&b->arena, "--data.fold=%d/%d", rep + 1, f->n_reps)
                 : thaw_arena_printf(&b->arena, "--seed=%lld", (long long)f->options->seed + rep);
    if (d->scratch) words[n++] = "--init=random";
    for (int i = 0; i < n; i++)
        if (!words[i]) return no_memory(err);
    words[n] = NULL;
    return THAW_OK;
}

static thaw_status start(char *const words[], const char *said, pid_t *pid, thaw_error *err) {
    posix_spawn_file_actions_t actions;
    int code = posix_spawn_file_actions_init(&actions);
    if (!code)
        code = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!code)
        code = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, said,
                                                O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (!code) code = posix_spawn(pid, "/proc/self/exe", &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    return code
               ? thaw_fail(err, THAW_ERR_SYSTEM, "a training cannot be started: %s", strerror(code))
               : THAW_OK;
}

/* Waits, and passes a wish to stop on: the training then writes its checkpoint. */
static int wait_for(pid_t pid, const volatile int *stop, struct rusage *used) {
    int status;
    bool told = false;
    while (wait4(pid, &status, 0, used) < 0 && errno == EINTR)
        if (*stop && !told) told = kill(pid, SIGTERM) == 0;
    return status;
}

/* The program's last sentence, for people. */
static const char *last_words(bench *b, const char *path) {
    char *bytes, *line = NULL, *rest;
    size_t n;
    if (thaw_file_read(path, 1 << 20, &b->arena, &bytes, &n, NULL) != THAW_OK) return NULL;
    for (char *l = strtok_r(bytes, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest))
        line = l;
    return line && strncmp(line, "thaw: ", 6) == 0 ? line + 6 : line;
}

/* Of trainings behind the first only figures stay: models are large. */
static void trim(const char *folder) {
    static const char *const names[] = {"model.onnx", "bundle.json", "report.html"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) < (int)sizeof path) unlink(path);
}

static thaw_status keep_figures(bench *b, const char *folder, const struct rusage *used,
                                double seconds, thaw_error *err) {
    char *path = thaw_file_join(&b->arena, folder, "process.json");
    if (!path) return no_memory(err);
    thaw_json json = thaw_json_begin();
    thaw_json_integer(&json, json.root, "peak_bytes", (int64_t)used->ru_maxrss * 1024);
    thaw_json_real(&json, json.root, "seconds", seconds);
    thaw_status status = thaw_json_write(&json, path, err);
    thaw_json_free(&json);
    return status;
}

/* One training. A failure of its own leaves the depth out. */
static thaw_status train(bench *b, thaw_depth *d, int rep, const char *folder, thaw_error *err) {
    char *words[16], *said = thaw_arena_printf(&b->arena, "%s.log", folder);
    struct rusage used;
    pid_t pid;
    if (!said) return no_memory(err);
    THAW_TRY(make_words(b, d, rep, folder, words, err));
    double begin = thaw_now_s();
    THAW_TRY(start(words, said, &pid, err));
    int code = wait_for(pid, b->stop, &used);
    double seconds = thaw_now_s() - begin;
    if (*b->stop)
        return thaw_fail(err, THAW_ERR_INTERRUPTED,
                         "stopped by a signal; what is finished stays in %s, and the same command "
                         "goes on from there",
                         b->freeze.out);
    if (code != 0) {
        const char *why = last_words(b, said);
        d->left_out = why ? why : "its training failed without a word";
        thaw_log_write(&b->log, THAW_LOG_WARN, "%s: %s", d->name, d->left_out);
        return THAW_OK;
    }
    unlink(said);
    if (rep > 0) trim(folder);
    if (!d->head) b->last_seconds = seconds, b->last_flop = d->flop_above;
    thaw_log_write(&b->log, THAW_LOG_INFO, "%s, %s %d of %d: %.1f s", d->name,
                   b->freeze.folds ? "fold" : "training", rep + 1, b->freeze.n_reps, seconds);
    return keep_figures(b, folder, &used, seconds, err);
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* Whether a depth's trainings, of which `missing` are not there yet, may end too late. */
static bool is_too_late(bench *b, thaw_depth *d, int missing) {
    double limit = 60 * b->freeze.options->bench.minutes, gone = thaw_now_s() - b->start;
    if (limit == 0 || missing == 0) return false;
    double each = b->last_flop ? b->last_seconds * (double)d->flop_above / (double)b->last_flop : 0;
    if (gone < limit && gone + missing * each <= limit) return false;
    d->left_out = thaw_arena_printf(
        &b->arena, "about %.0f more minutes, and %.0f of %.0f were gone (bench.minutes)",
        missing * each / 60, gone / 60, limit / 60);
    if (!d->left_out) d->left_out = "bench.minutes were over";
    thaw_log_write(&b->log, THAW_LOG_WARN, "%s is left out: %s", d->name, d->left_out);
    return true;
}

static thaw_status run_depth(bench *b, thaw_depth *d, thaw_error *err) {
    const thaw_freeze *f = &b->freeze;
    int missing = 0;
    for (int rep = 0; rep < f->n_reps; rep++) {
        const char *folder = thaw_freeze_run_folder(f, d, rep, &b->arena);
        if (!folder) return no_memory(err);
        missing += !is_done(b, folder);
    }
    if (is_too_late(b, d, missing)) return THAW_OK;
    for (int rep = 0; rep < f->n_reps && !d->left_out; rep++) {
        const char *folder = thaw_freeze_run_folder(f, d, rep, &b->arena);
        if (!folder) return no_memory(err);
        if (!is_done(b, folder)) THAW_TRY(train(b, d, rep, folder, err));
    }
    return THAW_OK;
}

static thaw_status check(const thaw_options *o, thaw_error *err) {
    THAW_TRY(thaw_options_require(o, "model", err));
    THAW_TRY(thaw_options_require(o, "data.train", err));
    if (o->bench.folds == 1)
        return thaw_fail(err, THAW_ERR_USAGE, "bench.folds = 1: two at least, or 0 for none");
    if (*o->data.fold)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "data.fold has no part in bench freeze: bench.folds = %s takes each fold in "
            "turn",
            strchr(o->data.fold, '/') ? strchr(o->data.fold, '/') + 1 : "5");
    if (o->init != THAW_INIT_FILE)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "init = random has no part in bench freeze: bench.scratch adds that "
                         "training to the others");
    if (!thaw_is_auto((unsigned)o->recipe) && o->recipe == THAW_RECIPE_HEAD)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "recipe = head trains nothing above a cut, which is what bench freeze "
                         "compares: take another, or leave it out");
    return THAW_OK;
}

/* A file for thaw train may well have them: that is no mistake, but whoever set them should know. */
static void say_own(bench *b) {
    static const char *const own[] = {"freeze", "resume", "checkpoint.dir"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!thaw_options_has_default(b->freeze.options, own[i]))
            thaw_log_write(&b->log, THAW_LOG_WARN,
                           "%s has no part in bench freeze, which sets it for each training",
                           own[i]);
}

static thaw_status run(bench *b, thaw_error *err) {
    thaw_freeze *f = &b->freeze;
    THAW_TRY(check(f->options, err));
    say_own(b);
    THAW_TRY(thaw_price_choose(f->options, &f->price, err));
    THAW_TRY(open_network(b, err));
    THAW_TRY(choose_depths(b, err));
    f->runs = thaw_file_join(&b->arena, f->out, "runs");
    b->ini = thaw_file_join(&b->arena, f->out, "train.ini");
    b->head_ini = thaw_file_join(&b->arena, f->out, "head.ini");
    if (!f->runs || !b->ini || !b->head_ini) return no_memory(err);
    THAW_TRY(thaw_file_make_folders(f->runs, err));
    THAW_TRY(keep_ini(b, b->ini, false, err));
    THAW_TRY(keep_ini(b, b->head_ini, true, err));
    THAW_TRY(extract(b, err));
    for (int i = 0; i < f->depths.n; i++)
        if (!f->depths.list[i].left_out) THAW_TRY(run_depth(b, &f->depths.list[i], err));
    return thaw_freeze_results_write(f, err);
}

thaw_status thaw_freeze_run(const thaw_options *options, thaw_error *err) {
    bool folds = options->bench.folds > 0;
    bench b = {.freeze = {.options = options,
                          .out = thaw_options_is_set(options, "out") ? options->out : "freeze",
                          .folds = folds,
                          .n_reps = (int)(folds ? options->bench.folds : options->bench.seeds)},
               .stop = thaw_stop_catch(),
               .start = thaw_now_s()};
    thaw_log_open(&b.log, stderr, options->log);
    thaw_status status = run(&b, err);
    thaw_network_close(&b.network);
    thaw_log_close(&b.log);
    thaw_arena_free(&b.arena);
    return status;
}
