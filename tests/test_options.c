/* The table is sound, train.ini is its image, and every mistake gets its sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
//
#include <cmocka.h>
#include <locale.h>

#include "file.h"
#include "options/option_types.h"
#include "options/options.h"
#include "tempdir.h"

static thaw_options options;
static thaw_error err;

static int setup(void **state) {
    (void)state;
    return thaw_options_init(&options, &err);
}

static int teardown(void **state) {
    (void)state;
    thaw_options_free(&options);
    return 0;
}

static const thaw_opt_origin *origin_of(const char *key) {
    for (size_t i = 0; i < thaw_options_count(); i++)
        if (!strcmp(thaw_options_key(i), key)) return &options.origin[i];
    fail_msg("no option %s", key);
    return NULL;
}

/* The ini file that thaw_options_write_ini makes; free it. */
static char *write_ini(const thaw_options *values, thaw_status expected) {
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    assert_int_equal(thaw_options_write_ini(out, values, NULL, &err), expected);
    fclose(out);
    return text;
}

/* ---- the table ------------------------------------------------------------------------------ */

static void defaults(void **state) {
    (void)state;
    assert_string_equal(options.model, "");
    assert_string_equal(options.out, "run");
    assert_string_equal(options.freeze, "last");
    assert_true(thaw_is_auto(options.preprocess));
    assert_int_equal(options.seed, 1);
    assert_true(thaw_is_auto(options.epochs));
    assert_int_equal(options.batch, 32);
    assert_true(thaw_is_auto(options.device));
    assert_int_equal(options.precision, THAW_F32);
    assert_true(thaw_is_auto(options.threads));
    assert_int_equal(options.log, THAW_LOG_INFO);
    assert_string_equal(options.data.train, "");
    assert_null(options.data.validation.folder);
    assert_true(thaw_is_auto(options.data.validation.fraction));
    assert_true(thaw_is_auto(options.data.test) && thaw_is_auto(options.data.max_bad.number));
    assert_true(thaw_is_auto(options.image.size) && thaw_is_auto(options.image.shorter));
    assert_true(thaw_is_auto(options.image.scale));
    for (int c = 0; c < 3; c++)
        assert_true(thaw_is_auto(options.image.mean[c]) && thaw_is_auto(options.image.std[c]));
    assert_true(thaw_is_auto(options.cache.dir) && thaw_is_auto(options.cache.dtype));
    assert_true(thaw_is_auto(options.cache.memory_bytes));
    assert_false(options.predict.json);
    for (size_t i = 0; i < thaw_options_count(); i++) {
        assert_string_equal(options.origin[i].source, "default");
        assert_false(thaw_options_is_set(&options, thaw_options_key(i)));
    }
}

static size_t section_bytes(const char *key) {
    return strcspn(key, ".") < strlen(key) ? strcspn(key, ".") : 0;
}

/* Help is a sentence, names are unique, sections stand together and root options first. */
static void table_is_sound(void **state) {
    (void)state;
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const thaw__option *row = &thaw__options_table[i];
        assert_int_equal(row->help[strlen(row->help) - 1], '.');
        assert_in_range(row->used_by, 1, THAW_FOR_ALL);
        assert_ptr_equal(thaw__options_find(row->key, THAW_FOR_ALL), row);
        char aliases[256];
        snprintf(aliases, sizeof aliases, "%s", row->aliases ? row->aliases : "");
        for (char *rest = aliases, *alias; (alias = strtok_r(rest, " ", &rest));)
            assert_ptr_equal(thaw__options_find(alias, row->used_by), row);
        char expected[THAW__EXPECTED_TEXT];
        row->type->describe(row, expected);
        assert_in_range(strlen(expected), 1, THAW__EXPECTED_TEXT - 2);
        if (!i) continue;
        const char *before = thaw_options_key(i - 1);
        size_t n = section_bytes(row->key);
        bool same = n == section_bytes(before) && !strncmp(row->key, before, n);
        for (size_t j = 0; !same && j + 1 < i; j++)
            assert_false(section_bytes(thaw_options_key(j)) == n &&
                         !strncmp(thaw_options_key(j), row->key, n));
    }
}

