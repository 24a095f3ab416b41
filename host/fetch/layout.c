#include "layout.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "data/scan.h"
#include "file.h"
#include "mat5.h"
#include "model/archive.h"

enum { MOST_BYTES = 16 << 20 }; /* Of a list. */

typedef struct layout {
    const thaw_set *set;
    const char *files, *work, *out;
    uint64_t *pictures;
    thaw_arena arena;
    thaw_error *err;
} layout;

static thaw_status no_memory(const layout *l) {
    return thaw_fail_memory(l->err, "to lay out '%.300s'", l->set->name);
}

/* ---- one picture ------------------------------------------------------------------------------- */

/* Moves the picture at `from` to where it belongs. split: THAW_SPLIT_COUNT, the set has none. */
static thaw_status place(layout *l, const char *from, thaw_split split, const char *class) {
    char to[PATH_MAX];
    const char *slash = strrchr(from, '/'), *name = slash ? slash + 1 : from;
    bool whole = split == THAW_SPLIT_COUNT;
    struct stat info;
    if (thaw_file_leads_out(class) || strchr(class, '/') || class[0] == '.')
        return thaw_fail(l->err, THAW_ERR_FORMAT, "'%.300s': '%.100s' is no name of a class",
                         l->set->name, class);
    int n = snprintf(to, sizeof to, "%s/%s%s%s", l->out, whole ? "" : thaw_split_name(split),
                     whole ? "" : "/", class);
    if (n >= (int)sizeof to) return thaw_fail(l->err, THAW_ERR_IO, "'%.600s' is too long", l->out);
    THAW_TRY(thaw_file_make_folders(to, l->err));
    if (snprintf(to + n, sizeof to - (size_t)n, "/%s", name) >= (int)(sizeof to - (size_t)n))
        return thaw_fail(l->err, THAW_ERR_IO, "'%.600s' is too long", l->out);
    if (lstat(to, &info) == 0)
        return thaw_fail(l->err, THAW_ERR_FORMAT, "'%.300s' has two pictures for '%.600s'",
                         l->set->name, to);
    if (rename(from, to) != 0) {
        if (errno == ENOENT)
            return thaw_fail(l->err, THAW_ERR_FORMAT,
                             "'%.300s': a list names '%.600s', which is not there", l->set->name,
                             from);
        return thaw_fail(l->err, THAW_ERR_IO, "cannot move '%.400s' to '%.400s': %s", from, to,
                         strerror(errno));
    }
    l->pictures[whole ? THAW_SPLIT_TRAIN : split]++;
    return THAW_OK;
}

/* ---- the parts --------------------------------------------------------------------------------- */

/* Where file k of the set lies, or lies unpacked; NULL without memory. */
static char *path_of(layout *l, size_t k) {
    return thaw_file_join(&l->arena, l->files, l->set->files[k].name);
}

static char *unpacked(layout *l, size_t k) {
    return thaw_arena_printf(&l->arena, "%s/%zu", l->work, k);
}

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), m = strlen(with);
    return n > m && strcasecmp(name + n - m, with) == 0;
}

static thaw_status unpack_all(layout *l) {
    for (size_t k = 0; k < l->set->n_files; k++) {
        const char *name = l->set->files[k].name;
        if (!thaw_archive_is(name) && !ends(name, ".zip")) continue;
        char *from = path_of(l, k), *to = unpacked(l, k);
        if (!from || !to) return no_memory(l);
        THAW_TRY(thaw_archive_unpack(from, to, l->err));
    }
    return THAW_OK;
}

/* The name of the folder that the picture lies in, of a path that is changed; NULL: it lies in none. */
static char *class_of(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash) return NULL;
    *slash = '\0';
    char *above = strrchr(path, '/');
    return above ? above + 1 : path;
}

