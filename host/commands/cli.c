#include "cli.h"

#include <string.h>

#include "text.h"

static const char FLAG_SOURCE[] = "command line";

/* The lists under construction; both have room for all of argv. */
typedef struct building {
    thaw_cli *cli;
    const thaw_command *commands;
    size_t n_commands;
    const char **args;
    thaw_cli_flag *flags;
} building;

/* The command called `name`, or by this and the next word; *words: how many that are. */
static const thaw_command *find_command(const thaw_command *commands, size_t n, const char *name,
                                        const char *next, int *words) {
    size_t first = strlen(name);
    for (*words = 2; *words > 0; --*words)
        for (size_t i = 0; i < n; i++) {
            const char *c = commands[i].name;
            bool both =
                next && !strncmp(c, name, first) && c[first] == ' ' && !strcmp(c + first + 1, next);
            if (*words == 2 ? both : !strcmp(c, name)) return &commands[i];
        }
    return NULL;
}

static thaw_status fail_command(const thaw_command *commands, size_t n, const char *name,
                                thaw_error *err) {
    thaw_nearest nearest = {.word = name};
    thaw_text second = {0};
    size_t first = strlen(name);
    for (size_t i = 0; i < n; i++) {
        const char *c = commands[i].name;
        thaw_nearest_offer(&nearest, c);
        if (!strncmp(c, name, first) && c[first] == ' ')
            thaw_text_add(&second, "%s%s", second.n ? ", " : "", c + first + 1);
    }
    if (second.n)
        return thaw_fail(err, THAW_ERR_USAGE, "thaw %s needs a second word, one of: %s", name,
                         second.text);
    if (nearest.best)
        return thaw_fail(err, THAW_ERR_USAGE, "unknown command '%.120s'; did you mean '%s'?", name,
                         nearest.best);
    return thaw_fail(err, THAW_ERR_USAGE,
                     "unknown command '%.120s'; `thaw --help` lists all of them", name);
}

static thaw_status fail_no_value(const char *key, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_USAGE,
                     "%s: --%s needs a value: write --%s=VALUE; `thaw options` shows what is legal",
                     FLAG_SOURCE, key, key);
}

/* For an option of other commands. It may have been meant for one of the same name in another
 * section: --size is new.size, train has image.size. */
static thaw_status fail_use(const building *b, const char *flag, const thaw_option_facts *facts,
                            thaw_error *err) {
    const thaw_command *command = b->cli->command;
    const char *other = thaw_options_namesake(facts->key, command->options);
    thaw_text what = {0}, users = {0};
    thaw_text_add(&what, "--%.80s", flag);
    if (strcmp(flag, facts->key) != 0) thaw_text_add(&what, ", which is %s,", facts->key);
    for (size_t i = 0; i < b->n_commands; i++)
        if (b->commands[i].options & facts->used_by && b->commands[i].options != THAW_FOR_ALL)
            thaw_text_add(&users, "%s%s", users.n ? ", " : "", b->commands[i].name);
    return thaw_fail(err, THAW_ERR_USAGE, "%s: %s does nothing in thaw %s, but in %s%s%s%s",
                     FLAG_SOURCE, what.text, command->name, users.text,
                     other ? "; did you mean --" : "", other ? other : "", other ? "?" : "");
}

/* Takes the flag at argv[*i], and its value when that stands at argv[*i + 1]; steps over both. */
static thaw_status take_flag(building *b, thaw_arena *arena, int argc, char **argv, int *i,
                             thaw_error *err) {
    const char *flag = argv[(*i)++];
    size_t dashes = flag[1] == '-' ? 2 : 1; /* -o FILE: an alias of one letter. */
    if (dashes == 1 && (flag[2] || flag[1] != 'o'))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "unknown flag '%.120s': options are written as --option=value", flag);
    const char *equals = strchr(flag, '=');
    size_t n = (equals ? (size_t)(equals - flag) : strlen(flag)) - dashes;
    const char *key = thaw_arena_string(arena, flag + dashes, n);
    if (!key) return thaw_fail_memory(err, "for the command line");
    thaw_option_facts facts;
    unsigned commands = b->cli->command->options;
    THAW_TRY(thaw_options_look_up(key, commands, FLAG_SOURCE, &facts, err));
    if (!(facts.used_by & commands)) return fail_use(b, key, &facts, err);
    const char *value = equals ? equals + 1 : "true";
    if (!equals && !facts.is_switch) {
        if (*i >= argc || !strncmp(argv[*i], "--", 2)) return fail_no_value(key, err);
        value = argv[(*i)++];
    }
    b->flags[b->cli->n_flags++] = (thaw_cli_flag){facts.name, value};
    return THAW_OK;
}

static bool asks_for_help(const char *arg) {
    return !strcmp(arg, "--help") || !strcmp(arg, "-h");
}

