/* The pictures that a command line names, one after the other: files, all that lie below folders or in tar
 * files, and what the lines of a list name. */
#ifndef THAW_PICTURE_LIST_H
#define THAW_PICTURE_LIST_H

#include "data/scan.h"
#include "pipeline.h"
#include "tar_file.h"

typedef struct thaw_picture_list {
    const char *const *args; /* Files and folders; the caller's. */
    size_t n_args, next_arg;
    const char *list;         /* A file with one path a line, "-": standard input; NULL: none. */
    const volatile int *stop; /* As the pipeline's. */
    int fd;                   /* The list; -1: not open. */
    char *text;               /* What was read of it and not yet used: [start, end). */
    size_t start, end;
    size_t n_lines;
    const char *folder; /* Whose pictures come next; its scan has more from next_name on. */
    thaw_scan scan;
    size_t next_name;
    thaw_arena names; /* Of the folder. */
    thaw_tar *tar;    /* Whose members come next; NULL: none. */
    char tar_path[PATH_MAX];
    size_t n_members; /* Pictures among those that came. */
} thaw_picture_list;

/* args come before the list. Opens the list: ERR_IO. Close it also after a failure. */
thaw_status thaw_picture_list_open(thaw_picture_list *pictures, const char *const *args,
                                   size_t n_args, const char *list, const volatile int *stop,
                                   thaw_error *err);
void thaw_picture_list_close(thaw_picture_list *pictures);

/* A source's `next` (its ctx is the list): folders and tar files are read when their turn comes, a list while
 * it is written. Another path is given on, whatever it is. ERR_IO: a folder or the list cannot be read;
 * ERR_DATA: a folder or tar file without pictures; ERR_FORMAT: a line that is no path, or a damaged tar
 * file. */
thaw_status thaw_picture_list_next(void *ctx, char path[PATH_MAX], thaw_error *err);

#endif
