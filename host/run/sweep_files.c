#include "sweep_files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "csv.h"
#include "file.h"
#include "json.h"
#include "report/sweep_page.h"

/* ---- order ---------------------------------------------------------------------------------- */

static bool has_figures(const thaw_trial *trial) {
    return !trial->error && !isnan(trial->validation_loss);
}

bool thaw_trial_counts(const thaw_trial *trial) {
    return trial->ended && has_figures(trial);
}

int thaw_trial_compare(const thaw_trial *a, const thaw_trial *b) {
    if (has_figures(a) != has_figures(b)) return has_figures(a) ? -1 : 1;
    if (has_figures(a) && a->validation_top1 != b->validation_top1)
        return a->validation_top1 > b->validation_top1 ? -1 : 1;
    if (has_figures(a) && a->validation_loss != b->validation_loss)
        return a->validation_loss < b->validation_loss ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* ---- sweep.json ----------------------------------------------------------------------------- */

static void put_axis(thaw_json *json, json_t *list, const thaw_sweep_axis *axis) {
    static const char *const kinds[] = {THAW_AXIS_KIND_LIST(THAW_ENUM_NAME)};
    json_t *one = thaw_json_object(json, list, NULL);
    thaw_json_text(json, one, "key", axis->key);
    thaw_json_text(json, one, "kind", kinds[axis->kind]);
    if (axis->kind != THAW_AXIS_CHOICE) {
        thaw_json_real(json, one, "low", axis->low);
        thaw_json_real(json, one, "high", axis->high);
        return;
    }
    json_t *choices = thaw_json_array(json, one, "choices");
    for (size_t i = 0; i < axis->n_choices; i++)
        thaw_json_text(json, choices, NULL, axis->choices[i]);
}

static void put_trial(thaw_json *json, json_t *list, const thaw_axes *axes,
                      const thaw_trial *trial) {
    json_t *one = thaw_json_object(json, list, NULL);
    thaw_json_integer(json, one, "id", (int64_t)trial->id);
    json_t *values = thaw_json_object(json, one, "values");
    for (size_t i = 0; i < axes->n; i++)
        thaw_json_text(json, values, axes->axis[i].key, trial->values[i]);
    thaw_json_real(json, one, "validation_loss", trial->validation_loss);
    thaw_json_real(json, one, "validation_top1", trial->validation_top1);
    thaw_json_integer(json, one, "epochs", trial->epochs);
    thaw_json_boolean(json, one, "stopped", trial->stopped);
    if (trial->error) thaw_json_text(json, one, "error", trial->error);
}

static void put_all(thaw_json *json, const thaw_sweep_record *r) {
    const thaw_axes *axes = &r->options->axes;
    thaw_json_text(json, json->root, "title", r->options->out);
    thaw_json_text(json, json->root, "model", r->model);
    thaw_json_text(json, json->root, "data", r->options->data.train);
    thaw_json_text(json, json->root, "cut", r->cut);
    thaw_json_boolean(json, json->root, "complete", r->complete);
    json_t *list = thaw_json_array(json, json->root, "axes");
    for (size_t i = 0; i < axes->n; i++)
        put_axis(json, list, &axes->axis[i]);
    json_t *trials = thaw_json_array(json, json->root, "trials");
    for (size_t i = 0; i < r->n_trials; i++)
        put_trial(json, trials, axes, &r->trials[i]);
    if (r->best) thaw_json_integer(json, json->root, "best", (int64_t)r->best->id);
    if (r->best && r->n_test) {
        json_t *test = thaw_json_object(json, json->root, "test");
        thaw_json_real(json, test, "loss", r->test_loss);
        thaw_json_real(json, test, "top1", r->test_top1);
    }
    thaw_json_real(json, json->root, "seconds", thaw_now_s() - r->started);
}

/* The document, and the page of it. */
static thaw_status write_json(const thaw_sweep_record *r, const char *path, const char *page,
                              thaw_error *err) {
    thaw_json json = thaw_json_begin();
    put_all(&json, r);
    thaw_status status = thaw_json_write(&json, path, err);
    if (status == THAW_OK) status = thaw_sweep_page_write(json.root, page, err);
    thaw_json_free(&json);
    return status;
}

/* ---- sweep.csv, best.ini -------------------------------------------------------------------- */

/* Empty where there is none. */
static void put_number(FILE *out, double value) {
    if (isnan(value))
        fputs(",", out);
    else
        fprintf(out, ",%.9g", value);
}

static void put_rows(FILE *out, const thaw_sweep_record *r) {
    const thaw_axes *axes = &r->options->axes;
    fputs("id", out);
    for (size_t i = 0; i < axes->n; i++)
        fprintf(out, ",%s", axes->axis[i].key);
    fputs(",validation_loss,validation_top1,epochs,stopped,error\r\n", out);
    for (size_t t = 0; t < r->n_trials; t++) {
        const thaw_trial *trial = &r->trials[t];
        fprintf(out, "%zu", trial->id);
        for (size_t i = 0; i < axes->n; i++) {
            fputc(',', out);
            thaw_csv_put(out, trial->values[i]);
        }
        put_number(out, trial->validation_loss);
        put_number(out, trial->validation_top1);
        fprintf(out, ",%lld,%s,", (long long)trial->epochs, trial->stopped ? "true" : "false");
        if (trial->error) thaw_csv_put(out, trial->error);
        fputs("\r\n", out);
    }
}

static thaw_status write_csv(const thaw_sweep_record *r, const char *path, thaw_error *err) {
    thaw_new_file file;
    THAW_TRY(thaw_file_begin(&file, path, err));
    put_rows(file.stream, r);
    return thaw_file_finish(&file, err);
}

static thaw_status write_ini(const thaw_options *best, const char *path, thaw_error *err) {
    char here[PATH_MAX];
    thaw_new_file file;
    THAW_TRY(thaw_file_begin(&file, path, err));
    thaw_status status = thaw_options_write_ini(file.stream, best, getcwd(here, sizeof here), err);
    if (status == THAW_OK) return thaw_file_finish(&file, err);
    thaw_file_abandon(&file);
    return status;
}

thaw_status thaw_sweep_files_write(const thaw_sweep_record *r, const char *folder,
                                   thaw_arena *arena, thaw_error *err) {
    const char *json = thaw_file_join(arena, folder, "sweep.json");
    const char *csv = thaw_file_join(arena, folder, "sweep.csv");
    const char *ini = thaw_file_join(arena, folder, "best.ini");
    const char *page = thaw_file_join(arena, folder, "report.html");
    if (!json || !csv || !ini || !page) return thaw_fail_memory(err, "for the files of a sweep");
    THAW_TRY(write_csv(r, csv, err));
    if (r->best) THAW_TRY(write_ini(r->best_options, ini, err));
    return write_json(r, json, page, err);
}

/* ---- the terminal --------------------------------------------------------------------------- */

static void print_table(const thaw_sweep_record *r) {
    thaw_json json = thaw_json_begin();
    size_t stopped = 0;
    put_all(&json, r);
    if (!json.failed) thaw_sweep_table_print(stdout, json.root); /* The files have it, too. */
    thaw_json_free(&json);
    for (size_t i = 0; i < r->n_trials; i++)
        stopped += r->trials[i].stopped;
    if (stopped) printf("halving stopped %zu of %zu\n", stopped, r->n_trials);
}

/* A small set cannot tell good trials apart, which its user should know. */
static void print_best(const thaw_sweep_record *r) {
    size_t as_good = 0;
    for (size_t i = 0; i < r->n_trials; i++)
        as_good += thaw_trial_counts(&r->trials[i]) &&
                   r->trials[i].validation_top1 == r->best->validation_top1;
    printf("best        trial %zu", r->best->id);
    if (as_good > 1)
        printf(", whose loss is the lowest of %zu that have %.0f of %lld validation pictures right",
               as_good, r->best->validation_top1 * (double)r->n_validation,
               (long long)r->n_validation);
    printf("\n");
}

void thaw_sweep_files_print(const thaw_sweep_record *r, const char *path, const char *older) {
    print_table(r);
    printf("\n%zu trials, %.2f s%s\n", r->n_trials, thaw_now_s() - r->started,
           r->complete ? "" : ", stopped before the end");
    if (r->best) print_best(r);
    if (r->best && r->n_test)
        printf("test        top-1 %.4f, loss %.4f, %lld pictures that had no say in the choice\n",
               r->test_top1, r->test_loss, (long long)r->n_test);
    if (r->best) printf("train it    thaw train %s/best.ini\n", path);
    printf("report      %s/report.html\nall trials  %s/sweep.csv, %s/sweep.json\n", path, path,
           path);
    if (older) printf("older sweep %s\n", older);
}
