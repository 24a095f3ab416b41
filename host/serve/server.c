#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "exchange.h"
#include "file.h"
#include "json.h"
#include "machine.h"

enum {
    CONNECTIONS = 1024,
    OTHER_FILES = 64,         /* Descriptors that are no connection's. */
    HEAD_BYTES = 64 << 10,    /* Of a connection: its request's head, and a piece of the body. */
    IDLE_S = 60,              /* Without a byte. */
    UPLOAD_S = 300,           /* For a request's body. */
    FIRST_BYTES = 64 << 10,   /* Of a body: it grows as it comes, whatever was announced. */
    SWALLOW_BYTES = 32 << 20, /* Of a body that is refused, beyond the largest that is taken. */
    URL_TEXT = 320,
};

/* SageMaker kills what has not ended 30 seconds after SIGTERM. */
static const double GRACE_S = 25, FLUSH_S = 2;

struct thaw_server {
    thaw_service service; /* First: routes know this part. */
    const thaw_options *options;
    struct MHD_Daemon *daemon;
    int socket;
    char url[URL_TEXT];
    size_t body_budget;     /* Bytes that bodies may take together. */
    atomic_int predictions; /* Under way, from head to last byte. */

    pthread_t loader;
    bool has_loader;
    pthread_mutex_t mutex; /* Guards what follows. */
    pthread_cond_t has_slow;
    thaw_exchange *slow, **last_slow;
    bool ending;
};

/* ---- state ---------------------------------------------------------------------------------- */

thaw_serving thaw_service_state(thaw_service *service, thaw_error *reason) {
    pthread_mutex_lock(&service->mutex);
    thaw_serving state = service->state;
    if (reason) *reason = service->reason;
    pthread_mutex_unlock(&service->mutex);
    return state;
}

static void set_state(thaw_service *service, thaw_serving state, const thaw_error *reason) {
    pthread_mutex_lock(&service->mutex);
    service->state = state;
    service->reason = *reason;
    pthread_mutex_unlock(&service->mutex);
}

/* ---- replies -------------------------------------------------------------------------------- */

