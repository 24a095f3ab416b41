/* Running the built program as a user does: words in, exit code and both streams out. */
#ifndef THAW_PROGRAM_H
#define THAW_PROGRAM_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "draw.h"
#include "tempdir.h"
#include "testing.h"

enum { PROGRAM_WORDS = 48, PROGRAM_LINE = 4096, PROGRAM_NOBODY = 65534, PROGRAM_KILLED = 1000 };

/* A run of the program; zero but for what the caller wants. Free with program_free. */
typedef struct program {
    bool as_nobody;     /* Without root's rights; the caller is root. */
    const char *folder; /* Its working folder; NULL: this process's. */
    unsigned closed;    /* Bit i: it starts without descriptor i. */
    unsigned seconds;   /* After which it is killed; 0: never. */
    rlim_t most_bytes;  /* Largest file that it may write; 0: any. */
    rlim_t most_files;  /* Descriptors that it may have; 0: as many as this process. */
    int input;          /* Descriptor that it reads as standard input; 0: nothing. */
    pid_t pid;          /* While it runs. */
    int code;           /* Exit code, or PROGRAM_KILLED + the signal. */
    size_t peak_bytes;  /* Of its resident memory; more than this process's own. */
    char *out, *err;    /* What it wrote. */
    char line[PROGRAM_LINE];
    char out_path[64], err_path[64];
} program;

static inline int program_file(char path[64]) {
    snprintf(path, 64, "/tmp/thaw-stream-XXXXXX");
    int fd = mkostemp(path, O_CLOEXEC);
    tempdir_check(fd >= 0, path);
    return fd;
}

