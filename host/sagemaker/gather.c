#include "gather.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "hash.h"
#include "text.h"
#include "wire.h"

enum {
    CHUNK = 1 << 20,
    PATH_BYTES = 1024, /* S3's longest key. */
    NAME_BYTES = 64,   /* SageMaker's longest name of a channel. */
    SPARE = 1 << 26,   /* Bytes of the disk that are left free. */
};

static const char MAGIC[8] = {'T', 'H', 'A', 'W', 'G', 'T', 'H', 'R'};
static const char TURN = 't', WHOLE = 'w';

/* What opens a connection, and what stands before a file; little-endian. */
typedef struct hello {
    char magic[8];
    uint32_t rank, n_hosts;
} hello;
typedef struct heading {
    uint16_t channel_bytes, path_bytes; /* 0: the end. */
    uint32_t zero;
    uint64_t size;
} heading;

static bool is_gathered(const thaw_channel *c) {
    return c->sharded;
}

bool thaw_gather_is_needed(const thaw_platform *p) {
    for (size_t i = 0; p->n_hosts > 1 && i < p->n_channels; i++)
        if (is_gathered(&p->channels[i])) return true;
    return false;
}

static thaw_status check_modes(const thaw_platform *p, thaw_error *err) {
    for (size_t i = 0; i < p->n_channels; i++)
        if (is_gathered(&p->channels[i]) && p->channels[i].piped)
            return thaw_fail(
                err, THAW_ERR_UNSUPPORTED,
                "the channel %s is ShardedByS3Key and a pipe: take File or FastFile, or "
                "FullyReplicated",
                p->channels[i].name);
    return THAW_OK;
}

/* A number of the environment, for tests; SageMaker sets none of them. */
static double number_of(const char *name, double fallback) {
    const char *text = getenv(name);
    double value;
    return text && thaw_text_number(text, &value) && value > 0 ? value : fallback;
}

static thaw_wire_place meeting(const thaw_platform *p, const volatile int *stop, thaw_log *log) {
    enum { PORT = 7777, MEET_S = 1800, IDLE_S = 60 };
    return (thaw_wire_place){.interface = p->interface,
                             .port = (uint16_t)number_of("THAW_PORT", PORT),
                             .meet_s = number_of("THAW_MEET_SECONDS", MEET_S),
                             .idle_s = number_of("THAW_IDLE_SECONDS", IDLE_S),
                             .stop = stop,
                             .log = log};
}

/* ---- the files of a channel ----------------------------------------------------------------- */

typedef thaw_status visitor(void *ctx, const thaw_channel *channel, const char *path,
                            const struct stat *info, thaw_error *err);

/* The regular files below one channel. More hosts than objects leave some without its folder. */
static thaw_status each_file_of(const thaw_channel *c, visitor *visit, void *ctx, thaw_error *err) {
    char *const roots[] = {(char *)c->path, NULL};
    thaw_status status = THAW_OK;
    FTS *walk =
        access(c->path, F_OK) == 0 ? fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL) : NULL;
    for (FTSENT *entry; walk && status == THAW_OK && (entry = fts_read(walk));) {
        bool hidden = entry->fts_name[0] == '.' && entry->fts_level > 0;
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
            status = thaw_fail(err, THAW_ERR_IO, "cannot read %.700s: %s", entry->fts_path,
                               strerror(entry->fts_errno));
        else if (hidden && entry->fts_info == FTS_D)
            fts_set(walk, entry, FTS_SKIP);
        else if (!hidden && entry->fts_info == FTS_F)
            status = visit(ctx, c, entry->fts_path + strlen(c->path) + 1, entry->fts_statp, err);
    }
    if (walk) fts_close(walk);
    return status;
}

/* All regular files below the gathered channels, with their path inside; hidden ones apart. */
static thaw_status each_file(const thaw_platform *p, visitor *visit, void *ctx, thaw_error *err) {
    for (size_t i = 0; i < p->n_channels; i++)
        if (is_gathered(&p->channels[i])) THAW_TRY(each_file_of(&p->channels[i], visit, ctx, err));
    return THAW_OK;
}

