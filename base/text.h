/* Small things about text: order for people, the nearest known word, strict numbers, short lists.
 */
#ifndef THAW_TEXT_H
#define THAW_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Compares as strcmp does, but runs of digits by their value: "img2" < "img10". A total order:
 * only equal bytes compare as 0 ("01" and "1" have the same value and differ). */
int thaw_text_natural(const char *a, const char *b);

/* The best of the words offered so far for a word that was not found. Start: {.word = typed}. */
typedef struct thaw_nearest {
    const char *word; /* What was typed. */
    const char *best; /* The nearest of the offered words; NULL while none is near enough. */
    size_t distance;  /* Of best. */
} thaw_nearest;

/* Keeps candidate (borrowed) when it is nearer than what was offered before and not further than a
 * third of the typed word's length (at least two edits). The distance counts inserted, removed,
 * replaced and swapped neighbouring bytes, without regard to ASCII case. */
void thaw_nearest_offer(thaw_nearest *nearest, const char *candidate);

/* The place of word in a list that ends with NULL, without regard to ASCII case; -1: not there. */
int thaw_text_find(const char *const *list, const char *word);

/* True when the whole text is one decimal integer that an int64_t holds. */
bool thaw_text_integer(const char *text, int64_t *value);

/* True when the whole text is one finite decimal number with a point, whatever the locale. */
bool thaw_text_number(const char *text, double *value);

enum { THAW_TEXT_SIZE = 768 };

/* A text of bounded size, for lists in sentences; all zero is empty. What does not fit is cut
 * behind a whole letter. */
typedef struct thaw_text {
    size_t n;
    char text[THAW_TEXT_SIZE];
} thaw_text;

void thaw_text_add(thaw_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
