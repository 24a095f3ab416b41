#include "backend.h"

#include <string.h>

thaw_status thaw_backend_open(thaw_backend *backend, const char *device, int threads,
                              thaw_error *err) {
    *backend = (thaw_backend){0};
    if (strcmp(device, "auto") == 0 || strcmp(device, "cpu") == 0)
        return thaw_backend_cpu_open(backend, threads, err);
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "device = %s: this build computes on the CPU only; use device = cpu", device);
}

void thaw_backend_close(thaw_backend *backend) {
    if (backend->kernels) backend->kernels->close(backend->device, backend->stream);
    *backend = (thaw_backend){0};
}
