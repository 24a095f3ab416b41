#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "exchange.h"
#include "json.h"
#include "page.h"
#include "text.h"

enum { DIGITS = 9 };

/* ---- helpers -------------------------------------------------------------------------------- */

/* Replies with a JSON tree, which it frees. */
static void reply_json(thaw_exchange *x, thaw_json *json) {
    char *text;
    if (thaw_json_print(json, THAW_JSON_LINE, DIGITS, "a reply", &text, NULL) != THAW_OK)
        text = NULL;
    thaw_json_free(json);
    thaw_exchange_reply(x, MHD_HTTP_OK, "application/json", text, text ? strlen(text) : 0);
}

static void refuse_unready(thaw_exchange *x, thaw_serving state, const thaw_error *reason) {
    x->retry = state == THAW_SERVING_LOADING;
    x->close = state == THAW_SERVING_STOPPING;
    thaw_exchange_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "%s", reason->text);
}

/* ---- /ping ---------------------------------------------------------------------------------- */

static void run_ping(thaw_exchange *x) {
    thaw_service *s = x->service;
    thaw_error reason;
    thaw_serving state = thaw_service_state(s, &reason);
    pthread_mutex_lock(&s->mutex);
    bool first = !s->pinged;
    s->pinged = true;
    pthread_mutex_unlock(&s->mutex);
    if (first)
        thaw_log_write(s->log, THAW_LOG_INFO, "the first ping is answered with %s",
                       state == THAW_SERVING_READY ? "200" : "503");
    if (state == THAW_SERVING_READY)
        thaw_exchange_reply(x, MHD_HTTP_OK, NULL, calloc(1, 1), 0);
    else
        refuse_unready(x, state, &reason);
}

/* ---- predictions ---------------------------------------------------------------------------- */

/* Custom attributes are the caller's own words; "verbose" among them asks for that shape where Accept
 * leaves the choice. */
static bool asks_verbose(const thaw_exchange *x) {
    static const char between[] = " ,;\t";
    const char *at = thaw_exchange_header(x, "X-Amzn-SageMaker-Custom-Attributes");
    while (at && *(at += strspn(at, between))) {
        size_t n = strcspn(at, between);
        if ((n == 7 && !strncasecmp(at, "verbose", n)) ||
            (n == 12 && !strncasecmp(at, "verbose=true", n)))
            return true;
        at += n;
    }
    return false;
}

/* The model that is meant: by the path, by a header, or the only one. */
static void choose_model(thaw_exchange *x) {
    const char *target = thaw_exchange_header(x, "X-Amzn-SageMaker-Target-Model");
    const char *name = x->name;
    if (!name && !x->service->settings->folder) name = target;
    x->model = thaw_models_get(x->service->models, name);
    if (x->model) return;
    if (name)
        thaw_exchange_refuse(x, MHD_HTTP_NOT_FOUND,
                             "there is no model %.200s; GET /models lists all", name);
    else
        thaw_exchange_refuse(
            x, MHD_HTTP_NOT_FOUND,
            "%zu models are loaded: name one by POST /models/NAME/invoke, or by the "
            "header X-Amzn-SageMaker-Target-Model",
            thaw_models_count(x->service->models));
}

static void begin_prediction(thaw_exchange *x) {
    thaw_error why = {0};
    thaw_serving state = thaw_service_state(x->service, &why);
    if (state != THAW_SERVING_READY) {
        refuse_unready(x, state, &why);
        return;
    }
    thaw_status status =
        thaw_body_type_parse(thaw_exchange_header(x, "Content-Type"), &x->job.type, &why);
    if (status != THAW_OK) {
        bool unsupported = status == THAW_ERR_UNSUPPORTED;
        thaw_exchange_refuse(x,
                             unsupported ? MHD_HTTP_UNSUPPORTED_MEDIA_TYPE : MHD_HTTP_BAD_REQUEST,
                             "%s", why.text);
        return;
    }
    const char *accept = thaw_exchange_header(x, "Accept");
    thaw_answer_form fallback = x->service->settings->fallback;
    if (asks_verbose(x)) fallback.shape = THAW_ANSWER_VERBOSE;
    if (!thaw_answer_negotiate(accept, fallback, &x->form)) {
        thaw_exchange_refuse(
            x, MHD_HTTP_NOT_ACCEPTABLE,
            "Accept: %.200s: there are application/json, also with ;verbose or ;list, "
            "and application/jsonlines, also with ;verbose",
            accept);
        return;
    }
    choose_model(x);
    thaw_models_put(x->service->models, x->model);
    x->model = NULL; /* It may go while the body comes, however slowly. */
}

