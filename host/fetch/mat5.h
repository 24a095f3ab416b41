/* Numbers in MATLAB's files of level 5 ("MAT-File Format", The MathWorks): enough of it to read the lists
 * that come with sets of pictures.
 */
#ifndef THAW_MAT5_H
#define THAW_MAT5_H

#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "status.h"

/* The whole numbers of the array called name in the n bytes of a file, which `where` stands for in
 * sentences, column by column; they lie in the arena. ERR_FORMAT: it is no such file, damaged, or has no
 * such array; ERR_UNSUPPORTED: one of big-endian order, or an array that is no plain one of real, whole
 * numbers; ERR_NOMEM. */
thaw_status thaw_mat5_read(const void *bytes, size_t n, const char *where, const char *name,
                           thaw_arena *arena, int64_t **values, size_t *n_values, thaw_error *err);

#endif
