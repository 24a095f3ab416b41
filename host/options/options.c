#include "options.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "option_types.h"
#include "text.h"

enum { ALIAS_MAX = 64 }; /* Bytes of the longest alias, with its NUL. */

static const char DEFAULT_SOURCE[] = "default";

/* ---- the table ------------------------------------------------------------------------------ */

static const char *const preprocess_names[] = {
    [THAW_OPT_PREPROCESS_AUTO] = "auto",  [THAW_OPT_PREPROCESS_IMAGENET] = "imagenet",
    [THAW_OPT_PREPROCESS_TF] = "tf",      [THAW_OPT_PREPROCESS_CAFFE] = "caffe",
    [THAW_OPT_PREPROCESS_UNIT] = "unit",  [THAW_OPT_PREPROCESS_RAW] = "raw",
    [THAW_OPT_PREPROCESS_RAW + 1] = NULL,
};
static const char *const fit_names[] = {
    [THAW_OPT_FIT_AUTO] = "auto",
    [THAW_OPT_FIT_CROP] = "crop",
    [THAW_OPT_FIT_SQUASH] = "squash",
    [THAW_OPT_FIT_SQUASH + 1] = NULL,
};
static const char *const filter_names[] = {
    [THAW_OPT_FILTER_AUTO] = "auto",
    [THAW_OPT_FILTER_BILINEAR] = "bilinear",
    [THAW_OPT_FILTER_BICUBIC] = "bicubic",
    [THAW_OPT_FILTER_BICUBIC + 1] = NULL,
};
static const char *const order_names[] = {
    [THAW_OPT_ORDER_AUTO] = "auto",
    [THAW_OPT_ORDER_RGB] = "rgb",
    [THAW_OPT_ORDER_BGR] = "bgr",
    [THAW_OPT_ORDER_BGR + 1] = NULL,
};
static const char *const precision_names[] = {
    [THAW_OPT_PRECISION_AUTO] = "auto",   [THAW_OPT_PRECISION_FP32] = "fp32",
    [THAW_OPT_PRECISION_BF16] = "bf16",   [THAW_OPT_PRECISION_FP16] = "fp16",
    [THAW_OPT_PRECISION_FP16 + 1] = NULL,
};
static const char *const cache_dtype_names[] = {
    [THAW_OPT_CACHE_DTYPE_AUTO] = "auto",
    [THAW_OPT_CACHE_DTYPE_FP32] = "fp32",
    [THAW_OPT_CACHE_DTYPE_FP16] = "fp16",
    [THAW_OPT_CACHE_DTYPE_FP16 + 1] = NULL,
};
static const char *const log_names[] = {
    [THAW_LOG_ERROR] = "error", [THAW_LOG_WARN] = "warn",    [THAW_LOG_INFO] = "info",
    [THAW_LOG_DEBUG] = "debug", [THAW_LOG_DEBUG + 1] = NULL,
};
static const char *const head_names[] = {
    [THAW_OPT_HEAD_LINEAR] = "linear",
    [THAW_OPT_HEAD_HIDDEN] = "hidden",
    [THAW_OPT_HEAD_HIDDEN + 1] = NULL,
};
static const char *const optimizer_names[] = {
    [THAW_OPT_OPTIMIZER_SGD] = "sgd",
    [THAW_OPT_OPTIMIZER_ADAMW] = "adamw",
    [THAW_OPT_OPTIMIZER_ADAMW + 1] = NULL,
};
static const char *const schedule_names[] = {
    [THAW_OPT_SCHEDULE_CONSTANT] = "constant",
    [THAW_OPT_SCHEDULE_STEP] = "step",
    [THAW_OPT_SCHEDULE_COSINE] = "cosine",
    [THAW_OPT_SCHEDULE_COSINE + 1] = NULL,
};
static const char *const class_weights_names[] = {
    [THAW_OPT_CLASS_WEIGHTS_NONE] = "none",
    [THAW_OPT_CLASS_WEIGHTS_AUTO] = "auto",
    [THAW_OPT_CLASS_WEIGHTS_AUTO + 1] = NULL,
};

#define AT(field) offsetof(thaw_options, field)

/* Rows without a section come first, the rows of a section stand together: train.ini has this
 * order.
 *
 * clang-format would give every field a line of its own. */
