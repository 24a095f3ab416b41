/* Tar files of pictures: what WebDataset's tools and tar write is read in place, classes from .cls, .json and
 * folders, names that count and folders of shards; damage is named with its byte; and the same pictures make the
 * same network as from folders. */
#include <archive.h>
#include <archive_entry.h>

#include "dataset_testing.h"
#include "file.h"
#include "picture/picture_file.h"
#include "tar_file.h"

/* ---- files made by hand ---------------------------------------------------------------------- */

enum { BLOCK = 512, CHECKSUM_AT = 148, CHECKSUM_BYTES = 8 };

/* A file under construction. */
typedef struct bytes {
    uint8_t of[1 << 16];
    size_t n;
} bytes;

/* Appends a member of ustar; type '0': a file, '5': a folder, '2': a link. Returns where its header is. */
static size_t put_member(bytes *b, const char *name, char type, const void *content, size_t n) {
    size_t at = b->n;
    char *head = (char *)b->of + at;
    unsigned sum = 0;
    assert_true(strlen(name) < 100 && at + 2 * BLOCK + n <= sizeof b->of);
    memset(head, 0, BLOCK + (n + BLOCK - 1) / BLOCK * BLOCK);
    strcpy(head, name);
    strcpy(head + 100, "0000644");
    strcpy(head + 108, "0000000");
    strcpy(head + 116, "0000000");
    snprintf(head + 124, 12, "%011zo", n);
    strcpy(head + 136, "00000000000");
    memset(head + CHECKSUM_AT, ' ', CHECKSUM_BYTES);
    head[156] = type;
    memcpy(head + 257, "ustar\00000", 8);
    for (int i = 0; i < BLOCK; i++)
        sum += (uint8_t)head[i];
    snprintf(head + CHECKSUM_AT, 7, "%06o", sum);
    if (n > 0) memcpy(head + BLOCK, content, n);
    b->n = at + BLOCK + (n + BLOCK - 1) / BLOCK * BLOCK;
    return at;
}

static size_t put_text(bytes *b, const char *name, const char *text) {
    return put_member(b, name, '0', text, strlen(text));
}

/* Writes the file with the two blocks of zeros at its end, and empties b. */
static void keep(const char *path, bytes *b) {
    memset(b->of + b->n, 0, (size_t)2 * BLOCK);
    write_bytes(path, b->of, b->n + (size_t)2 * BLOCK);
    b->n = 0;
}

static void expect_picture(const char *path, const char *picture) {
    char *got;
    size_t n;
    if (thaw_picture_read(path, &arena, &got, &n, &err) != THAW_OK) fail_msg("%s", err.text);
    assert_int_equal(n, strlen(picture));
    assert_string_equal(got, picture);
}

static thaw_status open_all(const char *train) {
    return open_dataset(train, "data.validation", "0");
}

static void expect_open(const char *train) {
    if (open_all(train) != THAW_OK) fail_msg("%s: %s", train, err.text);
}

/* ---- what is read --------------------------------------------------------------------------- */

