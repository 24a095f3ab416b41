/* The trunk: the frozen part of a network as a program of fused steps with packed weights.
 *
 * Planning does all the work that can be done once; running computes one batch and allocates
 * nothing. Frozen means frozen: nothing here can be written to after planning.
 */
#ifndef THAW_TRUNK_H
#define THAW_TRUNK_H

#include "backend.h"
#include "graph/cuts.h"

typedef struct thaw_trunk thaw_trunk;

typedef struct thaw_trunk_options {
    int64_t batch;              /* Images that a run mostly brings, a submit at most; from 1. */
    thaw_dtype compute;         /* THAW_F32, or THAW_BF16 where it does no harm; see lower.h. */
    const float *scale, *shift; /* For each input channel: pixel * scale + shift. */
    bool pooled;                /* The mean over height and width of the tensor at the cut. */
    const thaw_cut *from; /* NULL: from pixels; or a cut below, whose features come in instead. */
    bool apart; /* From there, what one step does of both sides may be two: other last bits. */
} thaw_trunk_options;

typedef struct thaw_trunk_size {
    int64_t N;               /* Images that go through together; see thaw_trunk_run. */
    int64_t batch;           /* Images of a submit, at most. */
    int lanes;               /* Submits that may be under way. */
    int64_t H, W, C;         /* Of the output; features of an image: H * W * C. */
    size_t weight_bytes;     /* Packed. */
    size_t activation_bytes; /* All buffers of one batch after sharing. */
    size_t workspace_bytes;
    int n_steps;
} thaw_trunk_size;

/* Plans the trunk below a cut. The graph and backend must outlive it.
 * ERR_UNSUPPORTED: an operation that this backend lacks, named; ERR_BACKEND; ERR_NOMEM with the
 * bytes that were wanted. */
thaw_status thaw_trunk_create(thaw_trunk **trunk, const thaw_graph *graph, const thaw_cut *cut,
                              const thaw_trunk_options *options, thaw_backend *backend,
                              thaw_error *err);

/* pixels: u8 [n, H, W, C] of the model's input size. features: float [n, H, W, C] of the output.
 * Any n >= 0. The images go through in groups of thaw_trunk_size.N, chosen at plan time so that a
 * group's activations stay in the processor's cache: MobileNetV2 is a quarter faster at 2 images
 * than at 32. The group is the same whatever n is, so an image's features are the same bits
 * whatever its neighbours are. One run at a time. */
thaw_status thaw_trunk_run(thaw_trunk *trunk, int64_t n, const uint8_t *pixels, float *features,
                           thaw_error *err);

/* The same of a trunk that begins at a cut: x is float [n, H, W, C] of that, as another trunk has put it
 * out, and the features are to the bit those from pixels. Where kernels work on the host's memory only:
 * ERR_UNSUPPORTED on a device, or, but with `apart`, where a step spans the cut, from planning. */
thaw_status thaw_trunk_run_from(thaw_trunk *trunk, int64_t n, const float *x, float *features,
                                thaw_error *err);

/* The same for up to thaw_trunk_size.batch images at a time, of which a device takes the next while
 * it computes: submit queues one batch, of at most thaw_trunk_size.lanes that were not collected
 * yet; collect waits for the oldest. Its pixels must stay until then; page-locked, they are copied
 * beside other work. features live until the next submit. times may be NULL. After an error
 * the trunk can only be freed. Not to be mixed with runs. */
typedef struct thaw_trunk_times {
    double upload[2], compute[2], download[2]; /* From, to: seconds of CLOCK_MONOTONIC. */
} thaw_trunk_times;
thaw_status thaw_trunk_submit(thaw_trunk *trunk, int64_t n, const uint8_t *pixels, thaw_error *err);
thaw_status thaw_trunk_collect(thaw_trunk *trunk, float **features, thaw_trunk_times *times,
                               thaw_error *err);

thaw_trunk_size thaw_trunk_measure(const thaw_trunk *trunk);

/* The i-th step in words ("conv 3x3 s2 32->64 + residual + clip"), for `inspect` and debugging. */
void thaw_trunk_describe(const thaw_trunk *trunk, int i, char *text, size_t size);

/* Which kernel the i-th step runs. False: the backend does not tell. */
bool thaw_trunk_explain(const thaw_trunk *trunk, int i, thaw_step_plan *plan);

void thaw_trunk_free(thaw_trunk *trunk); /* NULL: nothing. */

#endif
