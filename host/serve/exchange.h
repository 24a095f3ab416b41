/* A request and its reply, as server.c reads and sends them, and as routes.c answers. */
#ifndef THAW_EXCHANGE_H
#define THAW_EXCHANGE_H

#include <microhttpd.h>

#include "models.h"
#include "settings.h"

typedef struct thaw_exchange thaw_exchange;

typedef enum thaw_serving {
    THAW_SERVING_LOADING,
    THAW_SERVING_READY,
    THAW_SERVING_BROKEN,
    THAW_SERVING_STOPPING,
} thaw_serving;

/* What routes see of the server. */
typedef struct thaw_service {
    const thaw_settings *settings;
    thaw_models *models;
    thaw_meters meters;
    thaw_log *log;
    pthread_mutex_t mutex; /* Guards what follows; never held for long. */
    thaw_serving state;
    thaw_error reason; /* Why it is not ready. */
    bool pinged;
} thaw_service;

/* The state, and where it is not ready a sentence that says why. */
thaw_serving thaw_service_state(thaw_service *service, thaw_error *reason);

typedef enum thaw_route_need {
    THAW_ROUTE_ALWAYS,
    THAW_ROUTE_MODELS, /* Only where models come and go. */
    THAW_ROUTE_PAGE,   /* Only where there is a page. */
} thaw_route_need;

/* What a method does with a path, in which * stands for a model's name. */
typedef struct thaw_route {
    const char *method, *path;
    thaw_route_need need;
    bool predicts; /* It is counted, and the end waits for it. */
    /* Looks at the head, before the body comes; may reply already. NULL: nothing to be seen. */
    void (*begin)(thaw_exchange *x);
    /* The body is there: replies, or submits a job. Never waits. */
    void (*run)(thaw_exchange *x);
    /* Replies, however long it takes, in the thread that loads models. NULL: run does. */
    void (*slow)(thaw_exchange *x);
    /* The job is done: replies. */
    void (*finish)(thaw_exchange *x);
} thaw_route;

struct thaw_exchange {
    thaw_service *service;
    struct MHD_Connection *connection;
    int socket;
    const thaw_route *route; /* NULL: there is none; a reply says so. */
    char *name;              /* The model's in the path; NULL: none. */
    double begin_s;

    char *bytes; /* The body: [n] of [capacity]. */
    size_t n, capacity, declared;
    size_t swallowed; /* Of a body that is not wanted. */

    int code; /* Of the reply; 0: none yet. */
    const char *type;
    char *text;
    size_t n_text;
    bool retry, close; /* Come again; and not by this connection. */
    const char *allow; /* Methods, of a 405. */
    char nonce[33];    /* Of the page's Content-Security-Policy; "": it is no page. */

    bool suspended;
    thaw_served *model;
    thaw_answer_form form;
    thaw_job job;
    thaw_exchange *behind; /* In the queue of slow ones. */
};

/* The value of a request's header; NULL: it has none. */
const char *thaw_exchange_header(const thaw_exchange *x, const char *name);

/* Replies with text, which is malloc's and becomes the exchange's. NULL is a failure of memory. */
void thaw_exchange_reply(thaw_exchange *x, int code, const char *type, char *text, size_t n);

/* Replies {"error": SENTENCE}. */
void thaw_exchange_refuse(thaw_exchange *x, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Finds the route, or replies with 404 or 405. */
void thaw_route_find(thaw_exchange *x, const char *method, const char *url);

#endif