const char *thaw_exchange_header(const thaw_exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

void thaw_exchange_reply(thaw_exchange *x, int code, const char *type, char *text, size_t n) {
    if (x->code) {
        free(text);
        return;
    }
    x->code = text ? code : MHD_HTTP_SERVICE_UNAVAILABLE;
    x->retry |= !text;
    x->type = text ? type : NULL;
    x->text = text;
    x->n_text = text ? n : 0;
}

void thaw_exchange_refuse(thaw_exchange *x, int code, const char *format, ...) {
    thaw_error said = {0};
    va_list args;
    va_start(args, format);
    vsnprintf(said.text, sizeof said.text, format, args);
    va_end(args);
    char *text;
    thaw_json json = thaw_json_begin();
    thaw_json_text(&json, json.root, "error", said.text);
    if (thaw_json_print(&json, THAW_JSON_LINE, 9, "a reply", &text, NULL) != THAW_OK) text = NULL;
    thaw_json_free(&json);
    thaw_exchange_reply(x, code, "application/json", text, text ? strlen(text) : 0);
}

static void add_header(struct MHD_Response *response, const char *name, const char *value) {
    if (value) MHD_add_response_header(response, name, value);
}

static void add_policy(struct MHD_Response *response, const char *nonce) {
    char policy[512];
    snprintf(
        policy, sizeof policy,
        "default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        nonce, nonce);
    add_header(response, "Content-Security-Policy", policy);
    add_header(response, "Referrer-Policy", "no-referrer");
}

/* It is not needed any more, however slowly a reply is read. */
static void leave_model(thaw_exchange *x) {
    thaw_models_put(x->service->models, x->model);
    x->model = NULL;
}

static enum MHD_Result send_reply(thaw_exchange *x) {
    static const char attributes[] = "X-Amzn-SageMaker-Custom-Attributes";
    struct MHD_Response *response =
        MHD_create_response_from_buffer(x->n_text, x->text, MHD_RESPMEM_MUST_FREE);
    if (!response) return MHD_NO;
    x->text = NULL; /* The response's from now on. */
    leave_model(x);
    add_header(response, "Content-Type", x->type);
    add_header(response, "Allow", x->allow);
    add_header(response, "Retry-After", x->retry ? "1" : NULL);
    add_header(response, "Connection", x->close ? "close" : NULL);
    add_header(response, "X-Content-Type-Options", "nosniff");
    if (x->nonce[0]) add_policy(response, x->nonce);
    if (x->route && x->route->predicts) {
        add_header(response, attributes, thaw_exchange_header(x, attributes));
        thaw_meters_answer(&x->service->meters, x->code, thaw_now_s() - x->begin_s);
    }
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->code, response);
    MHD_destroy_response(response);
    thaw_log_write(x->service->log, THAW_LOG_DEBUG, "%s: %d, %zu bytes in %.1f ms",
                   x->route ? x->route->path : "?", x->code, x->n,
                   1e3 * (thaw_now_s() - x->begin_s));
    return result;
}

/* ---- bodies --------------------------------------------------------------------------------- */

static void too_large(thaw_exchange *x) {
    thaw_exchange_refuse(x, MHD_HTTP_CONTENT_TOO_LARGE,
                         "the request is larger than %zu bytes, the limit that serve.max_body or "
                         "SAGEMAKER_MAX_PAYLOAD_IN_MB sets",
                         x->service->settings->most_body);
}

static void drop_body(thaw_exchange *x) {
    atomic_fetch_sub(&x->service->meters.body_bytes, (int64_t)x->capacity);
    free(x->bytes);
    x->bytes = NULL;
    x->capacity = 0;
}

/* Makes room for n bytes more, if the bodies together may take it. */
static bool grow_body(thaw_exchange *x, size_t n) {
    const thaw_server *s = (const thaw_server *)x->service;
    if (x->n + n <= x->capacity) return true;
    size_t capacity = 2 * x->capacity > FIRST_BYTES ? 2 * x->capacity : FIRST_BYTES;
    if (x->declared >= x->n + n && capacity > x->declared) capacity = x->declared;
    if (capacity < x->n + n) capacity = x->n + n;
    int64_t more = (int64_t)(capacity - x->capacity);
    int64_t all = atomic_fetch_add(&x->service->meters.body_bytes, more) + more;
    char *bytes = all <= (int64_t)s->body_budget ? realloc(x->bytes, capacity) : NULL;
    if (!bytes) {
        atomic_fetch_sub(&x->service->meters.body_bytes, more);
        return false;
    }
    x->bytes = bytes;
    x->capacity = capacity;
    return true;
}

/* A piece of the body. False: the connection is to be closed. */
static bool take_bytes(thaw_exchange *x, const char *bytes, size_t n) {
    size_t most = x->service->settings->most_body;
    if (thaw_now_s() - x->begin_s > UPLOAD_S) return false;
    if (!x->code && x->n + n > most) too_large(x);
    if (!x->code && !grow_body(x, n)) {
        x->retry = true;
        thaw_exchange_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE,
                             "the requests that are under way take all memory that is meant for "
                             "them");
    }
    if (x->code) {
        /* A client that is still sending would not see a reply: so the rest is read, within reason. */
        drop_body(x);
        x->swallowed += n;
        return x->swallowed <= most + SWALLOW_BYTES;
    }
    memcpy(x->bytes + x->n, bytes, n);
    x->n += n;
    return true;
}

/* ---- a request's life ----------------------------------------------------------------------- */

/* Looks at the head. */
static thaw_exchange *begin(thaw_server *s, struct MHD_Connection *connection, const char *url,
                            const char *method) {
    thaw_exchange *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    x->service = &s->service;
    x->connection = connection;
    x->socket = info ? info->connect_fd : -1;
    x->begin_s = thaw_now_s();
    thaw_route_find(x, method, url);
    if (x->route && x->route->predicts) {
        atomic_fetch_add(&s->predictions, 1);
        atomic_fetch_add(&s->service.meters.under_way, 1);
    }
    const char *length = thaw_exchange_header(x, "Content-Length");
    x->declared = length ? strtoull(length, NULL, 10) : 0;
    if (x->route && x->declared > s->service.settings->most_body) too_large(x);
    if (x->route && x->route->begin) x->route->begin(x);
    return x;
}

