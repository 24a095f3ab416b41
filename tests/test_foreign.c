/* What SageMaker's built-in image classification and JumpStart call their options: each is translated,
 * passed over with a sentence that says why, or refused with one, and the order in which they come does not
 * matter where they have none.
 */
#include <stdarg.h>

#include "options/foreign.h"
#include "options_testing.h"

static thaw_error err;

/* What the option called key says in the end, as text. */
static const char *text_of(const char *key) {
    for (size_t i = 0; i < thaw_options_count(); i++)
        if (!strcmp(thaw_options_key(i), key)) return options.origin[i].text;
    fail_msg("no option %s", key);
    return NULL;
}

static void set_foreign(const char *name, const char *value) {
    if (thaw_options_set_foreign(&options, name, value, "hyperparameters.json", &err) != THAW_OK)
        fail_msg("%s = %s: %s", name, value, err.text);
}

/* A value, and what comes of it: options, and a note or none. */
typedef struct row {
    const char *name, *value;
    const char *key[2], *text[2];
    const char *note; /* A part of it; NULL: there is none. */
} row;

static void values_are_translated(void **state) {
    (void)state;
    static const row rows[] = {
        {"optimizer", "sgd", {"head.optimizer"}, {"sgd"}, NULL},
        {"optimizer", "adam", {"head.optimizer"}, {"adamw"}, NULL},
        {"optimizer", "nag", {"head.optimizer"}, {"sgd"}, "is nearest, sgd, is taken"},
        {"optimizer", "rmsprop", {"head.optimizer"}, {"adamw"}, "is nearest, adamw, is taken"},
        {"image_shape", "3,224,224", {"image.size"}, {"224"}, NULL},
        {"image_shape", "[3, 224, 224]", {"image.size"}, {"224"}, NULL},
        {"precision_dtype", "float32", {"precision"}, {"fp32"}, NULL},
        {"precision_dtype",
         "float16",
         {"precision"},
         {"auto"},
         "layers that are trained compute in fp32"},
        {"use_pretrained_model", "1", {"init", "freeze"}, {"file", "last"}, NULL},
        {"use_pretrained_model", "0", {"init", "freeze"}, {"random", "none"}, "random weights"},
        {"train_only_top_layer", "True", {"freeze"}, {"last"}, NULL},
        {"train_only_on_top", "False", {"freeze"}, {"half"}, "freeze = half"},
        {"train_only_on_top_layer", "false", {"freeze"}, {"half"}, "freeze = half"},
        {"early_stopping", "True", {"head.patience"}, {"5"}, NULL},
        {"early_stopping", "False", {"head.patience"}, {"0"}, NULL},
        {"lr_scheduler_step", "10,20", {"head.schedule"}, {"step"}, "to a tenth after half"},
        {"lr_scheduler_factor", "0.1", {"head.schedule"}, {"cosine"}, NULL},
        {"lr_scheduler_factor", "0.5", {"head.schedule"}, {"cosine"}, "by a tenth"},
        {"use_weighted_loss", "1", {"head.class_weights"}, {"balanced"}, NULL},
        {"num_layers", "152", {"model"}, {""}, "the network is the one in the model file"},
        {"eps", "1e-08", {"head.lr"}, {"auto"}, NULL},
        {"eps", "0.1", {"head.lr"}, {"auto"}, "adamw"},
        {"multi_label", "0", {"head.lr"}, {"auto"}, NULL},
        {"augmentation_type", "crop", {"views"}, {"1"}, "views = N"},
        {"top_k", "3", {"predict.top"}, {"5"}, "top-1"},
        {"num_classes", "12", {"data.classes"}, {"12"}, NULL},
        {"mini_batch_size", "16", {"head.batch", "top.batch"}, {"16", "64"}, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *r = &rows[i];
        assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
        set_foreign(r->name, r->value);
        for (int k = 0; k < 2 && r->key[k]; k++)
            if (strcmp(text_of(r->key[k]), r->text[k]) != 0)
                fail_msg("%s = %s: %s is %s", r->name, r->value, r->key[k], text_of(r->key[k]));
        if (options.n_notes != (r->note != NULL) || (r->note && !strstr(options.notes[0], r->note)))
            fail_msg("%s = %s: %s", r->name, r->value,
                     options.n_notes ? options.notes[0] : "no note");
        thaw_options_free(&options);
    }
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *value, *said;
    } rows[] = {
        {"multi_label", "1", "multi_label = '1' is refused: a picture has one class"},
        {"image_shape", "1,28,28", "squares of three colours"},
        {"image_shape", "3,224,200", "squares of three colours"},
        {"image_shape", "224", "expected channels, height and width"},
        {"image_shape", "3,224,224,", "expected channels, height and width"},
        {"optimizer", "lion", "expected sgd, adamw"},
        {"precision_dtype", "int8", "expected float32 or float16"},
        {"early_stopping", "perhaps", "expected True or False"},
        {"mini_batch_sise", "8",
         "unknown option 'mini_batch_sise'; did you mean 'mini_batch_size'?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
        assert_int_equal(
            thaw_options_set_foreign(&options, rows[i].name, rows[i].value, "job.json", &err),
            THAW_ERR_USAGE);
        if (!strstr(err.text, rows[i].said) || strncmp(err.text, "job.json: ", 10) != 0)
            fail_msg("%s = %s: %s", rows[i].name, rows[i].value, err.text);
        thaw_options_free(&options);
    }
    assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
    options_put("freeze", "stage3");
    assert_int_equal(
        thaw_options_set_foreign(&options, "train_only_top_layer", "True", "job.json", &err),
        THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "contradicts freeze = stage3"));
    thaw_options_free(&options);
}

