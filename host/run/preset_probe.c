#include "preset_probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset.h"
#include "data/hold_out.h"
#include "pipeline.h"
#include "top/trainer.h"

enum { FOLDS = 5 };

/* The pictures that are asked, and what is known of them. */
typedef struct sample {
    const thaw_dataset *dataset;
    size_t n, n_classes, next;
    size_t *picture; /* [n] of the dataset's. */
    int32_t *label;  /* [n] counted among the classes that take part. */
    int *fold;       /* [n] */
    bool *bad;       /* [n] unreadable. */
    int64_t D;
    float *x; /* [n, D] */
    thaw_arena *arena;
} sample;

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to compare presets");
}

/* ---- which pictures -------------------------------------------------------------------------- */

typedef struct place {
    double position;
    size_t i;
} place;

static int compare_places(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->position != y->position) return x->position < y->position ? -1 : 1;
    return (x->i > y->i) - (x->i < y->i);
}

/* The classes that take part, in an order that depends on their names alone. */
static size_t choose_classes(const thaw_dataset *d, const thaw_grouping *none, size_t most,
                             place *classes) {
    for (size_t k = 0; k < d->n_classes; k++)
        classes[k] = (place){thaw_hold_out_position(none, d->class_name[k]), k};
    qsort(classes, d->n_classes, sizeof *classes, compare_places);
    size_t n = most / FOLDS;
    return d->n_classes < n ? d->n_classes : n;
}

/* As many of each class, chosen by their names; dealt to the folds in that order. */
static thaw_status choose_pictures(sample *s, const thaw_grouping *none, size_t most,
                                   thaw_error *err) {
    const thaw_dataset *d = s->dataset;
    place *classes = thaw_arena_array(s->arena, d->n_classes, sizeof *classes);
    place *places = thaw_arena_array(s->arena, d->n, sizeof *places);
    s->picture = thaw_arena_array(s->arena, most, sizeof *s->picture);
    s->label = thaw_arena_array(s->arena, most, sizeof *s->label);
    s->fold = thaw_arena_array(s->arena, most, sizeof *s->fold);
    s->bad = thaw_arena_array(s->arena, most, sizeof *s->bad);
    if (!classes || !places || !s->picture || !s->label || !s->fold || !s->bad)
        return no_memory(err);
    s->n_classes = choose_classes(d, none, most, classes);
    size_t each = most / s->n_classes;
    for (size_t k = 0; k < s->n_classes; k++) {
        size_t n = 0;
        for (size_t i = 0; i < d->n; i++)
            if (d->label[i] == classes[k].i && d->split[i] != THAW_SPLIT_TEST)
                places[n++] = (place){thaw_hold_out_position(none, d->name[i]), i};
        qsort(places, n, sizeof *places, compare_places);
        for (size_t i = 0; i < n && i < each; i++) {
            s->picture[s->n] = places[i].i;
            s->label[s->n] = (int32_t)k;
            s->fold[s->n++] = (int)(i % FOLDS);
        }
    }
    return THAW_OK;
}

/* ---- features -------------------------------------------------------------------------------- */

static thaw_status next_picture(void *ctx, char path[PATH_MAX], thaw_error *err) {
    sample *s = ctx;
    (void)err;
    path[0] = 0;
    if (s->next < s->n) thaw_dataset_path(s->dataset, s->picture[s->next++], path);
    return THAW_OK;
}

static thaw_status take_features(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                                 thaw_error *err) {
    sample *s = ctx;
    (void)err;
    for (size_t k = 0; k < n; k++) {
        s->bad[pictures[k].i] = pictures[k].problem != NULL;
        memcpy(s->x + (int64_t)pictures[k].i * s->D, features + (int64_t)k * s->D,
               (size_t)s->D * sizeof *features);
    }
    return THAW_OK;
}