static void samples_with_classes(void **state) {
    (void)state;
    static bytes b;
    put_text(&b, "7.jpg", "seven");                           /* 0 */
    put_text(&b, "7.cls", "10\n");                            /* 1024 */
    put_text(&b, "./a/8.cls", " 2 ");                         /* 2048 */
    put_text(&b, "./a/8.JPG", "eight");                       /* 3072 */
    put_text(&b, "./a/8.seg.png", "a mask");                  /* 4096 */
    put_text(&b, "9.json", "{\"label\": 10, \"width\": 3}");  /* 5120 */
    put_text(&b, "9.png", "nine");                            /* 6144 */
    put_text(&b, "10.txt", "a caption");                      /* 7168 */
    put_text(&b, "10.webp", "ten");                           /* 8192 */
    put_text(&b, "10.json", "{\"cls\": \"2\", \"class\":1}"); /* 9216 */
    put_text(&b, "11.seg.png", "only a mask");                /* 10240 */
    put_text(&b, "11.json", "{\"cls\": 3}");                  /* 11264 */
    put_text(&b, "11.cls", "2");                              /* 12288: counts. */
    put_text(&b, "12.cls", "2");                              /* Without a picture. */
    keep("s.tar", &b);
    expect_open("s.tar");
    EXPECT_PICTURES("s.tar/3072/a/8.JPG 2 train", "s.tar/8192/10.webp 2 train",
                    "s.tar/10240/11.seg.png 2 train", "s.tar/0/7.jpg 10 train",
                    "s.tar/6144/9.png 10 train");
    expect_picture("s.tar/3072/a/8.JPG", "eight");
    expect_picture("s.tar/3072", "eight");
    expect_picture("s.tar/0/7.jpg", "seven");
    assert_string_equal(dataset.notes[1],
                        "samples that have a class and no picture, ignored, in 's.tar': 1");
    put_text(&b, "1.jpg", "");
    put_text(&b, "1.cls", "rose, wild");
    put_text(&b, "2.jpg", "");
    put_text(&b, "2.cls", "lily");
    keep("s.tar", &b);
    expect_open("s.tar");
    EXPECT_PICTURES("s.tar/1536/2.jpg lily train", "s.tar/0/1.jpg rose, wild train");
}

static void classes_by_folders(void **state) {
    (void)state;
    static bytes b;
    put_member(&b, "x/", '5', "", 0);
    put_text(&b, "x/bee/1.5.jpg", "a"); /* 512 */
    put_text(&b, "x/bee/1.6.jpg", "b"); /* Of the same key: pictures like others. */
    put_text(&b, "x/bee/1.json", "{\"width\": 3}");
    put_text(&b, "x/bee/._1.6.jpg", "a Mac's");
    put_text(&b, "x/.hidden/1.jpg", "");
    put_text(&b, "../x/ant/0.jpg", "");
    put_text(&b, "x/notes.txt", "");
    put_member(&b, "x/ant/link.jpg", '2', "", 0);
    size_t at = put_text(&b, "/x/ant/2", "c");
    keep("f.tar", &b);
    expect_open("f.tar");
    char path[64];
    snprintf(path, sizeof path, "f.tar/%zu//x/ant/2 ant train", at);
    EXPECT_PICTURES(path, "f.tar/512/x/bee/1.5.jpg bee train",
                    "f.tar/1536/x/bee/1.6.jpg bee train");
    *strchr(path, ' ') = '\0';
    expect_picture(path, "c");
}

/* Long names and others than ASCII take headers of their own, in both formats. */
static void names_of_any_length(void **state) {
    (void)state;
    int (*const formats[])(struct archive *) = {archive_write_set_format_gnutar,
                                                archive_write_set_format_pax};
    for (int f = 0; f < 2; f++) {
        char names[3][400], path[PATH_MAX];
        struct archive *a = archive_write_new();
        formats[f](a);
        assert_int_equal(archive_write_open_filename(a, "long.tar"), ARCHIVE_OK);
        for (int i = 0; i < 3; i++) {
            char content[] = {(char)('a' + i), '\0'};
            snprintf(names[i], sizeof names[i], "r\xc3\xb6se%d/%0*d.jpg", i % 2, 300 - 100 * i, i);
            struct archive_entry *entry = archive_entry_new();
            archive_entry_set_pathname(entry, names[i]);
            archive_entry_set_filetype(entry, AE_IFREG);
            archive_entry_set_perm(entry, 0644);
            archive_entry_set_size(entry, 1);
            assert_true(archive_write_header(a, entry) >= ARCHIVE_WARN);
            assert_int_equal(archive_write_data(a, content, 1), 1);
            archive_entry_free(entry);
        }
        assert_int_equal(archive_write_close(a), ARCHIVE_OK);
        archive_write_free(a);
        expect_open("long.tar");
        assert_int_equal(dataset.n, 3);
        assert_string_equal(dataset.class_name[0], "r\xc3\xb6se0");
        static const int order[] = {0, 2, 1};
        for (size_t i = 0; i < 3; i++) {
            char content[] = {(char)('a' + order[i]), '\0'};
            thaw_dataset_path(&dataset, i, path);
            if (!strstr(path, names[order[i]])) fail_msg("'%s' in '%s'", names[order[i]], path);
            expect_picture(path, content);
        }
    }
}

