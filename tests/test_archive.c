/* Packed folders: what is packed comes back, the same files make the same bytes, nothing is written outside
 * or left behind; and a packed run is a model like any other. */
#include <sys/mount.h>
#include <utime.h>

#include "model/archive.h"
#include "program.h"

static tempdir place;
static thaw_error err;

static void expect_ok(thaw_status status) {
    if (status != THAW_OK) fail_msg("%s", err.text);
}

static void expect_text(const char *path, const char *text) {
    size_t n;
    uint8_t *bytes = test_read(path, &n);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(bytes, text, n);
    free(bytes);
}

/* ---- packing --------------------------------------------------------------------------------- */

static const char *const all[] = {"", NULL};

static void what_is_packed_comes_back(void **state) {
    (void)state;
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[100] = '/';
    longest[250] = '\0';
    tempdir_file(&place, "in/b.txt", "bees");
    tempdir_file(&place, "in/a/c.txt", "");
    tempdir_file(&place, "in/\xe6\xa1\x9c \xff", "no UTF-8");
    char path[512];
    snprintf(path, sizeof path, "in/%s", longest);
    tempdir_file(&place, path, "deep");
    tempdir_check(symlink("b.txt", "in/link") == 0, "symlink");
    expect_ok(thaw_archive_pack("in", all, "all.tar.gz", &err));
    expect_ok(thaw_archive_unpack("all.tar.gz", "out", &err));
    expect_text("out/b.txt", "bees");
    expect_text("out/a/c.txt", "");
    expect_text("out/\xe6\xa1\x9c \xff", "no UTF-8");
    expect_text("out/link", "bees"); /* Not as a link. */
    path[0] = 'o', path[1] = 'u';
    snprintf(path, sizeof path, "out/%s", longest);
    expect_text(path, "deep");
    struct stat info;
    assert_int_equal(lstat("out/link", &info), 0);
    assert_true(S_ISREG(info.st_mode));
    /* Neither dates nor rights nor the order of a folder's entries are in it. */
    utime("in/b.txt", &(struct utimbuf){1000, 1000});
    chmod("in/b.txt", 0600);
    expect_ok(thaw_archive_pack("in/", all, "again.tar.gz", &err));
    expect_equal_files("all.tar.gz", "again.tar.gz");
    /* Some of it. */
    static const char *const some[] = {"b.txt", "a", NULL};
    expect_ok(thaw_archive_pack("in", some, "some.tar.gz", &err));
    expect_ok(thaw_archive_unpack("some.tar.gz", "some", &err));
    assert_true(is_there("some/a/c.txt") && is_there("some/b.txt") && !is_there("some/link"));
    static const char *const same[] = {"a", "b.txt", NULL};
    expect_ok(thaw_archive_pack("in", same, "same.tar.gz", &err));
    expect_equal_files("some.tar.gz", "same.tar.gz");
    static const char *const none[] = {"b.txt", "gone", NULL};
    assert_int_equal(thaw_archive_pack("in", none, "none.tar.gz", &err), THAW_ERR_IO);
    assert_non_null(strstr(err.text, "in/gone"));
    assert_false(is_there("none.tar.gz"));
    /* What is there is not written over. */
    assert_int_equal(thaw_archive_unpack("all.tar.gz", "some", &err), THAW_ERR_IO);
    assert_true(is_there("some/b.txt"));
}

/* ---- unpacking ------------------------------------------------------------------------------- */

/* An entry of a tar file as the POSIX of 1988 has it. */
static void put_entry(FILE *out, const char *name, char type, const char *link, size_t n) {
    char block[512] = {0}, bytes[512] = {0};
    snprintf(block, 100, "%s", name);
    memcpy(block + 100, "0000644\0000000000\0000000000", 23);
    snprintf(block + 124, 12, "%011zo", n);
    memcpy(block + 136, "00000000000", 12);
    memset(block + 148, ' ', 8);
    block[156] = type;
    snprintf(block + 157, 100, "%s", link);
    memcpy(block + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
    fwrite(block, 512, 1, out);
    for (size_t done = 0; done < n; done += 512)
        fwrite(bytes, 512, 1, out);
}

static void end_tar(FILE *out) {
    static const char zeros[1024];
    fwrite(zeros, sizeof zeros, 1, out);
    fclose(out);
}

static void what_does_not_belong_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *name;
        char type;
        const char *link, *said;
    } entries[] = {
        {"/tmp/thaw-escaped", '0', "", "leads out"},
        {"../escaped", '0', "", "leads out"},
        {"a/../../escaped", '0', "", "leads out"},
        {"..", '5', "", "leads out"},
        {"link", '2', "/etc/passwd", "is a link"},
        {"link", '2', "good", "is a link"},
        {"hard", '1', "good", "is a link"},
        {"device", '3', "", "neither a file nor a folder"},
        {"fifo", '6', "", "neither a file nor a folder"},
        {"good", '0', "", "is there twice"},
        {"./good", '0', "", "is there twice"},
    };
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        FILE *tar = fopen("bad.tar", "w");
        put_entry(tar, "good", '0', "", 3);
        put_entry(tar, entries[i].name, entries[i].type, entries[i].link, 0);
        end_tar(tar);
        assert_int_equal(thaw_archive_unpack("bad.tar", "bad", &err), THAW_ERR_FORMAT);
        if (!strstr(err.text, entries[i].said)) fail_msg("%s: %s", entries[i].name, err.text);
        assert_false(is_there("bad") || is_there("escaped") || is_there("/tmp/thaw-escaped"));
    }
    FILE *tar = fopen("bad.tar", "w");
    put_entry(tar, "folder/", '5', "", 0);
    end_tar(tar);
    assert_int_equal(thaw_archive_unpack("bad.tar", "bad", &err), THAW_ERR_FORMAT);
    assert_non_null(strstr(err.text, "without a file"));
    assert_int_equal(thaw_archive_unpack("gone.tar.gz", "bad", &err), THAW_ERR_IO);
    assert_false(is_there("bad"));
}

