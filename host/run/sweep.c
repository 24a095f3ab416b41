#include "sweep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "points.h"
#include "run_folder.h"
#include "sweep_files.h"
#include "top/many.h"
#include "train.h"

/* Everything that a sweep holds; close_sweep frees it in one place. */
typedef struct sweep {
    const thaw_options *options;
    thaw_run_folder folder;
    thaw_points points;
    thaw_sweep_record record;
    bool *tried;      /* [n_trials] */
    thaw_backend cpu; /* Opened where the session's device does not train many heads. */
    thaw_arena arena;
} sweep;

/* Trials that share features. */
typedef struct setting {
    thaw_options options; /* Of its first trial. */
    thaw_training *training;
    const thaw_backend *cpu;
    size_t *trials; /* [n] */
    size_t n;
    thaw_train_options *heads; /* [n] */
} setting;

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the trials of a sweep");
}

/* ---- options -------------------------------------------------------------------------------- */

/* Whether trials that differ in this option have the same features. */
static bool is_of_the_head(const char *key) {
    return strncmp(key, "head.", 5) == 0 || strcmp(key, "epochs") == 0 || strcmp(key, "seed") == 0;
}

static bool share_features(const sweep *s, size_t a, size_t b) {
    const thaw_axes *axes = &s->options->axes;
    const char *const *x = s->record.trials[a].values, *const *y = s->record.trials[b].values;
    for (size_t i = 0; i < axes->n; i++)
        if (!is_of_the_head(axes->axis[i].key) && strcmp(x[i], y[i]) != 0) return false;
    return true;
}

/* The options of a trial. Free them, also after an error. */
static thaw_status set_trial(const sweep *s, size_t trial, thaw_options *options, thaw_error *err) {
    const thaw_axes *axes = &s->options->axes;
    THAW_TRY(thaw_options_copy(options, s->options, err));
    for (size_t i = 0; i < axes->n; i++)
        THAW_TRY(thaw_options_set(options, axes->axis[i].key, s->record.trials[trial].values[i],
                                  "thaw sweep", err));
    return THAW_OK;
}

/* ---- results -------------------------------------------------------------------------------- */

static int compare_trials(const void *a, const void *b) {
    const thaw_trial *x = *(const thaw_trial *const *)a, *y = *(const thaw_trial *const *)b;
    return thaw_trial_compare(x, y);
}

static void take_epoch(thaw_trial *trial, const thaw_epoch *kept, int64_t epochs) {
    trial->validation_loss = kept->validation_loss;
    trial->validation_top1 = kept->validation_top1;
    trial->epochs = epochs;
}

/* Whether it is the best of those that have come to their end; then it is from now on. */
static bool becomes_best(sweep *s, size_t i) {
    const thaw_trial *trial = &s->record.trials[i], *best = s->record.best;
    if (!thaw_trial_counts(trial) || (best && thaw_trial_compare(best, trial) < 0)) return false;
    s->record.best = trial;
    return true;
}

static thaw_status test_best(sweep *s, thaw_training *training, thaw_head *head, thaw_error *err) {
    thaw_metrics metrics;
    THAW_TRY(thaw_training_test(training, head, &metrics, err));
    s->record.n_test = metrics.n;
    s->record.test_loss = metrics.loss;
    s->record.test_top1 = metrics.top1;
    return THAW_OK;
}

/* ---- one after another ---------------------------------------------------------------------- */

/* A training that fails by its values is a bad trial; any other failure is the sweep's. */
static thaw_status run_alone(sweep *s, thaw_training *training, size_t i, thaw_error *err) {
    thaw_trial *trial = &s->record.trials[i];
    thaw_options options;
    thaw_epoch kept = {0};
    thaw_error why = {0};
    thaw_status status = set_trial(s, i, &options, &why);
    if (status == THAW_OK) status = thaw_training_run(training, &options, &kept, &why);
    if (status == THAW_OK) {
        take_epoch(trial, &kept, kept.epoch);
        trial->ended = true;
        if (becomes_best(s, i)) status = test_best(s, training, NULL, &why);
    } else if (status == THAW_ERR_USAGE) {
        trial->ended = true;
        trial->error = thaw_arena_string(&s->arena, why.text, strlen(why.text));
        thaw_log_write(thaw_training_log(training), THAW_LOG_WARN, "trial %zu failed: %s", i + 1,
                       why.text);
        status = trial->error ? THAW_OK : no_memory(err);
    }
    thaw_options_free(&options);
    return status == THAW_OK ? THAW_OK : thaw_fail(err, status, "%s", why.text);
}

