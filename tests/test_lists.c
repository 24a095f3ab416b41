/* Lists of pictures in the place of folders: what their columns mean, how classes are called and in which
 * order, that the same pictures are held out and the same network comes out as with folders, and a
 * sentence for every list that cannot be used. */
#include "dataset_testing.h"

static void list_file(const char *name, const char *text) {
    tempdir_file(&place, name, text);
}

static void expect_open(const char *train, const char *key, const char *value) {
    if (open_dataset(train, key, value) != THAW_OK) fail_msg("%s: %s", train, err.text);
}

static void expect_classes(const char *const *names) {
    for (size_t k = 0; k < dataset.n_classes; k++)
        assert_string_equal(dataset.class_name[k], names[k] ? names[k] : "(none)");
    assert_null(names[dataset.n_classes]);
}
#define EXPECT_CLASSES(...) expect_classes((const char *const[]){__VA_ARGS__, NULL})

/* ---- what is read --------------------------------------------------------------------------- */

static void csv_as_rfc_4180_has_it(void **state) {
    (void)state;
    list_file("l/a.csv",
              "\xef\xbb\xbfnote,Path,LABEL,split\r\n"
              "x,\"b,1.jpg\",\"red, \"\"wild\"\" rose\",\r\n"
              "x,./sub/10.jpg,tulip,Training_set\r\n"
              "\r\n"
              "x,sub/9.jpg,tulip,train\r\n"
              "x,\"two\nlines.jpg\",tulip,val\r\n"
              "x,sub/9.jpg,tulip,train\n"
              "x,c,tulip,TEST");
    expect_open("l/a.csv", NULL, NULL);
    EXPECT_CLASSES("red, \"wild\" rose", "tulip");
    EXPECT_PICTURES("l/b,1.jpg red, \"wild\" rose train", "l/sub/9.jpg tulip train",
                    "l/sub/10.jpg tulip train", "l/two\nlines.jpg tulip validation",
                    "l/c tulip test");
    assert_int_equal(dataset.n_notes, 3); /* What validates and what tests has no rose. */
    assert_string_equal(dataset.notes[0],
                        "rows that say once more what another one says, ignored, in 'l/a.csv': 1");
}

static void lst_by_folder_or_by_id(void **state) {
    (void)state;
    /* The order is that of the ids. */
    list_file("l/f.lst", "4\t1.000000\tx/ant/10.jpg\n0\t0\ty/bee/1.jpg\r\n\n3\t1\tz/ant/9.jpg");
    expect_open("l/f.lst", "data.validation", "0");
    EXPECT_CLASSES("bee", "ant");
    EXPECT_PICTURES("l/y/bee/1.jpg bee train", "l/x/ant/10.jpg ant train",
                    "l/z/ant/9.jpg ant train");
    assert_int_equal(dataset.n_notes, 0);
    static const char *const by_id[] = {
        "0\t10\tx/1.jpg\n1\t2\tx/2.jpg\n",             /* One folder for both. */
        "0\t10\ta/1.jpg\n1\t10\tb/2.jpg\n2\t2\tc/3\n", /* Two of one class. */
        "0\t10\t1.jpg\n1\t2\ta/2.jpg\n",               /* None. */
    };
    for (size_t i = 0; i < sizeof by_id / sizeof *by_id; i++) {
        list_file("l/i.lst", by_id[i]);
        expect_open("l/i.lst", "data.validation", "0");
        EXPECT_CLASSES("2", "10");
    }
}

static void other_lists_have_the_names_of_the_training(void **state) {
    (void)state;
    list_file("l/train.lst", "0\t1\tant/1.jpg\n1\t0\tbee/1.jpg\n");
    list_file("l/flat.lst", "0\t1\t1.jpg\n1\t0\t2.jpg\n");
    expect_open("l/train.lst", "data.validation", "l/flat.lst");
    EXPECT_PICTURES("l/bee/1.jpg bee train", "l/ant/1.jpg ant train", "l/2.jpg bee validation",
                    "l/1.jpg ant validation");
    list_file("l/swapped.lst", "0\t0\tant/1.jpg\n1\t1\tbee/1.jpg\n");
    assert_int_equal(open_dataset("l/train.lst", "data.validation", "l/swapped.lst"),
                     THAW_ERR_DATA);
    assert_non_null(strstr(err.text, "number the classes differently"));
    /* A folder may validate what a list trains, by names. */
    tempdir_file(&place, "v/ant/3.jpg", "");
    tempdir_file(&place, "v/bee/4.jpg", "");
    expect_open("l/train.lst", "data.validation", "v");
    EXPECT_PICTURES("l/bee/1.jpg bee train", "l/ant/1.jpg ant train", "v/bee/4.jpg bee validation",
                    "v/ant/3.jpg ant validation");
}

