/* NVIDIA's libraries, found when the program runs: a machine that only serves has none of them. */
#ifndef THAW_CUDA_LIBRARY_H
#define THAW_CUDA_LIBRARY_H

namespace thaw {

/* Opens the first of names (the last is NULL) that can be loaded: where the loader looks, beside
 * the program and in lib/ beside its folder, in CUDA's own folders, in the nvidia packages of the
 * Pythons that are in use. Returns dlopen's handle, or NULL; it is never closed, since what a
 * library of CUDA's leaves in a context does not survive that. */
void *open_library(const char *const *names);

}  // namespace thaw

#endif