/* ---- at once -------------------------------------------------------------------------------- */

/* Trials whose heads are trained at once. */
typedef struct group {
    thaw_many *many;
    size_t *trials; /* [n] */
    thaw_train_options *heads;
    int n;
} group;

static void note_group(sweep *s, const group *g) {
    for (int i = 0; i < g->n; i++) {
        thaw_many_state state = thaw_many_look(g->many, i);
        thaw_trial *trial = &s->record.trials[g->trials[i]];
        take_epoch(trial, &state.kept, state.epochs_run);
        trial->ended = state.ended && !trial->stopped;
        if (state.diverged) trial->error = "its loss is not finite: the learning rate is too high";
    }
}

/* Drops all but the best n of the group. */
static thaw_status drop_worst(sweep *s, const group *g, size_t n, thaw_error *err) {
    thaw_trial **order = thaw_arena_array(&s->arena, (size_t)g->n, sizeof(thaw_trial *));
    if (!order) return no_memory(err);
    for (int i = 0; i < g->n; i++)
        order[i] = &s->record.trials[g->trials[i]];
    qsort(order, (size_t)g->n, sizeof(thaw_trial *), compare_trials);
    for (size_t k = n; k < (size_t)g->n; k++)
        order[k]->stopped |= !order[k]->ended;
    for (int i = 0; i < g->n; i++)
        if (s->record.trials[g->trials[i]].stopped) thaw_many_drop(g->many, i);
    return THAW_OK;
}

static void count_epoch(void *log, int n_heads) {
    thaw_log_progress_add(log, (uint64_t)n_heads);
}

/* From rung to rung. */
static thaw_status climb(sweep *s, const setting *set, const group *g, thaw_error *err) {
    double eta = (double)s->options->sweep.halving;
    int rungs = s->options->sweep.halving > 1 ? (int)s->options->sweep.rungs : 0;
    for (int rung = 0; rung <= rungs; rung++) {
        THAW_TRY(thaw_many_train(g->many, pow(eta, rung - rungs), count_epoch,
                                 thaw_training_log(set->training), err));
        note_group(s, g);
        if (rung < rungs)
            THAW_TRY(drop_worst(s, g, (size_t)ceil(g->n * pow(eta, -rung - 1) - 1e-9), err));
    }
    return THAW_OK;
}

static thaw_status test_group(sweep *s, const setting *set, const group *g, thaw_error *err) {
    int best = -1;
    for (int i = 0; i < g->n; i++)
        if (becomes_best(s, g->trials[i])) best = i;
    if (best < 0) return THAW_OK;
    thaw_head head;
    THAW_TRY(thaw_many_head(g->many, best, &s->arena, &head, err));
    return test_best(s, set->training, &head, err);
}

static thaw_status run_group(sweep *s, const setting *set, group *g, thaw_error *err) {
    thaw_log *log = thaw_training_log(set->training);
    thaw_train_job job = thaw_training_job(set->training, &set->options);
    job.top = &set->cpu->kernels->top;
    thaw_log_write(log, THAW_LOG_INFO, "%d heads are trained at once", g->n);
    thaw_log_progress_begin(log, "training", "epochs", 0);
    thaw_status status = thaw_many_open(&g->many, &job, g->heads, g->n, set->cpu, err);
    if (status == THAW_OK) status = climb(s, set, g, err);
    thaw_log_progress_end(log);
    if (status == THAW_OK) status = test_group(s, set, g, err);
    thaw_many_close(g->many);
    return status;
}

/* ---- a setting ------------------------------------------------------------------------------ */

static bool trains_at_once(const thaw_train_options *o) {
    return o->kind == THAW_HEAD_LINEAR && o->solver == THAW_SOLVER_STEPS;
}

/* How many heads at once fit the memory that there is; one is always tried. */
static size_t most_at_once(const setting *set) {
    thaw_train_job job = thaw_training_job(set->training, &set->options);
    size_t most = job.memory_bytes / thaw_many_head_bytes(job.K, job.train->D);
    return most < 1 ? 1 : most;
}