/* ---- setting -------------------------------------------------------------------------------- */

#define SET(key, text) \
    assert_int_equal(thaw_options_set(&options, key, text, "test", &err), THAW_OK)

static void good_values(void **state) {
    (void)state;
    SET("seed", "4294967295");
    assert_int_equal(options.seed, 4294967295);
    SET("device", "cuda:3");
    assert_string_equal(options.device, "cuda:3");
    SET("device", "CPU");
    assert_string_equal(options.device, "CPU");
    SET("precision", "BF16");
    assert_int_equal(options.precision, THAW_BF16);
    SET("cache.dtype", "fp16");
    assert_int_equal(options.cache.dtype, THAW_F16);
    SET("cache.dir", "None");
    assert_string_equal(options.cache.dir, "");
    SET("cache.dir", "none/such");
    assert_string_equal(options.cache.dir, "none/such");
    SET("data.validation", "../held out");
    assert_string_equal(options.data.validation.folder, "../held out");
    SET("data.validation", "0");
    assert_null(options.data.validation.folder);
    SET("data.max_bad", "12");
    assert_false(options.data.max_bad.percent);
    SET("data.max_bad", "2.5%");
    assert_true(options.data.max_bad.percent && options.data.max_bad.number == 2.5);
    SET("image.mean", "0.485, 0.456 ,0.406");
    assert_true(options.image.mean[1] == 0.456);
    SET("image.std", "0.5");
    assert_true(options.image.std[2] == 0.5);
    SET("cache.memory", "512M");
    assert_int_equal(options.cache.memory_bytes, 512 << 20);
    SET("cache.memory", "1.5g");
    assert_int_equal(options.cache.memory_bytes, 3ll << 29);
    SET("cache.memory", "4096");
    assert_int_equal(options.cache.memory_bytes, 4096);
    SET("predict.json", "True");
    assert_true(options.predict.json);
    SET("head.lr", "1e-3");
    assert_true(options.head.lr == 1e-3);
    SET("model", "");
    assert_string_equal(options.model, "");
}

/* Any way to write it, for every option that has it; the value that it leaves is no other's. */
static void one_auto(void **state) {
    (void)state;
    static const char *const spellings[] = {"auto", "AUTO", "Auto"};
    size_t n_automatic = 0;
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const thaw__option *row = &thaw__options_table[i];
        const thaw__option_type *type = row->type;
        n_automatic += row->automatic;
        if (!row->automatic) continue;
        assert_non_null(type->automatic);
        for (size_t k = 0; k < sizeof spellings / sizeof *spellings; k++) {
            memset((char *)&options + row->offset, 0, type->bytes);
            SET(row->key, spellings[k]);
            assert_memory_equal((char *)&options + row->offset, type->automatic, type->bytes);
        }
    }
    assert_in_range(n_automatic, 20, THAW_OPTIONS_MAX);
    SET("head.lr", "AUTO");
    SET("epochs", "Auto");
    SET("head.weight_decay", "aUTO");
    SET("head.class_weights", "Auto");
    assert_true(thaw_is_auto(options.head.lr) && thaw_is_auto(options.epochs));
    assert_true(thaw_is_auto(options.head.weight_decay));
    assert_true(thaw_is_auto(options.head.class_weights));
    SET("head.weight_decay", "0");
    assert_false(thaw_is_auto(options.head.weight_decay));
    SET("head.class_weights", "none");
    assert_false(thaw_is_auto(options.head.class_weights));
}

/* The bytes of thaw_options that no row fills are padding, or the options' origins. */
static void each_field_has_a_row(void **state) {
    (void)state;
    static char filled[sizeof(thaw_options)];
    for (size_t i = 0; i < thaw_options_count(); i++) {
        const thaw__option *row = &thaw__options_table[i];
        for (size_t k = 0; k < row->type->bytes; k++)
            assert_int_equal(filled[row->offset + k]++, 0); /* No two rows share a field. */
    }
    size_t end = offsetof(thaw_options, origin), n_empty = 0;
    for (size_t k = 0; k < end; k++) {
        n_empty = filled[k] ? 0 : n_empty + 1;
        if (n_empty >= sizeof(int64_t)) fail_msg("no row fills the field at byte %zu", k);
    }
}

