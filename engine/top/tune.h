/* Training everything above a cut: recipes on top of program.h.
 *
 * What enters is the cached tensor at the cut. A recipe is a list of phases, each of which trains from
 * some node of the graph up to the head:
 *
 *   lp_ft    the head first, on features that nothing above the cut has changed yet, as trainer.h does
 *            it; then everything (Kumar, Raghunathan, Jones, Ma & Liang 2022: what is pretrained is
 *            distorted least)
 *   gradual  the head first; then a stage more in each phase, from the top, each stage at a fraction of
 *            the rate of the one above it (Howard & Ruder 2018)
 *   joint    everything at once, the head from zero
 *
 * Deterministic: two runs give the same bits, with any number of threads.
 */
#ifndef THAW_TUNE_H
#define THAW_TUNE_H

#include "checkpoint.h"
#include "program.h"
#include "trainer.h"

/* Where what is trained starts from. */
#define THAW_INIT_LIST(X)     \
    X(THAW_INIT_FILE, "file") \
    X(THAW_INIT_RANDOM, "random")
typedef enum thaw_init { THAW_INIT_LIST(THAW_ENUM_VALUE) } thaw_init;

#define THAW_RECIPE_LIST(X)           \
    X(THAW_RECIPE_HEAD, "head")       \
    X(THAW_RECIPE_LP_FT, "lp_ft")     \
    X(THAW_RECIPE_GRADUAL, "gradual") \
    X(THAW_RECIPE_JOINT, "joint")
typedef enum thaw_recipe { THAW_RECIPE_LIST(THAW_ENUM_VALUE) } thaw_recipe;
const char *thaw_recipe_name(thaw_recipe recipe);

/* all: each row once an epoch; balanced: as many draws, each of a class that is as likely as others. */
#define THAW_SAMPLING_LIST(X)   \
    X(THAW_SAMPLING_ALL, "all") \
    X(THAW_SAMPLING_BALANCED, "balanced")
typedef enum thaw_sampling { THAW_SAMPLING_LIST(THAW_ENUM_VALUE) } thaw_sampling;

typedef struct thaw_tune_options {
    thaw_recipe recipe; /* Not THAW_RECIPE_HEAD. */
    thaw_norm norm;
    thaw_optimizer optimizer;
    double lr; /* Of what stands highest. */
    double momentum;
    double weight_decay; /* Weights, not biases nor what normalises. */
    double stage_factor; /* A stage's rate is that of the one above times this. */
    thaw_schedule_kind schedule;
    double warmup; /* In epochs. */
    double clip;   /* Longest gradient; 0: any. */
    double ema;    /* Weight of the past in a running average of the weights, which is kept instead;
                           * 0: none. */
    double mixup;  /* Beta(a, a) mixes pairs of rows (Zhang et al. 2018); 0: none. */
    double dropout; /* Share of what the head reads that each step leaves out; 0: none. */
    double label_smoothing;
    thaw_class_weights class_weights;
    thaw_sampling sampling;
    int64_t epochs, batch;
    int64_t patience; /* As of thaw_train_options. */
    uint64_t seed;
    thaw_top_precision precision;
} thaw_tune_options;

#define THAW_TUNE_RANGE_LIST(X) \
    X(lr, 1e-8, 100)            \
    X(momentum, 0, 0.999)       \
    X(weight_decay, 0, 100)     \
    X(stage_factor, 0.01, 1)    \
    X(warmup, 0, 1000)          \
    X(clip, 0, 1e6)             \
    X(ema, 0, 0.99999)          \
    X(mixup, 0, 10)             \
    X(dropout, 0, 0.95)         \
    X(epochs, 1, 100000)        \
    X(batch, 1, 65536)          \
    X(patience, 0, 100000)
typedef struct thaw_tune_ranges {
#define X(field, least, most) thaw_range field;
    THAW_TUNE_RANGE_LIST(X)
#undef X
} thaw_tune_ranges;
extern const thaw_tune_ranges thaw_tune_legal;

