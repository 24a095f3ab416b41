/* Folders become an index: order, what is skipped, matching by name, a split that stays, and a
 * sentence for everything that cannot be used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
//
#include <cmocka.h>
#include <time.h>

#include "data/dataset.h"
#include "data/hold_out.h"
#include "data/scan.h"
#include "tempdir.h"

static tempdir dir;
static thaw_dataset dataset;
static thaw_arena arena;
static thaw_error err;
static char train[PATH_MAX], held_out[PATH_MAX], test[PATH_MAX], path[PATH_MAX];

static int setup(void **state) {
    (void)state;
    dir = tempdir_make();
    tempdir_path(&dir, "train", train);
    tempdir_path(&dir, "validation", held_out);
    tempdir_path(&dir, "test", test);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    thaw_dataset_close(&dataset);
    thaw_arena_free(&arena);
    tempdir_remove(&dir);
    return 0;
}

static void files(const char *const *names) {
    for (; *names; names++)
        tempdir_file(&dir, *names, "");
}
#define FILES(...) files((const char *const[]){__VA_ARGS__, NULL})

static thaw_status open_grouped(double fraction, const char *group) {
    thaw_dataset_close(&dataset);
    thaw_dataset_spec spec = {.folder = {train}, .validation_fraction = fraction, .group = group};
    return thaw_dataset_open(&dataset, &spec, &err);
}

static thaw_status open_train(double fraction) {
    return open_grouped(fraction, NULL);
}

/* The table. Gone at the next call. */
static const char *printed(void) {
    static char text[8192];
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_non_null(out);
    assert_int_equal(thaw_dataset_print(&dataset, out, &err), THAW_OK);
    assert_int_equal(fclose(out), 0);
    return text;
}

static double position(const char *name) {
    thaw_grouping *grouping;
    assert_int_equal(thaw_grouping_open(&grouping, "none", &err), THAW_OK);
    double at = thaw_hold_out_position(grouping, name);
    thaw_grouping_close(grouping);
    return at;
}

/* The notes are these, and no more. */
static void assert_notes(const char *const *notes);
#define ASSERT_NOTES(...) assert_notes((const char *const[]){__VA_ARGS__, NULL})

/* The sentence, in which every $ stands for the test's folder. */
static void assert_sentence(const char *text, const char *expected) {
    char full[THAW_ERROR_TEXT] = "";
    for (; *expected; expected++) {
        size_t n = strlen(full);
        if (*expected == '$')
            snprintf(full + n, sizeof full - n, "%s", dir.root);
        else
            snprintf(full + n, sizeof full - n, "%c", *expected);
    }
    assert_string_equal(text, full);
}

static void assert_notes(const char *const *notes) {
    size_t i = 0;
    for (; notes[i] && i < dataset.n_notes; i++)
        assert_sentence(dataset.notes[i], notes[i]);
    if (i < dataset.n_notes) fail_msg("also noted: %s", dataset.notes[i]);
    if (notes[i]) fail_msg("not noted: %s", notes[i]);
}

static void assert_classes(const char *const *names) {
    for (size_t i = 0; i < dataset.n_classes; i++) {
        assert_non_null(names[i]);
        assert_string_equal(dataset.class_name[i], names[i]);
    }
    assert_null(names[dataset.n_classes]);
}
#define ASSERT_CLASSES(...) assert_classes((const char *const[]){__VA_ARGS__, NULL})

/* ---- what is found -------------------------------------------------------------------------- */

static void natural_order(void **state) {
    (void)state;
    FILES("train/10/a.jpg", "train/2/img10.jpg", "train/2/img9.jpg", "train/2/deep/er/1",
          "train/1/x.weird", "train/\xe6\xa1\x9c \xc3\xa4/\xc3\xbc.png");
    assert_int_equal(open_train(0), THAW_OK);
    ASSERT_CLASSES("1", "2", "10", "\xe6\xa1\x9c \xc3\xa4");
    static const char *const names[] = {"x.weird",   "deep/er/1", "img9.jpg",
                                        "img10.jpg", "a.jpg",     "\xc3\xbc.png"};
    static const uint32_t labels[] = {0, 1, 1, 1, 2, 3};
    assert_int_equal(dataset.n, 6);
    for (size_t i = 0; i < dataset.n; i++) {
        assert_string_equal(dataset.name[i], names[i]);
        assert_int_equal(dataset.label[i], labels[i]);
        assert_int_equal(dataset.split[i], THAW_SPLIT_TRAIN);
        thaw_dataset_path(&dataset, i, path);
        assert_int_equal(access(path, R_OK), 0);
    }
    assert_int_equal(dataset.n_notes, 1);
    assert_string_equal(dataset.notes[0],
                        "classes with numbers in their names are in the order of the numbers: '2' "
                        "comes before '10'");
}

