/* A request to the server without its socket: the first line is its Content-Type, the second its Accept, the
 * rest its body. Pictures lie in the body or in what was decoded, every answer is JSON. */
#include "fuzz.h"
#include "json.h"
#include "serve/answer.h"
#include "serve/body.h"

enum { LABELS = 2 };

/* Reads every byte of every picture: a sanitizer watches. */
static unsigned read_all(const thaw_body *body) {
    unsigned sum = 0;
    for (size_t i = 0; i < body->n; i++) {
        const thaw_body_picture *p = &body->pictures[i];
        FUZZ_CHECK(p->name && (p->problem || p->bytes));
        for (size_t k = 0; !p->problem && k < p->n; k++)
            sum += ((const uint8_t *)p->bytes)[k];
    }
    return sum;
}

static void answer(const thaw_body *body, thaw_answer_form form) {
    static const float scores[THAW_BODY_PICTURES * LABELS];
    static const char *const labels[LABELS] = {"a", "<b>"};
    static const bool unknown[THAW_BODY_PICTURES] = {true};
    static const float distance[THAW_BODY_PICTURES];
    const char **problem = calloc(body->n, sizeof *problem);
    FUZZ_CHECK(problem);
    for (size_t i = 0; i < body->n; i++)
        problem[i] = body->pictures[i].problem ? body->pictures[i].problem
                     : i % 2                   ? body->pictures[i].name
                                               : NULL;
    thaw_answered answered = {.n = body->n,
                              .several = body->several,
                              .problem = problem,
                              .scores = scores,
                              .labels = labels,
                              .n_labels = LABELS,
                              .unknown = body->n % 2 ? unknown : NULL,
                              .distance = distance};
    char *text;
    json_t *json;
    FUZZ_CHECK(thaw_answer_write(form, &answered, &text, NULL) == THAW_OK);
    for (char *line = text, *end; form.lines && (end = strchr(line, '\n')); line = end + 1) {
        FUZZ_CHECK(thaw_json_parse(line, (size_t)(end - line), "a line", &json, NULL) == THAW_OK);
        json_decref(json);
    }
    if (!form.lines) {
        FUZZ_CHECK(thaw_json_parse(text, strlen(text), "an answer", &json, NULL) == THAW_OK);
        json_decref(json);
    }
    free(text);
    free(problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const uint8_t *first = n ? memchr(data, '\n', n) : NULL;
    const uint8_t *second = first ? memchr(first + 1, '\n', n - (size_t)(first + 1 - data)) : NULL;
    if (!second) return 0;
    char *media = fuzz_text(data, (size_t)(first - data));
    char *accept = fuzz_text(first + 1, (size_t)(second - first - 1));
    size_t size = n - (size_t)(second + 1 - data);
    char *bytes = malloc(size ? size : 1); /* Not one more than there are. */
    FUZZ_CHECK(bytes);
    if (size) memcpy(bytes, second + 1, size);
    thaw_answer_form form;
    thaw_body_type type;
    thaw_body body = {0};
    thaw_error err = {0};
    bool acceptable = thaw_answer_negotiate(accept, (thaw_answer_form){0}, &form);
    thaw_status status = thaw_body_type_parse(media, &type, &err);
    if (status == THAW_OK) status = thaw_body_parse(&body, &type, bytes, size, &err);
    fuzz_check_status(status, &err);
    if (status == THAW_OK) __asm__ volatile("" : : "r"(read_all(&body))); /* Not left out. */
    if (status == THAW_OK && acceptable) answer(&body, form);
    thaw_body_free(&body);
    free(bytes);
    free(accept);
    free(media);
    return 0;
}