static void files_one_behind_the_other(void **state) {
    (void)state;
    static bytes b;
    put_text(&b, "a/1", "one");
    memset(b.of + b.n, 0, (size_t)20 * BLOCK); /* As tar fills its last record. */
    b.n += (size_t)20 * BLOCK;
    put_text(&b, "b/2", "two");
    keep("cat.tar", &b);
    expect_open("cat.tar");
    assert_int_equal(dataset.n, 2);
    char path[PATH_MAX];
    thaw_dataset_path(&dataset, 1, path);
    expect_picture(path, "two");
}

/* A file of one picture. */
static void put_shard(const char *path, const char *member) {
    static bytes b;
    put_text(&b, member, path);
    keep(path, &b);
}

static void many_files(void **state) {
    (void)state;
    tempdir_folder(&place, "c/p1");
    tempdir_folder(&place, "c/p2");
    for (int i = 8; i < 12; i++) {
        char path[64], member[64];
        for (int p = 1; p <= 2; p++) {
            snprintf(path, sizeof path, "c/p%d/x-%03d.tar", p, i);
            snprintf(member, sizeof member, "%s/%d", i % 2 ? "bee" : "ant", i);
            put_shard(path, member);
        }
    }
    expect_open("c/p1/x-{008..011}.tar");
    EXPECT_PICTURES("c/p1/x-008.tar/0/ant/8 ant train", "c/p1/x-010.tar/0/ant/10 ant train",
                    "c/p1/x-009.tar/0/bee/9 bee train", "c/p1/x-011.tar/0/bee/11 bee train");
    expect_open("c/p{1..2}/x-0{10..11}.tar");
    EXPECT_PICTURES("c/p1/x-010.tar/0/ant/10 ant train", "c/p2/x-010.tar/0/ant/10 ant train",
                    "c/p1/x-011.tar/0/bee/11 bee train", "c/p2/x-011.tar/0/bee/11 bee train");
    expect_picture("c/p2/x-011.tar/0/bee/11", "c/p2/x-011.tar");
    expect_open("c/p2/");
    assert_int_equal(dataset.n, 4);
    assert_int_equal(open_dataset("c/p1", "data.test", "c/p2/x-0{08..09}.tar"), THAW_OK);
    assert_int_equal(thaw_dataset_count(&dataset, THAW_SPLIT_TEST), 2);
    put_shard("c/u9.tar", "ant/9");
    put_shard("c/u10.tar", "bee/10"); /* Without zeros before. */
    expect_open("c/u{9..10}.tar");
    EXPECT_PICTURES("c/u9.tar/0/ant/9 ant train", "c/u10.tar/0/bee/10 bee train");
    /* A file that is called so is itself. */
    put_shard("c/y{1..2}.tar", "ant/1");
    assert_int_equal(open_all("c/y{1..2}.tar"), THAW_ERR_DATA);
    assert_non_null(strstr(err.text, "only one class, 'ant'"));
}

static void splits_by_names(void **state) {
    (void)state;
    tempdir_folder(&place, "n");
    put_shard("n/flowers-train-0.tar", "ant/1");
    put_shard("n/flowers-train-1.tar", "bee/2");
    expect_open("n");
    assert_int_equal(thaw_dataset_count(&dataset, THAW_SPLIT_TRAIN), 2);
    put_shard("n/flowers-val-0.tar", "bee/3");
    put_shard("n/test.tar", "ant/4");
    assert_int_equal(open_dataset("n", "seed", "2"), THAW_OK);
    EXPECT_PICTURES("n/flowers-train-0.tar/0/ant/1 ant train",
                    "n/flowers-train-1.tar/0/bee/2 bee train",
                    "n/flowers-val-0.tar/0/bee/3 bee validation", "n/test.tar/0/ant/4 ant test");
    /* One split alone is what it is given as. */
    tempdir_folder(&place, "v");
    put_shard("v/flowers-val-0.tar", "bee/3");
    assert_int_equal(open_dataset("n/flowers-train-{0..1}.tar", "data.test", "v"), THAW_OK);
    assert_int_equal(thaw_dataset_count(&dataset, THAW_SPLIT_TEST), 1);
    put_shard("n/other-0.tar", "ant/5");
    assert_int_equal(open_all("n"), THAW_ERR_DATA);
    assert_non_null(strstr(err.text, "'other-0.tar', whose name is not"));
    /* Folders of splits. */
    tempdir_folder(&place, "d/train");
    tempdir_folder(&place, "d/val");
    put_shard("d/train/0.tar", "ant/1");
    put_shard("d/train/1.tar", "bee/1");
    put_shard("d/val/0.tar", "bee/2");
    assert_int_equal(open_dataset("d", "seed", "2"), THAW_OK);
    EXPECT_PICTURES("d/train/0.tar/0/ant/1 ant train", "d/train/1.tar/0/bee/1 bee train",
                    "d/val/0.tar/0/bee/2 bee validation");
}