typedef struct thaw_tune_job {
    const thaw_backend *backend; /* Has training slots. */
    thaw_graph *graph;           /* Gets the new weights. */
    int from, to;                /* Values: at the cut, and what the head reads. */
    bool pooled;
    const int *
        stage_ends; /* [n_stages] The last node of each stage that ends above the cut, ascending. */
    int n_stages;
    thaw_tune_options options;
    bool
        random; /* What is trained starts from random weights: the head from zero, without a scale. */
    /* The head's own training: options, K, and the like. Its rows are made here. */
    thaw_train_job head;
    thaw_epoch
        before; /* For thaw_tune: what the head's training has kept; all zero: it had none. */
    const thaw_rows *train, *views, *validation; /* At the cut; as in thaw_train_job. */
    int64_t n_views;
    /* NULL, or called after each epoch of everything, those of an earlier run that this one goes on
     * with first. */
    void (*on_epoch)(void *ctx, const thaw_epoch *epoch);
    void *ctx;
    const volatile int *stop; /* Becomes non-zero: stop after the step. NULL: never. */
    /* NULL, or the file that keeps the training: written when it is stopped, and after a step or an
     * epoch once so many seconds have passed. */
    const char *checkpoint;
    thaw_checkpoint_key key;
    double checkpoint_seconds;
    bool resume; /* From the file, where there is one. */
} thaw_tune_job;

typedef struct thaw_tune_result {
    int64_t epochs_run; /* Of everything. */
    thaw_epoch kept;    /* The epoch whose weights are kept. */
    bool
        before; /* It is one of the head's training: none of this one's was better until it was stopped. */
    int64_t n_params;       /* That were trained. */
    size_t bytes;           /* That training took, without rows. */
    double rows_per_second; /* Of training steps. */
    int64_t resumed;        /* Steps that an earlier run had made. */
} thaw_tune_result;

/* Options to start from; tune.c says what of them was measured. random: what is trained starts from random
 * weights. */
thaw_tune_options thaw_tune_defaults(thaw_recipe recipe, thaw_optimizer optimizer, bool random,
                                     int64_t n);

/* Numbers that a training keeps for each parameter: itself, its gradient, two moments, its average, and the
 * one of the epoch that is kept. */
enum { THAW_TUNE_COPIES = 6 };

/* How many pictures go through the top together, of a batch: on a device all of them, unless the
 * statistics are to be those of as many pictures as elsewhere. */
int64_t thaw_tune_lane(const thaw_backend *backend, thaw_norm norm, int64_t batch);

/* First: trains the head on what it would see, or with joint only sets its scale; it is left unfolded, in
 * the arena, also of an interrupted training that has had an epoch. Errors as thaw_train's and thaw_top_create's. */
thaw_status thaw_tune_head(const thaw_tune_job *job, thaw_arena *arena, thaw_head *head,
                           thaw_train_result *result, thaw_error *err);

/* Then: trains all above the cut. Leaves the weights in the graph, where they live as long as the arena,
 * and the head folded. ERR_INTERRUPTED: it was stopped; then the checkpoint has all of it, and graph and
 * head are those of result->kept, which has the lowest validation loss so far; its epoch is 0 where nothing
 * was trained yet. Other errors as thaw_train's, thaw_top_create's and a checkpoint's. */
thaw_status thaw_tune(const thaw_tune_job *job, thaw_arena *arena, thaw_head *head,
                      thaw_tune_result *result, thaw_error *err);

/* Rows at the cut as the head sees them, through the top as the graph has it: computed whenever they are
 * gathered, M of up to `batch` at once. */
typedef struct thaw_through {
    thaw_top *top;
    const thaw_rows *rows;
    int64_t batch;
    float *x; /* [batch in whole lanes, D] */
} thaw_through;
thaw_status thaw_through_open(thaw_through *through, const thaw_tune_job *job, int64_t batch,
                              thaw_arena *arena, thaw_error *err);
thaw_rows thaw_through_rows(thaw_through *through, const thaw_rows *rows);
void thaw_through_close(thaw_through *through);

#endif
