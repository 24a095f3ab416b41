/* The options of a run: one table, in options.c, with one row an option.
 *
 * The table drives train.ini, the command line, --help and the printed configuration. Every value
 * goes through thaw_options_set as text, defaults included, so there is one parser for each type
 * and one sentence for each mistake. Later calls win: default < train.ini < hyperparameters <
 * command line is the order in which a program calls. Paths are relative to the working folder;
 * a leading "~/" is the home folder.
 */
#ifndef THAW_OPTIONS_H
#define THAW_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "arena.h"
#include "log.h"
#include "status.h"

enum {
    THAW_AUTO = 0,         /* What a number holds that was given as "auto". */
    THAW_OPTIONS_MAX = 64, /* Room for rows in the table. */
};

typedef enum thaw_opt_preprocess {
    THAW_OPT_PREPROCESS_AUTO,
    THAW_OPT_PREPROCESS_IMAGENET,
    THAW_OPT_PREPROCESS_TF,
    THAW_OPT_PREPROCESS_CAFFE,
    THAW_OPT_PREPROCESS_UNIT,
    THAW_OPT_PREPROCESS_RAW,
} thaw_opt_preprocess;

typedef enum thaw_opt_fit {
    THAW_OPT_FIT_AUTO,
    THAW_OPT_FIT_CROP,
    THAW_OPT_FIT_SQUASH,
} thaw_opt_fit;

typedef enum thaw_opt_filter {
    THAW_OPT_FILTER_AUTO,
    THAW_OPT_FILTER_BILINEAR,
    THAW_OPT_FILTER_BICUBIC,
} thaw_opt_filter;

typedef enum thaw_opt_order {
    THAW_OPT_ORDER_AUTO,
    THAW_OPT_ORDER_RGB,
    THAW_OPT_ORDER_BGR,
} thaw_opt_order;

typedef enum thaw_opt_precision {
    THAW_OPT_PRECISION_AUTO,
    THAW_OPT_PRECISION_FP32,
    THAW_OPT_PRECISION_BF16,
    THAW_OPT_PRECISION_FP16,
} thaw_opt_precision;

typedef enum thaw_opt_cache_dtype {
    THAW_OPT_CACHE_DTYPE_AUTO,
    THAW_OPT_CACHE_DTYPE_FP32,
    THAW_OPT_CACHE_DTYPE_FP16,
} thaw_opt_cache_dtype;

typedef enum thaw_opt_head {
    THAW_OPT_HEAD_LINEAR,
    THAW_OPT_HEAD_HIDDEN,
} thaw_opt_head;

typedef enum thaw_opt_optimizer {
    THAW_OPT_OPTIMIZER_SGD,
    THAW_OPT_OPTIMIZER_ADAMW,
} thaw_opt_optimizer;

typedef enum thaw_opt_schedule {
    THAW_OPT_SCHEDULE_CONSTANT,
    THAW_OPT_SCHEDULE_STEP,
    THAW_OPT_SCHEDULE_COSINE,
} thaw_opt_schedule;

typedef enum thaw_opt_class_weights {
    THAW_OPT_CLASS_WEIGHTS_NONE,
    THAW_OPT_CLASS_WEIGHTS_AUTO,
} thaw_opt_class_weights;

typedef enum thaw_opt_device_kind {
    THAW_OPT_DEVICE_AUTO,
    THAW_OPT_DEVICE_CPU,
    THAW_OPT_DEVICE_CUDA,
} thaw_opt_device_kind;

typedef struct thaw_opt_device {
    thaw_opt_device_kind kind;
    int index; /* N of "cuda:N"; -1 when the program may choose. */
} thaw_opt_device;

/* A folder, or a share of something else. */
typedef struct thaw_opt_held_out {
    const char *folder; /* NULL: the share counts. */
    double fraction;
} thaw_opt_held_out;

/* So many, or so many of a hundred. */
typedef struct thaw_opt_limit {
    double number;
    bool percent;
} thaw_opt_limit;

/* One number for each channel, in the order that the model takes them. */
typedef struct thaw_opt_channels {
    bool automatic; /* The preset's; value is zero. */
    double value[3];
} thaw_opt_channels;

/* Where a value came from. */
typedef struct thaw_opt_origin {
    const char *text;   /* As it was written. */
    const char *source; /* "default", "train.ini:12", "command line", ... */
} thaw_opt_origin;

/* The values. Text belongs to the arena, "" is a text that was not given. The rows of the table
 * say what each means, in which unit and within which range. */
