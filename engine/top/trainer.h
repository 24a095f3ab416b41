/* Training a head on cached features.
 *
 * Everything is deterministic: two runs with the same options, rows and seed give the same bits,
 * from memory or from disk, with any number of threads. All memory is taken before the first epoch.
 */
#ifndef THAW_TRAINER_H
#define THAW_TRAINER_H

#include "enum.h"
#include "head.h"
#include "metrics.h"
#include "range.h"
#include "schedule.h"
#include "trunk/backend.h"

#define THAW_OPTIMIZER_LIST(X)   \
    X(THAW_OPTIMIZER_SGD, "sgd") \
    X(THAW_OPTIMIZER_ADAMW, "adamw")
typedef enum thaw_optimizer { THAW_OPTIMIZER_LIST(THAW_ENUM_VALUE) } thaw_optimizer;

/* steps: epochs of mini-batches; lbfgs: probe.h. */
#define THAW_SOLVER_LIST(X)       \
    X(THAW_SOLVER_STEPS, "steps") \
    X(THAW_SOLVER_LBFGS, "lbfgs")
typedef enum thaw_solver { THAW_SOLVER_LIST(THAW_ENUM_VALUE) } thaw_solver;

/* What scores are: of the classes together, of which a picture has one; or of each by itself. */
#define THAW_LOSS_LIST(X)           \
    X(THAW_LOSS_SOFTMAX, "softmax") \
    X(THAW_LOSS_SIGMOID, "sigmoid")
typedef enum thaw_loss { THAW_LOSS_LIST(THAW_ENUM_VALUE) } thaw_loss;

/* balanced: n / (classes present * rows of the class), whose mean over the rows is 1. */
#define THAW_CLASS_WEIGHTS_LIST(X)     \
    X(THAW_CLASS_WEIGHTS_NONE, "none") \
    X(THAW_CLASS_WEIGHTS_BALANCED, "balanced")
typedef enum thaw_class_weights { THAW_CLASS_WEIGHTS_LIST(THAW_ENUM_VALUE) } thaw_class_weights;

typedef struct thaw_train_options {
    thaw_head_kind kind;
    thaw_solver solver; /* THAW_SOLVER_LBFGS: of all that follows only the penalty, label_smoothing
                         * and class_weights act. */
    bool l2_path;       /* THAW_SOLVER_LBFGS only: validation chooses the penalty, weight_decay is
                         * not looked at. */
    int64_t hidden;     /* Units of the hidden layer; hidden kind only. */
    double dropout;     /* Of hidden units, 0 .. below 1; hidden kind only. */
    thaw_optimizer optimizer;
    double lr;
    double momentum; /* SGD only. */
    double
        weight_decay; /* Weights, not biases. SGD, L-BFGS: part of the gradient; AdamW: decoupled. */
    thaw_schedule_kind schedule;
    double warmup; /* In epochs. */
    double label_smoothing;
    thaw_class_weights class_weights;
    int64_t epochs;
    int64_t batch;
    int64_t patience; /* Epochs without a lower validation loss after which training stops and the
                       * best epoch is restored; 0: off, the last epoch is kept. */
    uint64_t seed;
} thaw_train_options;

/* What is legal of a job's options, for whoever gives them: field, least, most. */
#define THAW_TRAIN_RANGE_LIST(X) \
    X(hidden, 1, 65536)          \
    X(dropout, 0, 0.95)          \
    X(lr, 1e-8, 100)             \
    X(momentum, 0, 0.999)        \
    X(weight_decay, 0, 100)      \
    X(warmup, 0, 1000)           \
    X(label_smoothing, 0, 0.9)   \
    X(epochs, 1, 100000)         \
    X(batch, 1, 65536)           \
    X(patience, 0, 100000)
typedef struct thaw_train_ranges {
#define X(field, least, most) thaw_range field;
    THAW_TRAIN_RANGE_LIST(X)
#undef X
} thaw_train_ranges;
extern const thaw_train_ranges thaw_train_legal;

/* What an epoch gave, or, with THAW_SOLVER_LBFGS, a penalty. Training figures of an epoch are sums
 * over its steps, before each step's update. */
