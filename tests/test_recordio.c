/* RecordIO: what MXNet's tools write is read in place, whole and split records; damage and cuts are named with
 * their byte; and the same pictures make the same network as from folders. */
#include <fcntl.h>

#include "dataset_testing.h"
#include "picture/picture_file.h"
#include "recordio.h"

/* ---- files made by hand ---------------------------------------------------------------------- */

/* A file under construction. */
typedef struct bytes {
    uint8_t of[4096];
    size_t n;
} bytes;

static void put(bytes *b, const void *from, size_t n) {
    memcpy(b->of + b->n, from, n);
    b->n += n;
}

static void put_word(bytes *b, uint32_t word) {
    uint8_t four[] = {(uint8_t)word, (uint8_t)(word >> 8), (uint8_t)(word >> 16),
                      (uint8_t)(word >> 24)};
    put(b, four, 4);
}

/* A part of a record: its head, its bytes and what fills it up. */
static void put_part(bytes *b, uint32_t kind, const void *from, size_t n) {
    put_word(b, 0xced7230a);
    put_word(b, kind << 29 | (uint32_t)n);
    put(b, from, n);
    put(b, "\0\0\0", (4 - n % 4) % 4);
}

/* A header, and the picture's bytes behind it. */
static void put_header(bytes *b, uint32_t flag, float label, uint32_t id) {
    uint32_t label_bits;
    memcpy(&label_bits, &label, 4);
    put_word(b, flag);
    put_word(b, label_bits);
    put_word(b, id);
    for (int i = 0; i < 3; i++)
        put_word(b, 0);
}

static void put_record(bytes *b, uint32_t flag, float label, const char *picture) {
    bytes all = {.n = 0};
    put_header(&all, flag, label, 7);
    put(&all, picture, strlen(picture));
    put_part(b, 0, all.of, all.n);
}

static void keep(const char *path, const bytes *b) {
    write_bytes(path, b->of, b->n);
}

static void expect_picture(const char *path, const void *picture, size_t n) {
    char *got;
    size_t n_got;
    if (thaw_picture_read(path, &arena, &got, &n_got, &err) != THAW_OK) fail_msg("%s", err.text);
    assert_int_equal(n_got, n);
    assert_memory_equal(got, picture, n);
    assert_int_equal(got[n], 0);
}

static thaw_status open_train(const char *train) {
    thaw_dataset_spec spec = {0};
    thaw_dataset_close(&dataset);
    THAW_TRY(thaw_dataset_find_splits(train, &spec, &arena, &err));
    return thaw_dataset_open(&dataset, &spec, &err);
}

static const char *path_of(size_t i) {
    static char path[PATH_MAX];
    thaw_dataset_path(&dataset, i, path);
    return path;
}

/* ---- what is read --------------------------------------------------------------------------- */

