/* Arrays as NumPy's np.save writes them: FILE.npy.
 *
 *   "\x93NUMPY", version (1, 2 or 3, then 0), the header's length (2 bytes, from version 2 on 4), the
 *   header: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 224, 224), }, a Python literal
 *   with blanks behind it; then the numbers, the last dimension fastest.
 *
 * Format: NEP 1, and numpy/lib/format.py. Nothing in a file is believed before it was held against the
 * file's size.
 */
#ifndef THAW_NPY_H
#define THAW_NPY_H

#include <stdint.h>

#include "arena.h"
#include "status.h"

enum { THAW_NPY_MAX_RANK = 8 };

typedef struct thaw_npy {
    int rank;
    int64_t dims[THAW_NPY_MAX_RANK];
    int64_t n; /* Numbers: the product of dims. */
    const float *values;
} thaw_npy;

/* Reads the file at path: float32, float64, float16 or uint8, C order, little-endian. values are in
 * the arena. ERR_IO; ERR_FORMAT: no such file, or damaged; ERR_UNSUPPORTED: other types, Fortran order,
 * more dimensions, with what to do in Python; ERR_NOMEM. */
thaw_status thaw_npy_read(const char *path, thaw_arena *arena, thaw_npy *npy, thaw_error *err);

/* The same of n bytes; where stands for them in sentences. values never point into them. */
thaw_status thaw_npy_parse(const void *bytes, size_t n, const char *where, thaw_arena *arena,
                           thaw_npy *npy, thaw_error *err);

/* "2 x 3 x 224 x 224" into text. */
void thaw_npy_shape_text(const thaw_npy *npy, char *text, size_t size);

#endif
