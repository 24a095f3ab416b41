/* What a run finds out about its pictures beyond their scores, for its report and as tables: which
 * training pictures are like its mistakes, which labels may be wrong, and a map of the features.
 */
#ifndef THAW_INSIGHT_H
#define THAW_INSIGHT_H

#include "predictions.h"
#include "top/metrics.h"

typedef struct thaw_insight_job {
    const thaw_dataset *dataset;
    const thaw_split_rows *splits; /* [THAW_SPLIT_COUNT] */
    const thaw_metrics *metrics;   /* [THAW_SPLIT_COUNT], with their answers. */
    const thaw_results *results;   /* Of the split `measured`, */
    const thaw_old_answers *old;   /* and what the old head says of it. */
    thaw_split measured;
    const thaw_top_slots *top;
    /* Gives the rows of a split as the head reads them, until the next call. */
    thaw_status (*rows)(void *ctx, thaw_split split, thaw_rows *rows, thaw_error *err);
    void *ctx;
} thaw_insight_job;

/* Fills in the report's pictures, without `seen` and `duplicates`, and its map; writes neighbours.csv,
 * suspects.csv and map.csv into the folder, each where it has a row; of labels that are sets neighbours.csv
 * alone. What it leaves lies in the arena.
 * ERR_IO, ERR_NOMEM, ERR_BACKEND. */
thaw_status thaw_insight_make(const thaw_insight_job *job, const char *folder, thaw_arena *arena,
                              thaw_report *report, thaw_error *err);

#endif