static void skipped(void **state) {
    (void)state;
    FILES("train/a/1.jpg", "train/a/.hidden.jpg", "train/a/Thumbs.db", "train/a/notes.TXT",
          "train/a/labels.csv", "train/a/__MACOSX/1.jpg", "train/b/1.jpg", "train/b/desktop.ini",
          "train/.ipynb_checkpoints/x.jpg", "train/__MACOSX/x.jpg", "train/.DS_Store",
          "train/readme.md", "train/stray.jpg");
    tempdir_path(&dir, "train/b/pipe.jpg", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(open_train(0), THAW_OK);
    ASSERT_CLASSES("a", "b");
    assert_int_equal(dataset.n, 2);
    assert_int_equal(dataset.n_notes, 2);
    assert_sentence(dataset.notes[0],
                    "files outside of the class folders, ignored, in '$/train': 2");
    assert_sentence(dataset.notes[1], "files that are no pictures, skipped, in '$/train': 3");
}

static void links(void **state) {
    (void)state;
    char target[PATH_MAX];
    FILES("elsewhere/1.jpg", "elsewhere/2.jpg", "train/a/1.jpg");
    tempdir_path(&dir, "elsewhere", target);
    assert_int_equal(symlink(target, tempdir_path(&dir, "train/b", path)), 0);
    assert_int_equal(symlink("..", tempdir_path(&dir, "train/a/up", path)), 0);
    assert_int_equal(symlink("1.jpg", tempdir_path(&dir, "train/a/same.jpg", path)), 0);
    assert_int_equal(symlink("nowhere", tempdir_path(&dir, "train/a/gone.jpg", path)), 0);
    assert_int_equal(open_train(0), THAW_OK);
    ASSERT_CLASSES("a", "b");
    assert_int_equal(dataset.n, 3 + 2);
    for (size_t i = 0; i < dataset.n; i++)
        assert_null(strstr(dataset.name[i], "up/"));
    ASSERT_NOTES("links to folders that are read elsewhere, not followed, in '$/train': 1");
}

/* Eight folders with a link to each of the others, two of which also hold a folder that is linked
 * from outside: each picture is read once, wherever the paths may lead. */
static void links_among_classes(void **state) {
    (void)state;
    enum { N = 8 };
    char name[64], target[64];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "train/c%d/%d.jpg", i, i);
        tempdir_file(&dir, name, "");
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++) {
            snprintf(name, sizeof name, "train/c%d/to%d", i, k);
            snprintf(target, sizeof target, "../c%d", k);
            assert_int_equal(symlink(target, tempdir_path(&dir, name, path)), 0);
        }
    FILES("shared/1.jpg", "shared/2.jpg");
    assert_int_equal(symlink("../../shared", tempdir_path(&dir, "train/c3/s", path)), 0);
    assert_int_equal(symlink("../../shared", tempdir_path(&dir, "train/c5/s", path)), 0);
    assert_int_equal(symlink(".", tempdir_path(&dir, "train/self", path)), 0);
    assert_int_equal(open_train(0), THAW_OK);
    assert_int_equal(dataset.n_classes, N);
    assert_int_equal(dataset.n, N + 2);
    for (size_t i = 0; i < dataset.n; i++)
        if (dataset.name[i][0] == 's') assert_int_equal(dataset.label[i], 3);
    ASSERT_NOTES("links to folders that are read elsewhere, not followed, in '$/train': 66");
    assert_int_equal(symlink("c1", tempdir_path(&dir, "train/again", path)), 0);
    assert_int_equal(open_train(0), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "'again' and 'c1' in '$/train' are one folder, and a picture cannot be "
                    "of two classes: remove the link");
}

/* More folders than the first table of those seen has places for. */
static void many_folders(void **state) {
    (void)state;
    enum { N = 300 };
    char name[64];
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "train/%c/%d/x.jpg", k ? 'b' : 'a', i);
            tempdir_file(&dir, name, "");
        }
    assert_int_equal(symlink("../a/17", tempdir_path(&dir, "train/b/link", path)), 0);
    assert_int_equal(open_train(0), THAW_OK);
    assert_int_equal(dataset.n, 2 * N);
    ASSERT_NOTES("links to folders that are read elsewhere, not followed, in '$/train': 1");
}

/* As many files in one folder as a large set has: what is kept of each is its name and some numbers. */
static void a_large_folder(void **state) {
    (void)state;
    enum { N = 60000, LINKS = 20000, MOST_BYTES = 80 };
    char name[64], to[PATH_MAX], from[PATH_MAX];
    FILES("train/b/1.jpg");
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "train/a/picture %d.jpg", i);
        if (i % LINKS == 0)
            tempdir_file(&dir, name, "");
        else
            assert_int_equal(link(from, tempdir_path(&dir, name, to)), 0);
        if (i % LINKS == 0) tempdir_path(&dir, name, from);
    }
    assert_int_equal(open_train(0.1), THAW_OK);
    assert_int_equal(dataset.n, N + 1);
    for (size_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "picture %zu.jpg", i);
        assert_string_equal(dataset.name[i], name);
    }
    assert_in_range(dataset.arena.used_bytes, N, (size_t)N * MOST_BYTES);
}

static void stopped(void **state) {
    (void)state;
    FILES("train/a/1.jpg", "train/b/1.jpg");
    volatile int stop = 1;
    thaw_dataset_spec spec = {.folder = {train}, .stop = &stop};
    assert_int_equal(thaw_dataset_open(&dataset, &spec, &err), THAW_ERR_INTERRUPTED);
    assert_sentence(err.text, "stopped by a signal while reading '$/train'");
    thaw_dataset_spec found = {.stop = &stop};
    assert_int_equal(thaw_dataset_find_splits(train, &found, &arena, &err), THAW_ERR_INTERRUPTED);
    /* And where it is asked for amid a class. */
    thaw_scan scan = {.arena = &arena, .stop = &stop};
    tempdir_path(&dir, "train/a", path);
    assert_int_equal(thaw_scan_files(&scan, path, &err), THAW_ERR_INTERRUPTED);
    stop = 0;
    assert_int_equal(thaw_scan_files(&scan, path, &err), THAW_OK);
    assert_int_equal(scan.n, 1);
    thaw_scan_free(&scan);
}

static void trailing_slash(void **state) {
    (void)state;
    FILES("train/a/1.jpg", "train/b/1.jpg");
    strcat(train, "//");
    assert_int_equal(open_train(0), THAW_OK);
    thaw_dataset_path(&dataset, 0, path);
    assert_sentence(path, "$/train/a/1.jpg");
}

