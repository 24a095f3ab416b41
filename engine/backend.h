/* A device to compute on: its memory and its kernels. */
#ifndef THAW_BACKEND_H
#define THAW_BACKEND_H

#include "kernels.h"
#include "status.h"

typedef struct thaw_backend {
    const thaw_kernels *kernels;
    void *device, *stream;
    int threads; /* CPU threads that work is spread over. */
    size_t
        cache_bytes; /* Last-level cache: what a group of images should fit into; 0: no matter. */
    /* n bytes aligned to 4096 on the device, NULL when there is no room; freed with release. */
    void *(*alloc)(size_t n);
    void (*release)(void *memory, size_t n);
} thaw_backend;

/* device: "auto" or "cpu". threads: 0 for all that this process may run on. The caller closes.
 * ERR_UNSUPPORTED: a device that this build does not have. */
thaw_status thaw_backend_open(thaw_backend *backend, const char *device, int threads,
                              thaw_error *err);
void thaw_backend_close(thaw_backend *backend); /* All zero: nothing. */

/* One for each backend that the build holds. */
thaw_status thaw_backend_cpu_open(thaw_backend *backend, int threads, thaw_error *err);

#endif
