/* Heads that are trained at once: each comes out as if it had been trained alone, to the bit, whatever
 * stands beside it, is dropped beside it, or how many threads there are. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "top/many.h"

static const thaw_top_slots *const top = &thaw_cpu_kernels.top;

/* ---- rows ----------------------------------------------------------------------------------- */

typedef struct set {
    float *x;
    int32_t *label;
    thaw_row_array array;
    thaw_rows rows;
} set;

/* n rows around K centres. */
static void make_set(set *s, int64_t n, int64_t D, int64_t K, uint64_t stream, thaw_arena *arena) {
    s->x = thaw_arena_array(arena, (size_t)(n * D), sizeof *s->x);
    s->label = thaw_arena_array(arena, (size_t)n, sizeof *s->label);
    for (int64_t i = 0; i < n; i++) {
        s->label[i] = (int32_t)(i * i % (2 * K) % K); /* Some classes more often than others. */
        thaw_rng centre = thaw_rng_open(3, THAW_RNG_INIT, (uint64_t)s->label[i]);
        thaw_rng spread = thaw_rng_open(3, THAW_RNG_INIT, 1000 * stream + 1000 + (uint64_t)i);
        for (int64_t d = 0; d < D; d++)
            s->x[i * D + d] = thaw_rng_normal(&centre) + 2 * thaw_rng_normal(&spread);
    }
    s->array = (thaw_row_array){top, s->x, D};
    s->rows = thaw_rows_of_array(&s->array, n, s->label);
}

typedef struct place {
    set train, views, validation;
    thaw_train_job job;
    thaw_backend cpu;
    thaw_arena arena;
} place;

static void open_place(place *p, int64_t n, int64_t D, int64_t K, int threads) {
    *p = (place){0};
    make_set(&p->train, n, D, K, 1, &p->arena);
    make_set(&p->views, 3 * n, D, K, 2, &p->arena);
    for (int64_t i = 0; i < 3 * n; i++)
        p->views.label[i] = p->train.label[i / 3];
    make_set(&p->validation, n / 3, D, K, 3, &p->arena);
    p->job = (thaw_train_job){
        .top = top, .K = K, .train = &p->train.rows, .validation = &p->validation.rows};
    assert_int_equal(thaw_backend_cpu_open(&p->cpu, threads, NULL), THAW_OK);
}

static void close_place(place *p) {
    thaw_backend_close(&p->cpu);
    thaw_arena_free(&p->arena);
}

/* Heads that differ in all that they may. */
enum { HEADS = 13 };
static void make_options(thaw_train_options options[HEADS], int64_t n, int64_t epochs) {
    for (int i = 0; i < HEADS; i++) {
        thaw_train_options *o = &options[i];
        *o = thaw_train_defaults(THAW_HEAD_LINEAR,
                                 i % 3 == 1 ? THAW_OPTIMIZER_ADAMW : THAW_OPTIMIZER_SGD, n);
        o->epochs = epochs;
        o->lr *= 0.25 * (i + 1);
        o->weight_decay = i % 4 * 0.01;
        o->momentum = i % 2 ? 0.9 : 0.5;
        o->label_smoothing = i % 5 == 2 ? 0.1 : 0;
        o->class_weights = i % 3 ? THAW_CLASS_WEIGHTS_NONE : THAW_CLASS_WEIGHTS_BALANCED;
        o->schedule = (thaw_schedule_kind)(i % 3);
        o->warmup = i % 2;
        o->seed = 7;
    }
}

static thaw_many *open_many(const place *p, const thaw_train_options *options, int n) {
    thaw_many *many;
    thaw_error err;
    if (thaw_many_open(&many, &p->job, options, n, &p->cpu, &err)) fail_msg("%s", err.text);
    return many;
}

static void train_to(thaw_many *many, double share) {
    thaw_error err;
    if (thaw_many_train(many, share, NULL, NULL, &err)) fail_msg("%s", err.text);
}

