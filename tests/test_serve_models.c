/* Models that come and go while others answer: the platform's /models API, heads over one trunk, and that each
 * answers what it answers alone.
 */
#include <pthread.h>

#include "http.h"

enum { SCORES_TEXT = 1024 };

static tempdir place;
static uint8_t *picture;
static size_t n_picture;

/* Runs a and b have the same frozen layers and other heads, c was trained above another cut. */
static int train_once(void **state) {
    static const char *const runs[][2] = {
        {"a", "--head.weight_decay=0.01"},
        {"b", "--head.weight_decay=1"},
        {"c", "--head.weight_decay=0.01 --freeze=stage3 --top.epochs=1"},
    };
    place = program_place(4, 1);
    *state = &place;
    for (int i = 0; i < 3; i++) {
        program p = {0};
        program_expect_ok(&p,
                          "train --data.train=pics --model=m.onnx --cache.dir=cache "
                          "--head.solver=lbfgs --out=runs/%s %s",
                          runs[i][0], runs[i][1]);
        program_free(&p);
    }
    tempdir_check(
        system("cp $(find pics/test -name '*.*' -type f | sort | head -n 1) one.jpg") == 0,
        "one.jpg");
    picture = test_read("one.jpg", &n_picture);
    return 0;
}

static int close_all(void **state) {
    free(picture);
    return program_close(state);
}

/* What a server says of the picture, and nothing else; fails the test unless it is 200. */
static void ask(int port, const char *line, const char *headers, char text[SCORES_TEXT]) {
    http_reply r = http_ask(port, line, headers, picture, n_picture);
    if (r.code != 200) fail_msg("%s: %d %s", line, r.code, r.text);
    snprintf(text, SCORES_TEXT, "%s", r.body);
    http_free(&r);
}

/* What each run says when it is served alone. */
static void ask_alone(const char *run, char text[SCORES_TEXT]) {
    program p = {0};
    program_start(&p, "serve runs/%s --serve.port=0 --device=cpu", run);
    int port = http_port(&p);
    http_await_ready(&p, port);
    ask(port, "POST /invocations", "", text);
    kill(p.pid, SIGTERM);
    program_wait(&p);
    program_free(&p);
}

static http_reply load_model(int port, const char *name, const char *folder) {
    char json[PATH_MAX + 256];
    int n = snprintf(json, sizeof json, "{\"model_name\": \"%s\", \"url\": \"%s\"}", name, folder);
    return http_ask(port, "POST /models", "Content-Type: application/json\r\n", json, (size_t)n);
}

static void end(program *p) {
    kill(p->pid, SIGTERM);
    program_wait(p);
    if (p->code != 0) fail_msg("exit code %d\n%s", p->code, p->err);
}

static void heads_share_a_trunk_and_answer_as_alone(void **state) {
    (void)state;
    char alone[3][SCORES_TEXT], text[SCORES_TEXT], line[64], header[128];
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        ask_alone(names[i], alone[i]);
    assert_string_not_equal(alone[0], alone[1]);
    program p = {0};
    program_start(&p, "serve --serve.models=runs --serve.port=0 --device=cpu");
    int port = http_port(&p);
    http_await_ready(&p, port);
    for (int i = 0; i < 3; i++) {
        snprintf(line, sizeof line, "POST /models/%s/invoke", names[i]);
        ask(port, line, "", text);
        assert_string_equal(text, alone[i]);
        snprintf(header, sizeof header, "X-Amzn-SageMaker-Target-Model: %s\r\n", names[i]);
        ask(port, "POST /invocations", header, text);
        assert_string_equal(text, alone[i]);
    }
    http_reply r = http_ask(port, "POST /invocations", "", picture, n_picture);
    http_expect(&r, 404, "3 models are loaded: name one", "no name");
    /* The founder of a trunk goes; who shares it stays. */
    r = http_ask(port, "DELETE /models/a", "", NULL, 0);
    http_expect(&r, 200, NULL, "DELETE");
    ask(port, "POST /models/b/invoke", "", text);
    assert_string_equal(text, alone[1]);
    r = load_model(port, "again", "runs/a");
    http_expect(&r, 200, NULL, "POST /models");
    ask(port, "POST /models/again/invoke", "", text);
    assert_string_equal(text, alone[0]);
    end(&p);
    /* b found a's trunk, a found b's again; c has its own. */
    int shared = 0;
    for (const char *at = p.err; (at = strstr(at, "frozen layers shared")); at++)
        shared++;
    assert_int_equal(shared, 2);
    program_free(&p);
}

