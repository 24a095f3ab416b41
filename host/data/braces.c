#include "braces.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DIGITS = 9, MOST_NAMES = 1000000 };

/* {first..last}, of n_bytes. */
typedef struct range {
    long first, last;
    int digits; /* 0: as many as the number has. */
    size_t n_bytes;
} range;

/* Reads the digits at *at; false: there are none, or too many. */
static bool read_number(const char **at, long *number, int *digits, bool *filled) {
    size_t n = strspn(*at, "0123456789");
    if (n == 0 || n > MOST_DIGITS) return false;
    *filled |= n > 1 && **at == '0';
    *digits = (int)n > *digits ? (int)n : *digits;
    *number = strtol(*at, NULL, 10);
    *at += n;
    return true;
}

static bool read_range(const char *text, range *r) {
    const char *at = text + 1;
    bool filled = false;
    *r = (range){0};
    if (*text != '{' || !read_number(&at, &r->first, &r->digits, &filled)) return false;
    if (strncmp(at, "..", 2) != 0) return false;
    at += 2;
    if (!read_number(&at, &r->last, &r->digits, &filled) || *at != '}') return false;
    if (!filled) r->digits = 0;
    r->n_bytes = (size_t)(at + 1 - text);
    return true;
}

const char *thaw_braces_find(const char *text) {
    range r;
    while ((text = strchr(text, '{')) && !read_range(text, &r))
        text++;
    return text;
}

thaw_status thaw_braces_expand(const char *text, thaw_words *names, thaw_arena *arena,
                               thaw_error *err) {
    const char *at = thaw_braces_find(text);
    char name[PATH_MAX];
    size_t place;
    range r;
    if (!at && names->n >= MOST_NAMES)
        return thaw_fail(err, THAW_ERR_USAGE, "'%.600s' stands for more than %d names", text,
                         MOST_NAMES);
    if (!at)
        return thaw_words_place(names, arena, text, &place)
                   ? THAW_OK
                   : thaw_fail_memory(err, "for the names of '%.600s'", text);
    read_range(at, &r);
    if (r.first > r.last)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "'%.600s': {%ld..%ld} counts down; expected {%ld..%ld}", text, r.first,
                         r.last, r.last, r.first);
    for (long i = r.first; i <= r.last; i++) {
        int n = snprintf(name, sizeof name, "%.*s%0*ld%s", (int)(at - text), text, r.digits, i,
                         at + r.n_bytes);
        if (n >= (int)sizeof name)
            return thaw_fail(err, THAW_ERR_USAGE, "'%.600s' is too long for a path", text);
        THAW_TRY(thaw_braces_expand(name, names, arena, err));
    }
    return THAW_OK;
}