static void aliases(void **state) {
    (void)state;
    SET("learning_rate", "0.5");
    assert_true(options.head.lr == 0.5);
    SET("mini_batch_size", "16");
    assert_int_equal(options.head.batch, 16);
    assert_string_equal(origin_of("head.batch")->text, "16");
    SET("num_epochs", "3");
    SET("optimizer", "sgd");
    SET("weight_decay", "0");
    SET("early_stopping_patience", "0");
    SET("label_smoothing_factor", "0");
    assert_int_equal(options.epochs, 3);
    assert_int_equal(options.head.optimizer, THAW_OPTIMIZER_SGD);
}

static void home_folder(void **state) {
    (void)state;
    setenv("HOME", "/home/flora", 1);
    SET("data.train", "~/flowers");
    assert_string_equal(options.data.train, "/home/flora/flowers");
    SET("data.validation", "~/more");
    assert_string_equal(options.data.validation.folder, "/home/flora/more");
    SET("data.train", "~flora/x");
    assert_string_equal(options.data.train, "~flora/x");
}

/* key, text, sentence: what is wrong, where, and what is legal. */
static void bad_values(void **state) {
    (void)state;
    static const struct {
        const char *key, *text, *sentence;
    } cases[] = {
        {"epochs", "0", "test: epochs = '0': expected auto or an integer from 1 to 100000"},
        {"epochs", "30x", "test: epochs = '30x': expected auto or an integer from 1 to 100000"},
        {"epochs", " 30", "test: epochs = ' 30': expected auto or an integer from 1 to 100000"},
        {"epochs", "", "test: epochs = '': expected auto or an integer from 1 to 100000"},
        {"epochs", "99999999999999999999",
         "test: epochs = '99999999999999999999': expected auto or an integer from 1 to 100000"},
        {"num_epochs", "1.5", "test: epochs = '1.5': expected auto or an integer from 1 to 100000"},
        {"seed", "-1", "test: seed = '-1': expected an integer from 0 to 4294967295"},
        {"threads", "many", "test: threads = 'many': expected auto or an integer from 0 to 1024"},
        {"image.size", "0", "test: image.size = '0': expected auto or an integer from 1 to 4096"},
        {"seed", "auto", "test: seed = 'auto': expected an integer from 0 to 4294967295"},
        {"precision", "u8", "test: precision = 'u8': expected auto, fp32, fp16 or bf16"},
        {"cache.dtype", "bf16", "test: cache.dtype = 'bf16': expected auto, fp32 or fp16"},
        {"cache.dir", "", "test: cache.dir = '': expected auto, none or a path that is not empty"},
        {"head.lr", "nan", "test: head.lr = 'nan': expected auto or a number from 1e-08 to 100"},
        {"head.lr", "inf", "test: head.lr = 'inf': expected auto or a number from 1e-08 to 100"},
        {"head.lr", "0,1", "test: head.lr = '0,1': expected auto or a number from 1e-08 to 100"},
        {"head.lr", "0x1p-3",
         "test: head.lr = '0x1p-3': expected auto or a number from 1e-08 to 100"},
        {"head.lr", "1e9", "test: head.lr = '1e9': expected auto or a number from 1e-08 to 100"},
        {"image.scale", "0",
         "test: image.scale = '0': expected auto or a number from 1e-06 to 1000"},
        {"head.optimizer", "adam", "test: head.optimizer = 'adam': expected sgd or adamw"},
        {"preprocess", "",
         "test: preprocess = '': expected auto, imagenet, tf, inception, keras, caffe, unit or "
         "raw"},
        {"log", "verbose", "test: log = 'verbose': expected error, warn, info or debug"},
        {"predict.json", "maybe", "test: predict.json = 'maybe': expected true or false"},
        {"device", "cuda:",
         "test: device = 'cuda:': expected auto, cpu, cuda or cuda:N with N "
         "from 0 to 63"},
        {"device", "cuda:64",
         "test: device = 'cuda:64': expected auto, cpu, cuda or cuda:N with N "
         "from 0 to 63"},
        {"data.validation", "1.5",
         "test: data.validation = '1.5': expected auto, a folder, a list or a fraction from 0 to "
         "0.9"},
        {"data.validation", "",
         "test: data.validation = '': expected auto, a folder, a list or a fraction from 0 to 0.9"},
        {"data.max_bad", "101%",
         "test: data.max_bad = '101%': expected auto, an integer from 0 to 1000000000, or 0% to "
         "100%"},
        {"data.max_bad", "%",
         "test: data.max_bad = '%': expected auto, an integer from 0 to 1000000000, or 0% to "
         "100%"},
        {"data.max_bad", "0.5",
         "test: data.max_bad = '0.5': expected auto, an integer from 0 to 1000000000, or 0% to "
         "100%"},
        {"cache.memory", "M",
         "test: cache.memory = 'M': expected auto or bytes such as 65536, 512M or 4G, from 1 to "
         "1024T"},
        {"cache.memory", "5 GB",
         "test: cache.memory = '5 GB': expected auto or bytes such as 65536, 512M or 4G, from 1 to "
         "1024T"},
        {"cache.memory", "1e300T",
         "test: cache.memory = '1e300T': expected auto or bytes such as 65536, 512M or 4G, from 1 "
         "to 1024T"},
        {"image.mean", "1,2",
         "test: image.mean = '1,2': expected auto or 1 or 3 numbers with commas between, each from "
         "-1000 to 1000"},
        {"image.mean", "1,2,3,4",
         "test: image.mean = '1,2,3,4': expected auto or 1 or 3 numbers with commas between, each "
         "from -1000 to 1000"},
        {"image.mean", "1,,3",
         "test: image.mean = '1,,3': expected auto or 1 or 3 numbers with commas between, each "
         "from -1000 to 1000"},
        {"image.std", "1 2 3",
         "test: image.std = '1 2 3': expected auto or 1 or 3 numbers with commas between, each "
         "from 1e-06 to 1000"},
        {"image.std", "0",
         "test: image.std = '0': expected auto or 1 or 3 numbers with commas between, each from "
         "1e-06 to 1000"},
        {"out", "", "test: out = '': expected a path that is not empty"},
        {"freeze", "", "test: freeze = '': expected a text that is not empty"},
        {"epocs", "3", "test: unknown option 'epocs'; did you mean 'epochs'?"},
        {"lerning_rate", "0", "test: unknown option 'lerning_rate'; did you mean 'learning_rate'?"},
        {"num_clases", "3", "test: unknown option 'num_clases'; did you mean 'num_classes'?"},
        {"dropout", "0", "test: unknown option 'dropout'; did you mean 'head.dropout'?"},
        {"train.lr", "0", "test: unknown option 'train.lr'; did you mean 'head.lr'?"},
        {"head.learning", "0",
         "test: unknown option 'head.learning'; `thaw options` lists all of them"},
        {"", "0", "test: unknown option ''; `thaw options` lists all of them"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(thaw_options_set(&options, cases[i].key, cases[i].text, "test", &err),
                         THAW_ERR_USAGE);
        assert_string_equal(err.text, cases[i].sentence);
    }
    defaults(NULL); /* Nothing was changed. */
}

static void bad_value_changes_nothing(void **state) {
    (void)state;
    SET("epochs", "7");
    assert_int_equal(thaw_options_set(&options, "epochs", "x", "later", &err), THAW_ERR_USAGE);
    assert_int_equal(options.epochs, 7);
    assert_string_equal(origin_of("epochs")->text, "7");
    assert_string_equal(origin_of("epochs")->source, "test");
    assert_true(thaw_options_is_set(&options, "num_epochs"));
}

static void required(void **state) {
    (void)state;
    assert_int_equal(thaw_options_require(&options, "model", &err), THAW_ERR_USAGE);
    assert_string_equal(err.text, "model is not given: set it with --model=... or in train.ini");
    SET("model", "a.onnx");
    assert_int_equal(thaw_options_require(&options, "model", &err), THAW_OK);
}

static void limits(void **state) {
    (void)state;
    thaw_opt_limit percent = {1, true}, number = {3, false}, automatic = {NAN, false};
    assert_false(thaw_opt_limit_exceeded(percent, 0, 0));
    assert_false(thaw_opt_limit_exceeded(percent, 1, 100));
    assert_true(thaw_opt_limit_exceeded(percent, 1, 99));
    assert_false(thaw_opt_limit_exceeded(number, 3, 3));
    assert_true(thaw_opt_limit_exceeded(number, 4, 1000000));
    static const size_t allowed[][2] = {{0, 0},  {9, 0},   {10, 1}, {24, 2},
                                        {30, 3}, {300, 3}, {400, 4}};
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        assert_false(thaw_opt_limit_exceeded(automatic, allowed[i][1], allowed[i][0]));
        assert_true(thaw_opt_limit_exceeded(automatic, allowed[i][1] + 1, allowed[i][0]));
    }
}

