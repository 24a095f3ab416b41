#include "models.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "file.h"
#include "machine.h"
#include "model/model_file.h"
#include "model/novelty_file.h"
#include "run/device.h"

/* A bundle with a device of its own, so that loading one is not in the way of another's answers. */
typedef struct opened {
    thaw_bundle bundle;
    thaw_backend backend;
    int refs;
} opened;

/* A trunk, with its batcher, that models share. */
typedef struct lane {
    thaw_batcher *batcher;
    opened *founder; /* Whose network it was planned from. */
    char *key;       /* What is the same in all models that share it. */
    int refs;
    struct lane *behind;
} lane;

typedef struct model {
    thaw_served served; /* First: what users hold. */
    opened *opened;
    lane *lane;
    int users;
    thaw_arena arena;
    struct model *behind; /* By name. */
} model;

struct thaw_models {
    thaw_models_spec spec;
    pthread_mutex_t mutex; /* Guards what follows. */
    pthread_cond_t unused;
    model *first;
    lane *lanes;
    size_t n;
};

/* ---- parts ---------------------------------------------------------------------------------- */

static void release_opened(opened *o) {
    if (!o || --o->refs > 0) return;
    thaw_bundle_close(&o->bundle);
    thaw_backend_close(&o->backend);
    free(o);
}

/* Why it is this device, once. */
static void say_note(const thaw_models *m, thaw_backend *backend) {
    if (backend->note[0]) thaw_log_write(m->spec.log, THAW_LOG_INFO, "%s", backend->note);
    backend->note[0] = 0;
}

static thaw_status open_bundle(const thaw_models *m, const char *folder, opened **out,
                               thaw_error *err) {
    opened *o = *out = calloc(1, sizeof *o);
    if (!o) return thaw_fail_memory(err, "for a model");
    o->refs = 1;
    THAW_TRY(thaw_device_open(m->spec.options, &o->backend, err));
    bool first = !m->lanes; /* The device is the same for all, unless it lacks kernels for one. */
    if (first)
        say_note(m, &o->backend);
    else
        o->backend.note[0] = 0;
    if (first && o->backend.kernels->describe)
        thaw_log_write(m->spec.log, THAW_LOG_INFO, "computing on %s",
                       o->backend.kernels->describe(o->backend.device));
    THAW_TRY(thaw_bundle_open(&o->bundle, folder, &o->backend, err));
    say_note(m, &o->backend);
    return THAW_OK;
}

static void release_lane(thaw_models *m, lane *l) {
    if (!l || --l->refs > 0) return;
    pthread_mutex_lock(&m->mutex);
    lane **at = &m->lanes;
    while (*at && *at != l)
        at = &(*at)->behind;
    if (*at) *at = l->behind;
    pthread_mutex_unlock(&m->mutex);
    thaw_batcher_close(l->batcher);
    release_opened(l->founder);
    free(l->key);
    free(l);
}

/* All that a trunk's results depend on. To be freed; NULL: no memory. */
static char *describe_trunk(const opened *o) {
    const char *names[THAW_PREPROCESS_FACTS];
    char texts[THAW_PREPROCESS_FACTS][THAW_PREPROCESS_FACT_TEXT], hash[THAW_HASH_TEXT], *key;
    size_t size;
    FILE *out = open_memstream(&key, &size);
    if (!out) return NULL;
    thaw_preprocess_facts(&o->bundle.network.preprocess, names, texts);
    thaw_hash_text(o->bundle.network.trunk_hash, hash);
    fprintf(out, "%s %s", hash, thaw_dtype_name(thaw_bundle_precision(&o->backend)));
    for (int i = 0; i < THAW_PREPROCESS_FACTS; i++)
        fprintf(out, " %s=%s", names[i], texts[i]);
    if (fclose(out) == 0) return key;
    free(key);
    return NULL;
}

static thaw_status plan_lane(thaw_models *m, opened *o, lane *l, thaw_error *err) {
    const thaw_options *options = m->spec.options;
    int64_t queue = thaw_is_auto(options->serve.queue) ? 0 : options->serve.queue;
    thaw_batcher_spec spec = {.network = &o->bundle.network,
                              .backend = &o->backend,
                              .batch = options->batch,
                              .wait_s = 1e-3 * options->serve.wait_ms,
                              .queue = queue,
                              .meters = m->spec.meters,
                              .log = m->spec.log};
    l->founder = o;
    o->refs++;
    return thaw_batcher_open(&l->batcher, &spec, err);
}

