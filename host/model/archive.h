/* Folders packed as .tar.gz, the form in which models travel: files with their paths, and nothing else. */
#ifndef THAW_ARCHIVE_H
#define THAW_ARCHIVE_H

#include <limits.h>
#include <stdbool.h>

#include "status.h"

/* Whether the name of a file says that it is packed: .tar.gz, .tgz or .tar. */
bool thaw_archive_is(const char *path);

/* Packs files and folders of `folder`, called names (NULL at the end; a folder with all below it; "": all
 * of `folder`), as a .tar.gz: in the order of their names, without dates and owners, so that the same files make the same
 * bytes. What links lead to is packed in their place. The file appears whole, or the old one stays.
 * ERR_IO: something is missing, cannot be read, or is neither a file nor a folder. */
thaw_status thaw_archive_pack(const char *folder, const char *const *names, const char *file,
                              thaw_error *err);

/* Unpacks file, a .tar.gz, .tar or .zip, into `folder`, which is made and must not be there yet; after a failure it is gone.
 * ERR_FORMAT: it is no archive, or damaged, or holds what does not belong there: links, devices, a
 * path that is absolute or has a "..", two files of one path, no file at all, or more than 100,000.
 * ERR_IO: it cannot be read, or more would be written than is free on the folder's disk. */
thaw_status thaw_archive_unpack(const char *file, const char *folder, thaw_error *err);

/* A folder, as it is or packed: where it lies. */
typedef struct thaw_unpacked {
    char folder[PATH_MAX];
    char place[PATH_MAX]; /* What is removed with it; "": nothing. */
} thaw_unpacked;

/* path: a folder, or a file whose name says that it is packed, which is unpacked below $TMPDIR, or /tmp; anything else
 * is left to who reads it. The caller closes, also after an error.
 * ERR_IO: there is no place for it; what thaw_archive_unpack says. */
thaw_status thaw_unpacked_open(thaw_unpacked *unpacked, const char *path, thaw_error *err);
void thaw_unpacked_close(thaw_unpacked *unpacked);

#endif
