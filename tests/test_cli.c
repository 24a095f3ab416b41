/* argv becomes a command, arguments and options, or a sentence that says what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
//
#include <cmocka.h>

#include "commands/cli.h"
#include "tempdir.h"

static const thaw_command commands[] = {
    {"inspect", "MODEL", "Show the cuts.", THAW_FOR_INSPECT, 1, 1, false, NULL},
    {"train", "[TRAIN.INI]", "Train a head.", THAW_FOR_TRAIN, 0, 1, true, NULL},
    {"predict", "RUN PICTURE...", "Name the class.", THAW_FOR_PREDICT, 2, -1, false, NULL},
    {"demo", "", "Show it.", THAW_FOR_TRAIN, 0, 0, false, NULL},
    {"new", "", "Write one.", THAW_FOR_NEW, 0, 0, false, NULL},
    {"cloud job", "", "Send it.", THAW_FOR_JOB, 0, 0, false, NULL},
    {"cloud tuning", "", "Send many.", THAW_FOR_TUNING, 0, 0, false, NULL},
    {"options", "", "List them.", THAW_FOR_ALL, 0, 0, false, NULL},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands, WORDS = 16 };

static thaw_arena arena;
static thaw_cli cli;
static thaw_error err;

/* Parses "thaw" and the words of line, which have one space between. */
static thaw_status parse(const char *line) {
    static char copy[512];
    char *argv[WORDS] = {"thaw"}, *rest = copy;
    int argc = 1;
    thaw_arena_free(&arena);
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word; (word = strtok_r(rest, " ", &rest));)
        argv[argc++] = word;
    return thaw_cli_parse(&cli, &arena, commands, N_COMMANDS, argc, argv, &err);
}

static int teardown(void **state) {
    (void)state;
    thaw_arena_free(&arena);
    return 0;
}

static void runs(void **state) {
    (void)state;
    assert_int_equal(parse("train my.ini --head.lr=0.1 --model m.onnx --tune --epochs=3"), THAW_OK);
    assert_int_equal(cli.action, THAW_CLI_RUN);
    assert_string_equal(cli.command->name, "train");
    assert_string_equal(cli.ini, "my.ini");
    assert_int_equal(cli.n_args, 0);
    assert_int_equal(cli.n_flags, 4);
    assert_string_equal(cli.flags[0].key, "head.lr");
    assert_string_equal(cli.flags[0].value, "0.1");
    assert_string_equal(cli.flags[1].value, "m.onnx");
    assert_string_equal(cli.flags[2].value, "true");
    assert_string_equal(cli.flags[3].value, "3");
    assert_int_equal(parse("train"), THAW_OK);
    assert_null(cli.ini);
    assert_int_equal(parse("predict --top 3 run1 a.jpg --json=false - -- --odd.jpg"), THAW_OK);
    assert_null(cli.ini);
    assert_int_equal(cli.n_args, 4);
    assert_string_equal(cli.args[0], "run1");
    assert_string_equal(cli.args[1], "a.jpg");
    assert_string_equal(cli.args[2], "-");
    assert_string_equal(cli.args[3], "--odd.jpg");
    assert_int_equal(parse("train --image.mean -1"), THAW_OK);
    assert_string_equal(cli.flags[0].value, "-1");
    assert_int_equal(parse("options --size=32 --head.lr=1 --top=2"), THAW_OK);
    assert_int_equal(cli.n_flags, 3);
    assert_int_equal(parse("train --model=a=b"), THAW_OK);
    assert_string_equal(cli.flags[0].value, "a=b");
}

/* The option that a flag sets, as the table calls it. */
static const char *key_of(const char *line) {
    thaw_option_facts facts;
    assert_int_equal(parse(line), THAW_OK);
    assert_int_equal(thaw_options_look_up(cli.flags[0].key, THAW_FOR_ALL, "", &facts, NULL),
                     THAW_OK);
    return facts.key;
}

/* A name means what the command knows by it; a key is known to the letter, but for dashes. */
static void names_are_the_commands(void **state) {
    (void)state;
    assert_string_equal(key_of("inspect m --train"), "inspect.train");
    assert_string_equal(key_of("cloud job --train=s3://b/"), "sagemaker.train");
    assert_string_equal(key_of("train --model=m.onnx"), "model");
    assert_string_equal(key_of("cloud job --model=m.onnx"), "sagemaker.model");
    assert_string_equal(key_of("cloud job --max-runtime=5"), "sagemaker.max_runtime");
    assert_string_equal(key_of("train --head.weight-decay=0"), "head.weight_decay");
    assert_string_equal(key_of("cloud job --lr=1"), "head.lr");
    assert_string_equal(key_of("options --train"), "inspect.train");
    assert_string_equal(key_of("options --model=m.onnx"), "model");
}

