#include "trust.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "top/temperature.h"

static const double auto_rate = 0.05;

/* ---- what is asked for ------------------------------------------------------------------------ */

thaw_status thaw_trust_check(const thaw_options *o, thaw_error *err) {
    const char *folder = o->data.unknown;
    struct stat info;
    if (!*folder) return THAW_OK;
    if (stat(folder, &info) != 0)
        return thaw_fail(err, THAW_ERR_IO, "data.unknown = %.600s: %s", folder, strerror(errno));
    if (S_ISDIR(info.st_mode)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE,
                     "data.unknown = %.600s is no folder: expected one with pictures at any depth",
                     folder);
}

bool thaw_trust_has_unknown(const thaw_trust *t) {
    return *t->source.folder || t->source.n_strangers > 0;
}

thaw_trust thaw_trust_begin(const thaw_options *o, const thaw_dataset *d, thaw_log *log) {
    thaw_trust t = {.several = d->sets,
                    .rate = o->reject.rate,
                    .temperature = 1,
                    .source = {o->data.unknown, d->strangers, d->n_strangers}};
    bool wanted = thaw_trust_has_unknown(&t) && !t.several;
    if (thaw_is_auto(t.rate)) t.rate = wanted ? auto_rate : 0;
    for (size_t k = 0; k < d->n_classes && t.rate > 0; k++)
        if (strcmp(d->class_name[k], THAW_UNKNOWN) == 0)
            thaw_log_write(log, THAW_LOG_WARN,
                           "a class is called " THAW_UNKNOWN
                           ", which is also what is said of a "
                           "picture that is rejected: only JSON and the distances tell them apart");
    return t;
}

thaw_status thaw_trust_check_validation(thaw_trust *t, const thaw_options *o, int64_t n,
                                        thaw_log *log, thaw_error *err) {
    const char *asked = t->rate > 0                          ? "reject.rate"
                        : *o->data.unknown                   ? "data.unknown"
                        : !thaw_is_auto(o->head.temperature) ? "head.temperature"
                                                             : NULL;
    if (t->several && asked)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "%s has no part where pictures may have several classes, or none: leave it "
            "out",
            asked);
    if (n > 0) return THAW_OK;
    if (!thaw_is_auto(o->reject.rate) && o->reject.rate > 0)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "reject.rate = %g: nothing validates, which is what tells from which "
                         "distance on a picture is unknown; give data.validation, or leave it out",
                         o->reject.rate);
    if (t->rate > 0)
        thaw_log_write(log, THAW_LOG_WARN,
                       "nothing validates: the run will not say " THAW_UNKNOWN " of any picture");
    t->rate = 0;
    return THAW_OK;
}

/* ---- learning --------------------------------------------------------------------------------- */

thaw_status thaw_trust_calibrate(thaw_trust *t, const thaw_trust_job *job, thaw_error *err) {
    double given = job->options->head.temperature;
    thaw_rows rows;
    t->temperature = 1;
    if (t->several) return THAW_OK;
    THAW_TRY(job->rows(job->ctx, THAW_SPLIT_VALIDATION, &rows, err));
    if (!thaw_is_auto(given))
        t->temperature = given;
    else if (rows.n > 0)
        THAW_TRY(thaw_temperature_measure(job->head, job->top, &rows, &t->temperature, err));
    else
        thaw_log_write(job->log, THAW_LOG_INFO, "nothing validates: the scores are not calibrated");
    t->n_calibrating = thaw_is_auto(given) ? rows.n : 0;
    thaw_temperature_apply(job->head, t->temperature);
    return THAW_OK;
}

static thaw_status learn_novelty(thaw_trust *t, const thaw_trust_job *job, thaw_arena *arena,
                                 thaw_error *err) {
    thaw_novelty_sample train, validation;
    thaw_rows rows;
    THAW_TRY(job->rows(job->ctx, THAW_SPLIT_TRAIN, &rows, err));
    THAW_TRY(thaw_novelty_sample_train(&train, &rows, job->K, arena, err));
    THAW_TRY(job->rows(job->ctx, THAW_SPLIT_VALIDATION, &rows, err));
    THAW_TRY(thaw_novelty_sample_validation(&validation, &rows, arena, err));
    THAW_TRY(
        thaw_novelty_choose(job->top, job->K, &train, &validation, t->rate, arena, &t->fit, err));
    t->n_known = train.n;
    t->n_known_all = train.n_all;
    if ((double)(t->fit.n + 1) * t->rate < 1)
        thaw_log_write(
            job->log, THAW_LOG_WARN,
            "reject.rate = %g: %lld validation pictures tell no rate below %.3f; what is "
            "further away than all of them is unknown",
            t->rate, (long long)t->fit.n, 1 / (double)(t->fit.n + 1));
    return THAW_OK;
}