/* ---- what cannot be used -------------------------------------------------------------------- */

static void bad_train(void **state) {
    (void)state;
    assert_int_equal(open_train(0), THAW_ERR_IO);
    assert_sentence(err.text,
                    "there is no '$/train': expected a folder with one sub-folder of pictures for "
                    "each class, a list of pictures, or a .rec or .tar file");
    tempdir_folder(&dir, "train");
    assert_int_equal(open_train(0), THAW_ERR_DATA);
    assert_sentence(err.text, "'$/train' is empty: expected one folder of pictures for each class");
    FILES("train/1.jpg", "train/2.jpg");
    assert_int_equal(open_train(0), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "'$/train' holds 2 files but no folder: expected one folder of pictures for "
                    "each class");
    FILES("train/rose/1.jpg");
    assert_int_equal(open_train(0), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "'$/train' has only one class, 'rose': expected at least two folders");
    FILES("train/iris/readme.txt");
    assert_int_equal(open_train(0), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "no image in class 'iris' ('$/train/iris', other files: 1): add some or remove "
                    "the folder");
    tempdir_path(&dir, "train/1.jpg", train);
    assert_int_equal(open_train(0), THAW_ERR_IO);
    assert_sentence(err.text,
                    "'$/train/1.jpg' is a file: expected a folder with one sub-folder of pictures "
                    "for each class");
    strcpy(train, "no\\such");
    assert_int_equal(open_train(0), THAW_ERR_IO);
    assert_sentence(err.text,
                    "there is no 'no\\such': expected a folder with one sub-folder of pictures for "
                    "each class, a list of pictures, or a .rec or .tar file; here the parts of a "
                    "path have / between them, not \\");
}

/* A zip from Windows, unpacked by a program that keeps its backslashes. */
static void backslashes(void **state) {
    (void)state;
    FILES("train/rose\\1.jpg", "train/rose\\2.jpg", "train/tulip\\1.jpg");
    assert_int_equal(open_train(0), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "'$/train' holds 3 files but no folder, and names with \\ such as "
                    "'rose\\1.jpg': the archive was packed on Windows; unpack it so that the parts "
                    "of these names become folders");
}

static void one_level_too_high(void **state) {
    (void)state;
    thaw_dataset_spec spec = {0};
    FILES("set/train/a/1", "set/train/b/1");
    tempdir_path(&dir, "set", path);
    assert_int_equal(thaw_dataset_find_splits(dir.root, &spec, &arena, &err), THAW_OK);
    strcpy(train, dir.root);
    assert_int_equal(open_train(0), THAW_ERR_DATA);
    assert_sentence(err.text, "'$' has only one class, 'set': expected at least two folders");
    FILES("set/test/a/1", "other/a/1");
    assert_int_equal(open_train(0), THAW_OK); /* Which is why the splits are looked for first. */
    assert_int_equal(thaw_dataset_find_splits(dir.root, &spec, &arena, &err), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "'$' is one level too high: 'set' in it holds 'test' and other splits; give "
                    "'$/set' instead");
    tempdir_path(&dir, "set", train);
    FILES("lone/pictures/rose/1", "lone/pictures/tulip/1");
    tempdir_path(&dir, "lone", train);
    assert_int_equal(open_train(0), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "'$/lone' has only one class, 'pictures': expected at least two folders; there "
                    "are 2 in '$/lone/pictures', is that the one?");
}

static void unreadable(void **state) {
    (void)state;
    enum { NOBODY = 65534 };
    FILES("train/a/1.jpg", "train/b/deep/1.jpg");
    tempdir_path(&dir, "train/b/deep", path);
    assert_int_equal(chmod(path, 0), 0);
    bool root = geteuid() == 0; /* Whom no permission keeps out. */
    if (root) assert_int_equal(seteuid(NOBODY), 0);
    thaw_status status = open_train(0);
    if (root) assert_int_equal(seteuid(0), 0);
    chmod(path, 0755);
    assert_int_equal(status, THAW_ERR_IO);
    assert_sentence(err.text, "cannot read the folder '$/train/b/deep': Permission denied");
}

static void too_deep(void **state) {
    (void)state;
    char name[256];
    memset(name, 'x', 250);
    name[250] = '\0';
    FILES("train/a/1.jpg", "train/b/1.jpg");
    char *before = getcwd(NULL, 0);
    assert_int_equal(chdir(tempdir_path(&dir, "train/b", path)), 0);
    for (int i = 0; i < 17; i++) {
        assert_int_equal(mkdir(name, 0755), 0);
        assert_int_equal(chdir(name), 0);
    }
    assert_int_equal(open_train(0), THAW_ERR_IO);
    assert_non_null(strstr(err.text, "File name too long"));
    for (int i = 0; i < 17; i++) {
        assert_int_equal(chdir(".."), 0);
        assert_int_equal(rmdir(name), 0);
    }
    assert_int_equal(chdir(before), 0);
    free(before);
}

/* ---- several folders ------------------------------------------------------------------------ */

static thaw_status open_all(void) {
    thaw_dataset_close(&dataset);
    thaw_dataset_spec spec = {.folder = {train, held_out, test}};
    return thaw_dataset_open(&dataset, &spec, &err);
}

