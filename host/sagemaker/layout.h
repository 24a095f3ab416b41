/* What SageMaker makes of a request for a training job: the folder that the container finds, see platform.h,
 * and its environment. */
#ifndef THAW_LAYOUT_H
#define THAW_LAYOUT_H

#include <jansson.h>

#include "arena.h"
#include "status.h"

/* What an address in the request stands for on this machine. */
typedef struct thaw_local_channel {
    const char *name; /* Of the channel. */
    const char *path; /* Absolute: of a folder, or of a file, which is then alone in the channel. */
} thaw_local_channel;

/* Makes BASE, which is not there yet, of a request as thaw_request_build makes it: hyperparameters,
 * channels (as links: nothing is copied), one host. Checkpoints, where the request has them, are a folder
 * that is moved there, or made where there is none. ERR_USAGE: the request has a channel that is not in the list, or a way to bring it
 * that cannot be had here; ERR_IO. */
thaw_status thaw_layout_make(const char *base, const json_t *request,
                             const thaw_local_channel *channels, size_t n, const char *checkpoints,
                             thaw_error *err);

/* The environment of a container: that of this process but for what means something to Thaw, and instead
 * `own` (NULL at its end), and the request's. In the arena. ERR_NOMEM. */
thaw_status thaw_layout_environment(const json_t *request, const char *const *own,
                                    thaw_arena *arena, char ***environment, thaw_error *err);

#endif
