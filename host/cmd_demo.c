/* thaw demo: the built-in story. Draws flowers of eight species that the base CNN has never seen,
 * freezes that CNN, trains, and shows what came out. */
#include <stdio.h>
#include <unistd.h>

#include "commands.h"
#include "draw.h"
#include "train.h"

thaw_status thaw_cmd_demo(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    (void)cli;
    enum { N_TRAIN = 60, N_TEST = 30, SIZE = 160, SEED = 2026 };
    thaw_options demo = *options;
    if (!thaw_options_is_set(options, "out")) demo.out = "thaw-demo/run";
    if (!thaw_options_is_set(options, "model")) demo.model = THAW_DATA_DIR "/flower_or_not.onnx";
    demo.data.train = "thaw-demo/pictures";
    printf(
        "A small CNN tells flowers from things that are none. It has never learnt a species.\n"
        "Here are pictures of %d species that it has never seen (%s): can it tell them apart,\n"
        "if all but its last layer stays frozen?\n\n",
        THAW_DRAW_DEMO, demo.data.train);
    fflush(stdout);
    thaw_draw_options draw = {.root = demo.data.train,
                              .set = THAW_DRAW_SET_DEMO8,
                              .n_train = N_TRAIN,
                              .n_test = N_TEST,
                              .size = SIZE,
                              .seed = SEED};
    THAW_TRY(thaw_draw_dataset(&draw, err));
    thaw_train_summary summary;
    THAW_TRY(thaw_train_run(&demo, "Eight species, drawn by Thaw", &summary, err));
    printf(
        "\nThe frozen CNN's features tell the eight species apart in %.1f %% of the test "
        "pictures;\nguessing would give 12.5 %%.",
        100 * summary.top1);
    if (summary.seconds_without_cache > summary.seconds_total)
        printf(" Keeping the features made it about %.0f times faster.",
               summary.seconds_without_cache / summary.seconds_total);
    printf("\n");
    return THAW_OK;
}