static bool is_asked_first(const thaw_exchange *x) {
    const char *expect = thaw_exchange_header(x, "Expect");
    return expect && !strcasecmp(expect, "100-continue");
}

static void queue_slow(thaw_server *s, thaw_exchange *x) {
    pthread_mutex_lock(&s->mutex);
    x->behind = NULL;
    *s->last_slow = x;
    s->last_slow = &x->behind;
    pthread_cond_signal(&s->has_slow);
    pthread_mutex_unlock(&s->mutex);
}

static void resume(void *ctx) {
    const thaw_exchange *x = ctx;
    MHD_resume_connection(x->connection);
}

/* A client that has closed its side is not waited for. */
static bool has_gone(void *ctx) {
    const thaw_exchange *x = ctx;
    char byte;
    ssize_t n = recv(x->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* The request is complete. Once it is suspended it is another thread's. */
static enum MHD_Result run(thaw_server *s, thaw_exchange *x) {
    x->route->run(x);
    if (x->code) return send_reply(x);
    x->suspended = true;
    MHD_suspend_connection(x->connection);
    if (x->route->slow) {
        queue_slow(s, x);
        return MHD_YES;
    }
    x->job.bytes = x->bytes;
    x->job.n_bytes = x->n;
    x->job.gone = has_gone;
    x->job.done = resume;
    x->job.ctx = x;
    thaw_batcher_submit(x->model->batcher, &x->job);
    return MHD_YES;
}

/* It has been resumed. */
static enum MHD_Result finish(thaw_exchange *x) {
    if (x->job.dropped) return MHD_NO;
    if (x->route->finish) x->route->finish(x);
    return send_reply(x);
}

static enum MHD_Result answer(void *cls, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *bytes, size_t *n,
                              void **state) {
    thaw_server *s = cls;
    thaw_exchange *x = *state;
    (void)version;
    if (!x) {
        *state = x = begin(s, connection, url, method);
        if (!x) return MHD_NO;
        return x->code && is_asked_first(x) ? send_reply(x) : MHD_YES;
    }
    if (*n > 0) {
        bool go_on = take_bytes(x, bytes, *n);
        *n = 0;
        return go_on ? MHD_YES : MHD_NO;
    }
    if (x->suspended) return finish(x);
    return x->code ? send_reply(x) : run(s, x);
}

static void end(void *cls, struct MHD_Connection *connection, void **state,
                enum MHD_RequestTerminationCode how) {
    thaw_server *s = cls;
    thaw_exchange *x = *state;
    (void)connection, (void)how;
    if (!x) return;
    *state = NULL;
    /* The library may see that a client has gone before it calls us again. */
    if (x->job.dropped) atomic_fetch_add(&s->service.meters.dropped, 1);
    thaw_job_free(&x->job);
    leave_model(x);
    drop_body(x);
    if (x->route && x->route->predicts) {
        atomic_fetch_sub(&s->predictions, 1);
        atomic_fetch_sub(&s->service.meters.under_way, 1);
    }
    free(x->text);
    free(x->name);
    free(x);
}

/* ---- loading -------------------------------------------------------------------------------- */

/* Loads each sub-folder that has a bundle. */
static thaw_status load_folder(thaw_server *s, const char *folder, thaw_error *err) {
    thaw_arena arena = {0};
    struct dirent **names;
    int n = scandir(folder, &names, NULL, alphasort);
    if (n < 0)
        return thaw_fail(err, THAW_ERR_IO, "serve.models = %s cannot be read: %s", folder,
                         strerror(errno));
    thaw_status status = THAW_OK;
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        const char *run = thaw_file_join(&arena, folder, name);
        const char *json = run ? thaw_file_join(&arena, run, "bundle.json") : NULL;
        if (!json)
            status = thaw_fail_memory(err, "for a path");
        else if (status == THAW_OK && name[0] != '.' && access(json, F_OK) == 0)
            status = thaw_models_load(s->service.models, name, run, err);
        free(names[i]);
    }
    free(names);
    thaw_arena_free(&arena);
    return status;
}

static void load_first(thaw_server *s) {
    const thaw_settings *settings = s->service.settings;
    thaw_error why = {0};
    thaw_status status = THAW_OK;
    if (settings->folder)
        status = thaw_models_load(s->service.models, "model", settings->folder, &why);
    else if (settings->models)
        status = load_folder(s, settings->models, &why);
    set_state(&s->service, status == THAW_OK ? THAW_SERVING_READY : THAW_SERVING_BROKEN, &why);
    if (status == THAW_OK) thaw_log_write(s->service.log, THAW_LOG_INFO, "ready");
}

static void *load_all(void *argument) {
    thaw_server *s = argument;
    load_first(s);
    for (;;) {
        pthread_mutex_lock(&s->mutex);
        while (!s->slow && !s->ending)
            pthread_cond_wait(&s->has_slow, &s->mutex);
        thaw_exchange *x = s->slow;
        bool ending = s->ending;
        if (x && !(s->slow = x->behind)) s->last_slow = &s->slow;
        pthread_mutex_unlock(&s->mutex);
        if (!x) return NULL;
        if (ending)
            thaw_exchange_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "the server is stopping");
        else
            x->route->slow(x);
        resume(x);
    }
}

