/* The options of a run: one table, in table.c, with one row an option.
 *
 * The table drives train.ini, the command line, --help and the printed configuration. Every value
 * goes through thaw_options_set as text, defaults included, so there is one parser for each type
 * and one sentence for each mistake. Later calls win: default < train.ini < hyperparameters <
 * command line is the order in which a program calls. Paths are relative to the working folder;
 * a leading "~/" is the home folder.
 */
#ifndef THAW_OPTIONS_H
#define THAW_OPTIONS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "arena.h"
#include "axes.h"
#include "kernels.h"
#include "log.h"
#include "picture/image.h"
#include "picture/preset.h"
#include "picture/view.h"
#include "range.h"
#include "status.h"
#include "top/tune.h"

enum {
    THAW_OPTIONS_MAX = 256,  /* Room for rows in the table. */
    THAW_OPTIONS_NOTES = 32, /* For sentences on what was given, more than there are kinds of. */
};

/* What an option holds that was given as "auto", which leaves the choice to the program: a value of
 * its C type that means nothing else. NaN is a number's, NULL a text's. */
#define THAW_AUTO_INTEGER INT64_MIN
#define THAW_AUTO_CHOICE (-1)

static inline bool thaw__is_auto_integer(int64_t value) {
    return value == THAW_AUTO_INTEGER;
}
static inline bool thaw__is_auto_number(double value) {
    return isnan(value);
}
static inline bool thaw__is_auto_text(const char *value) {
    return value == NULL;
}
static inline bool thaw__is_auto_choice(int value) {
    return value == THAW_AUTO_CHOICE;
}

/* True when the value of an option is "auto". To the compiler an enum is an unsigned int. */
#define thaw_is_auto(value) \
    _Generic((value),                    \
        int64_t: thaw__is_auto_integer,  \
        double: thaw__is_auto_number,    \
        const char *: thaw__is_auto_text, \
        unsigned: thaw__is_auto_choice)(value)

/* The commands that options are for, a bit each. */
enum {
    THAW_FOR_INSPECT = 1 << 0,
    THAW_FOR_TRAIN = 1 << 1,
    THAW_FOR_EVAL = 1 << 2,
    THAW_FOR_PREDICT = 1 << 3,
    THAW_FOR_CACHE = 1 << 4,
    THAW_FOR_NEW = 1 << 5,
    THAW_FOR_EXPORT = 1 << 6,
    THAW_FOR_FREEZE = 1 << 7,
    THAW_FOR_SWEEP = 1 << 8,
    THAW_FOR_SERVE = 1 << 9,
    THAW_FOR_JOB = 1 << 10, /* thaw sagemaker job, and so on. */
    THAW_FOR_TUNING = 1 << 11,
    THAW_FOR_ALGORITHM = 1 << 12,
    THAW_FOR_MODEL = 1 << 13,
    THAW_FOR_ENDPOINT_CONFIG = 1 << 14,
    THAW_FOR_ENDPOINT = 1 << 15,
    THAW_FOR_TRANSFORM = 1 << 16,
    THAW_FOR_TRY = 1 << 17,
    THAW_FOR_VERIFY = 1 << 18,
    THAW_FOR_LINT = 1 << 19,
    THAW_FOR_FETCH = 1 << 20,
    /* What a training takes, here or as a job's hyperparameter. */
    THAW_FOR_TRAINING =
        THAW_FOR_TRAIN | THAW_FOR_JOB | THAW_FOR_TUNING | THAW_FOR_ALGORITHM | THAW_FOR_TRY,
    THAW_FOR_ALL = (1 << 21) - 1,
};

/* What a request to SageMaker says, in its words. */
#define THAW_INPUT_MODE_LIST(X)        \
    X(THAW_INPUT_FILE, "File")         \
    X(THAW_INPUT_FASTFILE, "FastFile") \
    X(THAW_INPUT_PIPE, "Pipe")
typedef enum thaw_input_mode { THAW_INPUT_MODE_LIST(THAW_ENUM_VALUE) } thaw_input_mode;
#define THAW_S3_TYPE_LIST(X)            \
    X(THAW_S3_PREFIX, "S3Prefix")       \
    X(THAW_S3_MANIFEST, "ManifestFile") \
    X(THAW_S3_AUGMENTED, "AugmentedManifestFile")