// clang-format off
static const thaw__option table[] = {
    {.key = "model", .type = &thaw__type_path, .offset = AT(model), .fallback = "",
     .help = "The network to start from, an ONNX file."},
    {.key = "out", .type = &thaw__type_path, .offset = AT(out), .fallback = "run",
     .help = "Folder that gets the trained bundle, the metrics and the log."},
    {.key = "freeze", .type = &thaw__type_text, .offset = AT(freeze), .fallback = "last",
     .help = "Up to which cut the network stays as it is: last (only the new head is trained), "
             "none, or a cut's index or name from `thaw inspect`."},
    {.key = "preprocess", .type = &thaw__type_choice, .offset = AT(preprocess),
     .fallback = "auto", .choices = preprocess_names,
     .help = "How the network wants its pixels; the options of [image] change single parts."},
    {.key = "seed", .type = &thaw__type_integer, .offset = AT(seed), .fallback = "1", .min = 0,
     .max = 4294967295.0, .aliases = "random_seed",
     .help = "Start of all random numbers; the same seed gives the same bits."},
    {.key = "epochs", .type = &thaw__type_integer, .offset = AT(epochs), .fallback = "auto",
     .automatic = true, .min = 1, .max = 100000, .aliases = "num_epochs num_train_epochs",
     .help = "Passes over the training pictures; auto is 30, or what makes 300 steps if that is "
             "more."},
    {.key = "batch", .type = &thaw__type_integer, .offset = AT(batch), .fallback = "32",
     .min = 1, .max = 4096,
     .help = "Pictures that go through the frozen layers at once."},
    {.key = "device", .type = &thaw__type_device, .offset = AT(device), .fallback = "auto",
     .min = 0, .max = 63,
     .help = "Where to compute."},
    {.key = "precision", .type = &thaw__type_choice, .offset = AT(precision), .fallback = "fp32",
     .choices = precision_names,
     .help = "What the frozen layers compute in; auto takes fp16 on a GPU, bf16 on a processor that "
             "has it, where that is faster and the features stay the same. fp32 is tf32 on a GPU."},
    {.key = "tune", .type = &thaw__type_switch, .offset = AT(tune), .fallback = "false",
     .help = "On a GPU: times the best few kernels of each layer once and remembers the fastest in "
             "cache.dir; otherwise the cost model chooses."},
    {.key = "threads", .type = &thaw__type_integer, .offset = AT(threads), .fallback = "auto",
     .automatic = true, .min = 0, .max = 1024, .aliases = "num_threads",
     .help = "Threads that compute and decode; auto is one for each core."},
    {.key = "log", .type = &thaw__type_choice, .offset = AT(log), .fallback = "info",
     .choices = log_names,
     .help = "How much the program says."},

    {.key = "data.train", .type = &thaw__type_path, .offset = AT(data.train), .fallback = "",
     .aliases = "training_dir",
     .help = "Folder with one sub-folder of pictures for each class; or one with train, test "
             "and validation folders of that kind."},
    {.key = "data.validation", .type = &thaw__type_held_out, .offset = AT(data.validation),
     .fallback = "0.1", .min = 0, .max = 0.9,
     .help = "Folder of the same classes, or the fraction of the training pictures that is held "
             "out, chosen by file name."},
    {.key = "data.test", .type = &thaw__type_path, .offset = AT(data.test), .fallback = "",
     .help = "Folder of the same classes that only the final report uses."},
    {.key = "data.max_bad", .type = &thaw__type_limit, .offset = AT(data.max_bad),
     .fallback = "1%", .min = 0, .max = 1e9,
     .help = "Pictures that may be unreadable before the run stops; they are listed in "
             "rejected.csv."},

    {.key = "image.size", .type = &thaw__type_integer, .offset = AT(image.size),
     .fallback = "auto", .automatic = true, .min = 0, .max = 4096,
     .help = "Side of the square that the network gets; auto or 0 is the network's own."},
    {.key = "image.fit", .type = &thaw__type_choice, .offset = AT(image.fit), .fallback = "auto",
     .choices = fit_names,
     .help = "How a picture becomes a square: resize the shorter side and crop the centre, or "
             "squash."},
    {.key = "image.shorter", .type = &thaw__type_integer, .offset = AT(image.shorter),
     .fallback = "auto", .automatic = true, .min = 0, .max = 8192, .aliases = "resize",
     .help = "Length of the shorter side before the crop; auto or 0 is the preset's."},
    {.key = "image.filter", .type = &thaw__type_choice, .offset = AT(image.filter),
     .fallback = "auto", .choices = filter_names, .aliases = "image_resize_interpolation",
     .help = "Filter of the resize."},
    {.key = "image.order", .type = &thaw__type_choice, .offset = AT(image.order),
     .fallback = "auto", .choices = order_names,
     .help = "Order of the colour channels."},
    {.key = "image.scale", .type = &thaw__type_number, .offset = AT(image.scale),
     .fallback = "auto", .automatic = true, .min = 1e-6, .max = 1e3,
     .help = "The network gets (pixel * scale - mean) / std, with pixels from 0 to 255."},
    {.key = "image.mean", .type = &thaw__type_channels, .offset = AT(image.mean),
     .fallback = "auto", .automatic = true, .min = -1e3, .max = 1e3,
     .help = "See image.scale; one number for all channels, or one for each."},
    {.key = "image.std", .type = &thaw__type_channels, .offset = AT(image.std),
     .fallback = "auto", .automatic = true, .min = 1e-6, .max = 1e3,
     .help = "See image.scale; one number for all channels, or one for each."},

    {.key = "cache.dir", .type = &thaw__type_path, .offset = AT(cache.dir), .fallback = "auto",
     .help = "Folder that keeps the activations; auto is thaw in $XDG_CACHE_HOME or ~/.cache, "
             "none keeps nothing on disk."},
    {.key = "cache.memory", .type = &thaw__type_size, .offset = AT(cache.memory_bytes),
     .fallback = "auto", .automatic = true, .min = 1, .max = 0x1p50,
     .help = "How much memory the activations of all splits may take together; auto is half of what "
             "is free, in a container of what it has left."},
    {.key = "cache.device", .type = &thaw__type_size, .offset = AT(cache.device_bytes),
     .fallback = "auto", .automatic = true, .min = 1, .max = 0x1p50,
     .help = "How much of a GPU's memory the head's training rows may take; auto is what is free."},
    {.key = "cache.pinned", .type = &thaw__type_size, .offset = AT(cache.pinned_bytes),
     .fallback = "auto", .automatic = true, .min = 1, .max = 0x1p50,
     .help = "How much page-locked memory the rows that a GPU has no room for may take; auto is what "
             "cache.memory leaves. With more rows than both hold, the head is trained on the CPU."},
    {.key = "cache.dtype", .type = &thaw__type_choice, .offset = AT(cache.dtype),
     .fallback = "auto", .choices = cache_dtype_names,
     .help = "What the activations are kept in; auto is fp32, however full the disk is. fp16 takes "
             "half the room and makes another model."},
    {.key = "cache.shared", .type = &thaw__type_switch, .offset = AT(cache.shared),
     .fallback = "false",
     .help = "Trust a cache.dir that others may write to, and let them write to what is made there."},
    {.key = "cache.keep", .type = &thaw__type_size, .offset = AT(cache.keep_bytes),
     .fallback = "10G", .min = 0, .max = 0x1p50,
     .help = "What thaw cache gc leaves; the least recently used goes first."},
    {.key = "cache.keep_days", .type = &thaw__type_integer, .offset = AT(cache.keep_days),
     .fallback = "0", .min = 0, .max = 36500,
     .help = "thaw cache gc removes what was not used for so many days; 0 is never."},

    {.key = "head.kind", .type = &thaw__type_choice, .offset = AT(head.kind),
     .fallback = "linear", .choices = head_names,
     .help = "One linear layer, or a hidden layer before it."},
    {.key = "head.hidden", .type = &thaw__type_integer, .offset = AT(head.hidden),
     .fallback = "256", .min = 1, .max = 65536,
     .help = "Units of the hidden layer."},
    {.key = "head.dropout", .type = &thaw__type_number, .offset = AT(head.dropout),
     .fallback = "0.2", .min = 0, .max = 0.95, .aliases = "dropout_rate",
     .help = "Share of the hidden units that is left out in a training step."},
    {.key = "head.optimizer", .type = &thaw__type_choice, .offset = AT(head.optimizer),
     .fallback = "sgd", .choices = optimizer_names, .aliases = "optimizer",
     .help = "What moves the weights."},
    {.key = "head.lr", .type = &thaw__type_number, .offset = AT(head.lr), .fallback = "auto",
     .automatic = true, .min = 1e-8, .max = 100, .aliases = "learning_rate lr",
     .help = "Learning rate at its highest; auto is what was measured to be good for the optimizer."},
    {.key = "head.momentum", .type = &thaw__type_number, .offset = AT(head.momentum),
     .fallback = "0.9", .min = 0, .max = 0.999, .aliases = "momentum",
     .help = "Momentum of sgd."},
    {.key = "head.weight_decay", .type = &thaw__type_number, .offset = AT(head.weight_decay),
     .fallback = "auto", .automatic = true, .min = 0, .max = 100, .aliases = "weight_decay regularizers_l2",
     .help = "Pull of the weights towards zero, biases apart; auto is less the more pictures there "
             "are."},
    {.key = "head.batch", .type = &thaw__type_integer, .offset = AT(head.batch),
     .fallback = "64", .min = 1, .max = 65536, .aliases = "mini_batch_size batch_size",
     .help = "Pictures in a training step."},
    {.key = "head.schedule", .type = &thaw__type_choice, .offset = AT(head.schedule),
     .fallback = "cosine", .choices = schedule_names, .aliases = "lr_scheduler_type",
     .help = "How the learning rate falls."},
    {.key = "head.warmup", .type = &thaw__type_number, .offset = AT(head.warmup),
     .fallback = "1", .min = 0, .max = 1000, .aliases = "warmup_epochs",
     .help = "Epochs in which the learning rate rises from zero."},
    {.key = "head.label_smoothing", .type = &thaw__type_number,
     .offset = AT(head.label_smoothing), .fallback = "0", .min = 0, .max = 0.9,
     .aliases = "label_smoothing label_smoothing_factor",
     .help = "Share of each label that is spread over all classes."},
    {.key = "head.class_weights", .type = &thaw__type_choice, .offset = AT(head.class_weights),
     .fallback = "none", .choices = class_weights_names,
     .help = "auto gives classes with few pictures more weight."},
    {.key = "head.patience", .type = &thaw__type_integer, .offset = AT(head.patience),
     .fallback = "0", .min = 0, .max = 100000, .aliases = "early_stopping_patience",
     .help = "Epochs without a better validation before training stops and the best is kept; 0 "
             "runs all epochs."},
    {.key = "head.tf32", .type = &thaw__type_switch, .offset = AT(head.tf32), .fallback = "true",
     .help = "On a GPU, lets the head's products round their factors to 10 bits of mantissa: faster, "
             "and below what the seed changes."},

    {.key = "inspect.plan", .type = &thaw__type_switch, .offset = AT(inspect.plan),
     .fallback = "false", .aliases = "plan",
     .help = "Let inspect tell what each step of the frozen part runs on the device, and how fast it "
             "could be."},

    {.key = "new.arch", .type = &thaw__type_text, .offset = AT(new_network.arch),
     .fallback = "", .aliases = "arch",
     .help = "What new writes: resnet18, resnet50, mobilenet_v2, efficientnet_b0 or convnext_tiny."},
    {.key = "new.classes", .type = &thaw__type_integer, .offset = AT(new_network.classes),
     .fallback = "1000", .min = 1, .max = 1000000, .aliases = "classes",
     .help = "Scores of the network that new writes."},
    {.key = "new.size", .type = &thaw__type_integer, .offset = AT(new_network.size),
     .fallback = "224", .min = 32, .max = 4096, .aliases = "size",
     .help = "Height and width of its pictures."},
    {.key = "new.output", .type = &thaw__type_path, .offset = AT(new_network.output),
     .fallback = "", .aliases = "o",
     .help = "The file that new writes."},

    {.key = "predict.top", .type = &thaw__type_integer, .offset = AT(predict.top),
     .fallback = "5", .min = 1, .max = 100000, .aliases = "top top_k",
     .help = "How many classes predict names for a picture."},
    {.key = "predict.json", .type = &thaw__type_switch, .offset = AT(predict.json),
     .fallback = "false", .aliases = "json",
     .help = "Let predict write JSON, one line a picture."},
};
// clang-format on