/* Whose pictures they are goes with them: beside the archive's folders of classes, or one level above. */
static thaw_status keep_licence(layout *l, const char *folder) {
    static const char *const patterns[] = {"LICENSE.txt", "*/LICENSE.txt"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        glob_t found;
        char *pattern = thaw_file_join(&l->arena, folder, patterns[i]);
        char *to = thaw_file_join(&l->arena, l->out, "LICENSE.txt");
        if (!pattern || !to) return no_memory(l);
        if (glob(pattern, 0, NULL, &found) != 0) continue;
        int code = rename(found.gl_pathv[0], to);
        globfree(&found);
        if (code != 0)
            return thaw_fail(l->err, THAW_ERR_IO, "cannot write '%.600s': %s", to, strerror(errno));
    }
    return THAW_OK;
}

static thaw_status place_archive(layout *l, thaw_scan *scan, size_t k) {
    char *folder = unpacked(l, k);
    if (!folder) return no_memory(l);
    THAW_TRY(thaw_scan_files(scan, folder, l->err));
    for (size_t i = 0; i < scan->n; i++) {
        char path[PATH_MAX];
        char *from = thaw_file_join(&l->arena, folder, scan->names[i]);
        if (!from) return no_memory(l);
        snprintf(path, sizeof path, "%s", scan->names[i]);
        const char *class = class_of(path);
        if (class) THAW_TRY(place(l, from, l->set->files[k].split, class));
    }
    return scan->n ? keep_licence(l, folder) : THAW_OK;
}

static thaw_status lay_out_folders(layout *l) {
    thaw_scan scan = {.arena = &l->arena};
    thaw_status status = THAW_OK;
    for (size_t k = 0; status == THAW_OK && k < l->set->n_files; k++)
        status = place_archive(l, &scan, k);
    thaw_scan_free(&scan);
    return status;
}

/* ---- lists ------------------------------------------------------------------------------------- */

/* A list in the first archive, or in the one after it, for each split; NULL: there is none. */
typedef struct lists {
    size_t archive;
    const char *of[THAW_SPLIT_COUNT];
    /* Finds the picture of a line, and its class. False: the line names none. */
    bool (*read)(char *line, char *picture, size_t size, const char **class);
} lists;

/* "Abyssinian_100 1 1 1"; the class is the name without its number. */
static bool read_pet(char *line, char *picture, size_t size, const char **class) {
    line[strcspn(line, " \t")] = '\0';
    if (!*line || *line == '#') return false;
    snprintf(picture, size, "images/%s.jpg", line);
    char *number = strrchr(line, '_');
    if (number) *number = '\0';
    *class = line;
    return true;
}

/* "banded/banded_0002.jpg" */
static bool read_texture(char *line, char *picture, size_t size, const char **class) {
    line[strcspn(line, " \t")] = '\0';
    if (!*line) return false;
    snprintf(picture, size, "dtd/images/%s", line);
    line[strcspn(line, "/")] = '\0';
    *class = line;
    return true;
}

static thaw_status place_line(layout *l, const lists *lists, thaw_split split, char *line) {
    char picture[512];
    const char *class;
    line[strcspn(line, "\r")] = '\0';
    if (!lists->read(line, picture, sizeof picture, &class)) return THAW_OK;
    if (thaw_file_leads_out(picture))
        return thaw_fail(l->err, THAW_ERR_FORMAT, "'%.300s': a list names '%.300s'", l->set->name,
                         picture);
    char *folder = unpacked(l, 0),
         *from = folder ? thaw_file_join(&l->arena, folder, picture) : NULL;
    return from ? place(l, from, split, class) : no_memory(l);
}

static thaw_status lay_out_lists(layout *l, const lists *lists) {
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        char *text, *rest, *folder = unpacked(l, lists->archive);
        size_t n;
        if (!lists->of[s]) continue;
        char *path = folder ? thaw_file_join(&l->arena, folder, lists->of[s]) : NULL;
        if (!path) return no_memory(l);
        THAW_TRY(thaw_file_read(path, MOST_BYTES, &l->arena, &text, &n, l->err));
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            THAW_TRY(place_line(l, lists, (thaw_split)s, line));
    }
    return THAW_OK;
}

static thaw_status lay_out_pets(layout *l) {
    static const lists pets = {.archive = 1,
                               .of = {"annotations/trainval.txt", NULL, "annotations/test.txt"},
                               .read = read_pet};
    return lay_out_lists(l, &pets);
}

