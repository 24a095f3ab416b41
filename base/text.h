/* Short texts that are built piece by piece, and how far two words are apart. */
#ifndef THAW_TEXT_H
#define THAW_TEXT_H

#include <stddef.h>

enum { THAW_TEXT_SIZE = 768 };

/* A text of bounded size; all zero is empty. What does not fit is cut. */
typedef struct thaw_text {
    size_t n;
    char text[THAW_TEXT_SIZE];
} thaw_text;

void thaw_text_add(thaw_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Levenshtein distance of two words, of which at most 63 characters count. */
int thaw_edit_distance(const char *a, const char *b);

#endif
