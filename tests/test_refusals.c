/* Bad input to the built program: one sentence that says what, where and what to do, exit code 2
 * for a wrong command line or configuration and 1 for the rest, and no half-written run.
 *
 * Each row of the tables is one command line. Every refusal is the last line on stderr and the only
 * one that starts with "thaw: "; OUT and OUT.partial are not there afterwards. */
#include <sys/mount.h>

#include "program.h"

enum { CLASSES = 8, TRAIN = 3, TEST = 1, SAID = 4 };

static tempdir place;

#define TRAIN_WITH(data, model) "train --data.train=" data " --model=" model " --out=refused "
#define TRAIN_LINE TRAIN_WITH("pics", "m.onnx") "--epochs=2 --cache.dir=cache "

typedef struct refusal {
    const char *what, *line;
    int code;
    const char *said[SAID]; /* All of them are in the sentence. */
    bool keeps_table;       /* OUT.partial stays, with rejected.csv and nothing else. */
} refusal;

/* ---- what the rows need -------------------------------------------------------------------- */

static void text_file(const char *path, const char *text) {
    write_bytes(path, text, strlen(text));
}

static void half_of(const char *from, const char *to) {
    size_t n;
    uint8_t *bytes = test_read(from, &n);
    write_bytes(to, bytes, n / 2);
    free(bytes);
}

/* Two classes of drawn pictures, and what spoils them. */
static void two_classes(const char *root) {
    static const char *const names[] = {"rose", "tulip"};
    char path[PATH_MAX], from[PATH_MAX];
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < TRAIN; i++) {
            snprintf(path, sizeof path, "%s/%s", root, names[k]);
            tempdir_folder(&place, path);
            snprintf(path, sizeof path, "%s/%s/%d.jpg", root, names[k], i);
            snprintf(from, sizeof from, "pics/train/%s/%s-%04d.jpg", names[k], names[k], i);
            copy_file(from, path);
        }
}

/* The model with another operator in the place of every Relu: op_type is field 4 of a node. */
static void with_operator(const char *path, const char four_letters[5]) {
    size_t n;
    uint8_t *bytes = test_read("m.onnx", &n);
    for (size_t i = 0; i + 6 <= n; i++)
        if (!memcmp(bytes + i, "\x22\x04Relu", 6)) memcpy(bytes + i + 2, four_letters, 4);
    write_bytes(path, bytes, n);
    free(bytes);
}

static void make_fixtures(void) {
    tempdir_folder(&place, "empty");
    tempdir_folder(&place, "only_files");
    copy_file("pics/train/rose/rose-0000.jpg", "only_files/a.jpg");
    tempdir_folder(&place, "one/rose");
    copy_file("pics/train/rose/rose-0000.jpg", "one/rose/a.jpg");
    two_classes("none_in_one");
    tempdir_folder(&place, "none_in_one/weed");
    text_file("none_in_one/weed/notes.txt", "later");
    two_classes("two");
    two_classes("weeds");
    rename("weeds/tulip", "weeds/tulpi");
    two_classes("cut");
    half_of("pics/train/rose/rose-0000.jpg", "cut/rose/0.jpg");
    two_classes("ruined");
    for (int i = 0; i < TRAIN; i++) {
        char path[32];
        snprintf(path, sizeof path, "ruined/tulip/%d.jpg", i);
        text_file(path, "no picture");
    }
    two_classes("latin");
    rename("latin/rose", "latin/ros\xe9");
    text_file("file", "a file");
    text_file("not.onnx", "this is a text and not a model\n");
    text_file("empty.onnx", "");
    half_of("m.onnx", "half.onnx");
    with_operator("celu.onnx", "Celu");
    tempdir_folder(&place, "foreign");
    text_file("foreign/thesis.tex", "years of work");
    tempdir_folder(&place, "taken.partial");
    text_file("taken.partial/thesis.tex", "years of work");
    text_file("older~", "years of work");
    text_file("key.ini", "[head]\nlr = 0.1\nmomentun = 0.9\n");
    text_file("value.ini", "epochs = many\n");
    text_file("line.ini", "[data]\ntrain pics\n");
}

