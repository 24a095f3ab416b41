/* What goes wrong on purpose: a library that LD_PRELOAD puts before a program's others. The
 * environment says what:
 *
 *   FAULT_ALLOC=N            the N-th allocation fails with ENOMEM
 *   FAULT_TRACE=1            says on standard error on which way it was reached (see addr2line)
 *   FAULT_PATHS=FILE         appends a line for each way on which allocations are reached: the number
 *                            of the first that came that way, and a hash of the callers, which is the
 *                            same in every run
 *   FAULT_OPEN=TEXT ERRNO    opening a path that ends in TEXT fails, ERRNO a number
 *   FAULT_READ=TEXT ERRNO    so does reading from such a file
 *   FAULT_LOG=FILE           appends "make PATH" (relative to a folder's descriptor), "sync PATH" and
 *                            "rename FROM TO" as they happen
 *
 * Allocations are malloc, calloc, realloc and those with alignment, of every caller: the program,
 * jansson, protobuf-c, libjpeg, and within the C library strdup, fopen or open_memstream. Not counted
 * are those of the loader and of three libraries that end the program themselves when one fails:
 * libgomp exits, the C++ library throws through C code, and so oneDNN, which is written in it.
 * glibc only. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

enum { MOST_RANGES = 512, MOST_PATHS = 1 << 16, DEPTH = 12 };

/* The loaded objects. */
static struct {
    uintptr_t begin, end, base;
    uint64_t name; /* A hash. */
    bool exempt;   /* Its allocations do not count. */
} ranges[MOST_RANGES];
static int n_ranges;

static bool traced;
static bool ready; /* The program's main has begun. */
static long fail_at;
static atomic_long n_allocations;
static const char *paths_file, *log_file;
static atomic_ullong seen[MOST_PATHS]; /* Hashes of ways, an open table; 0 is free. */
static _Thread_local bool inside __attribute__((tls_model("initial-exec")));

/* ---- which allocations count ----------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value) {
    return (hash ^ value) * 0x100000001b3; /* FNV-1a, of eight bytes at once. */
}

static int note_object(struct dl_phdr_info *info, size_t size, void *context) {
    static const char *const exempt[] = {"libgomp",  "libstdc++", "libdnnl",
                                         "libgcc_s", "ld-linux",  "thaw_faults"};
    (void)size, (void)context;
    bool named = false;
    uint64_t name = 1;
    for (size_t i = 0; i < sizeof exempt / sizeof *exempt; i++)
        named |= strstr(info->dlpi_name, exempt[i]) != NULL;
    for (const char *c = info->dlpi_name; *c; c++)
        name = mix(name, (uint64_t)*c);
    for (int i = 0; i < info->dlpi_phnum && n_ranges < MOST_RANGES; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + part->p_vaddr;
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        ranges[n_ranges].begin = begin;
        ranges[n_ranges].end = begin + part->p_memsz;
        ranges[n_ranges].base = info->dlpi_addr;
        ranges[n_ranges].name = name;
        ranges[n_ranges++].exempt = named;
    }
    return 0;
}

/* The range that an address lies in; -1: none. */
static int find_range(uintptr_t at) {
    for (int i = 0; i < n_ranges; i++)
        if (at >= ranges[i].begin && at < ranges[i].end) return i;
    return -1;
}

static bool counts(const void *caller) {
    int range = find_range((uintptr_t)caller);
    return range < 0 || !ranges[range].exempt;
}

/* A hash of the innermost callers that is the same in every run of one build. */
static uint64_t hash_way(void) {
    void *frames[DEPTH];
    uint64_t hash = 0xcbf29ce484222325;
    for (int i = 0, n = backtrace(frames, DEPTH); i < n; i++) {
        uintptr_t at = (uintptr_t)frames[i];
        int range = find_range(at);
        hash = mix(mix(hash, range < 0 ? 0 : ranges[range].name),
                   range < 0 ? 0 : at - ranges[range].base);
    }
    return hash ? hash : 1;
}

/* Whether nothing came this way before. */
static bool is_new(uint64_t way) {
    for (size_t at = way % MOST_PATHS, tried = 0; tried < MOST_PATHS; tried++) {
        unsigned long long before = 0;
        if (atomic_compare_exchange_strong(&seen[at], &before, way)) return true;
        if (before == way) return false;
        at = (at + 1) % MOST_PATHS;
    }
    return false;
}

