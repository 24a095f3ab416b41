/* The sections of a training's page that show pictures: mistakes beside what the training had like
 * them, labels that may be wrong, the same picture twice. */
#ifndef THAW_PICTURES_H
#define THAW_PICTURES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "nearest.h"
#include "picture/image.h"

/* A picture to train on that is like another one. */
typedef struct thaw_neighbour {
    const char *path, *label;
    double cosine;
} thaw_neighbour;

/* A picture that was answered wrong. */
typedef struct thaw_mistake {
    const char *path, *truth, *answer;
    const char *old; /* What the old head says; NULL: it was not kept. */
    double score;    /* Of the answer. */
    int64_t row;     /* Of its split. */
    bool doubtful;   /* Its label may be wrong. */
    thaw_neighbour near[THAW_NEAREST];
    int n_near;
} thaw_mistake;

/* A picture whose label may be wrong. */
typedef struct thaw_doubt {
    const char *path, *label, *answer, *split;
    double own, score; /* Of the label, of the answer. */
    bool in_sample;    /* The model was trained on it. */
} thaw_doubt;

enum {
    THAW_REPORT_MISTAKES = 24, /* That many are shown at most: some 11 KB each. */
    THAW_REPORT_DOUBTS = 24,
};

typedef struct thaw_pictures {
    const thaw_geometry *seen; /* How the network sees pictures. */
    thaw_mistake *mistakes;    /* [n_mistakes], the most confident first. */
    size_t n_mistakes;
    const char *no_neighbours; /* Why mistakes have none, a sentence; NULL: they have. */
    const thaw_doubt *doubts;  /* [n_doubts] that are not among the mistakes. */
    size_t n_doubts;
    size_t n_doubts_out, n_doubts_in; /* How many there are in all: pictures that the model was not
                                       * trained on, and others. */
    const json_t *duplicates;         /* As thaw_lint_json has them; NULL: none. */
} thaw_pictures;

/* Writes the sections that have something in them. A picture that cannot be read any more is left out,
 * what is said of it stays. ERR_NOMEM, ERR_SYSTEM. */
thaw_status thaw_pictures_put(FILE *out, const thaw_pictures *pictures, thaw_error *err);

#endif
