/* Tar files whose members are read where they are, with libarchive: ustar, pax and GNU's format.
 *
 * A member is found again by the byte where its header begins, or the first of its headers where it has
 * several, as long names have. Compressed files have no such bytes and are refused.
 */
#ifndef THAW_TAR_FILE_H
#define THAW_TAR_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "status.h"

typedef struct thaw_tar thaw_tar; /* A tar file that is being read. */

typedef struct thaw_tar_member {
    uint64_t begin;   /* Byte of the file. */
    uint64_t n_bytes; /* Of its content. */
    const char *name; /* Without "./" before it; until the next call. */
    bool is_file;     /* And no folder, link or device. */
} thaw_tar_member;

/* Whether a file called so is a tar file that is read in place; or one that is compressed, which is not. */
bool thaw_tar_is(const char *name);
bool thaw_tar_is_compressed(const char *name);

/* Opens a file to be read from the header at byte `begin` on; 0: all of it. ERR_IO, ERR_SYSTEM, ERR_NOMEM;
 * ERR_FORMAT: no header of tar begins there, with the byte. Close it after success. */
thaw_status thaw_tar_open(thaw_tar **tar, const char *file, uint64_t begin, thaw_error *err);
void thaw_tar_close(thaw_tar *tar);

/* The next member, none of whose content is read; *end: there is none. Tar files that were put one behind
 * the other are one. ERR_FORMAT: the file is damaged or cut off, with the byte; ERR_IO, ERR_NOMEM. */
thaw_status thaw_tar_next(thaw_tar *tar, thaw_tar_member *member, bool *end, thaw_error *err);

/* Reads the content of the member that came last, as thaw_file_read reads a file: at most limit_bytes,
 * (*bytes)[*n] is a NUL that does not count. */
thaw_status thaw_tar_take(thaw_tar *tar, size_t limit_bytes, thaw_arena *arena, char **bytes,
                          size_t *n, thaw_error *err);

/* The same for the member at byte `begin` of a file; name NULL: whatever it is called. ERR_FORMAT: another
 * one is there. */
thaw_status thaw_tar_read(const char *file, uint64_t begin, const char *name, size_t limit_bytes,
                          thaw_arena *arena, char **bytes, size_t *n, thaw_error *err);

#endif