static void the_models_api(void **state) {
    (void)state;
    char text[SCORES_TEXT];
    setenv("SAGEMAKER_MULTI_MODEL", "true", 1);
    program p = {0};
    program_start(&p, "serve --serve.port=0 --device=cpu");
    unsetenv("SAGEMAKER_MULTI_MODEL");
    int port = http_port(&p);
    http_await_ready(&p, port);
    http_reply r = http_ask(port, "GET /models", "", NULL, 0);
    http_expect(&r, 200, "\r\n\r\n{\"models\":[]}", "no models");
    r = http_ask(port, "POST /models/x/invoke", "", picture, n_picture);
    http_expect(&r, 404, "there is no model x", "invoke");
    static const char *const names[] = {"x", "y", "z w"};
    for (int i = 0; i < 3; i++) {
        r = load_model(port, names[i], "runs/a");
        http_expect(&r, 200, NULL, names[i]);
    }
    r = load_model(port, "x", "runs/b");
    http_expect(&r, 409, "loaded already", "twice");
    r = http_ask(port, "GET /models?limit=2", "", NULL, 0);
    http_expect(&r, 200,
                "\r\n\r\n{\"models\":[{\"modelName\":\"x\",\"modelUrl\":\"runs/a\"},"
                "{\"modelName\":\"y\",\"modelUrl\":\"runs/a\"}],\"nextPageToken\":\"2\"}",
                "the first page");
    r = http_ask(port, "GET /models?limit=2&next_page_token=2", "", NULL, 0);
    http_expect(&r, 200, "\r\n\r\n{\"models\":[{\"modelName\":\"z w\",\"modelUrl\":\"runs/a\"}]}",
                "the last page");
    r = http_ask(port, "GET /models/z%20w", "", NULL, 0);
    http_expect(&r, 200, "{\"modelName\":\"z w\",\"modelUrl\":\"runs/a\"}", "describe");
    r = http_ask(port, "GET /models/nobody", "", NULL, 0);
    http_expect(&r, 404, "nobody", "describe");
    ask(port, "POST /models/z%20w/invoke", "", text);
    r = http_ask(port, "DELETE /models/z%20w", "", NULL, 0);
    http_expect(&r, 200, NULL, "unload");
    r = http_ask(port, "DELETE /models/z%20w", "", NULL, 0);
    http_expect(&r, 404, NULL, "unload twice");
    r = http_ask(port, "PUT /models", "", NULL, 0);
    http_expect(&r, 405, "Allow: ", "PUT");
    /* What is no model, and what would not fit: a petabyte, of which nothing is on the disk. */
    r = load_model(port, "none", "nowhere");
    http_expect(&r, 400, "nowhere is not a trained run", "no bundle");
    r = http_ask(port, "POST /models", "", "{}", 2);
    http_expect(&r, 400, "model_name", "no name");
    tempdir_check(system("cp -r runs/a huge && truncate -s 4T huge/model.onnx") == 0, "huge");
    r = load_model(port, "huge", "huge");
    http_expect(&r, 507, "are left", "a huge model");
    r = http_ask(port, "GET /ping", "", NULL, 0);
    http_expect(&r, 200, NULL, "ping");
    assert_int_equal(http_metric(port, "thaw_models"), 2);
    end(&p);
    program_free(&p);
    remove_tree("huge");
}

/* Asks a model again and again until the test ends or it has asked often enough. */
typedef struct asking {
    int port, most;
    volatile int stop;
    char line[64], want[SCORES_TEXT];
    int n;
    pthread_t thread;
} asking;