static thaw_status lay_out_textures(layout *l) {
    static const lists textures = {
        .of = {"dtd/labels/train1.txt", "dtd/labels/val1.txt", "dtd/labels/test1.txt"},
        .read = read_texture};
    return lay_out_lists(l, &textures);
}

/* ---- flowers102 -------------------------------------------------------------------------------- */

static thaw_status read_mat(layout *l, size_t k, const char *name, int64_t **values, size_t *n) {
    char *bytes, *path = path_of(l, k);
    size_t n_bytes;
    if (!path) return no_memory(l);
    THAW_TRY(thaw_file_read(path, MOST_BYTES, &l->arena, &bytes, &n_bytes, l->err));
    return thaw_mat5_read(bytes, n_bytes, path, name, &l->arena, values, n, l->err);
}

/* Pictures are numbered from 1, and so are the species, which have no names in these files. */
static thaw_status place_flower(layout *l, thaw_split split, int64_t id, const int64_t *labels,
                                size_t n_labels) {
    char class[32];
    if (id < 1 || (uint64_t)id > n_labels || labels[id - 1] < 1 || labels[id - 1] > 999)
        return thaw_fail(l->err, THAW_ERR_FORMAT,
                         "'%.300s': picture %lld is in a split, and has no label", l->set->name,
                         (long long)id);
    snprintf(class, sizeof class, "%03d", (int)labels[id - 1]);
    char *from = thaw_arena_printf(&l->arena, "%s/0/jpg/image_%05lld.jpg", l->work, (long long)id);
    return from ? place(l, from, split, class) : no_memory(l);
}

static thaw_status lay_out_flowers(layout *l) {
    static const char *const ids[THAW_SPLIT_COUNT] = {"trnid", "valid", "tstid"};
    int64_t *labels, *id;
    size_t n_labels, n;
    THAW_TRY(read_mat(l, 1, "labels", &labels, &n_labels));
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        THAW_TRY(read_mat(l, 2, ids[s], &id, &n));
        for (size_t i = 0; i < n; i++)
            THAW_TRY(place_flower(l, (thaw_split)s, id[i], labels, n_labels));
    }
    return THAW_OK;
}

/* ---- the whole --------------------------------------------------------------------------------- */

static thaw_status lay_out(layout *l) {
    static const struct {
        thaw_status (*lay_out)(layout *l);
        size_t n_files; /* That it takes at least. */
    } layouts[] = {[THAW_SET_FOLDERS] = {lay_out_folders, 1},
                   [THAW_SET_FLOWERS102] = {lay_out_flowers, 3},
                   [THAW_SET_OXFORD_PETS] = {lay_out_pets, 2},
                   [THAW_SET_DTD] = {lay_out_textures, 1}};
    if (l->set->n_files < layouts[l->set->layout].n_files)
        return thaw_fail(l->err, THAW_ERR_FORMAT, "set '%.300s': its layout takes %zu files",
                         l->set->name, layouts[l->set->layout].n_files);
    thaw_file_remove_tree(l->work);
    THAW_TRY(thaw_file_make_folders(l->work, l->err));
    THAW_TRY(unpack_all(l));
    THAW_TRY(layouts[l->set->layout].lay_out(l));
    uint64_t all = 0;
    for (int s = 0; s < THAW_SPLIT_COUNT; s++)
        all += l->pictures[s];
    if (all) return THAW_OK;
    return thaw_fail(l->err, THAW_ERR_FORMAT, "set '%.300s' has no picture in a folder of a class",
                     l->set->name);
}

thaw_status thaw_set_lay_out(const thaw_set *set, const char *files, const char *work,
                             const char *out, uint64_t pictures[THAW_SPLIT_COUNT],
                             thaw_error *err) {
    layout l = {
        .set = set, .files = files, .work = work, .out = out, .pictures = pictures, .err = err};
    memset(pictures, 0, THAW_SPLIT_COUNT * sizeof *pictures);
    thaw_status status = lay_out(&l);
    thaw_arena_free(&l.arena);
    return status;
}