/* The same pictures fall on the same sides as in folders, in whatever order the file has them. */
static void held_out_as_with_folders(void **state) {
    (void)state;
    enum { N = 40 };
    static bytes b;
    char name[64];
    bool held_out[N] = {0};
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "h/%s/o%d-%d.jpg", i % 2 ? "ant" : "bee", i / 8, i);
        tempdir_file(&place, name, "");
        put_text(&b, name + 2, "");
    }
    keep("h.tar", &b);
    static const char *const groups[] = {"none", "^o([0-9])"};
    for (int g = 0; g < 2; g++)
        for (int form = 0; form < 2; form++) {
            assert_int_equal(open_dataset(form ? "h.tar" : "h", "data.group", groups[g]), THAW_OK);
            assert_int_equal(dataset.n, N);
            for (size_t i = 0; i < N; i++) {
                bool is = dataset.split[i] == THAW_SPLIT_VALIDATION;
                bool *was = &held_out[atoi(strrchr(dataset.name[i], '-') + 1)];
                if (form) assert_int_equal(is, *was);
                *was = is;
            }
        }
    /* What is grouped by is a member's name, not where it lies: the class 0 is no folder there. */
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "o%d-%d.jpg", i / 2, i);
        put_text(&b, name, "");
        strcpy(strchr(name, '.'), ".cls");
        put_text(&b, name, i % 2 ? "1" : "0");
    }
    keep("o.tar", &b);
    assert_int_equal(open_dataset("o.tar", "data.group", "^o([0-9])"), THAW_OK);
    for (size_t i = 0; i < dataset.n_notes; i++)
        assert_null(strstr(dataset.notes[i], "have no group"));
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void expect_refused(const char *path, thaw_status code, const char *said) {
    assert_int_equal(open_all(path), code);
    if (!strstr(err.text, said)) fail_msg("expected \"%s\" in\n%s", said, err.text);
}

