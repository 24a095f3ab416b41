/* Where a run's files go at the end: what an endpoint needs to one folder, what people read to another.
 * Both are uploaded, whole, whenever the job ends. */
#ifndef THAW_PUBLISH_H
#define THAW_PUBLISH_H

#include "status.h"

/* Moves the bundle of a run (model.onnx, golden/, and bundle.json last, so that whoever finds that finds
 * all) to `model`, in place of an older one, and all else to `data`. Either may be a disk of its own: then
 * files are copied under a hidden name, and renamed. ERR_IO: what is there by then stays there. */
thaw_status thaw_publish(const char *run, const char *model, const char *data, thaw_error *err);

/* Moves one file, or does nothing where it is not there. */
thaw_status thaw_publish_file(const char *folder, const char *name, const char *to,
                              thaw_error *err);

#endif