typedef struct thaw_options {
    const char *model, *out, *freeze;
    thaw_opt_preprocess preprocess;
    int64_t seed, epochs, batch;
    thaw_opt_device device;
    thaw_opt_precision precision;
    bool tune;
    int64_t threads;
    thaw_log_level log;
    struct {
        const char *train;
        thaw_opt_held_out validation;
        const char *test;
        thaw_opt_limit max_bad;
    } data;
    struct {
        int64_t size;
        thaw_opt_fit fit;
        int64_t shorter;
        thaw_opt_filter filter;
        thaw_opt_order order;
        double scale;
        thaw_opt_channels mean, std;
    } image;
    struct {
        const char *dir;
        int64_t memory_bytes, device_bytes, pinned_bytes;
        int64_t keep_bytes, keep_days;
        bool shared;
        thaw_opt_cache_dtype dtype;
    } cache;
    struct {
        thaw_opt_head kind;
        int64_t hidden;
        double dropout;
        thaw_opt_optimizer optimizer;
        double lr, momentum, weight_decay;
        int64_t batch;
        thaw_opt_schedule schedule;
        double warmup;
        double label_smoothing;
        thaw_opt_class_weights class_weights;
        int64_t patience;
        bool tf32;
    } head;
    struct {
        bool plan;
    } inspect;
    struct {
        const char *arch, *output;
        int64_t classes, size;
    } new_network;
    struct {
        int64_t top;
        bool json;
    } predict;
    thaw_opt_origin origin[THAW_OPTIONS_MAX]; /* By row. */
    thaw_arena arena;
} thaw_options;

/* Fills options with the defaults. Free with thaw_options_free, also after a failure. */
thaw_status thaw_options_init(thaw_options *options, thaw_error *err);

void thaw_options_free(thaw_options *options);

/* Gives the option called key (a key of the table or an alias) the value that text says. source is
 * quoted in errors and in the printed configuration; key, text and source are copied. On
 * THAW_ERR_USAGE the sentence quotes all three, with the legal values or the nearest key, and
 * options is as before. */
thaw_status thaw_options_set(thaw_options *options, const char *key, const char *text,
                             const char *source, thaw_error *err);

/* Takes over every "key = value" of an ini file, [section] and key joined by a point. A line that
 * is none, an unknown key, a bad value or a key that stands there twice is THAW_ERR_USAGE with file
 * and line; options may then hold a part of the file. THAW_ERR_IO when it cannot be read. */
thaw_status thaw_options_read_ini(thaw_options *options, const char *path, thaw_error *err);

/* The same from text, where name stands for the file in errors. */
thaw_status thaw_options_parse_ini(thaw_options *options, const char *name, const char *text,
                                   thaw_error *err);

/* Writes an ini file with every option, its help and its value; options NULL: with the defaults.
 * Reading it gives the same values. THAW_ERR_UNSUPPORTED for a text that no ini line can hold (one
 * with a line break, " ;" or more than about 180 bytes), THAW_ERR_IO when out fails. */
thaw_status thaw_options_write_ini(FILE *out, const thaw_options *options, thaw_error *err);

/* Writes the options of the groups, for --help. groups are the first parts of keys, separated by
 * spaces; options without a point in their key are always written. */
void thaw_options_write_help(FILE *out, const char *groups);

/* Writes the configuration in force: "key = value  (source)", a line an option. */
void thaw_options_write_effective(FILE *out, const thaw_options *options);

/* Looks key (or an alias) up for a parser of flags: *is_switch is true for an option that needs no
 * value on the command line. THAW_ERR_USAGE with the nearest key when there is none. */
thaw_status thaw_options_check(const char *key, const char *source, bool *is_switch,
                               thaw_error *err);

/* THAW_ERR_USAGE unless the option was given a text that is not empty; the sentence says how. */
thaw_status thaw_options_require(const thaw_options *options, const char *key, thaw_error *err);

/* True when something else than the default was the last to set the option called key. */
bool thaw_options_is_set(const thaw_options *options, const char *key);

/* True when the option called key has the value "auto". (Where 0 is legal, too, the number that is
 * stored does not tell.) */
bool thaw_options_is_auto(const thaw_options *options, const char *key);

/* For walking over all options: how many there are, and the key of each. Its value and source are
 * options->origin[i]. */
size_t thaw_options_count(void);
const char *thaw_options_key(size_t i);

/* True when bad of total are more than the limit allows. */
bool thaw_opt_limit_exceeded(thaw_opt_limit limit, size_t bad, size_t total);

#endif
