/* Training above a cut, from the options to the graph's new weights. */
#ifndef THAW_TRAIN_TOP_H
#define THAW_TRAIN_TOP_H

#include "epoch_log.h"
#include "rows.h"
#include "session.h"
#include "top/tune.h"

typedef struct thaw_top_run {
    thaw_tune_job job;
    thaw_tune_result result;
    thaw_train_options shown; /* What the log of epochs asks of a training. */
    thaw_epoch_log *epochs;
    thaw_session *session;
    const char *checkpoint_dir; /* NULL: none. */
    thaw_backend cpu;           /* Opened where the session's device cannot train; else empty. */
    thaw_through through;
} thaw_top_run;

/* What has no part in the run's recipe, or in its head's solver, is refused. ERR_USAGE. */
thaw_status thaw_train_top_check(const thaw_options *options, thaw_error *err);

/* What will be trained: splits has THAW_SPLIT_COUNT, head_job is as for the head alone. Close the run also after an error. */
thaw_status thaw_train_top_begin(thaw_top_run *run, thaw_session *session, thaw_network *network,
                                 const thaw_split_rows *splits, const thaw_train_job *head_job,
                                 thaw_arena *arena, thaw_error *err);

/* After thaw_tune_head: trains what lies above the cut, and leaves the weights in the network's graph.
 * The epochs go to `epochs`, which is opened and finished here, with its file at path. ERR_INTERRUPTED: as
 * thaw_tune's. */
thaw_status thaw_train_top(thaw_top_run *run, thaw_epoch_log *epochs, const char *path,
                           thaw_arena *arena, thaw_head *head, thaw_error *err);

/* The rows of a split as the trained head reads them; one split at a time. */
thaw_status thaw_train_top_rows(thaw_top_run *run, const thaw_rows *rows, thaw_arena *arena,
                                thaw_rows *seen, thaw_error *err);

void thaw_train_top_close(thaw_top_run *run);

#endif
