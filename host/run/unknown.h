/* What a run says of pictures of classes that it was not trained on: whether it tells them from those it knows. */
#ifndef THAW_RUN_UNKNOWN_H
#define THAW_RUN_UNKNOWN_H

#include "data/dataset.h"
#include "predict.h"
#include "top/head.h"
#include "top/metrics.h"

/* One of them. */
typedef struct thaw_unknown_answer {
    const char *path, *class_name; /* class_name "": nobody said. */
    size_t answer;                 /* The class with the highest score, */
    float score, margin;           /* that, and by how much the next one's is lower. */
    float distance;                /* NaN: the bundle does not tell. */
    bool rejected;                 /* It says unknown. */
} thaw_unknown_answer;

/* Known pictures of a split beside unknown ones. */
typedef struct thaw_unknown {
    const thaw_novelty *novelty; /* NULL or none: nothing is rejected, and answers' scores tell. */
    float *known; /* [n_known] distances of the rows, in their order; NULL: not told. */
    int64_t n_known, n_known_rejected;
    int64_t n_kept_right; /* Of those that are not rejected: with the right answer. */
    thaw_unknown_answer *answers;
    int64_t n, n_rejected;
    int64_t n_unread; /* Pictures that could not be read, or have no scores. */
    double
        auroc; /* By distance, or by what the answers' scores lack to 1; NaN: nothing to compare. */
} thaw_unknown;

/* Fills in what concerns the known rows, as the head reads them, of which metrics are. In the arena. */
thaw_status thaw_unknown_measure_known(thaw_unknown *unknown, const thaw_novelty *novelty,
                                       const thaw_top_slots *top, const thaw_rows *rows,
                                       const thaw_metrics *metrics, thaw_arena *arena,
                                       thaw_error *err);

/* Where unknown pictures are. */
typedef struct thaw_unknown_source {
    const char *folder; /* "": none; all pictures below it, */
    const thaw_stranger *strangers;
    size_t n_strangers; /* and these. */
} thaw_unknown_source;

/* Then sends unknown pictures through a bundle, as predict does and without a cache, and compares. metrics: those
 * of the known rows. What cannot be read is warned of. In the arena. Fails as thaw_predict. */
thaw_status thaw_unknown_measure(thaw_unknown *unknown, thaw_bundle *bundle,
                                 const thaw_unknown_source *source, const thaw_metrics *metrics,
                                 int64_t batch, const volatile int *stop, thaw_log *log,
                                 thaw_arena *arena, thaw_error *err);

/* "unknown": {"n", "rejected", "auroc", "by"} where there are such pictures, and "known": {"n", "rejected",
 * "top1_kept"} where something is rejected; */
void thaw_unknown_json(const thaw_unknown *unknown, thaw_json *json, json_t *into);
/* and lines below the results' table. */
void thaw_unknown_print(FILE *out, const thaw_unknown *unknown);

#endif
