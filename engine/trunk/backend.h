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
    bool automatic; /* `auto` has chosen it: where it cannot compute a network, the CPU may. */
    char note[THAW_BACKEND_TEXT]; /* Why `auto` is not what it could be; "" otherwise. */
} thaw_backend;

enum { THAW_DEVICE_CPU = -1, THAW_DEVICES_MAX = 64, THAW_DEVICE_MODEL = 1000 };

/* True when text names a device, in any case: cpu, cuda, which is cuda:0, cuda:N, or cuda:NAME of a
 * GPU in gpu_models.h. *index receives N, below THAW_DEVICES_MAX, or THAW_DEVICE_CPU, or
 * THAW_DEVICE_MODEL + the number there. */
bool thaw_device_parse(const char *text, int *index);

/* Whether it is one of gpu_models.h: thaw_backend_open_model takes it, thaw_backend_open does not. */
bool thaw_device_is_model(const char *text);

/* device: what thaw_device_parse takes, or auto: the first GPU that answers, else the CPU with a note
 * that says why. threads: 0 for all that this process may run on. The caller closes.
 * ERR_UNSUPPORTED: a device that this build does not have; ERR_USAGE: a text that names none, no
 * such number; ERR_BACKEND: it does not answer. */
thaw_status thaw_backend_open(thaw_backend *backend, const char *device, int threads,
                              thaw_error *err);

/* A GPU of gpu_models.h, to make plans for: nothing can be computed on it. The caller closes.
 * ERR_UNSUPPORTED: this build has no CUDA kernels. */
thaw_status thaw_backend_open_model(thaw_backend *backend, const char *device, thaw_error *err);

void thaw_backend_close(thaw_backend *backend); /* All zero: nothing. */

/* n zeroed bytes of the host's memory for pictures that the backend reads: page-locked where a device does. NULL:
 * there is no room. Freed with release, which takes NULL. */
uint8_t *thaw_backend_take_pixels(const thaw_backend *backend, size_t n);
void thaw_backend_release_pixels(const thaw_backend *backend, uint8_t *pixels);

/* The processor's memory and oneDNN, with so many threads; 0: all that this process may run on. The
 * caller closes. ERR_BACKEND: oneDNN does not start. */
thaw_status thaw_backend_cpu_open(thaw_backend *backend, int threads, thaw_error *err);

/* Number `index` of the GPUs that the table `kernels` computes on, from 0. threads: of the CPU, for
 * decoding and for what the table leaves to it; 0 as above. The caller closes.
 * ERR_USAGE: there is no such number; ERR_BACKEND: no driver, or the GPU does not answer. On an
 * error backend is as before. */
thaw_status thaw_backend_gpu_open(thaw_backend *backend, const thaw_kernels *kernels, int index,
                                  int threads, thaw_error *err);

#endif