static inline void program_become(program *p, int out, int err) {
    char *argv[PROGRAM_WORDS + 2] = {THAW_PROGRAM}, *rest = p->line;
    int argc = 1;
    for (char *word; argc <= PROGRAM_WORDS && (word = strtok_r(rest, " ", &rest));)
        argv[argc++] = word;
    dup2(p->input ? p->input : open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    for (int i = 0; i <= STDERR_FILENO; i++)
        if (p->closed >> i & 1) close(i);
    alarm(p->seconds);
    if (p->folder && chdir(p->folder) != 0) _exit(125);
    if (p->most_bytes) {
        struct rlimit limit = {p->most_bytes, p->most_bytes};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (p->most_files) {
        struct rlimit limit = {p->most_files, p->most_files};
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (p->as_nobody && (setgid(PROGRAM_NOBODY) != 0 || setuid(PROGRAM_NOBODY) != 0)) _exit(126);
    execv(THAW_PROGRAM, argv);
    _exit(127);
}

/* Starts the program with the words of the line, which have one space between. */
static inline void program_start(program *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void program_start(program *p, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(p->line, sizeof p->line, format, args);
    va_end(args);
    assert_in_range(n, 1, sizeof p->line - 1);
    int out = program_file(p->out_path), err = program_file(p->err_path);
    p->pid = fork();
    tempdir_check(p->pid >= 0, "fork");
    if (p->pid == 0) program_become(p, out, err);
    close(out);
    close(err);
}

/* Whether programs are built with a sanitizer, whose memory is not theirs. */
static inline bool program_is_sanitized(void) {
#ifdef __SANITIZE_ADDRESS__
    return true;
#else
    return false;
#endif
}

static inline void pause_ms(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* Whether it has not ended yet. */
static inline bool program_is_running(const program *p) {
    siginfo_t info = {0};
    waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid != p->pid;
}

/* Waits until it has written something to standard output, or has ended. */
static inline void program_await_output(const program *p) {
    struct stat info;
    while (program_is_running(p) && (stat(p->out_path, &info) != 0 || info.st_size == 0))
        pause_ms(1);
}

static inline char *program_stream(const char *path) {
    size_t n;
    char *text = (char *)test_read(path, &n);
    text[n] = '\0';
    unlink(path);
    return text;
}

static inline void program_wait(program *p) {
    int status;
    struct rusage usage;
    while (wait4(p->pid, &status, 0, &usage) < 0)
        tempdir_check(errno == EINTR, "wait4");
    p->peak_bytes = (size_t)usage.ru_maxrss << 10;
    p->code = WIFEXITED(status) ? WEXITSTATUS(status) : PROGRAM_KILLED + WTERMSIG(status);
    p->out = program_stream(p->out_path);
    p->err = program_stream(p->err_path);
    if (strstr(p->err, "Sanitizer") || strstr(p->err, "runtime error:"))
        fail_msg("thaw %s\n%s", p->line, p->err);
}

static inline void program_free(program *p) {
    free(p->out);
    free(p->err);
    p->out = p->err = NULL;
}

#define program_run(p, ...)              \
    do {                                 \
        program_start((p), __VA_ARGS__); \
        program_wait(p);                 \
    } while (0)

/* Runs it and fails the test unless it succeeds. */
#define program_expect_ok(p, ...)                                                                  \
    do {                                                                                           \
        program_run((p), __VA_ARGS__);                                                             \
        if ((p)->code != 0) fail_msg("thaw %s: exit code %d\n%s", (p)->line, (p)->code, (p)->err); \
    } while (0)

static inline void program_expect_text(const program *p, const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("thaw %s: expected \"%s\" in\n%s", p->line, part, text);
}

/* Fails the test unless it refused with this code and exactly one sentence, the last line. Returns
 * the sentence, in p->err. */
static inline const char *program_refusal(const program *p, int code) {
    if (p->code != code)
        fail_msg("thaw %s: exit code %d, expected %d\n%s", p->line, p->code, code, p->err);
    const char *last = NULL;
    int n = 0;
    for (const char *line = p->err; *line;) {
        if (!strncmp(line, "thaw: ", 6)) {
            last = line;
            n++;
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    if (n != 1 || last[strcspn(last, "\n")] != '\n' || last[strcspn(last, "\n") + 1])
        fail_msg("thaw %s: expected one sentence, as the last line, in\n%s", p->line, p->err);
    return last;
}

/* What "features: H from the cache, M computed" said. */
static inline void counts_of(const program *p, unsigned *hits, unsigned *misses) {
    const char *line = strstr(p->err, "features: ");
    if (!line || sscanf(line, "features: %u from the cache, %u computed", hits, misses) != 2)
        fail_msg("thaw %s says nothing of its features\n%s", p->line, p->err);
}

static inline void expect_counts(const program *p, unsigned hits, unsigned misses) {
    unsigned got_hits, got_misses;
    counts_of(p, &got_hits, &got_misses);
    if (got_hits != hits || got_misses != misses)
        fail_msg("thaw %s: %u hits and %u misses, expected %u and %u", p->line, got_hits,
                 got_misses, hits, misses);
}

/* ---- JSON that it wrote ---------------------------------------------------------------------- */

static inline json_t *load(const char *path) {
    json_error_t problem;
    json_t *json = json_load_file(path, 0, &problem);
    if (!json) fail_msg("%s:%d: %s", path, problem.line, problem.text);
    return json;
}

/* The number at "a.b" of the object. */
static inline double number_at(const json_t *json, const char *keys) {
    char copy[128], *rest = copy;
    snprintf(copy, sizeof copy, "%s", keys);
    for (char *key; (key = strtok_r(rest, ".", &rest));)
        json = json_object_get(json, key);
    if (!json_is_number(json)) fail_msg("%s is not a number", keys);
    return json_number_value(json);
}

static inline double number_in(const char *path, const char *keys) {
    json_t *json = load(path);
    double value = number_at(json, keys);
    json_decref(json);
    return value;
}

/* ---- files, relative to the working folder ------------------------------------------------- */

static inline bool is_there(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

static inline void write_bytes(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    tempdir_check(file != NULL, path);
    tempdir_check(fwrite(bytes, 1, n, file) == n && fclose(file) == 0, path);
}

static inline void copy_file(const char *from, const char *to) {
    size_t n;
    uint8_t *bytes = test_read(from, &n);
    write_bytes(to, bytes, n);
    free(bytes);
}

static inline void expect_equal_files(const char *a, const char *b) {
    size_t n_a, n_b;
    uint8_t *bytes_a = test_read(a, &n_a), *bytes_b = test_read(b, &n_b);
    if (n_a != n_b || memcmp(bytes_a, bytes_b, n_a) != 0) fail_msg("%s and %s differ", a, b);
    free(bytes_a);
    free(bytes_b);
}

static inline void rename_or_fail(const char *from, const char *to) {
    tempdir_check(rename(from, to) == 0, from);
}

/* The only (or the first) shard below a cache folder. */
static inline bool find_shard(const char *root, char path[PATH_MAX]) {
    bool found = false;
    DIR *dir = opendir(root);
    const struct dirent *trunk;
    while (dir && !found && (trunk = readdir(dir))) {
        if (trunk->d_name[0] == '.') continue;
        char folder[PATH_MAX / 2];
        snprintf(folder, sizeof folder, "%s/%s", root, trunk->d_name);
        DIR *inside = opendir(folder);
        const struct dirent *entry;
        while (inside && !found && (entry = readdir(inside))) {
            const char *dot = strrchr(entry->d_name, '.');
            found = dot && !strcmp(dot, ".shard");
            if (found) snprintf(path, PATH_MAX, "%s/%s", folder, entry->d_name);
        }
        if (inside) closedir(inside);
    }
    if (dir) closedir(dir);
    return found;
}

static inline int remove_tree(const char *path) {
    return nftw(path, tempdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Makes a temporary folder the working folder, with m.onnx (the base CNN) and pics/train, pics/test
 * of eight drawn classes in it. The program sees no GPU: those have tests of their own. */
static inline tempdir program_place(int n_train, int n_test) {
    tempdir t = tempdir_make();
    tempdir_check(chdir(t.root) == 0, t.root);
    setenv("XDG_CACHE_HOME", t.root, 1);
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    copy_file(THAW_SOURCE_DIR "/datasets/flower_or_not.onnx", "m.onnx");
    thaw_error err = {0};
    thaw_draw_options draw = {.root = "pics",
                              .set = THAW_DRAW_SET_DEMO8,
                              .n_train = n_train,
                              .n_test = n_test,
                              .size = 64,
                              .seed = 7};
    if (thaw_draw_dataset(&draw, &err) != THAW_OK) fail_msg("%s", err.text);
    return t;
}

static inline void program_leave(tempdir *t) {
    tempdir_check(chdir("/") == 0, "/");
    tempdir_remove(t);
}

/* The teardown of a group of tests whose state is their place. */
static inline int program_close(void **state) {
    program_leave((tempdir *)*state);
    return 0;
}

#endif
