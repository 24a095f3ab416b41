/* The CPU's trunk kernels against the references, through prepare and run as the planner uses them:
 * pixels -> import [-> a 1x1 convolution, which leaves a blocked layout] -> the operation ->
 * export.
 *
 * Each case runs in float, in bf16, and in bf16 between float tensors; behind the import and behind
 * the convolution. All memory is exactly as large as prepare asked for, between guard words, and
 * filled with NaN before each of two runs whose results must be equal bits: so nothing is read that
 * was not written, the padding channels of blocked layouts included.
 *
 * Tolerances, as NMSE: float 1e-10 (sums of at most some thousand terms, each rounded by 2^-24).
 * bf16: each rounding to 8 bits is wrong by at most 2^-9 of a value, 2^-18 as NMSE. A product of
 * two 1x1 convolutions has seven (pixels, weights, results, twice; the product); an activation
 * where it is steep at most doubles them.
 *
 *     test_kernels_cpu "conv 3x3 s2 3->17"     runs one case
 */
#include "step_testing.h"

static bool prepare(program *p, thaw_error *err) {
    size_t workspace = 0;
    for (int i = 0; i < p->n_steps; i++) {
        thaw_step *step = &p->steps[i];
        if (thaw_cpu_kernels.trunk[step->kind].prepare(step, &p->plan, err) != 0) return false;
        if (step->workspace_bytes > workspace) workspace = step->workspace_bytes;
        p->memory[i] = guarded_new(step->out->bytes);
        const thaw_port *target = step->in_place ? step->in[step->n_in - 1] : step->out;
        step->out->data = guarded_data(&p->memory[i]);
        if (step->in_place) step->out->data = target->data;
    }
    p->workspace = guarded_new(workspace);
    p->features = guarded_new((size_t)ref_size(&p->values[p->n_steps - 1]) * sizeof(float));
    return true;
}

static bool run(program *p, thaw_error *err) {
    for (int i = 0; i < p->n_steps; i++)
        guarded_poison(&p->memory[i]);
    guarded_poison(&p->workspace);
    guarded_poison(&p->features);
    thaw_run_context context = {.stream = stream,
                                .workspace = guarded_data(&p->workspace),
                                .pixels = p->pixels,
                                .features = guarded_data(&p->features)};
    for (int i = 0; i < p->n_steps; i++) {
        const thaw_step *step = &p->steps[i];
        int code = thaw_cpu_kernels.trunk[step->kind].run(step, &context);
        if (code) {
            thaw_fail(err, THAW_ERR_BACKEND, "%s", thaw_cpu_kernels.explain(code));
            return false;
        }
    }
    for (int i = 0; i < p->n_steps; i++)
        if (!guarded_intact(&p->memory[i])) {
            thaw_fail(err, THAW_ERR_MISMATCH, "step %d wrote outside its output", i);
            return false;
        }
    if (guarded_intact(&p->workspace) && guarded_intact(&p->features)) return true;
    thaw_fail(err, THAW_ERR_MISMATCH, "wrote outside the workspace or the features");
    return false;
}

/* Runs twice and compares; the distance is infinite when anything else is wrong. */
static double measure(program *p, thaw_error *err) {
    if (!prepare(p, err) || !run(p, err)) return INFINITY;
    const ref_tensor *want = &p->values[p->n_steps - 1];
    size_t n = (size_t)ref_size(want);
    float *first = thaw_arena_array(&p->arena, n, sizeof *first);
    float *expected = thaw_arena_array(&p->arena, n, sizeof *expected);
    memcpy(first, guarded_data(&p->features), n * sizeof *first);
    for (size_t i = 0; i < n; i++)
        expected[i] = (float)want->v[i];
    if (!run(p, err)) return INFINITY;
    if (memcmp(first, guarded_data(&p->features), n * sizeof *first) != 0) {
        thaw_fail(err, THAW_ERR_MISMATCH, "two runs differ");
        return INFINITY;
    }
    return test_nmse(n, expected, first);
}

static int check(const test_case *row, thaw_dtype compute, thaw_dtype stored, bool blocked) {
    program *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->row = row;
    p->random = 12345;
    p->plan = (thaw_plan_context){.arena = &p->arena, .device = device};
    p->compute = compute;
    p->stored = stored;
    int64_t most = row->N * (row->H + 8) * (row->W + 8) * 256;
    p->pixels = thaw_arena_alloc(&p->arena, (size_t)most);
    for (int64_t i = 0; i < most; i++)
        p->pixels[i] = (uint8_t)test_random(&p->random);
    int x = add_source(p, row->H, row->W, row->C, blocked);
    add_operation(p, x, blocked);
    const ref_tensor *y = &p->values[p->n_steps - 1];
    thaw_step *export = add_step(p, THAW_STEP_export, y->H, y->W, y->C);
    memcpy(p->values[p->n_steps - 1].v, y->v, (size_t)ref_size(y) * sizeof *y->v);
    read_from(p, export, p->n_steps - 2);

    thaw_error err = {0};
    double tolerance = compute == THAW_F32 ? 1e-10 : ROUNDINGS * 0x1p-18;
    double nmse = measure(p, &err);
    bool ok = nmse <= tolerance;
    if (!ok)
        print_error("NMSE %.2g > %.2g in %s %s%s%s; reproduce with: test_kernels_cpu \"%s\"\n",
                    nmse, tolerance,
                    compute == THAW_F32  ? "f32"
                    : stored == THAW_F32 ? "bf16 between f32"
                                         : "bf16",
                    blocked ? "behind a convolution" : "behind the import", err.text[0] ? ": " : "",
                    err.text, row->name);
    for (int i = 0; i < p->n_steps; i++) {
        const thaw_trunk_slot *slot = &thaw_cpu_kernels.trunk[p->steps[i].kind];
        if (slot->release) slot->release(&p->steps[i]);
        free(p->values[i].v);
        free(p->memory[i].base);
    }
    free(p->workspace.base);
    free(p->features.base);
    thaw_arena_free(&p->arena);
    free(p);
    return !ok;
}