static void splits_by_column_and_by_option(void **state) {
    (void)state;
    list_file("l/s.csv", "path,label,split\n1,a,train\n2,b,train\n3,a,validation\n4,b,test\n");
    expect_open("l/s.csv", NULL, NULL);
    EXPECT_PICTURES("l/1 a train", "l/2 b train", "l/3 a validation", "l/4 b test");
    /* What is asked for takes the column's place. */
    expect_open("l/s.csv", "data.validation", "0");
    EXPECT_PICTURES("l/1 a train", "l/2 b train", "l/4 b test");
    list_file("l/o.csv", "path,label,split\n5,a,dev\n6,a,train\n");
    expect_open("l/s.csv", "data.validation", "l/o.csv");
    EXPECT_PICTURES("l/1 a train", "l/2 b train", "l/5 a validation", "l/4 b test");
    list_file("l/all.csv", "path,label\n7,a\n");
    expect_open("l/s.csv", "data.test", "l/all.csv");
    EXPECT_PICTURES("l/1 a train", "l/2 b train", "l/3 a validation", "l/7 a test");
}

/* The same pictures fall on the same sides, in whatever form they come. */
static void held_out_as_with_folders(void **state) {
    (void)state;
    enum { N = 40 };
    char csv[8192] = "label,path\n", name[64];
    for (int i = N - 1; i >= 0; i--) {
        const char *class_name = i % 2 ? "ant" : "bee";
        snprintf(name, sizeof name, "h/%s/o%d/%d.jpg", class_name, i / 8, i);
        tempdir_file(&place, name, "");
        snprintf(csv + strlen(csv), 128, "%s,%s\n", class_name, name);
    }
    list_file("h.csv", csv);
    static const char *const groups[] = {"none", "folder", "^o([0-9])"};
    for (int g = 0; g < 3; g++) {
        uint8_t split[N];
        expect_open("h", "data.group", groups[g]);
        memcpy(split, dataset.split, N);
        expect_open("h.csv", "data.group", groups[g]);
        assert_memory_equal(split, dataset.split, N);
    }
}

/* Whether a sentence says that pictures lie in folders within their class. */
static bool says_nested(const char *list) {
    expect_open(list, "data.validation", "0.5");
    for (size_t i = 0; i < dataset.n_notes; i++)
        if (strstr(dataset.notes[i], "lie in folders within their class")) return true;
    return false;
}

static void folders_within_a_class(void **state) {
    (void)state;
    list_file("n.csv", "path,label\nx/1,a\nx/2,a\nx/3,b\nx/4,b\n");
    assert_false(says_nested("n.csv"));
    list_file("n.csv", "path,label\nx/a/1,a\nx/a/2,a\nx/b/3,b\nx/b/4,b\n");
    assert_false(says_nested("n.csv"));
    list_file("n.csv", "path,label\na/x/1,a\na/x/2,a\nb/y/3,b\nb/y/4,b\n");
    assert_true(says_nested("n.csv"));
    list_file("n.csv", "path,label,group\na/x/1,a,g/1\na/x/2,a,g/2\nb/y/3,b,g/3\nb/y/4,b,g/4\n");
    assert_false(says_nested("n.csv"));
}

static void the_group_column_keeps_together(void **state) {
    (void)state;
    enum { GROUPS = 20, VIEWS = 4 };
    char csv[8192] = "path,label,group\n";
    for (int i = 0; i < GROUPS * VIEWS; i++)
        snprintf(csv + strlen(csv), 128, "%d.jpg,%s,plant%d\n", i, i % GROUPS % 2 ? "ant" : "bee",
                 i % GROUPS);
    list_file("g.csv", csv);
    static const char *const ways[][2] = {{"data.validation", "0.3"}, {"data.fold", "2/5"}};
    for (int w = 0; w < 2; w++) {
        int of_group[GROUPS], seen[THAW_SPLIT_COUNT] = {0};
        memset(of_group, -1, sizeof of_group);
        expect_open("g.csv", ways[w][0], ways[w][1]);
        assert_int_equal(dataset.n, GROUPS * VIEWS);
        for (size_t i = 0; i < dataset.n; i++) {
            int group = atoi(dataset.name[i]) % GROUPS;
            if (of_group[group] >= 0) assert_int_equal(of_group[group], dataset.split[i]);
            of_group[group] = dataset.split[i];
            seen[dataset.split[i]]++;
        }
        assert_true(seen[THAW_SPLIT_VALIDATION] > 0 && seen[THAW_SPLIT_TRAIN] > 0);
    }
    assert_int_equal(open_dataset("g.csv", "data.group", "folder"), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "both say what stays together"));
}

