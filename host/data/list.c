#include "list.h"

#include <assert.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "braces.h"
#include "file.h"
#include "list_forms.h"
#include "tar_file.h"
#include "text.h"

/* ---- classes --------------------------------------------------------------------------------- */

/* The folder that a path's file lies in, without those above it; n receives its length, 0: in none. */
static const char *find_folder(const char *path, size_t *n) {
    const char *end = strrchr(path, '/'), *begin = end ? end : path;
    while (begin > path && begin[-1] != '/')
        begin--;
    *n = end ? (size_t)(end - begin) : 0;
    return begin;
}

/* The folders' names differ. */
static thaw_status compare_folders(thaw__list_reader *r, const char *const *names, bool *differ) {
    thaw_words seen = {0};
    bool memory = true;
    for (size_t k = 0, place; k < r->classes.n && memory && *differ; k++) {
        memory = thaw_words_place(&seen, r->arena, names[k], &place);
        *differ = place == k;
    }
    thaw_words_free(&seen);
    return memory ? THAW_OK : thaw__list_no_memory(r);
}

/* names [classes.n] receive the folder of each class, where each has one of its own; else NULLs. */
static thaw_status find_folders(thaw__list_reader *r, const char **names) {
    bool all = true;
    for (size_t i = 0; i < r->paths.n && all; i++) {
        size_t n;
        const char **name = &names[r->rows[i].label], *folder = find_folder(r->rows[i].path, &n);
        if (n > 0 && !*name) *name = thaw_arena_pack(r->arena, folder, n);
        if (n > 0 && !*name) return thaw__list_no_memory(r);
        all = n > 0 && strlen(*name) == n && strncmp(*name, folder, n) == 0;
    }
    if (all) THAW_TRY(compare_folders(r, names, &all));
    if (!all) memset(names, 0, r->classes.n * sizeof *names);
    return THAW_OK;
}

