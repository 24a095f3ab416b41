/* Views: a picture as it might also have been taken, for training. Which one is drawn is a matter of
 * the file's bytes, the view's number and the ranges alone, so that it is drawn again and cached. */
#ifndef THAW_VIEW_H
#define THAW_VIEW_H

#include "hash.h"
#include "image.h"

/* What views vary within. */
typedef struct thaw_view_ranges {
    double crop; /* Least share of the picture's area that is seen; its sides stretch by up to 4/3.
                    * 1: no cropping, the geometry's own is kept. */
    bool flip;   /* Half of them are mirrored, left to right. */
    double rotate; /* Degrees, at most, either way; what lies outside repeats the edge. */
    double colour; /* Brightness, contrast and saturation times 1 - colour to 1 + colour. */
} thaw_view_ranges;

/* One of them: numbers that are drawn. */
struct thaw_view {
    float area,
        stretch;      /* Of the crop: its share, and the logarithm of its width over its height. */
    float at_x, at_y; /* 0 to 1: where it lies in what is left. */
    bool crop, flip;
    float degrees;
    float brightness, contrast, saturation;
};

/* View k > 0 of the picture whose file's bytes hash to `picture`. */
thaw_view thaw_view_draw(const thaw_view_ranges *ranges, thaw_hash picture, int64_t k);

/* What identifies it in a cache, beside what its trunk is: the picture's hash itself for k = 0. */
thaw_hash thaw_view_key(const thaw_view_ranges *ranges, thaw_hash picture, int64_t k);

/* Whether no view differs from the picture. */
bool thaw_views_are_still(const thaw_view_ranges *ranges);

/* The crop of a view as a box in a picture of width x height. aspect: width over height of what it
 * becomes. */
typedef struct thaw_box {
    double x, y, width, height;
} thaw_box;
thaw_box thaw_view_box(const thaw_view *view, int width, int height, double aspect);

/* Mirrors, turns and colours u8 RGB [height, width] in place; scratch has room for as much. */
void thaw_view_finish(const thaw_view *view, int width, int height, uint8_t *rgb, uint8_t *scratch);

#endif
