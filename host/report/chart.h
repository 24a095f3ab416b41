/* All plots of all pages, as SVG inside of HTML.
 *
 * A chart is drawn one unit a pixel and 360 wide, as wide as a telephone: pages put several of them side
 * by side where there is room, so that their letters never shrink. What has to be wider stands in a
 * box of its own that scrolls. Colours are the page's (page.h), in light, dark and print.
 *
 * A value that is not finite is nowhere in a chart. Titles are what a pointer shows; every chart says
 * in its aria-label what it is.
 */
#ifndef THAW_CHART_H
#define THAW_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "axis.h"

/* Colours: a number from 0 on is one of many hues, and these are what they are called. */
enum { THAW_COLOUR_GREY = -1, THAW_COLOUR_ACCENT = -2, THAW_COLOUR_WARN = -3 };

typedef struct thaw_series {
    const char *name; /* For the legend; NULL: it is not in it. */
    int colour;
    const double *x, *y;       /* [n] */
    const double *low, *high;  /* [n] ends of error bars; NULL: none. */
    const char *const *titles; /* [n]; NULL: the values themselves. */
    const char *const *labels; /* [n], beside the points where there is room; NULL: none. */
    size_t n;
    int64_t marked; /* A point that is larger than the others; -1: none. */
    bool line, dash, dots, rings;
} thaw_series;

typedef struct thaw_chart {
    const char *title; /* Says what is shown against what. */
    thaw_axis x, y;
    const thaw_series *series; /* [n_series] drawn in turn. */
    size_t n_series;
    double width;  /* 0: usual; a wider one scrolls. */
    double height; /* Of the plot itself; 0: usual. */
} thaw_chart;

void thaw_chart_put(FILE *out, const thaw_chart *chart);

/* Horizontal bars from 0 to `most`, 0: the largest; the figure stands behind each. */
typedef struct thaw_bar {
    const char *name;
    double value;
    int colour;
} thaw_bar;
void thaw_chart_bars(FILE *out, const char *title, thaw_unit unit, double most,
                     const thaw_bar *bars, size_t n);

/* The same for a terminal: a bar of Unicode's blocks, share 0 .. 1 of so many columns, and blanks up to
 * there. */
void thaw_chart_blocks(FILE *out, double share, int columns);

/* A matrix of cells, of which only some are there. */
typedef struct thaw_cell {
    size_t row, column;
    double shade; /* 0 .. 1 */
    int colour;
    char text[THAW_UNIT_TEXT]; /* In the cell where it fits, and in its title. */
} thaw_cell;

typedef struct thaw_heat {
    const char *title;
    const char *row_label, *column_label; /* What rows and columns are. */
    const char *const *rows, *const *columns;
    size_t n_rows, n_columns;
    const thaw_cell *cells;
    size_t n_cells;
} thaw_heat;

void thaw_chart_heat(FILE *out, const thaw_heat *heat);

/* Parallel coordinates: an upright axis for each quantity, a line for each path across them. */
typedef struct thaw_path {
    const double *values; /* [n_axes] */
    double shade;         /* 0 .. 1: how strongly it is drawn. */
    bool best;
    const char *title;
} thaw_path;
void thaw_chart_parallel(FILE *out, const char *title, const thaw_axis *axes, size_t n_axes,
                         const thaw_path *paths, size_t n_paths);

#endif