/* ---- sending -------------------------------------------------------------------------------- */

typedef struct sender {
    thaw_wire wire;
    char *chunk; /* [CHUNK] */
    uint64_t n, bytes;
} sender;

static thaw_status send_bytes(sender *s, int fd, const char *path, uint64_t size, thaw_error *err) {
    thaw_hash hash = {0};
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        if (!thaw_file_read_at(fd, s->chunk, n, (off_t)at))
            return thaw_fail(err, THAW_ERR_IO, "cannot read %.700s: %s", path, strerror(errno));
        hash = thaw_hash_bytes(hash, s->chunk, n);
        THAW_TRY(thaw_wire_send(&s->wire, s->chunk, n, err));
        at += n;
    }
    uint64_t check[2] = {htole64(hash.lo), htole64(hash.hi)};
    return thaw_wire_send(&s->wire, check, sizeof check, err);
}

static thaw_status send_heading(sender *s, const char *channel, const char *path, uint64_t size,
                                thaw_error *err) {
    heading h = {.channel_bytes = htole16((uint16_t)strlen(channel)),
                 .path_bytes = htole16((uint16_t)strlen(path)),
                 .size = htole64(size)};
    THAW_TRY(thaw_wire_send(&s->wire, &h, sizeof h, err));
    THAW_TRY(thaw_wire_send(&s->wire, channel, strlen(channel), err));
    return thaw_wire_send(&s->wire, path, strlen(path), err);
}

static thaw_status send_file(void *ctx, const thaw_channel *channel, const char *path,
                             const struct stat *info, thaw_error *err) {
    sender *s = ctx;
    char whole[PATH_MAX];
    snprintf(whole, sizeof whole, "%.2000s/%.2000s", channel->path, path);
    if (strlen(path) > PATH_BYTES)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "the path %.300s... is too long", path);
    int fd = open(whole, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return thaw_fail(err, THAW_ERR_IO, "cannot read %.700s: %s", whole, strerror(errno));
    thaw_status status = send_heading(s, channel->name, path, (uint64_t)info->st_size, err);
    if (status == THAW_OK) status = send_bytes(s, fd, whole, (uint64_t)info->st_size, err);
    close(fd);
    s->n++;
    s->bytes += (uint64_t)info->st_size;
    return status;
}

static thaw_status send_all(const thaw_platform *p, sender *s, thaw_error *err) {
    hello h = {.rank = htole32((uint32_t)p->rank), .n_hosts = htole32((uint32_t)p->n_hosts)};
    char answer;
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    THAW_TRY(thaw_wire_send(&s->wire, &h, sizeof h, err));
    /* Others may have their turn before. */
    THAW_TRY(thaw_wire_receive(&s->wire, &answer, 1, s->wire.place->meet_s, err));
    if (answer == TURN) {
        THAW_TRY(each_file(p, send_file, s, err));
        THAW_TRY(send_heading(s, "", "", 0, err));
        THAW_TRY(thaw_wire_receive(&s->wire, &answer, 1, 0, err));
    }
    if (answer == WHOLE) return THAW_OK;
    return thaw_fail(err, THAW_ERR_FORMAT, "what %s answers at port %d is not what Thaw says",
                     s->wire.peer, s->wire.place->port);
}

