#include "train_top.h"

#include <string.h>
#include <unistd.h>

#include "file.h"
#include "machine.h"
#include "top/fit.h"
#include "top/init.h"

/* ---- options -------------------------------------------------------------------------------- */

static thaw_tune_options tune_options(const thaw_options *o, thaw_recipe recipe, int64_t n) {
    bool random = o->init == THAW_INIT_RANDOM;
    thaw_tune_options t = thaw_tune_defaults(recipe, o->top.optimizer, random, n);
    if (!thaw_is_auto(o->top.epochs)) t.epochs = o->top.epochs;
    if (!thaw_is_auto(o->top.lr)) t.lr = o->top.lr;
    if (!thaw_is_auto(o->top.weight_decay)) t.weight_decay = o->top.weight_decay;
    if (!thaw_is_auto(o->top.stage_factor)) t.stage_factor = o->top.stage_factor;
    if (!thaw_is_auto(o->top.norm)) t.norm = o->top.norm;
    t.momentum = o->top.momentum;
    t.batch = o->top.batch;
    /* Statistics are taken of whole batches: nobody has asked for more than there is. */
    if (t.norm == THAW_NORM_FULL && t.batch > n && thaw_options_has_default(o, "top.batch"))
        t.batch = n;
    t.schedule = o->top.schedule;
    t.warmup = o->top.warmup;
    t.clip = o->top.clip;
    t.ema = o->top.ema;
    t.mixup = o->top.mixup;
    t.dropout = o->top.dropout;
    t.sampling = o->top.sampling;
    t.patience = o->top.patience;
    t.label_smoothing = o->head.label_smoothing;
    t.class_weights =
        thaw_is_auto(o->head.class_weights) ? THAW_CLASS_WEIGHTS_BALANCED : o->head.class_weights;
    t.seed = (uint64_t)o->seed;
    return t;
}

thaw_status thaw_train_top_check(const thaw_options *o, thaw_error *err) {
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const char *key = thaw_options_key(i);
        bool own = strncmp(key, "top.", 4) == 0 || strcmp(key, "init") == 0;
        if (own && !thaw_options_has_default(o, key))
            return thaw_fail(err, THAW_ERR_USAGE,
                             "%s has no part where only the head is trained: freeze less than "
                             "everything below it (thaw inspect lists the cuts), or leave it out",
                             key);
    }
    return THAW_OK;
}

/* ---- what is trained ------------------------------------------------------------------------ */

/* Where each stage above the cut ends, but for the last: behind it is the head alone. */
static thaw_status find_stages(const thaw_network *n, thaw_arena *arena, thaw_tune_job *job,
                               thaw_error *err) {
    const thaw_graph *graph = &n->model.graph;
    int *ends = thaw_arena_array(arena, (size_t)n->cuts.n, sizeof *ends);
    if (!ends) return thaw_fail_memory(err, "for the stages above the cut");
    for (int i = n->cut->index + 1; i < n->cuts.last; i++) {
        const thaw_cut *cut = &n->cuts.cuts[i];
        bool whole = cut->stage && !strchr(cut->stage, '.');
        if (whole && thaw_cut_trains(graph, &n->cuts, cut)) ends[job->n_stages++] = cut->node;
    }
    job->stage_ends = ends;
    return THAW_OK;
}

static void on_epoch(void *ctx, const thaw_epoch *epoch) {
    thaw_top_run *r = ctx;
    thaw_epoch_log_add(r->epochs, epoch);
}

/* ---- checkpoints ---------------------------------------------------------------------------- */

/* Options that have no say in the weights. */
static bool is_aside(const char *key) {
    static const char *const aside[] = {"out",    "log",          "threads",    "batch",  "tune",
                                        "resume", "data.max_bad", "views.show", "metrics"};
    if (strcmp(key, "data.classes") == 0 || strcmp(key, "data.pictures") == 0) return true;
    for (size_t i = 0; i < sizeof aside / sizeof *aside; i++)
        if (strcmp(key, aside[i]) == 0) return true;
    return strncmp(key, "cache.", 6) == 0 || strncmp(key, "checkpoint.", 11) == 0 ||
           strncmp(key, "sweep.", 6) == 0;
}

