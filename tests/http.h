/* Speaking HTTP to the program on this machine, byte by byte where a test wants that. */
#ifndef THAW_TEST_HTTP_H
#define THAW_TEST_HTTP_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "program.h"

typedef struct http_reply {
    int code;   /* 0: the connection was closed without a reply. */
    char *text; /* Head and body, with a NUL. */
    char *body; /* In text. */
    size_t n;   /* Of the body. */
} http_reply;

static inline void http_free(http_reply *r) {
    free(r->text);
    *r = (http_reply){0};
}

static inline int http_connect(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {30, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tempdir_check(fd >= 0, "socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    tempdir_check(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    return fd;
}

/* What of it the other side takes. */
static inline void http_put(int fd, const void *bytes, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t some = send(fd, (const char *)bytes + at, n - at, MSG_NOSIGNAL);
        if (some <= 0) return;
        at += (size_t)some;
    }
}

/* The bytes of the body that the head announces; SIZE_MAX: all that comes. */
static inline size_t http_length(const char *head) {
    const char *length = strcasestr(head, "\r\nContent-Length:");
    return length ? strtoull(length + 17, NULL, 10) : SIZE_MAX;
}

/* Reads one reply; 1xx are passed over. */
static inline http_reply http_get_reply(int fd) {
    http_reply r = {0};
    size_t n = 0, size = 1 << 16;
    r.text = malloc(size);
    for (char *end = NULL;;) {
        ssize_t some = recv(fd, r.text + n, size - n - 1, 0);
        if (some > 0) n += (size_t)some;
        r.text[n] = '\0';
        if (!end && (end = strstr(r.text, "\r\n\r\n")) && !strncmp(r.text, "HTTP/1.1 1", 10)) {
            n -= (size_t)(end + 4 - r.text);
            memmove(r.text, end + 4, n + 1);
            end = strstr(r.text, "\r\n\r\n");
        }
        if (end) {
            r.body = end + 4;
            r.n = n - (size_t)(r.body - r.text);
            if (r.n >= http_length(r.text)) break;
        }
        if (some <= 0) break;
        if (n + 1 == size) {
            size *= 2;
            char *larger = realloc(r.text, size);
            if (end) end = larger + (end - r.text);
            r.text = larger;
        }
    }
    if (r.body) r.body = strstr(r.text, "\r\n\r\n") + 4;
    r.code = strncmp(r.text, "HTTP/1.1 ", 9) == 0 ? atoi(r.text + 9) : 0;
    return r;
}

/* A request with a head's further lines, each with its "\r\n". */
static inline void http_put_request(int fd, const char *line, const char *headers, const void *body,
                                    size_t n) {
    char head[4096];
    int length =
        snprintf(head, sizeof head, "%s HTTP/1.1\r\nHost: here\r\nContent-Length: %zu\r\n%s\r\n",
                 line, n, headers);
    assert_in_range(length, 1, sizeof head - 1);
    http_put(fd, head, (size_t)length);
    http_put(fd, body, n);
}

static inline http_reply http_ask(int port, const char *line, const char *headers, const void *body,
                                  size_t n) {
    int fd = http_connect(port);
    http_put_request(fd, line, headers, body, n);
    http_reply r = http_get_reply(fd);
    close(fd);
    return r;
}

/* Fails the test unless the reply has this code and, where part is not NULL, this text. */
static inline void http_expect(http_reply *r, int code, const char *part, const char *what) {
    if (r->code != code || (part && !strstr(r->text, part)))
        fail_msg("%s: expected %d with \"%s\", got %d\n%.2000s", what, code, part ? part : "",
                 r->code, r->text);
    http_free(r);
}

/* Waits for the line that says where the program listens; returns its port. */
static inline int http_port(const program *p) {
    int port = 0;
    program_await_output(p);
    FILE *out = fopen(p->out_path, "r");
    char line[256] = "";
    const char *colon = out && fgets(line, sizeof line, out) ? strrchr(line, ':') : NULL;
    if (colon) port = atoi(colon + 1);
    if (out) fclose(out);
    if (port <= 0) fail_msg("thaw %s does not listen", p->line);
    return port;
}

/* Waits until /ping answers with 200. */
static inline void http_await_ready(const program *p, int port) {
    for (int code = 0; code != 200; pause_ms(5)) {
        if (!program_is_running(p)) fail_msg("thaw %s has ended", p->line);
        http_reply r = http_ask(port, "GET /ping", "", NULL, 0);
        code = r.code;
        http_free(&r);
    }
}

/* The value of a line of /metrics, such as thaw_requests_total{code="200"}; 0: there is none. */
static inline double http_metric(int port, const char *name) {
    http_reply r = http_ask(port, "GET /metrics", "", NULL, 0);
    double value = 0;
    size_t n = strlen(name);
    for (const char *line = r.body; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (!strncmp(line, name, n) && line[n] == ' ') value = strtod(line + n, NULL);
    http_free(&r);
    return value;
}

#endif