static thaw_status extract(sample *s, const thaw_network *network,
                           const thaw_preprocess *preprocess, int64_t batch, thaw_backend *backend,
                           thaw_log *log, thaw_error *err) {
    thaw_network other = *network;
    other.preprocess = *preprocess;
    thaw_pipeline_result result;
    thaw_pipeline pipeline = {
        .network = &other,
        .backend = backend,
        .batch = batch,
        .compute = backend->kernels->computes(backend->device, THAW_F32) ? THAW_F32 : THAW_F16,
        .source = {.next = next_picture, .ctx = s, .most = s->n},
        .sink = {take_features, s},
        .log = log};
    s->next = 0;
    return thaw_pipeline_run(&pipeline, &result, err);
}

static bool is_finite(const sample *s) {
    for (size_t i = 0; i < s->n; i++)
        for (int64_t d = 0; d < s->D && !s->bad[i]; d++)
            if (!isfinite(s->x[(int64_t)i * s->D + d])) return false;
    return true;
}

/* ---- one preset ------------------------------------------------------------------------------ */

/* Rows of one side of a fold, in the order of the sample. */
typedef struct side {
    thaw_row_array array;
    thaw_rows rows;
    size_t *picture;
} side;

static thaw_status take_side(const sample *s, int fold, bool held_out, const thaw_top_slots *top,
                             thaw_arena *arena, side *to, thaw_error *err) {
    float *x = thaw_arena_array(arena, s->n, (size_t)s->D * sizeof *x);
    int32_t *label = thaw_arena_array(arena, s->n, sizeof *label);
    to->picture = thaw_arena_array(arena, s->n, sizeof *to->picture);
    if (!x || !label || !to->picture) return no_memory(err);
    int64_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->bad[i] || (s->fold[i] == fold) != held_out) continue;
        memcpy(x + n * s->D, s->x + (int64_t)i * s->D, (size_t)s->D * sizeof *x);
        label[n] = s->label[i];
        to->picture[n++] = i;
    }
    to->array = (thaw_row_array){top, x, s->D};
    to->rows = thaw_rows_of_array(&to->array, n, label);
    return THAW_OK;
}

/* Trains on what is not in the fold, and scores what is: right and loss of these pictures. */
static thaw_status score_fold(const sample *s, int fold, const thaw_top_slots *top,
                              thaw_arena *arena, uint8_t *right, double *loss, thaw_error *err) {
    static const double least = 1e-12; /* Of a probability. */
    side train, test;
    thaw_head head;
    thaw_train_result result;
    thaw_metrics metrics;
    THAW_TRY(take_side(s, fold, false, top, arena, &train, err));
    THAW_TRY(take_side(s, fold, true, top, arena, &test, err));
    if (!test.rows.n) return THAW_OK;
    thaw_train_job job = {
        .top = top,
        .options = thaw_train_defaults(THAW_HEAD_LINEAR, THAW_OPTIMIZER_ADAMW, train.rows.n),
        .K = (int64_t)s->n_classes,
        .train = &train.rows,
        .memory_bytes = SIZE_MAX};
    job.options.solver = THAW_SOLVER_LBFGS;
    job.options.weight_decay = 10 / (double)train.rows.n; /* A tenth of scikit-learn's C. */
    THAW_TRY(thaw_train(&job, arena, &head, &result, err));
    THAW_TRY(thaw_evaluate(&head, top, &test.rows, 256, arena, &metrics, err));
    for (int64_t i = 0; i < test.rows.n; i++) {
        const thaw_answer *answer = &metrics.answers[i];
        right[test.picture[i]] = answer->answer == answer->label;
        loss[test.picture[i]] = -log(fmax((double)answer->own, least));
    }
    return THAW_OK;
}

/* ---- all presets ----------------------------------------------------------------------------- */

static bool same_numbers(const thaw_preprocess *a, const thaw_preprocess *b) {
    const char *x = thaw_preprocess_name(a), *y = thaw_preprocess_name(b);
    return x && y && strcmp(x, y) == 0;
}