static void *ask_on(void *argument) {
    asking *a = argument;
    char text[SCORES_TEXT];
    for (; !a->stop && a->n < a->most; a->n++) {
        ask(a->port, a->line, "", text);
        assert_string_equal(text, a->want);
    }
    return NULL;
}

static void start_asking(asking *a, int port, const char *model, int most) {
    *a = (asking){.port = port, .most = most};
    snprintf(a->line, sizeof a->line, "POST /models/%s/invoke", model);
    ask(port, a->line, "", a->want);
    assert_int_equal(pthread_create(&a->thread, NULL, ask_on, a), 0);
}

/* Pictures of both go through the trunk together, and to their own heads. */
static void heads_in_one_batch(void **state) {
    (void)state;
    enum { CLIENTS = 6, ASKED = 40 };
    asking clients[CLIENTS];
    program p = {0};
    program_start(&p, "serve --serve.models=runs --serve.port=0 --device=cpu --log=warn");
    int port = http_port(&p);
    http_await_ready(&p, port);
    for (int i = 0; i < CLIENTS; i++)
        start_asking(&clients[i], port, i % 2 ? "a" : "b", ASKED);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    assert_true(http_metric(port, "thaw_batch_pictures_count") <
                http_metric(port, "thaw_pictures_total"));
    end(&p);
    program_free(&p);
}

static void models_come_and_go_beside_answers(void **state) {
    (void)state;
    program p = {0};
    program_start(&p, "serve --serve.models=runs --serve.port=0 --device=cpu --log=warn");
    int port = http_port(&p);
    http_await_ready(&p, port);
    asking a;
    start_asking(&a, port, "b", INT_MAX);
    for (int round = 0; round < 3; round++)
        for (const char *name = "ac"; *name; name++) {
            char line[32], folder[32];
            snprintf(line, sizeof line, "DELETE /models/%c", *name);
            snprintf(folder, sizeof folder, "runs/%c", *name);
            http_reply r = http_ask(port, line, "", NULL, 0);
            http_expect(&r, 200, NULL, line);
            r = load_model(port, folder + 5, folder);
            http_expect(&r, 200, NULL, folder);
        }
    a.stop = 1;
    pthread_join(a.thread, NULL);
    assert_true(a.n > 3);
    end(&p);
    program_free(&p);
}

/* A model that is to go answers first what it was asked. */
static void a_model_goes_when_nobody_uses_it(void **state) {
    (void)state;
    enum { PICTURES = 400 };
    program p = {0};
    program_start(&p, "serve --serve.models=runs --serve.port=0 --device=cpu --log=warn");
    int port = http_port(&p), fd = http_connect(port);
    http_await_ready(&p, port);
    char *text;
    size_t n;
    FILE *form = open_memstream(&text, &n);
    for (int i = 0; i < PICTURES; i++) {
        fprintf(form, "--B\r\nContent-Type: image/jpeg\r\n\r\n");
        fwrite(picture, 1, n_picture, form);
        fprintf(form, "\r\n");
    }
    fprintf(form, "--B--\r\n");
    fclose(form);
    http_put_request(fd, "POST /models/c/invoke",
                     "Content-Type: multipart/form-data; boundary=B\r\n", text, n);
    while (http_metric(port, "thaw_pictures_total") < 1)
        pause_ms(1);
    http_reply r = http_ask(port, "DELETE /models/c", "", NULL, 0);
    http_expect(&r, 200, NULL, "DELETE");
    assert_int_equal(http_metric(port, "thaw_pictures_total"), PICTURES);
    r = http_get_reply(fd);
    http_expect(&r, 200, "\"predictions\":", "what was under way");
    r = http_ask(port, "POST /models/c/invoke", "", picture, n_picture);
    http_expect(&r, 404, NULL, "what came later");
    close(fd);
    free(text);
    end(&p);
    program_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_share_a_trunk_and_answer_as_alone),
        cmocka_unit_test(the_models_api),
        cmocka_unit_test(heads_in_one_batch),
        cmocka_unit_test(models_come_and_go_beside_answers),
        cmocka_unit_test(a_model_goes_when_nobody_uses_it),
    };
    return cmocka_run_group_tests(tests, train_once, close_all);
}
