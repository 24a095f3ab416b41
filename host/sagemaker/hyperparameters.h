/* hyperparameters.json to options. */
#ifndef THAW_HYPERPARAMETERS_H
#define THAW_HYPERPARAMETERS_H

#include <jansson.h>

#include "options/options.h"

/* Sets what the object says, whose values come in three encodings that mean the same: raw ("sgd"), JSON in
 * a string ("\"sgd\"", "[10, 20]", "True"), and JSON. Keys of the platform's own are passed over; keys have
 * no order, so that those of Thaw's go first and those of other programs in the order of their table.
 * ERR_USAGE with "hyperparameters.json" and the key: unknown, of no use in training, or a bad value. */
thaw_status thaw_hyperparameters_set(const json_t *object, thaw_options *options, thaw_error *err);

#endif
