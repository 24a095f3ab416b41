/* Files are read whole or refused in words; they are written whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
//
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/resource.h>

#include "file.h"
#include "tempdir.h"

static tempdir dir;
static char path[PATH_MAX], other[PATH_MAX];
static thaw_error err;

static int setup(void **state) {
    (void)state;
    dir = tempdir_make();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tempdir_remove(&dir);
    return 0;
}

static size_t count_entries(void) {
    size_t n = 0;
    DIR *d = opendir(dir.root);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void assert_sentence(const char *format, ...) {
    char expected[THAW_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(expected, sizeof expected, format, args);
    va_end(args);
    assert_string_equal(err.text, expected);
}

static void read_back(void **state) {
    (void)state;
    thaw_arena arena = {0};
    char *bytes;
    size_t n;
    tempdir_path(&dir, "a", path);
    assert_int_equal(thaw_file_write(path, "one\0two", 7, &err), THAW_OK);
    assert_int_equal(thaw_file_read(path, 7, &arena, &bytes, &n, &err), THAW_OK);
    assert_int_equal(n, 7);
    assert_memory_equal(bytes, "one\0two", 8);
    assert_int_equal(thaw_file_write(path, "", 0, &err), THAW_OK);
    assert_int_equal(thaw_file_read(path, 7, &arena, &bytes, &n, &err), THAW_OK);
    assert_int_equal(n, 0);
    assert_int_equal(count_entries(), 1);
    thaw_arena_free(&arena);
}

static void read_refused(void **state) {
    (void)state;
    thaw_arena arena = {0};
    char *bytes;
    size_t n;
    tempdir_path(&dir, "nowhere/a", path);
    assert_int_equal(thaw_file_read(path, 9, &arena, &bytes, &n, &err), THAW_ERR_IO);
    assert_sentence("cannot open '%s': No such file or directory", path);
    assert_int_equal(thaw_file_read(dir.root, 9, &arena, &bytes, &n, &err), THAW_ERR_IO);
    assert_sentence("cannot read '%s': Is a directory", dir.root);
    tempdir_file(&dir, "big", "0123456789");
    tempdir_path(&dir, "big", path);
    assert_int_equal(thaw_file_read(path, 9, &arena, &bytes, &n, &err), THAW_ERR_FORMAT);
    assert_sentence("'%s' has 10 bytes; at most 9 are read", path);
    tempdir_path(&dir, "pipe", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(thaw_file_read(path, 9, &arena, &bytes, &n, &err), THAW_ERR_IO);
    assert_sentence("cannot read '%s': it is not a regular file", path);
    thaw_arena_free(&arena);
}

/* Whether the file is to blame, or the system: the one rejects a picture, the other ends the run. */
static void reasons_are_told_apart(void **state) {
    (void)state;
    thaw_arena arena = {0};
    char *bytes;
    size_t n;
    struct rlimit before, none;
    tempdir_file(&dir, "there", "text");
    tempdir_path(&dir, "there", path);
    getrlimit(RLIMIT_NOFILE, &before);
    none = (struct rlimit){0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    thaw_status status = thaw_file_read(path, 9, &arena, &bytes, &n, &err);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(status, THAW_ERR_SYSTEM);
    assert_int_equal(err.code, THAW_ERR_SYSTEM);
    assert_sentence(
        "cannot open '%s': Too many open files; allow the program more open files "
        "(ulimit -n)",
        path);
    assert_false(thaw_status_rejects(status));
    assert_int_equal(symlink("loop", tempdir_path(&dir, "loop", path)), 0);
    assert_int_equal(thaw_file_read(path, 9, &arena, &bytes, &n, &err), THAW_ERR_IO);
    assert_true(thaw_status_rejects(THAW_ERR_IO));
    assert_true(thaw_status_rejects(THAW_ERR_FORMAT));
    assert_true(thaw_status_rejects(THAW_ERR_UNSUPPORTED));
    assert_false(thaw_status_rejects(THAW_ERR_NOMEM));
    assert_false(thaw_status_rejects(THAW_OK));
    thaw_arena_free(&arena);
}

/* The names under which files appear before they are renamed: another one each time, 64 bits of it
 * random, so that nobody plants a link there and no two writers meet, also from two machines. */
static void temporary_names_cannot_be_foretold(void **state) {
    (void)state;
    enum { WRITES = 50, ROOM = 64 << 10, DIGITS = 16 };
    static char events[ROOM], names[WRITES][DIGITS + 1];
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), n = 0;
    assert_true(inotify_add_watch(watch, dir.root, IN_CREATE) >= 0);
    tempdir_path(&dir, "a", path);
    for (int i = 0; i < WRITES; i++)
        assert_int_equal(thaw_file_write(path, "new", 3, &err), THAW_OK);
    ssize_t size = read(watch, events, sizeof events);
    close(watch);
    for (ssize_t at = 0; at < size;) {
        const struct inotify_event *e = (const struct inotify_event *)(events + at);
        assert_int_equal(sscanf(e->name, "a.tmp%16[0-9a-f]", names[n]), 1);
        assert_int_equal(strlen(e->name), strlen("a.tmp") + DIGITS);
        for (int k = 0; k < n; k++)
            assert_string_not_equal(names[k] + DIGITS / 2, names[n] + DIGITS / 2);
        n++;
        at += (ssize_t)(sizeof *e + e->len);
    }
    assert_int_equal(n, WRITES);
    assert_int_equal(count_entries(), 1);
}