/* ---- the socket ----------------------------------------------------------------------------- */

static thaw_status bind_to(thaw_server *s, const struct addrinfo *a, thaw_error *err) {
    const thaw_settings *settings = s->service.settings;
    int yes = 1;
    s->socket = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = s->socket >= 0;
    if (open) setsockopt(s->socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (open && bind(s->socket, a->ai_addr, a->ai_addrlen) == 0 &&
        listen(s->socket, SOMAXCONN) == 0)
        return THAW_OK;
    return thaw_fail(err, THAW_ERR_SYSTEM,
                     "cannot listen on port %d of %s: %s; serve.port and serve.address choose "
                     "others",
                     settings->port, settings->address, strerror(errno));
}

static void write_url(thaw_server *s) {
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    char host[256] = "", port[16] = "";
    getsockname(s->socket, (struct sockaddr *)&address, &n);
    getnameinfo((struct sockaddr *)&address, n, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    const char *format = strchr(host, ':') ? "http://[%s]:%s/" : "http://%s:%s/";
    snprintf(s->url, sizeof s->url, format, host, port);
}

static thaw_status listen_on(thaw_server *s, int *family, thaw_error *err) {
    const thaw_settings *settings = s->service.settings;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    char port[16];
    snprintf(port, sizeof port, "%d", settings->port);
    int code = getaddrinfo(settings->address, port, &hints, &found);
    if (code != 0)
        return thaw_fail(err, THAW_ERR_USAGE, "serve.address = %s is no address: %s",
                         settings->address, gai_strerror(code));
    *family = found->ai_family;
    thaw_status status = bind_to(s, found, err);
    freeaddrinfo(found);
    if (status == THAW_OK) write_url(s);
    return status;
}

/* Connections are descriptors, and a container often allows 1024 where more may be had. */
static unsigned most_connections(void) {
    struct rlimit limit = {0, 0};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur > CONNECTIONS + OTHER_FILES) return CONNECTIONS;
    return limit.rlim_cur > 2 * OTHER_FILES ? (unsigned)limit.rlim_cur - OTHER_FILES : OTHER_FILES;
}

/* What libmicrohttpd says of broken requests. */
__attribute__((format(printf, 2, 0))) static void log_http(void *cls, const char *format,
                                                           va_list args) {
    thaw_server *s = cls;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    thaw_log_write(s->service.log, THAW_LOG_DEBUG, "HTTP: %s", text);
}

/* poll and not epoll, with which libmicrohttpd 0.9.75 does not see that a client has closed its side right
 * behind half a request: it would hold the connection, and the end would wait for it. */
static thaw_status start_daemon(thaw_server *s, int family, thaw_error *err) {
    unsigned flags = MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (family == AF_INET6) flags |= MHD_USE_IPv6;
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, answer, s, MHD_OPTION_EXTERNAL_LOGGER, log_http, s,
        MHD_OPTION_LISTEN_SOCKET, s->socket, MHD_OPTION_NOTIFY_COMPLETED, end, s,
        MHD_OPTION_CONNECTION_LIMIT, most_connections(), MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (s->daemon) return THAW_OK;
    return thaw_fail(err, THAW_ERR_SYSTEM, "libmicrohttpd cannot be started: %s", strerror(errno));
}

/* ---- the whole ------------------------------------------------------------------------------ */

thaw_status thaw_server_open(thaw_server **out, const thaw_settings *settings,
                             const thaw_options *options, thaw_log *log, thaw_error *err) {
    thaw_server *s = *out = calloc(1, sizeof *s);
    if (!s) return thaw_fail_memory(err, "for the server");
    s->service.settings = settings;
    s->service.log = log;
    s->options = options;
    s->socket = -1;
    s->last_slow = &s->slow;
    pthread_mutex_init(&s->service.mutex, NULL);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->has_slow, NULL);
    thaw_fail(&s->service.reason, THAW_ERR_SYSTEM, "the model is being loaded");
    thaw_meters_open(&s->service.meters);
    size_t quarter = thaw_usable_memory() / 4;
    s->body_budget = quarter > settings->most_body ? quarter : settings->most_body;
    thaw_models_spec spec = {options, &s->service.meters, log};
    int family = AF_INET;
    THAW_TRY(thaw_models_open(&s->service.models, &spec, err));
    THAW_TRY(listen_on(s, &family, err));
    return start_daemon(s, family, err);
}

