#include "picture_list.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

enum { BUFFER = 4 * PATH_MAX };

static bool is_standard_input(const thaw_picture_list *p) {
    return strcmp(p->list, "-") == 0;
}

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for a list of pictures");
}

static thaw_status fail_list(const thaw_picture_list *p, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_IO, "cannot read the list '%.600s': %s", p->list,
                     strerror(errno));
}

thaw_status thaw_picture_list_open(thaw_picture_list *p, const char *const *args, size_t n_args,
                                   const char *list, const volatile int *stop, thaw_error *err) {
    *p = (thaw_picture_list){.args = args,
                             .n_args = n_args,
                             .list = list,
                             .stop = stop,
                             .fd = -1,
                             .scan = {.arena = &p->names}};
    if (!list) return THAW_OK;
    p->text = malloc(BUFFER);
    if (!p->text) return no_memory(err);
    p->fd = is_standard_input(p) ? STDIN_FILENO : open(list, O_RDONLY | O_CLOEXEC);
    return p->fd >= 0 ? THAW_OK : fail_list(p, err);
}

void thaw_picture_list_close(thaw_picture_list *p) {
    if (p->fd > STDIN_FILENO) close(p->fd);
    if (p->tar) thaw_tar_close(p->tar);
    free(p->text);
    thaw_scan_free(&p->scan);
    thaw_arena_free(&p->names);
}

/* ---- the list ------------------------------------------------------------------------------ */

/* Reads on, behind what is there. n receives how many bytes; 0 at the end, and when the program is to
 * stop: nobody may be writing to a pipe. */
static thaw_status read_on(thaw_picture_list *p, size_t *n, thaw_error *err) {
    enum { LOOK_UP_MS = 200 };
    struct pollfd wanted = {.fd = p->fd, .events = POLLIN};
    memmove(p->text, p->text + p->start, p->end - p->start);
    p->end -= p->start;
    p->start = 0;
    for (*n = 0; !(p->stop && *p->stop);) {
        int ready = poll(&wanted, 1, LOOK_UP_MS);
        ssize_t got = ready > 0 ? read(p->fd, p->text + p->end, BUFFER - p->end) : -1;
        if (ready == 0 || (got < 0 && errno == EINTR)) continue;
        if (got < 0) return fail_list(p, err);
        p->end += *n = (size_t)got;
        break;
    }
    return THAW_OK;
}

/* Takes n bytes as a line, and one behind it. */
static thaw_status take_line(thaw_picture_list *p, size_t n, char path[PATH_MAX], thaw_error *err) {
    const char *line = p->text + p->start;
    p->start += n < p->end - p->start ? n + 1 : n;
    p->n_lines++;
    if (n > 0 && line[n - 1] == '\r') n--;
    if (n >= PATH_MAX || memchr(line, '\0', n))
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "line %zu of the list '%.600s' is no path: expected one path a line",
                         p->n_lines, p->list);
    memcpy(path, line, n);
    path[n] = '\0';
    return THAW_OK;
}

/* The next line that is not empty; "" at the end. */
static thaw_status next_line(thaw_picture_list *p, char path[PATH_MAX], thaw_error *err) {
    for (path[0] = '\0'; !path[0];) {
        size_t left = p->end - p->start, n = 0;
        const char *end = memchr(p->text + p->start, '\n', left);
        if (!end && left < BUFFER) THAW_TRY(read_on(p, &n, err));
        if (n > 0) continue;
        if (!end && left == 0) return THAW_OK;
        THAW_TRY(take_line(p, end ? (size_t)(end - (p->text + p->start)) : left, path, err));
    }
    return THAW_OK;
}

/* ---- tar files ----------------------------------------------------------------------------- */

/* The next picture of the tar file; "" at its end. */
static thaw_status next_member(thaw_picture_list *p, char path[PATH_MAX], thaw_error *err) {
    thaw_tar_member m = {0};
    bool end;
    do
        THAW_TRY(thaw_tar_next(p->tar, &m, &end, err));
    while (!end && !(m.is_file && thaw_scan_takes(m.name)));
    path[0] = '\0';
    if (end) {
        thaw_tar_close(p->tar);
        p->tar = NULL;
        return p->n_members ? THAW_OK
                            : thaw_fail(err, THAW_ERR_DATA,
                                        "no picture lies in the tar file '%.600s'", p->tar_path);
    }
    p->n_members++;
    if (snprintf(path, PATH_MAX, "%s/%" PRIu64 "/%s", p->tar_path, m.begin, m.name) < PATH_MAX)
        return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA,
                     "'%.600s': the member at byte %" PRIu64 " has a path that is too long",
                     p->tar_path, m.begin);
}

static thaw_status enter_tar(thaw_picture_list *p, const char *path, thaw_error *err) {
    snprintf(p->tar_path, sizeof p->tar_path, "%s", path);
    p->n_members = 0;
    return thaw_tar_open(&p->tar, path, 0, err);
}

/* ---- arguments and folders ----------------------------------------------------------------- */

/* What the command line or the list names next; "" at the end. */
static thaw_status next_named(thaw_picture_list *p, char path[PATH_MAX], thaw_error *err) {
    path[0] = '\0';
    if (p->next_arg == p->n_args) return p->list ? next_line(p, path, err) : THAW_OK;
    const char *arg = p->args[p->next_arg++];
    size_t n = strlen(arg);
    if (n == 0 || n >= PATH_MAX)
        return thaw_fail(err, THAW_ERR_USAGE, "picture %zu is no path: '%.600s' is too %s",
                         p->next_arg, arg, n ? "long" : "short");
    memcpy(path, arg, n + 1);
    return THAW_OK;
}

static thaw_status enter_folder(thaw_picture_list *p, const char *path, thaw_error *err) {
    thaw_scan_free(&p->scan);
    thaw_arena_free(&p->names);
    p->scan = (thaw_scan){.arena = &p->names, .stop = p->stop};
    p->next_name = 0;
    p->folder = thaw_arena_string(&p->names, path, strlen(path));
    if (!p->folder) return no_memory(err);
    THAW_TRY(thaw_scan_files(&p->scan, path, err));
    if (p->scan.n) return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA, "no picture lies in the folder '%.600s' or below it",
                     path);
}

static thaw_status next_in_folder(thaw_picture_list *p, char path[PATH_MAX], thaw_error *err) {
    thaw_arena arena = {0};
    const char *joined = thaw_file_join(&arena, p->folder, p->scan.names[p->next_name++]);
    /* It fits: the scan has read the folder that the file lies in. */
    if (joined) snprintf(path, PATH_MAX, "%s", joined);
    thaw_arena_free(&arena);
    return joined ? THAW_OK : no_memory(err);
}

thaw_status thaw_picture_list_next(void *ctx, char path[PATH_MAX], thaw_error *err) {
    thaw_picture_list *p = ctx;
    struct stat info;
    if (p->next_name < p->scan.n) return next_in_folder(p, path, err);
    do {
        if (p->tar) THAW_TRY(next_member(p, path, err));
        if (p->tar) return THAW_OK;
        THAW_TRY(next_named(p, path, err));
        if (!path[0] || stat(path, &info) != 0) return THAW_OK;
        if (S_ISREG(info.st_mode) && thaw_tar_is(path)) THAW_TRY(enter_tar(p, path, err));
    } while (p->tar);
    if (!S_ISDIR(info.st_mode)) return THAW_OK;
    THAW_TRY(enter_folder(p, path, err));
    return next_in_folder(p, path, err);
}
