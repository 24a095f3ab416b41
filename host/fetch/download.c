#define CURL_DISABLE_DEPRECATION /* What stands for CURLOPT_PROTOCOLS now is too new. */
#include "download.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>
#include <gnutls/crypto.h>

#include "file.h"

enum { MB = 1 << 20, TRIES = 5 }; /* Tries in a row that bring nothing. */

typedef struct transfer {
    const thaw_download *d;
    char part[PATH_MAX], wrong[PATH_MAX];
    int fd;
    uint64_t have;     /* Bytes of the part. */
    uint64_t reported; /* Megabytes that the progress line has. */
    bool too_much;     /* The server sends more than there should be. */
    int code;          /* errno of a write that failed; 0: none did. */
    char curl_text[CURL_ERROR_SIZE];
    thaw_error *err;
} transfer;

static bool is_stopped(const transfer *t) {
    return t->d->stop && *t->d->stop;
}

static thaw_status fail_stopped(const transfer *t) {
    return thaw_fail(t->err, THAW_ERR_INTERRUPTED,
                     "stopped by a signal after %" PRIu64 " of %" PRIu64
                     " MB of '%.300s'; the same command goes on from there",
                     t->have / MB, t->d->bytes / MB, t->d->url);
}

static thaw_status fail_io(const transfer *t, const char *path, int code) {
    return thaw_fail(t->err, THAW_ERR_IO, "cannot write '%.600s': %s%s", path, strerror(code),
                     code == ENOSPC ? "; free some space, and the same command goes on" : "");
}

/* ---- what is there ----------------------------------------------------------------------------- */

/* The checksum of a file, from its start. */
static thaw_status hash_file(const transfer *t, int fd, uint64_t n, uint8_t *sha256) {
    uint8_t block[1 << 16];
    gnutls_hash_hd_t hash;
    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) != 0)
        return thaw_fail_memory(t->err, "for a checksum");
    thaw_status status = THAW_OK;
    for (uint64_t at = 0; status == THAW_OK && at < n;) {
        size_t some = n - at < sizeof block ? (size_t)(n - at) : sizeof block;
        if (!thaw_file_read_at(fd, block, some, (off_t)at))
            status = thaw_file_fail_reading(t->d->path, errno, t->err);
        else if (is_stopped(t))
            status = fail_stopped(t);
        else
            gnutls_hash(hash, block, some);
        at += some;
    }
    gnutls_hash_deinit(hash, sha256);
    return status;
}

static thaw_status is_right(const transfer *t, int fd, uint64_t n, bool *right) {
    uint8_t sha256[THAW_SHA256_BYTES];
    *right = false;
    if (n != t->d->bytes) return THAW_OK;
    THAW_TRY(hash_file(t, fd, n, sha256));
    *right = memcmp(sha256, t->d->sha256, sizeof sha256) == 0;
    return THAW_OK;
}

/* *there: the whole file stands at its place, from an earlier run. */
static thaw_status look(const transfer *t, bool *there) {
    struct stat info;
    int fd = open(t->d->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *there = false;
    if (fd < 0) return THAW_OK;
    thaw_status status = THAW_OK;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        status = is_right(t, fd, (uint64_t)info.st_size, there);
    close(fd);
    return status;
}

static thaw_status open_part(transfer *t) {
    struct stat info;
    t->fd = open(t->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (t->fd < 0) return fail_io(t, t->part, errno);
    if (flock(t->fd, LOCK_EX | LOCK_NB) != 0)
        return thaw_fail(t->err, THAW_ERR_IO, "another program is fetching '%.600s'", t->part);
    if (fstat(t->fd, &info) != 0) return fail_io(t, t->part, errno);
    t->have = (uint64_t)info.st_size;
    return THAW_OK;
}

static thaw_status begin_anew(transfer *t) {
    if (ftruncate(t->fd, 0) != 0) return fail_io(t, t->part, errno);
    t->have = 0;
    return THAW_OK;
}

/* ---- what comes -------------------------------------------------------------------------------- */

static size_t take(char *bytes, size_t size, size_t n, void *ctx) {
    transfer *t = ctx;
    n *= size;
    if (t->have + n > t->d->bytes) {
        t->too_much = true;
        return 0;
    }
    if (!thaw_file_write_at(t->fd, bytes, n, (off_t)t->have)) {
        t->code = errno;
        return 0;
    }
    t->have += n;
    if (t->have / MB > t->reported) {
        thaw_log_progress_add(t->d->log, t->have / MB - t->reported);
        t->reported = t->have / MB;
    }
    return n;
}

static int look_for_stop(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total,
                         curl_off_t up) {
    (void)total, (void)now, (void)up_total, (void)up;
    return is_stopped(ctx);
}

static CURLcode ask(transfer *t, long *answer) {
    enum { PATIENCE_S = 60, CONNECT_S = 30, REDIRECTIONS = 8 };
    CURL *curl = curl_easy_init();
    if (!curl) return CURLE_OUT_OF_MEMORY;
    t->curl_text[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, t->d->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTIONS);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "thaw/" THAW_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)PATIENCE_S);
    curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->have);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, t->curl_text);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_for_stop);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, answer);
    curl_easy_cleanup(curl);
    return code;
}

