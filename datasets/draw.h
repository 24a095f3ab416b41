/* Pictures of flowers, and of things that are none, drawn by arithmetic.
 *
 * The built-in story needs a dataset that ships with the program, weighs nothing and belongs to
 * nobody. A picture is a pure function of (kind, seed, index): the same bytes on every machine, in
 * whatever order and on however many threads the pictures are drawn.
 */
#ifndef THAW_DRAW_H
#define THAW_DRAW_H

#include <stdint.h>

#include "status.h"

/* Kinds are numbered: first the species that the base CNN may see, then the demo's, which it must
 * never have seen, then the things that are no flower. */
enum {
    THAW_DRAW_BASE = 28,
    THAW_DRAW_DEMO = 8,
    THAW_DRAW_SPECIES = THAW_DRAW_BASE + THAW_DRAW_DEMO,
    THAW_DRAW_OTHERS = 14,
    THAW_DRAW_KINDS = THAW_DRAW_SPECIES + THAW_DRAW_OTHERS,
    THAW_DRAW_LEAST_SIDE = 16,
    THAW_DRAW_MOST_SIDE = 1024
};

/* The kind's name in lower case, fit for a folder ("water_lily"); NULL when there is none. */
const char *thaw_draw_kind_name(int kind);

/* Draws one picture: width * height * 3 bytes, sRGB, top row first. Sides that are not in
 * THAW_DRAW_LEAST_SIDE..THAW_DRAW_MOST_SIDE or a kind that does not exist: THAW_ERR_USAGE. What
 * is drawn fills the middle square; a longer side shows more of the background. */
thaw_status thaw_draw_picture(int kind, uint64_t seed, uint32_t index, int width, int height,
                              uint8_t *rgb, thaw_error *err);

typedef enum thaw_draw_set {
    THAW_DRAW_SET_DEMO8, /* one class for each of the demo's eight species */
    THAW_DRAW_SET_BASE2 /* the classes flower and no_flower, from the base species and the others */
} thaw_draw_set;

typedef struct thaw_draw_options {
    const char *root; /* folder to write to; made when it is missing, along with its parents */
    thaw_draw_set set;
    int n_train, n_test; /* pictures in each class */
    int size;            /* the short side; the long one varies up to 4:3 */
    uint64_t seed;
} thaw_draw_options;

/* Writes ROOT/train/CLASS/KIND-NNNN.jpg and ROOT/test/CLASS/KIND-NNNN.jpg. Within a class the kinds
 * take turns. A file appears by rename, whole or not at all; one that is there already is replaced.
 * The pictures are spread over all OpenMP threads. THAW_ERR_USAGE for impossible options,
 * THAW_ERR_IO for a folder or file that cannot be written; files written before that stay. */
thaw_status thaw_draw_dataset(const thaw_draw_options *options, thaw_error *err);

#endif