typedef enum thaw_s3_type { THAW_S3_TYPE_LIST(THAW_ENUM_VALUE) } thaw_s3_type;
#define THAW_S3_DISTRIBUTION_LIST(X)         \
    X(THAW_S3_REPLICATED, "FullyReplicated") \
    X(THAW_S3_SHARDED, "ShardedByS3Key")
typedef enum thaw_s3_distribution {
    THAW_S3_DISTRIBUTION_LIST(THAW_ENUM_VALUE)
} thaw_s3_distribution;
#define THAW_TUNING_STRATEGY_LIST(X)      \
    X(THAW_TUNING_BAYESIAN, "Bayesian")   \
    X(THAW_TUNING_RANDOM, "Random")       \
    X(THAW_TUNING_HYPERBAND, "Hyperband") \
    X(THAW_TUNING_GRID, "Grid")
typedef enum thaw_tuning_strategy {
    THAW_TUNING_STRATEGY_LIST(THAW_ENUM_VALUE)
} thaw_tuning_strategy;
#define THAW_EARLY_STOPPING_LIST(X)   \
    X(THAW_EARLY_STOPPING_OFF, "Off") \
    X(THAW_EARLY_STOPPING_AUTO, "Auto")
typedef enum thaw_early_stopping { THAW_EARLY_STOPPING_LIST(THAW_ENUM_VALUE) } thaw_early_stopping;
/* The CUDA whose libraries the image holds. */
#define THAW_IMAGE_CUDA_LIST(X) \
    X(THAW_IMAGE_CPU, "none")   \
    X(THAW_IMAGE_CUDA_11, "11") \
    X(THAW_IMAGE_CUDA_12, "12") \
    X(THAW_IMAGE_CUDA_13, "13")
typedef enum thaw_image_cuda { THAW_IMAGE_CUDA_LIST(THAW_ENUM_VALUE) } thaw_image_cuda;

/* A folder, or a share of something else. */
typedef struct thaw_opt_held_out {
    const char *folder; /* NULL: the share counts. */
    double fraction;    /* Auto: neither is given. */
} thaw_opt_held_out;

/* So many, or so many of a hundred. */
typedef struct thaw_opt_limit {
    double number; /* Auto: a hundredth, or a tenth up to 3 where that is more. */
    bool percent;
} thaw_opt_limit;

/* One number for each channel, in the order that the model takes them; all of them are auto, or
 * none is. */
typedef double thaw_opt_channels[3];

/* Where a value came from. */
typedef struct thaw_opt_origin {
    const char *text;   /* As it was written. */
    const char *source; /* "default", "train.ini:12", "command line", ... */
    bool shared;        /* By a name that other programs have for all that is trained. */
} thaw_opt_origin;

/* The values. Text belongs to the arena, "" is a text that was not given. The rows of the table
 * say what each means, in which unit and within which range, and which can be auto. */
