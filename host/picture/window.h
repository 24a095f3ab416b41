/* Windows: which samples become black and which white, where a picture's have more than the 8 bits
 * that a network is given: of X-rays, of microscopes. */
#ifndef THAW_PIXEL_WINDOW_H
#define THAW_PIXEL_WINDOW_H

#include <stdbool.h>

#include "enum.h"

/* file: as the file has it: DICOM's own window, elsewhere all that the samples' type can hold.
 * minmax: from the least to the greatest sample. percentile: the same without the darkest and the
 * brightest. fixed: from one value to another, in the file's unit (of DICOM: after its rescaling). */
#define THAW_WINDOW_LIST(X)                 \
    X(THAW_WINDOW_FILE, "file")             \
    X(THAW_WINDOW_MINMAX, "minmax")         \
    X(THAW_WINDOW_PERCENTILE, "percentile") \
    X(THAW_WINDOW_FIXED, "fixed")
typedef enum thaw_pixel_window_kind { THAW_WINDOW_LIST(THAW_ENUM_VALUE) } thaw_pixel_window_kind;

typedef struct thaw_pixel_window {
    thaw_pixel_window_kind kind;
    double low, high; /* Percentiles, or samples; of the others 0. */
} thaw_pixel_window;

/* Reads "file", "minmax", "percentile(0.5,99.5)" or "LOW..HIGH"; LOW is below HIGH. False: it is
 * none of these. */
bool thaw_pixel_window_parse(const char *text, thaw_pixel_window *window);

/* Writes what thaw_pixel_window_parse reads. */
enum { THAW_WINDOW_TEXT = 64 };
void thaw_pixel_window_text(const thaw_pixel_window *window, char text[THAW_WINDOW_TEXT]);

#endif
