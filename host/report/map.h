/* A picture of many pictures: the features that the head reads, on their two principal components. */
#ifndef THAW_MAP_H
#define THAW_MAP_H

#include <stdbool.h>
#include <stdio.h>

#include "project.h"

enum { THAW_MAP_MOST = 800 }; /* Points; some 150 bytes of the page each. */

typedef struct thaw_map {
    thaw_plane plane;
    const char *const *names; /* [n] of the pictures. */
    const int32_t *label;     /* [n] their classes, */
    const int32_t *answer;    /* [n] and what the model says; -1: nothing. */
    int64_t n;                /* 0: there is no map. */
    int64_t n_all;            /* Of so many pictures it shows n. */
} thaw_map;

/* classes [K]. ERR_NOMEM. */
thaw_status thaw_map_put(FILE *out, const thaw_map *map, const char *const *classes, int64_t K,
                         thaw_error *err);

#endif