thaw_status thaw_gather_send(const thaw_platform *p, const volatile int *stop, thaw_log *log,
                             thaw_error *err) {
    thaw_wire_place place = meeting(p, stop, log);
    thaw_arena arena = {0};
    sender s = {.chunk = thaw_arena_alloc(&arena, CHUNK)};
    if (!s.chunk) return thaw_fail_memory(err, "to send pictures");
    thaw_status status = check_modes(p, err);
    if (status == THAW_OK) status = thaw_wire_connect(&place, p->hosts[0], &s.wire, err);
    if (status == THAW_OK) {
        status = send_all(p, &s, err);
        thaw_wire_close(&s.wire);
    }
    if (status == THAW_OK)
        thaw_log_write(log, THAW_LOG_INFO,
                       "host %s has sent its %llu files, %.1f MB, to %s, which trains: done",
                       p->hosts[p->rank], (unsigned long long)s.n, (double)s.bytes / 1e6,
                       p->hosts[0]);
    thaw_arena_free(&arena);
    return status;
}

/* ---- receiving ------------------------------------------------------------------------------ */

typedef struct receiver {
    const thaw_platform *platform;
    const char *folder;
    thaw_wire wire;
    char *chunk; /* [CHUNK] */
    uint64_t n, bytes;
} receiver;

/* folder/CHANNEL/path, whose folder is made. */
static thaw_status place_file(const receiver *r, const char *channel, const char *path,
                              char whole[PATH_MAX], thaw_error *err) {
    char above[PATH_MAX];
    if (snprintf(whole, PATH_MAX, "%s/%s/%s", r->folder, channel, path) >= PATH_MAX)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "the path %.300s... is too long", path);
    snprintf(above, sizeof above, "%s", whole);
    *strrchr(above, '/') = '\0';
    return thaw_file_make_folders(above, err);
}

static thaw_status link_own(void *ctx, const thaw_channel *channel, const char *path,
                            const struct stat *info, thaw_error *err) {
    receiver *r = ctx;
    char whole[PATH_MAX], own[PATH_MAX];
    (void)info;
    THAW_TRY(place_file(r, channel->name, path, whole, err));
    snprintf(own, sizeof own, "%.2000s/%.2000s", channel->path, path);
    char *real = realpath(own, NULL); /* BASE may be relative, a link's target is not. */
    bool linked = real && symlink(real, whole) == 0;
    int code = errno;
    free(real);
    if (linked) return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO, "cannot make the link %.600s: %s", whole, strerror(code));
}

/* Relative, without "..", empty or hidden parts, and no byte that is none of a text. */
static bool is_safe(const char *path, size_t n) {
    if (strlen(path) != n || !n) return false;
    for (const char *part = path;; part++) {
        if (*part == '/' || *part == '.' || !*part) return false;
        part += strcspn(part, "/");
        if (!*part) break;
    }
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) return false;
    return true;
}

static thaw_status fail_frame(const receiver *r, const char *what, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_FORMAT, "%s sent %s, which no host of this job would",
                     r->wire.peer, what);
}

static thaw_status check_room(const receiver *r, uint64_t size, thaw_error *err) {
    uint64_t room;
    THAW_TRY(thaw_file_free_bytes(r->folder, &room, err));
    if (size <= room && room - size >= SPARE) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_IO,
        "%s has %.1f GB left, which is too little for the pictures of all %zu hosts: give "
        "the instance a larger volume",
        r->folder, (double)room / 1e9, r->platform->n_hosts);
}

static thaw_status receive_bytes(receiver *r, FILE *to, const char *path, uint64_t size,
                                 thaw_error *err) {
    thaw_hash hash = {0};
    uint64_t check[2];
    for (uint64_t left = size; left > 0;) {
        size_t n = left < CHUNK ? (size_t)left : CHUNK;
        THAW_TRY(thaw_wire_receive(&r->wire, r->chunk, n, 0, err));
        hash = thaw_hash_bytes(hash, r->chunk, n);
        if (fwrite(r->chunk, 1, n, to) != n)
            return thaw_fail(err, THAW_ERR_IO, "cannot write %.700s: %s", path, strerror(errno));
        left -= n;
    }
    THAW_TRY(thaw_wire_receive(&r->wire, check, sizeof check, 0, err));
    if (le64toh(check[0]) == hash.lo && le64toh(check[1]) == hash.hi) return THAW_OK;
    return thaw_fail(err, THAW_ERR_FORMAT, "%s was damaged on the way from %s", path, r->wire.peer);
}

