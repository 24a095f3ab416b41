#include "unknown.h"

#include <math.h>
#include <string.h>

#include "picture_list.h"
#include "top/auroc.h"

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for what is unknown");
}

static bool rejects(const thaw_unknown *u) {
    return u->novelty && u->novelty->method != THAW_NOVELTY_NONE;
}

/* ---- known ones ------------------------------------------------------------------------------- */

static thaw_status measure_rows(const thaw_novelty *v, const thaw_top_slots *top,
                                const thaw_rows *rows, float *distance, thaw_error *err) {
    enum { BATCH = 64 };
    thaw_arena arena = {0};
    float *x = thaw_arena_array(&arena, BATCH * (size_t)rows->D, sizeof *x);
    float *scratch = thaw_arena_array(&arena, thaw_novelty_scratch(v), sizeof *scratch);
    thaw_status status = x && scratch ? THAW_OK : no_memory(err);
    for (int64_t begin = 0; status == THAW_OK && begin < rows->n; begin += BATCH) {
        int64_t index[BATCH], M = rows->n - begin < BATCH ? rows->n - begin : BATCH;
        for (int64_t m = 0; m < M; m++)
            index[m] = begin + m;
        status = rows->gather(rows->ctx, index, M, x, err);
        if (status == THAW_OK)
            status = thaw_novelty_measure(v, top, M, x, scratch, distance + begin, err);
    }
    thaw_arena_free(&arena);
    return status;
}

thaw_status thaw_unknown_measure_known(thaw_unknown *u, const thaw_novelty *novelty,
                                       const thaw_top_slots *top, const thaw_rows *rows,
                                       const thaw_metrics *metrics, thaw_arena *arena,
                                       thaw_error *err) {
    *u = (thaw_unknown){.novelty = novelty, .n_known = rows->n, .auroc = NAN};
    if (!rejects(u)) return THAW_OK;
    u->known = thaw_arena_array(arena, (size_t)rows->n, sizeof *u->known);
    if (!u->known) return no_memory(err);
    THAW_TRY(measure_rows(novelty, top, rows, u->known, err));
    for (int64_t i = 0; i < rows->n; i++) {
        bool rejected = thaw_novelty_is_unknown(novelty, u->known[i]);
        u->n_known_rejected += rejected;
        u->n_kept_right += !rejected && metrics->answers[i].answer == metrics->answers[i].label;
    }
    return THAW_OK;
}

/* ---- unknown ones ----------------------------------------------------------------------------- */

/* A pass over the pictures. */
typedef struct pass {
    thaw_unknown *unknown;
    const thaw_bundle *bundle;
    const thaw_unknown_source *source;
    size_t n_asked, n_taken; /* Of the strangers, which come first; taken: of all. */
    thaw_picture_list list;  /* Of the folder. */
    size_t capacity;
    thaw_log *log;
    thaw_arena *arena;
} pass;

static thaw_status next_picture(void *ctx, char path[PATH_MAX], thaw_error *err) {
    pass *p = ctx;
    path[0] = '\0';
    if (p->n_asked < p->source->n_strangers) {
        snprintf(path, PATH_MAX, "%s", p->source->strangers[p->n_asked++].path);
        return THAW_OK;
    }
    return *p->source->folder ? thaw_picture_list_next(&p->list, path, err) : THAW_OK;
}

static bool reserve(pass *p) {
    thaw_unknown *u = p->unknown;
    if ((size_t)u->n < p->capacity) return true;
    enum { FIRST = 256 };
    size_t capacity = p->capacity ? 2 * p->capacity : FIRST;
    thaw_unknown_answer *more = thaw_arena_array(p->arena, capacity, sizeof *more);
    if (!more) return false;
    if (u->n) memcpy(more, u->answers, (size_t)u->n * sizeof *more);
    u->answers = more;
    p->capacity = capacity;
    return true;
}

/* The highest score and the next one. */
static void fill_answer(thaw_unknown_answer *a, const float *scores, size_t n) {
    float next = 0;
    for (size_t k = 1; k < n; k++)
        if (scores[k] > scores[a->answer]) a->answer = k;
    for (size_t k = 0; k < n; k++)
        if (k != a->answer && scores[k] > next) next = scores[k];
    a->score = scores[a->answer];
    a->margin = a->score - next;
}