enum { N_OPTIONS = sizeof table / sizeof *table };
_Static_assert(sizeof table / sizeof *table <= THAW_OPTIONS_MAX,
               "thaw_options has no room for all rows");

/* ---- looking up ----------------------------------------------------------------------------- */

/* Copies the next word of a list with spaces between; false at its end. */
static bool next_word(const char **list, char word[ALIAS_MAX]) {
    if (!*list) return false;
    *list += strspn(*list, " ");
    size_t n = strcspn(*list, " ");
    if (n == 0) return false;
    snprintf(word, ALIAS_MAX, "%.*s", (int)n, *list);
    *list += n;
    return true;
}

static bool has_name(const thaw__option *row, const char *name) {
    char alias[ALIAS_MAX];
    if (!strcmp(row->key, name)) return true;
    for (const char *list = row->aliases; next_word(&list, alias);)
        if (!strcmp(alias, name)) return true;
    return false;
}

const thaw__option *thaw__options_find(const char *name) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (has_name(&table[i], name)) return &table[i];
    return NULL;
}

static const char *last_part(const char *key) {
    const char *point = strrchr(key, '.');
    return point ? point + 1 : key;
}

/* The key that was probably meant, NULL when there is none. The right name in the wrong section is
 * the likeliest mistake, so it goes before a slip of the finger. */
