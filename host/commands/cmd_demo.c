/* thaw demo: the built-in story. Draws flowers of eight species that the base CNN has never seen,
 * freezes that CNN, trains, and shows what came out. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "data_file.h"
#include "draw.h"
#include "run/train.h"
#include "utf8.h"

enum { N_TRAIN = 60, N_TEST = 30, SIZE = 160, SEED = 2026 };

/* The demo's own values for what the command line leaves open. */
static thaw_status fill_in(thaw_options *options, thaw_error *err) {
    char model[PATH_MAX + 64];
    thaw_data_file("flower_or_not.onnx", model, sizeof model);
    const char *const values[][2] = {
        {"model", model},
        {"data.train", "thaw-demo/pictures"},
        {"out", "thaw-demo/run"},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (!thaw_options_is_set(options, values[i][0]))
            THAW_TRY(thaw_options_set(options, values[i][0], values[i][1], "thaw demo", err));
    return THAW_OK;
}

static thaw_status draw_and_train(const thaw_options *options, thaw_error *err) {
    printf(
        "A small CNN tells flowers from things that are none. It has never learnt a species.\n"
        "Here are pictures of %d species that it has never seen (drawn into ",
        THAW_DRAW_DEMO);
    thaw_utf8_put(stdout, options->data.train, 0);
    printf(
        "):\n"
        "can it tell them apart, if all but its last layer stays frozen?\n\n");
    fflush(stdout);
    thaw_draw_options draw = {.root = options->data.train,
                              .set = THAW_DRAW_SET_DEMO8,
                              .n_train = N_TRAIN,
                              .n_test = N_TEST,
                              .size = SIZE,
                              .seed = SEED};
    THAW_TRY(thaw_draw_dataset(&draw, err));
    thaw_train_summary summary;
    THAW_TRY(thaw_train_run(options, "Eight species, drawn by Thaw", &summary, err));
    printf(
        "\nThe frozen CNN's features tell the eight species apart in %.1f %% of the test "
        "pictures;\nguessing would give 12.5 %%.",
        100 * summary.top1);
    if (summary.seconds_without_cache > summary.seconds_total)
        printf(" Keeping the features saved about %.0f of %.0f seconds.",
               summary.seconds_without_cache - summary.seconds_total,
               summary.seconds_without_cache);
    printf("\n");
    return THAW_OK;
}

thaw_status thaw_cmd_demo(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    (void)options; /* They are the user's; the demo fills in what is missing in its own. */
    thaw_options demo;
    thaw_status status = thaw_options_init(&demo, err);
    if (status == THAW_OK) status = thaw_cli_configure(cli, &demo, err);
    if (status == THAW_OK) status = fill_in(&demo, err);
    if (status == THAW_OK) status = draw_and_train(&demo, err);
    thaw_options_free(&demo);
    return status;
}
