/* Serving, as its clients see it, through the real program and a socket: the whole contract of the
 * requests, answers to the bit as thaw predict's whatever else is under way, the queue's limit, clients that
 * go, and how it starts and ends.
 */
#include <pthread.h>

#include "http.h"
#include "run/predict.h"

enum { CLASSES = 8, TRAIN = 6, TEST = 4 };

static tempdir place;

#define SERVE_LINE "serve run --serve.port=0 --device=cpu "

static int train_once(void **state) {
    place = program_place(TRAIN, TEST);
    *state = &place;
    program p = {0};
    program_expect_ok(&p,
                      "train --data.train=pics --model=m.onnx --cache.dir=none --head.solver=lbfgs "
                      "--head.weight_decay=0.01 --head.keep_old --out=run");
    program_free(&p);
    return 0;
}

/* ---- pictures of the test ------------------------------------------------------------------- */

typedef struct picture {
    char path[PATH_MAX];
    uint8_t *bytes;
    size_t n;
} picture;

static picture pictures[CLASSES * TEST];
static size_t n_pictures;

static int take_picture(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info, (void)walk;
    if (kind == FTW_F && n_pictures < CLASSES * TEST)
        snprintf(pictures[n_pictures++].path, PATH_MAX, "%s", path);
    return 0;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const picture *)a)->path, ((const picture *)b)->path);
}

static void find_pictures(void) {
    if (n_pictures) return;
    nftw("pics/test", take_picture, 16, FTW_PHYS);
    qsort(pictures, n_pictures, sizeof *pictures, by_path);
    assert_int_equal(n_pictures, CLASSES * TEST);
    for (size_t i = 0; i < n_pictures; i++)
        pictures[i].bytes = test_read(pictures[i].path, &pictures[i].n);
}

static char *base64(const uint8_t *bytes, size_t n) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = calloc(n / 3 + 2, 4), *to = text;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16 | (i + 1 < n ? bytes[i + 1] << 8 : 0) |
                         (i + 2 < n ? bytes[i + 2] : 0);
        for (int k = 0; k < 4; k++)
            *to++ = i + (size_t)k > n ? '=' : letters[group >> (18 - 6 * k) & 63];
    }
    return text;
}

/* ---- the contract --------------------------------------------------------------------------- */

static int begin(program *p, const char *options) {
    program_start(p, SERVE_LINE "%s", options);
    int port = http_port(p);
    http_await_ready(p, port);
    return port;
}

/* Asks it to stop, and expects that it does. */
static void stop(program *p) {
    kill(p->pid, SIGTERM);
    program_wait(p);
    if (p->code != 0) fail_msg("thaw %s: exit code %d\n%s", p->line, p->code, p->err);
    program_free(p);
}

