#include "freeze_results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "csv.h"
#include "file.h"
#include "paired.h"
#include "report/depth_page.h"

enum { LARGEST_JSON = 64 << 20 };

/* What was measured of one depth. */
typedef struct measured {
    const thaw_depth *depth;
    json_t **metrics, **process; /* [n_reps] */
    thaw_trials trials;
    thaw_hash pictures; /* Of the paths that were answered, in their order. */
    thaw_accuracy top1;
} measured;

typedef struct results {
    const thaw_freeze *freeze;
    measured *list; /* [n] */
    int n;
    int best, recommended; /* Of those that are not from scratch. */
    thaw_arena arena;
} results;

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the benchmark's results");
}

const char *thaw_freeze_run_folder(const thaw_freeze *f, const thaw_depth *depth, int rep,
                                   thaw_arena *arena) {
    long long number = f->folds ? rep + 1 : f->options->seed + rep;
    return thaw_arena_printf(arena, "%s/%s-%s%lld", f->runs, depth->folder,
                             f->folds ? "fold" : "seed", number);
}

/* ---- reading -------------------------------------------------------------------------------- */

static double number(const json_t *json, const char *key) {
    const json_t *value = json_object_get(json, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double seconds_of(const json_t *metrics, const char *key) {
    return number(json_object_get(metrics, "seconds"), key);
}

/* Which answers of a table were right, behind the n that are there already. */
static thaw_status read_answers(measured *m, const char *folder, uint8_t **right, int64_t *n,
                                thaw_arena *arena, thaw_error *err) {
    enum { PATH, TRUTH, ANSWER, FIELDS };
    char *path = thaw_file_join(arena, folder, "predictions.csv"), *bytes, *fields[FIELDS];
    size_t size, n_fields;
    if (!path) return no_memory(err);
    THAW_TRY(thaw_file_read(path, SIZE_MAX, arena, &bytes, &size, err));
    for (bool head = true; thaw_csv_next(&bytes, fields, FIELDS, &n_fields); head = false) {
        if (head || n_fields < FIELDS) continue;
        if ((*n & (*n - 1)) == 0) { /* Room for twice as many. */
            uint8_t *more = realloc(*right, (size_t)(*n ? 2 * *n : 1));
            if (!more) return no_memory(err);
            *right = more;
        }
        (*right)[(*n)++] = strcmp(fields[TRUTH], fields[ANSWER]) == 0;
        m->pictures = thaw_hash_bytes(m->pictures, fields[PATH], strlen(fields[PATH]) + 1);
    }
    return THAW_OK;
}

static thaw_status read_reps(results *r, measured *m, uint8_t **right, thaw_error *err) {
    int n_reps = r->freeze->n_reps;
    int64_t n = 0;
    for (int rep = 0; rep < n_reps; rep++) {
        const char *folder = thaw_freeze_run_folder(r->freeze, m->depth, rep, &r->arena);
        char *metrics = folder ? thaw_file_join(&r->arena, folder, "metrics.json") : NULL;
        char *process = folder ? thaw_file_join(&r->arena, folder, "process.json") : NULL;
        if (!metrics || !process) return no_memory(err);
        THAW_TRY(thaw_json_read(metrics, LARGEST_JSON, &m->metrics[rep], err));
        THAW_TRY(thaw_json_read(process, LARGEST_JSON, &m->process[rep], err));
        THAW_TRY(read_answers(m, folder, right, &n, &r->arena, err));
    }
    /* Each fold has other pictures, each seed the same. */
    int n_runs = r->freeze->folds ? 1 : n_reps;
    if (n == 0 || n % n_runs != 0)
        return thaw_fail(err, THAW_ERR_MISMATCH,
                         "%s: its trainings were not measured on the same pictures: begin anew in "
                         "another folder",
                         r->freeze->out);
    m->trials = (thaw_trials){.n = n / n_runs, .n_runs = n_runs, .right = *right};
    m->top1 = thaw_trials_accuracy(&m->trials);
    return THAW_OK;
}

static thaw_status read_depth(results *r, const thaw_depth *depth, thaw_error *err) {
    size_t n_reps = (size_t)r->freeze->n_reps;
    measured *m = &r->list[r->n];
    *m = (measured){.depth = depth,
                    .metrics = thaw_arena_array(&r->arena, n_reps, sizeof(json_t *)),
                    .process = thaw_arena_array(&r->arena, n_reps, sizeof(json_t *))};
    if (!m->metrics || !m->process) return no_memory(err);
    r->n++;
    uint8_t *right = NULL;
    thaw_status status = read_reps(r, m, &right, err);
    m->trials.right = right;
    return status;
}

static thaw_status read_all(results *r, thaw_error *err) {
    const thaw_depths *depths = &r->freeze->depths;
    r->list = thaw_arena_array(&r->arena, (size_t)depths->n, sizeof *r->list);
    if (!r->list) return no_memory(err);
    for (int i = 0; i < depths->n; i++)
        if (!depths->list[i].left_out) THAW_TRY(read_depth(r, &depths->list[i], err));
    if (r->n == 0)
        return thaw_fail(err, THAW_ERR_DATA, "%s: no depth was trained: %s", r->freeze->out,
                         depths->list[0].left_out);
    for (int i = 1; i < r->n; i++)
        if (!thaw_hash_equal(r->list[i].pictures, r->list[0].pictures))
            return thaw_fail(err, THAW_ERR_MISMATCH,
                             "%s: %s and %s were not measured on the same pictures: begin anew in "
                             "another folder",
                             r->freeze->out, r->list[0].depth->name, r->list[i].depth->name);
    return THAW_OK;
}

/* ---- figures -------------------------------------------------------------------------------- */

static double mean_of(const results *r, const measured *m, double (*figure)(const json_t *)) {
    double sum = 0;
    for (int rep = 0; rep < r->freeze->n_reps; rep++)
        sum += figure(m->metrics[rep]);
    return sum / r->freeze->n_reps;
}

/* Its standard error by how the trainings differ; NaN of one. */
static double error_of(const results *r, const measured *m, double (*figure)(const json_t *)) {
    double mean = mean_of(r, m, figure), squares = 0, n = r->freeze->n_reps;
    for (int rep = 0; rep < r->freeze->n_reps; rep++)
        squares += pow(figure(m->metrics[rep]) - mean, 2);
    return n > 1 ? sqrt(squares / (n - 1) / n) : NAN;
}

static double balanced(const json_t *metrics) {
    return number(metrics, "balanced_accuracy");
}

static double train_seconds(const json_t *metrics) {
    return seconds_of(metrics, "train");
}

static double image_seconds(const json_t *metrics) {
    return seconds_of(metrics, "image");
}

/* Pictures an epoch goes through, a second. */
static double training_rate(const json_t *metrics) {
    double rate = number(metrics, "trained_images_per_second");
    if (!isnan(rate)) return rate;
    double images = number(json_object_get(metrics, "images"), "train");
    return images * number(json_object_get(metrics, "epochs"), "run") / train_seconds(metrics);
}

/* Of all pictures, up to this cut, from their files. */
static double extract_seconds(const results *r, const measured *m) {
    return (double)r->freeze->n_images * mean_of(r, m, image_seconds);
}

static double peak_bytes(const results *r, const measured *m) {
    double most = 0;
    for (int rep = 0; rep < r->freeze->n_reps; rep++)
        most = fmax(most, number(m->process[rep], "peak_bytes"));
    return most;
}

/* The most frozen depth within a standard error of the best. */
static void choose(results *r) {
    for (int i = 0; i < r->n; i++)
        if (!r->list[i].depth->scratch && r->list[i].top1.mean > r->list[r->best].top1.mean)
            r->best = i;
    const thaw_accuracy *best = &r->list[r->best].top1;
    while (r->list[r->recommended].top1.mean < best->mean - best->error)
        r->recommended++;
}

/* ---- the document --------------------------------------------------------------------------- */

static void put_runs(thaw_json *json, json_t *into, const results *r, const measured *m) {
    json_t *runs = thaw_json_array(json, into, "runs");
    for (int rep = 0; rep < r->freeze->n_reps; rep++) {
        json_t *one = thaw_json_object(json, runs, NULL);
        bool folds = r->freeze->folds;
        thaw_json_integer(json, one, "seed", r->freeze->options->seed + (folds ? 0 : rep));
        thaw_json_integer(json, one, "fold", folds ? rep + 1 : 0);
        thaw_json_real(json, one, "top1", number(m->metrics[rep], "top1"));
        thaw_json_real(json, one, "balanced_accuracy", balanced(m->metrics[rep]));
        thaw_json_real(json, one, "train_seconds", train_seconds(m->metrics[rep]));
    }
}

/* The epochs of the first training: a line of JSON each in its folder. */
static thaw_status put_epochs(thaw_json *json, json_t *into, const results *r, const measured *m,
                              thaw_arena *arena, thaw_error *err) {
    const char *folder = thaw_freeze_run_folder(r->freeze, m->depth, 0, arena);
    char *path = folder ? thaw_file_join(arena, folder, "epochs.jsonl") : NULL, *bytes, *rest;
    size_t n;
    if (!path) return no_memory(err);
    THAW_TRY(thaw_file_read(path, LARGEST_JSON, arena, &bytes, &n, err));
    json_t *epochs = thaw_json_array(json, into, "epochs");
    for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *epoch;
        THAW_TRY(thaw_json_parse(line, strlen(line), path, &epoch, err));
        thaw_json_share(json, epochs, NULL, epoch);
        json_decref(epoch);
    }
    const json_t *kept = json_object_get(m->metrics[0], "epochs");
    thaw_json_integer(json, into, "kept", json_integer_value(json_object_get(kept, "kept")));
    return THAW_OK;
}

static thaw_status put_difference(thaw_json *json, json_t *into, const results *r,
                                  const measured *m, thaw_error *err) {
    const measured *other = &r->list[r->recommended];
    thaw_paired paired;
    if (m == other) return THAW_OK;
    THAW_TRY(thaw_paired_compare(&m->trials, &other->trials, &paired, err));
    json_t *one = thaw_json_object(json, into, "difference");
    thaw_json_text(json, one, "against", other->depth->name);
    thaw_json_real(json, one, "top1", paired.difference);
    thaw_json_real(json, one, "low", paired.low);
    thaw_json_real(json, one, "high", paired.high);
    thaw_json_real(json, one, "p", paired.p);
    thaw_json_integer(json, one, "only_this", paired.only_a);
    thaw_json_integer(json, one, "only_other", paired.only_b);
    return THAW_OK;
}

static double cost_of(const results *r, const measured *m) {
    const double hour = 3600;
    double seconds = extract_seconds(r, m) + mean_of(r, m, train_seconds);
    return seconds / hour * r->freeze->price.per_hour;
}

static thaw_status put_depth(thaw_json *json, json_t *list, results *r, const measured *m,
                             thaw_error *err) {
    json_t *one = thaw_json_object(json, list, NULL);
    double extract = extract_seconds(r, m), train = mean_of(r, m, train_seconds);
    thaw_json_text(json, one, "cut", m->depth->name);
    thaw_json_integer(json, one, "index", m->depth->index);
    thaw_json_boolean(json, one, "scratch", m->depth->scratch);
    put_runs(json, one, r, m);
    thaw_json_real(json, one, "top1", m->top1.mean);
    thaw_json_real(json, one, "top1_error", m->top1.error);
    thaw_json_real(json, one, "balanced_accuracy", mean_of(r, m, balanced));
    thaw_json_real(json, one, "balanced_error", error_of(r, m, balanced));
    thaw_json_real(json, one, "trained_parameters", number(m->metrics[0], "trained_parameters"));
    thaw_json_integer(json, one, "cache_bytes", (int64_t)m->depth->record_bytes);
    thaw_json_real(json, one, "peak_bytes", peak_bytes(r, m));
    thaw_json_real(json, one, "images_per_second", mean_of(r, m, training_rate));
    json_t *seconds = thaw_json_object(json, one, "seconds");
    thaw_json_real(json, seconds, "extract", extract);
    thaw_json_real(json, seconds, "train", train);
    thaw_json_real(json, seconds, "total", extract + train);
    if (!isnan(r->freeze->price.per_hour)) thaw_json_real(json, one, "cost", cost_of(r, m));
    THAW_TRY(put_epochs(json, one, r, m, &r->arena, err));
    return put_difference(json, one, r, m, err);
}

static void put_left_out(thaw_json *json, const thaw_freeze *f) {
    json_t *list = thaw_json_array(json, json->root, "left_out");
    for (int i = 0; i < f->depths.n; i++) {
        const thaw_depth *d = &f->depths.list[i];
        if (!d->left_out) continue;
        json_t *one = thaw_json_object(json, list, NULL);
        thaw_json_text(json, one, "cut", d->name);
        thaw_json_text(json, one, "reason", d->left_out);
    }
}

/* What another depth would have changed, behind a space; "" where there is none. */
static const char *beside(results *r, int other, const char *what) {
    const measured *m = &r->list[r->recommended];
    if (other < 0 || other >= r->n || r->list[other].depth->scratch) return "";
    const measured *o = &r->list[other];
    return thaw_arena_printf(&r->arena, " %s, up to %s: %+.1f points, %.3g s.", what,
                             o->depth->name, 100 * (o->top1.mean - m->top1.mean),
                             mean_of(r, o, train_seconds));
}

static thaw_status put_recommendation(thaw_json *json, results *r, thaw_error *err) {
    const measured *m = &r->list[r->recommended], *best = &r->list[r->best];
    const char *against = m == best ? "the best that was measured"
                                    : thaw_arena_printf(&r->arena,
                                                        "within a standard error of the best, %s "
                                                        "with %.1f +- %.1f %%",
                                                        best->depth->name, 100 * best->top1.mean,
                                                        100 * best->top1.error);
    const char *more = beside(r, r->recommended - 1, "Freezing a step more");
    const char *less = beside(r, r->recommended + 1, "Freezing a step less");
    if (!against || !less || !more) return no_memory(err);
    const char *text = thaw_arena_printf(
        &r->arena, "freeze = %s: %.1f +- %.1f %%, %s, for %.3g s of training.%s%s", m->depth->name,
        100 * m->top1.mean, 100 * m->top1.error, against, mean_of(r, m, train_seconds), more, less);
    if (!text) return no_memory(err);
    json_t *one = thaw_json_object(json, json->root, "recommendation");
    thaw_json_text(json, one, "cut", m->depth->name);
    thaw_json_text(json, one, "text", text);
    return THAW_OK;
}

static void put_facts(thaw_json *json, const thaw_freeze *f, const measured *first) {
    const char *slash = strrchr(f->network->model.path, '/');
    thaw_json_text(json, json->root, "title", "How deep to freeze");
    thaw_json_text(json, json->root, "model", slash ? slash + 1 : f->network->model.path);
    thaw_json_text(json, json->root, "data", f->options->data.train);
    thaw_json_text(json, json->root, "recipe",
                   thaw_is_auto((unsigned)f->options->recipe)
                       ? "lp_ft"
                       : thaw_recipe_name(f->options->recipe));
    json_t *seeds = thaw_json_array(json, json->root, "seeds");
    for (int rep = 0; rep < (f->folds ? 1 : f->n_reps); rep++)
        thaw_json_integer(json, seeds, NULL, f->options->seed + rep);
    thaw_json_integer(json, json->root, "folds", f->folds ? f->n_reps : 0);
    thaw_json_share(json, json->root, "measured_on",
                    json_object_get(first->metrics[0], "measured_on"));
    thaw_json_integer(json, json->root, "threads", f->threads);
    if (isnan(f->price.per_hour)) return;
    json_t *price = thaw_json_object(json, json->root, "price");
    thaw_json_text(json, price, "instance", f->price.instance);
    thaw_json_real(json, price, "per_hour", f->price.per_hour);
    thaw_json_text(json, price, "currency", f->price.currency);
    thaw_json_text(json, price, "date", f->price.date);
}

static thaw_status fill(results *r, thaw_json *json, thaw_error *err) {
    put_facts(json, r->freeze, &r->list[0]);
    json_t *depths = thaw_json_array(json, json->root, "depths");
    for (int i = 0; i < r->n; i++)
        THAW_TRY(put_depth(json, depths, r, &r->list[i], err));
    put_left_out(json, r->freeze);
    return put_recommendation(json, r, err);
}

/* ---- files ---------------------------------------------------------------------------------- */

static thaw_status write_table(results *r, const char *path, thaw_error *err) {
    thaw_new_file file;
    THAW_TRY(thaw_file_begin(&file, path, err));
    fputs(
        "cut,index,scratch,top1,top1_error,balanced_accuracy,trained_parameters,cache_bytes,"
        "peak_bytes,images_per_second,extract_seconds,train_seconds\r\n",
        file.stream);
    for (int i = 0; i < r->n; i++) {
        const measured *m = &r->list[i];
        thaw_csv_put(file.stream, m->depth->name);
        fprintf(file.stream, ",%d,%d,%.6f,%.6f,%.6f,%.0f,%zu,%.0f,%.1f,%.2f,%.2f\r\n",
                m->depth->index, m->depth->scratch, m->top1.mean, m->top1.error,
                mean_of(r, m, balanced), number(m->metrics[0], "trained_parameters"),
                m->depth->record_bytes, peak_bytes(r, m), mean_of(r, m, training_rate),
                extract_seconds(r, m), mean_of(r, m, train_seconds));
    }
    return thaw_file_finish(&file, err);
}

static thaw_status write_all(results *r, thaw_json *json, thaw_error *err) {
    const char *out = r->freeze->out;
    char *document = thaw_file_join(&r->arena, out, "freeze.json");
    char *table = thaw_file_join(&r->arena, out, "freeze.csv");
    char *page = thaw_file_join(&r->arena, out, "report.html");
    if (!document || !table || !page) return no_memory(err);
    THAW_TRY(read_all(r, err));
    choose(r);
    THAW_TRY(fill(r, json, err));
    THAW_TRY(thaw_json_write(json, document, err));
    THAW_TRY(write_table(r, table, err));
    THAW_TRY(thaw_depth_page_write(json->root, page, err));
    thaw_depth_table_print(stdout, json->root);
    printf("report      %s\n", page);
    return THAW_OK;
}

thaw_status thaw_freeze_results_write(const thaw_freeze *freeze, thaw_error *err) {
    results r = {.freeze = freeze};
    thaw_json json = thaw_json_begin();
    thaw_status status = write_all(&r, &json, err);
    thaw_json_free(&json);
    for (int i = 0; i < r.n; i++) {
        for (int rep = 0; rep < freeze->n_reps; rep++) {
            json_decref(r.list[i].metrics[rep]);
            json_decref(r.list[i].process[rep]);
        }
        free((void *)r.list[i].trials.right);
    }
    thaw_arena_free(&r.arena);
    return status;
}
