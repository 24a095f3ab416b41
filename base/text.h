/* Small things about text: order for people, the nearest known word, strict numbers, short lists.
 */
#ifndef THAW_TEXT_H
#define THAW_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

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

/* Replaces what could steer a terminal or fake a line by '?': names of files, nodes and classes may
 * hold anything. Control characters of ASCII, and in UTF-8 those of C1 and the marks that turn the
 * direction of writing; bytes that are no UTF-8 stay. */
void thaw_text_printable(char *text);

/* How many bytes of text, at most `most`, end with a whole letter of UTF-8: the number for "%.*s". */
int thaw_text_prefix(const char *text, int most);

/* Formats into text[size] and cuts what is too long behind a whole letter. */
void thaw_text_format(char *text, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/* Letters of a UTF-8 text, which is near enough to columns. */
size_t thaw_text_letters(const char *text);

/* Cuts a text to at most so many letters, never in the middle of one. */
void thaw_text_cut(char *text, size_t most_letters);

/* True when the text has combining marks, U+0300 to U+036F: an accent as a letter of its own. */
bool thaw_text_has_marks(const char *text);

/* True when two texts that may differ show the same letters: where one has a letter and a combining
 * mark, the other may have the letter with its accent (Unicode's NFD and NFC). A guess for letters
 * beyond Latin-1. */
bool thaw_text_looks_like(const char *a, const char *b);

/* Writes a text as thaw_text_printable makes it, at most 4 KB. columns: it is filled with blanks to so
 * many letters, or cut, which an ellipsis as the last one says; 0: as long as it is. */
void thaw_text_put(FILE *out, const char *text, size_t columns);

enum { THAW_TEXT_SIZE = 768 };

/* A text of bounded size, for lists in sentences; all zero is empty. What does not fit is cut
 * behind a whole letter. */
typedef struct thaw_text {
    size_t n;
    char text[THAW_TEXT_SIZE];
} thaw_text;

void thaw_text_add(thaw_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