static thaw_status take_answer(void *ctx, const thaw_prediction *prediction, thaw_error *err) {
    pass *p = ctx;
    thaw_unknown *u = p->unknown;
    size_t i = p->n_taken++;
    if (prediction->problem) {
        u->n_unread++;
        thaw_log_write(p->log, THAW_LOG_WARN, "%s: %s", prediction->path, prediction->problem);
        return THAW_OK;
    }
    if (!reserve(p)) return no_memory(err);
    thaw_unknown_answer *a = &u->answers[u->n++];
    *a = (thaw_unknown_answer){
        .path = thaw_arena_string(p->arena, prediction->path, strlen(prediction->path)),
        .class_name = i < p->source->n_strangers ? p->source->strangers[i].class_name : "",
        .distance = prediction->distance,
        .rejected = prediction->unknown};
    fill_answer(a, prediction->scores, p->bundle->n_labels);
    u->n_rejected += a->rejected;
    return a->path ? THAW_OK : no_memory(err);
}

/* What is larger for what is unknown. */
static thaw_status compare(thaw_unknown *u, const thaw_metrics *metrics, thaw_error *err) {
    thaw_arena arena = {0};
    float *known = thaw_arena_array(&arena, (size_t)u->n_known, sizeof *known);
    float *unknown = thaw_arena_array(&arena, (size_t)u->n, sizeof *unknown);
    thaw_status status = known && unknown ? THAW_OK : no_memory(err);
    for (int64_t i = 0; status == THAW_OK && i < u->n_known; i++)
        known[i] = u->known ? u->known[i] : 1 - metrics->answers[i].score;
    for (int64_t i = 0; status == THAW_OK && i < u->n; i++)
        unknown[i] = u->known ? u->answers[i].distance : 1 - u->answers[i].score;
    if (status == THAW_OK)
        status = thaw_auroc(known, (size_t)u->n_known, unknown, (size_t)u->n, &u->auroc, err);
    thaw_arena_free(&arena);
    return status;
}

thaw_status thaw_unknown_measure(thaw_unknown *u, thaw_bundle *bundle,
                                 const thaw_unknown_source *source, const thaw_metrics *metrics,
                                 int64_t batch, const volatile int *stop, thaw_log *log,
                                 thaw_arena *arena, thaw_error *err) {
    pass p = {.unknown = u, .bundle = bundle, .source = source, .log = log, .arena = arena};
    thaw_predict_job job = {.bundle = bundle,
                            .batch = batch,
                            .source = {.next = next_picture, .ctx = &p, .most = SIZE_MAX},
                            .take = take_answer,
                            .ctx = &p,
                            .stop = stop,
                            .log = log};
    thaw_pipeline_result done;
    thaw_status status = thaw_picture_list_open(&p.list, &source->folder, 1, NULL, stop, err);
    if (status == THAW_OK) {
        thaw_log_progress_begin(log, "unknown pictures", "images", 0);
        status = thaw_predict(&job, &done, err);
        thaw_log_progress_end(log);
    }
    thaw_picture_list_close(&p.list);
    return status == THAW_OK ? compare(u, metrics, err) : status;
}

/* ---- said ------------------------------------------------------------------------------------- */

static double share(int64_t part, int64_t whole) {
    return whole > 0 ? (double)part / (double)whole : NAN;
}

void thaw_unknown_json(const thaw_unknown *u, thaw_json *json, json_t *into) {
    if (rejects(u)) {
        json_t *known = thaw_json_object(json, into, "known");
        thaw_json_integer(json, known, "n", u->n_known);
        thaw_json_integer(json, known, "rejected", u->n_known_rejected);
        thaw_json_real(json, known, "top1_kept",
                       share(u->n_kept_right, u->n_known - u->n_known_rejected));
    }
    if (u->n + u->n_unread == 0) return;
    json_t *unknown = thaw_json_object(json, into, "unknown");
    thaw_json_integer(json, unknown, "n", u->n);
    if (u->n_unread) thaw_json_integer(json, unknown, "n_without_scores", u->n_unread);
    if (rejects(u)) thaw_json_integer(json, unknown, "rejected", u->n_rejected);
    thaw_json_real(json, unknown, "auroc", u->auroc);
    thaw_json_text(json, unknown, "by", rejects(u) ? "distance" : "score");
}

void thaw_unknown_print(FILE *out, const thaw_unknown *u) {
    if (rejects(u))
        fprintf(out, "known       rejected %.1f %% of %lld; top-1 of the others %.4f\n",
                100 * share(u->n_known_rejected, u->n_known), (long long)u->n_known,
                share(u->n_kept_right, u->n_known - u->n_known_rejected));
    if (u->n == 0) return;
    fputs("unknown     ", out);
    if (rejects(u))
        fprintf(out, "rejected %.1f %% of %lld", 100 * share(u->n_rejected, u->n), (long long)u->n);
    else
        fprintf(out, "nothing is rejected of %lld", (long long)u->n);
    fprintf(out, " of other classes; AUROC %.4f by %s\n", u->auroc,
            rejects(u) ? "distance" : "score");
}
