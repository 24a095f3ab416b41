#include "doubts.h"

#include <math.h>
#include <string.h>

#include "data/hold_out.h"
#include "report/suspects.h"
#include "run/rows.h"

enum { FOLDS = THAW_DOUBTS_FOLDS };

/* A readable picture of a class that is large enough. */
typedef struct sample {
    size_t picture;
    int64_t row;   /* Of its split. */
    int32_t label; /* Among the classes that are large enough. */
    thaw_split split;
    int fold;
} sample;

typedef struct doubts {
    thaw_session *session;
    const thaw_findings *findings;
    thaw_split_rows splits[THAW_SPLIT_COUNT];
    sample *samples; /* [n] by split, then as the dataset has them. */
    size_t n;
    int64_t D;
    size_t *class_of; /* [K] which class of the dataset. */
    int64_t K;
    thaw_metrics metrics; /* Of the folds, one after the other: */
    size_t *answered;     /* [n] which sample each of its answers is of. */
    size_t n_answered;
    thaw_arena arena;
} doubts;

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "to look for labels that may be wrong");
}

/* ---- who takes part ---------------------------------------------------------------------------- */

/* The place of each class among those that are large enough, -1: it is not; sets class_of and K. */
static void choose_classes(doubts *x, int32_t *place) {
    const thaw_dataset *d = &x->session->dataset;
    for (size_t k = 0; k < d->n_classes; k++)
        place[k] = 0;
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        for (int64_t r = 0; r < x->splits[s].rows.n; r++)
            place[x->splits[s].rows.label[r]]++;
    for (size_t k = 0; k < d->n_classes; k++) {
        bool enough = place[k] >= FOLDS;
        if (enough) x->class_of[x->K] = k;
        place[k] = enough ? (int32_t)x->K++ : -1;
    }
}

static void list_samples(doubts *x, const int32_t *place) {
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        for (int64_t r = 0; r < x->splits[s].rows.n; r++) {
            int32_t label = place[x->splits[s].rows.label[r]];
            if (label < 0) continue;
            x->samples[x->n++] = (sample){.picture = x->splits[s].picture[r],
                                          .row = r,
                                          .label = label,
                                          .split = (thaw_split)s};
        }
}

/* Deals the pictures of one class. What looks alike has its leader's name, so that it stays together: a
 * copy would give its own label away. */
static thaw_status deal_class(doubts *x, const thaw_grouping *grouping, int32_t label,
                              size_t *which, const char **names, int *fold, thaw_error *err) {
    const thaw_dataset *d = &x->session->dataset;
    const thaw_alike *alike = x->findings->survey->alike.of;
    size_t n = 0;
    for (size_t i = 0; i < x->n; i++)
        if (x->samples[i].label == label) {
            which[n] = i;
            names[n++] = d->name[alike[x->samples[i].picture].leader];
        }
    THAW_TRY(thaw_deal(grouping, n, names, FOLDS, fold, err));
    for (size_t i = 0; i < n; i++)
        x->samples[which[i]].fold = fold[i];
    return THAW_OK;
}

static thaw_status deal(doubts *x, thaw_error *err) {
    thaw_grouping *grouping = NULL;
    size_t *which = thaw_arena_array(&x->arena, x->n, sizeof *which);
    const char **names = thaw_arena_array(&x->arena, x->n, sizeof *names);
    int *fold = thaw_arena_array(&x->arena, x->n, sizeof *fold);
    if (!which || !names || !fold) return no_memory(err);
    thaw_status status = thaw_grouping_open(&grouping, x->session->options->data.group, err);
    for (int32_t k = 0; status == THAW_OK && k < x->K; k++)
        status = deal_class(x, grouping, k, which, names, fold, err);
    thaw_grouping_close(grouping);
    return status;
}

static thaw_status choose(doubts *x, thaw_error *err) {
    size_t n = x->session->dataset.n, n_classes = x->session->dataset.n_classes;
    int32_t *place = thaw_arena_array(&x->arena, n_classes, sizeof *place);
    x->class_of = thaw_arena_array(&x->arena, n_classes, sizeof *x->class_of);
    x->samples = thaw_arena_array(&x->arena, n, sizeof *x->samples);
    x->answered = thaw_arena_array(&x->arena, n, sizeof *x->answered);
    if (!place || !x->class_of || !x->samples || !x->answered) return no_memory(err);
    choose_classes(x, place);
    list_samples(x, place);
    return deal(x, err);
}

