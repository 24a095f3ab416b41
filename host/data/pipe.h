/* SageMaker's Pipe mode: pictures that come once, through a FIFO, are kept in a RecordIO file while they come,
 * and read from there (see list.h).
 *
 * The FIFO of epoch N of a channel is CHANNEL_N. It holds records with header and label, as the built-in
 * algorithm's .rec files are streamed; or, of an augmented manifest, records of a picture and of its
 * label's text in turn (RecordWrapperType RecordIO, AttributeNames the picture's reference and then its
 * class).
 */
#ifndef THAW_PIPE_H
#define THAW_PIPE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct thaw_pipe_spec {
    const char *channel; /* "/opt/ml/input/data/train" */
    int epoch;
    bool manifest;        /* Pictures and labels in turn. */
    double patience_s;    /* For which it waits for the FIFO to appear, and for the next bytes. */
    uint64_t spare_bytes; /* So many stay free on the folder's disk. */
    const volatile int *stop; /* Becomes non-zero: stop soon with ERR_INTERRUPTED. NULL: never. */
} thaw_pipe_spec;

typedef struct thaw_pipe_result {
    char source[PATH_MAX]; /* What data.train takes. */
    size_t n;              /* Pictures. */
    uint64_t bytes;        /* That came. */
} thaw_pipe_result;

/* Reads the FIFO to its end into FOLDER/train.rec (after the channel's last name), which is then the source; of
 * a manifest, whose labels may be names, that is FOLDER/train.csv beside it. Files appear whole, or not at
 * all. ERR_IO: no FIFO came, or no bytes, in time; what comes would fill the disk; ERR_FORMAT: it is not
 * RecordIO, is cut off, or holds no labels, with the record and its byte; ERR_DATA: it held nothing;
 * ERR_INTERRUPTED. */
thaw_status thaw_pipe_spool(const thaw_pipe_spec *spec, const char *folder,
                            thaw_pipe_result *result, thaw_error *err);

#endif
