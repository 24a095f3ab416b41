/* The bytes of a shard, for the two files that read them. cache.h tells the layout. */
#ifndef THAW_CACHE_FORMAT_H
#define THAW_CACHE_FORMAT_H

#include <sys/types.h>

#include "hash.h"
#include "kernels.h"

enum { CACHE_FORMAT = 1, CACHE_ALIGN = 64 };

typedef struct shard_header {
    char magic[8];
    uint32_t version, dtype;
    uint64_t D;
    thaw_hash trunk;
    uint8_t zero[24];
} shard_header;

typedef struct record_header {
    thaw_hash key;
    uint64_t payload_check, header_check;
    uint8_t zero[32];
} record_header;

_Static_assert(sizeof(shard_header) == CACHE_ALIGN, "on-disk layout");
_Static_assert(sizeof(record_header) == CACHE_ALIGN, "on-disk layout");

shard_header cache_header(thaw_hash trunk, thaw_dtype dtype, int64_t D);

/* Of this format, and of this trunk (NULL: any). */
bool cache_header_fits(const shard_header *h, const thaw_hash *trunk);

/* Bytes from record to record; 0 when the numbers make no sense. */
size_t cache_stride(uint64_t D, uint32_t dtype);

off_t cache_offset(size_t stride, size_t record);
uint64_t cache_header_check(thaw_hash trunk, const record_header *h);
size_t cache_whole_records(int fd, size_t stride);
bool cache_is_shard_name(const char *name);

/* Reads n bytes or fails; a file that was cut meanwhile is a failure. */
bool cache_read_at(int fd, void *bytes, size_t n, off_t offset);

#endif
