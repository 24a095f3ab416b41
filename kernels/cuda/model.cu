/* The CUDA backend without a GPU: prepares every step as for one of gpu_models.h, and runs none.
 *
 * Same table, same decisions, same cost model; memory is a place that nobody reads or writes, since
 * constants are packed but not kept, and steps do nothing. So `inspect --plan` can tell what a
 * network would run on a GPU that is not there.
 */
#include <stdio.h>
#include <stdlib.h>

#include "device.h"

extern "C" {
#include "gpu_models.h"
}

namespace thaw {

struct gpu_model {
    const char *name;
    thaw_cuda_device facts;
};

#define X(name, sm, n_sm, tflops, gbytes, l2) {name, {sm, n_sm, tflops, gbytes, l2}},
static const gpu_model models[] = {THAW_GPU_MODEL_LIST(X)};
#undef X

static int open_model(int index, int, void **device, void **stream, thaw_error *err) {
    open_device *opened = (open_device *)calloc(1, sizeof *opened);
    if (!opened) {
        thaw_fail_memory(err, "for a device");
        return (int)cudaErrorMemoryAllocation;
    }
    const gpu_model &model = models[index];
    opened->modelled = true;
    opened->facts = model.facts;
    snprintf(opened->name, sizeof opened->name, "%s", model.name);
    snprintf(opened->described, sizeof opened->described, "%s, by its data sheet", model.name);
    *device = opened;
    *stream = nullptr;
    return 0;
}

static void close_model(void *device, void *) {
    free(device);
}

/* ---- memory that is not there ---------------------------------------------------------------- */

/* What every pointer points to. */
static uint8_t nowhere[256];

static int alloc(size_t n, void **memory) {
    *memory = n ? nowhere : nullptr;
    return 0;
}
static void release(void *) {
}
static int copy(void *, void *, const void *, size_t) {
    return 0;
}
static int nothing(void *) {
    return 0;
}
static int give(void *, void **made) {
    *made = nowhere;
    return 0;
}
static int make(void **made) {
    *made = nowhere;
    return 0;
}
static int nothing_between(void *, void *) {
    return 0;
}
static int no_time(void *, void *, float *ms) {
    *ms = 0;
    return 0;
}

static const thaw_memory no_memory = {alloc,
                                      release,
                                      alloc,
                                      release,
                                      copy,
                                      copy,
                                      nothing,
                                      nothing,
                                      give,
                                      nothing_between,
                                      release,
                                      make,
                                      release,
                                      make,
                                      release,
                                      nothing_between,
                                      nothing_between,
                                      nothing,
                                      no_time};

/* ---- the table ------------------------------------------------------------------------------- */

static int run_nothing(const thaw_step *, const thaw_run_context *) {
    return 0;
}

static thaw_kernels make_table() {
    thaw_kernels t = make_cuda_table();
    t.open = open_model;
    t.close = close_model;
    t.memory = &no_memory;
    t.head = nullptr;
    t.training = nullptr;
    t.tune = nullptr;
    for (thaw_trunk_slot &slot : t.trunk) {
        slot.run = run_nothing;
        slot.release = nullptr;
    }
    return t;
}

}  // namespace thaw

extern "C" const thaw_kernels thaw_cuda_model_kernels = thaw::make_table();
