/* Asks an endpoint on this machine about every picture that a training was measured on, and holds its
 * answers against those of the training. */
#ifndef THAW_ASKING_H
#define THAW_ASKING_H

#include <stddef.h>

#include "status.h"

typedef struct thaw_asking {
    int port;
    const char *predictions; /* The training's table: path, truth, answer, see run/predictions.h. */
    int connections;         /* At once, at least 1. */
    const volatile int *stop;
} thaw_asking;

typedef struct thaw_asked {
    size_t n, n_right;    /* Pictures; those whose best class is the true one. */
    double seconds;       /* Of all together. */
    double p50, p90, p99; /* Seconds of a request, from its first byte to the reply's last. */
} thaw_asked;

/* asked is filled as far as it came, also after an error. ERR_MISMATCH: answers that are not the training's,
 * with the first; ERR_BACKEND: a request that was refused, with the reason; ERR_DATA: the table is empty;
 * ERR_INTERRUPTED; ERR_IO, ERR_SYSTEM, ERR_NOMEM. */
thaw_status thaw_asking_run(const thaw_asking *asking, thaw_asked *asked, thaw_error *err);

#endif