static void devices(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int index;
    } good[] = {{"cpu", THAW_DEVICE_CPU}, {"CUDA", 0}, {"cuda:0", 0}, {"Cuda:63", 63}};
    static const char *const bad[] = {"",        "cud",     "cuda:", "cuda:-1",
                                      "cuda:64", "cuda: 1", "gpu",   "auto"};
    int index;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(thaw_device_parse(good[i].text, &index));
        assert_int_equal(index, good[i].index);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(thaw_device_parse(bad[i], &index));
}

/* A decimal comma in the user's locale must not change what a file means. */
static void locale_is_ignored(void **state) {
    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "fr_FR.UTF-8")) {
        print_message("skipped: no locale with a decimal comma is installed\n");
        skip();
    }
    SET("head.lr", "0.5");
    assert_true(options.head.lr == 0.5);
    setlocale(LC_ALL, "C");
}

/* ---- ini files ------------------------------------------------------------------------------ */

static void train_ini_is_generated(void **state) {
    (void)state;
    thaw_arena arena = {0};
    char *committed, *generated = write_ini(NULL, THAW_OK);
    size_t n;
    assert_int_equal(
        thaw_file_read(THAW_SOURCE_DIR "/train.ini", 1 << 20, &arena, &committed, &n, &err),
        THAW_OK);
    if (strcmp(committed, generated) != 0)
        fail_msg("train.ini is not what the table says: run `build/thaw options > train.ini`");
    thaw_arena_free(&arena);
    free(generated);
    assert_int_equal(thaw_options_read_ini(&options, THAW_SOURCE_DIR "/train.ini", &err), THAW_OK);
    for (size_t i = 0; i < thaw_options_count(); i++) {
        assert_string_equal(options.origin[i].text, thaw__options_table[i].fallback);
        assert_non_null(strstr(options.origin[i].source, "train.ini:"));
    }
}

