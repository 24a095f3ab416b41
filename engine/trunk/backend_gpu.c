#include "backend.h"

#include "machine.h"

/* All memory of a GPU is alike: the table's functions need no more than a size. */
static void *gpu_alloc(size_t n) {
    void *memory = NULL;
    return thaw_gpu_kernels->memory->alloc(n ? n : 1, &memory) == 0 ? memory : NULL;
}

static void gpu_release(void *memory, size_t n) {
    (void)n;
    thaw_gpu_kernels->memory->release(memory);
}

/* Of a GPU that is not there, too: the table's memory is a place that nobody looks at. */
static void *model_alloc(size_t n) {
    void *memory = NULL;
    return thaw_gpu_model_kernels->memory->alloc(n ? n : 1, &memory) == 0 ? memory : NULL;
}

static void model_release(void *memory, size_t n) {
    (void)memory, (void)n;
}

thaw_status thaw_backend_gpu_open(thaw_backend *backend, const thaw_kernels *kernels, int index,
                                  int threads, thaw_error *err) {
    thaw_backend b = {.kernels = kernels,
                      .threads = threads > 0 ? threads : thaw_usable_cpus(),
                      .alloc = kernels == thaw_gpu_model_kernels ? model_alloc : gpu_alloc,
                      .release = kernels == thaw_gpu_model_kernels ? model_release : gpu_release};
    thaw_error why = {.code = THAW_ERR_BACKEND};
    if (kernels->open(index, b.threads, &b.device, &b.stream, &why) != 0) {
        if (err) *err = why;
        return why.code;
    }
    *backend = b;
    return THAW_OK;
}
