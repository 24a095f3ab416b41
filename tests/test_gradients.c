/* The CPU's gradients against central differences of the references in double.
 *
 * numbers -> load [-> a 1x1 convolution, which leaves a blocked layout] -> the operation -> flatten ->
 * a dense layer with one output, of which a mixture over the images is the loss. Its gradient comes back through the slots to the
 * operation's inputs and weights. Differences are taken of some elements of each, with steps of 2^-18,
 * in which the operation's numbers are exact: an error above 1e-9 of the largest gradient is one of the
 * kernel, but for the few roundings of a float's sum.
 *
 * All memory is exactly as large as asked for, between guard words, and filled with NaN before each of
 * two runs, whose gradients must be equal bits.
 *
 *     test_gradients "conv 3x3 s2 3->17"     runs one case
 */
#include "step_testing.h"

/* Sanitized it is slow, and looks for other things. */
#ifdef __SANITIZE_ADDRESS__
enum { MOST_TRIED = 6 };
#else
enum { MOST_TRIED = 120 };
#endif
static const double STEP = 0x1p-18, TOLERANCE = 2e-5;

/* What the operation's gradient works on. */
typedef struct backward {
    program *p;
    thaw_step *op, *mask, *flatten, *loss;
    thaw_step mask_step;
    thaw_port gradients[MAX_STEPS], kept[MAX_STEPS];
    thaw_port *dx[MAX_STEPS][MAX_INPUTS];
    guarded memory[MAX_STEPS], kept_memory[MAX_STEPS], weights[6], exported;
    int n_weights, n_gradients;
    thaw_step export[MAX_INPUTS];
    thaw_port *export_in[MAX_INPUTS];
    float *seed; /* The loss is the sum of image[n] seed[i] y[n,i]. */
    float *image;
} backward;

static const thaw_training_slots *slots(void) {
    return thaw_cpu_kernels.training;
}

/* ---- the reference -------------------------------------------------------------------------- */

/* The operation's output from its inputs' values, as add_operation has it. */
static void reference(const program *p, const thaw_step *op, ref_tensor *in[MAX_INPUTS],
                      ref_tensor *y) {
    memset(y->v, 0, (size_t)ref_size(y) * sizeof *y->v);
    switch (op->kind) {
        case THAW_STEP_conv:
            ref_conv(&op->conv, in[0], op->w, op->b, y);
            break;
        case THAW_STEP_dense:
            ref_dense(in[0], op->w, op->b, y);
            break;
        case THAW_STEP_pool:
            ref_pool(&op->pool, in[0], y);
            break;
        case THAW_STEP_global_mean:
            ref_global_mean(in[0], y);
            break;
        case THAW_STEP_act:
            memcpy(y->v, in[0]->v, (size_t)ref_size(y) * sizeof *y->v);
            break;
        case THAW_STEP_add:
            ref_add(in[0], in[1], y);
            break;
        case THAW_STEP_mul:
            ref_mul(in[0], in[1], y);
            break;
        case THAW_STEP_affine:
            ref_affine(in[0], op->scale, op->shift, y);
            break;
        case THAW_STEP_batch_norm:
            ref_batch_norm(in[0], op->scale, op->shift, NULL, NULL, op->epsilon, y);
            break;
        case THAW_STEP_layer_norm:
            ref_layer_norm(in[0], op->scale, op->shift, op->epsilon, y);
            break;
        case THAW_STEP_concat:
            ref_concat(in[0], 0, y);
            ref_concat(in[1], in[0]->C, y);
            break;
        case THAW_STEP_slice:
            ref_slice(in[0], op->first, y);
            break;
        case THAW_STEP_shuffle:
            ref_shuffle(in[0], op->groups, y);
            break;
        case THAW_STEP_pad:
            ref_pad(in[0], &op->conv.window, y);
            break;
        case THAW_STEP_reshape:
            ref_reshape(in[0], y);
            break;
        case THAW_STEP_group_norm:
            ref_group_norm(in[0], op->groups, op->scale, op->shift, op->epsilon, y);
            break;
        case THAW_STEP_softmax:
            ref_softmax(in[0], op->groups, y);
            break;
        case THAW_STEP_matmul:
            ref_matmul(in[0], in[1], y);
            break;
        case THAW_STEP_resample:
            ref_resample(in[0], &op->rows, &op->columns, y);
            break;
        case THAW_STEP_transpose:
            ref_transpose(in[0], &op->axes, y);
            break;
        default:
            fail_msg("no reference of %s", thaw_step_kind_name(op->kind));
    }
    ref_epilogue(&p->row->epilogue, NULL, y);
}