/* ---- rows of some folds ------------------------------------------------------------------------ */

typedef struct part {
    const doubts *x;
    size_t *which; /* [rows.n] samples. */
    int32_t *label;
    thaw_rows rows;
} part;

static thaw_status gather(void *ctx, const int64_t *index, int64_t M, float *out, thaw_error *err) {
    const part *p = ctx;
    for (int64_t m = 0; m < M; m++) {
        const sample *s = &p->x->samples[p->which[index[m]]];
        const thaw_rows *rows = &p->x->splits[s->split].rows;
        THAW_TRY(rows->gather(rows->ctx, &s->row, 1, out + m * p->x->D, err));
    }
    return THAW_OK;
}

/* The samples of the folds whose bits are set. */
static thaw_status make_part(const doubts *x, unsigned folds, thaw_arena *arena, part *p,
                             thaw_error *err) {
    *p = (part){.x = x,
                .which = thaw_arena_array(arena, x->n, sizeof *p->which),
                .label = thaw_arena_array(arena, x->n, sizeof *p->label)};
    if (!p->which || !p->label) return no_memory(err);
    p->rows = (thaw_rows){
        .D = x->D, .gather = gather, .ctx = p, .label = p->label, .stored = x->session->stored};
    for (size_t i = 0; i < x->n; i++) {
        if (!(folds >> x->samples[i].fold & 1)) continue;
        p->which[p->rows.n] = i;
        p->label[p->rows.n++] = x->samples[i].label;
    }
    return THAW_OK;
}

/* ---- training ---------------------------------------------------------------------------------- */

/* The penalty is chosen once, on the fold after the first, and then is everybody's. */
static thaw_train_job job_of(const doubts *x, const part *train, const part *validation,
                             double l2) {
    thaw_session *s = x->session;
    thaw_train_job job = {
        .top = &s->backend.kernels->top,
        .options = thaw_train_defaults(THAW_HEAD_LINEAR, THAW_OPTIMIZER_ADAMW, train->rows.n),
        .K = x->K,
        .train = &train->rows,
        .validation = validation ? &validation->rows : NULL,
        .memory_bytes = s->memory.left,
        .stop = s->stop};
    job.options.solver = THAW_SOLVER_LBFGS;
    job.options.l2_path = validation != NULL;
    job.options.weight_decay = l2;
    job.options.class_weights = THAW_CLASS_WEIGHTS_BALANCED;
    return job;
}

static thaw_status choose_penalty(const doubts *x, double *l2, thaw_error *err) {
    thaw_arena arena = {0};
    part train, validation;
    thaw_head head;
    thaw_train_result result = {0};
    thaw_status status = make_part(x, ~3u, &arena, &train, err);
    if (status == THAW_OK) status = make_part(x, 2, &arena, &validation, err);
    if (status == THAW_OK) {
        thaw_train_job job = job_of(x, &train, &validation, 0);
        status = thaw_train(&job, &arena, &head, &result, err);
    }
    *l2 = result.kept.l2;
    thaw_arena_free(&arena);
    return status;
}

/* Trains without a fold, and answers it. */
static thaw_status answer_fold(doubts *x, int fold, double l2, thaw_error *err) {
    enum { BATCH = 256 };
    thaw_arena arena = {0};
    part train, test;
    thaw_head head;
    thaw_metrics metrics;
    thaw_train_result result;
    thaw_status status = make_part(x, ~(1u << fold), &arena, &train, err);
    if (status == THAW_OK) status = make_part(x, 1u << fold, &arena, &test, err);
    if (status == THAW_OK && test.rows.n) {
        thaw_train_job job = job_of(x, &train, NULL, l2);
        status = thaw_train(&job, &arena, &head, &result, err);
        if (status == THAW_OK)
            status = thaw_evaluate(&head, job.top, &test.rows, BATCH, &arena, &metrics, err);
        for (int64_t r = 0; status == THAW_OK && r < test.rows.n; r++) {
            x->metrics.answers[x->n_answered] = metrics.answers[r];
            x->answered[x->n_answered++] = test.which[r];
        }
    }
    thaw_arena_free(&arena);
    return status;
}