static const char *suggest(const char *name) {
    thaw_nearest nearest = {.word = name};
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (!strcmp(last_part(table[i].key), last_part(name))) return table[i].key;
        thaw_nearest_offer(&nearest, table[i].key);
    }
    return nearest.best;
}

static thaw_status fail_unknown(const char *name, const char *source, thaw_error *err) {
    const char *key = suggest(name);
    if (key)
        return thaw_fail(err, THAW_ERR_USAGE, "%s: unknown option '%.120s'; did you mean '%s'?",
                         source, name, key);
    return thaw_fail(err, THAW_ERR_USAGE,
                     "%s: unknown option '%.120s'; `thaw options` lists all of them", source, name);
}

thaw_status thaw_options_check(const char *key, const char *source, bool *is_switch,
                               thaw_error *err) {
    const thaw__option *row = thaw__options_find(key);
    if (!row) return fail_unknown(key, source, err);
    *is_switch = row->type == &thaw__type_switch;
    return THAW_OK;
}

thaw_status thaw_options_require(const thaw_options *options, const char *key, thaw_error *err) {
    const thaw__option *row = thaw__options_find(key);
    assert(row);
    if (*options->origin[row - table].text) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE, "%s is not given: set it with --%s=... or in train.ini",
                     key, key);
}