/* Not to the disk before it goes on: whatever is lost with the machine is sent again. */
static thaw_status receive_file(receiver *r, const char *channel, const char *path, uint64_t size,
                                thaw_error *err) {
    char whole[PATH_MAX];
    THAW_TRY(check_room(r, size, err));
    THAW_TRY(place_file(r, channel, path, whole, err));
    FILE *file = fopen(whole, "wxe");
    if (!file && errno == EEXIST)
        return thaw_fail(
            err, THAW_ERR_DATA,
            "two hosts have a file %.300s in the channel %s: with ShardedByS3Key each object "
            "is on one",
            path, channel);
    if (!file)
        return thaw_fail(err, THAW_ERR_IO, "cannot write %.700s: %s", whole, strerror(errno));
    thaw_status status = receive_bytes(r, file, path, size, err);
    if (fclose(file) != 0 && status == THAW_OK)
        status = thaw_fail(err, THAW_ERR_IO, "cannot write %.700s: %s", whole, strerror(errno));
    r->n++;
    r->bytes += size;
    return status;
}

/* The next file; *more is false at the end. */
static thaw_status receive_next(receiver *r, bool *more, thaw_error *err) {
    heading h;
    char channel[NAME_BYTES + 1] = "", path[PATH_BYTES + 1] = "";
    THAW_TRY(thaw_wire_receive(&r->wire, &h, sizeof h, 0, err));
    size_t n = le16toh(h.channel_bytes), m = le16toh(h.path_bytes);
    *more = n > 0;
    if (!*more) return THAW_OK;
    if (n > NAME_BYTES || m > PATH_BYTES) return fail_frame(r, "too long a name", err);
    THAW_TRY(thaw_wire_receive(&r->wire, channel, n, 0, err));
    THAW_TRY(thaw_wire_receive(&r->wire, path, m, 0, err));
    const thaw_channel *c = thaw_platform_channel(r->platform, channel);
    if (!c || !is_gathered(c) || !is_safe(path, m))
        return fail_frame(r, "a file for elsewhere", err);
    return receive_file(r, channel, path, le64toh(h.size), err);
}

/* Whether it is one of the job's hosts, and which. */
static bool greet(receiver *r, const bool *seen, size_t *rank) {
    hello h;
    const thaw_platform *p = r->platform;
    if (thaw_wire_receive(&r->wire, &h, sizeof h, 0, NULL) != THAW_OK) return false;
    *rank = le32toh(h.rank);
    return memcmp(h.magic, MAGIC, sizeof MAGIC) == 0 && *rank > 0 && *rank < p->n_hosts &&
           le32toh(h.n_hosts) == p->n_hosts && !seen[*rank];
}

/* One host's files, from its turn to our thanks. */
static thaw_status serve(receiver *r, size_t rank, thaw_error *err) {
    r->wire.peer = r->platform->hosts[rank];
    THAW_TRY(thaw_wire_send(&r->wire, &TURN, 1, err));
    for (bool more = true; more;)
        THAW_TRY(receive_next(r, &more, err));
    return thaw_wire_send(&r->wire, &WHOLE, 1, err);
}

/* Those that have not come, for a sentence. */
static thaw_status fail_missing(const thaw_platform *p, const bool *seen, thaw_error *err) {
    thaw_text names = {0};
    for (size_t i = 1; i < p->n_hosts; i++)
        if (!seen[i]) thaw_text_add(&names, "%s%.60s", names.n ? ", " : "", p->hosts[i]);
    return thaw_fail_within(err, THAW_ERR_IO, "waiting for %.300s", names.text);
}