/* The network's own record, where no preset has its numbers, and all presets. */
static void list_presets(const thaw_network *network, thaw_preset_probe *probe) {
    static const char *const names[] = {THAW_PRESET_LIST(THAW_ENUM_NAME) NULL};
    if (!thaw_preprocess_name(&network->preprocess)) {
        probe->list[probe->n++] = (thaw_probed){.preprocess = network->preprocess, .chosen = true};
        snprintf(probe->list[0].name, sizeof probe->list[0].name, "as it is");
    }
    for (int i = 0; names[i]; i++) {
        thaw_probed *p = &probe->list[probe->n];
        *p = (thaw_probed){.preprocess = network->preprocess};
        thaw_preprocess_take((thaw_preset)i, &p->preprocess);
        int k = 0;
        while (k < probe->n && !same_numbers(&probe->list[k].preprocess, &p->preprocess))
            k++;
        size_t used = strlen(probe->list[k].name);
        snprintf(probe->list[k].name + used, sizeof p->name - used, "%s%s",
                 k < probe->n ? ", " : "", names[i]);
        if (k < probe->n) continue;
        p->chosen = same_numbers(&p->preprocess, &network->preprocess);
        probe->n++;
    }
}

typedef struct results {
    uint8_t *right; /* [n] of each preset, one after the other; a bad picture's stay 0. */
    double *loss;
    int64_t n; /* Of good pictures. */
} results;

static int by_loss(const void *a, const void *b) {
    const thaw_probed *const *x = a, *const *y = b;
    if ((*x)->finite != (*y)->finite) return (*x)->finite ? -1 : 1;
    if ((*x)->loss != (*y)->loss) return (*x)->loss < (*y)->loss ? -1 : 1;
    return (*x > *y) - (*x < *y);
}

/* The mean difference of two presets' losses on the same pictures, and its interval. */
static void compare_losses(int64_t n, const double *a, const double *best, thaw_probed *p) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] - best[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (a[i] - best[i] - mean) * (a[i] - best[i] - mean);
    double error = sqrt(squares / (double)(n - 1) / (double)n);
    p->behind = mean;
    p->low = mean - 1.96 * error;
    p->high = mean + 1.96 * error;
}

/* Sorts the presets, and holds each against the best. */
static thaw_status compare(thaw_preset_probe *probe, const results *r, thaw_error *err) {
    const thaw_probed *order[THAW_PROBED_MAX];
    thaw_probed sorted[THAW_PROBED_MAX];
    for (int k = 0; k < probe->n; k++)
        order[k] = &probe->list[k];
    qsort(order, (size_t)probe->n, sizeof *order, by_loss);
    int64_t first = order[0] - probe->list;
    thaw_trials best = {r->n, 1, r->right + first * r->n};
    for (int k = 0; k < probe->n; k++) {
        int64_t at = order[k] - probe->list;
        thaw_trials trials = {r->n, 1, r->right + at * r->n};
        thaw_paired paired;
        sorted[k] = *order[k];
        if (!sorted[k].finite) continue;
        sorted[k].top1 = thaw_trials_accuracy(&trials);
        THAW_TRY(thaw_paired_compare(&trials, &best, &paired, err));
        sorted[k].p = paired.p;
        compare_losses(r->n, r->loss + at * r->n, r->loss + first * r->n, &sorted[k]);
    }
    memcpy(probe->list, sorted, (size_t)probe->n * sizeof *sorted);
    return THAW_OK;
}

/* Those that are behind for sure go behind those that are not. */
static void advise(thaw_preset_probe *probe) {
    /* x / 128 and x / 127.5 differ on every picture by as little as one head's penalty from another's: sure
     * of itself, and of no meaning. */
    double margin = 0.02 * probe->list[0].loss;
    thaw_probed sorted[THAW_PROBED_MAX];
    int n = 0;
    for (int sure = 0; sure < 2; sure++) {
        for (int k = 0; k < probe->n; k++) {
            const thaw_probed *p = &probe->list[k];
            if ((!p->finite || (k > 0 && p->low > margin)) == sure) sorted[n++] = *p;
        }
        if (!sure) probe->n_alike = n;
    }
    memcpy(probe->list, sorted, (size_t)n * sizeof *sorted);
    for (int k = 0; k < probe->n_alike; k++)
        if (probe->list[k].chosen) probe->advised = k;
}