static void damaged_archives_leave_nothing(void **state) {
    (void)state;
    uint64_t seed = 5;
    size_t n;
    tempdir_folder(&place, "noise");
    uint8_t noise[20000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)test_random(&seed);
    write_bytes("noise/n", noise, sizeof noise);
    expect_ok(thaw_archive_pack("noise", all, "whole.tar.gz", &err));
    uint8_t *bytes = test_read("whole.tar.gz", &n);
    for (size_t cut = 0; cut < n - 100; cut += n / 23) {
        write_bytes("cut.tar.gz", bytes, cut);
        assert_int_equal(thaw_archive_unpack("cut.tar.gz", "cut", &err), THAW_ERR_FORMAT);
        assert_false(is_there("cut"));
    }
    free(bytes);
}

static void a_small_disk_is_not_filled(void **state) {
    (void)state;
    FILE *tar = fopen("large.tar", "w");
    put_entry(tar, "large", '0', "", 3 << 20);
    end_tar(tar);
    tempdir_folder(&place, "small");
    if (geteuid() != 0 || mount("tmpfs", "small", "tmpfs", 0, "size=2m") != 0) {
        print_message("SKIPPED: a small disk, since this user cannot mount one\n");
        skip();
    }
    thaw_status status = thaw_archive_unpack("large.tar", "small/out", &err);
    bool left = is_there("small/out");
    umount2("small", MNT_DETACH);
    assert_int_equal(status, THAW_ERR_IO);
    assert_non_null(strstr(err.text, "unpacks to more than the 1 MB"));
    assert_false(left);
}

/* ---- the program ----------------------------------------------------------------------------- */

#define TRAIN "train --data.train=pics --epochs=2 --cache.dir=cache "

static bool is_empty(const char *folder) {
    int n = 0;
    DIR *dir = opendir(folder);
    while (dir && readdir(dir))
        n++;
    closedir(dir);
    return n == 2;
}

static void a_run_is_a_model_packed_or_not(void **state) {
    (void)state;
    program p = {0};
    tempdir_folder(&place, "temporary");
    setenv("TMPDIR", "temporary", 1);
    program_expect_ok(&p, TRAIN "--model=m.onnx --out=first");
    program_free(&p);
    program_expect_ok(&p, "export first --tar=first.tar.gz");
    program_free(&p);
    program_expect_ok(&p, "export first --tar again.tgz");
    program_free(&p);
    expect_equal_files("first.tar.gz", "again.tgz");
    expect_ok(thaw_archive_unpack("first.tar.gz", "served", &err));
    program_expect_ok(&p, "predict served pics/test/rose/rose-0000.jpg");
    program_free(&p);
    assert_false(is_there("served/report.html"));
    static const char *const forms[] = {"first/model.onnx", "first", "first/", "first.tar.gz"};
    for (int i = 0; i < 4; i++) {
        program_expect_ok(&p, TRAIN "--model=%s --freeze=stage3 --top.epochs=1 --out=second%d",
                          forms[i], i);
        program_expect_text(&p, p.err, i == 3 ? "model: first.tar.gz, " : "first");
        program_free(&p);
        char path[64];
        snprintf(path, sizeof path, "second%d/model.onnx", i);
        expect_equal_files("second0/model.onnx", path);
        program_expect_ok(&p, "inspect %s", forms[i]);
        program_expect_text(&p, p.out, "the model's own metadata");
        program_free(&p);
        program_expect_ok(&p, "cache explain --model=%s --cache.dir=cache", forms[i]);
        program_free(&p);
        assert_true(is_empty("temporary"));
    }
    json_t *json = load("second3/bundle.json");
    const json_t *provenance = json_object_get(json, "provenance");
    assert_string_equal(json_string_value(json_object_get(provenance, "model")), "first.tar.gz");
    json_decref(json);
}

