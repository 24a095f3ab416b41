#include "foreign.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "option_types.h"
#include "text.h"

struct thaw__foreign {
    const char *name;
    const char *same; /* Values, with spaces between, that ask for what Thaw does anyway. */
    bool refused;     /* Any other value is; otherwise it is passed over. */
    /* What any other value does, in place of that; NULL: nothing. */
    thaw_status (*set)(thaw_options *options, const thaw__foreign *row, const char *text,
                       const char *source, thaw_error *err);
    const char *says; /* The end of a sentence that begins with the option and its value. */
};

/* ---- helpers ------------------------------------------------------------------------------- */

static thaw_status note(thaw_options *options, const thaw__foreign *row, const char *text,
                        thaw_error *err) {
    return thaw_options_note(options, err, "%s = %.60s: %s", row->name, text, row->says);
}

static thaw_status fail_value(const thaw__foreign *row, const char *text, const char *source,
                              const char *expected, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_USAGE, "%s: %s = '%.120s': expected %s", source, row->name, text,
                     expected);
}

static thaw_status read_switch(const thaw__foreign *row, const char *text, const char *source,
                               bool *value, thaw_error *err) {
    if (thaw__type_switch.parse(NULL, text, NULL, value) == THAW_OK) return THAW_OK;
    return fail_value(row, text, source, "True or False", err);
}

/* As text, or by value: 1e-08 is 1e-8. */
static bool is_one_of(const char *list, const char *text) {
    char word[32];
    double value, other;
    bool number = thaw_text_number(text, &value);
    for (; list && sscanf(list, " %31s", word) == 1; list += strlen(word)) {
        list += strspn(list, " ");
        if (strcasecmp(word, text) == 0) return true;
        if (number && thaw_text_number(word, &other) && value == other) return true;
    }
    return false;
}

/* ---- translations --------------------------------------------------------------------------- */

/* Of those that Thaw does not have, the one that is nearest. */
static thaw_status set_optimizer(thaw_options *options, const thaw__foreign *row, const char *text,
                                 const char *source, thaw_error *err) {
    static const struct {
        const char *name, *ours;
        bool differs;
    } known[] = {{"sgd", "sgd", false},      {"adamw", "adamw", false},  {"adam", "adamw", false},
                 {"nag", "sgd", true},       {"nesterov", "sgd", true},  {"rmsprop", "adamw", true},
                 {"adagrad", "adamw", true}, {"adadelta", "adamw", true}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcasecmp(known[i].name, text) != 0) continue;
        THAW_TRY(thaw__options_set_shared(options, "head.optimizer", known[i].ours, source, err));
        return known[i].differs ? thaw_options_note(options, err, "%s = %s: %s, %s, is taken",
                                                    row->name, text, row->says, known[i].ours)
                                : THAW_OK;
    }
    return fail_value(row, text, source,
                      "sgd, adamw, adam, nag, nesterov, rmsprop, adagrad or adadelta", err);
}

static thaw_status set_image_shape(thaw_options *options, const thaw__foreign *row,
                                   const char *text, const char *source, thaw_error *err) {
    int channels, height, width, end = 0;
    char size[16];
    if (sscanf(text, " [%d , %d , %d ] %n", &channels, &height, &width, &end) != 3 || text[end])
        if (sscanf(text, "%d , %d , %d %n", &channels, &height, &width, &end) != 3 || text[end])
            return fail_value(row, text, source, "channels, height and width, such as 3,224,224",
                              err);
    if (channels != 3 || height != width)
        return thaw_fail(err, THAW_ERR_USAGE, "%s: %s = '%.60s': %s", source, row->name, text,
                         row->says);
    snprintf(size, sizeof size, "%d", height);
    return thaw_options_set(options, "image.size", size, source, err);
}

