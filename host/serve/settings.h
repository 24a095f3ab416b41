/* How to serve: the options, and what SageMaker says by its environment. */
#ifndef THAW_SETTINGS_H
#define THAW_SETTINGS_H

#include "answer.h"
#include "options/options.h"

typedef struct thaw_settings {
    const char *folder; /* The bundle; NULL: models come and go. */
    const char *models; /* Then: a folder of runs to begin with; NULL: none. */
    const char *address;
    int port;
    bool page;
    size_t most_body;           /* Bytes of a request. */
    bool in_band;               /* A picture that cannot be used is an answer, and no failure. */
    thaw_answer_form fallback;  /* For clients that accept anything. */
    int transforms, payload_mb; /* For GET /execution-parameters. */
    const char *strategy;
} thaw_settings;

/* Gives the options that `thaw serve` uses, and that nobody set, the values that the environment has:
 * serve.port from THAW_SERVE_PORT, and so on. ERR_USAGE as thaw_options_set. */
thaw_status thaw_settings_read_environment(thaw_options *options, thaw_error *err);

/* run: NULL, in a container: what SageMaker mounts. Texts are the options', the environment's or the
 * arena's. ERR_USAGE: a variable with a value that is none; a run and serve.models together. */
thaw_status thaw_settings_open(thaw_settings *settings, const thaw_options *options,
                               const char *run, thaw_arena *arena, thaw_error *err);

#endif
