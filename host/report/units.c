#include "units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Divides by base while the value stays 1 or more; returns which of the names fits. */
static size_t scale(double *value, double base, size_t n) {
    size_t i = 0;
    while (i + 1 < n && fabs(*value) >= base) {
        *value /= base;
        i++;
    }
    return i;
}

static int digits_of(double value) {
    enum { SHORT = 10, LONG = 100 };
    return fabs(value) < SHORT ? 2 : fabs(value) < LONG ? 1 : 0;
}

/* Without the zeros that say nothing: 2.00 is 2. */
static void put(char *text, double value, const char *unit) {
    int n = snprintf(text, THAW_UNIT_TEXT, "%.*f", digits_of(value), value);
    if (strchr(text, '.'))
        while (n > 1 && text[n - 1] == '0')
            text[--n] = '\0';
    if (text[n - 1] == '.') text[--n] = '\0';
    snprintf(text + n, THAW_UNIT_TEXT - (size_t)n, "%s", unit);
}

static void put_seconds(char *text, double value) {
    enum { MINUTE = 60, HOUR = 3600, FROM = 2 }; /* 90 s is easier to read than 1.5 min. */
    if (value >= FROM * HOUR)
        put(text, value / HOUR, " h");
    else if (value >= FROM * MINUTE)
        put(text, value / MINUTE, " min");
    else if (value != 0 && fabs(value) < 0.1)
        put(text, 1000 * value, " ms");
    else
        put(text, value, " s");
}

void thaw_unit_text(char text[THAW_UNIT_TEXT], thaw_unit unit, double value) {
    static const char *const bytes[] = {" B", " KB", " MB", " GB", " TB"};
    static const char *const counts[] = {"", " k", " M", " G"};
    if (!isfinite(value) || fabs(value) > 1e20) {
        snprintf(text, THAW_UNIT_TEXT, "%s", "\u2013");
    } else if (unit == THAW_UNIT_SHARE) {
        snprintf(text, THAW_UNIT_TEXT, "%.1f %%", 100 * value);
    } else if (unit == THAW_UNIT_SECONDS) {
        put_seconds(text, value);
    } else if (unit == THAW_UNIT_BYTES) {
        size_t i = scale(&value, 1024, sizeof bytes / sizeof *bytes);
        put(text, value, bytes[i]);
    } else if (unit == THAW_UNIT_COUNT) {
        size_t i = scale(&value, 1000, sizeof counts / sizeof *counts);
        put(text, value, counts[i]);
    } else {
        snprintf(text, THAW_UNIT_TEXT, "%.4g", value);
    }
}