/* All else is the job's. */
static void run_prediction(thaw_exchange *x) {
    choose_model(x);
    if (x->model) x->job.scorer = &x->model->scorer;
}

/* The failure of a whole request. */
static void refuse_job(thaw_exchange *x) {
    const thaw_job *job = &x->job;
    int code = MHD_HTTP_INTERNAL_SERVER_ERROR;
    bool busy = job->status == THAW_ERR_SYSTEM || job->status == THAW_ERR_NOMEM;
    if (job->status == THAW_ERR_FORMAT) code = MHD_HTTP_BAD_REQUEST;
    if (busy || job->status == THAW_ERR_INTERRUPTED) code = MHD_HTTP_SERVICE_UNAVAILABLE;
    x->retry = busy;
    x->close = job->status == THAW_ERR_INTERRUPTED;
    thaw_exchange_refuse(x, code, "%s", job->error.text);
}

/* Says which picture it is, where there are several; how many have a problem. ERR_NOMEM. */
static thaw_status name_problems(thaw_job *job, size_t *n_bad, thaw_error *err) {
    *n_bad = 0;
    for (size_t i = 0; i < job->body.n; i++) {
        const char *name = job->body.pictures[i].name;
        if (!job->problem[i]) continue;
        ++*n_bad;
        if (!job->body.several) continue;
        job->problem[i] =
            thaw_arena_printf(&job->body.arena, "picture %zu%s%s%s: %s", i + 1, *name ? " (" : "",
                              name, *name ? ")" : "", job->problem[i]);
        if (!job->problem[i]) return thaw_fail_memory(err, "for an answer");
    }
    return THAW_OK;
}

static void finish_prediction(thaw_exchange *x) {
    thaw_job *job = &x->job;
    thaw_error why = {0};
    size_t n_bad;
    char *text = NULL;
    if (job->status == THAW_OK) {
        const thaw_bundle *b = job->scorer->bundle;
        job->status = name_problems(job, &n_bad, &why);
        if (job->status == THAW_OK && n_bad == job->body.n && !x->service->settings->in_band) {
            thaw_exchange_refuse(x, MHD_HTTP_BAD_REQUEST, "%s", job->problem[0]);
            return;
        }
        thaw_answered answered = {.n = job->body.n,
                                  .several = job->body.several,
                                  .problem = job->problem,
                                  .scores = job->scores,
                                  .labels = b->labels,
                                  .n_labels = b->n_labels,
                                  .sigmoid = thaw_bundle_several(b),
                                  .unknown = job->unknown,
                                  .distance = job->distance,
                                  .old = job->old,
                                  .old_labels = b->old.labels};
        if (job->status == THAW_OK)
            job->status = thaw_answer_write(x->form, &answered, &text, &why);
        if (job->status != THAW_OK) job->error = why;
    }
    if (job->status == THAW_OK)
        thaw_exchange_reply(x, MHD_HTTP_OK, thaw_answer_media(x->form), text, strlen(text));
    else
        refuse_job(x);
}

/* ---- what the platform asks ----------------------------------------------------------------- */

static void run_parameters(thaw_exchange *x) {
    const thaw_settings *s = x->service->settings;
    thaw_json json = thaw_json_begin();
    thaw_json_integer(&json, json.root, "MaxConcurrentTransforms", s->transforms);
    thaw_json_text(&json, json.root, "BatchStrategy", s->strategy);
    thaw_json_integer(&json, json.root, "MaxPayloadInMB", s->payload_mb);
    reply_json(x, &json);
}