const char *thaw_server_url(const thaw_server *s) {
    return s->url;
}

static void pause_ms(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* Waits until no prediction is under way, for so long at most. */
static void await_predictions(thaw_server *s, double seconds) {
    double end_s = thaw_now_s() + seconds;
    while (atomic_load(&s->predictions) > 0 && thaw_now_s() < end_s)
        pause_ms(10);
}

/* From now on /ping fails, and nothing new is computed. */
static void drain(thaw_server *s) {
    thaw_error why = {0};
    thaw_fail(&why, THAW_ERR_INTERRUPTED, "the server is stopping");
    set_state(&s->service, THAW_SERVING_STOPPING, &why);
    thaw_log_write(s->service.log, THAW_LOG_INFO, "stopping: %d requests are under way",
                   atomic_load(&s->predictions));
    await_predictions(s, GRACE_S);
}

thaw_status thaw_server_run(thaw_server *s, const volatile int *stop, thaw_error *err) {
    enum { LOOK_MS = 50 };
    int code = pthread_create(&s->loader, NULL, load_all, s);
    s->has_loader = code == 0;
    if (code != 0)
        return thaw_fail(err, THAW_ERR_SYSTEM, "no thread can be started to load models: %s",
                         strerror(code));
    thaw_error why = {0};
    while (!*stop && thaw_service_state(&s->service, &why) != THAW_SERVING_BROKEN) {
        if (thaw_models_have_failed(s->service.models, &why))
            set_state(&s->service, THAW_SERVING_BROKEN, &why);
        else
            pause_ms(LOOK_MS);
    }
    if (thaw_service_state(&s->service, &why) == THAW_SERVING_BROKEN) {
        if (err) *err = why;
        return why.code;
    }
    drain(s);
    return THAW_OK;
}

void thaw_server_close(thaw_server *s) {
    if (!s) return;
    pthread_mutex_lock(&s->mutex);
    s->ending = true;
    pthread_cond_signal(&s->has_slow);
    pthread_mutex_unlock(&s->mutex);
    if (s->has_loader) pthread_join(s->loader, NULL);
    /* No connection may be suspended when the daemon ends: what is left is told so, and sent. */
    if (s->service.models) thaw_models_stop(s->service.models);
    if (s->daemon) await_predictions(s, FLUSH_S);
    if (s->daemon)
        MHD_stop_daemon(s->daemon); /* Closes the socket, too. */
    else if (s->socket >= 0)
        close(s->socket);
    thaw_models_close(s->service.models);
    pthread_cond_destroy(&s->has_slow);
    pthread_mutex_destroy(&s->mutex);
    pthread_mutex_destroy(&s->service.mutex);
    free(s);
}