/* flatten's order, which is NCHW's. */
static double loss_of(const backward *b, ref_tensor *in[MAX_INPUTS], ref_tensor *y) {
    reference(b->p, b->op, in, y);
    double sum = 0;
    REF_EACH(y)
    sum += (double)b->image[n] * b->seed[(k * y->H + p) * y->W + q] * *ref_at(y, n, p, q, k);
    return sum;
}

/* ---- the program ---------------------------------------------------------------------------- */

static thaw_port *new_gradient(backward *b, const thaw_port *like) {
    int i = b->n_gradients++;
    b->gradients[i] = *like;
    b->memory[i] = guarded_new(like->bytes);
    b->gradients[i].data = guarded_data(&b->memory[i]);
    return &b->gradients[i];
}

static float *new_weights(backward *b, const float *like, int64_t n) {
    if (!like) return NULL;
    b->weights[b->n_weights] = guarded_new((size_t)n * sizeof(float));
    return guarded_data(&b->weights[b->n_weights++]);
}

static bool prepare_forward(backward *b, thaw_error *err) {
    program *p = b->p;
    size_t workspace = 0;
    for (int i = 0; i < p->n_steps; i++) {
        thaw_step *step = &p->steps[i];
        step->kept = &b->kept[i];
        if (thaw_cpu_kernels.trunk[step->kind].prepare(step, &p->plan, err) != 0) return false;
        p->memory[i] = guarded_new(step->out->bytes);
        step->out->data = guarded_data(&p->memory[i]);
        b->kept_memory[i] = guarded_new(b->kept[i].bytes);
        b->kept[i].data = guarded_data(&b->kept_memory[i]);
        if (step->workspace_bytes > workspace) workspace = step->workspace_bytes;
    }
    p->workspace = guarded_new(workspace);
    return true;
}

static bool prepare_gradient(backward *b, thaw_step *step, thaw_port *dy, int n_dx,
                             thaw_error *err) {
    const thaw_backward_slot *slot = &slots()->backward[step->kind];
    int index = (int)(step - b->p->steps);
    if (step == &b->mask_step) index = MAX_STEPS - 1;
    step->dy = dy;
    step->dx = b->dx[index];
    for (int i = 0; i < n_dx; i++) {
        bool passes = step->kind == THAW_STEP_add && step->in[i]->H == step->out->H &&
                      step->in[i]->W == step->out->W && step->in[i]->C == step->out->C;
        /* Where it lies otherwise it is written; else it is dy. */
        if (!passes || !slots()->alike(step->in[i], step->out))
            step->dx[i] = new_gradient(b, step->in[i]);
    }
    return slot->prepare(step, &b->p->plan, err) == 0;
}

/* The images' factors; then flatten, the activation, the operation. */
static bool prepare_backward(backward *b, thaw_error *err) {
    thaw_step *op = b->op, *loss = b->loss;
    thaw_port *one = new_gradient(b, loss->out);
    if (!prepare_gradient(b, loss, one, 1, err)) return false;
    if (!prepare_gradient(b, b->flatten, loss->dx[0], 1, err)) return false;
    thaw_port *dy = b->flatten->dx[0];
    if (op->kind != THAW_STEP_act && op->epilogue.act != THAW_ACT_NONE) {
        b->mask = &b->mask_step;
        *b->mask = (thaw_step){
            .kind = THAW_STEP_act, .name = op->name, .epilogue = op->epilogue, .out = op->out};
        b->mask->dx = b->dx[MAX_STEPS - 1];
        b->mask->dx[0] = dy; /* In place. */
        b->mask->dy = dy;
        if (slots()->backward[THAW_STEP_act].prepare(b->mask, &b->p->plan, err) != 0) return false;
    }
    const thaw_conv_shape *c = &op->conv;
    int64_t each = c->G ? c->C / c->G * c->window.R * c->window.S : 0;
    bool layer = op->kind == THAW_STEP_conv || op->kind == THAW_STEP_dense;
    op->dw = layer ? new_weights(b, op->w, c->K * each) : NULL;
    op->db = layer ? new_weights(b, op->b, c->K) : NULL;
    op->dscale = new_weights(b, op->scale, op->out->C);
    op->dshift = new_weights(b, op->shift, op->out->C);
    if (op->kind == THAW_STEP_batch_norm) {
        op->batch_mean = new_weights(b, op->mean, op->out->C);
        op->batch_var = new_weights(b, op->var, op->out->C);
    }
    if (!prepare_gradient(b, op, dy, op->n_in, err)) return false;
    size_t workspace = b->p->workspace.n;
    thaw_step *all[] = {op, b->flatten, loss, b->mask};
    for (int i = 0; i < 4; i++)
        if (all[i] && all[i]->workspace_bytes > workspace) workspace = all[i]->workspace_bytes;
    for (int i = 0; i < op->n_in; i++) { /* Plain, to be compared. */
        b->export_in[i] = op->dx[i] ? op->dx[i] : op->dy;
        b->export[i] = (thaw_step){.kind = THAW_STEP_export,
                                   .name = "gradient",
                                   .n_in = 1,
                                   .in = &b->export_in[i],
                                   .out = op->in[i]};
        if (thaw_cpu_kernels.trunk[THAW_STEP_export].prepare(&b->export[i], &b -> p -> plan, err) !=
            0)
            return false;
        if (b->export[i].workspace_bytes > workspace) workspace = b->export[i].workspace_bytes;
    }
    free(b->p->workspace.base);
    b->p->workspace = guarded_new(workspace);
    return true;
}