static void run_metrics(thaw_exchange *x) {
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (out) {
        thaw_meters_write(out, &x->service->meters,
                          thaw_service_state(x->service, NULL) == THAW_SERVING_READY,
                          thaw_models_count(x->service->models));
        if (fclose(out) != 0) {
            free(text);
            text = NULL;
        }
    }
    thaw_exchange_reply(x, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text, n);
}

/* ---- models --------------------------------------------------------------------------------- */

static void put_model(thaw_json *json, json_t *into, const thaw_served *served) {
    thaw_json_text(json, into, "modelName", served->name);
    thaw_json_text(json, into, "modelUrl", served->folder);
}

/* A page of the list. */
typedef struct listing {
    thaw_json *json;
    json_t *list;
    int64_t from, limit, n;
} listing;

static void list_model(void *ctx, const thaw_served *served) {
    listing *l = ctx;
    if (l->n >= l->from && l->n - l->from < l->limit)
        put_model(l->json, thaw_json_object(l->json, l->list, NULL), served);
    l->n++;
}

/* A number from the query; fallback where it is not there or none. */
static int64_t query_number(const thaw_exchange *x, const char *key, int64_t fallback) {
    int64_t value;
    const char *text = MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, key);
    return text && thaw_text_integer(text, &value) && value >= 0 ? value : fallback;
}

static void run_list(thaw_exchange *x) {
    enum { PAGE = 100 };
    thaw_json json = thaw_json_begin();
    listing l = {.json = &json,
                 .list = thaw_json_array(&json, json.root, "models"),
                 .from = query_number(x, "next_page_token", 0),
                 .limit = query_number(x, "limit", PAGE)};
    thaw_models_visit(x->service->models, list_model, &l);
    if (l.limit > 0 && l.n - l.from > l.limit) {
        char token[24];
        snprintf(token, sizeof token, "%lld", (long long)(l.from + l.limit));
        thaw_json_text(&json, json.root, "nextPageToken", token);
    }
    reply_json(x, &json);
}

static void run_describe(thaw_exchange *x) {
    x->model = thaw_models_get(x->service->models, x->name);
    if (!x->model) {
        thaw_exchange_refuse(x, MHD_HTTP_NOT_FOUND, "there is no model %.200s", x->name);
        return;
    }
    thaw_json json = thaw_json_begin();
    put_model(&json, json.root, x->model);
    reply_json(x, &json);
}

static void begin_change(thaw_exchange *x) {
    thaw_error why;
    thaw_serving state = thaw_service_state(x->service, &why);
    if (state != THAW_SERVING_READY) refuse_unready(x, state, &why);
}

static void run_later(thaw_exchange *x) {
    (void)x; /* In the thread that loads. */
}

static void slow_load(thaw_exchange *x) {
    thaw_error why = {0};
    json_t *json = NULL;
    thaw_json_parse(x->bytes ? x->bytes : "", x->n, "the request", &json, &why);
    const char *name = json_string_value(json_object_get(json, "model_name"));
    const char *folder = json_string_value(json_object_get(json, "url"));
    if (!name || !*name || !folder || !*folder) {
        thaw_exchange_refuse(x, MHD_HTTP_BAD_REQUEST,
                             "expected {\"model_name\": NAME, \"url\": FOLDER}");
    } else {
        thaw_status status = thaw_models_load(x->service->models, name, folder, &why);
        int code = status == THAW_ERR_USAGE   ? MHD_HTTP_CONFLICT
                   : status == THAW_ERR_NOMEM ? MHD_HTTP_INSUFFICIENT_STORAGE
                                              : MHD_HTTP_BAD_REQUEST;
        if (status == THAW_OK) {
            thaw_exchange_reply(x, MHD_HTTP_OK, "application/json", strdup("{}"), 2);
        } else {
            thaw_log_write(x->service->log, THAW_LOG_WARN, "%s", why.text);
            thaw_exchange_refuse(x, code, "%s", why.text);
        }
    }
    json_decref(json);
}