/* Somebody else may knock at the port, who is not answered. */
static thaw_status serve_next(receiver *r, const thaw_wire_place *place, int listening,
                              double until, bool *seen, size_t *n, thaw_error *err) {
    size_t rank;
    thaw_status status = thaw_wire_accept(place, listening, until, &r->wire, err);
    if (status == THAW_ERR_IO) return fail_missing(r->platform, seen, err);
    THAW_TRY(status);
    bool known = greet(r, seen, &rank);
    if (known) status = serve(r, rank, err);
    if (known) seen[rank] = true, ++*n;
    if (!known)
        thaw_log_write(place->log, THAW_LOG_WARN,
                       "somebody who is no host of this job came to port %d", place->port);
    thaw_wire_close(&r->wire);
    return status;
}

static thaw_status serve_all(receiver *r, const thaw_wire_place *place, bool *seen,
                             thaw_error *err) {
    int listening;
    double until = thaw_now_s() + place->meet_s;
    thaw_status status = thaw_wire_listen(place, &listening, err);
    for (size_t n = 1; n < r->platform->n_hosts && status == THAW_OK;)
        status = serve_next(r, place, listening, until, seen, &n, err);
    if (listening >= 0) close(listening);
    return status;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static thaw_status receive_all(receiver *r, const thaw_wire_place *place, thaw_arena *arena,
                               thaw_error *err) {
    enum { DESCRIPTORS = 16 };
    bool *seen = thaw_arena_array(arena, r->platform->n_hosts, sizeof *seen);
    r->chunk = thaw_arena_alloc(arena, CHUNK);
    if (!seen || !r->chunk) return thaw_fail_memory(err, "to receive pictures");
    nftw(r->folder, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS); /* An earlier try's. */
    THAW_TRY(thaw_file_make_folders(r->folder, err));
    THAW_TRY(each_file(r->platform, link_own, r, err));
    return serve_all(r, place, seen, err);
}

/* The channels are where the files are. Lists of what is in one are looked for beside it. */
static thaw_status move_channels(thaw_platform *p, const char *folder, thaw_error *err) {
    for (size_t i = 0; i < p->n_channels; i++) {
        thaw_channel *c = &p->channels[i];
        const char *own = c->path;
        char of[NAME_BYTES + 1];
        size_t n = strlen(c->name);
        bool lists = n > 4 && strcmp(c->name + n - 4, "_lst") == 0;
        snprintf(of, sizeof of, "%.*s", (int)(lists ? n - 4 : 0), c->name);
        const thaw_channel *listed = thaw_platform_channel(p, of);
        bool linked = !is_gathered(c) && listed && is_gathered(listed);
        if (!is_gathered(c) && !linked) continue;
        c->path = thaw_arena_printf(&p->arena, "%s/%s", folder, c->name);
        if (!c->path) return thaw_fail_memory(err, "for the paths of channels");
        if (!linked) continue;
        char *real = realpath(own, NULL);
        bool made = real && symlink(real, c->path) == 0;
        free(real);
        if (!made)
            return thaw_fail(err, THAW_ERR_IO, "cannot make the link %.600s: %s", c->path,
                             strerror(errno));
    }
    return THAW_OK;
}

thaw_status thaw_gather_receive(thaw_platform *p, const char *folder, const volatile int *stop,
                                thaw_log *log, thaw_error *err) {
    thaw_wire_place place = meeting(p, stop, log);
    receiver r = {.platform = p, .folder = folder};
    thaw_arena arena = {0};
    double start = thaw_now_s();
    THAW_TRY(check_modes(p, err));
    thaw_log_write(log, THAW_LOG_INFO, "waiting for the pictures of %zu other hosts",
                   p->n_hosts - 1);
    thaw_status status = receive_all(&r, &place, &arena, err);
    thaw_arena_free(&arena);
    THAW_TRY(status);
    THAW_TRY(move_channels(p, folder, err));
    thaw_log_write(log, THAW_LOG_INFO, "%llu files, %.1f MB, came from the other hosts in %.1f s",
                   (unsigned long long)r.n, (double)r.bytes / 1e6, thaw_now_s() - start);
    return THAW_OK;
}
