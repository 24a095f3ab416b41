#include "options.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "onnx/architectures.h"
#include "option_types.h"
#include "text.h"

enum { ALIAS_MAX = 64 }; /* Bytes of the longest alias, with its NUL. */

static const char DEFAULT_SOURCE[] = "default";

/* ---- the table ------------------------------------------------------------------------------ */

// clang-format off
/* The parts of a row that belong together. Each fails to compile when the field has another C type
 * than the option's. */
#define SLOT(field, ctype) \
    .offset = offsetof(thaw_options, field) + _Generic(&((thaw_options *)0)->field, ctype *: 0)
#define TEXT(field) .type = &thaw__type_text, SLOT(field, const char *)
#define PATH(field) .type = &thaw__type_path, SLOT(field, const char *)
#define DEVICE(field) .type = &thaw__type_device, SLOT(field, const char *)
#define INTEGER(field) .type = &thaw__type_integer, SLOT(field, int64_t)
#define SIZE(field) .type = &thaw__type_size, SLOT(field, int64_t)
#define NUMBER(field) .type = &thaw__type_number, SLOT(field, double)
#define SWITCH(field) .type = &thaw__type_switch, SLOT(field, bool)
#define CHANNELS(field) .type = &thaw__type_channels, SLOT(field, thaw_opt_channels)
#define HELD_OUT(field) .type = &thaw__type_held_out, SLOT(field, thaw_opt_held_out)
#define LIMIT(field) .type = &thaw__type_limit, SLOT(field, thaw_opt_limit)
#define CHOICE(field, ctype, LIST) .type = &thaw__type_choice, SLOT(field, ctype), \
    .names = (const char *const[]){LIST(THAW_ENUM_NAME) NULL}
#define ONLY(value) 1u << (value)
#define AUTO .fallback = "auto", .automatic = true
#define RANGE(low, high) .range = &(const thaw_range){low, high}
#define TRAIN_RANGE(field) .range = &thaw_train_legal.field

/* A name in a help sentence. */
#define WORD(name) " " #name

/* Rows without a section come first, the rows of a section stand together: train.ini has this
 * order. clang-format would give every field a line of its own. */
