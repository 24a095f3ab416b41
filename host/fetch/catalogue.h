/* The table of real sets that can be fetched: datasets/sets.json, or a file of that kind of one's own. */
#ifndef THAW_CATALOGUE_H
#define THAW_CATALOGUE_H

#include <stdint.h>

#include "arena.h"
#include "data/split.h"
#include "enum.h"
#include "status.h"

/* How a set's files become folders of classes. folders: a picture belongs to the class that its own
 * folder is called like, and to the split of its archive. The others have lists of their own. */
#define THAW_SET_LAYOUT_LIST(X)            \
    X(THAW_SET_FOLDERS, "folders")         \
    X(THAW_SET_FLOWERS102, "flowers102")   \
    X(THAW_SET_OXFORD_PETS, "oxford_pets") \
    X(THAW_SET_DTD, "dtd")
typedef enum thaw_set_layout { THAW_SET_LAYOUT_LIST(THAW_ENUM_VALUE) } thaw_set_layout;

enum { THAW_SET_MOST_FILES = 16, THAW_SHA256_BYTES = 32 };

typedef struct thaw_set_file {
    const char *url, *name; /* name: the last part of the address. */
    uint64_t bytes;
    uint8_t sha256[THAW_SHA256_BYTES];
    thaw_split split; /* THAW_SPLIT_COUNT: none is given. */
} thaw_set_file;

typedef struct thaw_set {
    const char *name, *title, *page, *licence;
    const char *checksums; /* Who says so. */
    thaw_set_layout layout;
    thaw_set_file files[THAW_SET_MOST_FILES];
    size_t n_files;
    uint64_t bytes;                      /* Of all files. */
    uint64_t pictures[THAW_SPLIT_COUNT]; /* That come out of it; all 0: nobody has counted. */
} thaw_set;

/* Reads a whole table into the arena. ERR_IO; ERR_FORMAT: it is no such table, with the set and what is
 * wrong: an address that is neither http nor https, a checksum that is not one of 64 digits. */
thaw_status thaw_catalogue_read(const char *path, thaw_arena *arena, thaw_set **sets, size_t *n,
                                thaw_error *err);

/* ERR_USAGE: there is none of that name; the sentence has the nearest, or all. */
thaw_status thaw_catalogue_find(const thaw_set *sets, size_t n, const char *name,
                                const thaw_set **set, thaw_error *err);

#endif