static void ini_good(void **state) {
    (void)state;
    const char *text =
        "\xef\xbb\xbf# BOM and comment\r\n"
        "epochs = 3 ; inline comment\r\n"
        "  seed: 9\n"
        "model = a;b#c.onnx\n"
        "head.lr = 0.25\n"
        "\n"
        "[data]\n"
        "\ttrain = /pictures/\xc3\xa4 \xe6\xa1\x9c\n"
        "[head]\n"
        "weight_decay=0\n"
        "[data]\n"
        "test = t";
    assert_int_equal(thaw_options_parse_ini(&options, "my.ini", text, &err), THAW_OK);
    assert_int_equal(options.epochs, 3);
    assert_int_equal(options.seed, 9);
    assert_string_equal(options.model, "a;b#c.onnx");
    assert_true(options.head.lr == 0.25);
    assert_string_equal(options.data.train, "/pictures/\xc3\xa4 \xe6\xa1\x9c");
    assert_string_equal(options.data.test, "t");
    assert_string_equal(origin_of("data.test")->source, "my.ini:12");
    assert_string_equal(origin_of("epochs")->source, "my.ini:2");
}

static void ini_bad(void **state) {
    (void)state;
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"epochs 30\n", "a.ini:1: 'epochs 30': expected 'key = value', '[section]' or '# comment'"},
        {"\nseed = 1\n[data\ntrain = x\n",
         "a.ini:3: '[data': expected 'key = value', '[section]' or '# comment'"},
        {"oops\nepochs = 0\n",
         "a.ini:1: 'oops': expected 'key = value', '[section]' or "
         "'# comment'"},
        {"epochs = 0\noops\n",
         "a.ini:1: epochs = '0': expected auto or an integer from 1 to 100000"},
        {"epochs = 3 # three\n",
         "a.ini:1: epochs = '3 # three': a comment needs a line of its own"},
        {"[data]\ntest = pics\t# the good ones\n",
         "a.ini:2: data.test = 'pics?# the good ones': a comment needs a line of its own"},
        {"model = # later\n", "a.ini:1: model = '# later': a comment needs a line of its own"},
        {"\n\n[head]\nlr = fast\n",
         "a.ini:4: head.lr = 'fast': expected auto or a number from 1e-08 to 100"},
        {"[head]\nlearnrate = 1\n",
         "a.ini:2: unknown option 'head.learnrate'; `thaw options` lists all of them"},
        {"[hed]\nlr = 1\n", "a.ini:2: unknown option 'hed.lr'; did you mean 'head.lr'?"},
        {"[data]\nepochs = 3\n", "a.ini:2: unknown option 'data.epochs'; did you mean 'epochs'?"},
        {"epochs = 3\nseed = 1\nepochs = 3\n",
         "a.ini:3: epochs = '3': line 1 sets it already; keep one of the two"},
        {"epochs = 3\nnum_epochs = 4\n",
         "a.ini:2: epochs = '4': line 1 sets it already; keep one of the two"},
        {"model = \"a.onnx\"\n", "a.ini:1: model = \"a.onnx\": values are written without quotes"},
        {"model =\nout =\n", "a.ini:2: out = '': expected a path that is not empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(thaw_options_parse_ini(&options, "a.ini", cases[i].text, &err),
                         THAW_ERR_USAGE);
        assert_string_equal(err.text, cases[i].sentence);
    }
}

