/* Random numbers that are a function of where they are used: Philox4x32-10 (Salmon, Moraes, Dror,
 * Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 *
 * A number is keyed by (seed, stream, counter), so epoch 7's shuffle or step 90's dropout can be
 * drawn without drawing anything before it, and a resumed run equals an uninterrupted one.
 */
#ifndef THAW_RNG_H
#define THAW_RNG_H

#include <stdint.h>

/* What numbers are drawn for. Each use has streams of its own, 2^48 of them. */
typedef enum thaw_rng_use {
    THAW_RNG_INIT,     /* Initial weights. */
    THAW_RNG_SHUFFLE,  /* An epoch's order; stream: the epoch. */
    THAW_RNG_DROPOUT,  /* A step's masks; stream: the step. */
    THAW_RNG_SAMPLE,   /* Which records a self-test looks at. */
    THAW_RNG_VIEW,     /* A view of a picture, whose hash is the seed; stream: its number. */
    THAW_RNG_CHOICE,   /* Which views an epoch looks at; stream: the epoch. */
    THAW_RNG_RESAMPLE, /* What a difference is held against; stream: 0 pictures, 1 signs. */
    THAW_RNG_POINTS,   /* Which points a sweep tries. */
} thaw_rng_use;

/* Reads one stream from its beginning. */
typedef struct thaw_rng {
    uint64_t seed, stream, counter; /* counter is that of the next block of four. */
    uint32_t block[4];
    int left; /* Unread numbers of block. */
} thaw_rng;

/* The four numbers at a place. */
void thaw_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]);

thaw_rng thaw_rng_open(uint64_t seed, thaw_rng_use use, uint64_t stream);

/* 32 uniform bits. */
uint32_t thaw_rng_bits(thaw_rng *rng);

/* Uniform in [0, 1), a multiple of 2^-24. */
float thaw_rng_uniform(thaw_rng *rng);

/* Standard normal (Box & Muller 1958). */
float thaw_rng_normal(thaw_rng *rng);

/* Uniform in 0 .. n-1 without bias (Lemire 2019); n from 1 to 2^32 - 1. */
uint32_t thaw_rng_below(thaw_rng *rng, uint32_t n);

/* A uniform permutation of 0 .. n-1 into index (Fisher & Yates); n below 2^32. */
void thaw_rng_permutation(thaw_rng *rng, int64_t n, int64_t *index);

/* Inverted dropout in place: each of n values is zeroed with probability rate (below 1), the others
 * are multiplied by 1 / (1 - rate). */
void thaw_rng_dropout(thaw_rng *rng, int64_t n, float rate, float *x);

#endif
