/* What all pages share: one HTML file with nothing from outside, in light, dark and print, that is
 * whole without scripts. Its script sorts tables and shows the tooltips of charts.
 *
 * Every text that is given is escaped here; formats are the program's own.
 */
#ifndef THAW_PAGE_H
#define THAW_PAGE_H

#include <stdio.h>

#include "units.h"

/* Text that a file name or label may hold, as text, also inside of double quotes. */
void thaw_page_text(FILE *out, const char *text);
void thaw_page_part(FILE *out, const char *text, size_t n); /* Its first n bytes. */

void thaw_page_begin(FILE *out, const char *title); /* Up to its h1. */
void thaw_page_end(FILE *out);

void thaw_page_heading(FILE *out, const char *text);

/* A paragraph of small print. */
void thaw_page_note(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A row of cards, each with a figure. */
void thaw_page_cards_begin(FILE *out);
void thaw_page_card(FILE *out, const char *what, thaw_unit unit, double value);
void thaw_page_cards_end(FILE *out);

/* Charts side by side, as many as fit. */
void thaw_page_charts_begin(FILE *out);
void thaw_page_charts_end(FILE *out);

/* A table; a click on the head of a column sorts it by that. The first n_texts of its n columns
 * hold text. A row, then its cells in order: text, or a figure that is sorted by its value. */
void thaw_page_table_begin(FILE *out, const char *const *columns, size_t n_texts, size_t n);
void thaw_page_row(FILE *out);
void thaw_page_cell(FILE *out, const char *text);
void thaw_page_figure(FILE *out, thaw_unit unit, double value);
void thaw_page_table_end(FILE *out);

/* What only some readers want, behind its name. */
void thaw_page_details_begin(FILE *out, const char *name);
void thaw_page_details_end(FILE *out);

#endif
