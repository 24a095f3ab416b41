/* Which of the training pictures validate. Decided by names alone, so that adding pictures moves
 * none that was there. */
#ifndef THAW_HOLD_OUT_H
#define THAW_HOLD_OUT_H

#include <stdbool.h>
#include <stddef.h>

#include "status.h"

/* What is held out as a whole: from data.group. */
typedef struct thaw_grouping thaw_grouping;

/* text: NULL or "none", each picture by itself; "folder", what lies in one folder below the class; or
 * an extended regular expression: pictures for which its first parenthesis, or all of it, matches the
 * same part of their path belong together. THAW_ERR_USAGE with the reason when it is none;
 * THAW_ERR_NOMEM. Close with thaw_grouping_close, also after a failure. */
thaw_status thaw_grouping_open(thaw_grouping **grouping, const char *text, thaw_error *err);
void thaw_grouping_close(thaw_grouping *grouping); /* NULL: nothing. */

/* True when name has a group, which others may share: it lies in a folder, or the pattern matches. */
bool thaw_grouping_fits(const thaw_grouping *grouping, const char *name);

/* Where the picture called name, its path inside the class folder, falls, in [0, 1): below the
 * fraction it validates. Depends on nothing but its group; without one, on the path; and where the
 * file's name holds "_nohash_", on what stands before that in it, so that variants of one picture
 * that are named so stay together. */
double thaw_hold_out_position(const thaw_grouping *grouping, const char *name);

/* Sets held_out[i] for the n pictures of one class. When chance leaves one side empty, the outermost
 * goes there. Returns how many are held out: 0 when there is one picture, or one group. */
size_t thaw_hold_out(const thaw_grouping *grouping, size_t n, const char *const *names,
                     double fraction, bool *held_out);

/* Deals n pictures of a class to `folds` parts of nearly one size, by their names and nothing else: a group
 * stays in one part. fold[i] is 0 .. folds - 1. ERR_NOMEM. */
thaw_status thaw_deal(const thaw_grouping *grouping, size_t n, const char *const *names, int folds,
                      int *fold, thaw_error *err);

#endif
