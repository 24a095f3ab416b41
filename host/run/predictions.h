/* What was answered to each picture of a split. */
#ifndef THAW_PREDICTIONS_H
#define THAW_PREDICTIONS_H

#include "old_answers.h"
#include "report/report.h"
#include "rows.h"
#include "unknown.h"

/* A split's pictures beside the results of its rows. */
typedef struct thaw_predictions {
    const thaw_dataset *dataset;
    const thaw_split_rows *rows;
    const thaw_results *results;
    const thaw_old_answers *old; /* Of the same rows. */
    const thaw_unknown *unknown; /* The same rows beside pictures of other classes. */
} thaw_predictions;

/* Writes the table path,truth,answer,score,margin, a row a picture in the dataset's order, and behind
 * them old_answer,old_score where the old head was kept, and distance,rejected (yes or no) where something is
 * rejected, whose answer is there all the same; answer, score and margin are empty where the scores are not
 * numbers. Then the pictures of other classes, without the old head's answers; truth is empty where nobody said
 * it. Where labels are sets, path,truth,answer, whose classes have | between, and the score of each class in a
 * column that is called like it. ERR_IO. */
thaw_status thaw_predictions_write(const thaw_predictions *predictions, const char *path,
                                   thaw_error *err);

/* Warns of pictures whose scores are not numbers, and names the first. */
void thaw_predictions_warn(const thaw_predictions *predictions, thaw_log *log);

/* The most confident wrong answers, at most THAW_REPORT_MISTAKES, without neighbours; in the arena.
 * ERR_NOMEM. */
thaw_status thaw_predictions_mistakes(const thaw_predictions *predictions, thaw_arena *arena,
                                      thaw_mistake **mistakes, size_t *n, thaw_error *err);

#endif
