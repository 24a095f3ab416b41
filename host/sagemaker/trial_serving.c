/* The steps of a try that serve. */
#include <signal.h>
#include <string.h>

#include "asking.h"
#include "client.h"
#include "clock.h"
#include "file.h"
#include "machine.h"
#include "model/archive.h"
#include "trial.h"

enum {
    READY_S = 480, /* What SageMaker gives an endpoint to become ready, */
    PING_S = 2,    /* to answer a ping, */
    KILLED_S = 30, /* and between SIGTERM and SIGKILL. */
};

static const char *model_folder(thaw__trial *t, thaw_error *err) {
    return thaw__trial_path(t, t->endpoint, "model", err);
}

thaw_status thaw__trial_pack(thaw__trial *t, thaw_error *err) {
    static const char *const all[] = {"", NULL};
    const char *trained = thaw__trial_path(t, t->base, "model", err), *model = model_folder(t, err);
    if (!trained || !model) return THAW_ERR_NOMEM;
    THAW_TRY(thaw_archive_pack(trained, all, t->packed, err));
    THAW_TRY(thaw_file_make_folders(t->endpoint, err));
    THAW_TRY(thaw_archive_unpack(t->packed, model, err));
    thaw__tree tree = thaw__tree_measure(model, "");
    t->model_newest = tree.newest;
    thaw__tree_set_writable(model, false);
    thaw_text_add(&t->said, "model.tar.gz: %.2f MB, %zu files; unpacked read-only",
                  (double)thaw__tree_measure(t->packed, "").bytes / 1e6, tree.n);
    return THAW_OK;
}

/* ---- the endpoint --------------------------------------------------------------------------- */

/* The last line of its log is the reason. */
static void keep_line(void *ctx, const char *line) {
    snprintf((char *)ctx, THAW_TEXT_SIZE, "%.700s", line);
}

static thaw_status fail_ended(thaw__trial *t, thaw_error *err) {
    char last[THAW_TEXT_SIZE] = "without a word";
    t->child.seen = 0;
    thaw_child_lines(&t->child, keep_line, last);
    return thaw_fail(err, THAW_ERR_MISMATCH, "the endpoint has ended with exit code %d: %s",
                     t->child.code, last);
}

thaw_status thaw__trial_serve(thaw__trial *t, thaw_error *err) {
    static const thaw_question ping = {.method = "GET", .path = "/ping", .patience_s = PING_S};
    THAW_TRY(thaw_client_free_port(&t->port, err));
    const char *port = thaw_arena_printf(&t->arena, "SAGEMAKER_BIND_TO_PORT=%d", t->port);
    if (!port) return thaw_fail_memory(err, "for the endpoint");
    THAW_TRY(thaw__trial_start(t, "serve", t->endpoint, port, t->serving_log, err));
    thaw_client client = thaw_client_open(t->port);
    thaw_reply reply = {0};
    thaw_status status = THAW_OK;
    double seconds = 0;
    while (status == THAW_OK && reply.code != 200) {
        status = thaw__trial_pause(t, err);
        if (status == THAW_OK && !thaw_child_runs(&t->child)) status = fail_ended(t, err);
        if (status == THAW_OK) thaw_client_ask(&client, &ping, &reply, NULL);
        seconds = thaw_now_s() - t->child.start_s;
        if (status == THAW_OK && reply.code != 200 && seconds > READY_S)
            status = thaw_fail(err, THAW_ERR_MISMATCH, "/ping has not said 200 in %d s", READY_S);
    }
    thaw_client_close(&client);
    thaw_text_add(&t->said, "the first 200 on /ping %.2f s after the start", seconds);
    return status;
}

/* Enough for a server that gathers pictures to compute several at once. */
static int connections(void) {
    enum { EACH = 4, MOST = 32 };
    int n = EACH * thaw_usable_cpus();
    return n < MOST ? n : MOST;
}

thaw_status thaw__trial_answers(thaw__trial *t, thaw_error *err) {
    thaw_asked asked;
    const char *table = thaw__trial_path(t, t->base, "output/data/predictions.csv", err);
    const char *split = json_string_value(json_object_get(t->metrics, "measured_on"));
    if (!table) return THAW_ERR_NOMEM;
    const thaw_asking asking = {
        .port = t->port, .predictions = table, .connections = connections(), .stop = t->stop};
    thaw_status status = thaw_asking_run(&asking, &asked, err);
    thaw__trial_pause(t, NULL);
    if (asked.n == 0) return status;
    thaw_text_add(&t->said,
                  "%zu %s pictures: top-1 %.4f%s; %.1f pictures/s over %d connections; p50 %.0f, "
                  "p90 %.0f, p99 %.0f ms",
                  asked.n, split ? split : "", (double)asked.n_right / (double)asked.n,
                  status == THAW_OK ? ", each answer as in training" : "",
                  (double)asked.n / asked.seconds, asking.connections, 1e3 * asked.p50,
                  1e3 * asked.p90, 1e3 * asked.p99);
    return status;
}

thaw_status thaw__trial_stop(thaw__trial *t, thaw_error *err) {
    const char *model = model_folder(t, err);
    if (!model) return THAW_ERR_NOMEM;
    if (!thaw_child_runs(&t->child)) return fail_ended(t, err);
    double asked_s = thaw_now_s();
    thaw_child_signal(&t->child, SIGTERM);
    THAW_TRY(thaw__trial_await_end(t, KILLED_S, err));
    if (t->child.code != 0) return fail_ended(t, err);
    if (thaw__tree_measure(model, "").newest > t->model_newest)
        return thaw_fail(err, THAW_ERR_MISMATCH, "the endpoint has written into its model");
    thaw_text_add(&t->said, "SIGTERM, exit code 0 %.2f s later; nothing was written to the model",
                  t->child.end_s - asked_s);
    return THAW_OK;
}
