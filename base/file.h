/* Files and folders: read whole, write whole or not at all, errors that name the path. */
#ifndef THAW_FILE_H
#define THAW_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "arena.h"
#include "status.h"

/* Reads the regular file at path, at most limit_bytes, into the arena. (*bytes)[*n] is a NUL that
 * does not count. THAW_ERR_IO with the system's reason: it is missing, forbidden or no regular file;
 * THAW_ERR_FORMAT: it is larger, or a pointer of Git LFS to what was not fetched; THAW_ERR_SYSTEM
 * with the reason, THAW_ERR_NOMEM: the file is not to blame. */
thaw_status thaw_file_read(const char *path, size_t limit_bytes, thaw_arena *arena, char **bytes,
                           size_t *n, thaw_error *err);

/* The same in two steps, for a part of a file: opens it, which the caller closes, and finds its size; and
 * says, for the errno in code, that it cannot be read, with ERR_IO or ERR_SYSTEM. */
thaw_status thaw_file_open(const char *path, int *fd, uint64_t *size, thaw_error *err);
thaw_status thaw_file_fail_reading(const char *path, int code, thaw_error *err);

/* Makes path hold n bytes, on disk before it returns: written beside it and renamed, so that a
 * reader sees the old file or the new one. On failure the old file stays and nothing is left
 * beside it. THAW_ERR_IO; a full disk is named as such. */
thaw_status thaw_file_write(const char *path, const void *bytes, size_t n, thaw_error *err);

/* The same piece by piece, for what should not lie in memory as a whole. Print into stream. */
typedef struct thaw_new_file {
    FILE *stream; /* NULL: none is being written. */
    char path[PATH_MAX], temporary[PATH_MAX];
} thaw_new_file;
thaw_status thaw_file_begin(thaw_new_file *file, const char *path, thaw_error *err);
thaw_status thaw_file_finish(thaw_new_file *file, thaw_error *err);
void thaw_file_abandon(thaw_new_file *file); /* The old file stays. Nothing when none is written. */

/* Brings to disk that path is there, which is a matter of its folder: as far as the file system can,
 * so that it never fails. */
void thaw_file_sync_entry(const char *path);

/* Whether errno tells what is wrong with one file or folder (it is missing, forbidden, of another
 * kind), and not with the system. */
bool thaw_file_is_to_blame(int code);

/* Read or write n bytes at offset of an open file, over short counts and signals. False with errno
 * on failure; the end of the file is a failure, too. */
bool thaw_file_read_at(int fd, void *bytes, size_t n, off_t offset);
bool thaw_file_write_at(int fd, const void *bytes, size_t n, off_t offset);

/* Whether a name may lead out of the folder that it is relative to: it is absolute, empty or has a "..". */
bool thaw_file_leads_out(const char *name);

/* Opens for reading what `name` is in a folder ("": the working folder) or in folders below it, and
 * never anything else: the caller closes it, and looks whether it is a regular file; a FIFO does not
 * hang it. -1 with errno: EXDEV when name may lead out, ELOOP when a symbolic link stands
 * anywhere in it. */
int thaw_file_open_inside(const char *folder, const char *name);

/* Makes the folder and the folders above it where they are missing. THAW_ERR_IO. */
thaw_status thaw_file_make_folders(const char *path, thaw_error *err);

/* Removes path, and all below it where it is a folder; links are removed, not followed. */
void thaw_file_remove_tree(const char *path);

/* "folder/name" with one slash between; name alone when folder is "" or name is absolute. In the
 * arena; NULL when memory is short. */
char *thaw_file_join(thaw_arena *arena, const char *folder, const char *name);

/* Bytes that this user may still write where path is, or will be once its folders are made.
 * THAW_ERR_IO. */
thaw_status thaw_file_free_bytes(const char *path, uint64_t *bytes, thaw_error *err);

/* One picture that could not be used. */
typedef struct thaw_rejected {
    const char *path;   /* As it was opened. */
    const char *reason; /* One sentence. */
} thaw_rejected;

/* Writes the table "path,reason" (RFC 4180: CRLF, quotes where a field needs them) with n rows, as
 * thaw_file_write does. */
thaw_status thaw_rejected_write(const char *path, const thaw_rejected *rows, size_t n,
                                thaw_error *err);

#endif