static thaw_status set_precision(thaw_options *options, const thaw__foreign *row, const char *text,
                                 const char *source, thaw_error *err) {
    if (strcasecmp(text, "float32") == 0)
        return thaw_options_set(options, "precision", "fp32", source, err);
    if (strcasecmp(text, "float16") != 0)
        return fail_value(row, text, source, "float32 or float16", err);
    THAW_TRY(thaw_options_set(options, "precision", "auto", source, err));
    return note(options, row, text, err);
}

static thaw_status set_class_weights(thaw_options *options, const thaw__foreign *row,
                                     const char *text, const char *source, thaw_error *err) {
    bool wanted;
    THAW_TRY(read_switch(row, text, source, &wanted, err));
    return wanted ? thaw_options_set(options, "head.class_weights", "balanced", source, err)
                  : THAW_OK;
}

static thaw_status set_steps(thaw_options *options, const thaw__foreign *row, const char *text,
                             const char *source, thaw_error *err) {
    THAW_TRY(thaw__options_set_shared(options, "head.schedule", "step", source, err));
    return note(options, row, text, err);
}

static thaw_status set_pretrained(thaw_options *options, const thaw__foreign *row, const char *text,
                                  const char *source, thaw_error *err) {
    bool wanted;
    THAW_TRY(read_switch(row, text, source, &wanted, err));
    if (wanted) return THAW_OK;
    THAW_TRY(thaw_options_set(options, "init", "random", source, err));
    if (!thaw_options_is_set(options, "freeze"))
        THAW_TRY(thaw_options_set(options, "freeze", "none", source, err));
    return note(options, row, text, err);
}

static thaw_status set_only_head(thaw_options *options, const thaw__foreign *row, const char *text,
                                 const char *source, thaw_error *err) {
    bool only;
    THAW_TRY(read_switch(row, text, source, &only, err));
    bool given = thaw_options_is_set(options, "freeze");
    bool last = strcmp(options->freeze, "last") == 0;
    if (given && last != only)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "%s: %s = %.20s contradicts freeze = %.60s: leave one out", source,
                         row->name, text, options->freeze);
    if (given) return THAW_OK;
    THAW_TRY(thaw_options_set(options, "freeze", only ? "last" : "half", source, err));
    return only ? THAW_OK : note(options, row, text, err);
}

/* Where early stopping is on, a patience is needed; where it is off, one may be given all the same. */
static thaw_status set_early_stopping(thaw_options *options, const thaw__foreign *row,
                                      const char *text, const char *source, thaw_error *err) {
    bool wanted;
    THAW_TRY(read_switch(row, text, source, &wanted, err));
    if (wanted && options->head.patience > 0) return THAW_OK;
    return thaw__options_set_shared(options, "head.patience", wanted ? "5" : "0", source, err);
}

/* ---- the table ------------------------------------------------------------------------------ */

// clang-format off
#define ADAMW "adamw works with 0.9, 0.999 and 1e-8, and sgd knows no such number"
#define VIEWS "pictures are not augmented as they are trained on, so that features can be kept; " \
    "views = N keeps N cropped, mirrored and coloured versions of each, for N times the time and the room"
#define HALF "the more frozen half of the network stays as it is, and the layers above are trained " \
    "with the head (freeze = half); freeze = CUT sets another depth, none trains all"

/* In the order in which hyperparameters are heeded, which have none of their own: early_stopping comes
 * after the patience, which is an alias. */
