#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

enum { SLICE_MS = 200 }; /* Between looks at the stop flag. */

static bool is_stopped(const thaw_wire_place *place) {
    return place->stop && *place->stop;
}

static thaw_status fail_stopped(thaw_error *err) {
    return thaw_fail(err, THAW_ERR_INTERRUPTED,
                     "stopped by a signal while hosts exchanged their pictures");
}

/* Until the descriptor is ready. ERR_IO without words: not until then. */
static thaw_status await(const thaw_wire_place *place, int fd, short events, double until,
                         thaw_error *err) {
    for (;;) {
        struct pollfd one = {.fd = fd, .events = events};
        int n = poll(&one, 1, SLICE_MS);
        if (n > 0) return THAW_OK;
        if (is_stopped(place)) return fail_stopped(err);
        if (thaw_now_s() > until) return THAW_ERR_IO;
    }
}

/* The interface's own address, or any. */
static struct sockaddr_in own_address(const thaw_wire_place *place, uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0) all = NULL;
    for (const struct ifaddrs *one = all; one && !found; one = one->ifa_next)
        if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET &&
            !strcmp(one->ifa_name, place->interface)) {
            address.sin_addr = ((const struct sockaddr_in *)one->ifa_addr)->sin_addr;
            found = true;
        }
    if (all) freeifaddrs(all);
    if (!found)
        thaw_log_write(place->log, THAW_LOG_WARN,
                       "the network interface %s has no IPv4 address here: any is taken",
                       place->interface);
    return address;
}

thaw_status thaw_wire_listen(const thaw_wire_place *place, int *fd, thaw_error *err) {
    struct sockaddr_in address = own_address(place, place->port);
    int one = 1;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd >= 0) setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (*fd >= 0 && bind(*fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        listen(*fd, SOMAXCONN) == 0)
        return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO, "cannot wait for the other hosts at port %d of %s: %s",
                     place->port, place->interface, strerror(errno));
}

thaw_status thaw_wire_accept(const thaw_wire_place *place, int listening, double until,
                             thaw_wire *wire, thaw_error *err) {
    *wire = (thaw_wire){.fd = -1, .peer = "a host", .place = place};
    while (wire->fd < 0) {
        thaw_status status = await(place, listening, POLLIN, until, err);
        if (status == THAW_ERR_IO)
            return thaw_fail(err, status, "no other host has come in %.0f s", place->meet_s);
        THAW_TRY(status);
        wire->fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    return THAW_OK;
}

/* One try; reason: why not. */
static bool try_address(const thaw_wire_place *place, const struct addrinfo *to, int *fd,
                        char reason[256]) {
    enum { CONNECT_S = 10 };
    struct sockaddr_in own = own_address(place, 0);
    int code = 0;
    socklen_t size = sizeof code;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd >= 0 && bind(*fd, (const struct sockaddr *)&own, sizeof own) == 0 &&
        (connect(*fd, to->ai_addr, to->ai_addrlen) == 0 || errno == EINPROGRESS)) {
        code = ETIMEDOUT;
        if (await(place, *fd, POLLOUT, thaw_now_s() + CONNECT_S, NULL) == THAW_OK)
            getsockopt(*fd, SOL_SOCKET, SO_ERROR, &code, &size);
    } else {
        code = errno;
    }
    if (code == 0) return true;
    snprintf(reason, 256, "%s", strerror(code));
    if (*fd >= 0) close(*fd);
    *fd = -1;
    return false;
}

static bool try_host(const thaw_wire_place *place, const char *host, int *fd, char reason[256]) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char port[8];
    snprintf(port, sizeof port, "%d", place->port);
    int code = getaddrinfo(host, port, &hints, &found);
    if (code != 0) {
        snprintf(reason, 256, "%s", gai_strerror(code));
        return false;
    }
    bool connected = try_address(place, found, fd, reason);
    freeaddrinfo(found);
    return connected;
}

thaw_status thaw_wire_connect(const thaw_wire_place *place, const char *host, thaw_wire *wire,
                              thaw_error *err) {
    double until = thaw_now_s() + place->meet_s;
    char reason[256] = "";
    *wire = (thaw_wire){.fd = -1, .peer = host, .place = place};
    while (!try_host(place, host, &wire->fd, reason)) {
        struct timespec pause = {.tv_nsec = SLICE_MS * 1000000L};
        if (is_stopped(place)) return fail_stopped(err);
        if (thaw_now_s() > until)
            return thaw_fail(
                err, THAW_ERR_IO,
                "cannot reach the host %s at port %d for %.0f s: %s; hosts of one job reach "
                "each other where the security group of the VPC allows it to itself",
                host, place->port, place->meet_s, reason);
        nanosleep(&pause, NULL);
    }
    return THAW_OK;
}

/* Sends or receives a part; 0: not now. ERR_IO: the peer has gone. */
static thaw_status move_some(thaw_wire *w, char *bytes, size_t n, bool in, size_t *moved,
                             thaw_error *err) {
    ssize_t some = in ? recv(w->fd, bytes, n, 0) : send(w->fd, bytes, n, MSG_NOSIGNAL);
    bool again = some < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    *moved = some > 0 ? (size_t)some : 0;
    if (some > 0 || again) return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO, "%s has ended the connection: %s; its own log says why",
                     w->peer, some == 0 ? "end of file" : strerror(errno));
}

static thaw_status move_all(thaw_wire *w, char *bytes, size_t n, bool in, double patience_s,
                            thaw_error *err) {
    while (n > 0) {
        size_t moved;
        THAW_TRY(move_some(w, bytes, n, in, &moved, err));
        bytes += moved;
        n -= moved;
        if (n == 0 || moved > 0) continue;
        thaw_status status =
            await(w->place, w->fd, in ? POLLIN : POLLOUT, thaw_now_s() + patience_s, err);
        if (status == THAW_ERR_IO)
            return thaw_fail(err, status, "%s was silent for %.0f s", w->peer, patience_s);
        THAW_TRY(status);
    }
    return is_stopped(w->place) ? fail_stopped(err) : THAW_OK;
}

thaw_status thaw_wire_send(thaw_wire *wire, const void *bytes, size_t n, thaw_error *err) {
    return move_all(wire, (char *)bytes, n, false, wire->place->idle_s, err);
}

thaw_status thaw_wire_receive(thaw_wire *wire, void *bytes, size_t n, double patience_s,
                              thaw_error *err) {
    return move_all(wire, bytes, n, true, patience_s > 0 ? patience_s : wire->place->idle_s, err);
}

void thaw_wire_close(thaw_wire *wire) {
    if (wire->fd >= 0) close(wire->fd);
    wire->fd = -1;
}
