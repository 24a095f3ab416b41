/* What a top is made of: program.c plans it, program_run.c runs it, program_loss.c has its loss, optimize.c changes
 * its weights; internal to these. */
#ifndef THAW_TOP_PROGRAM_PARTS_H
#define THAW_TOP_PROGRAM_PARTS_H

#include "optimize.h"
#include "program.h"

/* One thing that the backward pass does. */
typedef enum act_kind {
    RUN,  /* A step's gradient. */
    MASK, /* That of its activation: a step `act` of its own. */
    SUM,  /* A second gradient of a port is added to the first. */
    COPY, /* What others hold, too, is copied before that. */
} act_kind;

typedef struct backward_act {
    act_kind kind;
    thaw_step *step;      /* RUN: the program's; MASK: its own. */
    thaw_port *from, *to; /* SUM, COPY */
} backward_act;

/* A step `load` of the head that takes a mask, by which the next one multiplies. */
typedef struct mask_step {
    int step;
    float rate;
} mask_step;

enum { MOST_MASKS = 2 };

/* What a lane goes through: forward, its loss and back; up to the scores; up to what the head reads. STEP: what
 * follows once all have; WHOLE: both, where a batch is one lane. */
typedef enum way { LANE, SCORE, FEATURES, STEP, WHOLE, N_WAYS } way;

/* Which loss a recording is of. */
typedef struct loss_kind {
    float smoothing;
    bool weighted, mixed, sets;
} loss_kind;

/* Its launches on a device: the first time one after the other, then as one graph. */
typedef struct tape {
    void *graph; /* NULL: there is none yet. */
    bool ran;
    bool refused; /* What is called cannot be recorded: one after the other, always. */
} tape;

/* One lane's program. */
typedef struct instance {
    thaw_arena arena; /* Steps, ports, states. */
    thaw_program program;
    thaw_port *kept; /* [n_steps] */
    thaw_port *made; /* Gradients: room for all that can be. */
    int n_made;
    backward_act *acts; /* In the order in which they run. */
    int n_acts;
    thaw_port **gradient; /* [n_ports] Of each port of the program; NULL: none yet. */
    int *holders;         /* [made] How many ports' gradient it is. */
    float *weights;       /* Gradients of the steps' block, where kernels write them. */
    float *scratch;       /* [K] */
    /* On a device, of the host: scores, [lane, K], features, [lane, F], and a mask. */
    float *scores, *features, *mask;
    /* On a device: what the loss is computed from, and what comes of it; and where the host puts the former. */
    void *loss, *brought_loss;
    size_t loss_bytes;
    loss_kind kind;
    /* On a device: rows of floats on their way, before or after their channels are padded. */
    void *brought;
    size_t brought_bytes;
    float *constants; /* On a device: numbers of steps that are not in the block. */
    size_t constant_bytes;
    tape tapes[N_WAYS];
    void *activations, *workspace;
    size_t activation_bytes, workspace_bytes;
    thaw_error error; /* Of the last call. */
} instance;

struct thaw_top {
    const thaw_backend *backend;
    thaw_arena arena;
    thaw_top_spec spec;
    thaw_head head; /* Of the spec, copied. */
    thaw_params params;
    instance *instances;
    int n_instances;
    int features_step; /* Which makes what the head reads. */
    int first_head;    /* From here on dense steps are the head's. */
    mask_step masks[MOST_MASKS];
    int n_masks;
    thaw_top_size size;
    float *numbers; /* The steps' block where kernels read it: the params' own, or the device's. */
    float *sum;     /* Gradients of the steps' block, of all lanes. */
    float *total;   /* On a device: the same there, the instance's own where a batch is one lane. */
    int lanes;      /* Of the last gradient. */
    float *loss;    /* [most_lanes lane] Of each row of the last batch, */
    uint8_t *right; /* on the host whether it was answered rightly, too. */
    thaw_loss_sums sums;  /* Of steps; on a device, as they were when the host last asked. */
    thaw_loss_sums *seen; /* [2] On a device, page-locked: after a step and the one before, */
    void *queued[2];      /* whose copies these events stand behind. */
    thaw_top_optimizer optimizer; /* From thaw_top_begin on. */
    float *gradient;              /* [params.n] On the host, from then on. */
    void *weights;                /* On a device, from then on: params->values are copies. */
    int parts; /* That the host's work is split into: as many as it has threads. */
};

