/* Labels that may be wrong, before anything is trained for good: a linear head on a network's features,
 * cross-validated, says what each picture shows without having seen it; confident learning
 * (report/suspects.h) says where that is worth more than the label.
 */
#ifndef THAW_DOUBTS_H
#define THAW_DOUBTS_H

#include "findings.h"
#include "model/network.h"
#include "run/session.h"

enum { THAW_DOUBTS_FOLDS = 5 };

/* Takes a session that is open, fills its cache with the features of the dataset's pictures where they
 * are not in it yet, and adds "labels" to the findings where there are doubts. Classes with fewer than
 * THAW_DOUBTS_FOLDS readable pictures are left out; with fewer than two others nothing is done, and
 * *top1 is NaN. Otherwise it is the share of pictures that the head answers as they are labelled.
 * ERR_USAGE: data.group; what extracting, training and scoring return. */
thaw_status thaw_doubts_find(thaw_session *session, const thaw_network *network,
                             const thaw_dataset_spec *spec, thaw_findings *findings, double *top1,
                             thaw_error *err);

#endif