static void requests_and_answers(void **state) {
    (void)state;
    find_pictures();
    program p = {0};
    int port = begin(&p, "--serve.max_body=100K");
    const picture *one = &pictures[0];
    static const char jpeg[] = "Content-Type: image/jpeg\r\n";
    static const struct {
        const char *line, *headers;
        int code;
        const char *said;
    } cases[] = {
        {"POST /invocations", jpeg, 200, "{\"probabilities\":["},
        {"POST /invocations", "", 200, "{\"probabilities\":["},
        {"POST /invocations", "Content-Type: application/x-image\r\nAccept: */*\r\n", 200,
         "Content-Type: application/json\r\n"},
        {"POST /invocations",
         "Content-Type: application/octet-stream\r\nAccept: application/json;verbose\r\n", 200,
         "\"old\":{\"predicted_label\":"},
        {"POST /invocations", "Accept: application/json;list\r\n", 200, "\r\n\r\n["},
        {"POST /invocations", "Accept: application/jsonlines\r\n", 200,
         "Content-Type: application/jsonlines\r\n"},
        {"POST /invocations",
         "X-Amzn-SageMaker-Custom-Attributes: trace=7, verbose\r\n"
         "X-Amzn-SageMaker-Inference-Id: 1\r\nX-Unknown: 2\r\n",
         200, "\"predicted_label\":"},
        {"POST /invocations", "X-Amzn-SageMaker-Custom-Attributes: trace=7\r\n", 200,
         "Custom-Attributes: trace=7\r\n"},
        {"POST /invocations", "Expect: 100-continue\r\n", 200, "{\"probabilities\":["},
        {"POST /invocations", "Content-Type: text/csv\r\n", 415, "text/csv is not taken"},
        {"POST /invocations", "Accept: text/csv\r\n", 406, "there are application/json"},
        {"POST /invocations", "Content-Type: multipart/form-data\r\n", 400, "no boundary"},
        {"POST /invocations", "Content-Type: application/json\r\n", 400, "JSON: line 1"},
        {"GET /invocations", "", 405, "Allow: POST\r\n"},
        {"DELETE /ping", "", 405, "Allow: GET\r\n"},
        {"POST /nowhere", "", 404, "POST pictures to /invocations"},
        {"GET /models", "", 200, "{\"models\":[{\"modelName\":\"model\",\"modelUrl\":\"run\"}]}"},
        {"POST /models", "", 405, "Allow: GET\r\n"},
        {"POST /models/model/invoke", "", 404, "nothing here"},
        {"GET /ping", "", 200, "Content-Length: 0\r\n"},
        {"GET /execution-parameters", "", 200, "\"MaxConcurrentTransforms\":16"},
        {"GET /metrics", "", 200, "thaw_ready 1\n"},
        {"GET /", "", 200, "Content-Security-Policy: default-src 'none'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        http_reply r = http_ask(port, cases[i].line, cases[i].headers, one->bytes, one->n);
        http_expect(&r, cases[i].code, cases[i].said, cases[i].headers);
    }
    /* Bad and large bodies. */
    char *large = calloc(1, 200 << 10);
    http_reply r = http_ask(port, "POST /invocations", jpeg, "nonsense", 8);
    http_expect(&r, 400, "this is not a JPEG", "nonsense");
    r = http_ask(port, "POST /invocations", jpeg, one->bytes, one->n / 2);
    http_expect(&r, 400, "\"error\"", "half a picture");
    r = http_ask(port, "POST /invocations", jpeg, "", 0);
    http_expect(&r, 400, "no body", "nothing");
    r = http_ask(port, "POST /invocations", jpeg, large, 200 << 10);
    http_expect(&r, 413, "102400 bytes, the limit", "a large body");
    r = http_ask(port, "POST /invocations", "Expect: 100-continue\r\n", large, 200 << 10);
    http_expect(&r, 413, "the limit", "a large body that is announced");
    r = http_ask(port, "HEAD /ping", "", NULL, 0);
    assert_int_equal(r.code, 200);
    http_free(&r);
    free(large);
    assert_int_equal(http_metric(port, "thaw_requests_total{code=\"413\"}"), 2);
    assert_int_equal(http_metric(port, "thaw_requests_under_way"), 0);
    assert_int_equal(http_metric(port, "thaw_body_bytes"), 0);
    stop(&p);
}

/* In chunks, of which one comes late; several requests on one connection. */
static void chunks_and_kept_connections(void **state) {
    (void)state;
    find_pictures();
    program p = {0};
    int port = begin(&p, "--serve.max_body=64K"), fd = http_connect(port);
    const picture *one = &pictures[1];
    for (int round = 0; round < 3; round++) {
        char head[256];
        static const char chunked[] =
            "POST /invocations HTTP/1.1\r\nHost: here\r\n"
            "Transfer-Encoding: chunked\r\n\r\n";
        http_put(fd, chunked, sizeof chunked - 1);
        for (size_t at = 0, n; at < one->n; at += n) {
            n = one->n - at < 1000 ? one->n - at : 1000;
            http_put(fd, head, (size_t)sprintf(head, "%zx\r\n", n));
            http_put(fd, one->bytes + at, n);
            http_put(fd, "\r\n", 2);
        }
        pause_ms(10);
        http_put(fd, "0\r\n\r\n", 5);
        http_reply r = http_get_reply(fd);
        http_expect(&r, 200, "probabilities", "chunks");
    }
    /* Nobody said how large it would be. */
    static const char endless[] =
        "POST /invocations HTTP/1.1\r\nHost: here\r\n"
        "Transfer-Encoding: chunked\r\n\r\n";
    char chunk[4096 + 16];
    int n = sprintf(chunk, "1000\r\n");
    memset(chunk + n, 'x', 4096);
    memcpy(chunk + n + 4096, "\r\n", 2);
    http_put(fd, endless, sizeof endless - 1);
    for (int i = 0; i < 20; i++)
        http_put(fd, chunk, (size_t)n + 4098);
    http_put(fd, "0\r\n\r\n", 5);
    http_reply r = http_get_reply(fd);
    http_expect(&r, 413, "65536 bytes", "too many chunks");
    close(fd);
    stop(&p);
}

/* ---- the bits ------------------------------------------------------------------------------- */

/* scores[n_pictures, CLASSES] as thaw predict has them. */
static thaw_status keep_scores(void *ctx, const thaw_prediction *prediction, thaw_error *err) {
    (void)err;
    float **next = ctx;
    assert_null(prediction->problem);
    memcpy(*next, prediction->scores, CLASSES * sizeof **next);
    *next += CLASSES;
    return THAW_OK;
}

static thaw_status next_picture(void *ctx, char path[PATH_MAX], thaw_error *err) {
    (void)err;
    size_t *i = ctx;
    snprintf(path, PATH_MAX, "%s", *i < n_pictures ? pictures[*i].path : "");
    ++*i;
    return THAW_OK;
}

static void predict_all(float *scores) {
    thaw_backend backend;
    thaw_bundle bundle;
    thaw_error err = {0};
    size_t next = 0;
    if (thaw_backend_open(&backend, "cpu", 0, &err) != THAW_OK ||
        thaw_bundle_open(&bundle, "run", &backend, &err) != THAW_OK)
        fail_msg("%s", err.text);
    thaw_predict_job job = {.bundle = &bundle,
                            .batch = 32,
                            .source = {.next = next_picture, .ctx = &next, .most = SIZE_MAX},
                            .take = keep_scores,
                            .ctx = &scores};
    thaw_pipeline_result result;
    if (thaw_predict(&job, &result, &err) != THAW_OK) fail_msg("%s", err.text);
    thaw_bundle_close(&bundle);
    thaw_backend_close(&backend);
}

static void expect_scores(const json_t *list, const float *want, const char *what) {
    assert_int_equal(json_array_size(list), CLASSES);
    for (size_t k = 0; k < CLASSES; k++)
        if ((float)json_real_value(json_array_get(list, k)) != want[k])
            fail_msg("%s: score %zu is %.9g, but %.9g predicted", what, k,
                     json_real_value(json_array_get(list, k)), want[k]);
}

typedef struct client {
    int port;
    size_t first;
    const float *scores;
    pthread_t thread;
} client;

/* Asks for all pictures, from its own first one on, over one connection. */
static void *ask_all(void *argument) {
    const client *c = argument;
    int fd = http_connect(c->port);
    for (size_t k = 0; k < n_pictures; k++) {
        size_t i = (c->first + k) % n_pictures;
        http_put_request(fd, "POST /invocations", "", pictures[i].bytes, pictures[i].n);
        http_reply r = http_get_reply(fd);
        json_t *json = r.code == 200 ? json_loads(r.body, 0, NULL) : NULL;
        if (!json) fail_msg("%d %s", r.code, r.text);
        expect_scores(json_object_get(json, "probabilities"), c->scores + i * CLASSES,
                      pictures[i].path);
        json_decref(json);
        http_free(&r);
    }
    close(fd);
    return NULL;
}

static void answers_are_those_of_predict_to_the_bit(void **state) {
    (void)state;
    enum { CLIENTS = 8 };
    static float scores[CLASSES * TEST * CLASSES];
    find_pictures();
    predict_all(scores);
    program p = {0};
    int port = begin(&p, "");
    client alone = {.port = port, .scores = scores}, clients[CLIENTS];
    ask_all(&alone);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.port = port, .first = 3 * i, .scores = scores};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, ask_all, &clients[i]), 0);
    }
    for (size_t i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    assert_int_equal(http_metric(port, "thaw_pictures_total"), (CLIENTS + 1) * n_pictures);
    /* Together they were computed in fewer batches than one by one. */
    assert_true(http_metric(port, "thaw_batch_pictures_count") <
                http_metric(port, "thaw_batch_pictures_sum"));
    stop(&p);
}