static void bad_members(void **state) {
    (void)state;
    static bytes b;
    static const struct {
        const char *members[3][2];
        thaw_status code;
        const char *said;
    } files[] = {
        {{{"1.jpg", ""}},
         THAW_ERR_DATA,
         "'1.jpg', at byte 0, has no class: expected a member called 1.cls"},
        {{{"/1.jpg", ""}}, THAW_ERR_DATA, "has no class"},
        {{{"1.jpg", ""}, {"1.cls", " \n"}}, THAW_ERR_FORMAT, "'1.cls', at byte 512, is empty"},
        {{{"1.jpg", ""}, {"1.json", "{\"cls\": [1, [2]]}"}}, THAW_ERR_FORMAT, "nor a list of them"},
        {{{"1.jpg", ""}, {"1.json", "{\"cls\": 1.5}"}}, THAW_ERR_FORMAT, "neither a whole number"},
        {{{"1.jpg", ""}, {"1.json", "{\"cls\": null}"}}, THAW_ERR_FORMAT, "neither a whole number"},
        {{{"1.jpg", ""}, {"1.json", "{\"cls\": "}}, THAW_ERR_FORMAT, "bad.tar/512/1.json"},
        {{{"1.jpg", ""}, {"1.png", ""}, {"1.cls", "1"}},
         THAW_ERR_DATA,
         "'1.jpg', at byte 0, and '1.png', at byte 512, are two pictures"},
        {{{"a/1.jpg", ""}, {"a/2.jpg", ""}, {"a/2.cls", "1"}},
         THAW_ERR_DATA,
         "'a/2.jpg', at byte 512, has its class from a .cls or .json"},
        {{{"a/2.jpg", ""}, {"a/2.cls", "1"}, {"a/1.jpg", ""}},
         THAW_ERR_DATA,
         "'a/1.jpg', at byte 1536, has its class from its folder"},
        {{{"1.txt", ""}, {"1.cls", "1"}}, THAW_ERR_DATA, "lists no picture"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        for (int m = 0; m < 3 && files[i].members[m][0]; m++)
            put_text(&b, files[i].members[m][0], files[i].members[m][1]);
        keep("bad.tar", &b);
        expect_refused("bad.tar", files[i].code, files[i].said);
    }
    put_text(&b, "1.jpg", "");
    put_member(&b, "1.cls", '0', "a\0b", 3);
    keep("bad.tar", &b);
    expect_refused("bad.tar", THAW_ERR_FORMAT, "is no text");
}

static void bad_files(void **state) {
    (void)state;
    tempdir_folder(&place, "g");
    write_bytes("g/x.tar.gz", "\x1f\x8b\x08", 3);
    expect_refused("g/x.tar.gz", THAW_ERR_UNSUPPORTED, "'g/x.tar.gz' is compressed");
    expect_refused("g", THAW_ERR_UNSUPPORTED, "gunzip");
    write_bytes("gz.tar", "\x1f\x8b\x08", 3);
    expect_refused("gz.tar", THAW_ERR_FORMAT, "compressed by gzip, whatever its name");
    write_bytes("gz.tar", "", 0);
    expect_refused("gz.tar", THAW_ERR_FORMAT, "at byte 0 a header was expected");
    expect_refused("gone-{0..1}.tar", THAW_ERR_IO, "'gone-0.tar'");
    expect_refused("c{5..4}.tar", THAW_ERR_USAGE, "{5..4} counts down");
    expect_refused("c{0..999999}{0..9}.tar", THAW_ERR_USAGE, "more than 1000000 names");
    put_shard("g/y.tar", "ant/1");
    expect_refused("g", THAW_ERR_UNSUPPORTED, "'g/x.tar.gz' is compressed");
    remove("g/x.tar.gz");
    write_bytes("g/z.rec", "", 0);
    expect_refused("g", THAW_ERR_UNSUPPORTED, "expected one kind");
    expect_refused("x{1..a}.tar", THAW_ERR_IO, "there is no 'x{1..a}.tar'");
    char *got;
    size_t n;
    assert_int_equal(thaw_picture_read("g/y.tar/0/ant/2", &arena, &got, &n, &err), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "'g/y.tar' holds 'ant/1' at byte 0, and not 'ant/2'"));
    assert_int_equal(thaw_picture_read("g/y.tar/1/ant/1", &arena, &got, &n, &err), THAW_ERR_FORMAT);
    assert_int_equal(thaw_picture_read("g/y.tar/1024", &arena, &got, &n, &err), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "holds nothing at byte 1024"));
    assert_int_equal(thaw_picture_read("g/y.tar/99999999", &arena, &got, &n, &err),
                     THAW_ERR_FORMAT);
    assert_int_equal(thaw_tar_read("g/y.tar", 0, NULL, 6, &arena, &got, &n, &err), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "at most 6 are read"));
    assert_int_equal(thaw_tar_read("g/y.tar", 0, NULL, 7, &arena, &got, &n, &err), THAW_OK);
}

/* Of three members, every cut and every changed byte: a cut is named, and so is a header that is wrong; what is
 * read is never more than there is. */