/* A write that breaks off half-way leaves the old file and nothing else. */
static void write_is_atomic(void **state) {
    (void)state;
    static char bytes[8192];
    struct rlimit before, small = {4096, RLIM_INFINITY};
    tempdir_file(&dir, "kept", "old");
    tempdir_path(&dir, "kept", path);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    thaw_status status = thaw_file_write(path, bytes, sizeof bytes, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status, THAW_ERR_IO);
    assert_sentence("cannot write '%s': File too large", path);
    thaw_arena arena = {0};
    char *text;
    size_t n;
    assert_int_equal(thaw_file_read(path, 100, &arena, &text, &n, &err), THAW_OK);
    assert_string_equal(text, "old");
    assert_int_equal(count_entries(), 1);
    thaw_arena_free(&arena);
    tempdir_path(&dir, "nowhere/a", path);
    assert_int_equal(thaw_file_write(path, "x", 1, &err), THAW_ERR_IO);
    assert_sentence("cannot write '%s': No such file or directory", path);
}

static void written_in_pieces(void **state) {
    (void)state;
    thaw_arena arena = {0};
    thaw_new_file file;
    char *text;
    size_t n;
    tempdir_file(&dir, "table", "old");
    tempdir_path(&dir, "table", path);
    for (int finish = 0; finish < 2; finish++) {
        assert_int_equal(thaw_file_begin(&file, path, &err), THAW_OK);
        for (int i = 0; i < 10000; i++)
            fprintf(file.stream, "%04d\n", i);
        fflush(file.stream);
        assert_int_equal(thaw_file_read(path, 100000, &arena, &text, &n, &err), THAW_OK);
        assert_string_equal(text, "old");
        if (finish) assert_int_equal(thaw_file_finish(&file, &err), THAW_OK);
        thaw_file_abandon(&file);
        assert_int_equal(count_entries(), 1);
        assert_int_equal(thaw_file_read(path, 100000, &arena, &text, &n, &err), THAW_OK);
        assert_int_equal(n, finish ? 50000 : 3);
    }
    tempdir_path(&dir, "no/folder", path);
    assert_int_equal(thaw_file_begin(&file, path, &err), THAW_ERR_IO);
    assert_sentence("cannot write '%s': No such file or directory", path);
    thaw_file_abandon(&file);
    thaw_arena_free(&arena);
}

static void folders(void **state) {
    (void)state;
    tempdir_path(&dir, "a/b//c/", path);
    assert_int_equal(thaw_file_make_folders(path, &err), THAW_OK);
    assert_int_equal(thaw_file_make_folders(path, &err), THAW_OK);
    assert_int_equal(access(path, W_OK), 0);
    tempdir_file(&dir, "file", "");
    tempdir_path(&dir, "file/x", path);
    assert_int_equal(thaw_file_make_folders(path, &err), THAW_ERR_IO);
    assert_sentence("cannot make the folder '%s': Not a directory",
                    tempdir_path(&dir, "file", other));
    assert_int_equal(thaw_file_make_folders("", &err), THAW_ERR_IO);
}