static thaw_hash hash_options(const thaw_options *o) {
    thaw_hash h = {0};
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const char *key = thaw_options_key(i), *text = o->origin[i].text;
        /* The model and the pictures are told by what they are, not by where they lie. */
        bool place = strcmp(key, "model") == 0 || strcmp(key, "data.train") == 0;
        if (is_aside(key) || place) continue;
        h = thaw_hash_bytes(h, key, strlen(key));
        h = thaw_hash_bytes(h, text, strlen(text) + 1);
    }
    return h;
}

static thaw_hash hash_pictures(const thaw_session *s) {
    const thaw_extraction *x = &s->extraction;
    thaw_hash h = thaw_hash_bytes((thaw_hash){0}, x->keys, x->n * sizeof *x->keys);
    h = thaw_hash_bytes(h, s->dataset.label, x->n * sizeof *s->dataset.label);
    const thaw_label_sets *sets = s->dataset.sets;
    if (sets)
        h = thaw_hash_bytes(h, sets->bits,
                            (size_t)(sets->n * thaw_label_words(sets->K)) * sizeof *sets->bits);
    return thaw_hash_bytes(h, s->dataset.split, x->n * sizeof *s->dataset.split);
}

/* Where the checkpoint is, and what it is of. */
static thaw_status set_checkpoint(thaw_top_run *r, const thaw_network *network, thaw_arena *arena,
                                  thaw_error *err) {
    const thaw_options *o = r->session->options;
    const char *dir = o->checkpoint.dir;
    if (thaw_is_auto(dir)) dir = thaw_arena_printf(arena, "%s.checkpoint", o->out);
    if (!dir) return thaw_fail_memory(err, "for the checkpoint's name");
    r->job.checkpoint_seconds = 60 * o->checkpoint.minutes;
    r->job.stop = r->session->stop;
    r->job.resume = o->resume;
    if (!*dir) return THAW_OK;
    THAW_TRY(thaw_file_make_folders(dir, err));
    r->checkpoint_dir = dir;
    r->job.checkpoint = thaw_file_join(arena, dir, "training");
    if (!r->job.checkpoint) return thaw_fail_memory(err, "for the checkpoint's name");
    THAW_TRY(thaw_cut_hash(r->job.graph, network->head_cut, network->head_pooled, &r->job.key.model,
                           err));
    r->job.key.model =
        thaw_hash_bytes(r->job.key.model, &network->trunk_hash, sizeof network->trunk_hash);
    r->job.key.data = hash_pictures(r->session);
    r->job.key.options = hash_options(o);
    thaw_checkpoint_tidy(r->job.checkpoint);
    bool kept = thaw_checkpoint_exists(r->job.checkpoint);
    if (kept && !o->resume)
        thaw_log_write(
            &r->session->log, THAW_LOG_WARN,
            "%s keeps an unfinished training, which this one will replace; --resume would "
            "go on with it",
            r->job.checkpoint);
    if (!kept && o->resume)
        thaw_log_write(&r->session->log, THAW_LOG_INFO,
                       "resume: %s keeps no training: this one begins", dir);
    return THAW_OK;
}

/* Whether the session's device can train it: gradients of all steps, the libraries for them, room. */
static thaw_status try_device(const thaw_top_run *r, thaw_error *err) {
    thaw_top_size size;
    THAW_TRY(thaw_top_check(r->job.graph, r->job.from, r->job.to, r->job.backend->kernels, err));
    return thaw_fit_measure(&r->job, &size, err);
}