static void records_are_pictures(void **state) {
    (void)state;
    static const char magic[4] = "\x0a\x23\xd7\xce";
    bytes b = {.n = 0}, labels = {.n = 0};
    put_record(&b, 0, 11, "tulip");       /* At byte 0: 8 + 24 + 5 + 3. */
    put_record(&b, 0, 2, "");             /* At 40; no picture is one, too. */
    put_header(&labels, 1, 0, 9);         /* At 72: the label behind the header. */
    put(&labels, "\0\0\x30\x41rose", 8);  /* 11 as a float. */
    put_part(&b, 0, labels.of, labels.n); /* 8 + 24 + 8. */
    size_t split_at = b.n;                /* 112 */
    bytes whole = {.n = 0};
    put_header(&whole, 0, 2, 3);
    put(&whole, "abcd", 4);
    put_part(&b, 1, whole.of, whole.n); /* abcd, the magic, nothing, the magic, xyz */
    put_part(&b, 2, "", 0);
    put_part(&b, 3, "xyz", 3);
    keep("r.rec", &b);
    assert_int_equal(open_train("r.rec"), THAW_OK);
    assert_int_equal(dataset.n_classes, 2);
    assert_string_equal(dataset.class_name[0], "2");
    assert_string_equal(dataset.class_name[1], "11");
    assert_int_equal(dataset.n, 4);
    assert_int_equal(split_at, 112);
    assert_string_equal(path_of(0), "r.rec/40");
    assert_string_equal(path_of(1), "r.rec/112");
    assert_string_equal(path_of(2), "r.rec/0");
    assert_string_equal(path_of(3), "r.rec/72");
    char picture[32] = "abcd";
    memcpy(picture + 4, magic, 4);
    memcpy(picture + 8, magic, 4);
    memcpy(picture + 12, "xyz", 3);
    expect_picture("r.rec/40", "", 0);
    expect_picture("r.rec/112", picture, 15);
    expect_picture("r.rec/0", "tulip", 5);
    expect_picture("r.rec/72", "rose", 4);
    /* Several files, and one that is a folder's only class or not: an id is a name. */
    tempdir_folder(&place, "shards");
    b.n = 0;
    put_record(&b, 0, 0, "a");
    keep("shards/2.rec", &b);
    b.n = 0;
    put_record(&b, 0, 1, "b");
    put_record(&b, 0, 1, "c");
    keep("shards/10.rec", &b);
    tempdir_file(&place, "shards/10.idx", "0\t0\n");
    assert_int_equal(open_train("shards/"), THAW_OK);
    assert_int_equal(dataset.n, 3);
    assert_string_equal(dataset.class_name[0], "0");
    assert_string_equal(path_of(0), "shards/2.rec/0");
    assert_string_equal(path_of(2), "shards/10.rec/36");
    expect_picture(path_of(2), "c", 1);
    /* Beside folders of classes they are files like others. */
    tempdir_file(&place, "shards/ant/1.jpg", "");
    tempdir_file(&place, "shards/bee/1.jpg", "");
    assert_int_equal(open_train("shards"), THAW_OK);
    assert_string_equal(dataset.class_name[0], "ant");
}