static void join(void **state) {
    (void)state;
    thaw_arena arena = {0};
    assert_string_equal(thaw_file_join(&arena, "a", "b"), "a/b");
    assert_string_equal(thaw_file_join(&arena, "a/", "b"), "a/b");
    assert_string_equal(thaw_file_join(&arena, "", "b"), "b");
    assert_string_equal(thaw_file_join(&arena, "a", "/b"), "/b");
    assert_string_equal(thaw_file_join(&arena, "/", "b"), "/b");
    thaw_arena_free(&arena);
}

static void free_bytes(void **state) {
    (void)state;
    uint64_t here = 0, below = 0;
    assert_int_equal(thaw_file_free_bytes(dir.root, &here, &err), THAW_OK);
    tempdir_path(&dir, "not/yet/there", path);
    assert_int_equal(thaw_file_free_bytes(path, &below, &err), THAW_OK);
    assert_true(here > 0 && below > 0);
    assert_int_equal(thaw_file_free_bytes("relative/path", &below, &err), THAW_OK);
    assert_int_equal(thaw_file_free_bytes("/nowhere-at-all", &below, &err), THAW_OK);
    tempdir_file(&dir, "file", "");
    tempdir_path(&dir, "file/x", path);
    assert_int_equal(thaw_file_free_bytes(path, &below, &err), THAW_ERR_IO);
    assert_sentence("cannot look at the disk of '%s': Not a directory", path);
}

static void rejected(void **state) {
    (void)state;
    static const thaw_rejected rows[] = {
        {"a.jpg", "truncated at byte 12"},
        {"b, \"c\".png", "not a picture"},
        {"line\nbreak.jpg", "r\xc3\xb6ntgen"},
    };
    thaw_arena arena = {0};
    char *text;
    size_t n;
    tempdir_path(&dir, "rejected.csv", path);
    assert_int_equal(thaw_rejected_write(path, rows, 3, &err), THAW_OK);
    assert_int_equal(thaw_file_read(path, 1000, &arena, &text, &n, &err), THAW_OK);
    assert_string_equal(text,
                        "path,reason\r\na.jpg,truncated at byte 12\r\n"
                        "\"b, \"\"c\"\".png\",not a picture\r\n"
                        "\"line\nbreak.jpg\",r\xc3\xb6ntgen\r\n");
    assert_int_equal(thaw_rejected_write(path, NULL, 0, &err), THAW_OK);
    assert_int_equal(thaw_file_read(path, 1000, &arena, &text, &n, &err), THAW_OK);
    assert_string_equal(text, "path,reason\r\n");
    thaw_arena_free(&arena);
}

static void only_what_lies_inside_is_opened(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int code; /* 0: it opens. */
    } rows[] = {{"in/a", 0},         {"in/deep/b", 0},       {"./in//deep/./b", 0},
                {"in", 0},           {"/etc/passwd", EXDEV}, {"", EXDEV},
                {"..", EXDEV},       {"in/../in/a", EXDEV},  {"gone/../in/a", EXDEV},
                {"in/..a", ENOENT},  {"in/link", ELOOP},     {"in/out/a", ELOOP},
                {"in/a/b", ENOTDIR}, {"in/a/", ENOTDIR},     {"in/gone", ENOENT}};
    tempdir_file(&dir, "in/a", "a");
    tempdir_file(&dir, "in/deep/b", "b");
    assert_int_equal(symlink("a", tempdir_path(&dir, "in/link", path)), 0);
    assert_int_equal(symlink(".", tempdir_path(&dir, "in/out", path)), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        errno = 0;
        int fd = thaw_file_open_inside(dir.root, rows[i].name), code = fd < 0 ? errno : 0;
        if (fd >= 0) close(fd);
        if (code != rows[i].code)
            fail_msg("%s: %s, not %s", rows[i].name, strerror(code), strerror(rows[i].code));
    }
    assert_int_equal(thaw_file_open_inside("/nowhere", "a"), -1);
    assert_int_equal(errno, ENOENT);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(read_back),
                                       TEST(read_refused),
                                       TEST(reasons_are_told_apart),
                                       TEST(temporary_names_cannot_be_foretold),
                                       TEST(write_is_atomic),
                                       TEST(written_in_pieces),
                                       TEST(folders),
                                       TEST(join),
                                       TEST(free_bytes),
                                       TEST(rejected),
                                       TEST(only_what_lies_inside_is_opened)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
