/* A device to compute on: its memory and its kernels. */
#ifndef THAW_BACKEND_H
#define THAW_BACKEND_H

#include "kernels.h"
#include "status.h"

enum { THAW_BACKEND_TEXT = 512 };

typedef struct thaw_backend {
    const thaw_kernels *kernels;
    void *device, *stream;
    int threads; /* CPU threads that work is spread over. */
    /* Last-level cache: what a group of images should fit into; 0: no matter. */
    size_t cache_bytes;
    /* n bytes aligned to 64 on the device, NULL when there is no room; freed with release. */
    void *(*alloc)(size_t n);
    void (*release)(void *memory, size_t n);
    char note[THAW_BACKEND_TEXT]; /* Why `auto` is not what it could be; "" otherwise. */
} thaw_backend;

/* device: "cpu", "cuda", "cuda:N", or "auto": the first GPU that answers, else the CPU with a note
 * that says why. threads: 0 for all that this process may run on. The caller closes.
 * ERR_UNSUPPORTED: a device that this build does not have; ERR_USAGE: no such number; ERR_BACKEND:
 * it does not answer. */
thaw_status thaw_backend_open(thaw_backend *backend, const char *device, int threads,
                              thaw_error *err);
void thaw_backend_close(thaw_backend *backend); /* All zero: nothing. */

/* The CPU, with so many threads (0: all that this process may run on). OpenMP's number of threads
 * is the whole process's: the backend that was opened last decides. ERR_BACKEND. */
thaw_status thaw_backend_cpu_open(thaw_backend *backend, int threads, thaw_error *err);

/* GPU number index, from 0, of those that the driver shows. kernels: its table, borrowed as long as
 * the backend lives; memory is taken and given back by thaw_gpu_kernels, the only such table of a
 * program. threads: of the host, as above. On failure backend is untouched, and the code is what
 * the table's open says: ERR_USAGE: there is no such number; ERR_BACKEND: there is no driver, this
 * build has no kernels for that GPU, or it does not answer. The caller closes. */
thaw_status thaw_backend_gpu_open(thaw_backend *backend, const thaw_kernels *kernels, int index,
                                  int threads, thaw_error *err);

#endif