/* Fails unless head i is what thaw_train makes of its options. */
static void same_as_alone(place *p, const thaw_many *many, const thaw_train_options *options,
                          int i) {
    thaw_head alone, head;
    thaw_train_result result;
    thaw_train_job job = p->job;
    job.options = options[i];
    assert_int_equal(thaw_train(&job, &p->arena, &alone, &result, NULL), THAW_OK);
    assert_int_equal(thaw_many_head(many, i, &p->arena, &head, NULL), THAW_OK);
    thaw_many_state state = thaw_many_look(many, i);
    assert_true(state.ended && !state.diverged);
    assert_int_equal(state.epochs_run, result.epochs_run);
    assert_int_equal(state.kept.epoch, result.kept.epoch);
    assert_true(state.kept.lr == result.kept.lr);
    assert_true(state.kept.train_loss == result.kept.train_loss);
    assert_true(state.kept.validation_loss == result.kept.validation_loss);
    assert_true(state.kept.validation_top1 == result.kept.validation_top1);
    assert_int_equal(head.n_params, alone.n_params);
    if (memcmp(head.params, alone.params, (size_t)head.n_params * sizeof(float)) != 0)
        fail_msg("head %d of K = %lld differs", i, (long long)p->job.K);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_equals_one_after_another(void **state) {
    (void)state;
    static const struct {
        int64_t n, D, K;
        int threads;
        bool views;
    } cases[] = {
        {150, 33, 2, 1, false},  {150, 33, 5, 2, false}, {130, 40, 12, 2, true},
        {200, 24, 60, 3, false}, {64, 16, 1, 2, false},  {10, 50, 3, 2, false},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        place p;
        thaw_train_options options[HEADS];
        open_place(&p, cases[c].n, cases[c].D, cases[c].K, cases[c].threads);
        if (cases[c].views) p.job.views = &p.views.rows, p.job.n_views = 3;
        make_options(options, cases[c].n, 5);
        thaw_many *many = open_many(&p, options, HEADS);
        train_to(many, 1);
        for (int i = 0; i < HEADS; i++)
            same_as_alone(&p, many, options, i);
        thaw_many_close(many);
        close_place(&p);
    }
}

/* An epoch's rows are more than are loaded at once, and so are those that validate. */
static void test_in_blocks(void **state) {
    (void)state;
    place p;
    thaw_train_options options[HEADS];
    open_place(&p, 1500, 1100, 3, 2);
    make_options(options, 1500, 2);
    p.job.validation = &p.train.rows;
    thaw_many *many = open_many(&p, options, 2);
    train_to(many, 1);
    same_as_alone(&p, many, options, 0);
    same_as_alone(&p, many, options, 1);
    thaw_many_close(many);
    close_place(&p);
}

/* In rungs, with epochs and patience of their own, and with heads that go: the others stay as they are. */
static void test_drops_and_rungs(void **state) {
    (void)state;
    place p;
    thaw_train_options options[HEADS];
    open_place(&p, 150, 20, 12, 2);
    make_options(options, 150, 12);
    for (int i = 0; i < HEADS; i++) {
        options[i].epochs = 6 + i % 5 * 2;
        options[i].patience = i % 4 == 3 ? 2 : 0;
    }
    thaw_many *many = open_many(&p, options, HEADS);
    train_to(many, 0.2);
    for (int i = 0; i < HEADS; i++)
        assert_int_equal(thaw_many_look(many, i).epochs_run,
                         (options[i].epochs + 4) / 5); /* Rounded up. */
    for (int i = 0; i < HEADS; i += 3)
        thaw_many_drop(many, i);
    train_to(many, 0.5);
    thaw_many_drop(many, 5);
    train_to(many, 1);
    for (int i = 0; i < HEADS; i++)
        if (i % 3 != 0 && i != 5) same_as_alone(&p, many, options, i);
    thaw_many_state dropped = thaw_many_look(many, 3), later = thaw_many_look(many, 5);
    assert_true(dropped.ended && dropped.epochs_run == (options[3].epochs + 4) / 5);
    assert_true(later.ended && later.epochs_run == options[5].epochs / 2);
    thaw_many_close(many);
    close_place(&p);
}

/* A rate that is far too high ends its head, and no other. */
static void test_diverges_alone(void **state) {
    (void)state;
    place p;
    thaw_train_options options[HEADS];
    open_place(&p, 150, 20, 4, 2);
    make_options(options, 150, 30);
    options[1].optimizer = THAW_OPTIMIZER_SGD;
    options[1].lr = 100;
    options[1].weight_decay = 100;
    options[1].schedule = THAW_SCHEDULE_CONSTANT;
    thaw_many *many = open_many(&p, options, 4);
    train_to(many, 1);
    thaw_many_state bad = thaw_many_look(many, 1);
    assert_true(bad.diverged && bad.ended && bad.epochs_run < 30);
    same_as_alone(&p, many, options, 0);
    same_as_alone(&p, many, options, 2);
    same_as_alone(&p, many, options, 3);
    thaw_many_close(many);
    close_place(&p);
}

static void count(void *ctx, int n_heads) {
    *(int *)ctx += n_heads;
}

/* What is counted is what is trained; a stop stops. */
static void test_counts_and_stops(void **state) {
    (void)state;
    place p;
    thaw_train_options options[HEADS];
    open_place(&p, 100, 10, 3, 1);
    make_options(options, 100, 4);
    volatile int stop = 0;
    int epochs = 0;
    p.job.stop = &stop;
    thaw_many *many = open_many(&p, options, 3);
    assert_int_equal(thaw_many_train(many, 0.5, count, &epochs, NULL), THAW_OK);
    assert_int_equal(epochs, 6);
    thaw_many_drop(many, 0);
    assert_int_equal(thaw_many_train(many, 0.75, count, &epochs, NULL), THAW_OK);
    assert_int_equal(epochs, 8);
    stop = 1;
    thaw_error err;
    assert_int_equal(thaw_many_train(many, 1, count, &epochs, &err), THAW_ERR_INTERRUPTED);
    thaw_many_close(many);
    close_place(&p);
}

static void test_refuses(void **state) {
    (void)state;
    place p;
    thaw_train_options options[HEADS];
    open_place(&p, 60, 10, 3, 1);
    make_options(options, 60, 4);
    for (int i = 0; i < 5; i++) {
        thaw_train_options kept = options[1];
        if (i == 0) options[1].batch = 32;
        if (i == 1) options[1].seed = 8;
        if (i == 2) options[1].kind = THAW_HEAD_HIDDEN;
        if (i == 3) options[1].solver = THAW_SOLVER_LBFGS;
        if (i == 4) options[1].lr = 0;
        thaw_many *many;
        thaw_error err;
        assert_int_equal(thaw_many_open(&many, &p.job, options, 2, &p.cpu, &err), THAW_ERR_USAGE);
        assert_true(strstr(err.text, i == 4 ? "lr is 0" : "head 1"));
        thaw_many_close(many);
        options[1] = kept;
    }
    close_place(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_one_after_another), cmocka_unit_test(test_in_blocks),
        cmocka_unit_test(test_drops_and_rungs),          cmocka_unit_test(test_diverges_alone),
        cmocka_unit_test(test_counts_and_stops),         cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
