/* MXNet's RecordIO with pictures: NAME.rec, as im2rec writes it.
 *
 *   record   magic 0xced7230a, a word whose upper 3 bits tell which part of a record this is (0: all of it,
 *            1: the first, 2: one between, 3: the last) and whose lower 29 bits how many bytes follow; the
 *            bytes; zeros up to a multiple of 4. Where a picture holds the magic's bytes at a multiple of
 *            4, the record is split there, and they are left out.
 *   header   of the bytes: flag (uint32), label (float), id, id2 (uint64); with a flag above 0 so many
 *            labels follow as floats, which count instead. What is left is the picture's file.
 *
 * All numbers are little-endian, as on every machine that Thaw runs on. Formats: dmlc-core's recordio.h and
 * MXNet's image_recordio.h.
 */
#ifndef THAW_RECORDIO_H
#define THAW_RECORDIO_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "arena.h"
#include "status.h"

enum {
    THAW_RECORD_MOST_BYTES = (1 << 29) - 1, /* Of one part. */
    THAW_RECORD_PART_HEAD = 8,
    THAW_RECORD_HEADER = 24,
};

/* What the head of a part says. */
typedef struct thaw_record_part {
    bool last;          /* The record ends with it. */
    uint32_t n, filled; /* Its bytes, and with those that fill them up. */
} thaw_record_part;

/* The magic, which stood between two parts of a record. */
extern const unsigned char thaw_record_magic[4];

/* Reads the head of a part, the first of its record or not; false: it is none. */
bool thaw_record_parse(const void *head, bool first, thaw_record_part *part);

/* One record of an open file. */
typedef struct thaw_record {
    uint64_t begin, end; /* Its place in the file; the next one begins at end. */
    uint64_t n_bytes;    /* Of header and picture together. */
    uint32_t n_labels;   /* 1 where the label is in the header. */
    float label;         /* The first. */
    uint64_t id;
} thaw_record;

/* Looks at the record that begins at byte `begin` of a file of `size` bytes; its picture is not read. file
 * is for sentences. ERR_FORMAT with the byte where it is damaged or cut off; ERR_IO, ERR_SYSTEM. */
thaw_status thaw_record_look(int fd, const char *file, uint64_t size, uint64_t begin,
                             thaw_record *record, thaw_error *err);

/* Reads the picture of the record that begins at byte `begin` of the file, as thaw_file_read reads a file:
 * at most limit_bytes, (*bytes)[*n] is a NUL that does not count. */
thaw_status thaw_record_read(const char *file, uint64_t begin, size_t limit_bytes,
                             thaw_arena *arena, char **bytes, size_t *n, thaw_error *err);

/* Writes a picture with one label as a record, split where it must be; or one whose header is there already.
 * False with errno on failure. */
bool thaw_record_put(FILE *out, float label, uint64_t id, const void *bytes, size_t n);
bool thaw_record_put_with(FILE *out, const void *header, const void *bytes, size_t n);

#endif