/* All pictures in one request, in each form that has room for several, and one that is none. */
static void several_pictures(void **state) {
    (void)state;
    static float scores[CLASSES * TEST * CLASSES];
    find_pictures();
    predict_all(scores);
    program p = {0};
    int port = begin(&p, "");
    char *parts = NULL, *images = NULL;
    size_t n_parts, n_images;
    FILE *form = open_memstream(&parts, &n_parts), *json = open_memstream(&images, &n_images);
    fprintf(json, "{\"images\":[");
    for (size_t i = 0; i < n_pictures; i++) {
        char *text = base64(pictures[i].bytes, pictures[i].n);
        fprintf(json, "\"%s\",", text);
        free(text);
        fprintf(form, "--B\r\nContent-Disposition: form-data; name=f; filename=\"%zu.jpg\"\r\n\r\n",
                i);
        fwrite(pictures[i].bytes, 1, pictures[i].n, form);
        fprintf(form, "\r\n");
    }
    fprintf(json, "\"bm8=\"]}");
    fprintf(form,
            "--B\r\nContent-Disposition: form-data; name=f; filename=\"x\x1b.jpg\"\r\n\r\nno"
            "\r\n--B--\r\n");
    fclose(json);
    fclose(form);
    const struct {
        const char *type, *bytes, *problem;
        size_t n;
    } cases[] = {
        {"Content-Type: multipart/form-data; boundary=B\r\n", parts,
         "picture 33 (x?.jpg): this is not", n_parts},
        {"Content-Type: application/json\r\n", images, "picture 33: this is not", n_images},
    };
    for (int k = 0; k < 2; k++) {
        http_reply r =
            http_ask(port, "POST /invocations", cases[k].type, cases[k].bytes, cases[k].n);
        json_t *answer = r.code == 200 ? json_loads(r.body, 0, NULL) : NULL;
        if (!answer) fail_msg("%d %s", r.code, r.text);
        const json_t *list = json_object_get(answer, "predictions");
        assert_int_equal(json_array_size(list), n_pictures + 1);
        for (size_t i = 0; i < n_pictures; i++)
            expect_scores(json_object_get(json_array_get(list, i), "probabilities"),
                          scores + i * CLASSES, cases[k].type);
        const char *error =
            json_string_value(json_object_get(json_array_get(list, n_pictures), "error"));
        if (!error || strncmp(error, cases[k].problem, strlen(cases[k].problem)) != 0)
            fail_msg("%s", error);
        json_decref(answer);
        http_free(&r);
    }
    /* Where none can be used the request has failed. */
    static const char none[] = "{\"images\": [\"bm8=\"]}";
    http_reply r = http_ask(port, "POST /invocations", cases[1].type, none, sizeof none - 1);
    http_expect(&r, 400, "picture 1: this is not", "no picture of several");
    free(parts);
    free(images);
    stop(&p);
}

