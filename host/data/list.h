/* A list of pictures, in place of folders of classes.
 *
 *   NAME.csv   a header and a row a picture (RFC 4180): path,label[,split][,group], other columns are
 *              left alone. label: a class, or several with | between, or nothing where others have several.
 *              split: train (or nothing), validation or test, in any of the words that
 *              folders of splits may have; group: pictures of one stay on one side.
 *   NAME.lst   MXNet's: index TAB class id TAB path. A class is called as the folder that its
 *              pictures lie in when each id has one of its own, and else by its id; the order of the
 *              classes is that of the ids.
 *   NAME.rec   MXNet's RecordIO (see recordio.h), or a folder that holds such files and no folders. Classes
 *              are called by their ids. The pictures are read where they are: that of the record which
 *              begins at byte 128 is called NAME.rec/128.
 *   NAME.tar   Pictures with their classes as WebDataset has them, or a folder that holds such files and no
 *              folders: KEY.jpg next to KEY.cls, the class's name or number, or to KEY.json with it as "cls",
 *              "label" or "class"; or without either, where the class is the folder that a member lies in. The
 *              pictures are read where they are: the member a/7.jpg whose header begins at byte 512 is called
 *              NAME.tar/512/a/7.jpg. In a folder, names such as x-train-01.tar and x-val-01.tar say the splits.
 *   NAME.manifest, NAME.jsonl
 *              SageMaker's augmented manifest (see list_manifest.c): s3://BUCKET/KEY is ROOT/KEY, or what
 *              stands behind the first folders of KEY, when the first line's picture lies there.
 *
 * x-{000..099}.tar stands for all files that are called so (see braces.h), as does a .rec.
 *
 * Paths are relative to the list's root and stay below it: ".." is refused, and an absolute path is
 * read where it begins with the root, so that a root of / allows them all. RecordIO and tar files have none.
 */
#ifndef THAW_LIST_H
#define THAW_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "label_sets.h"
#include "split.h"
#include "status.h"

/* Between the classes of a picture that has several: its row's class is then called "rose|lily", or "" where it has
 * none. The list takes them for classes like others. */
#define THAW_LIST_SEPARATOR THAW_LABEL_SEPARATOR[0]

typedef struct thaw_listed {
    const char *path;  /* Below the root. */
    const char *group; /* NULL: it is by itself. */
    uint32_t label;    /* Into the list's classes. */
    uint32_t row;      /* Where the list says so, from 1. */
    uint32_t name_at;  /* Where the path of a member of a tar file begins in path; 0: all of it. */
    thaw_split split;
} thaw_listed;

typedef struct thaw_list {
    const char *file;
    const char *root;     /* thaw_file_join(root, path) is a picture; "": the working folder. */
    thaw_listed *rows;    /* [n], by label, then by path in natural order. */
    const size_t *first;  /* [n_classes + 1], where the rows of a class begin. */
    size_t n, n_again;    /* n_again: rows that say once more what another one says. */
    size_t n_pictureless; /* Samples of tar files that have a class and no picture. */
    const char *const *classes; /* [n_classes]; in natural order those of a CSV. */
    const int64_t *ids; /* [n_classes], ascending, of each class; NULL: it has names only. */
    size_t n_classes;
    bool has_splits, has_groups;
} thaw_list;

typedef struct thaw_list_spec {
    const char *file;
    const char
        *root; /* NULL: the list's own folder; where that is called NAME_lst and a folder NAME
                       * lies beside it, as in SageMaker's channels, NAME. */
    const thaw_list *trained; /* The list that is trained on, whose names ids have; NULL: none. */
    const volatile int *stop; /* Becomes non-zero: ERR_INTERRUPTED. NULL: never. */
} thaw_list_spec;

/* Whether path is a list, and no folder of classes: any file, names that count, or a folder of RecordIO or tar
 * files. ERR_NOMEM. */
thaw_status thaw_list_is(const char *path, bool *is, thaw_error *err);

/* Reads a whole list into the arena. ERR_IO: it cannot be read; ERR_FORMAT: it is no such list, with the row
 * and its text; ERR_UNSUPPORTED: a file of another kind, one that is compressed, or pictures with several
 * labels; ERR_DATA: it lists nothing, paths lead out of the root, two rows disagree on one picture, or some of a
 * folder's shards are named by splits and others not; ERR_USAGE: names that cannot be counted;
 * ERR_INTERRUPTED. */
thaw_status thaw_list_read(thaw_list *list, const thaw_list_spec *spec, thaw_arena *arena,
                           thaw_error *err);

/* The same list with the rows of one split alone; n is 0 when it has none. ERR_NOMEM. */
thaw_status thaw_list_select(const thaw_list *list, thaw_split split, thaw_arena *arena,
                             thaw_list *selected, thaw_error *err);

/* What of a row's path, or of its member's, stands behind the folder that is called like its class; all of it where
 * there is none. So a picture has the same name in a list as in folders of classes. */
const char *thaw_list_name(const thaw_list *list, const thaw_listed *row);

#endif