static thaw_status ask(sample *s, const thaw_network *network, int64_t batch, thaw_backend *backend,
                       thaw_log *log, thaw_preset_probe *probe, thaw_error *err) {
    size_t n_all = THAW_PROBED_MAX * s->n, good = 0;
    results r = {.right = thaw_arena_array(s->arena, n_all, sizeof *r.right),
                 .loss = thaw_arena_array(s->arena, n_all, sizeof *r.loss)};
    s->D = network->n_features;
    s->x = thaw_arena_array(s->arena, s->n, (size_t)s->D * sizeof *s->x);
    if (!r.right || !r.loss || !s->x) return no_memory(err);
    for (int k = 0; k < probe->n; k++) {
        thaw_probed *p = &probe->list[k];
        uint8_t *right = r.right + (size_t)k * s->n;
        double *loss = r.loss + (size_t)k * s->n;
        THAW_TRY(extract(s, network, &p->preprocess, batch, backend, log, err));
        p->finite = is_finite(s);
        thaw_arena arena = {0};
        thaw_status status = THAW_OK;
        for (int fold = 0; fold < FOLDS && p->finite && status == THAW_OK; fold++) {
            status = score_fold(s, fold, &thaw_cpu_kernels.top, &arena, right, loss, err);
            thaw_arena_free(&arena);
        }
        THAW_TRY(status);
        /* The good ones close up: which these are is the same for every preset. */
        good = 0;
        for (size_t i = 0; i < s->n; i++) {
            if (s->bad[i]) continue;
            right[good] = right[i];
            p->loss += loss[i];
            loss[good++] = loss[i];
        }
        if (good < 4 * FOLDS)
            return thaw_fail(err, THAW_ERR_DATA,
                             "of %zu pictures only %zu can be read: too few to tell presets apart",
                             s->n, good);
        p->loss /= (double)good;
        memmove(r.right + (size_t)k * good, right, good);
        memmove(r.loss + (size_t)k * good, loss, good * sizeof *loss);
    }
    r.n = (int64_t)good;
    probe->n_pictures = good;
    probe->n_bad = s->n - good;
    THAW_TRY(compare(probe, &r, err));
    advise(probe);
    return THAW_OK;
}

thaw_status thaw_preset_probe_run(const thaw_network *network, const char *folder, size_t most,
                                  int64_t batch, thaw_backend *backend, thaw_log *log,
                                  thaw_preset_probe *probe, thaw_error *err) {
    thaw_arena arena = {0};
    thaw_dataset dataset = {0};
    thaw_dataset_spec spec = {0};
    thaw_grouping *none = NULL;
    sample s = {.dataset = &dataset, .arena = &arena};
    *probe = (thaw_preset_probe){0};
    thaw_status status = thaw_dataset_find_splits(folder, &spec, &arena, err);
    if (status == THAW_OK) status = thaw_dataset_open(&dataset, &spec, err);
    if (status == THAW_OK && dataset.sets)
        status =
            thaw_fail(err, THAW_ERR_DATA,
                      "'%.600s' has pictures of several classes: presets are compared on pictures "
                      "of one class each",
                      folder);
    if (status == THAW_OK) status = thaw_grouping_open(&none, NULL, err);
    if (status == THAW_OK) status = choose_pictures(&s, none, most, err);
    if (status == THAW_OK && s.n < 4 * FOLDS)
        status =
            thaw_fail(err, THAW_ERR_DATA,
                      "'%.600s' has %zu pictures: too few to tell presets apart; give a folder "
                      "with at least %d",
                      folder, s.n, 4 * FOLDS);
    probe->n_classes = s.n_classes;
    probe->n_classes_there = dataset.n_classes;
    list_presets(network, probe);
    if (status == THAW_OK) status = ask(&s, network, batch, backend, log, probe, err);
    thaw_grouping_close(none);
    thaw_dataset_close(&dataset);
    thaw_arena_free(&arena);
    return status;
}
