/* The command line: thaw COMMAND [ARGUMENT...] [--option=value...]
 *
 * Parsing only reads; running is the caller's. The commands are a table that main owns, options are
 * the table of options.h. `--` ends the flags, a value may follow its flag after a space, a switch
 * needs none.
 */
#ifndef THAW_CLI_H
#define THAW_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "arena.h"
#include "options/options.h"
#include "status.h"

typedef struct thaw_cli thaw_cli;

/* A command whose arguments behind the first are another program's: no flag is looked at. */
enum { THAW_CLI_PASSED_ON = -2 };

/* One sub-command. */
typedef struct thaw_command {
    const char *name;
    const char *arguments;  /* As the usage shows them: "RUN PICTURE...". */
    const char *summary;    /* One sentence. */
    unsigned options;       /* THAW_FOR_...: those that it uses; its help lists them. */
    int min_args, max_args; /* Of arguments; max_args below 0 is no limit. */
    bool takes_ini;         /* An argument more than min_args is an ini file, and the first one. */
    thaw_status (*run)(const thaw_cli *cli, const thaw_options *options, thaw_error *err);
} thaw_command;

/* What the command line asks for. */
typedef enum thaw_cli_action {
    THAW_CLI_RUN,
    THAW_CLI_HELP,
    THAW_CLI_VERSION,
} thaw_cli_action;

typedef struct thaw_cli_flag {
    const char *key, *value; /* The key as thaw_options_set takes it. */
} thaw_cli_flag;

/* Strings are those of argv or of the arena given to the parser. */
struct thaw_cli {
    thaw_cli_action action;
    const thaw_command *command; /* NULL: help or version of the whole program. */
    const char *ini;             /* NULL when none was given. */
    const char *const *args;     /* Arguments after the ini file. */
    size_t n_args;
    const thaw_cli_flag *flags; /* In order; a later one wins. */
    size_t n_flags;
    struct thaw_job *job; /* NULL, or the SageMaker job that the program was started as. */
};

/* Reads argv (argv[0] is the program) with a table of commands. No command, "help" or --help
 * anywhere ask for help. THAW_ERR_USAGE for an unknown command or option, with the nearest known
 * one, an option that means nothing to the command, a flag without its value, or too few or too many
 * arguments. */
thaw_status thaw_cli_parse(thaw_cli *cli, thaw_arena *arena, const thaw_command *commands,
                           size_t n_commands, int argc, char **argv, thaw_error *err);

/* Sets in options (initialised) what the ini file says, then what the flags say. */
thaw_status thaw_cli_configure(const thaw_cli *cli, thaw_options *options, thaw_error *err);

/* Writes the help of cli->command with its options, or of the whole program. */
void thaw_cli_write_help(FILE *out, const thaw_cli *cli, const thaw_command *commands,
                         size_t n_commands);

/* What the program exits with: 0, 2 when the user asked for something wrong, 1 for the rest. */
int thaw_cli_exit_code(thaw_status status);

#endif
