/* Tables as RFC 4180 has them: commas, CRLF, quotes where a field needs them. */
#ifndef THAW_CSV_H
#define THAW_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Writes a text as one field; its bytes stay as they are. Commas and the line's end are the
 * caller's. */
void thaw_csv_put(FILE *out, const char *text);

/* Splits the next row of a table in memory, in place: *at moves behind it, fields [most] point into it, each
 * ended by a zero; *n receives how many there are, also those that had no room. False at the end, or where a
 * quote is not closed. */
bool thaw_csv_next(char **at, char **fields, size_t most, size_t *n);

#endif
