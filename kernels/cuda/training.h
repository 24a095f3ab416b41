/* The slots of the CUDA table that train; training.cu. */
#ifndef THAW_CUDA_TRAINING_H
#define THAW_CUDA_TRAINING_H

#include "kernels.h"

namespace thaw {

/* trunk: the table's slots, which compute what has no weights here, too. */
const thaw_training_slots *make_training_slots(const thaw_trunk_slot *trunk);

}  // namespace thaw

#endif