static void every_damage(void **state) {
    (void)state;
    static bytes good, b;
    static const char *const names[] = {"a/1", "b/2", "b/3"};
    size_t at[3];
    good.n = 0;
    for (int i = 0; i < 3; i++)
        at[i] = put_text(&good, names[i], "content");
    for (size_t n = 1; n < good.n; n += n % BLOCK < 2 || n % BLOCK == BLOCK - 1 ? 1 : 17) {
        write_bytes("cut.tar", good.of, n);
        if (n % (2 * BLOCK) == 0) continue; /* Whole members. */
        assert_int_equal(open_all("cut.tar"), THAW_ERR_FORMAT);
        bool within = n % (2 * BLOCK) >= BLOCK;
        char said[128];
        if (within)
            snprintf(said, sizeof said,
                     "it ends at byte %zu, within '%s', which begins at byte %zu", n,
                     names[n / (2 * BLOCK)], at[n / (2 * BLOCK)]);
        else
            snprintf(said, sizeof said, "at byte %zu a header was expected", n / BLOCK * BLOCK);
        if (!strstr(err.text, said))
            fail_msg("cut to %zu: expected \"%s\" in\n%s", n, said, err.text);
    }
    for (size_t i = 0; i < good.n; i++) {
        size_t header = i / (2 * BLOCK) * 2 * BLOCK, in = i - header;
        bool sum = in >= CHECKSUM_AT && in < CHECKSUM_AT + CHECKSUM_BYTES;
        b = good;
        b.of[i] ^= (uint8_t)(1 << i % 8);
        keep("bad.tar", &b);
        thaw_status status = open_all("bad.tar");
        if (in >= BLOCK) assert_int_equal(status, THAW_OK);
        if (in >= BLOCK || (sum && status == THAW_OK)) continue;
        char said[64];
        snprintf(said, sizeof said, "at byte %zu a header was expected", header);
        assert_int_equal(status, THAW_ERR_FORMAT);
        if (!strstr(err.text, said))
            fail_msg("byte %zu: expected \"%s\" in\n%s", i, said, err.text);
    }
}

/* ---- the program ----------------------------------------------------------------------------- */

enum { CLASSES = 8, TRAIN = 6, TEST = 2 };

static const char *const drawn[CLASSES] = {"bellflower", "lily", "lupin",     "marguerite",
                                           "pansy",      "rose", "sunflower", "tulip"};

/* The drawn pictures of a split, n of each class: in a file for every four classes, by folders or with .cls. */
static void pack(const char *split, int n, bool folders) {
    static bytes b;
    static char name[128], path[128];
    for (int k = 0; k < CLASSES; k++) {
        for (int i = 0; i < n; i++) {
            size_t size;
            snprintf(path, sizeof path, "pics/%s/%s/%s-%04d.jpg", split, drawn[k], drawn[k], i);
            uint8_t *picture = test_read(path, &size);
            snprintf(name, sizeof name, "%s/%s-%04d.jpg", folders ? drawn[k] : "x", drawn[k], i);
            put_member(&b, name, '0', picture, size);
            strcpy(strchr(name, '.'), ".cls");
            if (!folders) put_text(&b, name, drawn[k]);
            free(picture);
        }
        snprintf(path, sizeof path, "%s/%s-%d.tar", folders ? "folders" : "cls", split, k);
        keep(path, &b);
    }
}

