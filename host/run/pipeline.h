/* Pictures through a trunk: read, hash, decode, run, hand on.
 *
 * Threads read and decode ahead of the trunk; the trunk runs in the caller's thread on all cores,
 * or on a device, which takes a batch while it computes the one before. At log level debug, each
 * batch's times show what waited for what. Memory is that of a few batches, however many pictures
 * there are.
 */
#ifndef THAW_PIPELINE_H
#define THAW_PIPELINE_H

#include <limits.h>

#include "hash.h"
#include "log.h"
#include "model/network.h"
#include "picture/view.h"

/* Where pictures come from. */
typedef struct thaw_picture_source {
    /* Writes the path of the next picture; "" when there are no more. Asked by one thread at a time;
     * what fails here ends the pipeline. */
    thaw_status (*next)(void *ctx, char path[PATH_MAX], thaw_error *err);
    /* Whether the i-th picture, counted from 0, whose file's bytes hash to `hash`, need not go
     * through the trunk. Asked by several threads at once, for pictures in any order. NULL: all of
     * them go, and come out in the order in which they came. */
    bool (*skip)(void *ctx, size_t i, thaw_hash hash);
    /* NULL: pictures as they are. Fills in as which view of it the i-th picture, whose file's bytes
     * hash to `hash`, goes through the trunk; false: as it is. Asked as skip is, after it. */
    bool (*view)(void *ctx, size_t i, thaw_hash hash, thaw_view *view);
    void *ctx;
    size_t most; /* There are no more than so many; SIZE_MAX: nobody knows. */
} thaw_picture_source;

/* A picture that came through. */
typedef struct thaw_piped {
    size_t i;            /* Which of the source's, counted from 0. */
    const char *path;    /* As the source gave it. */
    thaw_hash hash;      /* Of the file's bytes. */
    const char *problem; /* One sentence: why it has no features; NULL: it has. */
} thaw_piped;

/* Where pictures go to. */
typedef struct thaw_picture_sink {
    /* Takes n pictures and their features [n, D], which it may change; both are gone after the call.
     * The rows of pictures with a problem hold anything. Called in the caller's thread; what fails
     * here ends the pipeline. */
    thaw_status (*take)(void *ctx, size_t n, const thaw_piped *pictures, float *features,
                        thaw_error *err);
    void *ctx;
} thaw_picture_sink;

typedef struct thaw_pipeline {
    const thaw_network *network;
    thaw_backend *backend;
    int64_t batch; /* Pictures that go through the trunk at once. */
    thaw_dtype compute;
    thaw_picture_source source;
    thaw_picture_sink sink;
    const volatile int *stop; /* Becomes non-zero: stop soon. NULL: never. */
    thaw_log *log;            /* Gets the times of each batch at level debug; or NULL. */
} thaw_pipeline;

typedef struct thaw_pipeline_result {
    size_t n, n_skipped, n_bad; /* Pictures that are done; those among them. */
    double seconds;             /* Wall time of the whole, */
    double plan_seconds;        /* of which planning the trunk; 0 when all were skipped. */
} thaw_pipeline_result;

/* Runs until the source has no more. result is filled also after an error. A picture that cannot be
 * used has a problem; a picture that could be, had there been memory or descriptors, ends the run.
 * ERR_INTERRUPTED: stopped before the end; ERR_NOMEM, ERR_SYSTEM: also when no thread can be started;
 * what planning and running the trunk, the source and the sink return. */
thaw_status thaw_pipeline_run(const thaw_pipeline *pipeline, thaw_pipeline_result *result,
                              thaw_error *err);

#endif
