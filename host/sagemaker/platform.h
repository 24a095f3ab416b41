/* What SageMaker tells a training container: the files below BASE/input/config.
 *
 * BASE is /opt/ml, or what SAGEMAKER_BASE_DIR says, so that all of it can be tried anywhere. File names
 * have two spellings in the wild (resourceconfig.json, resourceConfig.json), and all keys but a channel's
 * name and a host's are optional.
 */
#ifndef THAW_PLATFORM_H
#define THAW_PLATFORM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "status.h"

/* A named input. */
typedef struct thaw_channel {
    const char *name;
    const char *path;         /* BASE/input/data/NAME; a pipe's FIFOs have _0, _1, ... behind it. */
    const char *content_type; /* "": not said. */
    bool piped;     /* Mode Pipe; else a folder (File, or FastFile, which is read-only). */
    bool record_io; /* What is piped is wrapped in RecordIO. */
    bool sharded;   /* Each host has other objects of it. */
} thaw_channel;

typedef struct thaw_platform {
    const char *base;
    json_t *hyperparameters; /* An object; of strings, mostly. */
    thaw_channel *channels;  /* [n_channels] */
    size_t n_channels;
    const char **hosts; /* [n_hosts] Sorted: the first one leads. One where no file says so. */
    size_t n_hosts, rank;
    const char *interface; /* The network interface between hosts. */
    const char *instance;  /* "ml.g5.xlarge"; "": not said. */
    thaw_arena arena;
} thaw_platform;

/* BASE. */
const char *thaw_platform_base(void);

/* Whether BASE/input/config is there: the program was started by SageMaker, or as by it. */
bool thaw_platform_is_here(void);

/* Reads all files. Close it also after an error. ERR_IO, ERR_FORMAT: a file is there and cannot be read, or
 * is not what it should be; ERR_NOMEM. */
thaw_status thaw_platform_open(thaw_platform *platform, thaw_error *err);
void thaw_platform_close(thaw_platform *platform);

/* The channel of this name; NULL: there is none. */
const thaw_channel *thaw_platform_channel(const thaw_platform *platform, const char *name);

#endif