static int compare_ids(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The class that is called so in the list that is trained on; -1: none. */
static ptrdiff_t find_trained(const thaw_list *trained, const char *name) {
    for (size_t k = 0; k < trained->n_classes; k++)
        if (strcmp(trained->classes[k], name) == 0) return (ptrdiff_t)k;
    return -1;
}

/* A list that is not trained on calls a class as the one that is, where that has its id. */
static thaw_status name_as_trained(const thaw__list_reader *r, const thaw_list *trained, int64_t id,
                                   const char *folder, const char **name) {
    const int64_t *same = bsearch(&id, trained->ids, trained->n_classes, sizeof id, compare_ids);
    if (!same) return THAW_OK;
    *name = trained->classes[same - trained->ids];
    ptrdiff_t other = folder && strcmp(folder, *name) != 0 ? find_trained(trained, folder) : -1;
    if (other < 0) return THAW_OK;
    return thaw_fail(r->err, THAW_ERR_DATA,
                     "'%.300s' has pictures of class %lld in the folder '%.100s', which is class "
                     "%lld in '%.300s': the two lists number the classes differently",
                     r->spec->file, (long long)id, folder, (long long)trained->ids[other],
                     trained->file);
}

/* A class with its place among classes as they came. */
typedef struct named {
    const char *name;
    int64_t id; /* -1: none. */
    size_t place;
} named;

static int compare_named(const void *a, const void *b) {
    const named *x = a, *y = b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return thaw_text_natural(x->name, y->name);
}

/* The classes are numbers, as MXNet has them. */
static bool has_ids(const thaw__list_reader *r) {
    return r->form == THAW__LIST_LST || r->form == THAW__LIST_REC;
}

/* Sets name and id of all classes, as they came. */
static thaw_status name_classes(thaw__list_reader *r, named *all) {
    const thaw_list *trained = r->spec->trained;
    const char **folders = thaw_arena_array(r->arena, r->classes.n, sizeof *folders);
    if (!folders) return thaw__list_no_memory(r);
    if (r->form == THAW__LIST_LST) THAW_TRY(find_folders(r, folders));
    for (size_t k = 0; k < r->classes.n; k++) {
        all[k] = (named){.name = r->classes.text[k], .id = -1, .place = k};
        if (!has_ids(r)) continue;
        bool number = thaw_text_integer(all[k].name, &all[k].id);
        assert(number); /* As it was read. */
        (void)number;
        if (trained && trained->ids)
            THAW_TRY(name_as_trained(r, trained, all[k].id, folders[k], &all[k].name));
        else if (folders[k])
            all[k].name = folders[k];
    }
    return THAW_OK;
}

static int compare_listed(const void *a, const void *b) {
    return thaw_text_natural(((const thaw_listed *)a)->path, ((const thaw_listed *)b)->path);
}

/* Copies the n rows into the list by class; false: no memory. */
static bool put_rows(thaw_list *list, thaw_arena *arena, const thaw_listed *rows, size_t n) {
    thaw_listed *to = thaw_arena_array(arena, n, sizeof *to);
    size_t *first = thaw_arena_array(arena, list->n_classes + 1, sizeof *first);
    if (!to || !first) return false;
    for (size_t i = 0; i < n; i++)
        first[rows[i].label + 1]++;
    for (size_t k = 0; k < list->n_classes; k++)
        first[k + 1] += first[k];
    for (size_t i = 0; i < n; i++)
        to[first[rows[i].label]++] = rows[i];
    for (size_t k = list->n_classes; k > 0; k--)
        first[k] = first[k - 1]; /* Each has moved to where the next begins. */
    first[0] = 0;
    list->rows = to;
    list->n = n;
    list->first = first;
    return true;
}

/* Brings classes and rows into their order. */
static thaw_status finish(thaw__list_reader *r) {
    thaw_list *list = r->list;
    size_t K = r->classes.n, n = r->paths.n;
    named *all = thaw_arena_array(r->arena, K, sizeof *all);
    const char **classes = thaw_arena_array(r->arena, K, sizeof *classes);
    int64_t *ids = thaw_arena_array(r->arena, K, sizeof *ids);
    uint32_t *label = thaw_arena_array(r->arena, K, sizeof *label);
    if (!all || !classes || !ids || !label) return thaw__list_no_memory(r);
    THAW_TRY(name_classes(r, all));
    qsort(all, K, sizeof *all, compare_named);
    for (size_t k = 0; k < K; k++) {
        classes[k] = all[k].name;
        ids[k] = all[k].id;
        label[all[k].place] = (uint32_t)k;
    }
    for (size_t i = 0; i < n; i++)
        r->rows[i].label = label[r->rows[i].label];
    list->classes = classes;
    list->n_classes = K;
    list->ids = has_ids(r) ? ids : NULL;
    if (!put_rows(list, r->arena, r->rows, n)) return thaw__list_no_memory(r);
    for (size_t k = 0; k < K; k++)
        qsort(list->rows + list->first[k], list->first[k + 1] - list->first[k], sizeof *list->rows,
              compare_listed);
    return THAW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* How many bytes of a list's path are before its name, or before what counts in it where no file is called so. */
static size_t folder_bytes(const char *file) {
    const char *braces = access(file, F_OK) == 0 ? NULL : thaw_braces_find(file);
    size_t n = braces ? (size_t)(braces - file) : strlen(file);
    while (n > 0 && file[n - 1] != '/')
        n--;
    return n;
}

/* The folder that a list lies in, "" for the working folder. NULL: no memory. */
static char *own_folder(const char *file, thaw_arena *arena) {
    size_t n = folder_bytes(file);
    return thaw_arena_string(arena, file, n > 1 ? n - 1 : n);
}

/* What paths are relative to where nobody says so: see thaw_list_spec. */
static const char *choose_root(const char *file, thaw_arena *arena) {
    static const char suffix[] = "_lst";
    struct stat info;
    const char *own = own_folder(file, arena);
    size_t n = own ? strlen(own) : 0, end = sizeof suffix - 1;
    if (n <= end || strcmp(own + n - end, suffix) != 0 || own[n - end - 1] == '/') return own;
    const char *beside = thaw_arena_string(arena, own, n - end);
    return !beside || (stat(beside, &info) == 0 && S_ISDIR(info.st_mode)) ? beside : own;
}

static thaw__list_form form_of(const char *file) {
    static const char *const ends[] = {".csv", ".lst", ".rec", ".tar", ".manifest", ".jsonl", NULL};
    static const thaw__list_form forms[] = {THAW__LIST_CSV,      THAW__LIST_LST,
                                            THAW__LIST_REC,      THAW__LIST_TAR,
                                            THAW__LIST_MANIFEST, THAW__LIST_MANIFEST};
    const char *dot = strrchr(file, '.');
    int found = dot ? thaw_text_find(ends, dot) : -1;
    if (thaw_tar_is_compressed(file)) return THAW__LIST_COMPRESSED;
    return found < 0 ? THAW__LIST_NONE : forms[found];
}

/* Files of this form hold the pictures themselves. */
static bool holds_pictures(thaw__list_form form) {
    return form == THAW__LIST_REC || form == THAW__LIST_TAR || form == THAW__LIST_COMPRESSED;
}

static int compare_names(const void *a, const void *b) {
    return thaw_text_natural(*(const char *const *)a, *(const char *const *)b);
}

/* Files that hold pictures in a folder that holds no folder, in natural order; none where it does. What is
 * wrong with them is for who reads them. */
static thaw_status find_shards(const char *folder, thaw_arena *arena, thaw_words *shards,
                               thaw_error *err) {
    DIR *dir = opendir(folder);
    thaw_status status = THAW_OK;
    size_t place;
    bool folders = false;
    for (const struct dirent *entry;
         dir && !folders && status == THAW_OK && (entry = readdir(dir));) {
        struct stat info;
        if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &info, 0) != 0) continue;
        folders |= S_ISDIR(info.st_mode);
        if (S_ISREG(info.st_mode) && holds_pictures(form_of(entry->d_name)) &&
            !thaw_words_place(shards, arena, entry->d_name, &place))
            status = thaw_fail_memory(err, "for the files in '%.600s'", folder);
    }
    if (dir) closedir(dir);
    if (folders) shards->n = 0;
    if (shards->n) qsort(shards->text, shards->n, sizeof *shards->text, compare_names);
    return status;
}