typedef struct thaw_options {
    const char *model, *out, *freeze, *output;
    thaw_recipe recipe;
    thaw_init init;
    thaw_preset preprocess;
    int64_t seed, epochs, batch;
    bool resume;
    const char *device; /* As thaw_backend_open takes it. */
    thaw_dtype precision;
    bool tune;
    int64_t threads;
    thaw_log_level log;
    bool metrics;
    struct {
        const char *train;
        thaw_opt_held_out validation;
        const char *root, *group, *test, *fold, *unknown;
        thaw_opt_limit max_bad;
        int64_t classes, pictures; /* Expected. */
    } data;
    struct {
        int64_t size;
        thaw_fit fit;
        int64_t shorter;
        double crop_pct;
        thaw_filter filter;
        thaw_order order;
        double scale;
        thaw_opt_channels mean, std;
        thaw_decode decode;
        thaw_pixel_window window; /* Auto: its kind is. */
    } image;
    struct {
        int64_t n;
        thaw_view_ranges ranges;
        const char *show;
    } views;
    struct {
        const char *dir; /* "": none. */
        int64_t memory_bytes, device_bytes, pinned_bytes;
        int64_t keep_bytes, keep_days;
        bool shared;
        thaw_dtype dtype;
    } cache;
    struct {
        thaw_head_kind kind;
        thaw_solver solver;
        thaw_loss loss;
        const char *at;
        int64_t hidden;
        double dropout;
        thaw_optimizer optimizer;
        double lr, momentum, weight_decay;
        int64_t batch;
        thaw_schedule_kind schedule;
        double warmup;
        double label_smoothing, temperature;
        thaw_class_weights class_weights;
        int64_t patience;
        bool tf32, keep_old;
        const char *old_labels;
    } head;
    struct {
        double rate;
    } reject;
    struct {
        const char *dir; /* "": none. */
        double minutes;
        bool bundle;
    } checkpoint;
    struct {
        thaw_norm norm;
        thaw_optimizer optimizer;
        int64_t epochs, batch, patience;
        double lr, momentum, weight_decay, stage_factor, warmup, clip, ema, mixup, dropout;
        thaw_schedule_kind schedule;
        thaw_sampling sampling;
        thaw_top_precision precision;
    } top;
    struct {
        bool plan, train, all;
        int64_t pictures;
    } inspect;
    struct {
        const char *input, *output, *at;
        double tolerance;
    } verify;
    struct {
        const char *arch, *output;
        int64_t classes, size;
    } new_network;
    struct {
        int64_t top;
        bool json;
        const char *list, *csv;
    } predict;
    struct {
        const char *out;
    } lint;
    struct {
        const char *out, *table;
    } fetch;
    struct {
        const char *onnx, *safetensors, *tar;
        bool preprocess;
    } export_to;
    struct {
        const char *cuts;
        int64_t seeds, folds;
        bool scratch;
        double minutes;
    } bench;
    struct {
        double price_per_hour;
        const char *instance;
    } report;
    struct {
        int64_t trials, halving, rungs;
        const char *out;
    } sweep;
    struct {
        int64_t port;
        const char *address, *models;
        bool page;
        double wait_ms;
        int64_t queue, most_body;
    } serve;
    struct {
        const char *name, *role, *image;
        const char *train, *validation, *test, *model, *train_lst, *validation_lst;
        const char *content_type, *attributes, *output_path;
        thaw_input_mode input_mode;
        thaw_s3_type data_type;
        thaw_s3_distribution distribution;
        const char *instance;
        int64_t count, volume, max_runtime, max_wait, keep_alive, retries;
        bool spot, isolation, encrypt_traffic;
        const char *checkpoints, *subnets, *security_groups, *volume_key, *output_key;
        const char *environment, *tags;
        const char *objective;
        thaw_tuning_strategy strategy;
        thaw_early_stopping early_stopping;
        int64_t max_jobs, parallel_jobs;
        const char *model_data, *model_name, *endpoint_config;
        bool multi_model;
        thaw_image_cuda cuda;
        const char *input, *accept;
        int64_t max_payload, concurrency;
        bool submit, keep;
    } sagemaker;
    thaw_opt_origin origin[THAW_OPTIONS_MAX]; /* By row. */
    const char *notes[THAW_OPTIONS_NOTES];    /* For the person: what of other programs' options was
                                            * translated or passed over, a sentence each. */
    size_t n_notes;
    thaw_axes axes; /* Where they are allowed: the options that were given several values. */
    thaw_arena arena;
} thaw_options;

/* Fills options with the defaults. Free with thaw_options_free, also after a failure. */
thaw_status thaw_options_init(thaw_options *options, thaw_error *err);

void thaw_options_free(thaw_options *options);

/* Fills options with the values of others, their sources and notes; axes are not copied. Free as above. */
thaw_status thaw_options_copy(thaw_options *options, const thaw_options *from, thaw_error *err);

/* Gives the option called key (a key of the table, an alias, or a name of other programs that foreign.c
 * translates) the value that text says. source is
 * quoted in errors and in the printed configuration; key, text and source are copied. On
 * THAW_ERR_USAGE the sentence quotes all three, with the legal values or the nearest key, and
 * options is as before. Where options->axes are allowed, several values make an axis, see axes.h, and the
 * option stays as it was. */
thaw_status thaw_options_set(thaw_options *options, const char *key, const char *text,
                             const char *source, thaw_error *err);

/* Ends the setting. What was set by an alias that other programs have for all that is trained, such as
 * learning_rate, holds for the layers above freeze as well, where there are any and their own option was
 * not given. */
thaw_status thaw_options_settle(thaw_options *options, thaw_error *err);