/* The lane that has this model's trunk, which may be new. */
static thaw_status join_lane(thaw_models *m, model *one, thaw_error *err) {
    char *key = describe_trunk(one->opened);
    if (!key) return thaw_fail_memory(err, "for a model");
    lane *l = m->lanes; /* Only who loads and unloads changes them. */
    while (l && strcmp(l->key, key) != 0)
        l = l->behind;
    if (l) {
        free(key);
        l->refs++;
        one->lane = l;
        return thaw_bundle_shed(&one->opened->bundle, err);
    }
    l = one->lane = calloc(1, sizeof *l);
    if (!l) {
        free(key);
        return thaw_fail_memory(err, "for a model");
    }
    l->key = key;
    l->refs = 1;
    THAW_TRY(plan_lane(m, one->opened, l, err));
    pthread_mutex_lock(&m->mutex);
    l->behind = m->lanes;
    m->lanes = l;
    pthread_mutex_unlock(&m->mutex);
    return THAW_OK;
}

static void free_model(thaw_models *m, model *one) {
    if (!one) return;
    release_lane(m, one->lane);
    release_opened(one->opened);
    thaw_arena_free(&one->arena);
    free(one);
    malloc_trim(0); /* Whoever asked for it wants the memory for something else. */
}

/* ---- loading -------------------------------------------------------------------------------- */

/* Loading holds the file, its tensors, packed weights twice, and once more while the golden pictures are
 * computed, and activations. */
static thaw_status check_memory(const char *folder, thaw_error *err) {
    enum { COPIES = 5, ACTIVATIONS = 64 << 20 };
    thaw_arena arena = {0};
    struct stat info = {0}, weights = {0};
    const char *path = thaw_file_join(&arena, folder, "model.onnx");
    const char *data = thaw_file_join(&arena, folder, THAW_MODEL_DATA);
    if (path) stat(path, &info);
    if (data) stat(data, &weights);
    double size = (double)info.st_size + (double)weights.st_size;
    path = thaw_file_join(&arena, folder, THAW_NOVELTY_FILE);
    if (path && stat(path, &info) == 0) size += (double)info.st_size;
    thaw_arena_free(&arena);
    double needed = COPIES * size + ACTIVATIONS;
    double left = (double)thaw_usable_memory();
    if (needed <= left) return THAW_OK;
    return thaw_fail(err, THAW_ERR_NOMEM,
                     "%.500s needs about %.0f MB to be loaded, and %.0f MB are left", folder,
                     needed / 1e6, left / 1e6);
}

static thaw_status fill_model(thaw_models *m, model *one, const char *name, const char *folder,
                              thaw_error *err) {
    thaw_served *s = &one->served;
    s->name = thaw_arena_string(&one->arena, name, strlen(name));
    s->folder = thaw_arena_string(&one->arena, folder, strlen(folder));
    if (!s->name || !s->folder) return thaw_fail_memory(err, "for a model");
    THAW_TRY(open_bundle(m, folder, &one->opened, err));
    THAW_TRY(join_lane(m, one, err));
    s->batcher = one->lane->batcher;
    return thaw_scorer_open(&s->scorer, &one->opened->bundle, (size_t)m->spec.options->batch,
                            &one->arena, err);
}

static model **find(thaw_models *m, const char *name) {
    model **at = &m->first;
    while (*at && strcmp((*at)->served.name, name) < 0)
        at = &(*at)->behind;
    return at;
}

static bool is_there(thaw_models *m, const char *name) {
    pthread_mutex_lock(&m->mutex);
    const model *one = *find(m, name);
    bool there = one && strcmp(one->served.name, name) == 0;
    pthread_mutex_unlock(&m->mutex);
    return there;
}