thaw_status thaw_list_is(const char *path, bool *is, thaw_error *err) {
    struct stat info;
    thaw_words shards = {0};
    thaw_arena arena = {0};
    bool there = stat(path, &info) == 0;
    thaw_status status = THAW_OK;
    *is = there ? S_ISREG(info.st_mode) : thaw_braces_find(path) != NULL;
    if (!*is) status = find_shards(path, &arena, &shards, err);
    *is |= shards.n > 0;
    thaw_words_free(&shards);
    thaw_arena_free(&arena);
    return status;
}

static thaw_status read_text(thaw__list_reader *r) {
    thaw_arena arena = {0};
    char *text;
    size_t n;
    thaw_status status = thaw_file_read(r->spec->file, SIZE_MAX, &arena, &text, &n, r->err);
    if (status == THAW_OK && memchr(text, '\0', n))
        status = thaw_fail(r->err, THAW_ERR_FORMAT, "'%.600s' is no text: it has a byte of 0",
                           r->spec->file);
    if (status == THAW_OK)
        status = r->form == THAW__LIST_LST   ? thaw__list_read_lst(r, text)
                 : r->form == THAW__LIST_CSV ? thaw__list_read_csv(r, text, n)
                                             : thaw__list_read_manifest(r, text);
    thaw_arena_free(&arena);
    return status;
}

/* The split that a word of a file's name stands for, as in flowers-train-00.tar; COUNT: none. */
static thaw_split split_of_shard(const char *name) {
    thaw_split split = THAW_SPLIT_COUNT;
    char word[NAME_MAX + 1];
    for (size_t n; *name && split == THAW_SPLIT_COUNT; name += n + strspn(name + n, "-_. ")) {
        n = strcspn(name, "-_. ");
        snprintf(word, sizeof word, "%.*s", (int)n, name);
        split = thaw_split_of_name(word);
    }
    return split;
}

/* Whether names of files in a folder say the splits: where they tell some from others. */
static thaw_status find_splits(thaw__list_reader *r, const thaw_words *shards) {
    size_t n[THAW_SPLIT_COUNT + 1] = {0};
    const char *example[THAW_SPLIT_COUNT + 1] = {0};
    for (size_t i = 0; i < shards->n; i++) {
        thaw_split split = split_of_shard(shards->text[i]);
        n[split]++;
        example[split] = shards->text[i];
    }
    size_t n_held_out = n[THAW_SPLIT_VALIDATION] + n[THAW_SPLIT_TEST];
    thaw_split held_out = n[THAW_SPLIT_TEST] ? THAW_SPLIT_TEST : THAW_SPLIT_VALIDATION;
    r->list->has_splits = n_held_out > 0 && n[held_out] < shards->n;
    if (!r->list->has_splits || n[THAW_SPLIT_COUNT] == 0) return THAW_OK;
    return thaw_fail(
        r->err, THAW_ERR_DATA,
        "'%.300s' holds '%.200s', whose name is that of a split, and '%.200s', whose name is "
        "not: name all so, or give the files of each split (data.train, data.validation, "
        "data.test)",
        r->spec->file, example[held_out], example[THAW_SPLIT_COUNT]);
}

static thaw_status read_shard(thaw__list_reader *r, const char *name) {
    thaw__list_form form = form_of(name);
    thaw_split split = r->list->has_splits ? split_of_shard(name) : THAW_SPLIT_TRAIN;
    if (form == THAW__LIST_COMPRESSED)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "'%.300s%s%.200s' is compressed: no picture in it can be read in place; "
                         "unpack it to a .tar, with gunzip or its like",
                         r->list->root, *r->list->root ? "/" : "", name);
    if (form != r->form)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "'%.600s' holds .rec and .tar files, such as '%.300s': expected one kind",
                         r->spec->file, name);
    return form == THAW__LIST_REC ? thaw__list_read_records(r, name)
                                  : thaw__list_read_tar(r, name, split);
}

