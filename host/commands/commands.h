/* The sub-commands. main.c holds their table; each prints its results to stdout and speaks to the
 * person through a log on stderr. */
#ifndef THAW_COMMANDS_H
#define THAW_COMMANDS_H

#include "cli.h"

#define THAW_COMMAND(name) \
    thaw_status thaw_cmd_##name(const thaw_cli *cli, const thaw_options *options, thaw_error *err)
THAW_COMMAND(inspect);
THAW_COMMAND(train);
THAW_COMMAND(eval);
THAW_COMMAND(predict);
THAW_COMMAND(cache);
THAW_COMMAND(lint);
THAW_COMMAND(data);
THAW_COMMAND(demo);
THAW_COMMAND(bench);
THAW_COMMAND(freeze);
THAW_COMMAND(options);
THAW_COMMAND(new);
THAW_COMMAND(export);
THAW_COMMAND(sweep);
THAW_COMMAND(sagemaker);
THAW_COMMAND(serve);
THAW_COMMAND(verify);
#undef THAW_COMMAND

#endif