static void matched_by_name(void **state) {
    (void)state;
    FILES("train/1/a", "train/2/a", "train/10/a", "validation/10/v", "validation/2/v",
          "validation/1/v", "test/10/t", "test/10/u");
    tempdir_folder(&dir, "test/1");
    assert_int_equal(open_all(), THAW_OK);
    assert_int_equal(dataset.n, 8);
    assert_int_equal(thaw_dataset_count(&dataset, THAW_SPLIT_TRAIN), 3);
    assert_int_equal(thaw_dataset_count(&dataset, THAW_SPLIT_VALIDATION), 3);
    assert_int_equal(thaw_dataset_count(&dataset, THAW_SPLIT_TEST), 2);
    for (size_t i = 0; i < dataset.n; i++) {
        thaw_dataset_path(&dataset, i, path);
        assert_int_equal(access(path, R_OK), 0);
    }
    assert_int_equal(dataset.label[6], 2);
    assert_int_equal(dataset.split[6], THAW_SPLIT_TEST);
    assert_int_equal(dataset.n_notes, 2);
    assert_sentence(dataset.notes[1], "the test folder '$/test' has no picture of '1', '2'");
    const char *table = printed();
    assert_sentence(table,
                    "class       train  validation        test\n"
                    "1               1           1           0\n"
                    "2               1           1           0\n"
                    "10              1           1           2\n"
                    "all             3           3           2\n"
                    "train       $/train\n"
                    "validation  $/validation\n"
                    "test        $/test\n");
}

static void many_missing(void **state) {
    (void)state;
    char name[64];
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "train/c%d/a", i);
        tempdir_file(&dir, name, "");
    }
    FILES("validation/c0/a", "test/c0/a");
    assert_int_equal(open_all(), THAW_OK);
    assert_sentence(dataset.notes[0],
                    "the validation folder '$/validation' has no picture of 'c1', 'c2', 'c3', "
                    "'c4', 'c5' and 3 more");
}

static void unknown_class(void **state) {
    (void)state;
    char path[PATH_MAX];
    FILES("train/daisy/a", "train/rose/a", "validation/rose/a", "test/roes/a");
    assert_int_equal(open_all(), THAW_ERR_DATA);
    assert_sentence(
        err.text,
        "'$/test' has no picture of the 2 classes of the training, but a folder 'roes': "
        "expected folders called 'daisy' and so on");
    FILES("test/rose/b", "test/roes/deep/c");
    assert_int_equal(open_all(), THAW_OK);
    assert_int_equal(dataset.n, 4);
    assert_int_equal(dataset.n_strangers, 2);
    assert_string_equal(dataset.strangers[1].class_name, "roes");
    assert_string_equal(dataset.strangers[1].path, tempdir_path(&dir, "test/roes/deep/c", path));
    assert_sentence(dataset.notes[1],
                    "2 pictures in '$/test' are of classes that the training did not know, and are "
                    "measured as unknown: 'roes'; did you mean 'rose'?");
    FILES("validation/thistle/a");
    assert_int_equal(open_all(), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "class 'thistle' of '$/validation' is not one of the 2 classes of the "
                    "training; remove it or train with it");
}

/* Names that look the same: what a Mac writes beside what others write. */
static void unicode_forms(void **state) {
    (void)state;
    FILES("train/Bl\u00fcte/a", "train/Blatt/a", "validation/Blu\u0308te/a", "test/Blatt/a");
    assert_int_equal(open_all(), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "class 'Blu\u0308te' of '$/validation' is not one of the 2 classes of the "
                    "training; 'Bl\u00fcte' looks the same and differs in Unicode normalisation: "
                    "rename one to the other");
    FILES("train/Blu\u0308te/a");
    assert_int_equal(open_train(0), THAW_OK);
    ASSERT_NOTES(
        "two classes look the same, 'Blu\u0308te' and 'Bl\u00fcte': their names differ in "
        "Unicode normalisation; are they meant to be one?");
}

static void a_long_table_is_cut(void **state) {
    (void)state;
    char name[128];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "train/class%d/a.jpg", i);
        tempdir_file(&dir, name, "");
    }
    FILES("train/class0/\x1b[2Jb.jpg", "train/class0/c.jpg", "train/class1/\u00e9.jpg");
    assert_int_equal(open_train(0.5), THAW_OK);
    const char *table = printed();
    assert_non_null(strstr(table, "\nclass19 "));
    assert_null(strstr(table, "\nclass20 "));
    assert_non_null(strstr(table, "\n... and 80 more classes\nall "));
    assert_non_null(strstr(table, "\nvalidation  0.5 of the training pictures, chosen by "));
    char escape[PATH_MAX];
    tempdir_path(&dir, "train/\x1b[2Jx", escape);
    assert_int_equal(rename(tempdir_path(&dir, "train/class3", path), escape), 0);
    assert_int_equal(open_train(0), THAW_OK);
    assert_null(strchr(printed(), '\x1b'));
}

static void empty_test(void **state) {
    (void)state;
    FILES("train/daisy/a", "train/rose/a", "validation/rose/a", "test/rose/readme.txt");
    assert_int_equal(open_all(), THAW_ERR_DATA);
    assert_sentence(err.text, "no image in any class of the test folder '$/test'");
}

