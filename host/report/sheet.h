/* A contact sheet: pictures beside their views, as a network gets them. */
#ifndef THAW_SHEET_H
#define THAW_SHEET_H

#include "picture/view.h"

enum { THAW_SHEET_ROWS = 6, THAW_SHEET_COLUMNS = 8 };

typedef struct thaw_sheet {
    const char *const *paths; /* [n_pictures] */
    size_t n_pictures;        /* At most THAW_SHEET_ROWS. */
    int64_t n_views;          /* THAW_SHEET_COLUMNS of them are shown at most. */
    const thaw_view_ranges *ranges;
    const thaw_geometry *seen;
} thaw_sheet;

/* Writes a JPEG by rename: a row a picture, itself first. What cannot be read stays dark. ERR_IO,
 * ERR_NOMEM, ERR_SYSTEM. */
thaw_status thaw_sheet_write(const thaw_sheet *sheet, const char *path, thaw_error *err);

#endif
