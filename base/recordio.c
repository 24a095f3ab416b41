#include "recordio.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

enum { LENGTH_BITS = 29 };
enum { WHOLE, FIRST, BETWEEN, LAST }; /* Parts of a record. */
const unsigned char thaw_record_magic[4] = {0x0a, 0x23, 0xd7, 0xce};

static uint32_t padded(uint32_t n) {
    return (n + 3) / 4 * 4;
}

bool thaw_record_parse(const void *head, bool first, thaw_record_part *part) {
    uint32_t word;
    memcpy(&word, (const char *)head + sizeof thaw_record_magic, sizeof word);
    uint32_t kind = word >> LENGTH_BITS, n = word & THAW_RECORD_MOST_BYTES;
    *part = (thaw_record_part){kind == WHOLE || kind == LAST, n, padded(n)};
    return memcmp(head, thaw_record_magic, sizeof thaw_record_magic) == 0 &&
           (first ? kind == WHOLE || kind == FIRST : kind == BETWEEN || kind == LAST);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A file whose records are read. */
typedef struct reader {
    int fd;
    const char *file; /* For sentences. */
    uint64_t size;
    char window[64]; /* What was read last: heads and headers stand close together. */
    uint64_t window_begin, window_end;
    thaw_error *err;
} reader;

/* Reads n bytes that are there. */
static thaw_status read_at(reader *r, uint64_t at, void *bytes, size_t n) {
    bool large = n > sizeof r->window, good = true;
    if (!large && (at < r->window_begin || at + n > r->window_end)) {
        uint64_t left = r->size - at;
        r->window_begin = at;
        r->window_end = at + (left < sizeof r->window ? left : sizeof r->window);
        good = thaw_file_read_at(r->fd, r->window, (size_t)(r->window_end - at), (off_t)at);
    }
    if (large) good = thaw_file_read_at(r->fd, bytes, n, (off_t)at);
    if (!good) return thaw_file_fail_reading(r->file, errno, r->err);
    if (!large) memcpy(bytes, r->window + (at - r->window_begin), n);
    return THAW_OK;
}

static thaw_status fail_cut(const reader *r, uint64_t begin) {
    return thaw_fail(r->err, THAW_ERR_FORMAT,
                     "'%.600s' is cut off: it ends at byte %" PRIu64
                     ", within the record that "
                     "begins at byte %" PRIu64,
                     r->file, r->size, begin);
}

/* Reads the head of the part at byte `at` of the record at `begin`. */
static thaw_status read_part(reader *r, uint64_t begin, uint64_t at, thaw_record_part *part) {
    char head[THAW_RECORD_PART_HEAD];
    bool first = at == begin;
    if (r->size - at < sizeof head) return fail_cut(r, begin);
    THAW_TRY(read_at(r, at, head, sizeof head));
    if (!thaw_record_parse(head, first, part))
        return thaw_fail(r->err, THAW_ERR_FORMAT,
                         "'%.600s' is damaged at byte %" PRIu64
                         ": expected %s of RecordIO, which "
                         "begins with 0a 23 d7 ce",
                         r->file, at, first ? "a record" : "the next part of a record");
    return r->size - at - sizeof head < part->filled ? fail_cut(r, begin) : THAW_OK;
}

/* Finds the end of the record and its bytes, the magic between its parts included. */
static thaw_status measure(reader *r, thaw_record *record) {
    thaw_record_part part = {0};
    uint64_t at = record->begin;
    record->n_bytes = 0;
    for (; !part.last; at += THAW_RECORD_PART_HEAD + part.filled) {
        THAW_TRY(read_part(r, record->begin, at, &part));
        record->n_bytes += part.n + (at > record->begin ? sizeof thaw_record_magic : 0);
    }
    record->end = at;
    return THAW_OK;
}

/* Reads the first n bytes of the record, which has as many. */
static thaw_status read_bytes(reader *r, uint64_t begin, char *bytes, size_t n) {
    thaw_record_part part = {0};
    for (uint64_t at = begin; n > 0; at += THAW_RECORD_PART_HEAD + part.filled) {
        size_t seam = at == begin ? 0 : sizeof thaw_record_magic;
        if (seam > n) seam = n;
        memcpy(bytes, thaw_record_magic, seam);
        THAW_TRY(read_part(r, begin, at, &part));
        size_t length = part.n < n - seam ? part.n : n - seam;
        THAW_TRY(read_at(r, at + THAW_RECORD_PART_HEAD, bytes + seam, length));
        bytes += seam + length;
        n -= seam + length;
    }
    return THAW_OK;
}

static thaw_status look(reader *r, uint64_t begin, thaw_record *record) {
    char header[THAW_RECORD_HEADER + sizeof record->label];
    uint32_t flag;
    *record = (thaw_record){.begin = begin};
    THAW_TRY(measure(r, record));
    size_t n = record->n_bytes < sizeof header ? (size_t)record->n_bytes : sizeof header;
    THAW_TRY(read_bytes(r, begin, header, n));
    memcpy(&flag, header, sizeof flag);
    if (n < THAW_RECORD_HEADER ||
        record->n_bytes - THAW_RECORD_HEADER < (uint64_t)flag * sizeof(float))
        return thaw_fail(r->err, THAW_ERR_FORMAT,
                         "'%.600s': the record at byte %" PRIu64 " holds %" PRIu64
                         " bytes, too few "
                         "for the header and the labels of a picture",
                         r->file, begin, record->n_bytes);
    record->n_labels = flag ? flag : 1;
    memcpy(&record->label, header + (flag ? THAW_RECORD_HEADER : sizeof flag),
           sizeof record->label);
    memcpy(&record->id, header + sizeof flag + sizeof record->label, sizeof record->id);
    return THAW_OK;
}

thaw_status thaw_record_look(int fd, const char *file, uint64_t size, uint64_t begin,
                             thaw_record *record, thaw_error *err) {
    reader r = {.fd = fd, .file = file, .size = size, .err = err};
    if (begin > size) return fail_cut(&r, begin);
    return look(&r, begin, record);
}

static thaw_status read_picture(reader *r, uint64_t begin, size_t limit_bytes, thaw_arena *arena,
                                char **bytes, size_t *n) {
    thaw_record record;
    uint32_t flag;
    THAW_TRY(thaw_record_look(r->fd, r->file, r->size, begin, &record, r->err));
    if (record.n_bytes > limit_bytes)
        return thaw_fail(r->err, THAW_ERR_FORMAT,
                         "'%.600s': the record at byte %" PRIu64 " has %" PRIu64
                         " bytes; at most "
                         "%zu are read",
                         r->file, begin, record.n_bytes, limit_bytes);
    char *all = thaw_arena_alloc(arena, (size_t)record.n_bytes + 1);
    if (!all) return thaw_fail_memory(r->err, "for a record of '%.600s'", r->file);
    THAW_TRY(read_bytes(r, begin, all, (size_t)record.n_bytes));
    memcpy(&flag, all, sizeof flag);
    size_t skipped = THAW_RECORD_HEADER + flag * sizeof(float);
    if (skipped > record.n_bytes) return fail_cut(r, begin); /* It was changed meanwhile. */
    *bytes = all + skipped;
    *n = (size_t)record.n_bytes - skipped;
    return THAW_OK;
}

thaw_status thaw_record_read(const char *file, uint64_t begin, size_t limit_bytes,
                             thaw_arena *arena, char **bytes, size_t *n, thaw_error *err) {
    reader r = {.file = file, .err = err};
    THAW_TRY(thaw_file_open(file, &r.fd, &r.size, err));
    thaw_status status = read_picture(&r, begin, limit_bytes, arena, bytes, n);
    close(r.fd);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A record's bytes: those of the header, which are a multiple of 4, and of the picture. */
typedef struct writer {
    FILE *out;
    const char *header, *picture;
} writer;

static const char *bytes_at(const writer *w, size_t at) {
    return at < THAW_RECORD_HEADER ? w->header + at : w->picture + (at - THAW_RECORD_HEADER);
}

static bool put(FILE *out, const void *bytes, size_t n) {
    return n == 0 || fwrite(bytes, n, 1, out) == 1;
}

/* Writes bytes [begin, end) as a part. */
static bool put_part(const writer *w, uint32_t kind, size_t begin, size_t end) {
    static const char zeros[4];
    uint32_t n = (uint32_t)(end - begin), word = kind << LENGTH_BITS | n;
    size_t rest = end < THAW_RECORD_HEADER     ? end
                  : begin < THAW_RECORD_HEADER ? THAW_RECORD_HEADER
                                               : begin;
    return put(w->out, thaw_record_magic, sizeof thaw_record_magic) &&
           put(w->out, &word, sizeof word) && put(w->out, bytes_at(w, begin), rest - begin) &&
           put(w->out, bytes_at(w, rest), end - rest) && put(w->out, zeros, padded(n) - n);
}

bool thaw_record_put_with(FILE *out, const void *header, const void *bytes, size_t n) {
    writer w = {out, header, bytes};
    size_t size = THAW_RECORD_HEADER + n, begin = 0, magic = sizeof thaw_record_magic;
    bool split = false, good = true;
    if (size > THAW_RECORD_MOST_BYTES) return errno = EFBIG, false;
    for (size_t at = 0; at + magic <= size && good; at += magic) {
        if (memcmp(bytes_at(&w, at), thaw_record_magic, magic) != 0) continue;
        good = put_part(&w, split ? BETWEEN : FIRST, begin, at);
        split = true;
        begin = at + magic;
    }
    return good && put_part(&w, split ? LAST : WHOLE, begin, size);
}

bool thaw_record_put(FILE *out, float label, uint64_t id, const void *bytes, size_t n) {
    char header[THAW_RECORD_HEADER] = {0};
    memcpy(header + 4, &label, sizeof label);
    memcpy(header + 8, &id, sizeof id);
    return thaw_record_put_with(out, header, bytes, n);
}