static void slow_unload(thaw_exchange *x) {
    if (thaw_models_unload(x->service->models, x->name)) {
        thaw_log_write(x->service->log, THAW_LOG_INFO, "unloaded %s", x->name);
        thaw_exchange_reply(x, MHD_HTTP_OK, "application/json", strdup("{}"), 2);
    } else {
        thaw_exchange_refuse(x, MHD_HTTP_NOT_FOUND, "there is no model %.200s", x->name);
    }
}

/* ---- the page ------------------------------------------------------------------------------- */

static void run_page(thaw_exchange *x) {
    enum { BYTES = 16 };
    unsigned char random[BYTES];
    char *text = NULL;
    size_t n = 0;
    if (getrandom(random, sizeof random, 0) == (ssize_t)sizeof random) {
        for (int i = 0; i < BYTES; i++)
            snprintf(x->nonce + 2 * i, 3, "%02x", random[i]);
        text = thaw_serve_page_with(x->nonce, &n);
    }
    thaw_exchange_reply(x, MHD_HTTP_OK, "text/html; charset=utf-8", text, n);
}

/* ---- the table ------------------------------------------------------------------------------ */

static const thaw_route routes[] = {
    {"GET", "/ping", .run = run_ping},
    {"POST", "/invocations", .predicts = true, .begin = begin_prediction, .run = run_prediction,
     .finish = finish_prediction},
    {"GET", "/execution-parameters", .run = run_parameters},
    {"GET", "/metrics", .run = run_metrics},
    {"GET", "/", THAW_ROUTE_PAGE, .run = run_page},
    {"GET", "/models", .run = run_list},
    {"POST", "/models", THAW_ROUTE_MODELS, .begin = begin_change, .run = run_later,
     .slow = slow_load},
    {"POST", "/models/*/invoke", THAW_ROUTE_MODELS, .predicts = true, .begin = begin_prediction,
     .run = run_prediction, .finish = finish_prediction},
    {"GET", "/models/*", THAW_ROUTE_MODELS, .run = run_describe},
    {"DELETE", "/models/*", THAW_ROUTE_MODELS, .begin = begin_change, .run = run_later,
     .slow = slow_unload},
};

/* Whether the path is the pattern's; what stands for the star is [*name, *name + *n). */
static bool matches(const char *pattern, const char *path, const char **name, size_t *n) {
    const char *star = strchr(pattern, '*');
    if (!star) return strcmp(pattern, path) == 0;
    size_t before = (size_t)(star - pattern), after = strlen(star + 1), all = strlen(path);
    if (all <= before + after || strncmp(pattern, path, before) != 0 ||
        strcmp(star + 1, path + all - after) != 0)
        return false;
    *name = path + before;
    *n = all - before - after;
    return true;
}

static bool is_offered(const thaw_exchange *x, const thaw_route *r) {
    const thaw_settings *s = x->service->settings;
    if (r->need == THAW_ROUTE_PAGE) return s->page;
    return r->need == THAW_ROUTE_ALWAYS || !s->folder;
}

void thaw_route_find(thaw_exchange *x, const char *method, const char *url) {
    const thaw_route *other = NULL;
    if (!strcmp(method, "HEAD")) method = "GET"; /* The library sends the head alone. */
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const char *name = NULL;
        size_t n = 0;
        if (!is_offered(x, &routes[i]) || !matches(routes[i].path, url, &name, &n)) continue;
        if (strcmp(routes[i].method, method) != 0) {
            other = &routes[i];
            continue;
        }
        x->name = name ? strndup(name, n) : NULL;
        x->route = &routes[i];
        if (name && !x->name) thaw_exchange_reply(x, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL, 0);
        return;
    }
    if (other) {
        x->allow = other->method;
        thaw_exchange_refuse(x, MHD_HTTP_METHOD_NOT_ALLOWED, "%.20s is not for %s, which takes %s",
                             method, other->path, other->method);
        return;
    }
    thaw_exchange_refuse(x, MHD_HTTP_NOT_FOUND,
                         "there is nothing here: POST pictures to /invocations; GET /ping, "
                         "/metrics and /execution-parameters tell how it goes");
}
