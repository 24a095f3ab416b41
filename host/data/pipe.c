#include "pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "csv.h"
#include "file.h"
#include "recordio.h"
#include "text.h"

enum {
    LOOK_UP_MS = 100,     /* How often it looks whether to stop. */
    CHUNK = 1 << 20,      /* Bytes that are read at once. */
    LABEL_BYTES = 1024,   /* Of the longest label. */
    WATCH_BYTES = 8 << 20 /* How often it looks at the disk. */
};

/* Bytes that grow, and stay. */
typedef struct buffer {
    char *bytes;
    size_t n, capacity;
} buffer;

static bool reserve(buffer *b, size_t n) {
    if (n <= b->capacity) return true;
    size_t capacity = n > 2 * b->capacity ? n : 2 * b->capacity;
    char *bytes = realloc(b->bytes, capacity);
    if (!bytes) return false;
    b->bytes = bytes;
    b->capacity = capacity;
    return true;
}

typedef struct spool {
    const thaw_pipe_spec *spec;
    const char *folder;
    thaw_pipe_result *result;
    thaw_error *err;
    char fifo[PATH_MAX], rec[PATH_MAX], csv[PATH_MAX], name[NAME_MAX + 1]; /* name: of rec. */
    int fd;
    buffer chunk; /* What was read, of which [at, n) is still to be used. */
    size_t at;
    buffer record, label;
    uint64_t begin;   /* Of the record that is being read. */
    uint64_t watched; /* Bytes that had come when it last looked at the disk. */
    thaw_new_file records, table;
} spool;

static thaw_status no_memory(const spool *s) {
    return thaw_fail_memory(s->err, "for what comes through '%.600s'", s->fifo);
}

/* ---- the FIFO -------------------------------------------------------------------------------- */

static thaw_status check_stop(const spool *s) {
    if (!s->spec->stop || !*s->spec->stop) return THAW_OK;
    return thaw_fail(s->err, THAW_ERR_INTERRUPTED,
                     "stopped by a signal after %zu pictures from '%.600s'", s->result->n, s->fifo);
}

/* Whether it may wait on, since when it does. */
static thaw_status check_wait(const spool *s, double since_s, const char *what) {
    THAW_TRY(check_stop(s));
    if (thaw_now_s() - since_s <= s->spec->patience_s) return THAW_OK;
    return thaw_fail(s->err, THAW_ERR_IO, "'%.600s' %s within %g s, after %zu pictures", s->fifo,
                     what, s->spec->patience_s, s->result->n);
}