/* Runs trial k of the setting, and with it those whose heads can be trained beside its. */
static thaw_status run_with_others(sweep *s, const setting *set, size_t k, thaw_error *err) {
    const thaw_train_options *first = &set->heads[k];
    if (!trains_at_once(first)) {
        s->tried[set->trials[k]] = true;
        return run_alone(s, set->training, set->trials[k], err);
    }
    group g = {.trials = thaw_arena_array(&s->arena, set->n, sizeof *g.trials),
               .heads = thaw_arena_array(&s->arena, set->n, sizeof *g.heads)};
    if (!g.trials || !g.heads) return no_memory(err);
    size_t most = most_at_once(set);
    for (size_t i = k; i < set->n && (size_t)g.n < most; i++) {
        const thaw_train_options *o = &set->heads[i];
        if (s->tried[set->trials[i]] || !trains_at_once(o) || o->batch != first->batch ||
            o->seed != first->seed)
            continue;
        s->tried[set->trials[i]] = true;
        g.trials[g.n] = set->trials[i];
        g.heads[g.n++] = *o;
    }
    return run_group(s, set, &g, err);
}

/* The processor that trains many heads: the session's device, or the one beside it. */
static thaw_status choose_cpu(sweep *s, setting *set, const thaw_backend *device, thaw_error *err) {
    set->cpu = device->kernels->memory ? &s->cpu : device;
    if (set->cpu == device || s->cpu.kernels) return THAW_OK;
    thaw_log_write(thaw_training_log(set->training), THAW_LOG_INFO,
                   "many heads at once are trained on the CPU");
    return thaw_backend_cpu_open(&s->cpu, device->threads, err);
}

static thaw_status list_trials(sweep *s, setting *set, size_t first, thaw_error *err) {
    set->trials = thaw_arena_array(&s->arena, s->record.n_trials, sizeof *set->trials);
    set->heads = thaw_arena_array(&s->arena, s->record.n_trials, sizeof *set->heads);
    if (!set->trials || !set->heads) return no_memory(err);
    bool only_one = thaw_training_look(set->training).has_top;
    for (size_t i = first; i < s->record.n_trials && !(only_one && set->n); i++) {
        if (s->tried[i] || !share_features(s, first, i)) continue;
        thaw_options options;
        thaw_status status = set_trial(s, i, &options, err);
        if (status == THAW_OK)
            set->heads[set->n] = thaw_training_job(set->training, &options).options;
        thaw_options_free(&options);
        THAW_TRY(status);
        set->trials[set->n++] = i;
    }
    return THAW_OK;
}

static thaw_status run_trials(sweep *s, setting *set, size_t first, thaw_error *err) {
    thaw_training_facts facts = thaw_training_look(set->training);
    if (facts.n_validation == 0)
        return thaw_fail(err, THAW_ERR_DATA,
                         "a sweep chooses by validation pictures, and there are none: give "
                         "data.validation a folder or a share of the training pictures");
    if (facts.several)
        return thaw_fail(
            err, THAW_ERR_UNSUPPORTED,
            "a sweep trains heads of softmax, and these pictures may have several classes: "
            "train with each setting, and compare their mAP");
    s->record.n_validation = facts.n_validation;
    s->record.model = thaw_arena_string(&s->arena, facts.model, strlen(facts.model));
    s->record.cut = thaw_arena_string(&s->arena, facts.cut, strlen(facts.cut));
    if (!s->record.model || !s->record.cut) return no_memory(err);
    THAW_TRY(list_trials(s, set, first, err));
    if (facts.has_top) {
        s->tried[first] = true;
        return run_alone(s, set->training, first, err);
    }
    THAW_TRY(choose_cpu(s, set, facts.backend, err));
    for (size_t k = 0; k < set->n; k++)
        if (!s->tried[set->trials[k]]) THAW_TRY(run_with_others(s, set, k, err));
    return THAW_OK;
}