static bool intact(const backward *b, thaw_error *err) {
    bool good = guarded_intact(&b->p->workspace);
    for (int i = 0; i < b->p->n_steps; i++)
        good &= guarded_intact(&b->p->memory[i]) && guarded_intact(&b->kept_memory[i]);
    for (int i = 0; i < b->n_gradients; i++)
        good &= guarded_intact(&b->memory[i]);
    for (int i = 0; i < b->n_weights; i++)
        good &= guarded_intact(&b->weights[i]);
    if (!good) thaw_fail(err, THAW_ERR_MISMATCH, "wrote outside its memory");
    return good;
}

static bool run(backward *b, const float *const loaded[MAX_STEPS], thaw_error *err) {
    program *p = b->p;
    for (int i = 0; i < p->n_steps; i++) {
        guarded_poison(&p->memory[i]);
        guarded_poison(&b->kept_memory[i]);
    }
    for (int i = 0; i < b->n_gradients; i++)
        guarded_poison(&b->memory[i]);
    for (int i = 0; i < b->n_weights; i++)
        guarded_poison(&b->weights[i]);
    guarded_poison(&p->workspace);
    thaw_run_context context = {
        .stream = stream, .workspace = guarded_data(&p->workspace), .training = true, .err = err};
    for (int i = 0; i < p->n_steps; i++)
        if (slots()->pack(&p->steps[i], stream) != 0) return false;
    for (int i = 0; i < p->n_steps; i++) {
        if (p->steps[i].kind == THAW_STEP_load)
            memcpy(p->steps[i].out->data, loaded[i], p->steps[i].out->bytes);
        if (thaw_cpu_kernels.trunk[p->steps[i].kind].run(&p->steps[i], &context) != 0) return false;
    }
    for (size_t i = 0; i < b->loss->out->bytes / sizeof(float); i++)
        ((float *)b->loss->dy->data)[i] = b->image[i];
    thaw_step *order[] = {b->loss, b->flatten, b->mask, b->op};
    for (int i = 0; i < 4; i++)
        if (order[i] && slots()->backward[order[i]->kind].run(order[i], &context) != 0)
            return false;
    return intact(b, err);
}

/* ---- comparing ------------------------------------------------------------------------------ */

/* The largest difference to central differences over the largest gradient. values: what is moved, float
 * or double. */
static double compare(const backward *b, const float *got, int64_t n, float *moved_float,
                      double *moved, ref_tensor *in[MAX_INPUTS], ref_tensor *y, uint64_t *random) {
    double worst = 0, largest = 1e-3;
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(got[i]) < INFINITY))
            return INFINITY;
        else if (fabs(got[i]) > largest)
            largest = fabs(got[i]);
    for (int64_t t = 0; t < n && t < MOST_TRIED; t++) {
        int64_t i = n <= MOST_TRIED ? t : (int64_t)(test_random(random) % (uint64_t)n);
        double loss[2];
        for (int side = 0; side < 2; side++) {
            double step = side ? STEP : -STEP, before = moved ? moved[i] : moved_float[i];
            if (moved) moved[i] = before + step;
            if (!moved) moved_float[i] = (float)(before + step);
            loss[side] = loss_of(b, in, y);
            if (moved) moved[i] = before;
            if (!moved) moved_float[i] = (float)before;
        }
        /* At a corner of an activation the two sides differ, and either will do. */
        double here = loss_of(b, in, y);
        double left = (here - loss[0]) / STEP, right = (loss[1] - here) / STEP;
        double least = left < right ? left : right, most = left < right ? right : left;
        double off = got[i] < least ? least - got[i] : got[i] > most ? got[i] - most : 0;
        if (off / largest > worst) worst = off / largest;
    }
    return worst;
}

