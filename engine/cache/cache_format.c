#include "cache_format.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "file.h"

static const char magic[8] = "THAWSHRD";

bool thaw__cache_layout(thaw__record_layout *layout, thaw_hash trunk, int64_t D, uint32_t dtype) {
    if (dtype > THAW_F16 || D < 1 || D > (int64_t)1 << 32) return false;
    size_t payload = (size_t)D * thaw_dtype_bytes((thaw_dtype)dtype);
    size_t padded = (payload + THAW__CACHE_ALIGN - 1) / THAW__CACHE_ALIGN * THAW__CACHE_ALIGN;
    *layout = (thaw__record_layout){.trunk = trunk,
                                    .D = D,
                                    .dtype = (thaw_dtype)dtype,
                                    .payload = payload,
                                    .stride = sizeof(thaw__record_header) + padded};
    return true;
}

thaw__shard_header thaw__cache_header(const thaw__record_layout *layout) {
    thaw__shard_header h = {.version = THAW__CACHE_FORMAT,
                            .dtype = (uint32_t)layout->dtype,
                            .D = (uint64_t)layout->D,
                            .trunk = layout->trunk};
    memcpy(h.magic, magic, sizeof magic);
    return h;
}

bool thaw__cache_read_header(int fd, thaw_hash trunk, thaw__record_layout *layout) {
    thaw__shard_header h;
    return thaw_file_read_at(fd, &h, sizeof h, 0) && memcmp(h.magic, magic, sizeof magic) == 0 &&
           h.version == THAW__CACHE_FORMAT && thaw_hash_equal(h.trunk, trunk) &&
           thaw__cache_layout(layout, trunk, (int64_t)h.D, h.dtype);
}

off_t thaw__cache_offset(const thaw__record_layout *layout, size_t record) {
    return (off_t)(sizeof(thaw__shard_header) + record * layout->stride);
}

uint64_t thaw__cache_payload_check(const thaw__record_layout *layout, const void *payload) {
    return thaw_hash_bytes((thaw_hash){0}, payload, layout->payload).lo;
}

/* The trunk is the seed: a record that strays into another trunk's folder is not taken for its. */
uint64_t thaw__cache_header_check(const thaw__record_layout *layout, const thaw__record_header *h) {
    return thaw_hash_bytes(layout->trunk, h, offsetof(thaw__record_header, header_check)).lo;
}

bool thaw__cache_read_record_header(int fd, const thaw__record_layout *layout, size_t record,
                                    thaw__record_header *h) {
    return thaw_file_read_at(fd, h, sizeof *h, thaw__cache_offset(layout, record)) &&
           h->header_check == thaw__cache_header_check(layout, h);
}

bool thaw__cache_read_record(int fd, const thaw__record_layout *layout, size_t record,
                             thaw__record_header *h, void *payload) {
    off_t at = thaw__cache_offset(layout, record);
    struct iovec parts[] = {{h, sizeof *h}, {payload, layout->payload}};
    ssize_t wanted = (ssize_t)(sizeof *h + layout->payload);
    /* One call in all but odd cases: a short count is a signal or the end of the file. */
    if (preadv(fd, parts, 2, at) != wanted &&
        !(thaw_file_read_at(fd, h, sizeof *h, at) &&
          thaw_file_read_at(fd, payload, layout->payload, at + (off_t)sizeof *h)))
        return false;
    errno = 0;
    return h->header_check == thaw__cache_header_check(layout, h) &&
           h->payload_check == thaw__cache_payload_check(layout, payload);
}

bool thaw__cache_any_record_fits(int fd, const thaw__record_layout *layout) {
    thaw__record_header h;
    for (size_t i = 0, n = thaw__cache_whole_records(fd, layout); i < n; i++)
        if (thaw__cache_read_record_header(fd, layout, i, &h)) return true;
    return false;
}

size_t thaw__cache_whole_records(int fd, const thaw__record_layout *layout) {
    struct stat info;
    if (fstat(fd, &info) != 0 || (size_t)info.st_size < sizeof(thaw__shard_header)) return 0;
    return ((size_t)info.st_size - sizeof(thaw__shard_header)) / layout->stride;
}

bool thaw__cache_is_shard_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && strcmp(dot, ".shard") == 0;
}