/* What answers, measures and exports takes one, too. */
static void a_packed_run_serves(void **state) {
    (void)state;
    static const char *const lines[] = {"predict %s --json pics/test/rose/rose-0000.jpg",
                                        "eval %s pics/test --json"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        program folder = {0}, packed = {0};
        char line[128];
        snprintf(line, sizeof line, lines[i], "first");
        program_expect_ok(&folder, "%s", line);
        snprintf(line, sizeof line, lines[i], "first.tar.gz");
        program_expect_ok(&packed, "%s", line);
        assert_string_equal(folder.out, packed.out);
        program_free(&folder);
        program_free(&packed);
        assert_true(is_empty("temporary"));
    }
    program p = {0};
    program_expect_ok(&p, "export first.tar.gz --tar=repacked.tar.gz --onnx=taken.onnx");
    program_free(&p);
    expect_equal_files("first.tar.gz", "repacked.tar.gz");
    expect_equal_files("first/model.onnx", "taken.onnx");
    assert_true(is_empty("temporary"));
}

static void what_is_no_model_is_refused(void **state) {
    (void)state;
    size_t n;
    uint8_t *bytes = test_read("first.tar.gz", &n);
    write_bytes("half.tar.gz", bytes, n / 2);
    free(bytes);
    copy_file("m.onnx", "named.tar.gz");
    expect_ok(thaw_archive_unpack("first.tar.gz", "changed", &err));
    bytes = test_read("changed/model.onnx", &n);
    bytes[n / 2] ^= 1; /* A weight. */
    write_bytes("changed/model.onnx", bytes, n);
    free(bytes);
    expect_ok(thaw_archive_pack("changed", all, "changed.tar.gz", &err));
    tempdir_file(&place, "broken/model.onnx", "no model");
    expect_ok(thaw_archive_pack("broken", all, "broken.tar.gz", &err));
    tempdir_file(&place, "other/net.onnx", "");
    expect_ok(thaw_archive_pack("other", all, "other.tar.gz", &err));
    static const struct {
        const char *line, *said;
        int code;
    } lines[] = {
        {"inspect half.tar.gz", "'half.tar.gz' cannot be unpacked", 1},
        {"inspect named.tar.gz", "it is damaged, or no .tar.gz", 1},
        {"inspect changed.tar.gz", "is not the model that its bundle.json was written for", 1},
        {"inspect changed", "is not the model that its bundle.json was written for", 1},
        {"inspect other.tar.gz", "'other.tar.gz' holds no model.onnx", 1},
        {"inspect broken.tar.gz", "model.onnx", 1},
        {"inspect pics", "'pics' holds no model.onnx: expected an ONNX file", 1},
        {"inspect gone.tar.gz", "gone.tar.gz", 1},
        {"predict half.tar.gz a.jpg", "'half.tar.gz' cannot be unpacked", 1},
        {"predict other.tar.gz a.jpg", "other.tar.gz is not a trained run", 1},
        {"eval changed.tar.gz pics", "is not the model that its bundle.json was written for", 1},
        {"serve other.tar.gz --serve.port=0", "other.tar.gz is not a trained run", 1},
        {"export half.tar.gz --onnx=x.onnx", "'half.tar.gz' cannot be unpacked", 1},
        {"export first", "--safetensors FILE or --tar", 2},
        {"export first --tar=first.zip", "expected the name of a .tar.gz", 2},
        {"export pics --tar=x.tar.gz", "pics/bundle.json", 1},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        program p = {0};
        program_run(&p, "%s", lines[i].line);
        program_expect_text(&p, program_refusal(&p, lines[i].code), lines[i].said);
        program_free(&p);
    }
    program p = {0};
    program_run(&p, TRAIN "--model=half.tar.gz --out=refused");
    program_refusal(&p, 1);
    program_free(&p);
    assert_true(is_empty("temporary"));
    setenv("TMPDIR", "nowhere", 1);
    program_run(&p, "inspect first.tar.gz");
    program_expect_text(&p, program_refusal(&p, 1),
                        "cannot make a folder for 'first.tar.gz' in 'nowhere'");
    program_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(what_does_not_belong_is_refused),
        cmocka_unit_test(damaged_archives_leave_nothing),
        cmocka_unit_test(a_small_disk_is_not_filled),
        cmocka_unit_test(a_run_is_a_model_packed_or_not),
        cmocka_unit_test(a_packed_run_serves),
        cmocka_unit_test(what_is_no_model_is_refused),
    };
    place = program_place(3, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    program_leave(&place);
    return failed;
}
