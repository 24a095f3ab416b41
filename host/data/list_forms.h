/* What the files behind list.h share: a list that is being read, and each form's way to rows. */
#ifndef THAW_LIST_FORMS_H
#define THAW_LIST_FORMS_H

#include "list.h"
#include "words.h"

typedef enum thaw__list_form {
    THAW__LIST_CSV,
    THAW__LIST_LST,
    THAW__LIST_REC,
    THAW__LIST_NONE,
} thaw__list_form;

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
} thaw__list_reader;

/* Add the rows of a text, which they change, with n bytes; or those of the RecordIO file called name in the
 * list's root. As thaw_list_read. */
thaw_status thaw__list_read_csv(thaw__list_reader *r, char *text, size_t n);
thaw_status thaw__list_read_lst(thaw__list_reader *r, char *text);
thaw_status thaw__list_read_records(thaw__list_reader *r, const char *name);

thaw_status thaw__list_no_memory(const thaw__list_reader *r);

#endif
