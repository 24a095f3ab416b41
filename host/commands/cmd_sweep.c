/* thaw sweep [TRAIN.ini]: many trainings on the same features, chosen by validation. */
#include "commands.h"
#include "run/sweep.h"

thaw_status thaw_cmd_sweep(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    (void)cli;
    return thaw_sweep_run(options, err);
}