static void append(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(const char *path, const char *format, ...) {
    char line[2 * PATH_MAX + 32];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args), before = errno;
    va_end(args);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, line, (size_t)n) != n) abort();
    close(fd);
    errno = before;
}

static void trace(void) {
    void *frames[DEPTH];
    inside = true;
    backtrace_symbols_fd(frames, backtrace(frames, DEPTH), STDERR_FILENO);
    inside = false;
}

/* Whether the allocation of this caller is to fail. */
static bool fails(const void *caller) {
    if (!ready || inside || (!fail_at && !paths_file) || !counts(caller)) return false;
    long number = atomic_fetch_add(&n_allocations, 1) + 1;
    if (paths_file) {
        inside = true;
        uint64_t way = hash_way();
        if (is_new(way)) append(paths_file, "%ld %016" PRIx64 "\n", number, way);
        inside = false;
    }
    if (number != fail_at) return false;
    if (traced) trace();
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, n);
}

void *memalign(size_t alignment, size_t n) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, n);
}

void *aligned_alloc(size_t alignment, size_t n) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, n);
}

int posix_memalign(void **p, size_t alignment, size_t n) {
    void *memory = fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, n);
    if (memory) *p = memory;
    return memory ? 0 : ENOMEM;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A path's end and the number to fail with. */
typedef struct fault {
    char text[NAME_MAX];
    int number;
} fault;
static fault of_open, of_read;

static void read_fault(const char *variable, fault *f) {
    const char *value = getenv(variable);
    if (value && sscanf(value, "%254s %d", f->text, &f->number) != 2) abort();
}

static bool strikes(const fault *f, const char *path) {
    size_t n = strlen(path), m = strlen(f->text);
    if (!f->number || n < m || strcmp(path + n - m, f->text) != 0) return false;
    errno = f->number;
    return true;
}

static void path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = '\0';
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return strikes(&of_open, path) ? -1 : NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return strikes(&of_open, path) ? -1 : NEXT(open64)(path, flags, mode);
}

int openat(int folder, const char *name, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    int fd = NEXT(openat)(folder, name, flags, mode);
    char path[PATH_MAX];
    if (log_file && fd >= 0 && flags & O_CREAT) {
        path_of(fd, path);
        append(log_file, "make %s\n", path);
    }
    return fd;
}

ssize_t read(int fd, void *bytes, size_t n) {
    char path[PATH_MAX];
    if (of_read.number) {
        path_of(fd, path);
        if (strikes(&of_read, path)) return -1;
    }
    return NEXT(read)(fd, bytes, n);
}

static void log_sync(int fd) {
    char path[PATH_MAX];
    if (!log_file) return;
    path_of(fd, path);
    append(log_file, "sync %s\n", path);
}

int fsync(int fd) {
    log_sync(fd);
    return NEXT(fsync)(fd);
}

int fdatasync(int fd) {
    log_sync(fd);
    return NEXT(fdatasync)(fd);
}

int rename(const char *from, const char *to) {
    if (log_file) append(log_file, "rename %s %s\n", from, to);
    return NEXT(rename)(from, to);
}

__attribute__((constructor)) static void start(void) {
    const char *number = getenv("FAULT_ALLOC");
    void *frame;
    dl_iterate_phdr(note_object, NULL);
    fail_at = number ? atol(number) : 0;
    traced = getenv("FAULT_TRACE") != NULL;
    paths_file = getenv("FAULT_PATHS");
    log_file = getenv("FAULT_LOG");
    read_fault("FAULT_OPEN", &of_open);
    read_fault("FAULT_READ", &of_read);
    backtrace(&frame, 1); /* Loads what it needs. */
}

/* ---- the program's start ----------------------------------------------------------------------- */

static int (*program_main)(int argc, char **argv, char **env);

static int main_of_faults(int argc, char **argv, char **env) {
    ready = true;
    return program_main(argc, argv, env);
}

/* What runs before main, such as CUDA's registering of kernels, is not the program's. */
int __libc_start_main(int (*begin)(int, char **, char **), int argc, char **argv,
                      void (*init)(void), void (*fini)(void), void (*loader_fini)(void),
                      void *stack_end) {
    int (*next)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void),
                void (*)(void), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "__libc_start_main");
    program_main = begin;
    return next(main_of_faults, argc, argv, init, fini, loader_fini, stack_end);
}