static void questions(void **state) {
    (void)state;
    static const struct {
        const char *line;
        thaw_cli_action action;
        const char *command;
    } cases[] = {
        {"", THAW_CLI_HELP, NULL},
        {"--help", THAW_CLI_HELP, NULL},
        {"-h", THAW_CLI_HELP, NULL},
        {"help", THAW_CLI_HELP, NULL},
        {"help train", THAW_CLI_HELP, "train"},
        {"train --help", THAW_CLI_HELP, "train"},
        {"predict -h", THAW_CLI_HELP, "predict"},
        {"train my.ini --epochs=3 --help --nonsense", THAW_CLI_HELP, "train"},
        {"--version", THAW_CLI_VERSION, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(parse(cases[i].line), THAW_OK);
        assert_int_equal(cli.action, cases[i].action);
        if (cases[i].command)
            assert_string_equal(cli.command->name, cases[i].command);
        else
            assert_null(cli.command);
    }
}

static void mistakes(void **state) {
    (void)state;
    static const struct {
        const char *line, *sentence;
    } cases[] = {
        {"trian", "unknown command 'trian'; did you mean 'train'?"},
        {"cloud", "thaw cloud needs a second word, one of: job, tuning"},
        {"cloud jbo", "thaw cloud needs a second word, one of: job, tuning"},
        {"cloud job --out=run",
         "command line: --out does nothing in thaw cloud job, but in train, demo"},
        {"fly", "unknown command 'fly'; `thaw --help` lists all of them"},
        {"help fly", "unknown command 'fly'; `thaw --help` lists all of them"},
        {"--epochs=3 train",
         "'--epochs=3' stands before the command: write thaw COMMAND --epochs=3"},
        {"train --epoch=3", "command line: unknown option 'epoch'; did you mean 'epochs'?"},
        {"train --head.rl 3", "command line: unknown option 'head.rl'; did you mean 'head.lr'?"},
        {"train --size=128",
         "command line: --size, which is new.size, does nothing in thaw train, but in new; did you "
         "mean --image.size?"},
        {"predict r a.jpg --preprocess=caffe",
         "command line: --preprocess does nothing in thaw predict, but in inspect, train, demo, "
         "cloud job, cloud tuning"},
        {"inspect m --freeze=last",
         "command line: --freeze does nothing in thaw inspect, but in train, demo, cloud job, "
         "cloud tuning"},
        {"new --num_epochs=3",
         "command line: --num_epochs, which is epochs, does nothing in thaw new, but in train, "
         "demo, cloud job, cloud tuning"},
        {"train -x", "unknown flag '-x': options are written as --option=value"},
        {"train --=3", "command line: unknown option ''; `thaw options` lists all of them"},
        {"train --epochs",
         "command line: --epochs needs a value: write --epochs=VALUE; `thaw "
         "options` shows what is legal"},
        {"train --epochs --seed=1",
         "command line: --epochs needs a value: write --epochs=VALUE; "
         "`thaw options` shows what is legal"},
        {"inspect", "inspect: too few arguments (0); usage: thaw inspect MODEL"},
        {"predict run1", "predict: too few arguments (1); usage: thaw predict RUN PICTURE..."},
        {"train a.ini b.ini", "train: too many arguments (2); usage: thaw train [TRAIN.INI]"},
        {"demo --tune x", "demo: too many arguments (1); usage: thaw demo"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thaw_status status = parse(cases[i].line);
        assert_int_equal(status, THAW_ERR_USAGE);
        assert_string_equal(err.text, cases[i].sentence);
        assert_int_equal(thaw_cli_exit_code(status), 2);
    }
}

static void exit_codes(void **state) {
    (void)state;
    assert_int_equal(thaw_cli_exit_code(THAW_OK), 0);
    assert_int_equal(thaw_cli_exit_code(THAW_ERR_USAGE), 2);
    assert_int_equal(thaw_cli_exit_code(THAW_ERR_IO), 1);
    assert_int_equal(thaw_cli_exit_code(THAW_ERR_INTERRUPTED), 1);
}

/* default < ini < command line, and the last flag wins. */
static void configures(void **state) {
    (void)state;
    tempdir dir = tempdir_make();
    char path[PATH_MAX], line[2 * PATH_MAX];
    tempdir_file(&dir, "t.ini", "epochs = 5\nseed = 5\n");
    snprintf(line, sizeof line, "train %s --epochs=6 --epochs=7",
             tempdir_path(&dir, "t.ini", path));
    thaw_options options;
    assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
    assert_int_equal(parse(line), THAW_OK);
    assert_int_equal(thaw_cli_configure(&cli, &options, &err), THAW_OK);
    assert_int_equal(options.epochs, 7);
    assert_int_equal(options.seed, 5);
    assert_int_equal(options.batch, 32);
    assert_int_equal(parse("train --epochs=0"), THAW_OK);
    assert_int_equal(thaw_cli_configure(&cli, &options, &err), THAW_ERR_USAGE);
    assert_string_equal(err.text,
                        "command line: epochs = '0': expected auto or an integer from 1 to 100000");
    assert_int_equal(parse("train nowhere.ini"), THAW_OK);
    assert_int_equal(thaw_cli_configure(&cli, &options, &err), THAW_ERR_IO);
    assert_string_equal(err.text, "cannot open 'nowhere.ini': No such file or directory");
    thaw_options_free(&options);
    tempdir_remove(&dir);
}

static char *help_of(const char *line) {
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    assert_int_equal(parse(line), THAW_OK);
    thaw_cli_write_help(out, &cli, commands, N_COMMANDS);
    fclose(out);
    return text;
}

static void help(void **state) {
    (void)state;
    char *text = help_of("");
    for (int i = 0; i < N_COMMANDS; i++)
        assert_non_null(strstr(text, commands[i].summary));
    free(text);
    text = help_of("train --help");
    assert_memory_equal(text, "usage: thaw train [TRAIN.INI] [--option=value...]\n", 50);
    assert_non_null(strstr(text, "--head.lr="));
    assert_null(strstr(text, "--predict.top="));
    free(text);
}

int main(void) {
#define TEST(f) cmocka_unit_test_teardown(f, teardown)
    const struct CMUnitTest tests[] = {TEST(runs),       TEST(names_are_the_commands),
                                       TEST(questions),  TEST(mistakes),
                                       TEST(exit_codes), TEST(configures),
                                       TEST(help)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
