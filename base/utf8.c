#include "utf8.h"

#include <stdarg.h>
#include <string.h>

/* Bytes at text that a terminal may obey; 0: none. C1 is U+0080 to U+009F; the marks of direction are
 * U+200E, 200F, 202A to 202E, 2066 to 2069; U+2028 and 2029 end lines. */
static size_t steering_bytes(const unsigned char *text) {
    if (text[0] < 0x20 || text[0] == 0x7f) return 1;
    if (text[0] == 0xc2 && text[1] >= 0x80 && text[1] <= 0x9f) return 2;
    if (text[0] != 0xe2) return 0;
    bool marks = text[1] == 0x80 && ((text[2] >= 0xa8 && text[2] <= 0xae) || (text[2] | 1) == 0x8f);
    bool isolates = text[1] == 0x81 && text[2] >= 0xa6 && text[2] <= 0xa9;
    return marks || isolates ? 3 : 0;
}

void thaw_utf8_printable(char *text) {
    for (unsigned char *at = (unsigned char *)text; *at; at++)
        for (size_t n = steering_bytes(at); n > 0; n--)
            at[n - 1] = '?';
}

/* Whether a letter starts with this byte. */
static bool starts_letter(char c) {
    return ((unsigned char)c & 0xc0) != 0x80;
}

/* Bytes of the letter that begins with this one. */
static size_t letter_bytes(char first) {
    unsigned char c = (unsigned char)first;
    return c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
}

/* How many of the n bytes are left without the last letter, where that is cut; with no letter in the
 * last four it is no UTF-8, and any place is as good. */
static size_t whole_bytes(const char *text, size_t n) {
    enum { LONGEST = 4 };
    for (size_t k = 1; k <= LONGEST && k <= n; k++)
        if (starts_letter(text[n - k])) return k < letter_bytes(text[n - k]) ? n - k : n;
    return n;
}

int thaw_utf8_prefix(const char *text, int most) {
    size_t n = strnlen(text, (size_t)most + 1);
    return (int)(n <= (size_t)most ? n : whole_bytes(text, (size_t)most));
}

void thaw_utf8_format(char *text, size_t size, const char *format, va_list args) {
    int n = vsnprintf(text, size, format, args);
    if (n < 0) text[0] = '\0';
    if (n >= (int)size) text[whole_bytes(text, size - 1)] = '\0';
}

size_t thaw_utf8_letters(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += starts_letter(*text);
    return n;
}

/* Bytes of the combining mark at text; 0: there is none. */
static size_t mark_bytes(const char *text) {
    unsigned char first = (unsigned char)text[0];
    if (first != 0xcc && first != 0xcd) return 0;
    unsigned char second = (unsigned char)text[1];
    return second >= 0x80 && (first == 0xcc || second < 0xb0) ? 2 : 0;
}

bool thaw_utf8_has_marks(const char *text) {
    for (; *text; text++)
        if (mark_bytes(text)) return true;
    return false;
}

/* A letter with the marks behind it. */
typedef struct letter {
    const char *start;
    size_t n; /* Bytes, without the marks. */
    bool marked;
} letter;

static letter next_letter(const char **text) {
    letter l = {.start = *text, .n = **text != 0};
    while (l.n && l.start[l.n] && !starts_letter(l.start[l.n]))
        l.n++;
    *text += l.n;
    for (size_t n; (n = mark_bytes(*text)); *text += n)
        l.marked = true;
    return l;
}

/* True when composed may be what plain becomes with its marks. */
static bool composes(letter plain, letter composed) {
    static const char bases[] = /* Of U+00C0 to U+00FF; a blank has no accent. */
        "AAAAAA CEEEEIIII NOOOOO  UUUUY  aaaaaa ceeeeiiii nooooo  uuuuy y";
    if (!plain.marked || composed.marked || composed.n < 2) return false;
    if ((unsigned char)composed.start[0] != 0xc3) return true;
    return plain.n == 1 && *plain.start == bases[composed.start[1] & 0x3f];
}

bool thaw_utf8_looks_like(const char *a, const char *b) {
    while (*a && *b) {
        letter x = next_letter(&a), y = next_letter(&b);
        bool same = x.n == y.n && x.marked == y.marked && memcmp(x.start, y.start, x.n) == 0;
        if (!same && !composes(x, y) && !composes(y, x)) return false;
    }
    return !*a && !*b;
}

size_t thaw_utf8_bytes(const char *text, size_t most) {
    size_t n = 0, letters = 0;
    for (; text[n]; n++)
        if (starts_letter(text[n]) && letters++ == most) break;
    return n;
}

void thaw_utf8_put(FILE *out, const char *text, size_t columns) {
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", text);
    thaw_utf8_printable(copy);
    size_t letters = thaw_utf8_letters(copy);
    if (columns && letters > columns)
        fprintf(out, "%.*s\u2026", (int)thaw_utf8_bytes(copy, columns - 1), copy);
    else
        fprintf(out, "%s%*s", copy, columns ? (int)(columns - letters) : 0, "");
}
