#include "metric_lines.h"

#include <math.h>

static const thaw_metric_definition definitions[] = {
#define X(token, name, builtin, jumpstart, aim) {name, #token "=([0-9.eE+-]+);", THAW_METRIC_##aim},
    THAW_METRIC_LIST(X)
#undef X
};
enum { N_METRICS = sizeof definitions / sizeof *definitions };

/* The words of a metric, by row of the table. */
static const struct {
    const char *token, *builtin, *jumpstart;
    size_t offset; /* Of its value. */
} words[] = {
#define X(token, name, builtin, jumpstart, aim) \
    {#token, builtin, jumpstart, offsetof(thaw_metric_values, token)},
    THAW_METRIC_LIST(X)
#undef X
};

thaw_metric_values thaw_metric_values_of(const thaw_epoch *epoch) {
    return (thaw_metric_values){
        .epoch = epoch->epoch,
        .lr = epoch->lr,
        .train_loss = epoch->train_loss,
        .train_accuracy = epoch->train_top1,
        .validation_loss = epoch->validation_loss,
        .validation_accuracy = epoch->validation_top1,
        .validation_map = epoch->several ? epoch->validation_map : (double)NAN,
        .validation_f1 = epoch->several ? epoch->validation_f1_micro : (double)NAN,
        .test_map = NAN,
        .test_loss = NAN,
        .test_accuracy = NAN,
        .epoch_seconds = epoch->seconds,
        .total_seconds = NAN};
}

const thaw_metric_definition *thaw_metric_definitions(size_t *n) {
    *n = N_METRICS;
    return definitions;
}

const char *thaw_metric_aim_name(thaw_metric_aim aim) {
    return aim == THAW_METRIC_MAXIMIZE ? "Maximize" : "Minimize";
}

static double value_of(const thaw_metric_values *values, size_t row) {
    return *(const double *)((const char *)values + words[row].offset);
}

static void print_tokens(FILE *out, const thaw_metric_values *values, const char *first) {
    fprintf(out, "%sepoch=%lld;", first, (long long)values->epoch);
    if (isfinite(values->lr)) fprintf(out, " lr=%.9g;", values->lr);
    for (size_t i = 0; i < N_METRICS; i++)
        if (isfinite(value_of(values, i)))
            fprintf(out, " %s=%.9g;", words[i].token, value_of(values, i));
    fputc('\n', out);
}

/* One a line, as there: some dashboards take a line's end for the value's. */
static void print_builtin(FILE *out, const thaw_metric_values *values) {
    for (size_t i = 0; i < N_METRICS; i++)
        if (words[i].builtin && isfinite(value_of(values, i)))
            fprintf(out, "Epoch[%lld] %s=%.6f\n", (long long)values->epoch, words[i].builtin,
                    value_of(values, i));
}

static void print_jumpstart(FILE *out, const thaw_metric_values *values) {
    fprintf(out, "Epoch %lld", (long long)values->epoch);
    for (size_t i = 0; i < N_METRICS; i++)
        if (words[i].jumpstart && isfinite(value_of(values, i)))
            fprintf(out, " - %s: %.6f", words[i].jumpstart, value_of(values, i));
    fputc('\n', out);
}

static void print(FILE *out, const thaw_metric_values *values, const char *first) {
    print_tokens(out, values, first);
    print_builtin(out, values);
    print_jumpstart(out, values);
    fflush(out); /* Whether all of it could be written is asked when the program ends. */
}

void thaw_metric_lines_epoch(FILE *out, const thaw_metric_values *values) {
    print(out, values, "");
}

void thaw_metric_lines_kept(FILE *out, const thaw_metric_values *values) {
    print(out, values, "kept: ");
}