static inline const thaw_training_slots *slots(const thaw_top *top) {
    return top->backend->kernels->training;
}

/* Of a device that does not compute in the host's memory; else NULL. */
static inline const thaw_memory *device_of(const thaw_top *top) {
    return top->backend->kernels->memory;
}

static inline size_t block_bytes(const thaw_top *top) {
    return (size_t)top->params.n_steps * sizeof(float);
}

static inline bool is_one_lane(const thaw_top *top) {
    return top->spec.most_lanes <= 1;
}

/* Everything that a device does in one of the ways: what differs from one time to the next lies in its
 * memory. */
thaw_status thaw__top_play(thaw_top *top, instance *in, way w, const thaw_top_batch *batch);

/* All lanes of a batch, forward and back; step: its number, 0 outside of a training. `then`: what a device
 * does with the last lane, LANE or WHOLE. */
thaw_status thaw__top_run_batch(thaw_top *top, const thaw_top_batch *batch, int64_t step, way then,
                                thaw_error *err);

/* A vector's values as plain floats of the host: where they lie, or a copy in `room`; NULL: in->error says why. */
const float *thaw__top_read_port(const thaw_top *top, instance *in, const thaw_port *port,
                                 float *room);

/* program_loss.c's. On the host: the loss of n pictures from number `at` of the batch on, and its gradient where the
 * backward pass begins; rows behind the n have none. */
void thaw__top_score(thaw_top *top, instance *in, const thaw_top_batch *batch, int64_t at,
                     int64_t n);

/* A device's: memory for it, once, and given back; what the loss of n pictures is computed from goes there; is
 * queued; each row's comes back. */
thaw_status thaw__top_take_loss(thaw_top *top, instance *in, thaw_error *err);
void thaw__top_free_loss(thaw_top *top);
thaw_status thaw__top_bring_loss(thaw_top *top, instance *in, const thaw_top_batch *batch,
                                 int64_t step, int64_t at, int64_t n);
int thaw__top_run_loss(const thaw_top *top, instance *in);
thaw_status thaw__top_read_loss(thaw_top *top, instance *in, const thaw_top_batch *batch,
                                int64_t at, int64_t n);

/* Where the device has the number of the first bad step, at which training stops. */
const int64_t *thaw__top_stopped(const thaw_top *top);

/* The host's batch of this step is added to the sums. */
void thaw__top_count(thaw_top *top, const thaw_top_batch *batch, int64_t step);

/* A device's sums of the step before this one, which is queued: the first bad step as far as they know. */
thaw_status thaw__top_look_back(thaw_top *top, int64_t step, int64_t *bad_step, thaw_error *err);

/* optimize.c's, of a device: the weights go there and to the steps; what a step queues. */
thaw_status thaw__top_send_weights(thaw_top *top, thaw_error *err);
thaw_status thaw__top_run_step(thaw_top *top, thaw_error *err);

/* Steps take over the numbers that they read. */
thaw_status thaw__top_pack(thaw_top *top, thaw_error *err);

/* From steps' gradients on the host to the segments'. */
void thaw__top_pull(thaw_top *top, float *gradient);

/* The status of what a device was given to do. */
thaw_status thaw__top_device_status(const thaw_top *top, int code, thaw_error *err);

/* That a kernel refused the step, unless err says something already. */
thaw_status thaw__top_refused(const thaw_top *top, const thaw_step *step, int code,
                              thaw_error *err);

/* The error of the first lane that has one. */
thaw_status thaw__top_error(const thaw_top *top, thaw_error *err);

#endif
