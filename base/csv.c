#include "csv.h"

#include <string.h>

void thaw_csv_put(FILE *out, const char *text) {
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

/* A field that begins with a quote: it loses its quotes, and doubled ones become one. NULL: it has no end.
 * Returns what stands behind it. */
static char *unquote(char *at) {
    char *to = at;
    for (char *from = at + 1; *from; from++) {
        if (*from == '"' && from[1] != '"') {
            *to = 0;
            return from + 1;
        }
        if (*from == '"') from++;
        *to++ = *from;
    }
    return NULL;
}

bool thaw_csv_next(char **at, char **fields, size_t most, size_t *n) {
    char *p = *at;
    *n = 0;
    if (!*p) return false;
    for (bool more = true; more; ++*n) {
        if (*n < most) fields[*n] = p;
        p = *p == '"' ? unquote(p) : p + strcspn(p, ",\r\n");
        if (!p) return false;
        more = *p == ',';
        bool pair = p[0] == '\r' && p[1] == '\n';
        char *next = *p ? p + 1 + pair : p;
        *p =
            0; /* Of a field without quotes; behind one with them it is a comma or the line's end. */
        p = next;
    }
    *at = p;
    return true;
}