/* ---- the table ------------------------------------------------------------------------------ */

static const refusal refusals[] = {
    /* Words. */
    {"unknown command", "trian", 2, {"trian", "did you mean 'train'"}, false},
    {"unknown option", TRAIN_LINE "--epocs=1", 2, {"epocs", "did you mean"}, false},
    {"option without value", TRAIN_LINE "--epochs", 2, {"epochs", "needs a value"}, false},
    {"value out of range", TRAIN_LINE "--epochs=0", 2, {"epochs", "0", "1 to 100000"}, false},
    {"value that is no number", TRAIN_LINE "--head.lr=fast", 2, {"head.lr", "fast", "auto"}, false},
    {"share above its range", TRAIN_LINE "--data.validation=0.95", 2, {"0.95", "0.9"}, false},
    {"threads above their range", TRAIN_LINE "--threads=5000", 2, {"threads", "1024"}, false},
    {"no such choice", TRAIN_LINE "--precision=fp64", 2, {"precision", "fp64", "bf16"}, false},
    {"too few words", "predict", 2, {"predict", "too few", "PICTURE"}, false},
    {"no pictures to predict", "predict run", 2, {"no pictures", "--list"}, false},
    {"too many words", "train a.ini b.ini", 2, {"train", "too many"}, false},
    {"no such cache command", "cache clean", 2, {"cache clean", "gc"}, false},
    {"no cache to look at", "cache ls --cache.dir=none", 2, {"cache.dir"}, false},
    {"no model", "train --data.train=pics --out=refused", 2, {"model"}, false},
    {"no pictures", "train --model=m.onnx --out=refused", 2, {"data.train"}, false},
    /* train.ini. */
    {"missing ini", "train gone.ini", 1, {"gone.ini", "No such file"}, false},
    {"unknown key in an ini", "train key.ini", 2, {"key.ini:3", "momentun", "momentum"}, false},
    {"bad value in an ini", "train value.ini", 2, {"value.ini:1", "epochs", "many"}, false},
    {"no pair in an ini", "train line.ini", 2, {"line.ini:2", "train pics", "key = value"}, false},
    /* Pictures. */
    {"missing folder",
     TRAIN_WITH("nowhere", "m.onnx"),
     1,
     {"there is no 'nowhere'", "a list"},
     false},
    {"a file as folder",
     TRAIN_WITH("file", "m.onnx"),
     1,
     {"'file' is a file", "expected a folder"},
     false},
    {"empty folder", TRAIN_WITH("empty", "m.onnx"), 1, {"'empty' is empty", "one folder"}, false},
    {"no class folder", TRAIN_WITH("only_files", "m.onnx"), 1, {"only_files", "1 files"}, false},
    {"one class only", TRAIN_WITH("one", "m.onnx"), 1, {"only one class", "rose"}, false},
    {"no image in a class", TRAIN_WITH("none_in_one", "m.onnx"), 1, {"weed", "no image"}, false},
    {"validation with a class more",
     TRAIN_WITH("two", "m.onnx") "--data.validation=weeds",
     1,
     {"tulpi", "weeds", "did you mean 'tulip'"},
     false},
    {"validation with a class more",
     TRAIN_WITH("two", "m.onnx") "--data.validation=pics/test",
     1,
     {"bellflower", "pics/test"},
     false},
    {"missing validation",
     TRAIN_WITH("two", "m.onnx") "--data.validation=gone",
     1,
     {"there is no 'gone'", "a list"},
     false},
    {"class that is no UTF-8", TRAIN_WITH("latin", "m.onnx"), 1, {"UTF-8", "rename"}, false},
    {"truncated picture",
     TRAIN_WITH("cut", "m.onnx") "--cache.dir=cache",
     1,
     {"1 of 6 pictures", "data.max_bad", "refused.partial/rejected.csv", "cut/rose/0.jpg"},
     true},
    {"ruined class",
     TRAIN_WITH("ruined", "m.onnx") "--data.max_bad=50% --cache.dir=cache",
     1,
     {"tulip", "no readable picture", "refused.partial/rejected.csv"},
     true},
    /* Models. */
    {"missing model", TRAIN_WITH("pics", "gone.onnx"), 1, {"gone.onnx", "No such file"}, false},
    {"text as model", TRAIN_WITH("pics", "not.onnx"), 1, {"not.onnx", "ONNX"}, false},
    {"nothing as model", TRAIN_WITH("pics", "empty.onnx"), 1, {"empty.onnx"}, false},
    {"half a model", TRAIN_WITH("pics", "half.onnx"), 1, {"half.onnx"}, false},
    {"picture as model", TRAIN_WITH("pics", "only_files/a.jpg"), 1, {"a.jpg", "ONNX"}, false},
    {"folder as model", TRAIN_WITH("pics", "pics"), 1, {"'pics' holds no model.onnx"}, false},
    {"unsupported operator", TRAIN_WITH("pics", "celu.onnx"), 1, {"Celu", "celu.onnx"}, false},
    {"unsupported operator, inspected", "inspect celu.onnx", 1, {"Celu"}, false},
    {"size of a fixed model", TRAIN_LINE "--image.size=50", 2, {"image.size", "50", "96"}, false},
    {"shorter side too short", TRAIN_LINE "--image.shorter=60", 2, {"image.shorter", "96"}, false},
    /* Cuts. */
    {"no such cut", TRAIN_LINE "--freeze=lsat", 2, {"lsat", "did you mean", "last"}, false},
    {"no such index", TRAIN_LINE "--freeze=77", 2, {"77", "0 to 14", "inspect"}, false},
    {"the head alone, below it",
     TRAIN_LINE "--freeze=6 --recipe=head",
     2,
     {"recipe = head", "freeze = 6", "freeze = last"},
     false},
    {"everything of nothing",
     TRAIN_LINE "--recipe=joint",
     2,
     {"freeze = last", "nothing but the head", "leave recipe out"},
     false},
    {"an option of the top",
     TRAIN_LINE "--top.lr=0.1",
     2,
     {"top.lr", "only the head is trained"},
     false},
    {"statistics of one",
     TRAIN_LINE "--freeze=6 --top.norm=full --top.batch=1",
     2,
     {"at least two pictures"},
     false},
    /* New networks. */
    {"no such architecture",
     "new --arch=resnet51 -o x.onnx",
     2,
     {"resnet51", "did you mean resnet50", "convnext_tiny"},
     false},
    {"no file for a new network", "new --arch=resnet18", 2, {"new.output"}, false},
    {"a new network in no folder",
     "new --arch=resnet18 --classes=2 -o no/such/x.onnx",
     1,
     {"no/such"},
     false},
    {"no classes",
     "new --arch=resnet18 --classes=0 -o x.onnx",
     2,
     {"classes", "1 to 1000000"},
     false},
    /* Machines. */
    {"no CUDA", TRAIN_LINE "--device=cuda", 1, {"device = cuda", "device = cpu"}, false},
    {"learning rate that explodes",
     TRAIN_LINE "--head.lr=100 --head.momentum=0.999 --epochs=300",
     2,
     {"learning rate", "100"},
     false},
    /* Places. */
    {"cache.dir is a file",
     TRAIN_WITH("pics", "m.onnx") "--cache.dir=file",
     1,
     {"cache.dir = file (choose another", "Not a directory"},
     false},
    {"out is a file", TRAIN_LINE "--out=file", 2, {"out = file", "choose another"}, false},
    {"out is below a file", TRAIN_LINE "--out=file/run", 1, {"file", "Not a directory"}, false},
    {"out is a foreign folder",
     TRAIN_LINE "--out=foreign",
     2,
     {"foreign", "choose another"},
     false},
    {"RUN.partial is foreign", TRAIN_LINE "--out=taken", 2, {"taken.partial", "choose"}, false},
    {"RUN~ is foreign", TRAIN_LINE "--out=older", 2, {"older~", "choose another"}, false},
    /* Runs. */
    {"no run", "predict pics a.jpg", 1, {"pics is not a trained run", "--out"}, false},
    {"missing run", "eval gone pics", 1, {"gone", "not a trained run"}, false},
};

