/* From a set's files, as they were fetched, to folders of classes: OUT/CLASS/picture where the set has no
 * official split, and else OUT/train/CLASS/picture, OUT/validation/... and OUT/test/...
 */
#ifndef THAW_LAYOUT_H
#define THAW_LAYOUT_H

#include "catalogue.h"

/* Unpacks the files of the set that lie in `files` into folders below `work`, which is emptied, and moves
 * what are pictures from there into `out`, which is made and must not be there; pictures: how many of
 * each split, of the training where there is none. All three are on one disk. ERR_FORMAT: an archive
 * is damaged or holds what does not belong there, or a list names what is not there; ERR_IO; ERR_NOMEM;
 * what thaw_archive_unpack and thaw_mat5_read say. */
thaw_status thaw_set_lay_out(const thaw_set *set, const char *files, const char *work,
                             const char *out, uint64_t pictures[THAW_SPLIT_COUNT], thaw_error *err);

#endif
