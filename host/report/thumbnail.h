/* A picture as the network sees it, small enough to lie in a page. */
#ifndef THAW_THUMBNAIL_H
#define THAW_THUMBNAIL_H

#include <stdio.h>

#include "picture/image.h"

enum { THAW_THUMBNAIL_SIDE = 112 }; /* The most pixels of the longer side. */

/* Writes an img element of the file at path, oriented and cut as `seen` has it, `side` pixels long and
 * with its JPEG in it: a few kilobytes; nothing when the picture cannot be used any more. ERR_NOMEM,
 * ERR_SYSTEM. */
thaw_status thaw_thumbnail_put(FILE *out, thaw_decoder *decoder, const char *path,
                               const thaw_geometry *seen, int side, thaw_error *err);

#endif
