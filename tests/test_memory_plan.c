/* Properties: no two tensors that are alive together share a byte; what a step makes in place lies
 * where its input does; offsets are aligned; a chain takes no more than its largest neighbours, and
 * networks little more than must be alive at once; many tensors end. */
#include <string.h>

#include "testing.h"
#include "trunk/memory_plan.h"

/* A program by hand: ports [0, n) are made by steps of the same number. */
typedef struct plan {
    thaw_program program;
    thaw_arena arena;
    size_t bytes;
} plan;

static plan new_plan(int n, int most_inputs) {
    plan p = {.program = {.n_steps = n, .n_ports = n}};
    p.program.steps = thaw_arena_array(&p.arena, (size_t)n, sizeof(thaw_step));
    p.program.ports = thaw_arena_array(&p.arena, (size_t)n, sizeof(thaw_port));
    assert_non_null(p.program.steps);
    assert_non_null(p.program.ports);
    for (int i = 0; i < n; i++) {
        p.program.steps[i].out = &p.program.ports[i];
        p.program.steps[i].in =
            thaw_arena_array(&p.arena, (size_t)most_inputs, sizeof(thaw_port *));
    }
    return p;
}

static void reads(plan *p, int step, int port) {
    thaw_step *s = &p->program.steps[step];
    s->in[s->n_in++] = &p->program.ports[port];
}

static void make(plan *p) {
    thaw_error err;
    assert_int_equal(thaw__memory_plan(&p->program, &p->bytes, &err), THAW_OK);
}

/* The last step that reads what step s makes, through what is made in place of it. */
static int last_use(const plan *p, int s) {
    int last = s;
    for (int t = s + 1; t < p->program.n_steps; t++)
        for (int i = 0; i < p->program.steps[t].n_in; i++)
            if (p->program.steps[t].in[i] == &p->program.ports[s]) last = t;
    return last;
}

/* Most bytes that are alive at any step: no plan can do with less. */
static size_t least_bytes(const plan *p) {
    size_t most = 0;
    for (int t = 0; t < p->program.n_steps; t++) {
        size_t alive = 0;
        for (int s = 0; s <= t; s++)
            if (last_use(p, s) >= t) alive += p->program.ports[s].bytes;
        if (alive > most) most = alive;
    }
    return most;
}

static void check(const plan *p) {
    const thaw_port *ports = p->program.ports;
    for (int s = 0; s < p->program.n_steps; s++) {
        assert_int_equal(ports[s].offset % 64, 0);
        assert_true(ports[s].offset + ports[s].bytes <= p->bytes);
        for (int t = s + 1; t <= last_use(p, s); t++) {
            bool apart = ports[t].offset >= ports[s].offset + ports[s].bytes ||
                         ports[s].offset >= ports[t].offset + ports[t].bytes;
            if (!apart && ports[s].bytes && ports[t].bytes && !p->program.steps[t].in_place)
                fail_msg("what steps %d and %d make shares memory", s, t);
        }
    }
}

static void a_chain_takes_its_largest_neighbours(void **state) {
    (void)state;
    static const size_t sizes[] = {640, 1280, 2560, 5120, 1280, 640, 3840, 64};
    enum { N = sizeof sizes / sizeof sizes[0] };
    plan p = new_plan(N, 1);
    for (int i = 0; i < N; i++) {
        p.program.ports[i].bytes = sizes[i];
        if (i) reads(&p, i, i - 1);
    }
    make(&p);
    check(&p);
    assert_int_equal(p.bytes, 2560 + 5120);
    thaw_arena_free(&p.arena);
}

static void in_place_is_the_same_place(void **state) {
    (void)state;
    plan p = new_plan(4, 2);
    for (int i = 0; i < 4; i++)
        p.program.ports[i].bytes = 1000;
    reads(&p, 1, 0);
    reads(&p, 2, 1);
    reads(&p, 2, 0); /* The residual, over which the sum is written. */
    p.program.steps[2].in_place = true;
    reads(&p, 3, 2);
    make(&p);
    assert_int_equal(p.program.ports[2].offset, p.program.ports[0].offset);
    assert_int_not_equal(p.program.ports[1].offset, p.program.ports[0].offset);
    assert_int_equal(p.bytes, 1024 + 1000);
    thaw_arena_free(&p.arena);
}

/* Blocks of several steps with residuals around them, tensors of nothing, long ways. */
static void random_networks_fit(void **state) {
    (void)state;
    double worst = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t random = seed;
        int n = 2 + (int)(test_random(&random) % 60);
        plan p = new_plan(n, 4);
        for (int s = 0; s < n; s++) {
            p.program.ports[s].bytes = 64 * (test_random(&random) % 200);
            if (s) reads(&p, s, s - 1);
            for (int k = 0; k < 2 && s > 2; k++)
                if (test_random(&random) % 4 == 0) {
                    int back = 2 + (int)(test_random(&random) % 12);
                    reads(&p, s, s > back ? s - back : 0);
                }
        }
        make(&p);
        check(&p);
        double over = (double)p.bytes / (double)(least_bytes(&p) + 1);
        if (over > worst) worst = over;
        thaw_arena_free(&p.arena);
    }
    print_message("at most %.2f times what is alive at once\n", worst);
    assert_true(worst < 1.5);
}

/* All alive at once, and more of them than are looked at. */
static void a_crowd_does_not_overlap(void **state) {
    (void)state;
    enum { N = 700 };
    plan p = new_plan(N + 1, N);
    size_t sum = 0;
    for (int i = 0; i < N; i++) {
        p.program.ports[i].bytes = 64 * (size_t)(1 + i % 7);
        sum += p.program.ports[i].bytes;
        reads(&p, N, i);
    }
    make(&p);
    check(&p);
    assert_int_equal(p.bytes, sum);
    thaw_arena_free(&p.arena);
}

static void many_steps_end(void **state) {
    (void)state;
    enum { N = 65000 };
    plan p = new_plan(N, 2);
    for (int s = 0; s < N; s++) {
        p.program.ports[s].bytes = 64 * (size_t)(1 + s % 9);
        if (s) reads(&p, s, s - 1);
        if (s > 3 && s % 3 == 0) reads(&p, s, s - 3);
    }
    make(&p);
    assert_true(p.bytes <= 64 * 9 * 4);
    thaw_arena_free(&p.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_takes_its_largest_neighbours),
        cmocka_unit_test(in_place_is_the_same_place),
        cmocka_unit_test(random_networks_fit),
        cmocka_unit_test(a_crowd_does_not_overlap),
        cmocka_unit_test(many_steps_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
