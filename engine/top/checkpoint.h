/* Where a training is kept so that it can go on: a few pieces of memory, all or none.
 *
 * The file appears by rename, and the one before it stays as NAME~: whatever moment the machine stops in,
 * one of the two is whole. Both have a checksum, and say what they are of.
 */
#ifndef THAW_CHECKPOINT_H
#define THAW_CHECKPOINT_H

#include "hash.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>

/* What a checkpoint is of: it fits no other. */
typedef struct thaw_checkpoint_key {
    thaw_hash model, data, options;
} thaw_checkpoint_key;

typedef struct thaw_piece {
    void *data;
    size_t bytes;
} thaw_piece;

/* ERR_IO: the newest before it stays, at path or path~. */
thaw_status thaw_checkpoint_write(const char *path, const thaw_checkpoint_key *key,
                                  const thaw_piece *pieces, int n, thaw_error *err);

/* The first piece alone, of the newest whole file at path or path~; *found is false when there is none.
 * ERR_MISMATCH: it is of another model, data set or option set, which the sentence says. */
thaw_status thaw_checkpoint_peek(const char *path, const thaw_checkpoint_key *key, thaw_piece first,
                                 bool *found, thaw_error *err);

/* All pieces; sizes must be those that were written. ERR_MISMATCH as above; ERR_FORMAT: neither file is
 * whole, or pieces have other sizes. */
thaw_status thaw_checkpoint_read(const char *path, const thaw_checkpoint_key *key,
                                 const thaw_piece *pieces, int n, thaw_error *err);

/* Whether there is one, whole or not, at path or path~. */
bool thaw_checkpoint_exists(const char *path);

/* Removes what a killed run was writing to become a checkpoint. */
void thaw_checkpoint_tidy(const char *path);

/* Removes both, and what was being written to become one. */
void thaw_checkpoint_remove(const char *path);

#endif
