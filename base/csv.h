/* Tables as RFC 4180 has them: commas, CRLF, quotes where a field needs them. */
#ifndef THAW_CSV_H
#define THAW_CSV_H

#include <stdio.h>

/* Writes a text as one field; its bytes stay as they are. Commas and the line's end are the
 * caller's. */
void thaw_csv_put(FILE *out, const char *text);

#endif
