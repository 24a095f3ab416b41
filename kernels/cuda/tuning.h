/* Kernels chosen by measuring: `tune = on`.
 *
 * The few that the cost model likes best are timed with the layer's own weights. The winner's
 * result is compared with that of the model's choice before it is believed, and remembered in a
 * text file: one line a layer, "key = variant splits microseconds". The key names device, driver,
 * runtime, the hash of the kernels' source, shape, type and epilogue: with another of these,
 * nothing is found.
 */
#ifndef THAW_CUDA_TUNING_H
#define THAW_CUDA_TUNING_H

#include "cuda_kernels.h"
#include "device.h"

namespace thaw {

/* As thaw_kernels.tune. Lines that are not understood are passed over, and gone at the next write.
 */
int device_tune(void *device, const char *path, thaw_error *err);
void tuning_close(tuning_table *t); /* NULL: nothing. */

/* For a conv or dense step of a device that tunes; us: what was measured. Where a measurement fails
 * (there is no room for the tensors), the cost model's choice, with us = 0: that is no error. */
thaw_cuda_conv_choice tuned_choice(const thaw_step *step, const open_device &device, double *us);

}  // namespace thaw

#endif