/* Adds to the notes. ERR_NOMEM. */
thaw_status thaw_options_note(thaw_options *options, thaw_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Sets an option of a training by whatever name a hyperparameter has: as thaw_options_set, but that a name
 * of other programs is theirs even where another command of Thaw has an alias of it. */
thaw_status thaw_options_set_foreign(thaw_options *options, const char *key, const char *text,
                                     const char *source, thaw_error *err);

/* The place of a name in the order in which values are heeded that have none: 0 for Thaw's own names,
 * which go first. */
size_t thaw_options_foreign_order(const char *name);

/* Takes over every "key = value" of an ini file, [section] and key joined by a point. A line that
 * is none, an unknown key, a bad value or a key that stands there twice is THAW_ERR_USAGE with file
 * and line, and so is a folder; options may then hold a part of the file. THAW_ERR_IO when it cannot
 * be read. */
thaw_status thaw_options_read_ini(thaw_options *options, const char *path, thaw_error *err);

/* The same from text, where name stands for the file in errors. */
thaw_status thaw_options_parse_ini(thaw_options *options, const char *name, const char *text,
                                   thaw_error *err);

/* Writes an ini file with every option, its help and its value; options NULL: with the defaults.
 * Reading it gives the same values. folder: where paths are relative to, so that the file can be read
 * from anywhere; a path that gets too long for a line stays as it was given, and NULL leaves all so.
 * THAW_ERR_UNSUPPORTED for a text that no ini line can hold (one with a control character, " ;", " #"
 * or more than about 180 bytes), THAW_ERR_IO when out fails, THAW_ERR_NOMEM. */
thaw_status thaw_options_write_ini(FILE *out, const thaw_options *options, const char *folder,
                                   thaw_error *err);

/* Writes the options that one of the commands uses, for --help. */
void thaw_options_write_help(FILE *out, unsigned commands);

/* Writes the configuration in force: "key = value  (source)", a line an option. */
void thaw_options_write_effective(FILE *out, const thaw_options *options);

/* What kind of values an option takes. */
typedef enum thaw_option_kind {
    THAW_OPTION_TEXT, /* And all that has a form of its own: paths, sizes, channels. */
    THAW_OPTION_INTEGER,
    THAW_OPTION_NUMBER,
    THAW_OPTION_CHOICE,
    THAW_OPTION_SWITCH,
} thaw_option_kind;

/* What others may know of an option. */
typedef struct thaw_option_facts {
    const char *key;  /* As the table has it. */
    const char *name; /* What thaw_options_set takes for it: as it was looked up, if that means the
                           * same to all commands. */
    unsigned used_by; /* THAW_FOR_...: the commands that it means something to. */
    thaw_option_kind kind;
    bool is_switch;           /* It needs no value on the command line. */
    bool is_swept;            /* It may have several values in a sweep. */
    const char *help;         /* One sentence. */
    const char *fallback;     /* The default, as text. */
    bool automatic;           /* "auto" is legal, too. */
    thaw_range range;         /* Of integers and numbers. */
    const char *const *names; /* Of a choice: by value, NULL at the end. */
    unsigned values;          /* Of a choice: bit v, value v is legal; 0: all are. */
} thaw_option_facts;

/* Option i, of thaw_options_count(). */
thaw_option_facts thaw_options_facts(size_t i);

/* Looks key (or an alias) up, among the options of the commands before others: an alias may mean one
 * option here and another there. THAW_ERR_USAGE with the nearest key when there is none. */
thaw_status thaw_options_look_up(const char *key, unsigned commands, const char *source,
                                 thaw_option_facts *facts, thaw_error *err);

/* The option of one of the commands whose key ends as key does; NULL: there is none. */
const char *thaw_options_namesake(const char *key, unsigned commands);

/* THAW_ERR_USAGE unless the option was given a text that is not empty; the sentence says how. */
thaw_status thaw_options_require(const thaw_options *options, const char *key, thaw_error *err);

/* True when something else than the default was the last to set the option called key. */
bool thaw_options_is_set(const thaw_options *options, const char *key);

/* True when the option called key has its default value, whoever gave it. */
bool thaw_options_has_default(const thaw_options *options, const char *key);

/* True when option i holds a path: of what is on this machine. */
bool thaw_options_is_path(const thaw_options *options, size_t i);

/* For walking over all options: how many there are, and the key of each. Its value and source are
 * options->origin[i]. */
size_t thaw_options_count(void);
const char *thaw_options_key(size_t i);

/* True when bad of total are more than the limit allows. */
bool thaw_opt_limit_exceeded(thaw_opt_limit limit, size_t bad, size_t total);

#endif
