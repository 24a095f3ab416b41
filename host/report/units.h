/* Figures as people read them: on pages, on axes, in the terminal. */
#ifndef THAW_UNITS_H
#define THAW_UNITS_H

#include <stddef.h>

typedef enum thaw_unit {
    THAW_UNIT_PLAIN,   /* Four digits, 0.0013. */
    THAW_UNIT_SHARE,   /* 0.973 as 97.3 %. */
    THAW_UNIT_SECONDS, /* 0.25 s, 12 s, 3.4 min, 2.1 h. */
    THAW_UNIT_BYTES,   /* 512 B, 1.5 MB: powers of 1024. */
    THAW_UNIT_COUNT,   /* 812, 12.3 k, 2.5 M. */
} thaw_unit;

enum { THAW_UNIT_TEXT = 32 };

/* Writes the value with its unit; an en dash for what is not finite. */
void thaw_unit_text(char text[THAW_UNIT_TEXT], thaw_unit unit, double value);

#endif