/* ---- limits --------------------------------------------------------------------------------- */

/* A request that keeps a server busy: the same picture, many times. */
static char *long_request(size_t *n) {
    char *text, *picture = base64(pictures[0].bytes, pictures[0].n);
    FILE *out = open_memstream(&text, n);
    fprintf(out, "{\"images\":[\"%s\"", picture);
    for (int i = 1; i < 1000; i++)
        fprintf(out, ",\"%s\"", picture);
    fprintf(out, "]}");
    fclose(out);
    free(picture);
    return text;
}

static void a_full_queue_and_clients_that_go(void **state) {
    (void)state;
    enum { GONE = 5 };
    static const char json[] = "Content-Type: application/json\r\n";
    find_pictures();
    program p = {0};
    int port = begin(&p, "--threads=1 --serve.queue=6");
    size_t n;
    char *text = long_request(&n);
    int busy = http_connect(port);
    http_put_request(busy, "POST /invocations", json, text, n);
    while (http_metric(port, "thaw_queue_requests") < 1)
        pause_ms(1);
    /* It waits for what it has still to be decoded; five more have room, unless they are answered. */
    int gone[GONE];
    for (int i = 0; i < GONE; i++) {
        gone[i] = http_connect(port);
        http_put_request(gone[i], "POST /invocations", json, text, n);
    }
    while (http_metric(port, "thaw_queue_requests") < 1 + GONE)
        pause_ms(1);
    http_reply r = http_ask(port, "POST /invocations", "", pictures[0].bytes, pictures[0].n);
    http_expect(&r, 503, "Retry-After: 1\r\n", "one too many");
    r = http_ask(port, "GET /ping", "", NULL, 0);
    http_expect(&r, 200, NULL, "a ping under load");
    for (int i = 0; i < GONE; i++)
        close(gone[i]);
    r = http_get_reply(busy);
    http_expect(&r, 200, "predictions", "the long request");
    while (http_metric(port, "thaw_requests_under_way") > 0)
        pause_ms(1);
    assert_int_equal(http_metric(port, "thaw_requests_dropped_total"), GONE);
    assert_true(http_metric(port, "thaw_pictures_total") < 2000);
    close(busy);
    free(text);
    stop(&p);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

/* SIGTERM: what is under way is answered, what is new is not taken, and then it ends. */
static void sigterm_drains(void **state) {
    (void)state;
    find_pictures();
    program p = {0};
    int port = begin(&p, ""), slow = http_connect(port);
    const picture *one = &pictures[2];
    char head[256];
    int n =
        snprintf(head, sizeof head,
                 "POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Length: %zu\r\n\r\n", one->n);
    http_put(slow, head, (size_t)n);
    http_put(slow, one->bytes, one->n / 2);
    while (http_metric(port, "thaw_requests_under_way") < 1)
        pause_ms(1);
    kill(p.pid, SIGTERM);
    for (int code = 200; code == 200; pause_ms(5)) {
        http_reply r = http_ask(port, "GET /ping", "", NULL, 0);
        code = r.code;
        if (code != 200) assert_int_equal(code, 503);
        http_free(&r);
    }
    http_reply r = http_ask(port, "POST /invocations", "", one->bytes, one->n);
    http_expect(&r, 503, "stopping", "a new request");
    assert_true(program_is_running(&p));
    http_put(slow, one->bytes + one->n / 2, one->n - one->n / 2);
    r = http_get_reply(slow);
    http_expect(&r, 200, "probabilities", "the request that was under way");
    close(slow);
    program_wait(&p);
    assert_int_equal(p.code, 0);
    program_free(&p);
}

/* What a container gets: no arguments, a folder that cannot be written, the platform's variables. */
/* Root may write anywhere, so that only another user shows that nothing is written. */
static bool nobody_can_run(void) {
    program p = {.as_nobody = true};
    if (geteuid() != 0) return false;
    program_run(&p, "--version");
    bool can = p.code == 0;
    program_free(&p);
    if (!can)
        print_message(
            "SKIPPED: a model folder that cannot be written to, since user %d cannot run "
            "the program\n",
            PROGRAM_NOBODY);
    return can;
}

static void as_the_platform_starts_it(void **state) {
    (void)state;
    find_pictures();
    static const char *const variables[][2] = {
        {"SAGEMAKER_BASE_DIR", "opt"},
        {"SAGEMAKER_BIND_TO_PORT", "0"},
        {"SAGEMAKER_BATCH", "True"},
        {"SAGEMAKER_MAX_PAYLOAD_IN_MB", "20"},
        {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "application/jsonlines"},
        {"THAW_LOG", "debug"},
        {"THAW_DEVICE", "cpu"},
    };
    enum { N = sizeof variables / sizeof *variables };
    tempdir_check(system("mkdir -p opt && cp -r run opt/model && chmod -R a-w,a+rX opt") == 0,
                  "opt");
    program p = {.as_nobody = nobody_can_run()};
    for (int i = 0; i < N; i++)
        setenv(variables[i][0], variables[i][1], 1);
    program_start(&p, "serve");
    for (int i = 0; i < N; i++)
        unsetenv(variables[i][0]);
    int port = http_port(&p);
    http_await_ready(&p, port);
    http_reply r = http_ask(port, "POST /invocations", "", pictures[0].bytes, pictures[0].n);
    http_expect(&r, 200, "\r\n\r\n{\"prediction\":[", "the default form");
    r = http_ask(port, "POST /invocations", "", "nonsense", 8);
    http_expect(&r, 200, "\r\n\r\n{\"error\":\"this is not", "a bad record of a batch");
    r = http_ask(port, "GET /execution-parameters", "", NULL, 0);
    http_expect(&r, 200,
                "{\"MaxConcurrentTransforms\":5,\"BatchStrategy\":\"SINGLE_RECORD\","
                "\"MaxPayloadInMB\":20}",
                "parameters");
    r = http_ask(port, "GET /", "", NULL, 0);
    http_expect(&r, 404, NULL, "the page");
    kill(p.pid, SIGTERM);
    program_wait(&p);
    assert_int_equal(p.code, 0);
    program_expect_text(&p, p.out, "http://0.0.0.0:");
    program_expect_text(&p, p.err, "debug: /invocations: 200");
    program_free(&p);
    tempdir_check(system("chmod -R u+w opt && rm -r opt") == 0, "opt");
}

/* What cannot be served says why in one sentence, and ends. */
static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *words, *said;
        int code;
    } cases[] = {
        {"serve nowhere --serve.port=0", "nowhere is not a trained run", 1},
        {"serve broken --serve.port=0", "is not the model that its bundle.json was written for", 1},
        {"serve run --serve.port=0 --serve.address=nonsense.invalid", "serve.address = nonsense",
         2},
        {"serve run --serve.port=70000", "serve.port", 2},
        {"serve run --serve.models=.", "give one of them", 2},
        {"serve --serve.models=nowhere --serve.port=0", "serve.models = nowhere cannot be read", 1},
    };
    tempdir_check(system("cp -r run broken && echo >>broken/model.onnx") == 0, "broken");
    program p = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        program_run(&p, "%s", cases[i].words);
        program_expect_text(&p, program_refusal(&p, cases[i].code), cases[i].said);
        program_free(&p);
    }
    program first = {0};
    int port = begin(&first, "");
    program_run(&p, "serve run --serve.port=%d", port);
    program_expect_text(&p, program_refusal(&p, 1), "Address already in use");
    program_free(&p);
    stop(&first);
    setenv("SAGEMAKER_BIND_TO_PORT", "eighty", 1);
    program_run(&p, "serve run");
    unsetenv("SAGEMAKER_BIND_TO_PORT");
    program_expect_text(&p, program_refusal(&p, 2), "SAGEMAKER_BIND_TO_PORT is 'eighty'");
    program_free(&p);
    remove_tree("broken");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_and_answers),
        cmocka_unit_test(chunks_and_kept_connections),
        cmocka_unit_test(answers_are_those_of_predict_to_the_bit),
        cmocka_unit_test(several_pictures),
        cmocka_unit_test(a_full_queue_and_clients_that_go),
        cmocka_unit_test(sigterm_drains),
        cmocka_unit_test(as_the_platform_starts_it),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, train_once, program_close);
}