static void expect_nothing_left(const refusal *r) {
    assert_false(is_there("refused"));
    if (!r->keeps_table) {
        if (is_there("refused.partial")) fail_msg("%s: refused.partial is left", r->what);
        return;
    }
    assert_true(is_there("refused.partial/rejected.csv"));
    unlink("refused.partial/rejected.csv");
    if (rmdir("refused.partial") != 0) fail_msg("%s: more than the table is left", r->what);
}

static void check(const refusal *r, program *p) {
    program_run(p, "%s", r->line);
    const char *said = program_refusal(p, r->code);
    for (int i = 0; i < SAID && r->said[i]; i++)
        if (!strstr(said, r->said[i]))
            fail_msg("%s: expected \"%s\" in\n%s", r->what, r->said[i], said);
    if (strlen(said) > 500) fail_msg("%s: the sentence is too long\n%s", r->what, said);
    expect_nothing_left(r);
    program_free(p);
}

static void bad_input_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        program p = {0};
        check(&refusals[i], &p);
    }
    static const char *const kept[] = {"foreign/thesis.tex", "taken.partial/thesis.tex", "older~",
                                       "file"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (!is_there(kept[i])) fail_msg("%s was removed", kept[i]);
}

/* ---- permissions ---------------------------------------------------------------------------- */