static void roots(void **state) {
    (void)state;
    char whole[PATH_MAX], text[PATH_MAX + 64];
    list_file("c/train_lst/x.csv", "path,label\n1.jpg,a\n2.jpg,b\n");
    expect_open("c/train_lst/x.csv", "data.validation", "0");
    EXPECT_PICTURES("c/train_lst/1.jpg a train", "c/train_lst/2.jpg b train");
    tempdir_folder(&place, "c/train");
    expect_open("c/train_lst/x.csv", "data.validation", "0");
    EXPECT_PICTURES("c/train/1.jpg a train", "c/train/2.jpg b train");
    expect_open("c/train_lst/x.csv", "data.root", "elsewhere/");
    assert_string_equal(dataset.folder[THAW_SPLIT_TRAIN], "elsewhere");
    list_file("r.csv", "path,label\n1.jpg,a\n2.jpg,b\n");
    expect_open("r.csv", "data.validation", "0");
    EXPECT_PICTURES("1.jpg a train", "2.jpg b train");
    list_file("b{1..2}/r.csv", "path,label\n1.jpg,a\n2.jpg,b\n"); /* A folder that is called so. */
    expect_open("b{1..2}/r.csv", "data.validation", "0");
    EXPECT_PICTURES("b{1..2}/1.jpg a train", "b{1..2}/2.jpg b train");
    /* Whole paths below the root. */
    tempdir_path(&place, "d/1.jpg", whole);
    snprintf(text, sizeof text, "path,label\n%s,a\n2.jpg,b\n", whole);
    list_file("r.csv", text);
    assert_int_equal(open_dataset("r.csv", "data.validation", "0"), THAW_ERR_DATA);
    assert_non_null(strstr(err.text, "data.root = / allows all"));
    expect_open("r.csv", "data.root", "/");
    thaw_dataset_path(&dataset, 0, text);
    assert_string_equal(text, whole);
    expect_open("r.csv", "data.root", place.root);
    thaw_dataset_path(&dataset, 0, text);
    assert_string_equal(text, whole);
    tempdir_path(&place, "", text);
    text[strlen(text) - 2] = '\0'; /* A folder whose name the root's begins with. */
    assert_int_equal(open_dataset("r.csv", "data.root", text), THAW_ERR_DATA);
    assert_int_equal(open_dataset("c", "data.root", "c"), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "has no part where no list"));
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void bad_lists(void **state) {
    (void)state;
    static const struct {
        const char *file, *text, *said[3];
        thaw_status code;
    } lists[] = {
        {"x.csv", "path;label\n1;a\n", {"no column called path", "'path;label'"}, THAW_ERR_FORMAT},
        {"x.csv", "path,labels\n1,a\n", {"no column called label"}, THAW_ERR_FORMAT},
        {"x.csv", "", {"no column called path"}, THAW_ERR_FORMAT},
        {"x.csv", "path,label,path\n", {"two columns called path"}, THAW_ERR_FORMAT},
        {"x.csv", "path,label\n", {"'x.csv' lists no picture"}, THAW_ERR_DATA},
        {"x.csv",
         "path,label\n1,a\n2,b,c\n",
         {"row 3", "begins with '2'", "has 3"},
         THAW_ERR_FORMAT},
        {"x.csv", "path,label\n1,a\n2,\n", {"row 3", "'2', has no label"}, THAW_ERR_FORMAT},
        {"x.csv", "path,label\n,b\n", {"row 2", "'b', has no path"}, THAW_ERR_FORMAT},
        {"x.csv", "path,label\n1,\"a\n2,b\n", {"row 2", "a quote"}, THAW_ERR_FORMAT},
        {"x.csv",
         "path,label,split\n1,a,trian\n",
         {"row 2", "'trian'", "expected train"},
         THAW_ERR_FORMAT},
        {"x.csv",
         "path,label\n1,a\n2,b\n1,b\n",
         {"rows 2 and 4", "class of '1'", "'a' and 'b'"},
         THAW_ERR_DATA},
        {"x.csv",
         "path,label,split\n1,a,\n1,a,test\n",
         {"split of '1'", "'train' and 'test'"},
         THAW_ERR_DATA},
        {"x.csv", "path,label,group\n1,a,\n1,a,g\n", {"group of '1'", "'' and 'g'"}, THAW_ERR_DATA},
        {"x.csv", "path,label\n../1,a\n", {"row 2", "'../1' leads out"}, THAW_ERR_DATA},
        {"x.csv", "path,label\na/../../1,a\n", {"row 2", "leads out"}, THAW_ERR_DATA},
        {"x.csv", "path,label\n1,a\n2,a\n", {"only one class, 'a'", "at least two"}, THAW_ERR_DATA},
        {"x.csv",
         "path,label,split\n1,a,test\n2,b,test\n",
         {"no row of it says train"},
         THAW_ERR_DATA},
        {"x.csv",
         "path,label,split\n1,a,\n2,b,\n3,c,test\n",
         {"no row of class 'c'", "is trained on"},
         THAW_ERR_DATA},
        {"x.lst", "0\t1\n", {"row 1", "'0\?1'", "tabs between"}, THAW_ERR_FORMAT},
        {"x.lst", "0 1 a.jpg\n", {"row 1", "'0 1 a.jpg'", "tabs between"}, THAW_ERR_FORMAT},
        {"x.lst", "0\t1\ta\nx\t1\tb\n", {"row 2", "expected a number"}, THAW_ERR_FORMAT},
        {"x.lst", "0\t1.5\ta\n", {"row 1", "class id"}, THAW_ERR_FORMAT},
        {"x.lst", "0\t-1\ta\n", {"row 1", "class id"}, THAW_ERR_FORMAT},
        {"x.lst", "0\tnan\ta\n", {"row 1", "class id"}, THAW_ERR_FORMAT},
        {"x.lst", "0\t1\t0\t1\ta.jpg\n", {"row 1", "has 3 labels"}, THAW_ERR_UNSUPPORTED},
        {"x.lst", "0\t1\ta\n1\t2\ta\n", {"rows 1 and 2", "'1' and '2'"}, THAW_ERR_DATA},
        {"x.txt",
         "1 a\n",
         {"'x.txt' is a file", "expected a folder", ".csv"},
         THAW_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        list_file(lists[i].file, lists[i].text);
        assert_int_equal(open_dataset(lists[i].file, NULL, NULL), lists[i].code);
        for (int k = 0; k < 3 && lists[i].said[k]; k++)
            if (!strstr(err.text, lists[i].said[k]))
                fail_msg("expected \"%s\" in\n%s", lists[i].said[k], err.text);
    }
    write_bytes("x.csv", "path,label\n1,a\0\n", 15);
    assert_int_equal(open_dataset("x.csv", NULL, NULL), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "no text"));
    list_file("x.csv", "path,label\n1,a\n2,b\n");
    list_file("y.csv", "path,label,split\n3,a,train\n");
    assert_int_equal(open_dataset("x.csv", "data.test", "y.csv"), THAW_ERR_DATA);
    assert_non_null(strstr(err.text, "no row of it says test"));
    list_file("y.csv", "path,label\n3,c\n");
    assert_int_equal(open_dataset("x.csv", "data.test", "y.csv"), THAW_ERR_DATA);
    assert_non_null(strstr(err.text,
                           "'y.csv' has no picture of the 2 classes of the training, but a "
                           "class 'c'"));
    assert_int_equal(open_dataset("x.csv", "data.validation", "y.csv"), THAW_ERR_DATA);
    assert_non_null(strstr(err.text, "class 'c' of 'y.csv'"));
}

