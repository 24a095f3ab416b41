#include "log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "utf8.h"

enum { LINE_MAX_BYTES = 2048, COLUMNS_UNKNOWN = 80 };

static const double REDRAW_S = 0.1; /* Faster than this is flicker. */
static const double PLAIN_S = 5.0;  /* A log file that is read later wants few lines. */
static const double SMOOTHING = 0.3;

static bool is_terminal(FILE *stream) {
    const char *kind = getenv("TERM");
    return isatty(fileno(stream)) && kind && strcmp(kind, "dumb") != 0;
}

void thaw_log_open(thaw_log *log, FILE *stream, thaw_log_level level) {
    *log = (thaw_log){.stream = stream, .level = level, .now_s = thaw_now_s};
    log->terminal = is_terminal(stream);
    pthread_mutex_init(&log->mutex, NULL);
}

void thaw_log_close(thaw_log *log) {
    thaw_log_progress_end(log);
    pthread_mutex_destroy(&log->mutex);
}

/* Cuts a line to the terminal's width, since a wrapped line cannot be drawn over. */
static void fit_terminal(const thaw_log *log, char *line) {
    struct winsize size;
    int columns = COLUMNS_UNKNOWN;
    if (ioctl(fileno(log->stream), TIOCGWINSZ, &size) == 0 && size.ws_col) columns = size.ws_col;
    for (; *line; line++) {
        bool starts_letter = ((unsigned char)*line & 0xc0) != 0x80; /* In UTF-8. */
        if (starts_letter && --columns <= 0) {
            *line = '\0';
            return;
        }
    }
}

/* "1:02:03" or "2:03". */
static void format_duration(char *text, size_t size, double seconds) {
    uint64_t s = seconds < 1e9 ? (uint64_t)(seconds + 0.5) : (uint64_t)1e9;
    if (s >= 3600)
        snprintf(text, size, "%" PRIu64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
    else
        snprintf(text, size, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

/* "label  120/720 (16 %)", without the parts that an unknown total leaves unknown. */
static int format_count(const thaw_log_progress *p, char *line, size_t size) {
    if (!p->total) return snprintf(line, size, "%s  %" PRIu64, p->label, p->count);
    double share = (double)p->count / (double)p->total;
    return snprintf(line, size, "%s  %" PRIu64 "/%" PRIu64 " (%d %%)", p->label, p->count, p->total,
                    (int)(share * 100));
}

static void format_running(const thaw_log_progress *p, char *line, size_t size) {
    int n = format_count(p, line, size);
    if (p->per_s <= 0) return;
    n += snprintf(line + n, size - (size_t)n, "  %.*f %s/s", p->per_s < 10, p->per_s, p->unit);
    if (p->count >= p->total) return;
    char left[32];
    format_duration(left, sizeof left, (double)(p->total - p->count) / p->per_s);
    snprintf(line + n, size - (size_t)n, "  ETA %s", left);
}

static void format_final(const thaw_log_progress *p, double seconds, char *line, size_t size) {
    int n = format_count(p, line, size);
    double rate = seconds > 0 ? (double)p->count / seconds : 0;
    snprintf(line + n, size - (size_t)n, "  %.*f %s/s in %.1f s", rate < 10, rate, p->unit,
             seconds);
}

static void clear_drawn(thaw_log *log) {
    if (log->terminal && log->progress.active) fputs("\r\x1b[K", log->stream);
}

static void draw(thaw_log *log, char *line) {
    fit_terminal(log, line);
    fprintf(log->stream, "\r%s\x1b[K", line);
}

static void show_running(thaw_log *log) {
    char line[LINE_MAX_BYTES];
    format_running(&log->progress, line, sizeof line);
    if (log->terminal)
        draw(log, line);
    else
        fprintf(log->stream, "%s\n", line);
    fflush(log->stream);
}

/* The rate follows the recent past: cached pictures at the start pass in no time, and a mean over
 * all would promise the same for the rest. */
static void update_rate(thaw_log_progress *p, double now_s) {
    double seconds = now_s - p->mark_s;
    if (seconds <= 0) return;
    double recent = (double)(p->count - p->mark_count) / seconds;
    p->per_s = p->per_s > 0 ? p->per_s + SMOOTHING * (recent - p->per_s) : recent;
    p->mark_s = now_s;
    p->mark_count = p->count;
}

static void end_locked(thaw_log *log) {
    thaw_log_progress *p = &log->progress;
    if (!p->active) return;
    char line[LINE_MAX_BYTES];
    format_final(p, log->now_s() - p->start_s, line, sizeof line);
    if (log->terminal) draw(log, line);
    fprintf(log->stream, "%s\n", log->terminal ? "" : line);
    fflush(log->stream);
    p->active = false;
}

void thaw_log_progress_begin(thaw_log *log, const char *label, const char *unit, uint64_t total) {
    if (!log || log->level < THAW_LOG_INFO) return;
    pthread_mutex_lock(&log->mutex);
    end_locked(log);
    double now_s = log->now_s();
    log->progress =
        (thaw_log_progress){.active = true, .total = total, .start_s = now_s, .mark_s = now_s};
    snprintf(log->progress.label, sizeof log->progress.label, "%s", label);
    snprintf(log->progress.unit, sizeof log->progress.unit, "%s", unit);
    if (log->terminal) show_running(log);
    pthread_mutex_unlock(&log->mutex);
}

void thaw_log_progress_add(thaw_log *log, uint64_t n) {
    if (!log) return;
    pthread_mutex_lock(&log->mutex);
    log->progress.count += n;
    double now_s = log->now_s();
    double pause_s = log->terminal ? REDRAW_S : PLAIN_S;
    if (log->progress.active && now_s - log->progress.mark_s >= pause_s) {
        update_rate(&log->progress, now_s);
        show_running(log);
    }
    pthread_mutex_unlock(&log->mutex);
}

void thaw_log_progress_end(thaw_log *log) {
    if (!log) return;
    pthread_mutex_lock(&log->mutex);
    end_locked(log);
    pthread_mutex_unlock(&log->mutex);
}

static void put_time(FILE *stream) {
    struct timespec t;
    struct tm local;
    clock_gettime(CLOCK_REALTIME, &t);
    localtime_r(&t.tv_sec, &local);
    fprintf(stream, "%02d:%02d:%02d.%03ld ", local.tm_hour, local.tm_min, local.tm_sec,
            t.tv_nsec / 1000000);
}

void thaw_log_write(thaw_log *log, thaw_log_level level, const char *format, ...) {
#define X(value, name, prefix) prefix,
    static const char *const prefixes[] = {THAW_LOG_LEVEL_LIST(X)};
#undef X
    if (!log || level > log->level) return;
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    thaw_utf8_printable(line);
    pthread_mutex_lock(&log->mutex);
    clear_drawn(log);
    if (log->level == THAW_LOG_DEBUG) put_time(log->stream);
    fprintf(log->stream, "%s%s\n", prefixes[level], line);
    if (log->terminal && log->progress.active) show_running(log);
    fflush(log->stream);
    pthread_mutex_unlock(&log->mutex);
}