static bool say(const backward *b, const char *what, double error, bool blocked) {
    if (error <= TOLERANCE) return true;
    print_error(
        "%s is wrong by %.2g of the largest, more than %.2g, %s; reproduce with: "
        "test_gradients \"%s\"\n",
        what, error, TOLERANCE, blocked ? "behind a convolution" : "behind the load",
        b->p->row->name);
    return false;
}

/* Inputs' gradients as plain N,H,W,C. */
static float *plain_gradient(backward *b, int i) {
    const thaw_port *x = b->op->in[i];
    float *to = thaw_arena_array(&b->p->arena, (size_t)(x->N * x->H * x->W * x->C), sizeof *to);
    thaw_run_context context = {
        .stream = stream, .workspace = guarded_data(&b->p->workspace), .features = to};
    assert_int_equal(thaw_cpu_kernels.trunk[THAW_STEP_export].run(&b->export[i], &context), 0);
    return to;
}

static bool compare_all(backward *b, bool blocked) {
    program *p = b->p;
    thaw_step *op = b->op;
    uint64_t random = 77;
    ref_tensor *in[MAX_INPUTS] = {NULL};
    for (int i = 0; i < op->n_in; i++)
        in[i] = &p->values[op->in[i] - p->ports];
    ref_tensor *y = &p->values[op->out - p->ports];
    bool good = true;
    for (int i = 0; i < op->n_in; i++) {
        char what[16];
        snprintf(what, sizeof what, "dx%d", i);
        good &=
            say(b, what,
                compare(b, plain_gradient(b, i), ref_size(in[i]), NULL, in[i]->v, in, y, &random),
                blocked);
    }
    const struct {
        const char *name;
        const float *got, *values;
        int64_t n;
    } weights[] = {
        {"dw", op->dw, op->w,
         op->dw ? op->conv.K * op->conv.C / op->conv.G * op->conv.window.R * op->conv.window.S : 0},
        {"db", op->db, op->b, op->conv.K},
        {"dscale", op->dscale, op->scale, op->out->C},
        {"dshift", op->dshift, op->shift, op->out->C},
    };
    for (int i = 0; i < 4; i++)
        if (weights[i].got)
            good &= say(b, weights[i].name,
                        compare(b, weights[i].got, weights[i].n, (float *)weights[i].values, NULL,
                                in, y, &random),
                        blocked);
    return good;
}

/* What all gradients of the operation are, to be compared with a second run. */
static size_t all_bits(backward *b, uint8_t *to) {
    size_t n = 0;
    for (int i = 0; i < b->n_gradients; i++) {
        if (to) memcpy(to + n, b->gradients[i].data, b->memory[i].n);
        n += b->memory[i].n;
    }
    for (int i = 0; i < b->n_weights; i++) {
        if (to) memcpy(to + n, guarded_data(&b->weights[i]), b->weights[i].n);
        n += b->weights[i].n;
    }
    return n;
}

/* Loads stand where the forward test has imports; their values are the references', as floats. */
static void load_numbers(program *p, float *loaded[MAX_STEPS]) {
    for (int i = 0; i < p->n_steps; i++) {
        if (p->steps[i].kind != THAW_STEP_import) continue;
        p->steps[i].kind = THAW_STEP_load;
        int64_t n = ref_size(&p->values[i]);
        loaded[i] = numbers(p, n, p->row->positive ? 0.5f : -2, 2);
        for (int64_t k = 0; k < n; k++)
            p->values[i].v[k] = loaded[i][k];
    }
    /* What the convolutions behind them make of these. */
    for (int i = 1; i < p->n_steps; i++)
        if (p->steps[i].kind == THAW_STEP_conv && p->steps[i].in[0] == &p->ports[i - 1] &&
            p->steps[i - 1].kind == THAW_STEP_load && p->steps[i].conv.window.R == 1)
            ref_conv(&p->steps[i].conv, &p->values[i - 1], p->steps[i].w, p->steps[i].b,
                     &p->values[i]);
}

