/* The device that the options name. */
#ifndef THAW_DEVICE_H
#define THAW_DEVICE_H

#include "options/options.h"
#include "trunk/backend.h"

/* Opens it; the caller closes. Fails as thaw_backend_open. */
thaw_status thaw_device_open(const thaw_options *options, thaw_backend *backend, thaw_error *err);

/* Threads as backends are opened with them: 0 is all. */
int thaw_device_threads(const thaw_options *options);

/* tune = on: from here on, planning times kernels, where there are some to choose from. The arena
 * must outlive the backend. ERR_USAGE: there is no cache.dir. ERR_IO, ERR_NOMEM, ERR_BACKEND. */
thaw_status thaw_device_tune(const thaw_options *options, thaw_backend *backend, thaw_arena *arena,
                             thaw_error *err);

#endif