static const thaw__option table[] = {
    {.key = "model", PATH(model), .fallback = "",
     .help = "The network to start from, an ONNX file."},
    {.key = "out", PATH(out), .fallback = "run",
     .help = "Folder that gets the trained bundle, the metrics and the log."},
    {.key = "freeze", TEXT(freeze), .fallback = "last",
     .help = "Up to which cut the network stays as it is: last (only the new head is trained), "
             "none, or a cut's index or name from `thaw inspect`."},
    {.key = "output", TEXT(output), AUTO,
     .help = "Which of the model's outputs counts, by name; auto is the one that most of the network "
             "lies below."},
    {.key = "preprocess", CHOICE(preprocess, thaw_preset, THAW_PRESET_LIST), AUTO,
     .help = "How the network wants its pixels; the options of [image] change single parts."},
    {.key = "seed", INTEGER(seed), .fallback = "1", RANGE(0, 4294967295.0),
     .aliases = "random_seed",
     .help = "Start of all random numbers; the same seed gives the same bits."},
    {.key = "epochs", INTEGER(epochs), AUTO, TRAIN_RANGE(epochs),
     .aliases = "num_epochs num_train_epochs",
     .help = "Passes over the training pictures; auto is 30, or what makes 300 steps if that is "
             "more."},
    {.key = "batch", INTEGER(batch), .fallback = "32", RANGE(1, 4096),
     .help = "Pictures that go through the frozen layers at once."},
    {.key = "device", DEVICE(device), AUTO,
     .help = "Where to compute."},
    {.key = "precision", CHOICE(precision, thaw_dtype, THAW_DTYPE_LIST), .fallback = "fp32",
     .automatic = true, .values = ONLY(THAW_F32) | ONLY(THAW_F16) | ONLY(THAW_BF16),
     .help = "What the frozen layers compute in; auto takes fp16 on a GPU, bf16 on a processor that "
             "has it, where that is faster and the features stay the same. fp32 is tf32 on a GPU."},
    {.key = "tune", SWITCH(tune), .fallback = "false",
     .help = "On a GPU: times the best few kernels of each layer once and remembers the fastest in "
             "cache.dir; otherwise the cost model chooses."},
    {.key = "threads", INTEGER(threads), AUTO, RANGE(0, 1024), .aliases = "num_threads",
     .help = "Threads that compute and decode; auto and 0 are one for each core."},
    {.key = "log", CHOICE(log, thaw_log_level, THAW_LOG_LEVEL_LIST), .fallback = "info",
     .help = "How much the program says."},

    {.key = "data.train", PATH(data.train), .fallback = "", .aliases = "training_dir",
     .help = "Folder with one sub-folder of pictures for each class; or one with train, test "
             "and validation folders of that kind."},
    {.key = "data.validation", HELD_OUT(data.validation), .fallback = "0.1", RANGE(0, 0.9),
     .help = "Folder of the same classes, or the fraction of the training pictures that is held "
             "out, chosen by file name."},
    {.key = "data.test", PATH(data.test), .fallback = "",
     .help = "Folder of the same classes that only the final report uses."},
    {.key = "data.max_bad", LIMIT(data.max_bad), .fallback = "1%", RANGE(0, 1e9),
     .help = "Pictures that may be unreadable before the run stops; they are listed in "
             "rejected.csv."},

    {.key = "image.size", INTEGER(image.size), AUTO, RANGE(1, 4096),
     .help = "Side of the square that the network gets; auto is the network's own."},
    {.key = "image.fit", CHOICE(image.fit, thaw_fit, THAW_FIT_LIST), AUTO,
     .help = "How a picture becomes a square: resize the shorter side and crop the centre, or "
             "squash."},
    {.key = "image.shorter", INTEGER(image.shorter), AUTO, RANGE(1, 8192), .aliases = "resize",
     .help = "Length of the shorter side before the crop; auto is the preset's."},
    {.key = "image.filter", CHOICE(image.filter, thaw_filter, THAW_FILTER_LIST), AUTO,
     .aliases = "image_resize_interpolation",
     .help = "Filter of the resize."},
    {.key = "image.order", CHOICE(image.order, thaw_order, THAW_ORDER_LIST), AUTO,
     .help = "Order of the colour channels."},
    {.key = "image.scale", NUMBER(image.scale), AUTO, RANGE(1e-6, 1e3),
     .help = "The network gets (pixel * scale - mean) / std, with pixels from 0 to 255."},
    {.key = "image.mean", CHANNELS(image.mean), AUTO, RANGE(-1e3, 1e3),
     .help = "See image.scale; one number for all channels, or one for each."},
    {.key = "image.std", CHANNELS(image.std), AUTO, RANGE(1e-6, 1e3),
     .help = "See image.scale; one number for all channels, or one for each."},

    {.key = "cache.dir", PATH(cache.dir), AUTO, .none = true,
     .help = "Folder that keeps the activations; auto is thaw in $XDG_CACHE_HOME or ~/.cache, "
             "none keeps nothing on disk."},
    {.key = "cache.memory", SIZE(cache.memory_bytes), AUTO, RANGE(1, 0x1p50),
     .help = "How much of the activations stays in memory; auto is what is free."},
    {.key = "cache.device", SIZE(cache.device_bytes), AUTO, RANGE(1, 0x1p50),
     .help = "How much of a GPU's memory the head's training rows may take; auto is what is free."},
    {.key = "cache.pinned", SIZE(cache.pinned_bytes), AUTO, RANGE(1, 0x1p50),
     .help = "How much page-locked memory the rows that a GPU has no room for may take; auto is half "
             "of what is free. With more rows than both hold, the head is trained on the CPU."},
    {.key = "cache.dtype", CHOICE(cache.dtype, thaw_dtype, THAW_DTYPE_LIST), AUTO,
     .values = ONLY(THAW_F32) | ONLY(THAW_F16),
     .help = "What the activations are kept in."},
    {.key = "cache.keep", SIZE(cache.keep_bytes), .fallback = "10G", RANGE(0, 0x1p50),
     .help = "What thaw cache gc leaves; the least recently used goes first."},
    {.key = "cache.keep_days", INTEGER(cache.keep_days), .fallback = "0", RANGE(0, 36500),
     .help = "thaw cache gc removes what was not used for so many days; 0 is never."},

    {.key = "head.kind", CHOICE(head.kind, thaw_head_kind, THAW_HEAD_KIND_LIST),
     .fallback = "linear",
     .help = "One linear layer, or a hidden layer before it."},
    {.key = "head.at", TEXT(head.at), AUTO,
     .help = "The node that the old head, which is replaced, begins with; auto finds it by its look, "
             "none keeps the whole network."},
    {.key = "head.hidden", INTEGER(head.hidden), .fallback = "256", TRAIN_RANGE(hidden),
     .help = "Units of the hidden layer."},
    {.key = "head.dropout", NUMBER(head.dropout), .fallback = "0.2", TRAIN_RANGE(dropout),
     .aliases = "dropout_rate",
     .help = "Share of the hidden units that is left out in a training step."},
    {.key = "head.optimizer", CHOICE(head.optimizer, thaw_optimizer, THAW_OPTIMIZER_LIST),
     .fallback = "sgd", .aliases = "optimizer",
     .help = "What moves the weights."},
    {.key = "head.lr", NUMBER(head.lr), AUTO, TRAIN_RANGE(lr), .aliases = "learning_rate lr",
     .help = "Learning rate at its highest; auto is what was measured to be good for the optimizer."},
    {.key = "head.momentum", NUMBER(head.momentum), .fallback = "0.9", TRAIN_RANGE(momentum),
     .aliases = "momentum",
     .help = "Momentum of sgd."},
    {.key = "head.weight_decay", NUMBER(head.weight_decay), AUTO, TRAIN_RANGE(weight_decay),
     .aliases = "weight_decay regularizers_l2",
     .help = "Pull of the weights towards zero, biases apart; auto is less the more pictures there "
             "are."},
    {.key = "head.batch", INTEGER(head.batch), .fallback = "64", TRAIN_RANGE(batch),
     .aliases = "mini_batch_size batch_size",
     .help = "Pictures in a training step."},
    {.key = "head.schedule", CHOICE(head.schedule, thaw_schedule_kind, THAW_SCHEDULE_LIST),
     .fallback = "cosine", .aliases = "lr_scheduler_type",
     .help = "How the learning rate falls."},
    {.key = "head.warmup", NUMBER(head.warmup), .fallback = "1", TRAIN_RANGE(warmup),
     .aliases = "warmup_epochs",
     .help = "Epochs in which the learning rate rises from zero."},
    {.key = "head.label_smoothing", NUMBER(head.label_smoothing), .fallback = "0",
     TRAIN_RANGE(label_smoothing), .aliases = "label_smoothing label_smoothing_factor",
     .help = "Share of each label that is spread over all classes."},
    {.key = "head.class_weights", CHOICE(head.class_weights, thaw_class_weights,
     THAW_CLASS_WEIGHTS_LIST), .fallback = "none", .automatic = true,
     .help = "balanced gives classes with few pictures more weight, auto is balanced."},
    {.key = "head.patience", INTEGER(head.patience), .fallback = "0", TRAIN_RANGE(patience),
     .aliases = "early_stopping_patience",
     .help = "Epochs without a better validation before training stops and the best is kept; 0 "
             "runs all epochs."},
    {.key = "head.tf32", SWITCH(head.tf32), .fallback = "true",
     .help = "On a GPU, lets the head's products round their factors to 10 bits of mantissa: faster, "
             "and below what the seed changes."},

    {.key = "inspect.plan", SWITCH(inspect.plan), .fallback = "false", .aliases = "plan",
     .help = "Let inspect tell what each step of the frozen part runs on the device, and how fast it "
             "could be."},

    {.key = "new.arch", TEXT(new_network.arch), .fallback = "", .aliases = "arch",
     .help = "What new writes, one of" THAW_ARCHITECTURE_LIST(WORD) "."},
    {.key = "new.classes", INTEGER(new_network.classes), .fallback = "1000", RANGE(1, 1000000),
     .aliases = "classes",
     .help = "Scores of the network that new writes."},
    {.key = "new.size", INTEGER(new_network.size), .fallback = "224", RANGE(32, 4096),
     .aliases = "size",
     .help = "Height and width of its pictures."},
    {.key = "new.output", PATH(new_network.output), .fallback = "", .aliases = "o",
     .help = "The file that new writes."},

    {.key = "predict.top", INTEGER(predict.top), .fallback = "5", RANGE(1, 100000),
     .aliases = "top top_k",
     .help = "How many classes predict names for a picture."},
    {.key = "predict.json", SWITCH(predict.json), .fallback = "false", .aliases = "json",
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
    thaw_status status = thaw__option_parse(row, text, &options->arena, slot);
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
