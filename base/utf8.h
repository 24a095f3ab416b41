/* Texts that anybody may have written, in UTF-8: what may be printed, and cuts that leave whole
 * letters. Bytes that are no UTF-8 do no harm.
 */
#ifndef THAW_UTF8_H
#define THAW_UTF8_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Replaces what could steer a terminal or fake a line by '?': names of files, nodes and classes may
 * hold anything. Control characters of ASCII, and in UTF-8 those of C1 and the marks that turn the
 * direction of writing; bytes that are no UTF-8 stay. */
void thaw_utf8_printable(char *text);

/* How many bytes of text, at most `most`, end with a whole letter of UTF-8: the number for "%.*s". */
int thaw_utf8_prefix(const char *text, int most);

/* Formats into text[size] and cuts what is too long behind a whole letter. */
void thaw_utf8_format(char *text, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/* Letters of a UTF-8 text, which is near enough to columns. */
size_t thaw_utf8_letters(const char *text);

/* How many bytes the first letters of a text take, at most so many of them. */
size_t thaw_utf8_bytes(const char *text, size_t letters);

/* True when the text has combining marks, U+0300 to U+036F: an accent as a letter of its own. */
bool thaw_utf8_has_marks(const char *text);

/* True when two texts that may differ show the same letters: where one has a letter and a combining
 * mark, the other may have the letter with its accent (Unicode's NFD and NFC). A guess for letters
 * beyond Latin-1. */
bool thaw_utf8_looks_like(const char *a, const char *b);

/* Writes a text as thaw_utf8_printable makes it, at most 4 KB. columns: it is filled with blanks to so
 * many letters, or cut, which an ellipsis as the last one says; 0: as long as it is. */
void thaw_utf8_put(FILE *out, const char *text, size_t columns);

#endif