/* The FIFO may be made only once the one before was read. */
static thaw_status open_fifo(spool *s) {
    const struct timespec pause = {.tv_nsec = LOOK_UP_MS * 1000000L};
    double start = thaw_now_s();
    while ((s->fd = open(s->fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) < 0) {
        if (errno != ENOENT && errno != EINTR)
            return thaw_fail(s->err, THAW_ERR_IO, "cannot open '%.600s': %s", s->fifo,
                             strerror(errno));
        THAW_TRY(check_wait(s, start, "did not appear"));
        nanosleep(&pause, NULL);
    }
    return THAW_OK;
}

/* Reads on; *n 0: the end. A FIFO that nobody has opened to write is not at its end: poll waits. */
static thaw_status read_on(spool *s, size_t *n) {
    struct pollfd wanted = {.fd = s->fd, .events = POLLIN};
    double start = thaw_now_s();
    if (!reserve(&s->chunk, s->chunk.n + CHUNK)) return no_memory(s);
    for (;;) {
        int ready = poll(&wanted, 1, LOOK_UP_MS);
        ssize_t got = ready > 0 ? read(s->fd, s->chunk.bytes + s->chunk.n, CHUNK) : -1;
        if (got >= 0) {
            s->chunk.n += *n = (size_t)got;
            s->result->bytes += (uint64_t)got;
            return THAW_OK;
        }
        if (ready > 0 && errno != EINTR && errno != EAGAIN)
            return thaw_fail(s->err, THAW_ERR_IO, "cannot read '%.600s': %s", s->fifo,
                             strerror(errno));
        THAW_TRY(check_wait(s, start, "gave nothing more"));
    }
}

/* Sees to it that n bytes are there to be used; false in *there: the FIFO ends before. */
static thaw_status want(spool *s, size_t n, bool *there) {
    buffer *c = &s->chunk;
    if (c->n - s->at < n) {
        if (s->at > 0) memmove(c->bytes, c->bytes + s->at, c->n - s->at);
        c->n -= s->at;
        s->at = 0;
        for (size_t got = 1; c->n < n && got > 0;)
            THAW_TRY(read_on(s, &got));
    }
    *there = c->n - s->at >= n;
    return THAW_OK;
}

/* ---- records --------------------------------------------------------------------------------- */

static uint64_t position(const spool *s) {
    return s->result->bytes - (s->chunk.n - s->at);
}

static thaw_status fail_cut(const spool *s) {
    return thaw_fail(s->err, THAW_ERR_FORMAT,
                     "'%.600s' is cut off: it ends at byte %" PRIu64
                     ", within the record that "
                     "begins at byte %" PRIu64 ", after %zu pictures",
                     s->fifo, s->result->bytes, s->begin, s->result->n);
}

static thaw_status next_part(spool *s, bool first, thaw_record_part *part, bool *end) {
    bool there;
    THAW_TRY(want(s, THAW_RECORD_PART_HEAD, &there));
    *end = !there && first && s->chunk.n == s->at;
    if (*end) return THAW_OK;
    if (!there) return fail_cut(s);
    if (!thaw_record_parse(s->chunk.bytes + s->at, first, part))
        return thaw_fail(
            s->err, THAW_ERR_FORMAT,
            "'%.500s': expected %s of RecordIO at byte %" PRIu64
            ", after %zu pictures: "
            "the channel needs RecordWrapperType RecordIO, unless its objects are .rec "
            "files",
            s->fifo, first ? "a record" : "the next part of a record", position(s), s->result->n);
    s->at += THAW_RECORD_PART_HEAD;
    THAW_TRY(want(s, part->filled, &there));
    return there ? THAW_OK : fail_cut(s);
}

/* Reads the next record into `to`, whole; *end: there is none. */
static thaw_status next_record(spool *s, buffer *to, bool *end) {
    thaw_record_part part = {0};
    s->begin = position(s);
    to->n = 0;
    for (bool first = true; !part.last; first = false) {
        THAW_TRY(next_part(s, first, &part, end));
        if (*end) return THAW_OK;
        size_t seam = first ? 0 : sizeof thaw_record_magic;
        if (to->n + seam + part.n > THAW_RECORD_MOST_BYTES)
            return thaw_fail(s->err, THAW_ERR_FORMAT,
                             "'%.600s': the record that begins at byte %" PRIu64
                             " has more than %d "
                             "bytes",
                             s->fifo, s->begin, THAW_RECORD_MOST_BYTES);
        if (!reserve(to, to->n + seam + part.n + 1)) return no_memory(s); /* And a NUL. */
        memcpy(to->bytes + to->n, thaw_record_magic, seam);
        memcpy(to->bytes + to->n + seam, s->chunk.bytes + s->at, part.n);
        to->n += seam + part.n;
        s->at += part.filled;
    }
    return THAW_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* A full disk would take the cache and the model with it. */
static thaw_status watch_disk(spool *s) {
    uint64_t room;
    if (s->watched && s->result->bytes - s->watched < WATCH_BYTES) return THAW_OK;
    s->watched = s->result->bytes;
    THAW_TRY(thaw_file_free_bytes(s->folder, &room, s->err));
    if (room >= s->spec->spare_bytes + s->record.n) return THAW_OK;
    return thaw_fail(s->err, THAW_ERR_IO,
                     "'%.300s' has %" PRIu64 " MB free after %zu pictures, %" PRIu64
                     " MB, of '%.300s', and %" PRIu64
                     " MB must stay free: give the job a larger "
                     "volume, or another input mode",
                     s->folder, room >> 20, s->result->n, s->result->bytes >> 20, s->fifo,
                     s->spec->spare_bytes >> 20);
}

static thaw_status fail_writing(const spool *s) {
    return thaw_fail(s->err, THAW_ERR_IO, "cannot write '%.600s': %s", s->rec, strerror(errno));
}

/* A record that has its header. */
static thaw_status keep_record(spool *s) {
    const buffer *r = &s->record;
    uint32_t flag = 0;
    if (r->n >= THAW_RECORD_HEADER) memcpy(&flag, r->bytes, sizeof flag);
    if (r->n < THAW_RECORD_HEADER || r->n - THAW_RECORD_HEADER < flag * sizeof(float))
        return thaw_fail(s->err, THAW_ERR_FORMAT,
                         "'%.600s': the record at byte %" PRIu64
                         " begins with no label, as im2rec "
                         "writes it; pictures alone cannot be learnt from: stream an augmented "
                         "manifest or .rec files",
                         s->fifo, s->begin);
    bool good = thaw_record_put_with(s->records.stream, r->bytes, r->bytes + THAW_RECORD_HEADER,
                                     r->n - THAW_RECORD_HEADER);
    return good ? THAW_OK : fail_writing(s);
}

/* A picture, and the text of its label. Where that is no number, the record's own label is none. */
static thaw_status keep_labelled(spool *s, const char *label) {
    double id;
    long begin = ftell(s->records.stream);
    if (!thaw_text_number(label, &id)) id = (double)NAN;
    if (begin < 0 ||
        !thaw_record_put(s->records.stream, (float)id, s->result->n, s->record.bytes, s->record.n))
        return fail_writing(s);
    fprintf(s->table.stream, "%s/%ld,", s->name, begin);
    thaw_csv_put(s->table.stream, label);
    fputs("\r\n", s->table.stream);
    return THAW_OK;
}

/* The record behind a picture's, as a text. */
static thaw_status next_label(spool *s, const char **label) {
    bool end;
    size_t n;
    THAW_TRY(next_record(s, &s->label, &end));
    if (end)
        return thaw_fail(s->err, THAW_ERR_FORMAT,
                         "'%.600s' ends with picture %zu, which has no label", s->fifo,
                         s->result->n + 1);
    char *text = s->label.bytes, *last = text + s->label.n;
    *last = '\0';
    while (last > text && strchr(" \t\r\n", last[-1]))
        *--last = '\0';
    n = strspn(text, " \t\r\n");
    *label = text + n;
    if (**label && s->label.n < LABEL_BYTES && strlen(text) == (size_t)(last - text))
        return THAW_OK;
    return thaw_fail(s->err, THAW_ERR_FORMAT,
                     "'%.500s': the record at byte %" PRIu64
                     ", of %zu bytes, is no label: expected "
                     "pictures and labels in turn, which is what AttributeNames with the picture's "
                     "reference and then its class gives",
                     s->fifo, s->begin, s->label.n);
}

static thaw_status copy_records(spool *s) {
    bool end;
    const char *label = NULL;
    for (;; s->result->n++) {
        THAW_TRY(next_record(s, &s->record, &end));
        if (end) break;
        THAW_TRY(watch_disk(s));
        if (s->spec->manifest) THAW_TRY(next_label(s, &label));
        THAW_TRY(s->spec->manifest ? keep_labelled(s, label) : keep_record(s));
        THAW_TRY(check_stop(s));
    }
    if (s->result->n > 0) return THAW_OK;
    return thaw_fail(s->err, THAW_ERR_DATA, "nothing came through '%.600s'", s->fifo);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static thaw_status name_files(spool *s) {
    const char *channel = s->spec->channel, *slash = strrchr(channel, '/');
    const char *base = slash ? slash + 1 : channel;
    int fifo = snprintf(s->fifo, PATH_MAX, "%s_%d", channel, s->spec->epoch);
    int name = snprintf(s->name, sizeof s->name, "%s.rec", base);
    int rec = snprintf(s->rec, PATH_MAX, "%s/%s.rec", s->folder, base);
    int csv = snprintf(s->csv, PATH_MAX, "%s/%s.csv", s->folder, base);
    snprintf(s->result->source, PATH_MAX, "%s", s->spec->manifest ? s->csv : s->rec);
    if (fifo < PATH_MAX && rec < PATH_MAX && csv < PATH_MAX && name <= NAME_MAX) return THAW_OK;
    return thaw_fail(s->err, THAW_ERR_IO, "the channel '%.600s' has too long a path", channel);
}

static thaw_status finish(spool *s) {
    THAW_TRY(thaw_file_finish(&s->records, s->err));
    if (!s->spec->manifest) return THAW_OK;
    thaw_status status = thaw_file_finish(&s->table, s->err);
    if (status != THAW_OK) unlink(s->rec);
    return status;
}

static thaw_status spool_all(spool *s) {
    THAW_TRY(name_files(s));
    THAW_TRY(thaw_file_make_folders(s->folder, s->err));
    THAW_TRY(thaw_file_begin(&s->records, s->rec, s->err));
    if (s->spec->manifest) {
        THAW_TRY(thaw_file_begin(&s->table, s->csv, s->err));
        fputs("path,label\r\n", s->table.stream);
    }
    THAW_TRY(open_fifo(s));
    THAW_TRY(copy_records(s));
    return finish(s);
}

thaw_status thaw_pipe_spool(const thaw_pipe_spec *spec, const char *folder,
                            thaw_pipe_result *result, thaw_error *err) {
    spool s = {.spec = spec, .folder = folder, .result = result, .err = err, .fd = -1};
    *result = (thaw_pipe_result){0};
    thaw_status status = spool_all(&s);
    thaw_file_abandon(&s.records);
    thaw_file_abandon(&s.table);
    if (s.fd >= 0) close(s.fd);
    free(s.chunk.bytes);
    free(s.record.bytes);
    free(s.label.bytes);
    return status;
}
