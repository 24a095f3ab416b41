/* Bytes between the hosts of a job, over TCP, with an end to all waiting. */
#ifndef THAW_WIRE_H
#define THAW_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "log.h"
#include "status.h"

/* Where peers meet, and how long they wait. */
typedef struct thaw_wire_place {
    const char *interface; /* Name of the network interface whose address is taken. */
    uint16_t port;
    double meet_s; /* Until a peer is there, */
    double idle_s; /* and without a byte of it. */
    const volatile int *stop;
    thaw_log *log;
} thaw_wire_place;

typedef struct thaw_wire {
    int fd;           /* -1: closed. */
    const char *peer; /* For sentences; borrowed. */
    const thaw_wire_place *place;
} thaw_wire;

/* Listens; *fd is to be closed. ERR_IO: the port is taken. */
thaw_status thaw_wire_listen(const thaw_wire_place *place, int *fd, thaw_error *err);

/* The next peer that comes. ERR_IO: none until `until` (thaw_now_s). ERR_INTERRUPTED. */
thaw_status thaw_wire_accept(const thaw_wire_place *place, int listening, double until,
                             thaw_wire *wire, thaw_error *err);

/* Connects to a host by name, which may not be known yet, nor listen: asks again until meet_s is over.
 * ERR_IO with the last reason; ERR_INTERRUPTED. */
thaw_status thaw_wire_connect(const thaw_wire_place *place, const char *host, thaw_wire *wire,
                              thaw_error *err);

/* All n bytes, or an error: ERR_IO: the peer has gone, or was silent for idle_s (patience_s, where that is
 * not 0); ERR_INTERRUPTED. */
thaw_status thaw_wire_send(thaw_wire *wire, const void *bytes, size_t n, thaw_error *err);
thaw_status thaw_wire_receive(thaw_wire *wire, void *bytes, size_t n, double patience_s,
                              thaw_error *err);

void thaw_wire_close(thaw_wire *wire);

#endif