/* As `eval` does: the names come from a bundle, in its order. */
static void given_classes(void **state) {
    (void)state;
    static const char *const names[] = {"rose", "daisy", "iris"};
    FILES("test/daisy/a", "test/rose/b");
    thaw_dataset_spec spec = {
        .folder = {[THAW_SPLIT_TEST] = test}, .classes = names, .n_classes = 3};
    assert_int_equal(thaw_dataset_open(&dataset, &spec, &err), THAW_OK);
    ASSERT_CLASSES("rose", "daisy", "iris");
    assert_int_equal(dataset.n, 2);
    assert_string_equal(dataset.name[0], "b");
    assert_int_equal(dataset.label[1], 1);
    ASSERT_NOTES("the test folder '$/test' has no picture of 'iris'");
    FILES("test/iris/1", "test/weed/1", "test/weed/2", "test/roses/1", "test/other/readme.txt");
    thaw_dataset_close(&dataset);
    assert_int_equal(thaw_dataset_open(&dataset, &spec, &err), THAW_OK);
    assert_int_equal(dataset.n, 3);
    ASSERT_NOTES(
        "3 pictures in '$/test' are of classes that the training did not know, and are "
        "measured as unknown: 'other', 'roses', 'weed'; did you mean 'rose'?");
    assert_int_equal(dataset.n_strangers, 3);
    assert_string_equal(dataset.strangers[0].path, tempdir_path(&dir, "test/roses/1", path));
    assert_string_equal(dataset.strangers[2].path, tempdir_path(&dir, "test/weed/2", path));
    thaw_dataset_close(&dataset);
    FILES("elsewhere/fern/1", "elsewhere/moss/1");
    spec.folder[THAW_SPLIT_TEST] = tempdir_path(&dir, "elsewhere", path);
    assert_int_equal(thaw_dataset_open(&dataset, &spec, &err), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "'$/elsewhere' has no picture of the 3 classes of the training, but a folder "
                    "'fern': expected folders called 'rose' and so on");
}

/* ---- the split ------------------------------------------------------------------------------ */

/* Puts n pictures into each of two classes, named from prefix and a number. */
static void fill(const char *prefix, int n) {
    char name[128];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "train/a/%s%d.jpg", prefix, i);
        tempdir_file(&dir, name, "");
        snprintf(name, sizeof name, "train/b/%s%d.jpg", prefix, i);
        tempdir_file(&dir, name, "");
    }
}

static size_t held_out_of(uint32_t label) {
    size_t n = 0;
    for (size_t i = 0; i < dataset.n; i++)
        n += dataset.label[i] == label && dataset.split[i] == THAW_SPLIT_VALIDATION;
    return n;
}

static void split_fraction(void **state) {
    (void)state;
    fill("flower", 500);
    assert_int_equal(open_train(0.2), THAW_OK);
    assert_in_range(held_out_of(0), 73, 127); /* Three standard deviations. */
    assert_int_equal(held_out_of(0), held_out_of(1));
    for (size_t i = 0; i < dataset.n; i++)
        assert_int_equal(dataset.split[i] == THAW_SPLIT_VALIDATION,
                         position(dataset.name[i]) < 0.2);
    assert_int_equal(open_train(0), THAW_OK);
    assert_int_equal(held_out_of(0), 0);
}

/* More pictures leave the old ones where they were. */
static void split_is_stable(void **state) {
    (void)state;
    enum { OLD = 200 };
    fill("old", OLD);
    assert_int_equal(open_train(0.1), THAW_OK);
    char before[OLD] = {0};
    for (size_t i = 0; i < OLD; i++)
        before[i] = (char)dataset.split[i];
    fill("new", 300);
    assert_int_equal(open_train(0.1), THAW_OK);
    size_t n_old = 0;
    for (size_t i = 0; i < dataset.n && dataset.label[i] == 0; i++)
        if (!strncmp(dataset.name[i], "old", 3))
            assert_int_equal(dataset.split[i], before[n_old++]);
    assert_int_equal(n_old, OLD);
}

/* Two pictures of a class are enough for both sides; one stays in training. */
static void split_of_few(void **state) {
    (void)state;
    FILES("train/a/1.jpg", "train/a/2.jpg", "train/b/only.jpg", "train/c/1.jpg", "train/c/2.jpg",
          "train/c/3.jpg");
    for (double fraction = 0.001; fraction < 0.95; fraction += 0.05) {
        assert_int_equal(open_train(fraction), THAW_OK);
        assert_int_equal(held_out_of(0), 1);
        assert_int_equal(held_out_of(1), 0);
        assert_in_range(held_out_of(2), 1, 2);
    }
}

static void variants_stay_together(void **state) {
    (void)state;
    char name[128];
    for (int i = 0; i < 40; i++)
        for (int variant = 0; variant < 3; variant++) {
            snprintf(name, sizeof name, "train/a/%d/f%d_nohash_%d.jpg", variant, i, variant);
            tempdir_file(&dir, name, "");
        }
    FILES("train/b/x_nohash_1", "train/b/x_nohash_2");
    assert_int_equal(open_train(0.3), THAW_OK);
    for (size_t i = 0; i < 120; i++)
        for (size_t j = 0; j < 120; j++)
            if (position(dataset.name[i]) == position(dataset.name[j]))
                assert_int_equal(dataset.split[i], dataset.split[j]);
    assert_int_equal(held_out_of(0) % 3, 0);
    assert_in_range(held_out_of(0), 3, 117);
    assert_int_equal(held_out_of(1), 0);
    assert_true(position("d/f1_nohash_a.jpg") == position("f1"));
    assert_true(position("f1.jpg") != position("f2.jpg"));
}