thaw_status thaw_trust_learn(thaw_trust *t, const thaw_trust_job *job, thaw_arena *arena,
                             thaw_error *err) {
    if (t->rate == 0) return THAW_OK;
    if (!job->stopped) return learn_novelty(t, job, arena, err);
    thaw_log_write(job->log, THAW_LOG_WARN,
                   "the training was stopped: what it has made will not say " THAW_UNKNOWN
                   " of any picture");
    return THAW_OK;
}

/* ---- said ------------------------------------------------------------------------------------- */

static void put_way(thaw_json *json, json_t *into, thaw_novelty_method method, int64_t k) {
    thaw_json_text(json, into, "method", thaw_novelty_name(method));
    if (method == THAW_NOVELTY_KNN) thaw_json_integer(json, into, "neighbours", k);
}

void thaw_trust_json(const thaw_trust *t, thaw_json *json, json_t *into) {
    const thaw_novelty *v = &t->fit.novelty;
    thaw_json_real(json, into, "temperature", t->temperature);
    if (v->method == THAW_NOVELTY_NONE) return;
    json_t *reject = thaw_json_object(json, into, "reject");
    put_way(json, reject, v->method, v->k);
    thaw_json_real(json, reject, "rate", v->rate);
    thaw_json_real(json, reject, "threshold", v->threshold);
    thaw_json_integer(json, reject, "rows", t->n_known);
    thaw_json_integer(json, reject, "validation", t->fit.n);
    json_t *trials = thaw_json_array(json, reject, "trials");
    for (int w = 0; w < THAW_NOVELTY_TRIALS; w++) {
        json_t *one = thaw_json_object(json, trials, NULL);
        put_way(json, one, t->fit.trials[w].method, t->fit.trials[w].k);
        thaw_json_real(json, one, "auroc", t->fit.trials[w].auroc);
    }
}

void thaw_trust_print(FILE *out, const thaw_trust *t, const thaw_results *results, bool same) {
    const thaw_novelty *v = &t->fit.novelty;
    double percent = 100 * v->rate;
    if (t->temperature != 1) {
        fprintf(out, "calibration temperature %.3f", t->temperature);
        if (t->n_calibrating)
            fprintf(out, " from %lld validation pictures", (long long)t->n_calibrating);
        fprintf(out, "; calibration error %.4f, without it %.4f%s\n", results->calibration.ece,
                results->plain.ece, t->n_calibrating && same ? ", of the same pictures" : "");
    }
    if (v->method == THAW_NOVELTY_KNN)
        fprintf(
            out,
            "reject      cosine of the nearest training pictures, number %lld, below %.4f: %.3g %% "
            "of validation pictures\n",
            (long long)v->k, 1 - v->threshold, percent);
    if (v->method == THAW_NOVELTY_MAHALANOBIS)
        fprintf(out,
                "reject      Mahalanobis distance above %.4g: %.3g %% of validation pictures\n",
                v->threshold, percent);
    thaw_unknown_print(out, &t->unknown);
}

thaw_status thaw_trust_show(const thaw_trust *t, thaw_arena *arena, thaw_novelty_page *page,
                            thaw_error *err) {
    const thaw_unknown *u = &t->unknown;
    *page = (thaw_novelty_page){.threshold = t->fit.novelty.threshold,
                                .known = u->known,
                                .n_known = (size_t)(u->known ? u->n_known : 0)};
    if (!u->known || u->n == 0) return THAW_OK;
    float *distance = thaw_arena_array(arena, (size_t)u->n, sizeof *distance);
    if (!distance) return thaw_fail_memory(err, "for the report");
    for (int64_t i = 0; i < u->n; i++)
        distance[i] = u->answers[i].distance;
    page->unknown = distance;
    page->n_unknown = (size_t)u->n;
    return THAW_OK;
}