static const refusal forbidden[] = {
    {"picture without permission",
     TRAIN_WITH("secret", "m.onnx") "--cache.dir=open/cache",
     1,
     {"secret/rose/1.jpg", "Permission denied", "data.max_bad"},
     true},
    {"folder without permission",
     TRAIN_WITH("closed", "m.onnx") "--cache.dir=open/cache",
     1,
     {"closed", "Permission denied"},
     false},
    {"model without permission",
     TRAIN_WITH("two", "secret.onnx") "--cache.dir=open/cache",
     1,
     {"secret.onnx", "Permission denied"},
     false},
    {"out without permission",
     TRAIN_WITH("two", "m.onnx") "--out=two/run --cache.dir=open/cache",
     1,
     {"two/run", "Permission denied"},
     false},
    {"cache without permission",
     TRAIN_WITH("two", "m.onnx") "--cache.dir=two/cache",
     1,
     {"two/cache", "Permission denied", "choose another"},
     false},
};

static void what_is_not_allowed_is_refused(void **state) {
    (void)state;
    program p = {.as_nobody = geteuid() == 0};
    program_run(&p, "--version");
    if (p.code != 0) {
        print_message("SKIPPED: permissions, since user %d cannot run the program or leave root\n",
                      PROGRAM_NOBODY);
        program_free(&p);
        skip();
    }
    program_free(&p);
    two_classes("secret");
    tempdir_check(chmod("secret/rose/1.jpg", 0) == 0, "chmod");
    tempdir_folder(&place, "closed");
    tempdir_check(chmod("closed", 0) == 0, "chmod");
    copy_file("m.onnx", "secret.onnx");
    tempdir_check(chmod("secret.onnx", 0) == 0, "chmod");
    tempdir_folder(&place, "open");
    tempdir_check(chmod("open", 0777) == 0 && chmod(place.root, 01777) == 0, "chmod");
    if (!p.as_nobody) chmod("two", 0555);
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        check(&forbidden[i], &p);
    if (!p.as_nobody) chmod("two", 0755);
}

/* ---- full disks ----------------------------------------------------------------------------- */

