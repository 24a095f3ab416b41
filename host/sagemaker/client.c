#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_BYTES = 16 << 10, MOST_BYTES = 64 << 20 };

static struct sockaddr_in address_of(int port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

thaw_status thaw_client_free_port(int *port, thaw_error *err) {
    struct sockaddr_in address = address_of(0);
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool found = fd >= 0 && bind(fd, (const struct sockaddr *)&address, n) == 0 &&
                 getsockname(fd, (struct sockaddr *)&address, &n) == 0;
    int code = errno;
    if (fd >= 0) close(fd);
    *port = ntohs(address.sin_port);
    if (found) return THAW_OK;
    return thaw_fail(err, THAW_ERR_SYSTEM, "no free port on 127.0.0.1: %s", strerror(code));
}

thaw_client thaw_client_open(int port) {
    return (thaw_client){.port = port, .fd = -1};
}

static void disconnect(thaw_client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

void thaw_client_close(thaw_client *c) {
    disconnect(c);
    free(c->text);
    c->text = NULL;
}

static thaw_status fail_talk(const thaw_client *c, const char *what, int code, thaw_error *err) {
    if (code == EAGAIN || code == EWOULDBLOCK) code = ETIMEDOUT;
    return thaw_fail(err, THAW_ERR_IO, "port %d %s: %s", c->port, what,
                     code ? strerror(code) : "the connection was ended");
}

static thaw_status connect_to(thaw_client *c, double patience_s, thaw_error *err) {
    struct sockaddr_in address = address_of(c->port);
    struct timeval patience = {(time_t)patience_s, (suseconds_t)(patience_s * 1e6) % 1000000};
    int at_once = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return fail_talk(c, "cannot be asked", errno, err);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    if (connect(c->fd, (const struct sockaddr *)&address, sizeof address) == 0) return THAW_OK;
    return fail_talk(c, "does not answer", errno, err);
}

static thaw_status send_all(thaw_client *c, const void *bytes, size_t n, thaw_error *err) {
    for (size_t at = 0; at < n;) {
        ssize_t some = send(c->fd, (const char *)bytes + at, n - at, MSG_NOSIGNAL);
        if (some <= 0) return fail_talk(c, "takes no request", errno, err);
        at += (size_t)some;
    }
    return THAW_OK;
}

static thaw_status make_room(thaw_client *c, size_t n, thaw_error *err) {
    if (n + 1 <= c->capacity) return THAW_OK;
    size_t capacity = c->capacity ? 2 * c->capacity : FIRST_BYTES;
    if (capacity < n + 1) capacity = n + 1;
    char *text = capacity <= MOST_BYTES ? realloc(c->text, capacity) : NULL;
    if (!text) return thaw_fail_memory(err, "for a reply of port %d", c->port);
    c->text = text;
    c->capacity = capacity;
    return THAW_OK;
}

/* Reads on, behind the n bytes that are there. */
static thaw_status receive_some(thaw_client *c, size_t *n, thaw_error *err) {
    THAW_TRY(make_room(c, *n + FIRST_BYTES, err));
    ssize_t some = recv(c->fd, c->text + *n, c->capacity - *n - 1, 0);
    if (some <= 0) return fail_talk(c, "gives no reply", some < 0 ? errno : 0, err);
    *n += (size_t)some;
    c->text[*n] = '\0';
    return THAW_OK;
}

/* The value of a line of the head; NULL: there is none. */
static const char *header_of(const char *head, const char *name) {
    const char *line = strcasestr(head, name);
    return line ? line + strlen(name) : NULL;
}

static thaw_status receive(thaw_client *c, thaw_reply *reply, thaw_error *err) {
    size_t n = 0, head = 0;
    char *end = NULL;
    while (!end) {
        THAW_TRY(receive_some(c, &n, err));
        end = strstr(c->text, "\r\n\r\n");
    }
    head = (size_t)(end - c->text);
    c->text[head] = '\0';
    const char *length = header_of(c->text, "\r\nContent-Length:");
    const char *closing = header_of(c->text, "\r\nConnection: close");
    if (sscanf(c->text, "HTTP/1.%*1[01] %d", &reply->code) != 1 || !length)
        return thaw_fail(err, THAW_ERR_FORMAT, "port %d gives no reply that says how long it is",
                         c->port);
    reply->n = strtoull(length, NULL, 10);
    while (n < head + 4 + reply->n)
        THAW_TRY(receive_some(c, &n, err));
    reply->body = c->text + head + 4;
    if (closing) disconnect(c);
    return THAW_OK;
}

static thaw_status send_question(thaw_client *c, const thaw_question *q, thaw_error *err) {
    char head[1024];
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %zu\r\n%s\r\n",
                     q->method, q->path, c->port, q->n, q->headers ? q->headers : "");
    if (n >= (int)sizeof head)
        return thaw_fail(err, THAW_ERR_USAGE, "a request with too long a head");
    THAW_TRY(send_all(c, head, (size_t)n, err));
    return send_all(c, q->body, q->n, err);
}

thaw_status thaw_client_ask(thaw_client *c, const thaw_question *question, thaw_reply *reply,
                            thaw_error *err) {
    *reply = (thaw_reply){0};
    thaw_status status = c->fd >= 0 ? THAW_OK : connect_to(c, question->patience_s, err);
    if (status == THAW_OK) status = send_question(c, question, err);
    if (status == THAW_OK) status = receive(c, reply, err);
    if (status != THAW_OK) disconnect(c); /* What may still come is no answer to what is next. */
    return status;
}