static void a_stop_is_seen(void **state) {
    (void)state;
    int stop = 1;
    thaw_list list;
    FILE *file = fopen("long.lst", "w");
    for (int i = 0; i < 70000; i++)
        fprintf(file, "%d\t%d\t%d\n", i, i % 2, i);
    fclose(file);
    thaw_list_spec spec = {.file = "long.lst", .stop = &stop};
    assert_int_equal(thaw_list_read(&list, &spec, &arena, &err), THAW_ERR_INTERRUPTED);
    spec.stop = NULL;
    assert_int_equal(thaw_list_read(&list, &spec, &arena, &err), THAW_OK);
    assert_int_equal(list.n, 70000);
}

/* ---- the program ----------------------------------------------------------------------------- */

enum { CLASSES = 8, TRAIN = 6, TEST = 2 };

/* Writes lists of the drawn pictures: in another order than theirs. */
static void list_drawn(void) {
    static const char *const classes[CLASSES] = {"bellflower", "lily", "lupin",     "marguerite",
                                                 "pansy",      "rose", "sunflower", "tulip"};
    FILE *csv = fopen("pics/all.csv", "w"), *train = fopen("pics/train.lst", "w"),
         *test = fopen("pics/test.lst", "w");
    fputs("path,label,split\n", csv);
    for (int i = TRAIN - 1; i >= 0; i--)
        for (int k = 0; k < CLASSES; k++) {
            char name[128];
            snprintf(name, sizeof name, "%s/%s-%04d.jpg", classes[k], classes[k], i);
            fprintf(csv, "train/%s,%s,train\n", name, classes[k]);
            fprintf(train, "%d\t%d.000000\ttrain/%s\n", i, k, name);
            if (i >= TEST) continue;
            fprintf(csv, "test/%s,%s,test\n", name, classes[k]);
            fprintf(test, "%d\t%d\ttest/%s\n", i, k, name);
        }
    fclose(csv);
    fclose(train);
    fclose(test);
}

