/* A client of a server on this machine: HTTP/1.1 over one connection that is kept, for replies that say how
 * long they are, as those of `thaw serve` do. */
#ifndef THAW_CLIENT_H
#define THAW_CLIENT_H

#include <stddef.h>

#include "status.h"

typedef struct thaw_client {
    int port, fd; /* fd -1: not connected. */
    char *text;   /* Of the last reply, head and body. */
    size_t capacity;
} thaw_client;

typedef struct thaw_reply {
    int code;         /* 200 and so on. */
    const char *body; /* The client's, until it asks again; n bytes and a NUL. */
    size_t n;
} thaw_reply;

/* A port of 127.0.0.1 that nobody has at the moment. ERR_SYSTEM. */
thaw_status thaw_client_free_port(int *port, thaw_error *err);

/* Connects when it is first asked something. */
thaw_client thaw_client_open(int port);
void thaw_client_close(thaw_client *client);

typedef struct thaw_question {
    const char *method, *path; /* "POST", "/invocations" */
    const char *headers;       /* Further lines of the head, each with its "\r\n". */
    const void *body;
    size_t n;
    double patience_s; /* Without a byte. */
} thaw_question;

/* Asks, and waits for the whole reply. ERR_IO: nobody listens, or the connection ended or was silent too
 * long; ERR_FORMAT: what came is no such reply. */
thaw_status thaw_client_ask(thaw_client *client, const thaw_question *question, thaw_reply *reply,
                            thaw_error *err);

#endif
