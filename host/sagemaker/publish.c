#include "publish.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "model/model_file.h"
#include "model/novelty_file.h"

static thaw_status fail_move(const char *from, const char *to, int code, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_IO, "cannot move %.400s to %.400s: %s", from, to,
                     strerror(code));
}

/* All bytes of one file to another, and to the disk. False with errno. */
static bool copy_bytes(int from, int to) {
    enum { MANY = 1 << 24 };
    ssize_t n;
    do {
        n = sendfile(to, from, NULL, MANY);
    } while (n > 0 || (n < 0 && errno == EINTR));
    return n == 0 && fsync(to) == 0;
}

/* From one disk to another. Returns an errno. */
static int copy_and_remove(const char *from, const char *to, const char *hidden) {
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = in >= 0 ? open(hidden, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    int code = out >= 0 && copy_bytes(in, out) ? 0 : errno;
    if (in >= 0) close(in);
    if (out >= 0 && close(out) != 0 && !code) code = errno;
    if (!code && rename(hidden, to) != 0) code = errno;
    if (code) unlink(hidden);
    if (!code) unlink(from);
    return code;
}

thaw_status thaw_publish_file(const char *folder, const char *name, const char *to,
                              thaw_error *err) {
    char source[PATH_MAX], target[PATH_MAX], hidden[PATH_MAX];
    snprintf(source, sizeof source, "%.2000s/%.255s", folder, name);
    snprintf(target, sizeof target, "%.2000s/%.255s", to, name);
    snprintf(hidden, sizeof hidden, "%.2000s/.%.240s.tmp", to, name);
    int code = rename(source, target) == 0 ? 0 : errno;
    if (code && access(source, F_OK) != 0) return THAW_OK; /* Between disks the code is EXDEV. */
    if (code == EXDEV) code = copy_and_remove(source, target, hidden);
    if (code) return fail_move(source, target, code, err);
    thaw_file_sync_entry(target);
    return THAW_OK;
}

/* Calls visit for each file of a folder; nothing where there is no folder. */
static thaw_status each_file(const char *folder, const char *to,
                             thaw_status (*visit)(const char *folder, const char *name,
                                                  const char *to, thaw_error *err),
                             thaw_error *err) {
    struct dirent **entries;
    thaw_status status = THAW_OK;
    int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (status == THAW_OK && entries[i]->d_name[0] != '.')
            status = visit(folder, entries[i]->d_name, to, err);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    return status;
}

static thaw_status remove_file(const char *folder, const char *name, const char *to,
                               thaw_error *err) {
    char path[PATH_MAX];
    (void)to, (void)err;
    snprintf(path, sizeof path, "%.2000s/%.255s", folder, name);
    unlink(path);
    return THAW_OK;
}

thaw_status thaw_publish(const char *run, const char *model, const char *data, thaw_error *err) {
    char golden[PATH_MAX], new_golden[PATH_MAX], bundle[PATH_MAX], known[PATH_MAX];
    char weights[PATH_MAX];
    snprintf(golden, sizeof golden, "%.2000s/golden", model);
    snprintf(new_golden, sizeof new_golden, "%.2000s/golden", run);
    snprintf(bundle, sizeof bundle, "%.2000s/bundle.json", model);
    snprintf(known, sizeof known, "%.2000s/" THAW_NOVELTY_FILE, model);
    THAW_TRY(thaw_file_make_folders(golden, err));
    THAW_TRY(thaw_file_make_folders(data, err));
    if (unlink(bundle) == 0) thaw_file_sync_entry(bundle); /* From here on there is no bundle. */
    unlink(known); /* The new one may say of nothing that it is unknown. */
    THAW_TRY(each_file(golden, NULL, remove_file, err));
    THAW_TRY(each_file(new_golden, golden, thaw_publish_file, err));
    rmdir(new_golden);
    snprintf(weights, sizeof weights, "%.2000s/" THAW_MODEL_DATA, run);
    if (access(weights, F_OK) == 0) THAW_TRY(thaw_publish_file(run, THAW_MODEL_DATA, model, err));
    THAW_TRY(thaw_publish_file(run, "model.onnx", model, err));
    THAW_TRY(thaw_publish_file(run, THAW_NOVELTY_FILE, model, err));
    THAW_TRY(thaw_publish_file(run, "bundle.json", model, err));
    THAW_TRY(each_file(run, data, thaw_publish_file, err));
    rmdir(run); /* Empty, unless somebody has put a folder into it. */
    return THAW_OK;
}
