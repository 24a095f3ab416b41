/* Lines on standard output that other programs read: what a training has reached, as tokens.
 *
 *   epoch=2; lr=0.01; train_loss=0.52; train_accuracy=0.58; ... epoch_seconds=0.11;
 *
 * A tuner, a dashboard or a script finds them by regular expressions, which stand in one table with
 * the tokens. No token's name ends as another's whole name does, so that an expression finds its own
 * alone, and values may have exponents. Each epoch's line is followed by the same in the words of
 * SageMaker's built-in image classification ("Epoch[2] Validation-accuracy=0.66") and of JumpStart
 * ("- val_accuracy: 0.66"), whose expressions know no exponents.
 */
#ifndef THAW_METRIC_LINES_H
#define THAW_METRIC_LINES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "top/trainer.h"

/* Where pictures may have several classes, accuracy is the share of those with all classes right, f1 the micro
 * one; otherwise there are no mAP and f1.
 *
 * Token, name of the metric, the built-in algorithm's word, JumpStart's word, better when. NULL: that
 * one has no word for it. */
#define THAW_METRIC_LIST(X)                                                                        \
    X(train_loss, "train:loss", NULL, "loss", MINIMIZE)                                            \
    X(train_accuracy, "train:accuracy", "Train-accuracy", "accuracy", MAXIMIZE)                    \
    X(validation_loss, "validation:loss", NULL, "val_loss", MINIMIZE)                              \
    X(validation_accuracy, "validation:accuracy", "Validation-accuracy", "val_accuracy", MAXIMIZE) \
    X(validation_map, "validation:mAP", NULL, NULL, MAXIMIZE)                                      \
    X(validation_f1, "validation:f1", NULL, NULL, MAXIMIZE)                                        \
    X(test_loss, "test:loss", NULL, NULL, MINIMIZE)                                                \
    X(test_accuracy, "test:accuracy", NULL, NULL, MAXIMIZE)                                        \
    X(test_map, "test:mAP", NULL, NULL, MAXIMIZE)                                                  \
    X(epoch_seconds, "train:epoch_seconds", "Time cost", NULL, MINIMIZE)                           \
    X(total_seconds, "train:total_seconds", NULL, NULL, MINIMIZE)

/* NaN: not known, its token is left out. */
typedef struct thaw_metric_values {
    int64_t epoch;
    double lr;
#define X(token, ...) double token;
    THAW_METRIC_LIST(X)
#undef X
} thaw_metric_values;

/* Of an epoch; what an epoch does not know is unknown. */
thaw_metric_values thaw_metric_values_of(const thaw_epoch *epoch);

typedef enum thaw_metric_aim { THAW_METRIC_MAXIMIZE, THAW_METRIC_MINIMIZE } thaw_metric_aim;

/* How a metric is found in the lines. */
typedef struct thaw_metric_definition {
    const char *name;  /* "validation:accuracy" */
    const char *regex; /* POSIX extended, and Java's alike; its first group is the number. */
    thaw_metric_aim aim;
} thaw_metric_definition;

/* The table: *n rows, in the order in which a line has them. */
const thaw_metric_definition *thaw_metric_definitions(size_t *n);

/* What is better, in SageMaker's words: "Maximize" or "Minimize". */
const char *thaw_metric_aim_name(thaw_metric_aim aim);

/* Prints an epoch, and flushes: what reads is often a pipe. */
void thaw_metric_lines_epoch(FILE *out, const thaw_metric_values *values);

/* Prints what is kept in the end, in the same words, so that whoever takes the last value of a metric
 * takes that of the model. */
void thaw_metric_lines_kept(FILE *out, const thaw_metric_values *values);

#endif
