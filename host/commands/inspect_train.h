/* What training above each stage's cut would cost. */
#ifndef THAW_INSPECT_TRAIN_H
#define THAW_INSPECT_TRAIN_H

#include "model/network.h"

/* Prints a row a cut: trained parameters, GFLOP, memory and cache bytes of an image. */
thaw_status thaw_inspect_train(const thaw_network *network, const thaw_options *options,
                               thaw_error *err);

#endif