/* Sorts argv from i on into arguments and flags. */
static thaw_status take_rest(building *b, thaw_arena *arena, int argc, char **argv, int i,
                             thaw_error *err) {
    bool flags_end = false;
    while (i < argc) {
        const char *arg = argv[i];
        if (b->cli->command->max_args == THAW_CLI_PASSED_ON && b->cli->n_args > 0) {
            b->args[b->cli->n_args++] = argv[i++];
        } else if (!flags_end && asks_for_help(arg)) {
            b->cli->action = THAW_CLI_HELP;
            return THAW_OK;
        } else if (!flags_end && !strcmp(arg, "--")) {
            flags_end = true;
            i++;
        } else if (!flags_end && arg[0] == '-' && arg[1]) {
            THAW_TRY(take_flag(b, arena, argc, argv, &i, err));
        } else {
            b->args[b->cli->n_args++] = argv[i++];
        }
    }
    return THAW_OK;
}

static thaw_status check_arguments(thaw_cli *cli, thaw_error *err) {
    const thaw_command *command = cli->command;
    bool too_few = cli->n_args < (size_t)command->min_args;
    bool too_many = command->max_args >= 0 && cli->n_args > (size_t)command->max_args;
    if (too_few || too_many)
        return thaw_fail(err, THAW_ERR_USAGE, "%s: too %s arguments (%zu); usage: thaw %s%s%s",
                         command->name, too_few ? "few" : "many", cli->n_args, command->name,
                         *command->arguments ? " " : "", command->arguments);
    if (command->takes_ini && cli->n_args > (size_t)command->min_args) {
        cli->ini = *cli->args++;
        cli->n_args--;
    }
    return THAW_OK;
}

/* The first word: a command, or a question to the whole program. Steps *i over it. */
static thaw_status take_command(thaw_cli *cli, const thaw_command *commands, size_t n_commands,
                                int argc, char **argv, int *i, thaw_error *err) {
    bool help = argc < 2 || asks_for_help(argv[1]) || !strcmp(argv[1], "help");
    cli->action = help ? THAW_CLI_HELP : THAW_CLI_RUN;
    *i = help ? 2 : 1;
    if (*i >= argc) return THAW_OK;
    const char *name = argv[(*i)++];
    if (!strcmp(name, "--version")) {
        cli->action = THAW_CLI_VERSION;
        return THAW_OK;
    }
    if (name[0] == '-')
        return thaw_fail(err, THAW_ERR_USAGE,
                         "'%.120s' stands before the command: write thaw COMMAND %.120s", name,
                         name);
    int words;
    cli->command = find_command(commands, n_commands, name, *i < argc ? argv[*i] : NULL, &words);
    if (words == 2) ++*i;
    return cli->command ? THAW_OK : fail_command(commands, n_commands, name, err);
}

thaw_status thaw_cli_parse(thaw_cli *cli, thaw_arena *arena, const thaw_command *commands,
                           size_t n_commands, int argc, char **argv, thaw_error *err) {
    *cli = (thaw_cli){0};
    building b = {
        .cli = cli,
        .commands = commands,
        .n_commands = n_commands,
        .args = thaw_arena_array(arena, (size_t)argc, sizeof *b.args),
        .flags = thaw_arena_array(arena, (size_t)argc, sizeof *b.flags),
    };
    if (!b.args || !b.flags) return thaw_fail_memory(err, "for the command line");
    cli->args = b.args;
    cli->flags = b.flags;
    int i;
    THAW_TRY(take_command(cli, commands, n_commands, argc, argv, &i, err));
    if (cli->action != THAW_CLI_RUN) return THAW_OK;
    THAW_TRY(take_rest(&b, arena, argc, argv, i, err));
    return cli->action == THAW_CLI_RUN ? check_arguments(cli, err) : THAW_OK;
}

thaw_status thaw_cli_configure(const thaw_cli *cli, thaw_options *options, thaw_error *err) {
    /* `options` is for all, and trains nothing. */
    options->axes.allowed = cli->command->options & (THAW_FOR_SWEEP | THAW_FOR_TUNING) &&
                            cli->command->options != THAW_FOR_ALL;
    if (cli->ini) THAW_TRY(thaw_options_read_ini(options, cli->ini, err));
    for (size_t i = 0; i < cli->n_flags; i++)
        THAW_TRY(
            thaw_options_set(options, cli->flags[i].key, cli->flags[i].value, FLAG_SOURCE, err));
    return thaw_options_settle(options, err);
}

static void write_commands(FILE *out, const thaw_command *commands, size_t n) {
    fputs("usage: thaw COMMAND [ARGUMENT...] [--option=value...]\n\n", out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  thaw %s%s%s\n      %s\n", commands[i].name,
                *commands[i].arguments ? " " : "", commands[i].arguments, commands[i].summary);
    fputs("\n`thaw COMMAND --help` explains a command and its options.\n", out);
}

void thaw_cli_write_help(FILE *out, const thaw_cli *cli, const thaw_command *commands,
                         size_t n_commands) {
    const thaw_command *command = cli->command;
    if (!command) {
        write_commands(out, commands, n_commands);
        return;
    }
    fprintf(out,
            "usage: thaw %s%s%s [--option=value...]\n\n%s\n\nOptions, with their defaults:\n\n",
            command->name, *command->arguments ? " " : "", command->arguments, command->summary);
    thaw_options_write_help(out, command->options);
}

int thaw_cli_exit_code(thaw_status status) {
    if (status == THAW_OK) return 0;
    return status == THAW_ERR_USAGE ? 2 : 1;
}