/* One folder an object, the same file names in each: objects are held out, not views. */
static void groups_stay_together(void **state) {
    (void)state;
    enum { OBJECTS = 40, VIEWS = 3, N = OBJECTS * VIEWS };
    static const char *const groups[] = {"folder", "Folder", "^(o[0-9]+)/view", "o[0-9]+"};
    char name[64];
    for (int k = 0; k < 2; k++)
        for (int o = 0; o < OBJECTS; o++)
            for (int v = 0; v < VIEWS; v++) {
                snprintf(name, sizeof name, "train/%c/o%d/view%d.jpg", k ? 'b' : 'a', o, v);
                tempdir_file(&dir, name, "");
            }
    static uint8_t first[2 * N];
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        assert_int_equal(open_grouped(0.2, groups[g]), THAW_OK);
        assert_int_equal(dataset.n_notes, 0);
        assert_in_range(held_out_of(0), 2 * VIEWS, 16 * VIEWS);
        assert_int_equal(held_out_of(0) % VIEWS, 0);
        assert_int_equal(held_out_of(0), held_out_of(1)); /* An object has one side, everywhere. */
        for (size_t i = 1; i < dataset.n; i++)
            if (i % VIEWS) assert_int_equal(dataset.split[i], dataset.split[i - 1]);
        if (g == 0) memcpy(first, dataset.split, sizeof first);
        if (g == 2) assert_memory_equal(first, dataset.split, sizeof first); /* The same names. */
    }
    /* Without groups all views of an object are on one side by chance only. */
    assert_int_equal(open_grouped(0.2, "none"), THAW_OK);
    size_t n_torn = 0;
    for (size_t i = 1; i < dataset.n; i++)
        n_torn += i % VIEWS && dataset.split[i] != dataset.split[i - 1];
    assert_true(n_torn > OBJECTS / 2);
    ASSERT_NOTES(
        "most pictures lie in folders within their class: if those of one folder show the "
        "same thing, data.group = folder keeps them on one side");
}

/* The same file name in every folder is as good as any other. */
static void names_include_their_folder(void **state) {
    (void)state;
    char name[64];
    for (int o = 0; o < 100; o++) {
        snprintf(name, sizeof name, "train/%c/%d/image.jpg", o % 2 ? 'a' : 'b', o);
        tempdir_file(&dir, name, "");
    }
    assert_int_equal(open_grouped(0.2, "folder"), THAW_OK);
    assert_in_range(held_out_of(0), 3, 20);
    assert_int_equal(open_train(0.2), THAW_OK);
    assert_in_range(held_out_of(0), 3, 20);
    assert_in_range(held_out_of(1), 3, 20);
}

static void bad_groups(void **state) {
    (void)state;
    FILES("train/a/x_1.jpg", "train/a/x_2.jpg", "train/a/y.jpg", "train/b/x_1.jpg",
          "train/b/z_1.jpg");
    assert_int_equal(open_grouped(0.5, "(x"), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text,
                           "data.group = '(x': expected none, folder or an extended "
                           "regular expression: "));
    assert_int_equal(open_grouped(0.5, "folder"), THAW_ERR_USAGE);
    assert_sentence(
        err.text,
        "data.group = folder: no picture has such a group; the first is 'x_1.jpg' in its "
        "class");
    assert_int_equal(open_grouped(0.5, "^(.*)_[0-9]"), THAW_OK);
    ASSERT_NOTES(
        "1 of 5 training pictures have no group by data.group = ^(.*)_[0-9], such as "
        "'y.jpg': each is one of its own");
    assert_int_equal(dataset.split[0], dataset.split[1]);
    assert_int_equal(held_out_of(1), 1);
}

static void nothing_to_hold_out(void **state) {
    (void)state;
    FILES("train/a/1.jpg", "train/b/1.jpg");
    assert_int_equal(open_train(0.5), THAW_OK);
    ASSERT_NOTES(
        "nothing is held out for validation: each class has one picture, or one group of "
        "them");
    FILES("train/b/2.jpg");
    assert_int_equal(open_train(0.5), THAW_OK);
    ASSERT_NOTES(
        "nothing is held out for validation where there is one picture, or one group of "
        "them: 'a'");
}

/* The split is part of what a run means: these numbers may not change between versions. */
static void position_is_frozen(void **state) {
    (void)state;
    assert_true(position("image_0001.jpg") == 0x1.5fbcf8d20fc8p-8);
    assert_true(position("rose.png") == 0x1.3bc4987e7a7b8p-4);
}

/* ---- layout --------------------------------------------------------------------------------- */

static thaw_status find(thaw_dataset_spec *spec) {
    return thaw_dataset_find_splits(dir.root, spec, &arena, &err);
}

static void find_splits(void **state) {
    (void)state;
    thaw_dataset_spec spec = {0};
    FILES("train/a/1", "test/a/1", "readme.md");
    assert_int_equal(find(&spec), THAW_OK);
    assert_string_equal(spec.folder[THAW_SPLIT_TRAIN], train);
    assert_null(spec.folder[THAW_SPLIT_VALIDATION]);
    assert_string_equal(spec.folder[THAW_SPLIT_TEST], test);
    FILES("val/a/1");
    assert_int_equal(find(&spec), THAW_OK);
    assert_string_equal(spec.folder[THAW_SPLIT_VALIDATION], tempdir_path(&dir, "val", path));
    FILES("validation/a/1");
    assert_int_equal(find(&spec), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "'$' has two validation folders, 'val' and 'validation': keep one of them");
    assert_int_equal(thaw_dataset_find_splits(train, &spec, &arena, &err), THAW_OK);
    assert_string_equal(spec.folder[THAW_SPLIT_TRAIN], train);
    assert_int_equal(thaw_dataset_find_splits("/nowhere", &spec, &arena, &err), THAW_ERR_IO);
    assert_sentence(err.text,
                    "there is no '/nowhere': expected a folder with one sub-folder of pictures for "
                    "each class, a list of pictures, or a .rec or .tar file");
}