typedef struct thaw_epoch {
    int64_t epoch;      /* From 1. */
    double lr;          /* Of its last step. */
    double l2;          /* THAW_SOLVER_LBFGS: the penalty, */
    int64_t iterations; /* and the steps until its optimum. */
    double train_loss;  /* The objective: weighted, smoothed; without the decay. */
    double train_top1;
    double validation_loss, validation_top1; /* NaN without validation rows. */
    /* Labels are sets: losses are summed over the classes, top1 is the share of rows whose set is exact, and
     * of validation there are these (see metrics.h). */
    bool several;
    double validation_map, validation_f1_micro, validation_f1_macro;
    double seconds; /* Validation included. */
} thaw_epoch;

typedef struct thaw_train_job {
    const thaw_top_slots *top; /* Kernels that work on the host's memory. */
    /* NULL, or a device that trains a linear head where its memory and page-locked memory of the
     * host hold the rows, which may take so many bytes; 0 of the device's: what is free. */
    const thaw_backend *backend;
    size_t device_bytes, pinned_bytes;
    bool tf32;           /* The device's products may round their factors to 10 bits of mantissa. */
    size_t memory_bytes; /* THAW_SOLVER_LBFGS: what scaled rows may take of the host's memory. */
    thaw_train_options options;
    /* Classes; labels are 0 .. K-1, or sets of them. Then the head's scores are sigmoids, and steps on the CPU
     * alone train it. */
    int64_t K;
    const thaw_rows *train; /* At least one row. */
    /* NULL, or n_views rows for each training row, which begin at row * n_views: an epoch takes one of
     * them, drawn by seed, and L-BFGS takes all. Then the CPU trains. */
    const thaw_rows *views;
    int64_t n_views;
    const thaw_rows *validation; /* NULL, or n = 0: none. */
    /* NULL, or called after each epoch; non-zero stops. */
    int (*on_epoch)(void *ctx, const thaw_epoch *epoch);
    void *ctx;
    bool unfolded;            /* Leaves the head's scale beside its weights. */
    bool untrained;           /* Sets the head's scale and its first values alone. */
    const volatile int *stop; /* Becomes non-zero: stop soon. NULL: never. Epochs ask on_epoch. */
} thaw_train_job;

typedef struct thaw_train_result {
    int64_t epochs_run;           /* Or penalties. */
    int64_t passes;               /* Over all training rows. */
    thaw_epoch kept;              /* The epoch whose weights the head has. */
    int64_t n_constant;           /* Features that are the same in every training row. */
    char note[THAW_BACKEND_TEXT]; /* Why the device did not train the head; "" otherwise. */
    thaw_head_tiers tiers;        /* Where the rows were, if it did; else zeros. */
} thaw_train_result;

/* Options that are good without tuning for n training rows: measured, see trainer.c. seed is 1. */
thaw_train_options thaw_train_defaults(thaw_head_kind kind, thaw_optimizer optimizer, int64_t n);

/* How many epochs, or penalties, a training has at most. */
int64_t thaw_train_epochs(const thaw_train_options *options);

/* Trains a head, which is left in the arena, folded: it takes raw features.
 * ERR_USAGE: an option out of range, or a loss that is not finite (the learning rate is too high);
 * ERR_DATA: a label out of range, a feature that is not finite, no rows; ERR_SHAPE: validation rows
 * of another width; ERR_INTERRUPTED: on_epoch or stop stopped it, head and result are those of the
 * epoch with the lowest validation loss so far, and where result->epochs_run is 0 there is no head; ERR_NOMEM; ERR_BACKEND; what gather returns. */
thaw_status thaw_train(const thaw_train_job *job, thaw_arena *arena, thaw_head *head,
                       thaw_train_result *result, thaw_error *err);

/* What of a job thaw_train would refuse, without training: its ERR_USAGE, ERR_DATA and ERR_SHAPE. */
thaw_status thaw__train_check(const thaw_train_job *job, thaw_error *err);

/* Scores a head on rows, in order, batch rows at a time; metrics and buffers go into the arena.
 * ERR_DATA: a label out of range; ERR_SHAPE; ERR_NOMEM; ERR_BACKEND; what gather returns. */
thaw_status thaw_evaluate(const thaw_head *head, const thaw_top_slots *top, const thaw_rows *rows,
                          int64_t batch, thaw_arena *arena, thaw_metrics *metrics, thaw_error *err);

/* Rows that lie in memory: x[n,D] and label[n], the caller's; array keeps x for gather. */
typedef struct thaw_row_array {
    const thaw_top_slots *top;
    const float *x;
    int64_t D;
} thaw_row_array;
thaw_rows thaw_rows_of_array(thaw_row_array *array, int64_t n, const int32_t *label);

#endif
