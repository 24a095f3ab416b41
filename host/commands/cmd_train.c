/* thaw train [TRAIN.ini]: train a new head on the features of a frozen model. */
#include "commands.h"
#include "run/train.h"

thaw_status thaw_cmd_train(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    (void)cli;
    thaw_train_summary summary;
    return thaw_train_run(options, options->out, &summary, err);
}