static void ini_long_line(void **state) {
    (void)state;
    char text[400] = "seed = 1\nmodel = ";
    memset(text + strlen(text), 'x', 250);
    assert_int_equal(thaw_options_parse_ini(&options, "a.ini", text, &err), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "a.ini:2: 'model = xxxx"));
    assert_non_null(strstr(err.text, "is too long: a line has at most"));
    /* The longest line that is written is one that is read. */
    char path[200] = "";
    memset(path, 'y', 175);
    SET("model", path);
    char *ini = write_ini(&options, THAW_OK);
    assert_int_equal(thaw_options_parse_ini(&options, "a.ini", ini, &err), THAW_OK);
    assert_string_equal(options.model, path);
    free(ini);
}

static void ini_files(void **state) {
    (void)state;
    char path[PATH_MAX], expected[2 * PATH_MAX];
    tempdir dir = tempdir_make();
    assert_int_equal(thaw_options_read_ini(&options, tempdir_path(&dir, "no.ini", path), &err),
                     THAW_ERR_IO);
    snprintf(expected, sizeof expected, "cannot open '%s': No such file or directory", path);
    assert_string_equal(err.text, expected);
    tempdir_path(&dir, "zero.ini", path);
    assert_int_equal(thaw_file_write(path, "seed = 1\n\0\n", 11, &err), THAW_OK);
    assert_int_equal(thaw_options_read_ini(&options, path, &err), THAW_ERR_FORMAT);
    snprintf(expected, sizeof expected, "'%s' is not a text: byte 10 is 0", path);
    assert_string_equal(err.text, expected);
    tempdir_file(&dir, "good.ini", "seed = 5\n");
    assert_int_equal(thaw_options_read_ini(&options, tempdir_path(&dir, "good.ini", path), &err),
                     THAW_OK);
    assert_int_equal(options.seed, 5);
    tempdir_remove(&dir);
}

