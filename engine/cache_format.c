#include "cache_format.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = "THAWSHRD";

shard_header cache_header(thaw_hash trunk, thaw_dtype dtype, int64_t D) {
    shard_header h = {
        .version = CACHE_FORMAT, .dtype = (uint32_t)dtype, .D = (uint64_t)D, .trunk = trunk};
    memcpy(h.magic, magic, sizeof magic);
    return h;
}

bool cache_header_fits(const shard_header *h, const thaw_hash *trunk) {
    return memcmp(h->magic, magic, sizeof magic) == 0 && h->version == CACHE_FORMAT &&
           (!trunk || thaw_hash_equal(h->trunk, *trunk));
}

size_t cache_stride(uint64_t D, uint32_t dtype) {
    if (dtype > THAW_F16 || D == 0 || D > (uint64_t)1 << 32) return 0;
    size_t payload = (size_t)D * thaw_dtype_bytes((thaw_dtype)dtype);
    return sizeof(record_header) + (payload + CACHE_ALIGN - 1) / CACHE_ALIGN * CACHE_ALIGN;
}

off_t cache_offset(size_t stride, size_t record) {
    return (off_t)(sizeof(shard_header) + record * stride);
}

uint64_t cache_header_check(thaw_hash trunk, const record_header *h) {
    return thaw_hash_bytes(trunk, h, offsetof(record_header, header_check)).lo;
}

size_t cache_whole_records(int fd, size_t stride) {
    struct stat info;
    if (fstat(fd, &info) != 0 || (size_t)info.st_size < sizeof(shard_header)) return 0;
    return ((size_t)info.st_size - sizeof(shard_header)) / stride;
}

bool cache_is_shard_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && strcmp(dot, ".shard") == 0;
}

bool cache_read_at(int fd, void *bytes, size_t n, off_t offset) {
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (char *)bytes + done, n - done, offset + (off_t)done);
        if (got <= 0 && !(got < 0 && errno == EINTR)) return false;
        if (got > 0) done += (size_t)got;
    }
    return true;
}
