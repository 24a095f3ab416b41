/* The head that a network came with, kept beside the new one: is it a flower, and which.
 *
 * It reads what the new head reads. Its answer is what it always was as long as all below it is frozen.
 */
#ifndef THAW_KEPT_HEAD_H
#define THAW_KEPT_HEAD_H

#include <jansson.h>

#include "json.h"
#include "network.h"

/* How the old head's numbers become probabilities. */
typedef enum thaw_kept_form {
    THAW_KEPT_AS_IS, /* They are some. */
    THAW_KEPT_SOFTMAX,
    THAW_KEPT_SIGMOID, /* Of a single number. */
} thaw_kept_form;

/* What the old head says of one picture. */
typedef struct thaw_kept_answer {
    int64_t answer; /* Which of n_labels. */
    float score;    /* Its probability. */
} thaw_kept_answer;

typedef struct thaw_kept_head {
    const char *output; /* Its tensor's name in the file; NULL: none is kept. */
    const char *const *
        labels; /* [n_labels]; numbers from 0 as texts where nobody knows them. In the arena given. */
    size_t n_labels; /* Its numbers; of a single one, no and yes. */
    bool exact;      /* All below it is frozen. */
    thaw_kept_form form;
    int numbers_at;       /* The value of its numbers. */
    thaw_through through; /* From what the heads read to there. */
    const thaw_backend *backend;
    thaw_backend cpu; /* Opened where the device has no kernels for that; else empty. */
    int64_t width;    /* Numbers of a picture. */
    float *numbers;   /* Room for those of a few pictures. */
} thaw_kept_head;

/* Makes the head ready that stands between what the new head reads and the output that the network's
 * graph has now. Labels that are there already must be as many. Graph, backend and arena outlive it. Close it also after an error. ERR_UNSUPPORTED: there is no old head, it does
 * not make a row of scores, it reads a feature map, or it holds what Thaw cannot run, named; ERR_FORMAT:
 * labels. */
thaw_status thaw_kept_head_open(thaw_kept_head *kept, const thaw_network *network,
                                const thaw_backend *backend, thaw_arena *arena, thaw_error *err);

/* Once the graph has other weights than it was opened with. */
thaw_status thaw_kept_head_renew(thaw_kept_head *kept, const thaw_network *network,
                                 thaw_arena *arena, thaw_error *err);
void thaw_kept_head_close(thaw_kept_head *kept);

/* Once open: labels from the lines of the file at path, or, where that is "", the network's own from its
 * metadata where they are as many, or else numbers. ERR_IO; ERR_DATA: not as many lines as scores. */
thaw_status thaw_kept_head_label(thaw_kept_head *kept, const thaw_network *network,
                                 const char *path, thaw_arena *arena, thaw_error *err);

/* What it says of the rows begin .. begin + n - 1, as the new head reads them. */
thaw_status thaw_kept_head_answer(thaw_kept_head *kept, const thaw_rows *rows, int64_t begin,
                                  int64_t n, thaw_kept_answer *answers, thaw_error *err);

/* "output", "exact" and "labels" into an object: what bundle.json keeps. */
void thaw_kept_head_json(thaw_json *json, json_t *into, const thaw_kept_head *kept);

/* Reads that, before opening: labels are the JSON's. where: for sentences. ERR_FORMAT, ERR_NOMEM. */
thaw_status thaw_kept_head_parse(thaw_kept_head *kept, const json_t *json, const char *where,
                                 thaw_arena *arena, thaw_error *err);

#endif
