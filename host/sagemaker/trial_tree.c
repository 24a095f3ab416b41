/* Walking through the folders of a try. */
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#include "trial.h"

static FTS *open_tree(const char *folder) {
    char *const folders[] = {(char *)folder, NULL};
    return fts_open(folders, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
}

static bool ends_in(const FTSENT *entry, const char *end) {
    size_t n = strlen(end);
    return entry->fts_namelen >= n && strcmp(entry->fts_name + entry->fts_namelen - n, end) == 0;
}

thaw__tree thaw__tree_measure(const char *folder, const char *end) {
    thaw__tree tree = {0};
    FTS *fts = open_tree(folder);
    FTSENT *entry;
    while (fts && (entry = fts_read(fts))) {
        if (entry->fts_info != FTS_F && entry->fts_info != FTS_D) continue;
        const struct stat *info = entry->fts_statp;
        int64_t changed = (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
        if (changed > tree.newest) tree.newest = changed;
        if (entry->fts_info != FTS_F || !ends_in(entry, end)) continue;
        tree.n++;
        tree.bytes += (uint64_t)info->st_size;
    }
    if (fts) fts_close(fts);
    return tree;
}

void thaw__tree_set_writable(const char *folder, bool writable) {
    FTS *fts = open_tree(folder);
    FTSENT *entry;
    while (fts && (entry = fts_read(fts))) {
        mode_t mode = entry->fts_info == FTS_D ? 0555 : 0444;
        if (entry->fts_info == FTS_D || entry->fts_info == FTS_F)
            chmod(entry->fts_accpath, writable ? mode | 0200 : mode);
    }
    if (fts) fts_close(fts);
}
