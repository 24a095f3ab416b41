#include "device.h"

#include "file.h"
#include "storage.h"

int thaw_device_threads(const thaw_options *options) {
    return thaw_is_auto(options->threads) ? 0 : (int)options->threads;
}

thaw_status thaw_device_open(const thaw_options *options, thaw_backend *backend, thaw_error *err) {
    const char *device = thaw_is_auto(options->device) ? "auto" : options->device;
    return thaw_backend_open(backend, device, thaw_device_threads(options), err);
}

thaw_status thaw_device_tune(const thaw_options *options, thaw_backend *backend, thaw_arena *arena,
                             thaw_error *err) {
    const char *root;
    if (!options->tune || !backend->kernels->tune) return THAW_OK;
    THAW_TRY(thaw_storage_root(options, arena, &root, err));
    if (!root)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "tune = on remembers what it measured in cache.dir, which is none: give a "
                         "folder, or leave tune off");
    THAW_TRY(thaw_cache_make_root(root, options->cache.shared, err));
    const char *path = thaw_file_join(arena, root, "tuning.txt");
    if (!path) return thaw_fail_memory(err, "for a path");
    thaw_error why = {0};
    if (backend->kernels->tune(backend->device, path, &why) == 0) return THAW_OK;
    return thaw_fail(err, why.code ? why.code : THAW_ERR_BACKEND, "tune = on: %.900s", why.text);
}
