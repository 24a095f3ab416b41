#include "axes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "option_types.h"
#include "text.h"

/* ---- which options -------------------------------------------------------------------------- */

/* Not where things lie, what computes, or how much is said. */
bool thaw__axes_may(const thaw__option *row) {
    const char *key = row->key;
    static const char *const sections[] = {"head.", "top.", "views."};
    static const char *const others[] = {"freeze", "recipe", "init",  "preprocess",
                                         "seed",   "epochs", "views", "image.size"};
    static const char *const not [] = {"head.at", "head.tf32", "head.keep_old", "head.old_labels",
                                       "views.show"};
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++)
        if (strcmp(key, not [i]) == 0) return false;
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (strncmp(key, sections[i], strlen(sections[i])) == 0) return true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(key, others[i]) == 0) return true;
    return false;
}

static bool is_number(const thaw__option *row) {
    return row->type == &thaw__type_integer || row->type == &thaw__type_number;
}

/* A path, a pattern or three channels may hold a comma and be one value. */
bool thaw__axes_wants(const thaw__option *row, const char *text) {
    bool plain = is_number(row) || row->type == &thaw__type_choice ||
                 row->type == &thaw__type_switch || row->type == &thaw__type_size ||
                 row->type == &thaw__type_device;
    return (plain || strcmp(row->key, "freeze") == 0) && (strchr(text, ',') || strstr(text, ".."));
}

/* ---- reading -------------------------------------------------------------------------------- */

/* What a mistake in an axis is told with. */
typedef struct reading {
    const thaw__option *row;
    const char *text, *source;
    thaw_arena *arena;
    thaw_error *err;
} reading;

static thaw_status refuse(const reading *r, const char *why) {
    return thaw_fail(r->err, THAW_ERR_USAGE, "%s: %s = '%.120s': %s", r->source, r->row->key,
                     r->text, why);
}

/* Whether one value is legal; what it is is of no interest. */
static thaw_status check_value(const reading *r, const char *value) {
    union {
        double number;
        long long integer;
        const char *text;
        int choice;
        bool on;
    } slot;
    thaw_status status = thaw__option_parse(r->row, value, r->arena, &slot);
    if (status != THAW_ERR_USAGE) return status;
    char expected[THAW__EXPECTED_TEXT];
    r->row->type->describe(r->row, expected);
    return thaw_fail(r->err, status, "%s: %s = '%.120s': '%.60s' is not legal: expected %s",
                     r->source, r->row->key, r->text, value, expected);
}

/* The part of text up to n bytes, without blanks around; NULL: no memory. */
static char *part(const reading *r, const char *text, size_t n) {
    while (n > 0 && *text == ' ')
        text++, n--;
    while (n > 0 && text[n - 1] == ' ')
        n--;
    return thaw_arena_string(r->arena, text, n);
}

static thaw_status read_list(const reading *r, thaw_sweep_axis *axis) {
    size_t most = 1;
    for (const char *c = r->text; *c; c++)
        most += *c == ',';
    const char **choices = thaw_arena_array(r->arena, most, sizeof *choices);
    if (!choices) return thaw_fail_memory(r->err, "for the values of %s", r->row->key);
    const char *text = r->text;
    for (size_t i = 0; i < most; i++) {
        size_t n = strcspn(text, ",");
        choices[i] = part(r, text, n);
        if (!choices[i]) return thaw_fail_memory(r->err, "for the values of %s", r->row->key);
        if (!*choices[i]) return refuse(r, "a value of the list is missing");
        THAW_TRY(check_value(r, choices[i]));
        for (size_t j = 0; j < i; j++)
            if (strcmp(choices[i], choices[j]) == 0)
                return refuse(r, "a value stands in the list twice");
        text += n + (text[n] == ',');
    }
    axis->kind = THAW_AXIS_CHOICE;
    axis->choices = choices;
    axis->n_choices = most;
    return THAW_OK;
}

