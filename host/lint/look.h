/* What a picture looks like, in a few bytes: a perceptual hash that finds pictures which may be one, and a
 * tiny copy that tells whether they are.
 *
 * The hash is that of Zauner (2010, "Implementation and benchmarking of perceptual image hash functions"):
 * the signs of the lowest frequencies of the discrete cosine transform, which survive another quality,
 * another size and another brightness. All of it is integer arithmetic, the same on every machine.
 */
#ifndef THAW_LOOK_H
#define THAW_LOOK_H

#include <stdbool.h>
#include <stdint.h>

enum {
    THAW_LOOK_SIDE = 32, /* Of the square that a picture is squashed to, */
    THAW_LOOK_SMALL = 8, /* and of the tiny copy. */
    THAW_LOOK_BYTES = 3 * THAW_LOOK_SMALL * THAW_LOOK_SMALL,
    /* Bits by which two hashes of one picture may differ. Of 541,485 pairs of different pictures, flowers
     * and steel, none of which is a scene taken twice, the nearest differed by 8; of copies as JPEG of
     * quality 50, at a third of the size, or with noise, the farthest by 5. */
    THAW_LOOK_MOST_BITS = 7,
};

typedef struct thaw_look {
    uint64_t bits;                  /* Of the frequencies 8 v + u, below 8; 0 stays 0. */
    uint8_t small[THAW_LOOK_BYTES]; /* u8 RGB [8, 8] */
    bool uniform; /* No channel varies by more than THAW_LOOK_UNIFORM: there is nothing to see. */
    bool grey;    /* No pixel has a colour. */
} thaw_look;

enum { THAW_LOOK_UNIFORM = 6 };

/* Of u8 RGB [32, 32]. */
thaw_look thaw_look_at(const uint8_t *rgb);

/* The hash of the mirrored picture. */
uint64_t thaw_look_mirrored(uint64_t bits);

/* How alike two tiny copies are, 1 the most: their correlation, so that brightness and contrast do not
 * count. mirror: one of them the other way round. 0 where one is uniform. */
double thaw_look_compare(const thaw_look *a, const thaw_look *b, bool mirror);

/* At least so alike are two copies of one picture. */
extern const double thaw_look_alike;

#endif