/* As data sets in the world call their splits. */
static void names_of_splits(void **state) {
    (void)state;
    static const char *const names[][THAW_SPLIT_COUNT] = {
        {"Train", NULL, "Test"},
        {"training_set", NULL, "test_set"},
        {"train", "dev", NULL},
        {"TRAIN", "VALID", "TEST"},
        {"Training", NULL, "Testing"},
        {"trainset", "valset", "testset"},
        {"trn", "val", "tst"},
        {"train-images", "val-images", "test-images"},
        {"training data", "Validation", NULL},
        {"train", "eval", "test"},
        {"Train", "Development Set", NULL},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tempdir at = tempdir_make();
        for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
            if (!names[i][s]) continue;
            snprintf(path, sizeof path, "%s/rose", names[i][s]);
            tempdir_folder(&at, path);
        }
        thaw_dataset_spec spec = {0};
        assert_int_equal(thaw_dataset_find_splits(at.root, &spec, &arena, &err), THAW_OK);
        for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
            if (!names[i][s] != !spec.folder[s])
                fail_msg("%s: not taken for %s", names[i][s], thaw_split_name((thaw_split)s));
            if (names[i][s]) assert_string_equal(strrchr(spec.folder[s], '/') + 1, names[i][s]);
        }
        tempdir_remove(&at);
    }
    static const char *const classes[] = {"trainer", "tester", "evaluator", "sets", "valley"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        tempdir_folder(&dir, classes[i]);
    thaw_dataset_spec spec = {0};
    assert_int_equal(find(&spec), THAW_OK);
    assert_string_equal(spec.folder[THAW_SPLIT_TRAIN], dir.root);
}

static void splits_among_others(void **state) {
    (void)state;
    thaw_dataset_spec spec = {0};
    FILES("train/a/1", "val/a/1", "annotations/1.xml");
    assert_int_equal(find(&spec), THAW_ERR_DATA);
    assert_sentence(
        err.text,
        "'$' holds 'train', which looks like a split, and 'annotations', which does not: "
        "move away what is no split, or give the folder of each split (data.train, "
        "data.validation, data.test); if all are classes, rename 'train'");
    /* A class of vehicles. */
    tempdir_path(&dir, "vehicles", path);
    FILES("vehicles/train/1", "vehicles/bus/1", "vehicles/car/1");
    assert_int_equal(thaw_dataset_find_splits(path, &spec, &arena, &err), THAW_OK);
    assert_string_equal(spec.folder[THAW_SPLIT_TRAIN], path);
}

static void from_options(void **state) {
    (void)state;
    thaw_options options;
    thaw_dataset_spec spec = {0};
    FILES("train/a/1", "test/a/1", "val/a/1");
    assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
    assert_int_equal(thaw_dataset_spec_from_options(&options, &spec, &arena, &err), THAW_ERR_USAGE);
    thaw_options_set(&options, "data.train", dir.root, "test", &err);
    assert_int_equal(thaw_dataset_spec_from_options(&options, &spec, &arena, &err), THAW_OK);
    assert_string_equal(spec.folder[THAW_SPLIT_TRAIN], train);
    assert_string_equal(spec.folder[THAW_SPLIT_VALIDATION], tempdir_path(&dir, "val", path));
    assert_string_equal(spec.folder[THAW_SPLIT_TEST], test);
    assert_true(spec.validation_fraction == 0);
    /* What is written down as auto, as the train.ini that we ship does, is the default. */
    thaw_options_set(&options, "data.validation", "Auto", "train.ini:69", &err);
    thaw_options_set(&options, "data.test", "auto", "train.ini:78", &err);
    assert_int_equal(thaw_dataset_spec_from_options(&options, &spec, &arena, &err), THAW_OK);
    assert_string_equal(spec.folder[THAW_SPLIT_VALIDATION], path);
    assert_string_equal(spec.folder[THAW_SPLIT_TEST], test);
    thaw_options_set(&options, "data.validation", "0.25", "test", &err);
    thaw_options_set(&options, "data.test", "/other", "test", &err);
    thaw_options_set(&options, "data.group", "folder", "test", &err);
    assert_int_equal(thaw_dataset_spec_from_options(&options, &spec, &arena, &err), THAW_OK);
    assert_null(spec.folder[THAW_SPLIT_VALIDATION]);
    assert_true(spec.validation_fraction == 0.25);
    assert_string_equal(spec.folder[THAW_SPLIT_TEST], "/other");
    assert_string_equal(spec.group, "folder");
    thaw_options_set(&options, "data.validation", "/held/out", "test", &err);
    assert_int_equal(thaw_dataset_spec_from_options(&options, &spec, &arena, &err), THAW_OK);
    assert_string_equal(spec.folder[THAW_SPLIT_VALIDATION], "/held/out");
    thaw_options_free(&options);
    assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
    thaw_options_set(&options, "data.train", train, "test", &err);
    assert_int_equal(thaw_dataset_spec_from_options(&options, &spec, &arena, &err), THAW_OK);
    assert_true(spec.validation_fraction == 0.1);
    assert_null(spec.folder[THAW_SPLIT_TEST]);
    FILES("set/val/a/1", "set/test/a/1");
    thaw_options_set(&options, "data.train", tempdir_path(&dir, "set", path), "test", &err);
    assert_int_equal(thaw_dataset_spec_from_options(&options, &spec, &arena, &err), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "'$/set' holds splits, but none to train on: expected a folder called "
                    "train beside them, or of classes");
    thaw_options_free(&options);
}

/* ---- folds ---------------------------------------------------------------------------------- */

enum { FOLDS = 5 };

static thaw_status open_fold(int fold, const char *group) {
    thaw_dataset_close(&dataset);
    thaw_dataset_spec spec = {.folder = {train, NULL, test},
                              .validation_fraction = 0.2,
                              .group = group,
                              .fold = fold,
                              .n_folds = FOLDS};
    return thaw_dataset_open(&dataset, &spec, &err);
}