/* Another file than the one that was meant is not in the way of the next try. */
static thaw_status fail_wrong(const transfer *t, const char *what) {
    if (rename(t->part, t->wrong) != 0) return fail_io(t, t->wrong, errno);
    return thaw_fail(t->err, THAW_ERR_MISMATCH,
                     "'%.300s' %s: it is another file than the table of sets means, or was "
                     "damaged on its way; what came is kept as '%.300s', and the same command "
                     "fetches it anew",
                     t->d->url, what, t->wrong);
}

static thaw_status fail_size(const transfer *t) {
    char what[96];
    snprintf(what, sizeof what, "has %s%" PRIu64 " bytes, expected %" PRIu64,
             t->too_much ? "more than " : "", t->too_much ? t->d->bytes : t->have, t->d->bytes);
    return fail_wrong(t, what);
}

static thaw_status fail_server(const transfer *t, CURLcode code, long answer) {
    if (code == CURLE_HTTP_RETURNED_ERROR)
        return thaw_fail(t->err, THAW_ERR_IO, "the server answers %ld to '%.600s'%s", answer,
                         t->d->url,
                         answer == 404 || answer == 410
                             ? ": the file is not there any more; look at the set's page for its "
                               "new place"
                             : "");
    return thaw_fail(t->err, THAW_ERR_IO,
                     "'%.400s' cannot be fetched: %.200s; %" PRIu64 " of %" PRIu64
                     " MB are there, and the same command goes on from them",
                     t->d->url, t->curl_text[0] ? t->curl_text : curl_easy_strerror(code),
                     t->have / MB, t->d->bytes / MB);
}

/* Whether it is worth to ask again: the connection failed, or the server for a while. */
static bool may_pass(CURLcode code, long answer) {
    switch (code) {
        case CURLE_PARTIAL_FILE:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
        case CURLE_GOT_NOTHING:
        case CURLE_OPERATION_TIMEDOUT:
        case CURLE_HTTP2:
        case CURLE_HTTP2_STREAM:
            return true;
        case CURLE_HTTP_RETURNED_ERROR:
            return answer == 429 || answer >= 500;
        default:
            return false;
    }
}

static void pause_for(double seconds) {
    usleep((useconds_t)(1e6 * seconds));
}

static thaw_status fetch(transfer *t) {
    int fruitless = 0;
    while (t->have < t->d->bytes) {
        uint64_t before = t->have;
        long answer = 0;
        CURLcode code = ask(t, &answer);
        if (t->too_much) return fail_size(t);
        if (t->code) return fail_io(t, t->part, t->code);
        if (is_stopped(t)) return fail_stopped(t);
        /* 416: there is nothing behind what is there. */
        if (before && (code == CURLE_RANGE_ERROR || answer == 416)) {
            thaw_log_write(t->d->log, THAW_LOG_INFO,
                           "the server gives no part of '%.300s': it begins anew", t->d->url);
            THAW_TRY(begin_anew(t));
            continue;
        }
        if (code == CURLE_OK && t->have < t->d->bytes) return fail_size(t);
        if (code == CURLE_OK) break;
        fruitless = t->have > before ? 0 : fruitless + 1;
        if (!may_pass(code, answer) || fruitless == TRIES) return fail_server(t, code, answer);
        thaw_log_write(t->d->log, THAW_LOG_INFO, "%s; going on from %" PRIu64 " MB",
                       curl_easy_strerror(code), t->have / MB);
        pause_for(t->d->wait_s * (1 << fruitless));
    }
    return THAW_OK;
}

static thaw_status finish(transfer *t) {
    bool right;
    THAW_TRY(is_right(t, t->fd, t->have, &right));
    if (!right) return fail_wrong(t, "has another SHA-256 than it should");
    if (fsync(t->fd) != 0) return fail_io(t, t->part, errno);
    if (rename(t->part, t->d->path) != 0) return fail_io(t, t->d->path, errno);
    thaw_file_sync_entry(t->d->path);
    return THAW_OK;
}

static thaw_status run(transfer *t) {
    bool there;
    THAW_TRY(look(t, &there));
    if (there) return THAW_OK;
    THAW_TRY(open_part(t));
    if (t->have > t->d->bytes) THAW_TRY(begin_anew(t));
    const char *name = strrchr(t->d->path, '/');
    thaw_log *log = t->d->bytes < MB ? NULL : t->d->log; /* Small ones are there at once. */
    thaw_log_progress_begin(log, name ? name + 1 : t->d->path, "MB", t->d->bytes / MB);
    t->reported = t->have / MB;
    thaw_log_progress_add(log, t->reported);
    thaw_status status = fetch(t);
    thaw_log_progress_end(log);
    return status == THAW_OK ? finish(t) : status;
}

thaw_status thaw_download_file(const thaw_download *d, thaw_error *err) {
    transfer t = {.d = d, .fd = -1, .err = err};
    if (snprintf(t.part, sizeof t.part, "%s.part", d->path) >= (int)sizeof t.part ||
        snprintf(t.wrong, sizeof t.wrong, "%s.wrong", d->path) >= (int)sizeof t.wrong)
        return thaw_fail(err, THAW_ERR_IO, "the path '%.600s' is too long", d->path);
    thaw_status status = run(&t);
    if (t.fd >= 0) close(t.fd);
    return status;
}
