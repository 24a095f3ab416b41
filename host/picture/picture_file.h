/* A picture by its path: a file; a record of a RecordIO file, which is called FILE.rec/BYTE after the byte where it
 * begins; or a member of a tar file, FILE.tar/BYTE/MEMBER after the byte where its header begins and its own
 * name, which may be left out. Whoever reads the pictures of a dataset reads them here. */
#ifndef THAW_PICTURE_FILE_H
#define THAW_PICTURE_FILE_H

#include "arena.h"
#include "status.h"

/* Reads the whole picture, as it is stored, into the arena; at most THAW_PICTURE_MOST_BYTES. As
 * thaw_file_read, thaw_record_read and thaw_tar_read. */
thaw_status thaw_picture_read(const char *path, thaw_arena *arena, char **bytes, size_t *n,
                              thaw_error *err);

#endif
