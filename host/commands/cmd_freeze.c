/* thaw bench freeze [TRAIN.ini]: how deep to freeze, answered from data. */
#include "commands.h"
#include "run/freeze.h"

thaw_status thaw_cmd_freeze(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    (void)cli;
    return thaw_freeze_run(options, err);
}
