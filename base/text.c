#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "utf8.h"

/* Longer words are cut for the distance: nobody mistypes a key of this length by a few letters. */
enum { WORD_MAX = 128 };

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Compares the runs of digits at *a and *b by value and steps over them. */
static int compare_digits(const char **a, const char **b) {
    *a += strspn(*a, "0");
    *b += strspn(*b, "0");
    size_t n_a = strspn(*a, "0123456789"), n_b = strspn(*b, "0123456789");
    if (n_a != n_b) return n_a < n_b ? -1 : 1;
    int order = memcmp(*a, *b, n_a);
    *a += n_a;
    *b += n_b;
    return order;
}

int thaw_text_natural(const char *a, const char *b) {
    const char *p = a, *q = b;
    while (*p && *q) {
        if (is_digit(*p) && is_digit(*q)) {
            int order = compare_digits(&p, &q);
            if (order) return order;
        } else if (*p != *q) {
            break;
        } else {
            p++;
            q++;
        }
    }
    if (*p != *q) return (unsigned char)*p < (unsigned char)*q ? -1 : 1;
    return strcmp(a, b);
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static bool same_letter(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Optimal string alignment, row by row; n_a and n_b are at most WORD_MAX. */
static size_t edit_distance(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= n_b; j++)
        above[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            bool same = same_letter(a[i - 1], b[j - 1]);
            row[j] = smaller(above[j - 1] + !same, smaller(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1]))
                row[j] = smaller(row[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[n_b];
}

void thaw_nearest_offer(thaw_nearest *nearest, const char *candidate) {
    size_t n_word = strnlen(nearest->word, WORD_MAX), n = strnlen(candidate, WORD_MAX);
    size_t limit = n_word / 3 > 2 ? n_word / 3 : 2;
    size_t distance = edit_distance(nearest->word, n_word, candidate, n);
    if (distance > limit || distance >= n_word) return;
    if (nearest->best && distance >= nearest->distance) return;
    nearest->best = candidate;
    nearest->distance = distance;
}

int thaw_text_find(const char *const *list, const char *word) {
    for (int i = 0; list[i]; i++)
        if (!strcasecmp(list[i], word)) return i;
    return -1;
}

bool thaw_text_integer(const char *text, int64_t *value) {
    const char *digits = text + (*text == '-');
    if (!*digits || digits[strspn(digits, "0123456789")]) return false;
    errno = 0;
    long long n = strtoll(text, NULL, 10);
    if (errno) return false;
    *value = n;
    return true;
}

bool thaw_text_number(const char *text, double *value) {
    /* strtod alone would let white space, "nan", "inf" and hexadecimal digits pass. */
    if (!*text || text[strspn(text, "+-.0123456789eE")]) return false;
    locale_t c = newlocale(LC_ALL_MASK, "C", NULL);
    if (!c) return false;
    char *end;
    double x = strtod_l(text, &end, c);
    freelocale(c);
    if (end == text || *end || !isfinite(x)) return false;
    *value = x;
    return true;
}

void thaw_text_add(thaw_text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    thaw_utf8_format(text->text + text->n, sizeof text->text - text->n, format, args);
    va_end(args);
    text->n += strlen(text->text + text->n);
}
