/* thaw options: train.ini with every option and its default. */
#include "commands.h"

thaw_status thaw_cmd_options(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    (void)cli;
    return thaw_options_write_ini(stdout, options, NULL, err);
}