static const char *only; /* The case named on the command line. */

static void check_all(thaw_dtype compute, thaw_dtype stored) {
    int failures = 0, ran = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (only && strcmp(only, cases[i].name) != 0) continue;
        if (compute != THAW_F32 && cases[i].kind == THAW_STEP_batch_norm)
            continue; /* Of training. */
        for (int blocked = 0; blocked < 2; blocked++)
            failures += check(&cases[i], compute, stored, blocked);
        ran++;
    }
    assert_int_not_equal(ran, 0);
    assert_int_equal(failures, 0);
}

static void float_steps(void **state) {
    (void)state;
    check_all(THAW_F32, THAW_F32);
}

static void bf16_steps(void **state) {
    (void)state;
    if (!thaw_cpu_kernels.computes(NULL, THAW_BF16)) {
        print_message("SKIPPED: this processor has no bf16 instructions\n");
        skip();
    }
    check_all(THAW_BF16, THAW_BF16);
    check_all(THAW_BF16, THAW_F32); /* Factors are rounded on their way in. */
}

/* A slot without a kernel or without a case is a hole in the table. */
static void every_slot_is_there_and_tested(void **state) {
    (void)state;
    for (int kind = 0; kind < THAW_N_STEP_KINDS; kind++) {
        assert_non_null(thaw_cpu_kernels.trunk[kind].prepare);
        assert_non_null(thaw_cpu_kernels.trunk[kind].run);
        bool tested = kind == THAW_STEP_export || kind == THAW_STEP_load; /* See test_gradients. */
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            tested |= (int)cases[i].kind == kind;
        assert_true(tested);
    }
}

static void every_activation_is_tested(void **state) {
    (void)state;
    for (int act = 0; act < THAW_N_ACTS; act++) {
        bool after_a_layer = false, alone = act == THAW_ACT_NONE;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            if ((int)cases[i].epilogue.act != act) continue;
            after_a_layer |= cases[i].kind == THAW_STEP_conv || cases[i].kind == THAW_STEP_dense;
            alone |= cases[i].kind == THAW_STEP_act;
        }
        if (!after_a_layer || !alone)
            fail_msg("no case has the activation \"%s\" %s", thaw_act_name((thaw_act)act),
                     alone ? "behind a layer" : "alone");
    }
}

/* What the library cannot do is a sentence at plan time, and nothing leaks. */
static void impossible_steps_are_refused_in_words(void **state) {
    (void)state;
    float one[8] = {1, 1, 1, 1, 1, 1, 1, 1}, w[576] = {0};
    const thaw_conv_shape fits = {1, 4, 4, 8, 4, 4, 8, 1, SQUARE(3, 1, 1)};
    thaw_conv_shape too_small = fits; /* 3x3 without pads makes 2x2, not 4x4. */
    too_small.window.pad_top = too_small.window.pad_bottom = 0;
    const struct {
        thaw_step_kind kind;
        thaw_conv_shape conv;
        thaw_epilogue epilogue;
    } rows[] = {
        {THAW_STEP_conv, too_small, ACT(NONE, 0, 0)},
        {THAW_STEP_conv, fits, ACT(CLIP, 2, 1)}, /* Nothing lies between 2 and 1. */
        {THAW_STEP_act, fits, ACT(CLIP, 2, 1)},
        {THAW_STEP_affine, fits, ACT(CLIP, 2, 1)},
        {THAW_STEP_pool, fits, ACT(NONE, 0, 0)}, /* A window of nothing. */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        thaw_arena arena = {0};
        thaw_plan_context plan = {.arena = &arena, .device = device};
        thaw_port x = {.N = 1, .H = 4, .W = 4, .C = 8}, y = x, *in[] = {&x};
        thaw_step import = {
            .kind = THAW_STEP_import, .name = "x", .out = &x, .scale = one, .shift = one};
        thaw_step step = {.kind = rows[i].kind,
                          .name = "node7",
                          .conv = rows[i].conv,
                          .epilogue = rows[i].epilogue,
                          .n_in = 1,
                          .in = in,
                          .out = &y,
                          .w = w,
                          .scale = one,
                          .shift = one};
        thaw_error err = {0};
        const thaw_trunk_slot *slot = &thaw_cpu_kernels.trunk[step.kind];
        assert_int_equal(thaw_cpu_kernels.trunk[THAW_STEP_import].prepare(&import, &plan, &err), 0);
        if (slot->prepare(&step, &plan, &err) == 0) fail_msg("row %zu was accepted", i);
        if (!strstr(err.text, "node7 (")) fail_msg("row %zu says \"%s\"", i, err.text);
        slot->release(&step);
        thaw_cpu_kernels.trunk[THAW_STEP_import].release(&import);
        thaw_arena_free(&arena);
    }
}

static int open_device(void **state) {
    (void)state;
    return thaw_cpu_kernels.open(0, 2, &device, &stream, NULL);
}

static int close_device(void **state) {
    (void)state;
    thaw_cpu_kernels.close(device, stream);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1) only = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_steps),
        cmocka_unit_test(bf16_steps),
        cmocka_unit_test(every_slot_is_there_and_tested),
        cmocka_unit_test(every_activation_is_tested),
        cmocka_unit_test(impossible_steps_are_refused_in_words),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