/* The trials that share features with this one. */
static thaw_status run_setting(sweep *s, size_t first, thaw_error *err) {
    setting set = {0};
    thaw_status status = set_trial(s, first, &set.options, err);
    if (status == THAW_OK) /* It would be another run's, that of out. */
        status = thaw_options_set(&set.options, "checkpoint.dir", "none", "thaw sweep", err);
    if (status == THAW_OK)
        status = thaw_training_open(&set.training, &set.options, s->folder.partial, err);
    if (status == THAW_OK) status = run_trials(s, &set, first, err);
    thaw_training_close(set.training);
    thaw_options_free(&set.options);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static thaw_status make_trials(sweep *s, thaw_error *err) {
    const thaw_options *o = s->options;
    if (o->axes.n == 0)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "there is nothing to sweep: give an option several values, such as "
                         "--head.lr=1e-4..1e-1 or --head.weight_decay=0,1e-4,1e-2");
    THAW_TRY(thaw_options_require(o, "model", err));
    THAW_TRY(thaw_options_require(o, "data.train", err));
    size_t wanted = thaw_is_auto(o->sweep.trials) ? 0 : (size_t)o->sweep.trials;
    THAW_TRY(thaw_points_draw(&o->axes, wanted, (uint64_t)o->seed, &s->arena, &s->points, err));
    size_t n = s->points.n;
    s->record = (thaw_sweep_record){.options = o,
                                    .trials = thaw_arena_array(&s->arena, n, sizeof(thaw_trial)),
                                    .n_trials = n,
                                    .started = thaw_now_s()};
    s->tried = thaw_arena_array(&s->arena, n, sizeof *s->tried);
    if (!s->record.trials || !s->tried) return no_memory(err);
    for (size_t i = 0; i < n; i++)
        s->record.trials[i] = (thaw_trial){.id = i + 1,
                                           .values = s->points.values + i * o->axes.n,
                                           .validation_loss = NAN,
                                           .validation_top1 = NAN};
    return THAW_OK;
}

/* The folder appears, and what is in it is told. */
static thaw_status finish(sweep *s, const char *path, thaw_error *err) {
    const char *older;
    thaw_options best;
    bool has_best = s->record.best != NULL;
    thaw_status status = THAW_OK;
    if (has_best) {
        status = set_trial(s, s->record.best->id - 1, &best, err);
        s->record.best_options = &best;
    }
    if (status == THAW_OK)
        status = thaw_sweep_files_write(&s->record, s->folder.partial, &s->arena, err);
    if (has_best) thaw_options_free(&best);
    s->record.best_options = NULL; /* They are gone. */
    THAW_TRY(status);
    THAW_TRY(thaw_run_finish(&s->folder, &older, err));
    thaw_sweep_files_print(&s->record, path, older);
    return THAW_OK;
}

static bool any_result(const sweep *s) {
    for (size_t i = 0; i < s->record.n_trials; i++)
        if (s->record.trials[i].epochs > 0) return true;
    return false;
}

static thaw_status fail_all(const sweep *s, thaw_error *err) {
    for (size_t i = 0; i < s->record.n_trials; i++)
        if (s->record.trials[i].error)
            return thaw_fail(err, THAW_ERR_USAGE, "no trial came to a result; trial %zu: %s", i + 1,
                             s->record.trials[i].error);
    return thaw_fail(err, THAW_ERR_USAGE, "no trial came to a result");
}

static thaw_status run_all(sweep *s, thaw_error *err) {
    const char *path = s->options->sweep.out;
    THAW_TRY(make_trials(s, err));
    if (thaw_is_auto(path)) path = thaw_arena_printf(&s->arena, "%s.sweep", s->options->out);
    if (!path) return no_memory(err);
    THAW_TRY(thaw_run_begin(path, &s->arena, &s->folder, err));
    thaw_status status = THAW_OK;
    for (size_t i = 0; i < s->record.n_trials && status == THAW_OK; i++)
        if (!s->tried[i]) status = run_setting(s, i, err);
    if (status != THAW_OK && !any_result(s)) return status;
    if (status == THAW_OK && !s->record.best) return fail_all(s, err);
    s->record.complete = status == THAW_OK;
    thaw_error why = {0};
    thaw_status written = finish(s, path, &why);
    if (written != THAW_OK) return thaw_fail(err, written, "%s", why.text);
    return status;
}

thaw_status thaw_sweep_run(const thaw_options *options, thaw_error *err) {
    sweep s = {.options = options};
    thaw_status status = run_all(&s, err);
    thaw_run_abandon(&s.folder, false);
    thaw_backend_close(&s.cpu);
    thaw_arena_free(&s.arena);
    return status;
}
