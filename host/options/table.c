/* The table of options: a row each, and all that is said of it anywhere. */
#include <stddef.h>

#include "gpu_models.h"
#include "onnx/architectures.h"
#include "option_types.h"
#include "options.h"

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
#define WINDOW(field) .type = &thaw__type_window, SLOT(field, thaw_pixel_window)
#define LIMIT(field) .type = &thaw__type_limit, SLOT(field, thaw_opt_limit)
#define CHOICE(field, ctype, LIST) .type = &thaw__type_choice, SLOT(field, ctype), \
    .names = (const char *const[]){LIST(THAW_ENUM_NAME) NULL}
#define ONLY(value) 1u << (value)
#define SCALE .scale = true
#define AUTO .fallback = "auto", .automatic = true
#define RANGE(low, high) .range = &(const thaw_range){low, high}
#define TRAIN_RANGE(field) .range = &thaw_train_legal.field
#define TUNE_RANGE(field) .range = &thaw_tune_legal.field

/* A name in a help sentence. */
#define WORD(name) " " #name
#define GPU_NAME(name, ...) " cuda:" name

/* Who uses a row. */
enum {
    INSPECT = THAW_FOR_INSPECT,
    /* Of a training: here alone, for what lies on this machine; or also as a job's hyperparameter. */
    HERE = THAW_FOR_TRAIN,
    TRAIN = THAW_FOR_TRAINING,
    EVAL = THAW_FOR_EVAL,
    PREDICT = THAW_FOR_PREDICT,
    CACHE = THAW_FOR_CACHE,
    NEW = THAW_FOR_NEW,
    EXPORT = THAW_FOR_EXPORT,
    FREEZE = THAW_FOR_FREEZE,
    SWEEP = THAW_FOR_SWEEP,
    SERVE = THAW_FOR_SERVE,
    TRY = THAW_FOR_TRY,
    VERIFY = THAW_FOR_VERIFY,
    LINT = THAW_FOR_LINT,
    FETCH = THAW_FOR_FETCH,
    JOB = THAW_FOR_JOB | THAW_FOR_TUNING | TRY,
    TUNING = THAW_FOR_TUNING,
    ALGORITHM = THAW_FOR_ALGORITHM,
    MODEL = THAW_FOR_MODEL,
    VARIANT = THAW_FOR_ENDPOINT_CONFIG,
    ENDPOINT = THAW_FOR_ENDPOINT,
    TRANSFORM = THAW_FOR_TRANSFORM,
    REQUEST = JOB | ALGORITHM | MODEL | VARIANT | ENDPOINT | TRANSFORM,
    PIXELS = INSPECT | TRAIN | CACHE | LINT,
    COMPUTING = INSPECT | TRAIN | EVAL | PREDICT | CACHE | LINT,
    KEEPING = INSPECT | HERE | EVAL | PREDICT | CACHE | LINT,
};

/* Rows without a section come first, the rows of a section stand together: train.ini has this
 * order. clang-format would give every field a line of its own. */