/* Each picture is tested on once, whatever folder it lies in; classes have their share of every part. */
static void folds_deal_each_picture_once(void **state) {
    (void)state;
    enum { IN_TRAIN = 23, IN_TEST = 10, N = 2 * (IN_TRAIN + IN_TEST) };
    char name[64];
    for (int i = 0; i < N; i++) {
        bool of_test = i / 2 >= IN_TRAIN;
        snprintf(name, sizeof name, "%s/%c/%d", of_test ? "test" : "train", i % 2 ? 'b' : 'a', i);
        tempdir_file(&dir, name, "");
    }
    int tested[N] = {0}, validated[N] = {0};
    for (int fold = 0; fold < FOLDS; fold++) {
        assert_int_equal(open_fold(fold, NULL), THAW_OK);
        assert_int_equal(dataset.n, N);
        size_t of[2][THAW_SPLIT_COUNT] = {{0}};
        for (size_t i = 0; i < dataset.n; i++) {
            of[dataset.label[i]][dataset.split[i]]++;
            tested[i] += dataset.split[i] == THAW_SPLIT_TEST;
            validated[i] += dataset.split[i] == THAW_SPLIT_VALIDATION;
        }
        for (int k = 0; k < 2; k++) {
            assert_in_range(of[k][THAW_SPLIT_TEST], N / 2 / FOLDS, N / 2 / FOLDS + 1);
            assert_true(of[k][THAW_SPLIT_VALIDATION] > 0);
        }
        assert_non_null(strstr(printed(), "of 5: all these pictures were dealt anew"));
    }
    int most = 0;
    for (int i = 0; i < N; i++) {
        assert_int_equal(tested[i], 1);
        if (validated[i] > most) most = validated[i];
    }
    assert_true(most < FOLDS);
}

static void folds_keep_groups(void **state) {
    (void)state;
    char name[64];
    for (int o = 0; o < 24; o++)
        for (int v = 0; v < 3; v++) {
            snprintf(name, sizeof name, "%s/%c/o%d/%d", o % 4 ? "train" : "test", o % 2 ? 'b' : 'a',
                     o, v);
            tempdir_file(&dir, name, "");
        }
    for (int fold = 0; fold < FOLDS; fold++) {
        assert_int_equal(open_fold(fold, "folder"), THAW_OK);
        for (size_t i = 1; i < dataset.n; i++)
            if (i % 3) assert_int_equal(dataset.split[i], dataset.split[i - 1]);
    }
}

static void bad_folds(void **state) {
    (void)state;
    static const char *const texts[] = {"2", "0/5", "6/5", "1/1", "2/5x", "a/b", "1/5000", "-1/5"};
    FILES("train/a/1", "train/a/2", "train/b/1", "test/a/3", "test/b/1");
    assert_int_equal(open_fold(0, NULL), THAW_ERR_DATA);
    assert_sentence(err.text,
                    "data.fold: class 'a' has 3 pictures, which do not make 5 parts; ask for fewer "
                    "folds");
    thaw_options options;
    thaw_dataset_spec spec = {0};
    assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
    thaw_options_set(&options, "data.train", dir.root, "test", &err);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        thaw_options_set(&options, "data.fold", texts[i], "test", &err);
        assert_int_equal(thaw_dataset_spec_from_options(&options, &spec, &arena, &err),
                         THAW_ERR_USAGE);
    }
    assert_sentence(err.text,
                    "data.fold = -1/5: expected the number of a fold and how many there are, such "
                    "as 2/5");
    thaw_options_set(&options, "data.fold", "2/5", "test", &err);
    assert_int_equal(thaw_dataset_spec_from_options(&options, &spec, &arena, &err), THAW_OK);
    assert_int_equal(spec.fold, 1);
    assert_int_equal(spec.n_folds, 5);
    thaw_options_free(&options);
}

/* ---- size ----------------------------------------------------------------------------------- */

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void ten_thousand(void **state) {
    (void)state;
    enum { N = 10000, BYTES_EACH = 100, SLACK_BYTES = 512 * 1024 };
    fill("a_name_of_usual_length_", N / 2);
    double start_s = now_s();
    assert_int_equal(open_train(0.1), THAW_OK);
    double seconds = now_s() - start_s;
    print_message("%d pictures in %.0f ms, %zu bytes\n", N, seconds * 1e3,
                  dataset.arena.used_bytes);
    assert_int_equal(dataset.n, N);
    assert_true(seconds < 2); /* A hundred times what it takes: only a wrong order of growth. */
    assert_true(dataset.arena.used_bytes < N * BYTES_EACH + SLACK_BYTES);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(natural_order),
        TEST(skipped),
        TEST(links),
        TEST(links_among_classes),
        TEST(many_folders),
        TEST(a_large_folder),
        TEST(stopped),
        TEST(trailing_slash),
        TEST(bad_train),
        TEST(backslashes),
        TEST(one_level_too_high),
        TEST(unreadable),
        TEST(too_deep),
        TEST(matched_by_name),
        TEST(many_missing),
        TEST(unknown_class),
        TEST(unicode_forms),
        TEST(a_long_table_is_cut),
        TEST(empty_test),
        TEST(given_classes),
        TEST(split_fraction),
        TEST(split_is_stable),
        TEST(split_of_few),
        TEST(variants_stay_together),
        TEST(folds_deal_each_picture_once),
        TEST(folds_keep_groups),
        TEST(bad_folds),
        TEST(groups_stay_together),
        TEST(names_include_their_folder),
        TEST(bad_groups),
        TEST(nothing_to_hold_out),
        TEST(position_is_frozen),
        TEST(find_splits),
        TEST(names_of_splits),
        TEST(splits_among_others),
        TEST(from_options),
        TEST(ten_thousand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
