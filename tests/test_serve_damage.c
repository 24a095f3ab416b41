/* Requests that no client should send, thousands of them, drawn from a seed: damaged heads, bodies, chunks,
 * parts, JSON, base64 and pictures. None brings the server down: each gets a 4xx, or, where not even HTTP can be
 * seen in it, a closed connection, and the good request after it is answered as ever.
 *
 * THAW_DAMAGED says how many; more find more.
 */
#include <pthread.h>

#include "http.h"

enum { USUAL = 1000, SANITIZED = 300, EVERY = 25, ROOM = 1 << 16 };

static tempdir place;
static uint8_t *picture;
static size_t n_picture;

static int train_once(void **state) {
    place = program_place(4, 1);
    *state = &place;
    program p = {0};
    program_expect_ok(&p,
                      "train --data.train=pics --model=m.onnx --cache.dir=none "
                      "--head.solver=lbfgs --head.weight_decay=0.01 --out=run");
    program_free(&p);
    tempdir_check(
        system("cp $(find pics/test -name '*.*' -type f | sort | head -n 1) one.jpg") == 0,
        "one.jpg");
    picture = test_read("one.jpg", &n_picture);
    assert_in_range(n_picture, 100, ROOM / 4);
    return 0;
}

static int close_all(void **state) {
    free(picture);
    return program_close(state);
}

/* ---- good requests, to be damaged ----------------------------------------------------------- */

typedef struct bytes {
    uint8_t at[ROOM];
    size_t n;
} bytes;

static void add(bytes *b, const void *more, size_t n) {
    assert_true(b->n + n <= ROOM);
    memcpy(b->at + b->n, more, n);
    b->n += n;
}

static void add_text(bytes *b, const char *text) {
    add(b, text, strlen(text));
}

static uint32_t below(uint64_t *random, size_t n) {
    return (uint32_t)(test_random(random) % (n ? n : 1));
}

/* Changes, removes or doubles a few bytes of [from, n), or cuts the rest off. */
static void mutate(bytes *b, size_t from, uint64_t *random) {
    for (uint32_t edits = 1 + below(random, 6); edits > 0 && b->n > from; edits--) {
        size_t i = from + below(random, b->n - from), n = 1 + below(random, 16);
        if (n > b->n - i) n = b->n - i;
        switch (below(random, 6)) {
            case 0:
                b->at[i] = (uint8_t)test_random(random);
                break;
            case 1:
                b->at[i] ^= (uint8_t)(1u << below(random, 8));
                break;
            case 2:
                b->at[i] = (uint8_t) "\0\r\n:;=\"-%{}[],0F"[below(random, 16)];
                break;
            case 3:
                memmove(b->at + i, b->at + i + n, b->n - i - n);
                b->n -= n;
                break;
            case 4:
                if (b->n + n > ROOM) break;
                memmove(b->at + i + n, b->at + i, b->n - i);
                b->n += n;
                break;
            default:
                if (below(random, 4) == 0) b->n = i;
        }
    }
}

static void add_base64(bytes *b) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i + 2 < n_picture; i += 3) {
        uint32_t group =
            (uint32_t)picture[i] << 16 | (uint32_t)picture[i + 1] << 8 | picture[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            add(b, &letters[group >> shift & 63], 1);
    }
}

/* The body of a form that has room for pictures; returns its Content-Type. */
static const char *make_body(bytes *body, uint32_t form) {
    body->n = 0;
    switch (form) {
        case 0:
            add(body, picture, n_picture);
            return "image/jpeg";
        case 1:
            for (int i = 0; i < 2; i++) {
                add_text(body,
                         "--XyZ\r\nContent-Disposition: form-data; name=\"f\"; "
                         "filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n");
                add(body, picture, n_picture);
                add_text(body, "\r\n");
            }
            add_text(body, "--XyZ--\r\n");
            return "multipart/form-data; boundary=XyZ";
        case 2:
            add_text(body, "{\"image\": \"");
            add_base64(body);
            add_text(body, "\"}");
            return "application/json";
        default:
            add_text(body, "{\"instances\": [{\"b64\": \"");
            add_base64(body);
            add_text(body, "\"}]}");
            return "application/json";
    }
}

/* A request whose body is damaged and whose head is sound. */
static void damage_body(bytes *b, uint64_t *random) {
    static bytes body;
    char head[512];
    const char *type = make_body(&body, below(random, 4));
    if (below(random, 3) == 0)
        body.n = below(random, body.n);
    else
        mutate(&body, 0, random);
    b->n = 0;
    snprintf(head, sizeof head,
             "POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Type: %s\r\n"
             "Connection: close\r\nContent-Length: %zu\r\n\r\n",
             type, body.n);
    add_text(b, head);
    add(b, body.at, body.n);
}