/* The writer splits at the magic as MXNet's does, and what it writes is read. */
static void what_is_written_is_read(void **state) {
    (void)state;
    static const char magic[4] = "\x0a\x23\xd7\xce";
    uint64_t seed = 3;
    char pictures[40][64];
    size_t n[40];
    FILE *out = fopen("w.rec", "w");
    for (size_t i = 0; i < 40; i++) {
        n[i] = test_random(&seed) % 60;
        for (size_t k = 0; k < n[i]; k++)
            pictures[i][k] = (char)test_random(&seed);
        for (size_t k = 0; k + 4 <= n[i] && i >= 10; k += 1 + test_random(&seed) % 9)
            memcpy(pictures[i] + k, magic, 4); /* At multiples of 4, and not. */
        assert_true(thaw_record_put(out, (float)(i % 3), i, pictures[i], n[i]));
    }
    fclose(out);
    thaw_record record = {0};
    int fd = open("w.rec", O_RDONLY);
    uint64_t size = (uint64_t)lseek(fd, 0, SEEK_END);
    for (size_t i = 0; i < 40; i++) {
        char path[64];
        assert_int_equal(thaw_record_look(fd, "w.rec", size, record.end, &record, &err), THAW_OK);
        assert_int_equal(record.id, i);
        assert_true(record.label == (float)(i % 3));
        snprintf(path, sizeof path, "w.rec/%zu", (size_t)record.begin);
        expect_picture(path, pictures[i], n[i]);
    }
    assert_int_equal(record.end, size);
    /* At a multiple of 4 the magic is nowhere but before a part. */
    size_t n_file, n_magic = 0, n_heads = 0;
    uint8_t *file = test_read("w.rec", &n_file);
    for (size_t at = 0; at < n_file; at += 4)
        n_magic += !memcmp(file + at, magic, 4);
    for (size_t at = 0; at < n_file; n_heads++) {
        uint32_t word;
        memcpy(&word, file + at + 4, 4);
        at += 8 + ((word & 0x1fffffff) + 3) / 4 * 4;
    }
    assert_int_equal(n_magic, n_heads);
    assert_true(n_heads > 40);
    free(file);
    close(fd);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void expect_refused(const char *path, thaw_status code, const char *said) {
    assert_int_equal(open_train(path), code);
    if (!strstr(err.text, said)) fail_msg("expected \"%s\" in\n%s", said, err.text);
}

static void cuts_are_named_with_their_byte(void **state) {
    (void)state;
    bytes b = {.n = 0};
    put_record(&b, 0, 0, "a");
    size_t second = b.n;
    put_record(&b, 0, 1, "bbbbbb");
    for (size_t n = 1; n < b.n; n++) {
        char said[128];
        write_bytes("cut.rec", b.of, n);
        if (n == second) continue; /* One whole record: of one class only. */
        snprintf(said, sizeof said, "ends at byte %zu, within the record that begins at byte %zu",
                 n, n < second ? 0 : second);
        expect_refused("cut.rec", THAW_ERR_FORMAT, said);
    }
    write_bytes("cut.rec", "", 0);
    expect_refused("cut.rec", THAW_ERR_DATA, "lists no picture");
}

static void damage_is_named_with_its_byte(void **state) {
    (void)state;
    bytes good = {.n = 0};
    put_record(&good, 0, 0, "a");
    bytes b = good;
    size_t at = good.n;
#define EXPECT(code, said)                     \
    do {                                       \
        keep("bad.rec", &b);                   \
        expect_refused("bad.rec", code, said); \
        b = good;                              \
    } while (0)
    put(&b, "JFIF----", 8);
    EXPECT(THAW_ERR_FORMAT, "damaged at byte 36: expected a record of RecordIO");
    put_record(&b, 0, 1, "b");
    b.of[at] ^= 1;
    EXPECT(THAW_ERR_FORMAT, "damaged at byte 36: expected a record");
    put_part(&b, 2, "between", 7); /* Without a first part. */
    EXPECT(THAW_ERR_FORMAT, "damaged at byte 36: expected a record");
    put_part(&b, 1, "first", 5); /* Without a last one. */
    EXPECT(THAW_ERR_FORMAT, "is cut off");
    put_part(&b, 1, "first", 5);
    put_record(&b, 0, 1, "b");
    EXPECT(THAW_ERR_FORMAT, "damaged at byte 52: expected the next part");
    put_part(&b, 0, "no header", 9);
    EXPECT(THAW_ERR_FORMAT, "record at byte 36 holds 9 bytes, too few");
    put_record(&b, 2, 0, "four"); /* Two labels, room for one. */
    EXPECT(THAW_ERR_FORMAT, "record at byte 36 holds 28 bytes, too few");
    put_record(&b, 0xffffffff, 0, "eight---");
    EXPECT(THAW_ERR_FORMAT, "too few");
    put_record(&b, 2, 0, "eight---");
    EXPECT(THAW_ERR_UNSUPPORTED, "record at byte 36 has 2 labels");
    put_record(&b, 0, 1.5F, "");
    EXPECT(THAW_ERR_FORMAT, "record at byte 36 has the label 1.5");
    put_record(&b, 0, NAN, "");
    EXPECT(THAW_ERR_FORMAT, "expected a class id");
    put_record(&b, 0, -1, "");
    EXPECT(THAW_ERR_FORMAT, "has the label -1");
    keep("bad.rec", &b);
    expect_refused("bad.rec", THAW_ERR_DATA, "only one class, '0'");
    char *got;
    size_t n;
    assert_int_equal(thaw_picture_read("bad.rec/4", &arena, &got, &n, &err), THAW_ERR_FORMAT);
    assert_int_equal(thaw_picture_read("bad.rec/36", &arena, &got, &n, &err), THAW_ERR_FORMAT);
    assert_int_equal(thaw_picture_read("bad.rec/99999999999999999999", &arena, &got, &n, &err),
                     THAW_ERR_IO);
    assert_int_equal(thaw_picture_read("gone.rec/0", &arena, &got, &n, &err), THAW_ERR_IO);
    assert_int_equal(thaw_record_read("bad.rec", 0, 24, &arena, &got, &n, &err), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "at most 24 are read"));
    assert_int_equal(thaw_record_read("bad.rec", 0, 25, &arena, &got, &n, &err), THAW_OK);
}

/* ---- the program ----------------------------------------------------------------------------- */

enum { CLASSES = 8, TRAIN = 6, TEST = 2 };

