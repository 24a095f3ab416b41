/* What all charts are made of: words that fit, colours, the box around a chart. */
#ifndef THAW_SVG_H
#define THAW_SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum {
    THAW_SVG_LETTER = 7, /* Pixels, at most in the mean, of a letter of 11. */
    THAW_SVG_LINE = 14,  /* Of a line of text. */
    THAW_SVG_MARKS = 3,  /* Kinds of points: circle, square, diamond. */
};

/* Pixels that a text takes, about; the most of n texts. */
double thaw_svg_width(const char *text);
double thaw_svg_longest(const char *const *texts, size_t n);

/* Writes the start of a text, as much of it as so many pixels hold. */
void thaw_svg_short(FILE *out, const char *text, double pixels);

/* Writes the attributes of a colour as chart.h numbers them, with one more class. */
void thaw_svg_colour(FILE *out, int colour, const char *class);

/* Which mark, below THAW_SVG_MARKS, points of a colour have. */
int thaw_svg_mark(int colour);

/* The start of a chart: a div with its title, in which a wide one has a div that scrolls; then its svg. The
 * caller closes all of them. */
void thaw_svg_begin_box(FILE *out, const char *title, bool wide);
void thaw_svg_begin(FILE *out, const char *title, double width, double height);

#endif