static bool check(const test_case *row, bool blocked) {
    program *p = calloc(1, sizeof *p);
    backward *b = calloc(1, sizeof *b);
    assert_true(p && b);
    float *loaded[MAX_STEPS] = {NULL};
    b->p = p;
    p->row = row;
    p->random = 12345;
    p->plan = (thaw_plan_context){.arena = &p->arena, .device = device, .training = true};
    p->compute = p->stored = THAW_F32;
    p->pixels = thaw_arena_alloc(&p->arena, (size_t)(row->N * (row->H + 8) * (row->W + 8) * 256));
    int x = add_source(p, row->H, row->W, row->C, blocked);
    add_operation(p, x, blocked);
    b->op = &p->steps[p->n_steps - 1];
    load_numbers(p, loaded);
    const thaw_port *y = b->op->out;
    int64_t n = y->H * y->W * y->C;
    b->seed = numbers(p, n, -1, 1);
    b->image = numbers(p, y->N, -2, 2);
    b->flatten = add_step(p, THAW_STEP_reshape, 1, 1, n);
    read_from(p, b->flatten, p->n_steps - 2);
    b->loss = add_step(p, THAW_STEP_dense, 1, 1, 1);
    read_from(p, b->loss, p->n_steps - 2);
    b->loss->conv = (thaw_conv_shape){row->N, 1, 1, n, 1, 1, 1, 1, SQUARE(1, 1, 0)};
    b->loss->w = b->seed;
    thaw_error err = {0};
    bool good = prepare_forward(b, &err) && prepare_backward(b, &err) &&
                run(b, (const float *const *)loaded, &err);
    if (good) {
        good = compare_all(b, blocked);
        size_t size = all_bits(b, NULL);
        uint8_t *first = malloc(2 * size + 1);
        all_bits(b, first);
        good &= run(b, (const float *const *)loaded, &err);
        all_bits(b, first + size);
        if (memcmp(first, first + size, size) != 0) {
            print_error("two runs of \"%s\" differ\n", row->name);
            good = false;
        }
        free(first);
    } else {
        print_error("\"%s\" failed: %s\n", row->name, err.text);
    }
    for (int i = 0; i < p->n_steps; i++) {
        thaw_cpu_kernels.trunk[p->steps[i].kind].release(&p->steps[i]);
        free(p->values[i].v);
        free(p->memory[i].base);
        free(b->kept_memory[i].base);
    }
    for (int i = 0; i < b->op->n_in; i++)
        thaw_cpu_kernels.trunk[THAW_STEP_export].release(&b->export[i]);
    for (int i = 0; i < b->n_gradients; i++)
        free(b->memory[i].base);
    for (int i = 0; i < b->n_weights; i++)
        free(b->weights[i].base);
    free(p->workspace.base);
    thaw_arena_free(&p->arena);
    free(p);
    free(b);
    return good;
}

static const char *only; /* The case named on the command line. */

/* Above a cut there is no residual in an epilogue, nor an activation that needs its input. */
static bool is_trained(const test_case *row) {
    bool alone = row->kind == THAW_STEP_act;
    if (row->kind == THAW_STEP_import || row->kind == THAW_STEP_constant || row->epilogue.residual)
        return false;
    return alone || !thaw_act_needs_input(&row->epilogue);
}

typedef struct work {
    int failures, ran;
} work;

/* With one thread, as lanes are. */
static void check_every_case(void *context, int i) {
    work *w = context;
    (void)i;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        if ((only && strcmp(only, cases[k].name) != 0) || !is_trained(&cases[k])) continue;
        for (int blocked = 0; blocked < 2; blocked++)
            w->failures += !check(&cases[k], blocked);
        w->ran++;
    }
}

static void gradients_are_central_differences(void **state) {
    (void)state;
    work w = {0};
    slots()->side_by_side(1, check_every_case, &w);
    assert_int_not_equal(w.ran, 0);
    assert_int_equal(w.failures, 0);
}

/* Every kind of step has a gradient and a case, but for the two ends of a trunk and what reads nothing. */
static void every_gradient_is_there_and_tested(void **state) {
    (void)state;
    for (int kind = 0; kind < THAW_N_STEP_KINDS; kind++) {
        if (kind == THAW_STEP_import || kind == THAW_STEP_export || kind == THAW_STEP_load ||
            kind == THAW_STEP_constant)
            continue;
        assert_non_null(slots()->backward[kind].prepare);
        bool tested = false;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            tested |= (int)cases[i].kind == kind && is_trained(&cases[i]);
        assert_true(tested);
    }
}

int main(int argc, char **argv) {
    only = argc > 1 ? argv[1] : NULL;
    thaw_error err = {0};
    if (thaw_cpu_kernels.open(0, 0, &device, &stream, &err) != 0) {
        print_error("%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_central_differences),
        cmocka_unit_test(every_gradient_is_there_and_tested),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    thaw_cpu_kernels.close(device, stream);
    return failures;
}