static void written_is_read(void **state) {
    (void)state;
    SET("model", "a b;c#d.onnx");
    SET("image.mean", "1, 2 ,3");
    SET("head.lr", "1e-4");
    SET("data.max_bad", "3");
    SET("predict.json", "on");
    char *ini = write_ini(&options, THAW_OK);
    thaw_options again;
    assert_int_equal(thaw_options_init(&again, &err), THAW_OK);
    assert_int_equal(thaw_options_parse_ini(&again, "again.ini", ini, &err), THAW_OK);
    for (size_t i = 0; i < thaw_options_count(); i++)
        assert_string_equal(again.origin[i].text, options.origin[i].text);
    thaw_options_free(&again);
    free(ini);
    static const char *const unwritable[] = {"a ;b", ";a",  "\"a\"", " a", "a ",
                                             "a\nb", "a\t", "a #b",  "#a", "\x1b[2J"};
    for (size_t i = 0; i < sizeof unwritable / sizeof *unwritable; i++) {
        SET("model", unwritable[i]);
        free(write_ini(&options, THAW_ERR_UNSUPPORTED));
        assert_non_null(strstr(err.text, "cannot be written as a line of an ini file"));
    }
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        assert_int_equal(thaw_options_write_ini(full, NULL, NULL, &err), THAW_ERR_IO);
        assert_string_equal(err.text, "cannot write the options");
        fclose(full);
    }
}

/* From wherever the file is read, its paths are the same. */
static void paths_become_absolute(void **state) {
    (void)state;
    char *text = NULL, far[160];
    size_t n;
    memset(far, 'x', sizeof far - 1);
    far[sizeof far - 1] = '\0';
    SET("model", "m.onnx");
    SET("out", "/runs/1");
    SET("data.train", "../pics");
    SET("data.validation", "held out");
    SET("data.test", far);
    SET("cache.dir", "none");
    FILE *out = open_memstream(&text, &n);
    assert_int_equal(thaw_options_write_ini(out, &options, "/home/flora/work", &err), THAW_OK);
    fclose(out);
    thaw_options again;
    assert_int_equal(thaw_options_init(&again, &err), THAW_OK);
    assert_int_equal(thaw_options_parse_ini(&again, "again.ini", text, &err), THAW_OK);
    assert_string_equal(again.model, "/home/flora/work/m.onnx");
    assert_string_equal(again.out, "/runs/1");
    assert_string_equal(again.data.train, "/home/flora/work/../pics");
    assert_string_equal(again.data.validation.folder, "/home/flora/work/held out");
    assert_string_equal(again.data.test, far);
    assert_string_equal(again.cache.dir, "");
    assert_string_equal(again.new_network.output, "");
    assert_true(thaw_is_auto(again.preprocess));
    thaw_options_free(&again);
    free(text);
    SET("data.validation", "0.2");
    SET("cache.dir", "auto");
    out = open_memstream(&text, &n);
    assert_int_equal(thaw_options_write_ini(out, &options, "/home/flora", &err), THAW_OK);
    fclose(out);
    assert_non_null(strstr(text, "\nvalidation = 0.2\n"));
    assert_non_null(strstr(text, "\ndir = auto\n"));
    free(text);
}

static uint32_t next_random(uint32_t *x) {
    *x ^= *x << 13;
    *x ^= *x >> 17;
    return *x ^= *x << 5;
}

/* Cuts, swaps, repeats and replaces bytes of text at random. */
static void mutate(char *text, size_t *n, size_t size, uint32_t *random) {
    static const char special[] = "[]=:;#\"'.%,-+eE0 \t\r\n\x01\x7f\xff";
    size_t at = next_random(random) % *n, length = 1 + next_random(random) % 40;
    switch (next_random(random) % 4) {
        case 0:
            text[at] = (char)next_random(random);
            break;
        case 1:
            text[at] = special[next_random(random) % (sizeof special - 1)];
            break;
        case 2: /* Repeats a part. */
            if (at + length > *n || *n + length >= size) break;
            memmove(text + at + length, text + at, *n - at);
            *n += length;
            break;
        default: /* Removes a part. */
            if (at + length >= *n) break;
            memmove(text + at, text + at + length, *n - at - length);
            *n -= length;
    }
    text[*n] = '\0';
}

