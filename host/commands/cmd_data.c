/* thaw data fetch NAME, thaw data ls: real sets of pictures, by address, size and checksum. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "data_file.h"
#include "fetch/download.h"
#include "fetch/layout.h"
#include "file.h"
#include "run/stop.h"
#include "utf8.h"

typedef struct fetching {
    const thaw_options *options;
    const thaw_set *sets;
    size_t n_sets;
    const thaw_set *set;
    const char *out, *partial; /* OUT, and OUT.partial, in which all is made. */
    thaw_log log;
    thaw_arena arena;
} fetching;

static thaw_status read_table(fetching *f, thaw_error *err) {
    char path[PATH_MAX];
    thaw_set *sets;
    if (thaw_is_auto(f->options->fetch.table))
        thaw_data_file("sets.json", path, sizeof path);
    else
        snprintf(path, sizeof path, "%s", f->options->fetch.table);
    thaw_status status = thaw_catalogue_read(path, &f->arena, &sets, &f->n_sets, err);
    f->sets = sets;
    return status;
}

static void list(const fetching *f) {
    for (size_t i = 0; i < f->n_sets; i++) {
        const thaw_set *s = &f->sets[i];
        fputs(i ? "\n" : "", stdout);
        thaw_utf8_put(stdout, s->name, 0);
        printf("  %.1f MB  ", (double)s->bytes / 1e6);
        thaw_utf8_put(stdout, s->title, 0);
        printf("\n    licence: ");
        thaw_utf8_put(stdout, s->licence, 0);
        printf("\n    page: ");
        thaw_utf8_put(stdout, s->page, 0);
        putchar('\n');
    }
}

/* ---- fetching ---------------------------------------------------------------------------------- */

static bool is_there(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

/* Bytes of the set that lie there already, whole or in part. */
static uint64_t bytes_there(const fetching *f, const char *folder) {
    uint64_t n = 0;
    for (size_t k = 0; k < f->set->n_files; k++) {
        char path[PATH_MAX];
        struct stat info;
        int length = snprintf(path, sizeof path, "%s/%s", folder, f->set->files[k].name);
        if (length + sizeof ".part" > sizeof path) continue;
        if (stat(path, &info) != 0) {
            strcat(path, ".part");
            if (stat(path, &info) != 0) continue;
        }
        n += (uint64_t)info.st_size;
    }
    return n < f->set->bytes ? n : f->set->bytes;
}

/* Archives of pictures hardly shrink them: there is room for twice what is fetched. */
static thaw_status check_disk(const fetching *f, const char *folder, thaw_error *err) {
    uint64_t room, needed = 2 * f->set->bytes - bytes_there(f, folder);
    THAW_TRY(thaw_file_free_bytes(folder, &room, err));
    if (room >= needed) return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO,
                     "'%.300s' takes %" PRIu64 " MB, with its archives, and only %" PRIu64
                     " MB are free where '%.300s' is to be: free some space, or give --out=FOLDER "
                     "on another disk",
                     f->set->name, needed >> 20, room >> 20, f->out);
}

static thaw_status download_all(fetching *f, const char *folder, thaw_error *err) {
    static const double wait_s = 1;
    for (size_t k = 0; k < f->set->n_files; k++) {
        const thaw_set_file *file = &f->set->files[k];
        thaw_download d = {.url = file->url,
                           .path = thaw_file_join(&f->arena, folder, file->name),
                           .bytes = file->bytes,
                           .sha256 = file->sha256,
                           .stop = thaw_stop_catch(),
                           .log = &f->log,
                           .wait_s = wait_s};
        if (!d.path) return thaw_fail_memory(err, "for a path");
        THAW_TRY(thaw_download_file(&d, err));
    }
    return THAW_OK;
}

static void say_pictures(fetching *f, const uint64_t *pictures) {
    bool counted = false, right = true;
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        counted = counted || f->set->pictures[s];
        right = right && pictures[s] == f->set->pictures[s];
    }
    thaw_utf8_put(stdout, f->out, 0);
    printf(": %" PRIu64 " pictures to train on, %" PRIu64 " to validate, %" PRIu64 " to test\n",
           pictures[0], pictures[1], pictures[2]);
    if (counted && !right)
        thaw_log_write(&f->log, THAW_LOG_WARN,
                       "expected %" PRIu64 ", %" PRIu64 " and %" PRIu64
                       " pictures of this set: look at it with thaw lint",
                       f->set->pictures[0], f->set->pictures[1], f->set->pictures[2]);
}

static thaw_status fetch(fetching *f, thaw_error *err) {
    uint64_t pictures[THAW_SPLIT_COUNT];
    const char *out = *f->options->fetch.out ? f->options->fetch.out : f->set->name;
    f->out = out;
    f->partial = thaw_arena_printf(&f->arena, "%s.partial", out);
    char *files = f->partial ? thaw_file_join(&f->arena, f->partial, "files") : NULL;
    char *work = f->partial ? thaw_file_join(&f->arena, f->partial, "unpacked") : NULL;
    char *made = f->partial ? thaw_file_join(&f->arena, f->partial, "made") : NULL;
    if (!files || !work || !made) return thaw_fail_memory(err, "for a path");
    if (is_there(out))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "'%.600s' is there already: give --out=FOLDER, or remove it", out);
    THAW_TRY(check_disk(f, files, err));
    THAW_TRY(thaw_file_make_folders(files, err));
    thaw_log_write(&f->log, THAW_LOG_INFO, "%s; licence: %s; %s", f->set->title, f->set->licence,
                   f->set->page);
    THAW_TRY(download_all(f, files, err));
    thaw_file_remove_tree(made);
    THAW_TRY(thaw_set_lay_out(f->set, files, work, made, pictures, err));
    if (rename(made, out) != 0)
        return thaw_fail(err, THAW_ERR_IO, "cannot move '%.400s' to '%.400s'", made, out);
    thaw_file_sync_entry(out);
    thaw_file_remove_tree(f->partial);
    say_pictures(f, pictures);
    return THAW_OK;
}

thaw_status thaw_cmd_data(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    fetching f = {.options = options};
    thaw_log_open(&f.log, stderr, options->log);
    thaw_status status = read_table(&f, err);
    if (status == THAW_OK && cli->n_args)
        status = thaw_catalogue_find(f.sets, f.n_sets, cli->args[0], &f.set, err);
    if (status == THAW_OK && f.set)
        status = fetch(&f, err);
    else if (status == THAW_OK)
        list(&f);
    thaw_log_close(&f.log);
    thaw_arena_free(&f.arena);
    return status;
}
