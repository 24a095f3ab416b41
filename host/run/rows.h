/* The features of one split as rows that a head is trained and scored on. */
#ifndef THAW_SPLIT_ROWS_H
#define THAW_SPLIT_ROWS_H

#include "cache/feature_set.h"
#include "session.h"
#include "top/head.h"

/* Readable pictures in the dataset's order. Rows point into it: it stays where it is. */
typedef struct thaw_split_rows {
    thaw_rows rows;
    thaw_rows views;         /* [rows.n * n_views] each picture's, itself first. */
    int64_t n_views;         /* 1: as they are. */
    size_t *picture;         /* [rows.n] which of the dataset's each row is. */
    thaw_features *features; /* NULL: there are none. */
    size_t n_rejected;
} thaw_split_rows;

/* The rows of a split, once the session has extracted. Close with thaw_split_rows_close before the
 * session. ERR_NOMEM; ERR_MISMATCH: a record is missing. */
thaw_status thaw_split_rows_open(thaw_split_rows *rows, thaw_session *session,
                                 const thaw_network *network, thaw_split split, thaw_error *err);
void thaw_split_rows_close(thaw_split_rows *rows);

#endif
