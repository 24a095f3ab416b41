/* The models that a server has loaded, by name.
 *
 * Models whose frozen part is the same (the same function, preprocessing and precision) share one planned
 * trunk and one queue; of all but the first of them only the head stays in memory, unless an old head needs
 * more. */
#ifndef THAW_MODELS_H
#define THAW_MODELS_H

#include "batcher.h"
#include "options/options.h"

typedef struct thaw_models thaw_models;

typedef struct thaw_served {
    const char *name, *folder;
    thaw_scorer scorer;
    thaw_batcher *batcher;
} thaw_served;

typedef struct thaw_models_spec {
    const thaw_options *options; /* device, threads, batch, serve.wait, serve.queue. */
    thaw_meters *meters;
    thaw_log *log;
} thaw_models_spec;

/* ERR_NOMEM. Close it after its models are not used any more. */
thaw_status thaw_models_open(thaw_models **models, const thaw_models_spec *spec, thaw_error *err);
void thaw_models_close(thaw_models *models); /* NULL: nothing. */

/* Loads the bundle in a folder, golden pictures and all. One call at a time; others may use models meanwhile.
 * ERR_USAGE: the name is taken; ERR_NOMEM: it would not fit into what is free; what thaw_bundle_open says. */
thaw_status thaw_models_load(thaw_models *models, const char *name, const char *folder,
                             thaw_error *err);

/* The model of that name, or, with NULL, the only one there is; NULL: none. Give it back with put. */
thaw_served *thaw_models_get(thaw_models *models, const char *name);
void thaw_models_put(thaw_models *models, thaw_served *served);

/* Waits until nobody uses the model, and frees it. False: there is none. One call at a time, and not while
 * one is loaded. */
bool thaw_models_unload(thaw_models *models, const char *name);

size_t thaw_models_count(thaw_models *models);

/* Calls visit for each, by name, with a lock held. */
void thaw_models_visit(thaw_models *models, void (*visit)(void *ctx, const thaw_served *served),
                       void *ctx);

/* Whether a trunk has failed; err says why. */
bool thaw_models_have_failed(thaw_models *models, thaw_error *err);

/* Ends what the batchers have under way; nothing is computed after that. */
void thaw_models_stop(thaw_models *models);

#endif
