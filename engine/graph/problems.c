#include "problems.h"

#include <stdio.h>
#include <string.h>

#include "utf8.h"

/* Whether two sentences are the same but for each one's name and the numbers in them. */
static bool same_sentence(const char *a, const char *a_name, const char *b, const char *b_name) {
    size_t na = strlen(a_name), nb = strlen(b_name);
    while (*a && *b) {
        if (na && nb && !strncmp(a, a_name, na) && !strncmp(b, b_name, nb)) {
            a += na;
            b += nb;
            na = nb = 0; /* Once: further on it may be a part of a word. */
        } else if (strchr("0123456789", *a) && strchr("0123456789", *b)) {
            a += strspn(a, "0123456789");
            b += strspn(b, "0123456789");
        } else if (*a++ != *b++) {
            return false;
        }
    }
    return *a == *b;
}

static bool is_of(const thaw_problem *p, const char *kind, const char *name, const char *text) {
    if (p->kind || kind) return p->kind && kind && strcmp(p->kind, kind) == 0;
    return same_sentence(p->first.text, p->name, text, name);
}

void thaw_problems_add(thaw_problems *p, const char *kind_name, const char *name,
                       const thaw_error *why) {
    int k = 0, length = thaw_utf8_prefix(name, THAW_PROBLEM_NAME - 1);
    char own[THAW_PROBLEM_NAME];
    snprintf(own, sizeof own, "%.*s", length, name);
    p->n++;
    while (k < p->n_kinds && !is_of(&p->kinds[k], kind_name, own, why->text))
        k++;
    if (k == THAW_PROBLEM_KINDS) return;
    thaw_problem *kind = &p->kinds[k];
    kind->n++;
    if (k == p->n_kinds) {
        p->n_kinds++;
        kind->kind = kind_name;
        kind->first = *why;
        memcpy(kind->name, own, sizeof own);
        return;
    }
    size_t used = strlen(kind->others);
    if (used + strlen(own) + 3 > sizeof kind->others) return;
    snprintf(kind->others + used, sizeof kind->others - used, "%s%s", used ? ", " : "", own);
    kind->n_named++;
}

thaw_status thaw_problems_end(const thaw_problems *p, thaw_error *err) {
    if (p->n == 0) return THAW_OK;
    if (p->n == 1) {
        if (err) *err = p->kinds[0].first;
        return p->kinds[0].first.code;
    }
    /* Each has an equal part of the sentence, and what is missing of it is counted. */
    enum { ROOM = THAW_ERROR_TEXT - 200 };
    char text[THAW_ERROR_TEXT] = "";
    size_t used = 0, part = ROOM / (size_t)p->n_kinds;
    int told = 0;
    for (int k = 0; k < p->n_kinds; k++) {
        const thaw_problem *kind = &p->kinds[k];
        char others[256] = "";
        if (kind->n > 1 && kind->n - 1 > kind->n_named)
            snprintf(others, sizeof others, " (and the same of %s%s%d more)", kind->others,
                     kind->n_named ? " and " : "", kind->n - 1 - kind->n_named);
        else if (kind->n > 1)
            snprintf(others, sizeof others, " (and the same of %s)", kind->others);
        int most = (int)(part > strlen(others) + 8 ? part - strlen(others) - 8 : 8);
        int length = thaw_utf8_prefix(kind->first.text, (size_t)most);
        bool cut = kind->first.text[length] != 0;
        int n = snprintf(text + used, sizeof text - used, "%s(%d) %.*s%s%s", k ? "; " : "", k + 1,
                         length, kind->first.text, cut ? "..." : "", others);
        used += n > 0 ? (size_t)n : 0;
        told += kind->n;
        if (used >= sizeof text) used = sizeof text - 1;
    }
    if (p->n_kinds == 1) return thaw_fail(err, p->kinds[0].first.code, "%s", text + strlen("(1) "));
    if (told < p->n && used < sizeof text)
        snprintf(text + used, sizeof text - used, "; and %d of other kinds", p->n - told);
    return thaw_fail(err, p->kinds[0].first.code, "%d things stand against it: %s", p->n, text);
}