static void a_full_disk_leaves_no_half_run(void **state) {
    (void)state;
    program p = {.most_bytes = 100000}; /* The model has more. */
    program_run(&p, TRAIN_LINE);
    const char *said = program_refusal(&p, 1);
    program_expect_text(&p, said, "refused.partial/model.onnx");
    program_expect_text(&p, said, "File too large");
    assert_false(is_there("refused") || is_there("refused.partial"));
    program_free(&p);
    /* The cache on such a disk costs the next run its hits, and this one nothing. */
    p = (program){.most_bytes = 1500000};
    program_expect_ok(&p, TRAIN_LINE);
    program_free(&p);
    remove_tree("refused");

    tempdir_folder(&place, "small");
    if (geteuid() != 0 || mount("tmpfs", "small", "tmpfs", 0, "size=16k") != 0) {
        print_message("SKIPPED: a small disk, since this user cannot mount one\n");
        skip();
    }
    p = (program){0};
    program_run(&p, TRAIN_LINE "--out=small/run");
    bool clean = !is_there("small/run") && !is_there("small/run.partial");
    program full = {0};
    program_run(&full, TRAIN_LINE "--cache.dir=small/cache --batch=2");
    umount2("small", MNT_DETACH);
    said = program_refusal(&p, 1);
    program_expect_text(&p, said, "small/run.partial/model.onnx");
    program_expect_text(&p, said, "No space left on device");
    program_expect_text(&p, said, "free some space");
    assert_true(clean);
    program_free(&p);
    assert_int_equal(full.code, 0);
    program_expect_text(&full, full.err, "the disk is full");
    program_free(&full);
    remove_tree("refused");
}

/* ---- what must not be refused ---------------------------------------------------------------- */

static void edges_of_the_ranges_run(void **state) {
    (void)state;
    static const char *const lines[] = {
        TRAIN_LINE "--threads=0",
        TRAIN_LINE "--threads=1 --batch=1",
        TRAIN_LINE "--device=cpu --precision=auto",
        TRAIN_LINE "--data.validation=0",
        TRAIN_LINE "--head.kind=hidden --head.hidden=1 --head.dropout=0",
        TRAIN_LINE "--head.optimizer=adamw --head.class_weights=auto --head.label_smoothing=0.9",
        TRAIN_LINE "--cache.memory=1",
        TRAIN_LINE "--cache.dtype=fp16 --image.fit=squash --image.filter=bicubic",
        TRAIN_WITH("two", "m.onnx") "--epochs=1 --cache.dir=none",
        TRAIN_WITH("cut", "m.onnx") "--epochs=1 --cache.dir=none --data.max_bad=1",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        program p = {0};
        program_expect_ok(&p, "%s", lines[i]);
        program_free(&p);
        assert_true(is_there("refused/golden/2.jpg"));
        program_expect_ok(&p, "predict refused pics/test/rose/rose-0000.jpg");
        program_free(&p);
        remove_tree("refused");
        remove_tree("refused~");
    }
    program p = {0};
    program_run(&p, TRAIN_LINE "--precision=bf16");
    if (p.code) program_expect_text(&p, program_refusal(&p, 1), "no bf16 instructions");
    program_free(&p);
    remove_tree("refused");
}

static void an_empty_folder_and_a_link_will_do(void **state) {
    (void)state;
    tempdir_folder(&place, "waiting");
    tempdir_check(symlink("waiting", "refused") == 0, "symlink");
    program p = {0};
    program_expect_ok(&p, TRAIN_LINE);
    assert_true(is_there("waiting/bundle.json"));
    program_free(&p);
    unlink("refused");
    remove_tree("waiting");
}

static void two_runs_do_not_write_into_one(void **state) {
    (void)state;
    program first = {0}, second = {0};
    program_start(&first, TRAIN_LINE "--epochs=100000");
    while (!is_there("refused.partial/epochs.jsonl"))
        usleep(1000);
    program_run(&second, TRAIN_LINE);
    program_expect_text(&second, program_refusal(&second, 1), "another program is writing");
    assert_true(is_there("refused.partial/epochs.jsonl"));
    kill(first.pid, SIGINT);
    program_wait(&first);
    program_refusal(&first, 1);
    program_free(&first);
    program_free(&second);
    assert_false(is_there("refused.partial"));
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(TRAIN, TEST);
    make_fixtures();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(what_is_not_allowed_is_refused),
        cmocka_unit_test(a_full_disk_leaves_no_half_run),
        cmocka_unit_test(edges_of_the_ranges_run),
        cmocka_unit_test(an_empty_folder_and_a_link_will_do),
        cmocka_unit_test(two_runs_do_not_write_into_one),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