static void ini_fuzz(void **state) {
    (void)state;
    enum { ROUNDS = 3000 };
    char *ini = write_ini(NULL, THAW_OK);
    size_t size = 2 * strlen(ini);
    char *text = malloc(size + 1);
    uint32_t random = 1;
    size_t n_bad = 0;
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = strlen(ini);
        memcpy(text, ini, n + 1);
        for (uint32_t edits = 1 + next_random(&random) % 8; edits > 0; edits--)
            mutate(text, &n, size, &random);
        thaw_options fuzzed;
        assert_int_equal(thaw_options_init(&fuzzed, &err), THAW_OK);
        err.text[0] = '\0';
        thaw_status status = thaw_options_parse_ini(&fuzzed, "fuzz.ini", text, &err);
        if (status != THAW_OK) {
            n_bad++;
            assert_int_equal(status, THAW_ERR_USAGE);
            assert_memory_equal(err.text, "fuzz.ini:", 9);
        }
        thaw_options_free(&fuzzed);
    }
    assert_in_range(n_bad, ROUNDS / 10, ROUNDS);
    free(text);
    free(ini);
}

/* ---- printing ------------------------------------------------------------------------------- */

static void precedence_and_print(void **state) {
    (void)state;
    assert_int_equal(
        thaw_options_parse_ini(&options, "train.ini", "\nepochs = 5\nseed = 5\n", &err), THAW_OK);
    assert_int_equal(thaw_options_set(&options, "num_epochs", "6", "hyperparameters.json", &err),
                     THAW_OK);
    assert_int_equal(thaw_options_set(&options, "epochs", "7", "command line", &err), THAW_OK);
    assert_int_equal(options.epochs, 7);
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    thaw_options_write_effective(out, &options);
    fclose(out);
    assert_non_null(strstr(text, "epochs                 = 7                (command line)\n"));
    assert_non_null(strstr(text, "seed                   = 5                (train.ini:3)\n"));
    assert_non_null(strstr(text, "batch                  = 32               (default)\n"));
    free(text);
    SET("model", "a\x1b[2Jb.onnx");
    out = open_memstream(&text, &n);
    thaw_options_write_effective(out, &options);
    fclose(out);
    assert_non_null(strstr(text, "model                  = a?[2Jb.onnx      (test)\n"));
    free(text);
}

static void help(void **state) {
    (void)state;
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    thaw_options_write_help(out, THAW_FOR_TRAIN);
    fclose(out);
    assert_non_null(strstr(text,
                           "  --epochs=auto\n      Passes over the training pictures; auto is 30, "
                           "or what makes 300 steps if that is more.\n"
                           "      Expected: auto or an integer from 1 to 100000."
                           " Also called: num_epochs num_train_epochs.\n"));
    assert_non_null(strstr(text, "--head.lr="));
    assert_non_null(strstr(text, "--cache.dir="));
    assert_null(strstr(text, "--predict.json="));
    free(text);
    out = open_memstream(&text, &n);
    thaw_options_write_help(out, THAW_FOR_EVAL | THAW_FOR_NEW);
    fclose(out);
    assert_memory_equal(text, "  --seed=1\n", 11);
    assert_non_null(strstr(text, "bf16.\n"));
    assert_non_null(strstr(text, "--predict.json="));
    assert_null(strstr(text, "--model="));
    assert_null(strstr(text, "\n\n\n"));
    free(text);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(defaults),
        TEST(table_is_sound),
        TEST(good_values),
        TEST(one_auto),
        TEST(each_field_has_a_row),
        TEST(aliases),
        TEST(home_folder),
        TEST(bad_values),
        TEST(bad_value_changes_nothing),
        TEST(required),
        TEST(limits),
        TEST(devices),
        TEST(locale_is_ignored),
        TEST(train_ini_is_generated),
        TEST(ini_good),
        TEST(ini_bad),
        TEST(ini_long_line),
        TEST(ini_files),
        TEST(written_is_read),
        TEST(paths_become_absolute),
        TEST(ini_fuzz),
        TEST(precedence_and_print),
        TEST(help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