static thaw_status set_precision(thaw_top_run *r, const thaw_options *o, thaw_error *err) {
    static const char *const names[] = {THAW_TOP_PRECISION_LIST(THAW_ENUM_NAME)};
    const thaw_kernels *kernels = r->job.backend->kernels;
    const void *device = r->job.backend->device;
    bool has_bf16 = kernels->memory && kernels->computes(device, THAW_BF16);
    thaw_top_precision asked = o->top.precision, *to = &r->job.options.precision;
    *to = asked;
    if (thaw_is_auto(asked))
        *to = has_bf16 && o->precision != THAW_F32 ? THAW_TOP_BF16 : THAW_TOP_FP32;
    else if (asked != THAW_TOP_FP32 && !has_bf16)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "top.precision = %s: %s trains layers in fp32 alone; use fp32 or auto",
                         names[asked], kernels->describe ? kernels->describe(device) : "the CPU");
    return THAW_OK;
}

/* The device that trains: the session's; where `auto` has chosen one that cannot, the processor. */
static thaw_status choose_backend(thaw_top_run *r, thaw_session *s, const thaw_network *network,
                                  thaw_error *err) {
    thaw_error why = {0};
    r->job.backend = &s->backend;
    THAW_TRY(set_precision(r, s->options, err));
    if (!s->backend.kernels->memory)
        return thaw_fit_check(&r->job, &network->cuts, network->cut, thaw_usable_memory(), err);
    thaw_status status = try_device(r, &why);
    if (status == THAW_OK) return THAW_OK;
    bool answers = status == THAW_ERR_UNSUPPORTED || status == THAW_ERR_NOMEM;
    if (!s->backend.automatic || !answers)
        return thaw_fail(err, status, "%.800s; or use device = cpu", why.text);
    thaw_log_write(&s->log, THAW_LOG_INFO, "what lies above the cut is trained on the CPU: %s",
                   why.text);
    THAW_TRY(thaw_backend_cpu_open(&r->cpu, s->backend.threads, err));
    r->job.backend = &r->cpu;
    THAW_TRY(set_precision(r, s->options, err));
    return thaw_fit_check(&r->job, &network->cuts, network->cut, thaw_usable_memory(), err);
}

/* How many nodes of these types are trained. */
static int count_trained(const thaw_network *n, const char *first, const char *second) {
    const thaw_graph *graph = &n->model.graph;
    int count = 0;
    for (int i = n->cut->node + 1; i <= n->head_cut->node; i++) {
        const thaw_node *node = &graph->nodes[i];
        count += node->live && (strcmp(node->type, first) == 0 || strcmp(node->type, second) == 0);
    }
    return count;
}

/* BN that is not there cannot be trained; that it is not there should be known. */
static thaw_status check_norm(const thaw_network *n, const thaw_options *o, thaw_log *log,
                              thaw_error *err) {
    int layers = count_trained(n, "BatchNormalization", "LayerNormalization");
    if (count_trained(n, "BatchNormalization", "") == 0 && !thaw_is_auto(o->top.norm) &&
        o->top.norm != THAW_NORM_FROZEN)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "top.norm has no part here: there is no BN above the cut, since the exporter "
            "folded it into the convolutions or the network never had any; leave it out, "
            "or export the model with BN kept");
    if (layers == 0 && count_trained(n, "Conv", "") > 0)
        thaw_log_write(
            log, THAW_LOG_INFO,
            "there is no BN above the cut: the exporter folded it into the convolutions, or "
            "the network never had any. They are trained as they are; to keep it, export "
            "without folding, in PyTorch with training=TrainingMode.PRESERVE and "
            "do_constant_folding=False");
    return THAW_OK;
}

static void say_plan(const thaw_top_run *r, thaw_session *s, const thaw_network *n) {
    static const char *const norms[] = {THAW_NORM_LIST(THAW_ENUM_NAME)};
    static const char *const precisions[] = {THAW_TOP_PRECISION_LIST(THAW_ENUM_NAME)};
    const thaw_tune_options *o = &r->job.options;
    const thaw_backend *b = r->job.backend;
    thaw_log_write(&s->log, THAW_LOG_INFO,
                   "trained: %.3f M numbers between the cut and the head, recipe %s, BN %s, rate "
                   "%g, %lld epochs of batches of %lld, in %s on %s",
                   (double)(n->cut->params_above - n->head_cut->params_above) / 1e6,
                   thaw_recipe_name(o->recipe), norms[o->norm], o->lr, (long long)o->epochs,
                   (long long)o->batch, precisions[o->precision],
                   b->kernels->describe ? b->kernels->describe(b->device) : "the CPU");
}