static void the_same_network_as_from_folders(void **state) {
    (void)state;
    program p = {0};
    tempdir_folder(&place, "folders");
    tempdir_folder(&place, "cls");
    for (int folders = 0; folders < 2; folders++) {
        pack("train", TRAIN, folders);
        pack("test", TEST, folders);
    }
#define WITH "train --model=m.onnx --cache.dir=cache "
    program_expect_ok(&p, WITH "--data.train=pics --out=r");
    program_free(&p);
    program_expect_ok(&p, WITH "--data.train=folders --out=r_folders");
    expect_counts(&p, CLASSES * (TRAIN + TEST), 0);
    program_free(&p);
    expect_equal_files("r/model.onnx", "r_folders/model.onnx");
    /* Other names fall on other sides: without a validation all forms are one. */
    program_expect_ok(&p, WITH "--data.train=pics --data.validation=0 --out=r");
    program_free(&p);
    program_expect_ok(&p, WITH
                      "--data.train=cls/train-{0..7}.tar --data.test=cls/test-{0..7}.tar "
                      "--data.validation=0 --out=r_cls --views=1");
    program_free(&p);
    expect_equal_files("r/model.onnx", "r_cls/model.onnx");
    program_expect_ok(&p, WITH "--data.train=folders --out=views --views=2 --views.show=s.jpg");
    program_free(&p);
    assert_true(is_there("s.jpg"));
    /* A run says in its train.ini where its files were, from any folder. */
    program_expect_ok(&p, "train r_cls/train.ini --out=again --cache.dir=cache");
    program_free(&p);
    expect_equal_files("r/model.onnx", "again/model.onnx");
    char *said = NULL;
    static const char *const forms[] = {"pics", "folders", "cls/test-{0..7}.tar"};
    for (int i = 0; i < 3; i++) {
        program_expect_ok(&p, "eval r %s --cache.dir=cache --csv=answers.csv", forms[i]);
        if (said) assert_string_equal(said, p.out);
        if (!said) said = strdup(p.out);
        program_free(&p);
    }
    free(said);
    /* What a table calls a picture, predict finds; and all pictures of a file. */
    size_t n;
    char *table = (char *)test_read("answers.csv", &n), path[64], answer[16], expected[128];
    table[n] = '\0';
    assert_int_equal(sscanf(strchr(table, '\n'), " %63[^,],%*[^,],%15[^,]", path, answer), 2);
    assert_string_equal(path, "cls/test-0.tar/0/x/bellflower-0000.jpg");
    snprintf(expected, sizeof expected, "%s\t%s\t", path, answer);
    program_expect_ok(&p, "predict r %s --top=1", path);
    program_expect_text(&p, p.out, expected);
    program_free(&p);
    program_expect_ok(&p, "predict r cls/test-0.tar folders/test-1.tar pics/test/rose --top=1");
    program_expect_text(&p, p.out, expected);
    int lines = 0;
    for (const char *at = p.out; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 3 * TEST);
    program_expect_text(&p, p.out, "folders/test-1.tar/0/lily/lily-0000.jpg\tlily");
    program_free(&p);
    free(table);
    put_shard("none.tar", "notes.txt");
    program_run(&p, "predict r none.tar");
    program_expect_text(&p, program_refusal(&p, 1), "no picture lies in the tar file 'none.tar'");
    program_free(&p);
    write_bytes("gz.tar", "\x1f\x8b\x08", 3);
    program_run(&p, "predict r gz.tar");
    program_expect_text(&p, program_refusal(&p, 1), "compressed by gzip");
    program_free(&p);
}

static void a_bad_picture_in_a_file_is_rejected(void **state) {
    (void)state;
    program p = {0};
    put_shard("folders/train-8.tar", "rose/no picture");
    program_expect_ok(&p, WITH "--data.train=folders --out=bad");
    program_free(&p);
    size_t n;
    char *table = (char *)test_read("bad/rejected.csv", &n);
    table[n] = '\0';
    assert_non_null(strstr(table, "\nfolders/train-8.tar/0/rose/no picture,"));
    free(table);
    tempdir_check(truncate("folders/train-8.tar", 520) == 0, "truncate");
    program_run(&p, WITH "--data.train=folders --out=bad");
    program_expect_text(&p, program_refusal(&p, 1), "'folders/train-8.tar' is cut off");
    program_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(samples_with_classes, teardown),
        cmocka_unit_test_teardown(classes_by_folders, teardown),
        cmocka_unit_test_teardown(names_of_any_length, teardown),
        cmocka_unit_test_teardown(files_one_behind_the_other, teardown),
        cmocka_unit_test_teardown(many_files, teardown),
        cmocka_unit_test_teardown(splits_by_names, teardown),
        cmocka_unit_test_teardown(held_out_as_with_folders, teardown),
        cmocka_unit_test_teardown(bad_members, teardown),
        cmocka_unit_test_teardown(bad_files, teardown),
        cmocka_unit_test_teardown(every_damage, teardown),
        cmocka_unit_test(the_same_network_as_from_folders),
        cmocka_unit_test(a_bad_picture_in_a_file_is_rejected),
    };
    place = program_place(TRAIN, TEST);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    program_leave(&place);
    return failed;
}