/* The files that the list stands for, below its root. */
static thaw_status find_files(thaw__list_reader *r, bool folder, thaw_words *files) {
    const char *file = r->spec->file, *name = file + folder_bytes(file);
    size_t place;
    if (folder) return find_shards(file, r->arena, files, r->err);
    if (access(file, F_OK) != 0) return thaw_braces_expand(name, files, r->arena, r->err);
    return thaw_words_place(files, r->arena, name, &place) ? THAW_OK : thaw__list_no_memory(r);
}

static thaw_status read_shards(thaw__list_reader *r, bool folder) {
    thaw_words shards = {0};
    thaw_status status = find_files(r, folder, &shards);
    if (shards.n > 0) r->form = form_of(shards.text[0]);
    if (status == THAW_OK && folder && r->form == THAW__LIST_TAR) status = find_splits(r, &shards);
    for (size_t i = 0; i < shards.n && status == THAW_OK; i++)
        status = read_shard(r, shards.text[i]);
    thaw_words_free(&shards);
    return status;
}

/* No class at all is something to say only where some pictures have several. */
static thaw_status check_labels(const thaw__list_reader *r) {
    bool several = false;
    const char *path = "";
    for (size_t k = 0; k < r->classes.n && r->unlabelled; k++)
        several |= strchr(r->classes.text[k], THAW_LIST_SEPARATOR) != NULL;
    if (!r->unlabelled || several) return THAW_OK;
    for (size_t i = 0; i < r->paths.n; i++)
        if (r->rows[i].row == r->unlabelled) path = r->rows[i].path;
    return thaw_fail(r->err, THAW_ERR_FORMAT, "row %zu of '%.300s', '%.200s', has no label",
                     r->unlabelled, r->spec->file, path);
}

static thaw_status read_all(thaw__list_reader *r) {
    const char *file = r->spec->file;
    thaw_list *list = r->list;
    struct stat info;
    bool folder = stat(file, &info) == 0 && S_ISDIR(info.st_mode), shards = holds_pictures(r->form);
    list->file = thaw_arena_string(r->arena, file, strlen(file));
    list->root = folder          ? list->file
                 : shards        ? own_folder(file, r->arena)
                 : r->spec->root ? thaw_arena_string(r->arena, r->spec->root, strlen(r->spec->root))
                                 : choose_root(file, r->arena);
    if (!list->file || !list->root) return thaw__list_no_memory(r);
    if (folder || shards)
        THAW_TRY(read_shards(r, folder));
    else if (r->form == THAW__LIST_NONE)
        return thaw_fail(
            r->err, THAW_ERR_UNSUPPORTED,
            "'%.600s' is a file: expected a folder with one sub-folder of pictures for "
            "each class, or pictures, or a list of them, called NAME.csv, NAME.lst, NAME.rec, "
            "NAME.tar "
            "or NAME.manifest",
            file);
    else
        THAW_TRY(read_text(r));
    THAW_TRY(check_labels(r));
    if (r->paths.n == 0) return thaw_fail(r->err, THAW_ERR_DATA, "'%.600s' lists no picture", file);
    return finish(r);
}

thaw_status thaw_list_read(thaw_list *list, const thaw_list_spec *spec, thaw_arena *arena,
                           thaw_error *err) {
    thaw__list_reader r = {
        .spec = spec, .list = list, .form = form_of(spec->file), .arena = arena, .err = err};
    *list = (thaw_list){0};
    thaw_status status = read_all(&r);
    thaw_words_free(&r.paths);
    thaw_words_free(&r.classes);
    free(r.rows);
    return status;
}

thaw_status thaw_list_select(const thaw_list *list, thaw_split split, thaw_arena *arena,
                             thaw_list *selected, thaw_error *err) {
    size_t n = 0;
    thaw_listed *rows = malloc((list->n + 1) * sizeof *rows);
    for (size_t i = 0; rows && i < list->n; i++)
        if (list->rows[i].split == split) rows[n++] = list->rows[i];
    *selected = *list;
    if (split != THAW_SPLIT_TRAIN) selected->n_again = selected->n_pictureless = 0; /* Said once. */
    bool memory = rows && put_rows(selected, arena, rows, n);
    free(rows);
    return memory ? THAW_OK : thaw_fail_memory(err, "for the list '%.600s'", list->file);
}

const char *thaw_list_name(const thaw_list *list, const thaw_listed *row) {
    const char *class_name = list->classes[row->label];
    const char *whole = row->path + row->name_at;
    size_t n = strlen(class_name);
    for (const char *part = whole, *slash; part; part = slash ? slash + 1 : NULL) {
        if (strncmp(part, class_name, n) == 0 && part[n] == '/') return part + n + 1;
        slash = strchr(part, '/');
    }
    return whole;
}
