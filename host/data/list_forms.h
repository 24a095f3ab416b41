/* What the files behind list.h share: a list that is being read, and each form's way to rows. */
#ifndef THAW_LIST_FORMS_H
#define THAW_LIST_FORMS_H

#include "json.h"
#include "list.h"
#include "words.h"

typedef enum thaw__list_form {
    THAW__LIST_CSV,
    THAW__LIST_LST,
    THAW__LIST_REC,
    THAW__LIST_TAR,
    THAW__LIST_MANIFEST,
    THAW__LIST_COMPRESSED, /* Tar files that cannot be read in place. */
    THAW__LIST_NONE,
} thaw__list_form;

/* Where the classes of pictures in tar files stand: in all of them at one place. */
typedef enum thaw__list_classes {
    THAW__CLASSES_UNKNOWN,
    THAW__CLASSES_OF_FOLDERS,
    THAW__CLASSES_OF_MEMBERS,
} thaw__list_classes;

/* A list that is being read. Row i is that of the i-th path. */
typedef struct thaw__list_reader {
    const thaw_list_spec *spec;
    thaw_list *list;
    thaw__list_form form;
    thaw_arena *arena;
    thaw_error *err;
    thaw_words paths, classes;
    thaw_listed *rows; /* [paths.capacity] */
    size_t capacity;
    size_t at; /* The row that is being read, from 1. */
    thaw__list_classes classes_of;
    size_t unlabelled; /* The first row with an empty label; 0: there is none. */
} thaw__list_reader;

/* Add the rows of a text, which they change, with n bytes; or those of the RecordIO file called name in the
 * list's root. As thaw_list_read. */
thaw_status thaw__list_read_csv(thaw__list_reader *r, char *text, size_t n);
thaw_status thaw__list_read_lst(thaw__list_reader *r, char *text);
thaw_status thaw__list_read_records(thaw__list_reader *r, const char *name);

/* The same for a text of JSON lines, and for the tar file called name. */
thaw_status thaw__list_read_manifest(thaw__list_reader *r, char *text);
thaw_status thaw__list_read_tar(thaw__list_reader *r, const char *name, thaw_split split);

/* Adds the picture at path, or compares it with what was said of it before; group NULL: none. Then
 * r->rows[r->paths.n - 1] is the one that was added last. */
thaw_status thaw__list_add_row(thaw__list_reader *r, const char *path, const char *class_name,
                               thaw_split split, const char *group);

/* The text of a value that is a class, a name or a whole number, or a list of them; NULL: it is none. In the
 * arena. */
thaw_status thaw__list_class_of(const thaw__list_reader *r, const json_t *value, thaw_arena *arena,
                                const char **class_name);

/* ERR_INTERRUPTED, at every so many rows. */
thaw_status thaw__list_check_stop(const thaw__list_reader *r);

thaw_status thaw__list_no_memory(const thaw__list_reader *r);

#endif