thaw_status thaw_models_load(thaw_models *m, const char *name, const char *folder,
                             thaw_error *err) {
    if (is_there(m, name))
        return thaw_fail(err, THAW_ERR_USAGE, "the model %.200s is loaded already", name);
    double start = thaw_now_s();
    thaw_log_write(m->spec.log, THAW_LOG_INFO, "loading %s", folder);
    THAW_TRY(check_memory(folder, err));
    model *one = calloc(1, sizeof *one);
    thaw_status status =
        one ? fill_model(m, one, name, folder, err) : thaw_fail_memory(err, "for a model");
    if (status != THAW_OK) {
        free_model(m, one);
        return status;
    }
    const thaw_bundle *b = &one->opened->bundle;
    thaw_log_write(
        m->spec.log, THAW_LOG_INFO,
        "loaded %s in %.2f s: %zu classes%s%s, %d x %d pixels, its golden pictures score as they "
        "did%s",
        folder, thaw_now_s() - start, b->n_labels, b->old.output ? " and the old head" : "",
        b->novelty.method ? ", says unknown" : "", b->network.preprocess.geometry.width,
        b->network.preprocess.geometry.height, one->lane->refs > 1 ? ", frozen layers shared" : "");
    pthread_mutex_lock(&m->mutex);
    model **at = find(m, name);
    one->behind = *at;
    *at = one;
    m->n++;
    pthread_mutex_unlock(&m->mutex);
    malloc_trim(0); /* Of what loading took, more is free again than is kept. */
    return THAW_OK;
}

bool thaw_models_unload(thaw_models *m, const char *name) {
    pthread_mutex_lock(&m->mutex);
    model **at = find(m, name), *one = *at;
    bool there = one && strcmp(one->served.name, name) == 0;
    if (there) {
        *at = one->behind;
        m->n--;
        while (one->users > 0)
            pthread_cond_wait(&m->unused, &m->mutex);
    }
    pthread_mutex_unlock(&m->mutex);
    if (there) free_model(m, one);
    return there;
}

/* ---- using ---------------------------------------------------------------------------------- */

thaw_served *thaw_models_get(thaw_models *m, const char *name) {
    pthread_mutex_lock(&m->mutex);
    model *one = name ? *find(m, name) : m->first;
    if (name ? one && strcmp(one->served.name, name) != 0 : m->n != 1) one = NULL;
    if (one) one->users++;
    pthread_mutex_unlock(&m->mutex);
    return one ? &one->served : NULL;
}

void thaw_models_put(thaw_models *m, thaw_served *served) {
    if (!served) return;
    pthread_mutex_lock(&m->mutex);
    if (--((model *)served)->users == 0) pthread_cond_broadcast(&m->unused);
    pthread_mutex_unlock(&m->mutex);
}

size_t thaw_models_count(thaw_models *m) {
    pthread_mutex_lock(&m->mutex);
    size_t n = m->n;
    pthread_mutex_unlock(&m->mutex);
    return n;
}

void thaw_models_visit(thaw_models *m, void (*visit)(void *ctx, const thaw_served *served),
                       void *ctx) {
    pthread_mutex_lock(&m->mutex);
    for (const model *one = m->first; one; one = one->behind)
        visit(ctx, &one->served);
    pthread_mutex_unlock(&m->mutex);
}

bool thaw_models_have_failed(thaw_models *m, thaw_error *err) {
    bool failed = false;
    pthread_mutex_lock(&m->mutex);
    for (lane *l = m->lanes; l && !failed; l = l->behind)
        failed = thaw_batcher_has_failed(l->batcher, err);
    pthread_mutex_unlock(&m->mutex);
    return failed;
}

/* ---- the whole ------------------------------------------------------------------------------ */

thaw_status thaw_models_open(thaw_models **out, const thaw_models_spec *spec, thaw_error *err) {
    thaw_models *m = *out = calloc(1, sizeof *m);
    if (!m) return thaw_fail_memory(err, "for models");
    m->spec = *spec;
    pthread_mutex_init(&m->mutex, NULL);
    pthread_cond_init(&m->unused, NULL);
    return THAW_OK;
}

void thaw_models_stop(thaw_models *m) {
    for (lane *l = m->lanes; l; l = l->behind)
        thaw_batcher_stop(l->batcher);
}

void thaw_models_close(thaw_models *m) {
    if (!m) return;
    while (m->first) {
        model *one = m->first;
        m->first = one->behind;
        free_model(m, one);
    }
    pthread_cond_destroy(&m->unused);
    pthread_mutex_destroy(&m->mutex);
    free(m);
}
