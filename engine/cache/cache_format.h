/* The bytes of a shard, for the files that read them. cache.h tells the layout. */
#ifndef THAW_CACHE_FORMAT_H
#define THAW_CACHE_FORMAT_H

#include <stdbool.h>
#include <sys/types.h>

#include "hash.h"
#include "kernels.h"

enum { THAW__CACHE_FORMAT = 1, THAW__CACHE_ALIGN = 64 };

typedef struct thaw__shard_header {
    char magic[8];
    uint32_t version, dtype;
    uint64_t D;
    thaw_hash trunk;
    uint8_t zero[24];
} thaw__shard_header;

typedef struct thaw__record_header {
    thaw_hash key;
    uint64_t payload_check, header_check;
    uint8_t zero[32];
} thaw__record_header;

_Static_assert(sizeof(thaw__shard_header) == THAW__CACHE_ALIGN, "on-disk layout");
_Static_assert(sizeof(thaw__record_header) == THAW__CACHE_ALIGN, "on-disk layout");

/* What the records of one trunk have in common. */
typedef struct thaw__record_layout {
    thaw_hash trunk;
    int64_t D;
    thaw_dtype dtype;
    size_t payload, stride; /* Bytes of the values; bytes from record to record. */
} thaw__record_layout;

/* False when D or dtype make no sense: they come from files, too. */
bool thaw__cache_layout(thaw__record_layout *layout, thaw_hash trunk, int64_t D, uint32_t dtype);

/* The header of a shard with this layout. */
thaw__shard_header thaw__cache_header(const thaw__record_layout *layout);

/* The layout that the shard's header tells. False when it is not a header of this format or of
 * another trunk. */
bool thaw__cache_read_header(int fd, thaw_hash trunk, thaw__record_layout *layout);

off_t thaw__cache_offset(const thaw__record_layout *layout, size_t record);

/* Bytes [D * size of dtype] to checksum. */
uint64_t thaw__cache_payload_check(const thaw__record_layout *layout, const void *payload);

uint64_t thaw__cache_header_check(const thaw__record_layout *layout, const thaw__record_header *h);

/* Reads the header of a record. False when it is not one of this trunk. */
bool thaw__cache_read_record_header(int fd, const thaw__record_layout *layout, size_t record,
                                    thaw__record_header *h);

/* Reads a record into header and payload (layout->payload bytes) and compares both checksums. False
 * with errno: 0 when they differ, ENODATA at the end of the file, or why it cannot be read. */
bool thaw__cache_read_record(int fd, const thaw__record_layout *layout, size_t record,
                             thaw__record_header *h, void *payload);

/* Whether any of the shard's records says by its check that the shard has this layout, so that a
 * damaged shard header costs nothing. Reads all headers of a file that is no shard. */
bool thaw__cache_any_record_fits(int fd, const thaw__record_layout *layout);

/* How many records the file has room for, the torn one at its end not counted. */
size_t thaw__cache_whole_records(int fd, const thaw__record_layout *layout);

bool thaw__cache_is_shard_name(const char *name);

#endif