thaw_status thaw_train_top_begin(thaw_top_run *r, thaw_session *s, thaw_network *network,
                                 const thaw_split_rows *splits, const thaw_train_job *head_job,
                                 thaw_arena *arena, thaw_error *err) {
    const thaw_split_rows *train = &splits[THAW_SPLIT_TRAIN];
    r->session = s;
    r->job = (thaw_tune_job){.graph = &network->model.graph,
                             .from = network->cut->value,
                             .to = network->head_cut->value,
                             .pooled = network->head_pooled,
                             .options = tune_options(s->options, network->recipe, train->rows.n),
                             .random = s->options->init == THAW_INIT_RANDOM,
                             .head = *head_job,
                             .train = &train->rows,
                             .views = head_job->views,
                             .n_views = head_job->n_views,
                             .validation = &splits[THAW_SPLIT_VALIDATION].rows,
                             .on_epoch = on_epoch,
                             .ctx = r};
    THAW_TRY(check_norm(network, s->options, &s->log, err));
    if (s->options->init == THAW_INIT_RANDOM)
        THAW_TRY(thaw_init_random(&network->model.graph, network->cut->node,
                                  network->head_cut->node, (uint64_t)s->options->seed, arena, err));
    THAW_TRY(find_stages(network, arena, &r->job, err));
    THAW_TRY(choose_backend(r, s, network, err));
    THAW_TRY(set_checkpoint(r, network, arena, err));
    r->shown = head_job->options;
    r->shown.solver = THAW_SOLVER_STEPS;
    r->shown.epochs = r->job.options.epochs;
    r->shown.patience = r->job.options.patience;
    say_plan(r, s, network);
    return THAW_OK;
}

thaw_status thaw_train_top(thaw_top_run *r, thaw_epoch_log *epochs, const char *path,
                           thaw_arena *arena, thaw_head *head, thaw_error *err) {
    thaw_log *log = &r->session->log;
    r->epochs = epochs;
    THAW_TRY(thaw_epoch_log_open(epochs, path, &r->shown, log, arena, err));
    epochs->patience = "top.patience";
    epochs->metrics = path && r->session->options->metrics;
    thaw_status status = thaw_tune(&r->job, arena, head, &r->result, err);
    if (status != THAW_OK && status != THAW_ERR_INTERRUPTED) return status;
    if (r->checkpoint_dir)
        rmdir(r->checkpoint_dir); /* Empty, unless it has something of its user's. */
    if (r->result.resumed)
        thaw_log_write(log, THAW_LOG_INFO, "resumed after step %lld", (long long)r->result.resumed);
    thaw_log_write(log, THAW_LOG_INFO,
                   "trained above the cut: %.0f images/s, %.0f MB besides the features",
                   r->result.rows_per_second, (double)r->result.bytes / 0x1p20);
    epochs->stopped = status != THAW_OK;
    if (r->result.before)
        thaw_log_write(
            log, THAW_LOG_INFO,
            "what was trained before is kept: until training was stopped, no epoch above the "
            "cut had a lower validation loss than %.4f",
            r->result.kept.validation_loss);
    else if (epochs->n > 0)
        THAW_TRY(thaw_epoch_log_finish(epochs, &r->result.kept, status ? NULL : err));
    return status;
}

thaw_status thaw_train_top_rows(thaw_top_run *r, const thaw_rows *rows, thaw_arena *arena,
                                thaw_rows *seen, thaw_error *err) {
    enum { BATCH = 64 };
    if (!r->through.top) THAW_TRY(thaw_through_open(&r->through, &r->job, BATCH, arena, err));
    *seen = thaw_through_rows(&r->through, rows);
    return THAW_OK;
}

void thaw_train_top_close(thaw_top_run *r) {
    thaw_through_close(&r->through);
    thaw_backend_close(&r->cpu);
}