/* A request whose head is damaged, or what holds its chunks together. */
static void damage_head(bytes *b, uint64_t *random) {
    static const char *const targets[] = {"/invocations", "/ping", "/models", "/models/a/invoke",
                                          "/"};
    static bytes body;
    char head[512];
    const char *type = make_body(&body, below(random, 4));
    bool chunked = below(random, 2);
    b->n = 0;
    snprintf(
        head, sizeof head,
        "POST %s HTTP/1.1\r\nHost: here\r\nContent-Type: %s\r\nAccept: application/json;verbose, "
        "*/*;q=0.1\r\nX-Amzn-SageMaker-Custom-Attributes: verbose\r\nConnection: close\r\n",
        targets[below(random, 5)], type);
    add_text(b, head);
    if (!chunked) {
        snprintf(head, sizeof head, "Content-Length: %zu\r\n\r\n", body.n);
        add_text(b, head);
        size_t n = b->n;
        mutate(b, 0, random);
        if (b->n > n) b->n = n;
        add(b, body.at, body.n);
        return;
    }
    add_text(b, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < body.n; at += 500) {
        size_t n = body.n - at < 500 ? body.n - at : 500;
        snprintf(head, sizeof head, "%zx\r\n", n);
        add_text(b, head);
        add(b, body.at + at, n);
        add_text(b, "\r\n");
    }
    add_text(b, "0\r\n\r\n");
    mutate(b, 0, random);
}

/* Anything at all. */
static void make_noise(bytes *b, uint64_t *random) {
    b->n = below(random, 3000);
    for (size_t i = 0; i < b->n; i++)
        b->at[i] = (uint8_t)test_random(random);
    if (below(random, 2)) memcpy(b->at, "POST /invocations HTTP/1.1\r\n", 28);
}

/* ---- the server ----------------------------------------------------------------------------- */

/* Sends and says that no more will come. A mutation may leave a good request, whose client seems to have gone
 * then: no reply is right, too. */
static int send_all(int port, const bytes *b) {
    int fd = http_connect(port);
    http_put(fd, b->at, b->n);
    shutdown(fd, SHUT_WR);
    http_reply r = http_get_reply(fd);
    int code = r.code;
    http_free(&r);
    close(fd);
    return code;
}

/* Waits for the reply to a request whose head is sound: it must be there. */
static int ask(int port, const bytes *b) {
    int fd = http_connect(port);
    http_put(fd, b->at, b->n);
    http_reply r = http_get_reply(fd);
    int code = r.code;
    if (code >= 400 && !strstr(r.body, "{\"error\":")) fail_msg("%s", r.text);
    http_free(&r);
    close(fd);
    return code;
}

static void keep_request(const bytes *b, int i) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/tmp/thaw-damaged-%d", i);
    write_bytes(path, b->at, b->n);
    fail_msg("request %d, kept as %s, brought the server down", i, path);
}

static void damaged_requests(void **state) {
    (void)state;
    static bytes b;
    const char *wanted = getenv("THAW_DAMAGED");
    int n = wanted ? atoi(wanted) : program_is_sanitized() ? SANITIZED : USUAL;
    int codes[600] = {0};
    uint64_t random = 11;
    program p = {0};
    program_start(&p, "serve run --serve.port=0 --serve.max_body=64K --device=cpu --log=error");
    int port = http_port(&p);
    http_await_ready(&p, port);
    http_reply good = http_ask(port, "POST /invocations", "", picture, n_picture);
    assert_int_equal(good.code, 200);
    for (int i = 0; i < n; i++) {
        uint32_t kind = below(&random, 5);
        int code;
        if (kind < 3) {
            damage_body(&b, &random);
            code = ask(port, &b);
            /* Some damage leaves a picture a picture. */
            if (code != 200 && code / 100 != 4) fail_msg("request %d: %d", i, code);
        } else {
            if (kind == 3)
                damage_head(&b, &random);
            else
                make_noise(&b, &random);
            code = send_all(port, &b);
            if (code != 0 && code / 100 != 2 && code / 100 != 4 && code != 505 && code != 501)
                fail_msg("request %d: %d", i, code);
        }
        codes[code]++;
        if (!program_is_running(&p)) keep_request(&b, i);
        if (i % EVERY) continue;
        http_reply r = http_ask(port, "POST /invocations", "", picture, n_picture);
        assert_int_equal(r.code, 200);
        assert_string_equal(r.body, good.body);
        http_free(&r);
    }
    for (int code = 0; code < 600; code++)
        if (codes[code]) print_message("%d: %d\n", code, codes[code]);
    assert_true(codes[400] > n / 3);
    assert_int_equal(http_metric(port, "thaw_requests_under_way"), 0);
    assert_int_equal(http_metric(port, "thaw_body_bytes"), 0);
    assert_int_equal(http_metric(port, "thaw_queue_requests"), 0);
    http_free(&good);
    kill(p.pid, SIGTERM);
    program_wait(&p);
    assert_int_equal(p.code, 0);
    program_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(damaged_requests)};
    return cmocka_run_group_tests(tests, train_once, close_all);
}
