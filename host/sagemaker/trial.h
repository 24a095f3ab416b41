/* What the files behind try.h share: a try under way, and its steps. A step does one thing that SageMaker
 * does and checks what comes of it; what it has found is one line, t->said. */
#ifndef THAW_TRIAL_H
#define THAW_TRIAL_H

#include <jansson.h>

#include "child.h"
#include "layout.h"
#include "log.h"
#include "options/options.h"
#include "text.h"

enum { THAW__TRIAL_CHANNELS = 4 }; /* train, validation, test, model. */

/* What a training's log has shown of it. */
typedef struct thaw__shown {
    bool measured, kept,
        resumed; /* An epoch's line of metrics; the last one; "resumed after step". */
} thaw__shown;

typedef struct thaw__trial {
    const thaw_options *options; /* With placeholders for what a request must have. */
    const volatile int *stop;
    thaw_log *log;
    thaw_arena arena;
    json_t *request; /* A job's, as it would be sent. */
    thaw_local_channel channels[THAW__TRIAL_CHANNELS];
    size_t n_channels;
    const char *root; /* The temporary folder; in it: */
    const char *base,
        *checkpoints;              /* a job's folder, and what is in S3 between two of its lives; */
    const char *training_log;      /* the log of both; */
    const char *packed, *endpoint; /* model.tar.gz, and the folder that an endpoint finds; */
    const char *serving_log, *scratch; /* its log; and the /tmp of both. */
    thaw_child child;                  /* That runs at the moment. */
    thaw__shown shown;
    bool was_stopped; /* The first life of the training. */
    int port;
    json_t *metrics;      /* metrics.json of the finished training. */
    int64_t model_newest; /* When the endpoint's model was made, as thaw__tree has it. */
    thaw_text said;
} thaw__trial;

#define THAW__STEP(name) thaw_status thaw__trial_##name(thaw__trial *t, thaw_error *err)
THAW__STEP(train);   /* Starts the job, and stops it in the middle. */
THAW__STEP(go_on);   /* Starts it again with its checkpoints, on what looks like another machine. */
THAW__STEP(metrics); /* Finds the metrics in the log. */
THAW__STEP(pack);    /* model.tar.gz, and what an endpoint unpacks from it. */
THAW__STEP(serve);   /* Starts the endpoint, until it is ready. */
THAW__STEP(answers); /* Asks it about every picture. */
THAW__STEP(stop);    /* Stops it. */
#undef THAW__STEP

/* Starts `thaw WORD` in BASE, with the environment that it has there and `more` of it (NULL: nothing). */
thaw_status thaw__trial_start(thaw__trial *t, const char *word, const char *base, const char *more,
                              const char *log, thaw_error *err);

/* A moment, in which what the child has printed is shown. ERR_INTERRUPTED: the try is to end. */
thaw_status thaw__trial_pause(thaw__trial *t, thaw_error *err);

/* Until the child has ended. ERR_SYSTEM: not within so many seconds; it is then killed. ERR_INTERRUPTED. */
thaw_status thaw__trial_await_end(thaw__trial *t, double seconds, thaw_error *err);

/* "BASE/name"; NULL with ERR_NOMEM in *err. */
const char *thaw__trial_path(thaw__trial *t, const char *base, const char *name, thaw_error *err);

/* What lies below a folder. */
typedef struct thaw__tree {
    size_t n;       /* Files. */
    uint64_t bytes; /* Of them. */
    int64_t newest; /* When something in it was made or changed last, in ns; folders count. */
} thaw__tree;

/* end: only of files whose name ends so; "": of all. */
thaw__tree thaw__tree_measure(const char *folder, const char *end);

/* Lets nobody, or the owner, write to a folder and all below it. */
void thaw__tree_set_writable(const char *folder, bool writable);

#endif