static const thaw__foreign table[] = {
    {"use_pretrained_model", .set = set_pretrained,
     .says = "training begins with random weights; freeze less or more by freeze = CUT"},
    {"num_layers",
     .says = "the network is the one in the model file, whatever its depth"},
    {"image_shape", .set = set_image_shape,
     .says = "pictures are squares of three colours here"},
    {"optimizer", .set = set_optimizer,
     .says = "Thaw has no such optimizer, and the one that is nearest"},
    {"beta_1", .same = "0.9", .says = ADAMW},
    {"beta_2", .same = "0.999", .says = ADAMW},
    {"eps", .same = "1e-8 1e-7", .says = ADAMW},
    {"epsilon", .same = "1e-8 1e-7", .says = ADAMW},
    {"gamma", .says = "only rmsprop has one"},
    {"rho", .says = "only rmsprop and adadelta have one"},
    {"initial_accumulator_value", .says = "only adagrad has one"},
    {"lr_scheduler_step", .set = set_steps,
     .says = "the rate falls to a tenth after half of the epochs, and to a hundredth after three "
             "quarters (schedule = step)"},
    {"lr_scheduler_factor", .same = "0.1",
     .says = "steps of the rate are by a tenth"},
    {"early_stopping", .set = set_early_stopping},
    {"early_stopping_min_epochs",
     .says = "patience counts from the best epoch, so that training has at least as many epochs as it says"},
    {"early_stopping_tolerance", .same = "0",
     .says = "any lower validation loss makes a better epoch"},
    {"early_stopping_min_delta", .same = "0",
     .says = "any lower validation loss makes a better epoch"},
    {"train_only_top_layer", .set = set_only_head, .says = HALF},
    {"train_only_on_top", .set = set_only_head, .says = HALF},
    {"train_only_on_top_layer", .set = set_only_head, .says = HALF},
    {"reinitialize_top_layer", .same = "Auto True",
     .says = "the head is always a new one, for the classes that the pictures have; what lies below it "
             "starts from the model's weights"},
    {"augmentation_type", .same = "none", .says = VIEWS},
    {"augmentation", .same = "False 0", .says = VIEWS},
    {"random_flip", .says = VIEWS},
    {"random_rotation", .says = VIEWS},
    {"random_zoom", .says = VIEWS},
    {"checkpoint_frequency",
     .says = "a training above freeze is kept every checkpoint.minutes, and the bundle has one model"},
    {"precision_dtype", .set = set_precision,
     .says = "the frozen layers compute in fp16 where that is faster and the features stay the same "
             "(precision = auto); layers that are trained compute in fp32"},
    {"top_k", .says = "each epoch tells top-1, and metrics.json also top-5"},
    {"multi_label", .same = "0 False", .refused = true,
     .says = "a picture has one class in .lst and .rec files; a .csv whose label is rose|lily, or an augmented "
             "manifest, may have several, which head.loss = sigmoid learns"},
    {"binary_mode", .same = "False 0",
     .says = "two classes are trained as any number is; metrics.json has precision and recall of each"},
    {"eval_metric", .same = "accuracy",
     .says = "the metrics are accuracy and loss; metrics.json has precision and recall of each class"},
    {"use_weighted_loss", .set = set_class_weights},
    {"kv_store",
     .says = "one host trains, on the features that all pictures have"},
};
// clang-format on
enum { N_FOREIGN = sizeof table / sizeof *table };

const thaw__foreign *thaw__foreign_find(const char *name) {
    for (size_t i = 0; i < N_FOREIGN; i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

void thaw__foreign_offer(thaw_nearest *nearest) {
    for (size_t i = 0; i < N_FOREIGN; i++)
        thaw_nearest_offer(nearest, table[i].name);
}

size_t thaw_options_foreign_order(const char *name) {
    const thaw__foreign *row = thaw__foreign_find(name);
    return row ? (size_t)(row - table) + 1 : 0;
}

thaw_status thaw_options_set_foreign(thaw_options *options, const char *key, const char *text,
                                     const char *source, thaw_error *err) {
    const thaw__foreign *row = thaw__foreign_find(key);
    return row ? thaw__foreign_set(options, row, text, source, err)
               : thaw_options_set(options, key, text, source, err);
}

thaw_status thaw__foreign_set(thaw_options *options, const thaw__foreign *row, const char *text,
                              const char *source, thaw_error *err) {
    if (is_one_of(row->same, text)) return THAW_OK;
    if (row->set) return row->set(options, row, text, source, err);
    if (!row->refused) return note(options, row, text, err);
    return thaw_fail(err, THAW_ERR_USAGE, "%s: %s = '%.60s' is refused: %s", source, row->name,
                     text, row->says);
}