const thaw__option thaw__options_table[] = {
    {.key = "model", .used_by = HERE | CACHE | TRY | LINT, PATH(model), .fallback = "",
     .help = "The network to start from: an ONNX file, the folder of a trained run, or one packed as "
             ".tar.gz."},
    {.key = "out", .used_by = HERE, PATH(out), .fallback = "run",
     .help = "Folder that gets the trained bundle, the metrics and the log."},
    {.key = "freeze", .used_by = TRAIN | CACHE | LINT, TEXT(freeze), .fallback = "last",
     .help = "Up to which cut the network stays as it is: last (only the new head is trained), "
             "none, half (as much as leaves half of the network's weights or more to be trained), or a "
             "cut's index or name from `thaw inspect`."},
    {.key = "recipe", .used_by = TRAIN, CHOICE(recipe, thaw_recipe, THAW_RECIPE_LIST), AUTO,
     .help = "How what lies above freeze is trained: head; lp_ft, the head first, then everything; "
             "gradual, a stage more at a time; joint, all at once. auto is head with freeze = last "
             "and below it lp_ft, with init = random joint. [top] has the options of all but head."},
    {.key = "init", .used_by = TRAIN, CHOICE(init, thaw_init, THAW_INIT_LIST), .fallback = "file",
     .help = "Where the layers above freeze start from: the file's weights, or random ones, drawn as "
             "PyTorch draws them; with freeze = none that is training from scratch."},
    {.key = "resume", .used_by = HERE, SWITCH(resume), .fallback = "false",
     .help = "Goes on with the unfinished training that checkpoint.dir keeps; without one, begins."},
    {.key = "output", .used_by = INSPECT | TRAIN | CACHE | LINT, TEXT(output), AUTO,
     .help = "Which of the model's outputs counts, by name; auto is the one that most of the network "
             "lies below."},
    {.key = "preprocess", .used_by = PIXELS, CHOICE(preprocess, thaw_preset, THAW_PRESET_LIST),
     AUTO,
     .help = "How the network wants its pixels; the options of [image] change single parts."},
    {.key = "seed", .used_by = TRAIN | NEW, INTEGER(seed), .fallback = "1", RANGE(0, 4294967295.0),
     .aliases = "random_seed",
     .help = "Start of all random numbers; the same seed gives the same bits."},
    {.key = "epochs", .used_by = TRAIN, INTEGER(epochs), AUTO, TRAIN_RANGE(epochs), SCALE,
     .aliases = "num_epochs num_train_epochs", .above = "top.epochs",
     .help = "Passes over the training pictures; auto is 30, or what makes 300 steps if that is "
             "more."},
    {.key = "batch", .used_by = INSPECT | TRAIN | EVAL | PREDICT | SERVE | LINT, INTEGER(batch), .fallback = "32",
     RANGE(1, 4096),
     .help = "Pictures that go through the frozen layers at once."},
    {.key = "views", .used_by = TRAIN, INTEGER(views.n), .fallback = "1", RANGE(1, 256),
     .help = "Versions of each training picture that are kept, the first as it is, the others cropped, "
             "mirrored, turned and coloured as [views] says; an epoch looks at one of each."},
    {.key = "device", .used_by = COMPUTING | SERVE, DEVICE(device), AUTO,
     .help = "Where to compute."},
    {.key = "precision", .used_by = INSPECT | TRAIN | EVAL | CACHE | LINT,
     CHOICE(precision, thaw_dtype, THAW_DTYPE_LIST), .fallback = "fp32", .automatic = true,
     .values = ONLY(THAW_F32) | ONLY(THAW_F16) | ONLY(THAW_BF16),
     .help = "What the frozen layers compute in; auto takes fp16 on a GPU, bf16 on a processor that "
             "has it, where that is faster and the features stay the same. fp32 is tf32 on a GPU."},
    {.key = "tune", .used_by = INSPECT | TRAIN | EVAL | PREDICT, SWITCH(tune), .fallback = "false",
     .help = "On a GPU: times the best few kernels of each layer once and remembers the fastest in "
             "cache.dir; otherwise the cost model chooses."},
    {.key = "threads", .used_by = COMPUTING | SERVE | VERIFY, INTEGER(threads), AUTO, RANGE(0, 1024),
     .aliases = "num_threads",
     .help = "Threads that compute and decode; auto and 0 are one for each core."},
    {.key = "log", .used_by = TRAIN | EVAL | PREDICT | SERVE,
     CHOICE(log, thaw_log_level, THAW_LOG_LEVEL_LIST), .fallback = "info",
     .help = "How much the program says."},
    {.key = "metrics", .used_by = HERE, SWITCH(metrics), .fallback = "false",
     .help = "Prints what each epoch has reached to standard output, for other programs: "
             "validation_accuracy=0.93; and so on, and in the end what is kept. `thaw sagemaker "
             "metrics` lists the expressions that find them."},

    {.key = "data.train", .used_by = HERE, PATH(data.train), .fallback = "",
     .aliases = "training_dir",
     .help = "Folder with one sub-folder of pictures for each class; or one with train, validation "
             "and test folders of that kind, by these or similar names; or a list: a .csv with a header "
             "such as path,label,split,group, of which the last two may be missing, MXNet's .lst, or an "
             "augmented manifest, .manifest or .jsonl; or the pictures of a RecordIO file, .rec, or of a "
             "WebDataset, .tar, or of a folder of either; x-{000..099}.tar stands for a hundred files."},
    {.key = "data.root", .used_by = HERE | EVAL | LINT, PATH(data.root), AUTO,
     .help = "Folder that the paths in lists are relative to and stay in; auto is the list's own, "
             "and for one in a folder NAME_lst the folder NAME beside that."},
    {.key = "data.validation", .used_by = TRAIN | LINT, HELD_OUT(data.validation), AUTO, RANGE(0, 0.9),
     .help = "Folder or list of the same classes, or the fraction of the training pictures that is "
             "held out, chosen by name; auto is what validates in data.train, and where nothing does, "
             "0.1."},
    {.key = "data.group", .used_by = TRAIN | LINT, TEXT(data.group), .fallback = "none",
     .help = "Pictures that stay on one side when some are held out: none, folder (what lies in one "
             "folder within its class), or a regular expression for the path within the class, "
             "such as ^(.*)_view[0-9]+, whose first parenthesis is the group."},
    {.key = "data.test", .used_by = HERE | LINT, PATH(data.test), AUTO,
     .help = "Folder or list of the same classes that only the final report uses; auto is what tests "
             "in data.train, if anything does."},
    {.key = "data.unknown", .used_by = HERE, PATH(data.unknown), .fallback = "",
     .help = "Folder of pictures, at any depth, of what the classes do not have: the report says how well "
             "they are told from those of the test, and how many a run with reject.rate says unknown of."},
    {.key = "data.fold", .used_by = TRAIN | LINT, TEXT(data.fold), .fallback = "",
     .help = "For cross-validation: 2/5 deals all pictures, whatever folders they lie in, to five parts by "
             "their names, tests on the second and trains on the others."},
    {.key = "data.classes", .used_by = TRAIN, INTEGER(data.classes), AUTO, RANGE(1, 1000000),
     .aliases = "num_classes",
     .help = "How many classes there must be: another number ends the run before it computes anything; "
             "auto is any."},
    {.key = "data.pictures", .used_by = TRAIN, INTEGER(data.pictures), AUTO, RANGE(1, 1e12),
     .aliases = "num_training_samples",
     .help = "How many pictures to train on are expected: another number is a warning; auto is any."},
    {.key = "data.max_bad", .used_by = TRAIN | EVAL | LINT, LIMIT(data.max_bad), AUTO, RANGE(0, 1e9),
     .help = "Pictures that may be unreadable before the run stops; auto is 1%, or a tenth up to 3 "
             "where that is more. They are listed in rejected.csv."},

    {.key = "image.size", .used_by = PIXELS, INTEGER(image.size), AUTO, RANGE(1, 4096),
     .help = "Side of the square that the network gets; auto is the network's own."},
    {.key = "image.fit", .used_by = PIXELS, CHOICE(image.fit, thaw_fit, THAW_FIT_LIST), AUTO,
     .help = "How a picture becomes a square: resize the shorter side and crop the centre, or "
             "squash."},
    {.key = "image.shorter", .used_by = PIXELS, INTEGER(image.shorter), AUTO, RANGE(1, 8192),
     .aliases = "resize",
     .help = "Length of the shorter side before the crop; auto is the preset's."},
    {.key = "image.crop_pct", .used_by = PIXELS, NUMBER(image.crop_pct), AUTO, RANGE(0.05, 1),
     .aliases = "crop_pct",
     .help = "In place of image.shorter, the share of the shorter side that the crop keeps, as timm has "
             "it: 224 pixels and 0.875 are image.shorter = 256."},
    {.key = "image.filter", .used_by = PIXELS, CHOICE(image.filter, thaw_filter, THAW_FILTER_LIST),
     AUTO, .aliases = "image_resize_interpolation",
     .help = "Filter of the resize."},
    {.key = "image.order", .used_by = PIXELS, CHOICE(image.order, thaw_order, THAW_ORDER_LIST),
     AUTO,
     .help = "Order of the colour channels."},
    {.key = "image.scale", .used_by = PIXELS, NUMBER(image.scale), AUTO, RANGE(1e-6, 1e3),
     .help = "The network gets (pixel * scale - mean) / std, with pixels from 0 to 255."},
    {.key = "image.mean", .used_by = PIXELS, CHANNELS(image.mean), AUTO, RANGE(-1e3, 1e3),
     .help = "See image.scale; one number for all channels, or one for each."},
    {.key = "image.std", .used_by = PIXELS, CHANNELS(image.std), AUTO, RANGE(1e-6, 1e3),
     .help = "See image.scale; one number for all channels, or one for each."},
    {.key = "image.decode", .used_by = PIXELS, CHOICE(image.decode, thaw_decode, THAW_DECODE_LIST), AUTO,
     .help = "exact: each pixel of a JPEG; fast: of a large one a half, a quarter or an eighth of its rows "
             "and columns, as long as two are left for each that the network sees. auto is fast, or "
             "what the model's own file says."},
    {.key = "image.window", .used_by = PIXELS, WINDOW(image.window), AUTO,
     .help = "Which samples of more than 8 bits become black and white: file (DICOM's own window, elsewhere all "
             "that their type can hold), minmax (each picture's least and greatest), "
             "percentile(0.5,99.5), or samples such as -1000..400; auto is file, or what the model's own "
             "file says. HEIC and AVIF are always read whole."},

    {.key = "views.crop", .used_by = TRAIN, NUMBER(views.ranges.crop), .fallback = "0.5",
     RANGE(0.05, 1),
     .help = "Least share of a picture's area that a view shows; 1 crops none."},
    {.key = "views.flip", .used_by = TRAIN, SWITCH(views.ranges.flip), .fallback = "true",
     .help = "Mirror half of the views, left to right."},
    {.key = "views.rotate", .used_by = TRAIN, NUMBER(views.ranges.rotate), .fallback = "0",
     RANGE(0, 180), .help = "Degrees by which views are turned at most, either way."},
    {.key = "views.colour", .used_by = TRAIN, NUMBER(views.ranges.colour), .fallback = "0.2",
     RANGE(0, 1),
     .help = "By how much brightness, contrast and saturation of views vary at most, as a share."},
    {.key = "views.show", .used_by = HERE, PATH(views.show), .fallback = "",
     .help = "JPEG file that gets some training pictures with their views, as the network sees them."},

    {.key = "cache.dir", .used_by = KEEPING, PATH(cache.dir), AUTO, .none = true,
     .help = "Folder that keeps the activations; auto is thaw in $XDG_CACHE_HOME or ~/.cache, "
             "none keeps nothing on disk."},
    {.key = "cache.memory", .used_by = TRAIN | EVAL | LINT, SIZE(cache.memory_bytes), AUTO,
     RANGE(1, 0x1p50),
     .help = "How much memory the activations of all splits may take together; auto is half of what "
             "is free, in a container of what it has left."},
    {.key = "cache.device", .used_by = TRAIN, SIZE(cache.device_bytes), AUTO, RANGE(1, 0x1p50),
     .help = "How much of a GPU's memory the head's rows may take; auto is what is free."},
    {.key = "cache.pinned", .used_by = TRAIN, SIZE(cache.pinned_bytes), AUTO, RANGE(1, 0x1p50),
     .help = "How much page-locked memory the rows that a GPU has no room for may take; auto is what "
             "cache.memory leaves. With more rows than both hold, the head is trained on the CPU."},
    {.key = "cache.dtype", .used_by = TRAIN | EVAL | CACHE | LINT,
     CHOICE(cache.dtype, thaw_dtype, THAW_DTYPE_LIST), AUTO,
     .values = ONLY(THAW_F32) | ONLY(THAW_F16),
     .help = "What the activations are kept in; auto is fp32, however full the disk is. fp16 takes "
             "half the room and makes another model."},
    {.key = "cache.shared", .used_by = KEEPING, SWITCH(cache.shared), .fallback = "false",
     .help = "Trust a cache.dir that others may write to, and let them write to what is made there."},
    {.key = "cache.keep", .used_by = CACHE, SIZE(cache.keep_bytes), .fallback = "10G",
     RANGE(0, 0x1p50),
     .help = "What thaw cache gc leaves; the least recently used goes first."},
    {.key = "cache.keep_days", .used_by = CACHE, INTEGER(cache.keep_days), .fallback = "0",
     RANGE(0, 36500),
     .help = "thaw cache gc removes what was not used for so many days; 0 is never."},

    {.key = "head.kind", .used_by = TRAIN, CHOICE(head.kind, thaw_head_kind, THAW_HEAD_KIND_LIST),
     .fallback = "linear",
     .help = "One linear layer, or a hidden layer before it."},
    {.key = "head.at", .used_by = INSPECT | TRAIN | CACHE | LINT, TEXT(head.at), AUTO,
     .help = "The node that the old head, which is replaced, begins with; auto finds it by its look, "
             "none keeps the whole network."},
    {.key = "head.hidden", .used_by = TRAIN, INTEGER(head.hidden), .fallback = "256",
     TRAIN_RANGE(hidden), SCALE,
     .help = "Units of the hidden layer."},
    {.key = "head.dropout", .used_by = TRAIN, NUMBER(head.dropout), .fallback = "0.2",
     TRAIN_RANGE(dropout), .aliases = "dropout_rate",
     .help = "Share of the hidden units that is left out in a training step."},
    {.key = "head.solver", .used_by = TRAIN,
     CHOICE(head.solver, thaw_solver, THAW_SOLVER_LIST), .fallback = "steps",
     .help = "steps: epochs of small batches; lbfgs: the optimum of a linear head, on all pictures at "
             "once. There head.weight_decay = auto tries up to 45 and keeps the one with the lowest "
             "validation loss, and seed, epochs, optimizer, rates, batches and patience have no part."},
    {.key = "head.loss", .used_by = TRAIN, CHOICE(head.loss, thaw_loss, THAW_LOSS_LIST),
     .automatic = true, .fallback = "auto",
     .help = "softmax: a picture has one class; sigmoid: it has any number of them, which the label of a list "
             "says as rose|lily, and each class's score is of itself; auto is sigmoid where some label has "
             "other than one."},
    {.key = "head.optimizer", .used_by = TRAIN,
     CHOICE(head.optimizer, thaw_optimizer, THAW_OPTIMIZER_LIST), .fallback = "sgd",
     .above = "top.optimizer",
     .help = "What moves the weights."},
    {.key = "head.lr", .used_by = TRAIN, NUMBER(head.lr), AUTO, TRAIN_RANGE(lr), SCALE,
     .aliases = "learning_rate lr", .above = "top.lr",
     .help = "Learning rate at its highest; auto is what was measured to be good for the optimizer."},
    {.key = "head.momentum", .used_by = TRAIN, NUMBER(head.momentum), .fallback = "0.9",
     TRAIN_RANGE(momentum), .aliases = "momentum", .above = "top.momentum",
     .help = "Momentum of sgd."},
    {.key = "head.weight_decay", .used_by = TRAIN, NUMBER(head.weight_decay), AUTO,
     TRAIN_RANGE(weight_decay), SCALE, .aliases = "weight_decay regularizers_l2",
     .above = "top.weight_decay",
     .help = "Pull of the weights towards zero, biases apart; auto is less the more pictures there "
             "are."},
    {.key = "head.batch", .used_by = TRAIN, INTEGER(head.batch), .fallback = "64",
     TRAIN_RANGE(batch), SCALE, .aliases = "mini_batch_size batch_size", .above = "top.batch",
     .help = "Pictures in a training step."},
    {.key = "head.schedule", .used_by = TRAIN,
     CHOICE(head.schedule, thaw_schedule_kind, THAW_SCHEDULE_LIST), .fallback = "cosine",
     .aliases = "lr_scheduler_type", .above = "top.schedule",
     .help = "How the learning rate falls."},
    {.key = "head.warmup", .used_by = TRAIN, NUMBER(head.warmup), .fallback = "1",
     TRAIN_RANGE(warmup), .aliases = "warmup_epochs", .above = "top.warmup",
     .help = "Epochs in which the learning rate rises from zero."},
    {.key = "head.label_smoothing", .used_by = TRAIN, NUMBER(head.label_smoothing), .fallback = "0",
     TRAIN_RANGE(label_smoothing), .aliases = "label_smoothing label_smoothing_factor",
     .help = "Share of each label that is spread over all classes."},
    {.key = "head.class_weights", .used_by = TRAIN,
     CHOICE(head.class_weights, thaw_class_weights, THAW_CLASS_WEIGHTS_LIST), .fallback = "none",
     .automatic = true,
     .help = "balanced gives classes with few pictures more weight, auto is balanced. Of sigmoids: what is there "
             "of a class weighs as much as what is not."},
    {.key = "head.patience", .used_by = TRAIN, INTEGER(head.patience), .fallback = "0",
     TRAIN_RANGE(patience), .aliases = "early_stopping_patience", .above = "top.patience",
     .help = "Epochs without a better validation before training stops and the best is kept; 0 "
             "runs all epochs and keeps the last."},
    {.key = "head.temperature", .used_by = TRAIN, NUMBER(head.temperature), AUTO,
     RANGE(1.0 / 64, 64),
     .help = "What the trained head's scores before the softmax are divided by, so that a probability of 0.8 "
             "is right in four of five cases; auto is what fits the validation pictures best, and 1 where "
             "nothing validates. It changes no answer."},
    {.key = "head.tf32", .used_by = TRAIN, SWITCH(head.tf32), .fallback = "true",
     .help = "On a GPU, lets products in training of a head alone round their factors to 10 bits of "
             "mantissa: faster, and below what the seed changes."},

    {.key = "head.keep_old", .used_by = TRAIN, SWITCH(head.keep_old), .fallback = "false",
     .help = "Keeps the old head beside the new one: model.onnx has both outputs, and predict, eval and "
             "the report show both answers. The old one stays what it was if freeze = last."},
    {.key = "head.old_labels", .used_by = HERE, PATH(head.old_labels), .fallback = "",
     .help = "A text file with a name a line for the old head's answers; without it those in the model's "
             "own metadata, or numbers."},

    {.key = "reject.rate", .used_by = TRAIN, NUMBER(reject.rate), AUTO, RANGE(0, 0.5),
     .help = "Share of pictures of known classes that predict, eval and serve may say unknown of, instead of "
             "guessing, so that they can say it of what looks like no training picture; 0 always "
             "guesses; auto is 0.05 with data.unknown or test pictures of classes that are not trained, and "
             "else 0. From which distance on is measured on the validation pictures."},

    {.key = "top.norm", .used_by = TRAIN, CHOICE(top.norm, thaw_norm, THAW_NORM_LIST),
     .automatic = true, .fallback = "auto",
     .help = "BN above freeze: frozen keeps it, affine trains its scale and shift, full takes the "
             "batch's statistics besides; auto is frozen, with init = random full."},
    {.key = "top.epochs", .used_by = TRAIN, INTEGER(top.epochs), AUTO, TUNE_RANGE(epochs), SCALE,
     .help = "Passes over the training pictures once the head is trained; auto is 15, or what makes "
             "150 steps if that is more; with init = random 40, or 600 steps."},
    {.key = "top.lr", .used_by = TRAIN, NUMBER(top.lr), AUTO, TUNE_RANGE(lr), SCALE,
     .help = "Learning rate at its highest; auto is 0.001 with sgd and 0.0001 with adamw, with init = "
             "random 0.05 and 0.001."},
    {.key = "top.stage_factor", .used_by = TRAIN, NUMBER(top.stage_factor), AUTO,
     TUNE_RANGE(stage_factor),
     .help = "A stage's rate is that of the stage above it times this; auto is 1, with recipe = "
             "gradual 0.38."},
    {.key = "top.optimizer", .used_by = TRAIN,
     CHOICE(top.optimizer, thaw_optimizer, THAW_OPTIMIZER_LIST), .fallback = "sgd",
     .help = "What moves the weights."},
    {.key = "top.momentum", .used_by = TRAIN, NUMBER(top.momentum), .fallback = "0.9",
     TUNE_RANGE(momentum),
     .help = "Momentum of sgd."},
    {.key = "top.weight_decay", .used_by = TRAIN, NUMBER(top.weight_decay), AUTO,
     TUNE_RANGE(weight_decay), SCALE,
     .help = "Pull of the weights towards zero; biases and what normalises are left alone. auto is "
             "1e-4, with adamw 0.01."},
    {.key = "top.batch", .used_by = TRAIN, INTEGER(top.batch), .fallback = "64", TUNE_RANGE(batch), SCALE,
     .help = "Pictures in a training step. They go through a few at a time, so that memory does not "
             "grow with it."},
    {.key = "top.schedule", .used_by = TRAIN,
     CHOICE(top.schedule, thaw_schedule_kind, THAW_SCHEDULE_LIST), .fallback = "cosine",
     .help = "How the learning rate falls."},
    {.key = "top.warmup", .used_by = TRAIN, NUMBER(top.warmup), .fallback = "1",
     TUNE_RANGE(warmup),
     .help = "Epochs in which the learning rate rises from zero."},
    {.key = "top.clip", .used_by = TRAIN, NUMBER(top.clip), .fallback = "0", TUNE_RANGE(clip),
     .help = "Longest gradient of a step, by its L2 norm; 0 allows any."},
    {.key = "top.ema", .used_by = TRAIN, NUMBER(top.ema), .fallback = "0", TUNE_RANGE(ema),
     .help = "Weight of the past in a running average of the weights, which is then what is kept, "
             "such as 0.99; 0 keeps the weights themselves."},
    {.key = "top.mixup", .used_by = TRAIN, NUMBER(top.mixup), .fallback = "0", TUNE_RANGE(mixup),
     .help = "Mixes pairs of pictures, as they are at the cut, and their labels, in shares drawn from "
             "Beta(a, a) with this a; 0 mixes none."},
    {.key = "top.dropout", .used_by = TRAIN, NUMBER(top.dropout), .fallback = "0",
     TUNE_RANGE(dropout),
     .help = "Share of the features before the head that is left out in a training step, while layers "
             "below it are trained, too; a Dropout in the file passes on what it gets."},
    {.key = "top.sampling", .used_by = TRAIN,
     CHOICE(top.sampling, thaw_sampling, THAW_SAMPLING_LIST), .fallback = "all",
     .help = "all: each picture once an epoch; balanced: as many draws, each of a class that is as "
             "likely as the others."},
    {.key = "top.precision", .used_by = TRAIN,
     CHOICE(top.precision, thaw_top_precision, THAW_TOP_PRECISION_LIST), .automatic = true,
     .fallback = "auto",
     .help = "On a GPU, what training above the cut multiplies and stores: fp32; tf32, whose products "
             "round their factors to 10 bits of mantissa; bf16, in which activations and their gradients "
             "are stored, too. Weights are fp32 always. auto is fp32 with precision = fp32, and else "
             "bf16 where the GPU has it."},
    {.key = "top.patience", .used_by = TRAIN, INTEGER(top.patience), .fallback = "0",
     TUNE_RANGE(patience),
     .help = "As head.patience, while everything is trained."},

    {.key = "checkpoint.dir", .used_by = HERE, PATH(checkpoint.dir), AUTO, .none = true,
     .help = "Folder that keeps an unfinished training above freeze, so that --resume can go on with "
             "it; auto is the name of out with .checkpoint behind it. It is emptied by a finished run."},
    {.key = "checkpoint.minutes", .used_by = TRAIN, NUMBER(checkpoint.minutes), .fallback = "5",
     RANGE(0, 100000),
     .help = "How much work may be lost at most when the machine stops; a run that is told to stop "
             "loses none."},
    {.key = "checkpoint.bundle", .used_by = HERE, SWITCH(checkpoint.bundle), .fallback = "false",
     .help = "Let a run that is told to stop (Ctrl-C, SIGTERM) write the model of the epoch that "
             "validates best so far to out, and say so in its metrics. It still ends as a stopped one."},

    {.key = "inspect.plan", .used_by = INSPECT, SWITCH(inspect.plan), .fallback = "false",
     .aliases = "plan",
     .help = "Let inspect tell what each step of the frozen part runs on the device, and how fast it "
             "could be. The device may be a GPU that is not here, by its data sheet:" THAW_GPU_MODEL_LIST(
                 GPU_NAME) "."},

    {.key = "inspect.train", .used_by = INSPECT, SWITCH(inspect.train), .fallback = "false",
     .aliases = "train",
     .help = "Let inspect tell for each stage what training above it would take: parameters, GFLOP, "
             "memory and cache bytes of an image."},
    {.key = "inspect.all", .used_by = INSPECT, SWITCH(inspect.all), .fallback = "false",
     .aliases = "all",
     .help = "Let inspect list every cut, in place of each stage's narrowest."},
    {.key = "inspect.pictures", .used_by = INSPECT, INTEGER(inspect.pictures), .fallback = "300",
     RANGE(20, 100000), .aliases = "pictures",
     .help = "How many of a folder's pictures inspect compares the presets on, as many of each class."},

    {.key = "verify.input", .used_by = VERIFY, PATH(verify.input), .fallback = "", .aliases = "input",
     .help = "A batch of pictures as the model takes them, in NumPy's .npy. ONNX Runtime's answer to it "
             "comes from: python3 -c \"import numpy as n, onnxruntime as o; s = "
             "o.InferenceSession('model.onnx'); i = s.get_inputs()[0].name; x = n.random.rand(2, 3, 224, "
             "224).astype('f'); n.save('x', x); n.save('y', s.run(None, {i: x})[0])\", with your own pictures in place of random numbers if you like."},
    {.key = "verify.output", .used_by = VERIFY, PATH(verify.output), .fallback = "", .aliases = "output",
     .help = "What the other program makes of verify.input, in NumPy's .npy."},
    {.key = "verify.at", .used_by = VERIFY, TEXT(verify.at), AUTO, .aliases = "at",
     .help = "Which tensor verify.output is: the name of an output, of a tensor or node inside, a stage "
             "or a cut's index; auto is the output that inspect tells of."},
    {.key = "verify.tolerance", .used_by = VERIFY, NUMBER(verify.tolerance), .fallback = "1e-8",
     RANGE(0, 1), .aliases = "tolerance",
     .help = "The largest normalised mean squared error, sum (a - b)^2 / sum b^2, that is taken for "
             "roundings."},

    {.key = "new.arch", .used_by = NEW, TEXT(new_network.arch), .fallback = "", .aliases = "arch",
     .help = "What new writes, one of" THAW_ARCHITECTURE_LIST(WORD) "."},
    {.key = "new.classes", .used_by = NEW, INTEGER(new_network.classes), .fallback = "1000",
     RANGE(1, 1000000), .aliases = "classes",
     .help = "Scores of the network that new writes."},
    {.key = "new.size", .used_by = NEW, INTEGER(new_network.size), .fallback = "224",
     RANGE(32, 4096), .aliases = "size",
     .help = "Height and width of its pictures."},
    {.key = "new.output", .used_by = NEW, PATH(new_network.output), .fallback = "", .aliases = "o",
     .help = "The file that new writes."},

    {.key = "lint.out", .used_by = LINT, PATH(lint.out), .fallback = "", .aliases = "out",
     .help = "Folder that gets lint.json and lint.html, a page with pictures; it must not lie among those "
             "that are looked at."},

    {.key = "fetch.out", .used_by = FETCH, PATH(fetch.out), .fallback = "", .aliases = "out",
     .help = "Folder that a set is fetched into; none is one of its name, here. Until it is whole, all "
             "lies in FOLDER.partial, from where the same command goes on."},
    {.key = "fetch.table", .used_by = FETCH, PATH(fetch.table), AUTO, .aliases = "table",
     .help = "File with the addresses, sizes and checksums of sets, as datasets/sets.json has them; auto is "
             "that one."},

    {.key = "export.onnx", .used_by = EXPORT, PATH(export_to.onnx), .fallback = "", .aliases = "onnx",
     .help = "The file that export writes: the network as ONNX Runtime loads it."},
    {.key = "export.preprocess", .used_by = TRAIN | EXPORT, SWITCH(export_to.preprocess),
     .fallback = "false",
     .help = "Puts the preprocessing into the ONNX file that export writes: it takes decoded pixels, u8 "
             "[N, H, W, C] in the order R, G, B, of the network's size, and answers as predict does. A "
             "training writes such a file beside model.onnx, pixels.onnx."},
    {.key = "export.safetensors", .used_by = EXPORT, PATH(export_to.safetensors), .fallback = "",
     .aliases = "safetensors",
     .help = "The file that export writes: the tensors above the cut and the head's, for PyTorch."},

    {.key = "export.tar", .used_by = EXPORT, PATH(export_to.tar), .fallback = "", .aliases = "tar",
     .help = "The .tar.gz that export writes: model.onnx, bundle.json and golden/, which is what an "
             "endpoint needs. The same run makes the same bytes."},

    {.key = "bench.cuts", .used_by = FREEZE, TEXT(bench.cuts), .fallback = "stages", .aliases = "cuts",
     .help = "What bench freeze compares, beside the head alone: stages is a cut a stage, where its tensor "
             "is smallest, and everything; all is every named cut; or a list of cuts with commas."},
    {.key = "bench.seeds", .used_by = FREEZE, INTEGER(bench.seeds), .fallback = "3", RANGE(1, 100),
     .aliases = "seeds",
     .help = "Trainings a depth, from seed on."},
    {.key = "bench.folds", .used_by = FREEZE, INTEGER(bench.folds), .fallback = "0", RANGE(0, 100),
     .aliases = "folds",
     .help = "Cross-validates over so many folds of all pictures, with one seed; 0: by seeds."},
    {.key = "bench.scratch", .used_by = FREEZE, SWITCH(bench.scratch), .fallback = "false",
     .aliases = "scratch",
     .help = "Also trains the same network from random weights."},
    {.key = "bench.minutes", .used_by = FREEZE, NUMBER(bench.minutes), .fallback = "0",
     RANGE(0, 100000), .aliases = "minutes",
     .help = "What would end later is left out, which is said; 0 is no limit. The next time goes on."},
    {.key = "report.price_per_hour", .used_by = FREEZE, NUMBER(report.price_per_hour), AUTO,
     RANGE(0, 100000),
     .help = "What an hour of this machine costs, for the costs in the report; auto is the list price of "
             "report.instance."},
    {.key = "report.instance", .used_by = FREEZE, TEXT(report.instance), .fallback = "",
     .help = "The machine's name at Amazon SageMaker, such as ml.g5.xlarge."},
    {.key = "sweep.trials", .used_by = SWEEP, INTEGER(sweep.trials), AUTO, RANGE(1, 4096),
     .aliases = "trials",
     .help = "How many points sweep tries; auto is 64, or all where only lists are swept and these "
             "make fewer."},
    {.key = "sweep.halving", .used_by = SWEEP, INTEGER(sweep.halving), .fallback = "3",
     RANGE(1, 64), .aliases = "halving",
     .help = "At each rung one in so many of the heads that are trained at once goes on, the best by "
             "validation; 1 trains all to the end."},
    {.key = "sweep.rungs", .used_by = SWEEP, INTEGER(sweep.rungs), .fallback = "2", RANGE(1, 6),
     .help = "Rungs of the halving: the last is at the sweep.halving-th part of the epochs, each one "
             "before at that part of the next."},
    {.key = "sweep.out", .used_by = SWEEP, PATH(sweep.out), AUTO,
     .help = "Folder that gets the table of the trials and best.ini; auto is the name of out with "
             ".sweep behind it."},

    {.key = "predict.top", .used_by = PREDICT, INTEGER(predict.top), .fallback = "5",
     RANGE(1, 100000), .aliases = "top top_k",
     .help = "How many classes predict names for a picture; where it may have several, those above 0.5, all "
             "of them unless this is given."},
    {.key = "predict.json", .used_by = EVAL | PREDICT | LINT, SWITCH(predict.json), .fallback = "false",
     .aliases = "json",
     .help = "Let predict, eval and lint write JSON: predict one line a picture."},
    {.key = "predict.list", .used_by = PREDICT, PATH(predict.list), .fallback = "", .aliases = "list",
     .help = "A file with one path a line, of a picture or a folder; - is standard input."},
    {.key = "predict.csv", .used_by = EVAL | PREDICT, PATH(predict.csv), .fallback = "",
     .aliases = "csv",
     .help = "A file that gets a table of all pictures: path, what it shows (eval only), the answer, "
             "its score, and by how much that is above the next."},

    {.key = "serve.port", .used_by = SERVE, INTEGER(serve.port), AUTO, RANGE(0, 65535), .aliases = "port",
     .help = "Where to listen; auto is what SAGEMAKER_BIND_TO_PORT says, or 8080; 0 is any free one, "
             "which is printed."},
    {.key = "serve.address", .used_by = SERVE, TEXT(serve.address), AUTO,
     .help = "Who may connect; auto is 127.0.0.1, this machine alone, and without a RUN, in a "
             "container, 0.0.0.0, everybody."},
    {.key = "serve.models", .used_by = SERVE, PATH(serve.models), .fallback = "",
     .help = "Folder whose sub-folders are runs: each is served under its name, and /models loads and "
             "unloads others. SAGEMAKER_MULTI_MODEL=true is the same without a folder."},
    {.key = "serve.page", .used_by = SERVE, SWITCH(serve.page), .fallback = "true",
     .help = "Answers a browser with a page that takes pictures; without a RUN, in a container, only if "
             "it is asked for here."},
    {.key = "serve.wait", .used_by = SERVE, NUMBER(serve.wait_ms), .fallback = "50", RANGE(0, 10000),
     .help = "Milliseconds that the network waits at most for pictures that are on their way, to "
             "compute more at once; it never waits longer than what is there takes to compute."},
    {.key = "serve.queue", .used_by = SERVE, INTEGER(serve.queue), AUTO, RANGE(1, 1000000),
     .help = "Requests that may wait to be decoded, others are told to come again; auto is what half a "
             "second answers, at least two batches."},
    {.key = "serve.max_body", .used_by = SERVE, SIZE(serve.most_body), AUTO, RANGE(1024, 0x1p40),
     .help = "Largest request; auto is what SAGEMAKER_MAX_PAYLOAD_IN_MB says, or 100M."},

    {.key = "sagemaker.name", .used_by = REQUEST, TEXT(sagemaker.name), AUTO, .aliases = "name",
     .help = "What the job, the model or the endpoint is called; auto is thaw- and the time of now."},
    {.key = "sagemaker.role", .used_by = JOB | MODEL, TEXT(sagemaker.role), .fallback = "",
     .aliases = "role",
     .help = "ARN of the role that SageMaker takes on: arn:aws:iam::111122223333:role/NAME."},
    {.key = "sagemaker.image", .used_by = JOB | ALGORITHM | MODEL, TEXT(sagemaker.image), .fallback = "",
     .aliases = "image",
     .help = "Thaw's image in a registry: 111122223333.dkr.ecr.us-east-1.amazonaws.com/thaw:cuda."},
    {.key = "sagemaker.train", .used_by = JOB, TEXT(sagemaker.train), .fallback = "",
     .aliases = "train",
     .help = "The training pictures: s3://BUCKET/FOLDER/ with a folder for each class, or a .rec file, "
             "or a manifest."},
    {.key = "sagemaker.validation", .used_by = JOB, TEXT(sagemaker.validation), .fallback = "",
     .aliases = "validation",
     .help = "The same of the validation pictures; without it data.validation holds some out."},
    {.key = "sagemaker.test", .used_by = JOB, TEXT(sagemaker.test), .fallback = "", .aliases = "test",
     .help = "The same of the test pictures."},
    {.key = "sagemaker.model", .used_by = JOB & ~TRY, TEXT(sagemaker.model), .fallback = "",
     .aliases = "model",
     .help = "The network to start from: an ONNX file or an earlier job's model.tar.gz, s3://..., or the "
             "name of one in the image's /opt/thaw/models."},
    {.key = "sagemaker.train_lst", .used_by = JOB, TEXT(sagemaker.train_lst), .fallback = "",
     .aliases = "train_lst",
     .help = "A list of the training pictures, .lst or .csv, s3://..., where they have no class folders."},
    {.key = "sagemaker.validation_lst", .used_by = JOB, TEXT(sagemaker.validation_lst), .fallback = "",
     .aliases = "validation_lst",
     .help = "The same of the validation pictures."},
    {.key = "sagemaker.content_type", .used_by = JOB | TRANSFORM, TEXT(sagemaker.content_type), AUTO,
     .aliases = "content_type",
     .help = "Of the pictures; auto is application/x-image, or application/x-recordio where that is what "
             "comes."},
    {.key = "sagemaker.attributes", .used_by = JOB, TEXT(sagemaker.attributes),
     .fallback = "source-ref,class", .aliases = "attributes",
     .help = "Of an augmented manifest: the picture's attribute, then the label's."},
    {.key = "sagemaker.output_path", .used_by = JOB | TRANSFORM, TEXT(sagemaker.output_path), AUTO,
     .aliases = "output_path",
     .help = "Where results go, s3://...; auto is thaw/ in the bucket of the pictures."},
    {.key = "sagemaker.input_mode", .used_by = JOB,
     CHOICE(sagemaker.input_mode, thaw_input_mode, THAW_INPUT_MODE_LIST), .fallback = "File",
     .aliases = "input_mode",
     .help = "How pictures come: File copies all before the start, FastFile reads each when it is "
             "wanted, Pipe streams .rec files and augmented manifests."},
    {.key = "sagemaker.data_type", .used_by = JOB,
     CHOICE(sagemaker.data_type, thaw_s3_type, THAW_S3_TYPE_LIST), .fallback = "S3Prefix",
     .aliases = "data_type",
     .help = "What the addresses of pictures name."},
    {.key = "sagemaker.distribution", .used_by = JOB,
     CHOICE(sagemaker.distribution, thaw_s3_distribution, THAW_S3_DISTRIBUTION_LIST),
     .fallback = "FullyReplicated", .aliases = "distribution",
     .help = "Whether each of several machines gets all pictures, or a share of its own."},
    {.key = "sagemaker.instance", .used_by = JOB | VARIANT | TRANSFORM, TEXT(sagemaker.instance),
     .fallback = "", .aliases = "instance",
     .help = "Kind of machine, such as ml.g5.xlarge; `thaw sagemaker instances` lists them."},
    {.key = "sagemaker.count", .used_by = JOB | VARIANT | TRANSFORM, INTEGER(sagemaker.count),
     .fallback = "1", RANGE(1, 100), .aliases = "count instance_count",
     .help = "So many machines."},
    {.key = "sagemaker.volume", .used_by = JOB | VARIANT, INTEGER(sagemaker.volume), AUTO,
     RANGE(1, 16384), .aliases = "volume",
     .help = "GB of disk where the machine has none of its own; auto is 30 for a job, and for an "
             "endpoint SageMaker's choice."},
    {.key = "sagemaker.max_runtime", .used_by = JOB, INTEGER(sagemaker.max_runtime),
     .fallback = "86400", RANGE(1, 2419200), .aliases = "max_runtime",
     .help = "Seconds after which a training job is stopped; it keeps what it has."},
    {.key = "sagemaker.max_wait", .used_by = JOB, INTEGER(sagemaker.max_wait), AUTO,
     RANGE(1, 2419200), .aliases = "max_wait",
     .help = "With sagemaker.spot, seconds of waiting and running together; auto is twice "
             "sagemaker.max_runtime."},
    {.key = "sagemaker.keep_alive", .used_by = JOB, INTEGER(sagemaker.keep_alive), .fallback = "0",
     RANGE(0, 21600), .aliases = "keep_alive",
     .help = "Seconds for which the machine waits for a next job, and costs."},
    {.key = "sagemaker.retries", .used_by = JOB, INTEGER(sagemaker.retries), .fallback = "0",
     RANGE(0, 30), .aliases = "retries",
     .help = "Attempts after an internal error of SageMaker."},
    {.key = "sagemaker.spot", .used_by = JOB, SWITCH(sagemaker.spot), .fallback = "false",
     .aliases = "spot",
     .help = "Takes a machine that nobody else wants at the moment: cheaper, and may be stopped; needs "
             "sagemaker.checkpoints to go on."},
    {.key = "sagemaker.isolation", .used_by = JOB | MODEL, SWITCH(sagemaker.isolation),
     .fallback = "false", .aliases = "isolation",
     .help = "No network for the container; Thaw needs none."},
    {.key = "sagemaker.encrypt_traffic", .used_by = JOB, SWITCH(sagemaker.encrypt_traffic),
     .fallback = "false", .aliases = "encrypt_traffic",
     .help = "Encrypts what several machines say to each other."},
    {.key = "sagemaker.checkpoints", .used_by = JOB, TEXT(sagemaker.checkpoints), .fallback = "",
     .aliases = "checkpoints",
     .help = "Folder s3://.../ that keeps checkpoints and features, so that a job that was stopped goes "
             "on, and a next one begins with them."},
    {.key = "sagemaker.subnets", .used_by = JOB | MODEL, TEXT(sagemaker.subnets), .fallback = "",
     .aliases = "subnets",
     .help = "Subnets of your VPC, with commas between."},
    {.key = "sagemaker.security_groups", .used_by = JOB | MODEL, TEXT(sagemaker.security_groups),
     .fallback = "", .aliases = "security_groups",
     .help = "Its security groups, with commas between."},
    {.key = "sagemaker.volume_key", .used_by = JOB | VARIANT | TRANSFORM, TEXT(sagemaker.volume_key),
     .fallback = "", .aliases = "volume_key",
     .help = "KMS key for the machine's disk."},
    {.key = "sagemaker.output_key", .used_by = JOB | TRANSFORM, TEXT(sagemaker.output_key),
     .fallback = "", .aliases = "output_key",
     .help = "KMS key for the results."},
    {.key = "sagemaker.environment", .used_by = JOB | MODEL | TRANSFORM, TEXT(sagemaker.environment),
     .fallback = "", .aliases = "environment env",
     .help = "Variables of the container: NAME=value,NAME=value."},
    {.key = "sagemaker.tags", .used_by = REQUEST, TEXT(sagemaker.tags), .fallback = "",
     .aliases = "tags",
     .help = "Tags, as your bills know them: key=value,key=value."},
    {.key = "sagemaker.objective", .used_by = TUNING, TEXT(sagemaker.objective),
     .fallback = "validation:accuracy", .aliases = "objective",
     .help = "The metric that tuning is for; `thaw sagemaker metrics` lists them."},
    {.key = "sagemaker.strategy", .used_by = TUNING,
     CHOICE(sagemaker.strategy, thaw_tuning_strategy, THAW_TUNING_STRATEGY_LIST),
     .fallback = "Bayesian", .aliases = "strategy",
     .help = "How tuning chooses what to try next."},
    {.key = "sagemaker.early_stopping", .used_by = TUNING,
     CHOICE(sagemaker.early_stopping, thaw_early_stopping, THAW_EARLY_STOPPING_LIST),
     .fallback = "Auto",
     .help = "Whether tuning stops jobs that will not be the best; Hyperband has its own way, and none of "
             "this."},
    {.key = "sagemaker.max_jobs", .used_by = TUNING, INTEGER(sagemaker.max_jobs), .fallback = "20",
     RANGE(1, 750), .aliases = "max_jobs",
     .help = "Training jobs of a tuning job; a grid has as many as it has points."},
    {.key = "sagemaker.parallel_jobs", .used_by = TUNING, INTEGER(sagemaker.parallel_jobs),
     .fallback = "2", RANGE(1, 100), .aliases = "parallel_jobs",
     .help = "So many of them at once."},
    {.key = "sagemaker.model_data", .used_by = MODEL, TEXT(sagemaker.model_data), .fallback = "",
     .aliases = "model_data",
     .help = "What a training job has left: s3://.../model.tar.gz, or a folder with many of them."},
    {.key = "sagemaker.multi_model", .used_by = MODEL | VARIANT, SWITCH(sagemaker.multi_model),
     .fallback = "false", .aliases = "multi_model",
     .help = "The endpoint serves all models in the folder sagemaker.model_data; without GPU."},
    {.key = "sagemaker.model_name", .used_by = VARIANT | TRANSFORM, TEXT(sagemaker.model_name),
     .fallback = "", .aliases = "model_name",
     .help = "The model that `thaw sagemaker model` has made."},
    {.key = "sagemaker.endpoint_config", .used_by = ENDPOINT, TEXT(sagemaker.endpoint_config),
     .fallback = "", .aliases = "endpoint_config",
     .help = "What `thaw sagemaker endpoint-config` has made."},
    {.key = "sagemaker.cuda", .used_by = VARIANT | TRANSFORM,
     CHOICE(sagemaker.cuda, thaw_image_cuda, THAW_IMAGE_CUDA_LIST), .fallback = "12",
     .aliases = "cuda",
     .help = "The CUDA in the image, none where it has no GPU kernels: it decides which driver a machine "
             "with a GPU must have."},
    {.key = "sagemaker.input", .used_by = TRANSFORM, TEXT(sagemaker.input), .fallback = "",
     .aliases = "input",
     .help = "Folder of the pictures to classify, s3://.../."},
    {.key = "sagemaker.accept", .used_by = TRANSFORM, TEXT(sagemaker.accept),
     .fallback = "application/jsonlines;verbose", .aliases = "accept",
     .help = "The form of the answers: a line a picture, with the names of the classes; without "
             ";verbose the probabilities alone."},
    {.key = "sagemaker.max_payload", .used_by = TRANSFORM, INTEGER(sagemaker.max_payload), AUTO,
     RANGE(0, 100), .aliases = "max_payload",
     .help = "MB of the largest picture, 0 for any; auto lets the container say."},
    {.key = "sagemaker.concurrency", .used_by = TRANSFORM, INTEGER(sagemaker.concurrency), AUTO,
     RANGE(1, 100), .aliases = "concurrency",
     .help = "Pictures on their way at once; auto lets the container say."},
    {.key = "sagemaker.submit", .used_by = REQUEST & ~TRY, SWITCH(sagemaker.submit), .fallback = "false",
     .aliases = "submit",
     .help = "Sends the request with the aws program, in place of printing it."},
    {.key = "sagemaker.keep", .used_by = TRY, SWITCH(sagemaker.keep), .fallback = "false",
     .aliases = "keep",
     .help = "Lets `thaw sagemaker try` leave its folders and logs, in place of removing them."},
};
// clang-format on

_Static_assert(sizeof thaw__options_table / sizeof *thaw__options_table <= THAW_OPTIONS_MAX,
               "thaw_options has no room for all rows");
const size_t thaw__options_n = sizeof thaw__options_table / sizeof *thaw__options_table;