static void the_same_network_as_from_folders(void **state) {
    (void)state;
    program p = {0};
    list_drawn();
    program_expect_ok(&p, "train --data.train=pics --model=m.onnx --out=folders --cache.dir=cache");
    program_free(&p);
    program_expect_ok(&p,
                      "train --data.train=pics/all.csv --model=m.onnx --out=csv --cache.dir=cache");
    expect_counts(&p, CLASSES * (TRAIN + TEST), 0);
    program_free(&p);
    program_expect_ok(&p,
                      "train --data.train=pics/train.lst --data.test=pics/test.lst --model=m.onnx "
                      "--out=lst --cache.dir=cache");
    program_free(&p);
    static const char *const same[] = {"model.onnx", "predictions.csv", "neighbours.csv",
                                       "map.csv"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char a[64], b[64];
        snprintf(a, sizeof a, "folders/%s", same[i]);
        snprintf(b, sizeof b, "csv/%s", same[i]);
        expect_equal_files(a, b);
        snprintf(b, sizeof b, "lst/%s", same[i]);
        expect_equal_files(a, b);
    }
    /* A run says in its train.ini where its list was, from any folder. */
    program_expect_ok(&p, "train csv/train.ini --out=again --cache.dir=cache");
    program_free(&p);
    expect_equal_files("folders/model.onnx", "again/model.onnx");
    /* Its test pictures, in any form. */
    static const char *const forms[] = {"pics", "pics/all.csv", "pics/test.lst"};
    char *said = NULL;
    for (int i = 0; i < 3; i++) {
        program_expect_ok(&p, "eval folders %s --cache.dir=cache", forms[i]);
        if (said) assert_string_equal(said, p.out);
        if (!said) said = strdup(p.out);
        program_free(&p);
    }
    free(said);
    program_run(&p, "eval folders pics --data.root=pics --cache.dir=cache");
    program_expect_text(&p, program_refusal(&p, 2), "is no list");
    program_free(&p);
}

static void missing_files_are_rejected(void **state) {
    (void)state;
    program p = {0};
    list_file("pics/gone.csv",
              "path,label\n"
              "train/rose/rose-0000.jpg,rose\ntrain/rose/rose-0001.jpg,rose\n"
              "train/lily/lily-0000.jpg,lily\ntrain/lily/gone.jpg,lily\n");
    program_run(&p,
                "train --data.train=pics/gone.csv --data.validation=0 --model=m.onnx --out=gone "
                "--cache.dir=cache --data.max_bad=0");
    const char *said = program_refusal(&p, 1);
    program_expect_text(&p, said, "1 of 4 pictures cannot be used");
    program_expect_text(&p, said, "pics/train/lily/gone.jpg");
    program_free(&p);
    program_expect_ok(&p,
                      "train --data.train=pics/gone.csv --data.validation=0 --model=m.onnx "
                      "--out=gone --cache.dir=cache --data.max_bad=1");
    program_free(&p);
    size_t n;
    uint8_t *table = test_read("gone/rejected.csv", &n);
    table[n] = '\0';
    assert_non_null(strstr((char *)table, "pics/train/lily/gone.jpg,"));
    free(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(csv_as_rfc_4180_has_it, teardown),
        cmocka_unit_test_teardown(lst_by_folder_or_by_id, teardown),
        cmocka_unit_test_teardown(other_lists_have_the_names_of_the_training, teardown),
        cmocka_unit_test_teardown(splits_by_column_and_by_option, teardown),
        cmocka_unit_test_teardown(held_out_as_with_folders, teardown),
        cmocka_unit_test_teardown(folders_within_a_class, teardown),
        cmocka_unit_test_teardown(the_group_column_keeps_together, teardown),
        cmocka_unit_test_teardown(roots, teardown),
        cmocka_unit_test_teardown(bad_lists, teardown),
        cmocka_unit_test_teardown(a_stop_is_seen, teardown),
        cmocka_unit_test(the_same_network_as_from_folders),
        cmocka_unit_test(missing_files_are_rejected),
    };
    place = program_place(TRAIN, TEST);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    program_leave(&place);
    return failed;
}
