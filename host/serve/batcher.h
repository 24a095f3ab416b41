/* Dynamic batching: pictures of many requests through one trunk.
 *
 *   requests ─► queue ─► decoders ─► ring of pixels ─► trunk ─► each request's head ─► answers
 *
 * Decoders take a picture of the first request, which then stands last if it has more, so that a long
 * request lets short ones pass. A decoded picture is copied into the ring's next slot: what is hard to decode
 * holds up nobody else. Whenever the trunk is free it takes what the ring has. It waits for more only while
 * more is on its way, and no longer than what is there would take to compute: so a lone request never waits,
 * and waiting never doubles an answer's time.
 *
 * An image's features are the same bits whatever its neighbours are (trunk.h), and so are its scores: an
 * answer does not depend on the load. A few pictures may be computed one by one, where that is faster and was
 * seen to make the same bits. */
#ifndef THAW_BATCHER_H
#define THAW_BATCHER_H

#include "body.h"
#include "log.h"
#include "meters.h"
#include "model/scorer.h"

typedef struct thaw_batcher thaw_batcher;

typedef struct thaw_batcher_spec {
    const thaw_network *network; /* With its backend it outlives the batcher. */
    thaw_backend *backend;
    int64_t batch; /* Pictures that go through the trunk at once, at most. */
    double wait_s; /* For more of them, at most. */
    int64_t queue; /* Requests that may wait; 0: two batches, or what half a second answers. */
    thaw_meters *meters;
    thaw_log *log; /* Gets each batch at level debug. */
} thaw_batcher_spec;

/* A request. */
typedef struct thaw_job {
    thaw_scorer *scorer; /* Whose answers are wanted. */
    thaw_body_type type;
    const void *bytes; /* [n_bytes] the body; it stays until the job is done. */
    size_t n_bytes;
    bool (*gone)(void *ctx); /* Whether nobody waits for the answer any more. From any thread. */
    void (*done)(void *ctx); /* The job is done, and the caller's again. Once, from any thread. */
    void *ctx;

    /* Filled in. OK, or what is wrong with all of it: ERR_FORMAT, the body; ERR_SYSTEM: too many wait;
     * ERR_NOMEM, ERR_INTERRUPTED: the server; others: the device. */
    thaw_status status;
    thaw_error error;
    bool dropped;          /* The client was gone. */
    thaw_body body;        /* Its pictures. Free with thaw_job_free. */
    const char **problem;  /* [body.n] as in answer.h; */
    float *scores;         /* [body.n, labels]; */
    thaw_kept_answer *old; /* [body.n], or NULL; */
    bool *unknown;         /* [body.n], or NULL; */
    float *distance;       /* [body.n], or NULL. */

    bool parsed; /* The batcher's, as all below. */
    size_t next, left;
    struct thaw_job *behind;
} thaw_job;

/* Plans the trunk and starts the threads. Fails as thaw_network_plan, or ERR_SYSTEM: no threads. */
thaw_status thaw_batcher_open(thaw_batcher **batcher, const thaw_batcher_spec *spec,
                              thaw_error *err);

/* Takes a job; every one is done in the end, maybe before this returns. Never waits. */
void thaw_batcher_submit(thaw_batcher *batcher, thaw_job *job);

/* Whether the trunk has failed, and nothing is computed any more; err says why. */
bool thaw_batcher_has_failed(thaw_batcher *batcher, thaw_error *err);

/* Ends the threads; jobs that are not done are, with ERR_INTERRUPTED, and so is what is submitted later. */
void thaw_batcher_stop(thaw_batcher *batcher);

/* Stops it and frees it. NULL: nothing. */
void thaw_batcher_close(thaw_batcher *batcher);

void thaw_job_free(thaw_job *job);

#endif
