/* Many linear heads trained at once on the same rows, each with its own rate, decay and the like.
 *
 * Rows are gathered and scaled once for all heads. The heads stand in tiles, as columns of one matrix
 * product: [rows, D] x [D, heads * K] forwards and [heads * K, rows] x [rows, D] back; tiles train side
 * by side on the processors. Every head comes out as thaw_train leaves it alone on the CPU, to the bit:
 * an element of a product is one sum, whatever stands beside it (kernels/cpu/dense.c).
 *
 * Heads that a caller drops, or that end early, make room: tiles hold what is still trained. Deterministic
 * with any number of threads.
 */
#ifndef THAW_MANY_H
#define THAW_MANY_H

#include "trainer.h"

typedef struct thaw_many thaw_many;

/* How far a head has come. */
typedef struct thaw_many_state {
    int64_t epochs_run;
    thaw_epoch kept; /* Whose weights thaw_many_head gives; train_top1 is not counted: NaN. */
    bool diverged;   /* Its loss is not a finite number: its rate is too high. It ended so. */
    bool ended; /* Nothing is left to train: it ran all epochs, or out of patience, or diverged, or
                      * was dropped. */
} thaw_many_state;

/* What a head of K classes on D features takes of memory at most. */
size_t thaw_many_head_bytes(int64_t K, int64_t D);

/* n heads with these options, which are linear and trained in steps, with one batch and one seed. Of job
 * count: top, K, train, views, validation and stop; it must outlive the heads. backend: the CPU's, whose
 * training slots train side by side. Close also after an error.
 * ERR_USAGE, ERR_DATA, ERR_SHAPE as thaw_train's; ERR_NOMEM. */
thaw_status thaw_many_open(thaw_many **many, const thaw_train_job *job,
                           const thaw_train_options *options, int n, const thaw_backend *backend,
                           thaw_error *err);

/* Trains on until each head has run this share, above 0 and up to 1, of its epochs, rounded up, and
 * validates it there; with patience after each epoch. on_epoch (NULL: nothing) is called after each
 * epoch, with the number of heads that ran it.
 * ERR_INTERRUPTED: stopped; heads are of no more use. ERR_BACKEND; what gather returns. */
thaw_status thaw_many_train(thaw_many *many, double share, void (*on_epoch)(void *ctx, int n_heads),
                            void *ctx, thaw_error *err);

/* Head i goes no further; it keeps what it has. */
void thaw_many_drop(thaw_many *many, int i);

thaw_many_state thaw_many_look(const thaw_many *many, int i);

/* Head i as thaw_train leaves one, in the arena, folded. ERR_NOMEM. */
thaw_status thaw_many_head(const thaw_many *many, int i, thaw_arena *arena, thaw_head *head,
                           thaw_error *err);

void thaw_many_close(thaw_many *many); /* NULL: nothing. */

#endif