static const char *const drawn[CLASSES] = {"bellflower", "lily", "lupin",     "marguerite",
                                           "pansy",      "rose", "sunflower", "tulip"};

/* The drawn pictures of a split as folders called by the classes' numbers, and as records. */
static void number_and_pack(const char *split, int n) {
    char from[128], to[128];
    snprintf(to, sizeof to, "%s.rec", split);
    FILE *out = fopen(to, "w");
    for (int k = 0; k < CLASSES; k++)
        for (int i = 0; i < n; i++) {
            size_t size;
            snprintf(from, sizeof from, "pics/%s/%s/%s-%04d.jpg", split, drawn[k], drawn[k], i);
            snprintf(to, sizeof to, "numbers/%s/%d", split, k);
            tempdir_folder(&place, to);
            snprintf(to, sizeof to, "numbers/%s/%d/%d.jpg", split, k, i);
            copy_file(from, to);
            uint8_t *picture = test_read(from, &size);
            assert_true(thaw_record_put(out, (float)k, (uint64_t)i, picture, size));
            free(picture);
        }
    fclose(out);
}

static void the_same_network_as_from_folders(void **state) {
    (void)state;
    program p = {0};
    number_and_pack("train", TRAIN);
    number_and_pack("test", TEST);
#define WITH "train --model=m.onnx --cache.dir=cache --data.validation=0 "
    program_expect_ok(&p, WITH "--data.train=numbers --out=folders");
    program_free(&p);
    program_expect_ok(&p, WITH "--data.train=train.rec --data.test=test.rec --out=records");
    expect_counts(&p, CLASSES * (TRAIN + TEST), 0);
    program_free(&p);
    expect_equal_files("folders/model.onnx", "records/model.onnx");
    expect_equal_files("folders/golden/2.jpg", "records/golden/2");
    /* Views of records, and a sheet of them. */
    program_expect_ok(&p, WITH "--data.train=train.rec --out=views --views=2 --views.show=s.jpg");
    program_free(&p);
    assert_true(is_there("s.jpg"));
    program_expect_ok(&p, "eval records test.rec --cache.dir=cache --csv=answers.csv");
    program_free(&p);
    /* What a table calls a picture, predict finds. */
    size_t n;
    char *table = (char *)test_read("answers.csv", &n), path[64], answer[16];
    table[n] = '\0';
    assert_int_equal(sscanf(strchr(table, '\n'), " %63[^,],%*[^,],%15[^,]", path, answer), 2);
    assert_string_equal(path, "test.rec/0");
    program_expect_ok(&p, "predict records %s --top=1", path);
    char expected[128];
    snprintf(expected, sizeof expected, "%s\t%s\t", path, answer);
    program_expect_text(&p, p.out, expected);
    program_free(&p);
    free(table);
}

static void a_bad_picture_in_a_record_is_rejected(void **state) {
    (void)state;
    program p = {0};
    FILE *out = fopen("train.rec", "a");
    long at = ftell(out);
    assert_true(thaw_record_put(out, 0, 99, "no picture", 10));
    fclose(out);
    program_expect_ok(&p, WITH "--data.train=train.rec --out=bad");
    program_free(&p);
    size_t n;
    char *table = (char *)test_read("bad/rejected.csv", &n), expected[64];
    table[n] = '\0';
    snprintf(expected, sizeof expected, "\ntrain.rec/%ld,", at);
    assert_non_null(strstr(table, expected));
    free(table);
    tempdir_check(truncate("train.rec", at + 20) == 0, "truncate");
    program_run(&p, WITH "--data.train=train.rec --out=bad");
    program_expect_text(&p, program_refusal(&p, 1), "'train.rec' is cut off");
    program_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(records_are_pictures, teardown),
        cmocka_unit_test_teardown(what_is_written_is_read, teardown),
        cmocka_unit_test_teardown(cuts_are_named_with_their_byte, teardown),
        cmocka_unit_test_teardown(damage_is_named_with_its_byte, teardown),
        cmocka_unit_test(the_same_network_as_from_folders),
        cmocka_unit_test(a_bad_picture_in_a_record_is_rejected),
    };
    place = program_place(TRAIN, TEST);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    program_leave(&place);
    return failed;
}