bool thaw_options_is_set(const thaw_options *options, const char *key) {
    const thaw__option *row = thaw__options_find(key);
    assert(row);
    return strcmp(options->origin[row - table].source, DEFAULT_SOURCE) != 0;
}

size_t thaw_options_count(void) {
    return N_OPTIONS;
}

const char *thaw_options_key(size_t i) {
    return table[i].key;
}

const thaw__option *thaw__options_row(size_t i) {
    return &table[i];
}

bool thaw_opt_limit_exceeded(thaw_opt_limit limit, size_t bad, size_t total) {
    double allowed = limit.percent ? limit.number / 100 * (double)total : limit.number;
    return (double)bad > allowed;
}

/* ---- setting -------------------------------------------------------------------------------- */

static thaw_status set_row(thaw_options *options, const thaw__option *row, const char *text,
                           const char *source, thaw_error *err) {
    thaw_opt_origin origin = {
        .text = thaw_arena_string(&options->arena, text, strlen(text)),
        .source = thaw_arena_string(&options->arena, source, strlen(source)),
    };
    if (!origin.text || !origin.source) return thaw_fail_memory(err, "for the option %s", row->key);
    void *slot = (char *)options + row->offset;
    thaw_status status = row->type->parse(row, text, &options->arena, slot);
    if (status == THAW_ERR_USAGE) {
        char expected[THAW__EXPECTED_TEXT];
        row->type->describe(row, expected);
        return thaw_fail(err, status, "%s: %s = '%.120s': expected %s", source, row->key, text,
                         expected);
    }
    if (status != THAW_OK) return thaw_fail(err, status, "no memory for the option %s", row->key);
    options->origin[row - table] = origin;
    return THAW_OK;
}

thaw_status thaw_options_set(thaw_options *options, const char *key, const char *text,
                             const char *source, thaw_error *err) {
    const thaw__option *row = thaw__options_find(key);
    return row ? set_row(options, row, text, source, err) : fail_unknown(key, source, err);
}

thaw_status thaw_options_init(thaw_options *options, thaw_error *err) {
    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < N_OPTIONS; i++)
        THAW_TRY(set_row(options, &table[i], table[i].fallback, DEFAULT_SOURCE, err));
    return THAW_OK;
}

void thaw_options_free(thaw_options *options) {
    thaw_arena_free(&options->arena);
}

bool thaw_options_is_auto(const thaw_options *options, const char *key) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (!strcmp(table[i].key, key)) return !strcmp(options->origin[i].text, "auto");
    return false;
}
