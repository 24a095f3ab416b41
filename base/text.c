#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void thaw_text_add(thaw_text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->text + text->n, sizeof text->text - text->n, format, args);
    va_end(args);
    if (n > 0) text->n += (size_t)n;
    if (text->n >= sizeof text->text) text->n = sizeof text->text - 1;
}

int thaw_edit_distance(const char *a, const char *b) {
    enum { LONGEST = 63 };
    size_t na = strnlen(a, LONGEST), nb = strnlen(b, LONGEST);
    int row[LONGEST + 1];
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            int drop = row[j] + 1, insert = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < drop ? change : drop;
            if (insert < row[j]) row[j] = insert;
        }
    }
    return row[nb];
}