/* ---- the finding ------------------------------------------------------------------------------- */

static thaw_status add_finding(doubts *x, thaw_findings *f, double top1, thaw_error *err) {
    const thaw_metrics *sets[] = {&x->metrics};
    const thaw_dataset *d = &x->session->dataset;
    thaw_suspect *suspects;
    size_t n;
    THAW_TRY(thaw_suspects_find(sets, 1, &x->arena, &suspects, &n, err));
    if (!n) return THAW_OK;
    thaw_found *found = thaw_arena_array(&f->arena, n, sizeof *found);
    if (!found) return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        const thaw_answer *a = &suspects[i].answer;
        size_t picture = x->samples[x->answered[suspects[i].row]].picture;
        found[i] = (thaw_found){
            picture, picture,
            thaw_arena_printf(&f->arena, "rather %.80s (%.0f %%) than %.80s (%.0f %%)",
                              d->class_name[x->class_of[a->answer]], 100 * (double)a->score,
                              d->class_name[x->class_of[a->label]], 100 * (double)a->own)};
        if (!found[i].why) return no_memory(err);
    }
    thaw_finding finding = {
        .kind = "labels",
        .level = THAW_FINDING_WARN,
        .text =
            thaw_arena_printf(&f->arena,
                              "%zu %s whose label may be wrong: a linear head on the network's "
                              "features, %d-fold cross-validated, which is right in %.1f %%, is "
                              "surer of another class than it usually is of that class's own",
                              n, n == 1 ? "picture" : "pictures", FOLDS, 100 * top1),
        .advice = "look at them, the surest first; a picture with two subjects is no mistake",
        .found = found,
        .n = n};
    return thaw_findings_add(f, &finding, err);
}

static thaw_status find(doubts *x, thaw_findings *findings, double *top1, thaw_error *err) {
    double l2;
    int64_t right = 0;
    THAW_TRY(choose(x, err));
    if (x->K < 2) return THAW_OK;
    THAW_TRY(thaw_metrics_init(&x->metrics, x->K, (int64_t)x->n, &x->arena, err));
    THAW_TRY(choose_penalty(x, &l2, err));
    for (int fold = 0; fold < FOLDS; fold++)
        THAW_TRY(answer_fold(x, fold, l2, err));
    x->metrics.n = (int64_t)x->n_answered;
    for (int64_t i = 0; i < x->metrics.n; i++)
        right += x->metrics.answers[i].answer == x->metrics.answers[i].label;
    *top1 = (double)right / (double)x->metrics.n;
    return add_finding(x, findings, *top1, err);
}

static bool is_same(const thaw_dataset *a, const thaw_dataset *b) {
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->name[i], b->name[i]) == 0 && a->label[i] == b->label[i];
    return same;
}

thaw_status thaw_doubts_find(thaw_session *session, const thaw_network *network,
                             const thaw_dataset_spec *spec, thaw_findings *findings, double *top1,
                             thaw_error *err) {
    doubts x = {.session = session, .findings = findings, .D = network->n_features};
    *top1 = NAN;
    THAW_TRY(thaw_session_extract(session, network, spec, NULL, err));
    if (!is_same(&session->dataset, findings->survey->dataset))
        return thaw_fail(err, THAW_ERR_DATA,
                         "the pictures changed while they were looked at: there were %zu, and now "
                         "there are %zu; start again once nothing is copied there",
                         findings->survey->dataset->n, session->dataset.n);
    thaw_status status = THAW_OK;
    for (int s = 0; status == THAW_OK && s < THAW_SPLIT_COUNT; s++)
        status = thaw_split_rows_open(&x.splits[s], session, network, (thaw_split)s, err);
    if (status == THAW_OK) status = find(&x, findings, top1, err);
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        thaw_split_rows_close(&x.splits[s]);
    thaw_arena_free(&x.arena);
    return status;
}