/* A patience that is given and not wanted; one that is wanted and not given, or given. */
static void early_stopping_and_patience(void **state) {
    (void)state;
    assert_true(thaw_options_foreign_order("early_stopping") >
                thaw_options_foreign_order("early_stopping_patience"));
    set_foreign("early_stopping_patience", "3");
    set_foreign("early_stopping", "True");
    assert_int_equal(options.head.patience, 3);
    set_foreign("early_stopping", "False");
    assert_int_equal(options.head.patience, 0);
}

/* A name that other programs have for all that is trained. */
static void above_a_cut_it_holds_there_as_well(void **state) {
    (void)state;
    static const char *const set[][2] = {{"learning_rate", "0.02"}, {"optimizer", "adam"},
                                         {"mini_batch_size", "8"},  {"early_stopping", "True"},
                                         {"num_epochs", "7"},       {"head.warmup", "2"}};
    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        set_foreign(set[i][0], set[i][1]);
    assert_int_equal(thaw_options_settle(&options, &err), THAW_OK);
    assert_string_equal(text_of("top.lr"), "auto"); /* Only the head is trained. */
    options_put("freeze", "stage3");
    options_put("top.batch", "32");
    assert_int_equal(thaw_options_settle(&options, &err), THAW_OK);
    assert_string_equal(text_of("top.lr"), "0.02");
    assert_string_equal(text_of("head.lr"), "0.02");
    assert_string_equal(text_of("top.optimizer"), "adamw");
    assert_string_equal(text_of("top.patience"), "5");
    assert_string_equal(text_of("top.epochs"), "7");
    assert_string_equal(text_of("top.batch"), "32"); /* Its own counts. */
    assert_string_equal(text_of("top.warmup"), "1"); /* Thaw's own name means the head's. */
}

static void each_of_their_names_is_known(void **state) {
    (void)state;
    static const char *const theirs[] = {
        "use_pretrained_model",
        "num_layers",
        "image_shape",
        "resize",
        "epochs",
        "mini_batch_size",
        "optimizer",
        "learning_rate",
        "lr_scheduler_factor",
        "lr_scheduler_step",
        "momentum",
        "weight_decay",
        "beta_1",
        "beta_2",
        "gamma",
        "eps",
        "augmentation_type",
        "early_stopping",
        "early_stopping_min_epochs",
        "early_stopping_patience",
        "early_stopping_tolerance",
        "checkpoint_frequency",
        "precision_dtype",
        "top_k",
        "multi_label",
        "use_weighted_loss",
        "kv_store",
        "num_classes",
        "num_training_samples",
        "train_only_on_top_layer",
        "train_only_on_top",
        "train_only_top_layer",
        "reinitialize_top_layer",
        "batch_size",
        "epsilon",
        "rho",
        "initial_accumulator_value",
        "dropout_rate",
        "regularizers_l2",
        "label_smoothing",
        "image_resize_interpolation",
        "augmentation",
        "random_flip",
        "random_rotation",
        "random_zoom",
        "early_stopping_min_delta",
        "eval_metric",
        "binary_mode",
    };
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++) {
        thaw_option_facts facts;
        if (thaw_options_look_up(theirs[i], THAW_FOR_TRAIN, "test", &facts, &err) != THAW_OK)
            fail_msg("%s", err.text);
        assert_true(facts.used_by & THAW_FOR_TRAIN);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_translated),
        cmocka_unit_test(what_cannot_be_is_refused),
        OPTIONS_TEST(early_stopping_and_patience),
        OPTIONS_TEST(above_a_cut_it_holds_there_as_well),
        cmocka_unit_test(each_of_their_names_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
