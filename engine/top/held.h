/* Rows at a cut that stay in a device's memory for a training: a batch names them instead of bringing
 * them. */
#ifndef THAW_HELD_H
#define THAW_HELD_H

#include "head.h"
#include "program.h" /* Which names it in a batch. */

struct thaw_held {
    void *rows; /* [rows, D], as stored. */
    thaw_dtype stored;
    int64_t *index; /* [batch] There, too. */
    const thaw_backend *backend;
    size_t bytes, index_bytes;
};

/* Brings all rows to the memory of the backend's device, if they fit: *held is NULL where there is no
 * device, where they take more than `most` bytes (0: any number) or than there are. batch: how many the
 * index names at most. The caller frees, before the backend. Errors as gather's; ERR_BACKEND. */
thaw_status thaw_held_create(thaw_held **held, const thaw_backend *backend, const thaw_rows *rows,
                             int64_t batch, size_t most, thaw_error *err);
void thaw_held_free(thaw_held *held); /* NULL: nothing. */

#endif
