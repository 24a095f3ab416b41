#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gpu_models.h"
#include "text.h"

static thaw_status open_first(thaw_backend *backend, int threads, thaw_error *err) {
    char note[THAW_BACKEND_TEXT] = "computing on the CPU: this build has no CUDA kernels";
    if (thaw_gpu_kernels) {
        thaw_error why = {0};
        if (thaw_backend_gpu_open(backend, thaw_gpu_kernels, 0, threads, &why) == THAW_OK) {
            backend->automatic = true;
            return THAW_OK;
        }
        snprintf(note, sizeof note, "computing on the CPU: %.400s", why.text);
    }
    THAW_TRY(thaw_backend_cpu_open(backend, threads, err));
    memcpy(backend->note, note, sizeof note);
    return THAW_OK;
}

#define X(name, ...) name,
static const char *const gpu_models[] = {THAW_GPU_MODEL_LIST(X)};
#undef X

static bool find_model(const char *name, int *index) {
    for (size_t i = 0; i < sizeof gpu_models / sizeof *gpu_models; i++) {
        if (strcasecmp(name, gpu_models[i]) != 0) continue;
        *index = THAW_DEVICE_MODEL + (int)i;
        return true;
    }
    return false;
}

bool thaw_device_parse(const char *text, int *index) {
    int64_t n = strcasecmp(text, "cpu") == 0 ? THAW_DEVICE_CPU : 0;
    *index = (int)n;
    if (n == THAW_DEVICE_CPU || strcasecmp(text, "cuda") == 0) return true;
    if (strncasecmp(text, "cuda:", 5) != 0) return false;
    if (find_model(text + 5, index)) return true;
    if (!thaw_text_integer(text + 5, &n)) return false;
    *index = (int)n;
    return n >= 0 && n < THAW_DEVICES_MAX;
}

bool thaw_device_is_model(const char *text) {
    int index;
    return thaw_device_parse(text, &index) && index >= THAW_DEVICE_MODEL;
}

static thaw_status no_kernels(const char *device, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "device = %s: this build has no CUDA kernels, since there was no CUDA "
                     "compiler where it was made; use device = cpu",
                     device);
}

thaw_status thaw_backend_open_model(thaw_backend *backend, const char *device, thaw_error *err) {
    int index = THAW_DEVICE_CPU;
    if (!thaw_gpu_model_kernels) return no_kernels(device, err);
    thaw_device_parse(device, &index);
    return thaw_backend_gpu_open(backend, thaw_gpu_model_kernels, index - THAW_DEVICE_MODEL, 0,
                                 err);
}

thaw_status thaw_backend_open(thaw_backend *backend, const char *device, int threads,
                              thaw_error *err) {
    *backend = (thaw_backend){0};
    int index;
    if (strcasecmp(device, "auto") == 0) return open_first(backend, threads, err);
    if (!thaw_device_parse(device, &index))
        return thaw_fail(err, THAW_ERR_USAGE, "device = %s: expected auto, cpu, cuda or cuda:N",
                         device);
    if (index == THAW_DEVICE_CPU) return thaw_backend_cpu_open(backend, threads, err);
    if (index >= THAW_DEVICE_MODEL)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "device = %s is a GPU by its data sheet, for inspect --plan alone; to "
                         "compute on the one in this machine give cuda",
                         device);
    if (!thaw_gpu_kernels) return no_kernels(device, err);
    thaw_error why = {0};
    thaw_status status = thaw_backend_gpu_open(backend, thaw_gpu_kernels, index, threads, &why);
    if (status == THAW_OK) return THAW_OK;
    if (status == THAW_ERR_USAGE) return thaw_fail(err, status, "%.900s", why.text); /* Names it. */
    return thaw_fail(err, status, "device = %s: %.900s; or use device = cpu", device, why.text);
}

void thaw_backend_close(thaw_backend *backend) {
    if (backend->kernels) backend->kernels->close(backend->device, backend->stream);
    *backend = (thaw_backend){0};
}

uint8_t *thaw_backend_take_pixels(const thaw_backend *backend, size_t n) {
    const thaw_memory *memory = backend->kernels->memory;
    void *pixels = NULL;
    if (!memory) return calloc(n, 1);
    if (memory->alloc_pinned(n, &pixels) == 0) memset(pixels, 0, n);
    return pixels;
}

void thaw_backend_release_pixels(const thaw_backend *backend, uint8_t *pixels) {
    const thaw_memory *memory = backend->kernels->memory;
    if (memory)
        memory->release_pinned(pixels);
    else
        free(pixels);
}
