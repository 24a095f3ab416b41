#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "json.h"
#include "media.h"
#include "text.h"

enum { DIGITS = 9 };

static const char JSON[] = "application/json", LINES[] = "application/jsonlines";

/* ---- what is wanted ------------------------------------------------------------------------- */

/* One range of an Accept header; false: it names nothing that there is. */
static bool read_range(const char *media, const char *parameters, thaw_answer_form fallback,
                       thaw_answer_form *form) {
    char value[THAW_MEDIA_TEXT];
    bool verbose = thaw_media_parameter(parameters, "verbose", value, sizeof value);
    bool list = thaw_media_parameter(parameters, "list", value, sizeof value);
    bool json = !strcasecmp(media, JSON), lines = !strcasecmp(media, LINES);
    *form = fallback;
    if (!strcmp(media, "*/*") || !strcasecmp(media, "application/*")) return true;
    form->lines = lines;
    form->shape = verbose        ? THAW_ANSWER_VERBOSE
                  : list && json ? THAW_ANSWER_LIST
                                 : THAW_ANSWER_OBJECT;
    return json || lines;
}

/* How much a range is liked, from 0, not at all, to 1. */
static double read_weight(const char *parameters) {
    char value[THAW_MEDIA_TEXT];
    double q;
    if (!thaw_media_parameter(parameters, "q", value, sizeof value)) return 1;
    return thaw_text_number(value, &q) && q >= 0 && q <= 1 ? q : 1;
}

/* Behind the comma that ends a range; commas in quotes do not. */
static const char *next_range(const char *at) {
    bool quoted = false;
    for (; *at && (quoted || *at != ','); at++)
        if (*at == '"') quoted = !quoted;
    return *at ? at + 1 : at;
}

bool thaw_answer_negotiate(const char *accept, thaw_answer_form fallback, thaw_answer_form *form) {
    double best = 0;
    bool any = false;
    *form = fallback;
    for (const char *at = accept ? accept : ""; *at; at = next_range(at)) {
        char media[THAW_MEDIA_TEXT];
        thaw_answer_form one;
        const char *parameters = thaw_media_name(at, media);
        if (!*media) continue;
        any = true;
        double q = read_weight(parameters);
        if (q <= best || !read_range(media, parameters, fallback, &one)) continue;
        *form = one;
        best = q;
    }
    return !any || best > 0;
}

const char *thaw_answer_media(thaw_answer_form form) {
    return form.lines ? LINES : JSON;
}

/* ---- what is said --------------------------------------------------------------------------- */

static void put_scores(thaw_json *json, json_t *list, const thaw_answered *a, size_t i) {
    for (size_t k = 0; k < a->n_labels; k++)
        thaw_json_real(json, list, NULL, (double)a->scores[i * a->n_labels + k]);
}

static void put_verbose(thaw_json *json, json_t *into, const thaw_answered *a, size_t i) {
    const float *scores = a->scores + i * a->n_labels;
    size_t best = 0;
    for (size_t k = 1; k < a->n_labels; k++)
        if (scores[k] > scores[best]) best = k;
    put_scores(json, thaw_json_array(json, into, "probabilities"), a, i);
    json_t *labels = thaw_json_array(json, into, "labels");
    for (size_t k = 0; k < a->n_labels; k++)
        thaw_json_text(json, labels, NULL, a->labels[k]);
    bool unknown = a->unknown && a->unknown[i];
    thaw_json_text(json, into, "predicted_label", unknown ? THAW_UNKNOWN : a->labels[best]);
    if (!unknown) thaw_json_real(json, into, "score", (double)scores[best]);
    if (a->unknown) thaw_json_real(json, into, "distance", (double)a->distance[i]);
    json_t *several = a->sigmoid ? thaw_json_array(json, into, "predicted_labels") : NULL;
    for (size_t k = 0; k < a->n_labels && a->sigmoid; k++)
        if (scores[k] > 0.5f) thaw_json_text(json, several, NULL, a->labels[k]);
    if (!a->old) return;
    json_t *old = thaw_json_object(json, into, "old");
    thaw_json_text(json, old, "predicted_label", a->old_labels[a->old[i].answer]);
    thaw_json_real(json, old, "score", (double)a->old[i].score);
}

/* One picture into a parent: a list, or NULL for the root, which is an object (or, for a list of
 * scores, becomes an array). */
static void put_picture(thaw_json *json, json_t *parent, thaw_answer_form form,
                        const thaw_answered *a, size_t i) {
    if (!a->problem[i] && form.shape == THAW_ANSWER_LIST && !form.lines) {
        json_t *list = parent ? thaw_json_array(json, parent, NULL) : json_array();
        if (!parent) {
            json_decref(json->root);
            json->root = list;
            json->failed |= !list;
        }
        put_scores(json, list, a, i);
        return;
    }
    json_t *into = parent ? thaw_json_object(json, parent, NULL) : json->root;
    if (a->problem[i])
        thaw_json_text(json, into, "error", a->problem[i]);
    else if (form.shape == THAW_ANSWER_VERBOSE)
        put_verbose(json, into, a, i);
    else
        put_scores(json, thaw_json_array(json, into, form.lines ? "prediction" : "probabilities"),
                   a, i);
    if (!a->problem[i] && a->unknown) thaw_json_boolean(json, into, "unknown", a->unknown[i]);
}

static thaw_status print(thaw_json *json, char **text, thaw_error *err) {
    thaw_status status = thaw_json_print(json, THAW_JSON_LINE, DIGITS, "an answer", text, err);
    thaw_json_free(json);
    return status;
}

/* A line a picture; each ends. */
static thaw_status write_lines(thaw_answer_form form, const thaw_answered *a, char **text,
                               thaw_error *err) {
    size_t n = 0;
    *text = NULL;
    for (size_t i = 0; i < a->n; i++) {
        char *line;
        thaw_json json = thaw_json_begin();
        put_picture(&json, NULL, form, a, i);
        thaw_status status = print(&json, &line, err);
        size_t length = status == THAW_OK ? strlen(line) : 0;
        char *longer = status == THAW_OK ? realloc(*text, n + length + 2) : NULL;
        if (!longer) {
            if (status == THAW_OK) free(line);
            free(*text);
            *text = NULL;
            return thaw_fail_memory(err, "for an answer");
        }
        *text = longer;
        memcpy(*text + n, line, length);
        memcpy(*text + n + length, "\n", 2);
        n += length + 1;
        free(line);
    }
    return THAW_OK;
}

thaw_status thaw_answer_write(thaw_answer_form form, const thaw_answered *a, char **text,
                              thaw_error *err) {
    if (form.lines) return write_lines(form, a, text, err);
    thaw_json json = thaw_json_begin();
    json_t *list = a->several ? thaw_json_array(&json, json.root, "predictions") : NULL;
    for (size_t i = 0; i < a->n; i++)
        put_picture(&json, list, form, a, i);
    return print(&json, text, err);
}