static thaw_status read_range(const reading *r, const char *dots, thaw_sweep_axis *axis) {
    if (!is_number(r->row))
        return refuse(r,
                      "a range A..B is for numbers; this option has no order: list its values, as "
                      "in a,b,c");
    char *low = part(r, r->text, (size_t)(dots - r->text)),
         *high = part(r, dots + 2, strlen(dots + 2));
    if (!low || !high) return thaw_fail_memory(r->err, "for the range of %s", r->row->key);
    THAW_TRY(check_value(r, low));
    THAW_TRY(check_value(r, high));
    if (!thaw_text_number(low, &axis->low) || !thaw_text_number(high, &axis->high))
        return refuse(r, "the ends of a range are numbers, A..B");
    if (axis->low >= axis->high)
        return refuse(r, "the range is empty: A..B goes from the lower to the higher number");
    axis->kind = r->row->scale && axis->low > 0 ? THAW_AXIS_LOG : THAW_AXIS_LINEAR;
    axis->integer = r->row->type == &thaw__type_integer;
    return THAW_OK;
}

static thaw_sweep_axis *find(thaw_axes *axes, const char *key) {
    for (size_t i = 0; i < axes->n; i++)
        if (strcmp(axes->axis[i].key, key) == 0) return &axes->axis[i];
    return NULL;
}

thaw_status thaw__axes_take(thaw_axes *axes, const thaw__option *row, const char *text,
                            const char *source, thaw_arena *arena, thaw_error *err) {
    reading r = {row, text, source, arena, err};
    if (!thaw__axes_may(row)) return refuse(&r, "this option cannot be swept: give one value");
    const thaw_sweep_axis *before = find(axes, row->key);
    if (before && strcmp(before->source, source) == 0)
        return refuse(&r, "the axis is given twice; keep one of the two");
    thaw_sweep_axis axis = {.key = row->key,
                            .source = thaw_arena_string(arena, source, strlen(source))};
    if (!axis.source) return thaw_fail_memory(err, "for the range of %s", row->key);
    const char *dots = strstr(text, "..");
    THAW_TRY(dots ? read_range(&r, dots, &axis) : read_list(&r, &axis));
    thaw__axes_drop(axes, row->key);
    if (axes->n == THAW_AXES_MAX) return refuse(&r, "a sweep has at most 16 axes");
    axes->axis[axes->n++] = axis;
    return THAW_OK;
}

void thaw__axes_drop(thaw_axes *axes, const char *key) {
    thaw_sweep_axis *axis = find(axes, key);
    if (!axis) return;
    size_t behind = (size_t)(axes->axis + axes->n - axis) - 1;
    memmove(axis, axis + 1, behind * sizeof *axis);
    axes->n--;
}

/* ---- values --------------------------------------------------------------------------------- */

static const char *integer_at(const thaw_sweep_axis *axis, double u, thaw_arena *arena) {
    bool log_scale = axis->kind == THAW_AXIS_LOG;
    double value = log_scale ? round(exp(log(axis->low) + u * log(axis->high / axis->low)))
                             : floor(axis->low + u * (axis->high - axis->low + 1));
    return thaw_arena_printf(arena, "%.0f", fmin(fmax(value, axis->low), axis->high));
}

const char *thaw_axis_at(const thaw_sweep_axis *axis, double u, thaw_arena *arena) {
    if (axis->kind == THAW_AXIS_CHOICE) {
        size_t i = (size_t)(u * (double)axis->n_choices);
        return axis->choices[i < axis->n_choices ? i : axis->n_choices - 1];
    }
    if (axis->integer) return integer_at(axis, u, arena);
    double value = axis->kind == THAW_AXIS_LOG
                       ? exp(log(axis->low) + u * log(axis->high / axis->low))
                       : axis->low + u * (axis->high - axis->low);
    /* Four digits are as exact as anybody can want them: the text is the value. */
    double rounded;
    char *text = thaw_arena_printf(arena, "%.4g", value);
    bool inside =
        text && thaw_text_number(text, &rounded) && rounded >= axis->low && rounded <= axis->high;
    return inside || !text ? text : thaw_arena_printf(arena, "%.17g", value);
}
