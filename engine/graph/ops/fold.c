#include "graph/fold.h"

#include <math.h>
#include <string.h>

#include "rules.h"

/* ---- one element ---------------------------------------------------------------------------- */

static double add(double a, double b) {
    return a + b;
}
static double subtract(double a, double b) {
    return a - b;
}
static double multiply(double a, double b) {
    return a * b;
}
static double divide(double a, double b) {
    return a / b;
}
static double modulo(double a, double b) {
    return fmod(a, b);
}
static double larger(double a, double b) {
    return isnan(a) || a > b ? a : b;
}
static double smaller(double a, double b) {
    return isnan(a) || a < b ? a : b;
}
static double is_equal(double a, double b) {
    return a == b;
}
static double is_less(double a, double b) {
    return a < b;
}
static double is_less_or_equal(double a, double b) {
    return a <= b;
}
static double is_greater(double a, double b) {
    return a > b;
}
static double is_greater_or_equal(double a, double b) {
    return a >= b;
}
static double negative(double a) {
    return -a;
}
static double sign(double a) {
    return (a > 0) - (a < 0);
}
static double reciprocal(double a) {
    return 1 / a;
}
static double sigmoid(double a) {
    return 1 / (1 + exp(-a));
}
static double relu(double a) {
    return a < 0 ? 0 : a;
}
static double softplus(double a) {
    return log1p(exp(-fabs(a))) + (a > 0 ? a : 0);
}

static bool add_whole(int64_t a, int64_t b, int64_t *y) {
    int64_t na = thaw_batch_times(a), nb = thaw_batch_times(b);
    if (na || nb) {
        *y = thaw_batches(na + nb);
        return (na || a == 0) && (nb || b == 0) && na + nb < INT32_MAX;
    }
    return !__builtin_add_overflow(a, b, y);
}
static bool subtract_whole(int64_t a, int64_t b, int64_t *y) {
    int64_t na = thaw_batch_times(a), nb = thaw_batch_times(b);
    if (na || nb) {
        *y = na == nb ? 0 : thaw_batches(na - nb);
        return na >= nb && (nb || b == 0);
    }
    return !__builtin_sub_overflow(a, b, y);
}
static bool multiply_whole(int64_t a, int64_t b, int64_t *y) {
    int64_t na = thaw_batch_times(a), times = na ? b : a;
    if (na || thaw_batch_times(b)) {
        int64_t n = na ? na : thaw_batch_times(b);
        bool fits = times >= 0 && times < INT32_MAX / n;
        *y = fits && times ? thaw_batches(n * times) : 0;
        return fits;
    }
    return !__builtin_mul_overflow(a, b, y);
}
/* Towards zero, as ONNX Runtime has it. */
static bool divide_whole(int64_t a, int64_t b, int64_t *y) {
    int64_t na = thaw_batch_times(a), nb = thaw_batch_times(b), by = nb ? nb : b;
    if (na || nb) {
        *y = na && by > 0 ? (nb ? na / by : thaw_batches(na / by)) : 0;
        return na && by > 0 && na % by == 0;
    }
    if (b == 0 || (a == INT64_MIN && b == -1)) return false;
    *y = a / b;
    return true;
}
/* The sign of the divisor, as Python's; fmod's where the node says fmod = 1 is for floats. */
static bool modulo_whole(int64_t a, int64_t b, int64_t *y) {
    int64_t na = thaw_batch_times(a);
    if (na || thaw_batch_times(b) || b == 0 || b == -1) {
        *y = 0;
        return na ? b > 0 && na % b == 0 : b == -1;
    }
    *y = a % b;
    if (*y && (*y < 0) != (b < 0)) *y += b;
    return true;
}
/* By squaring. */
static bool power_whole(int64_t a, int64_t n, int64_t *y) {
    *y = a;
    if (thaw_batch_times(a) || n < 0) return n == 1;
    for (*y = 1; n > 0; n >>= 1) {
        if (n & 1 && __builtin_mul_overflow(*y, a, y)) return false;
        if (n > 1 && __builtin_mul_overflow(a, a, &a)) return false;
    }
    return true;
}
/* Nobody knows how large a batch is, but it is at least 1. */
static bool larger_whole(int64_t a, int64_t b, int64_t *y) {
    int64_t na = thaw_batch_times(a), nb = thaw_batch_times(b);
    *y = na || nb ? thaw_batches(na > nb ? na : nb) : a > b ? a : b;
    return na == 0 ? nb == 0 || a <= nb : nb > 0 || b <= na;
}
static bool smaller_whole(int64_t a, int64_t b, int64_t *y) {
    int64_t na = thaw_batch_times(a), nb = thaw_batch_times(b);
    *y = na && nb ? thaw_batches(na < nb ? na : nb) : na ? b : nb ? a : a < b ? a : b;
    return na == 0 ? nb == 0 || a <= nb : nb > 0 || b <= na;
}
/* A size that the file writes down is not the batch; below 1 nothing is. */
static bool equal_whole(int64_t a, int64_t b, int64_t *y) {
    int64_t na = thaw_batch_times(a), nb = thaw_batch_times(b);
    *y = a == b;
    return !na == !nb || (na ? b < na : a < nb);
}
static bool ordered(int64_t a, int64_t b) {
    return !thaw_batch_times(a) && !thaw_batch_times(b);
}
static bool less_whole(int64_t a, int64_t b, int64_t *y) {
    *y = a < b;
    return ordered(a, b);
}
static bool less_or_equal_whole(int64_t a, int64_t b, int64_t *y) {
    *y = a <= b;
    return ordered(a, b);
}
static bool greater_whole(int64_t a, int64_t b, int64_t *y) {
    *y = a > b;
    return ordered(a, b);
}
static bool greater_or_equal_whole(int64_t a, int64_t b, int64_t *y) {
    *y = a >= b;
    return ordered(a, b);
}
static bool and_whole(int64_t a, int64_t b, int64_t *y) {
    *y = a && b;
    return true;
}
static bool or_whole(int64_t a, int64_t b, int64_t *y) {
    *y = a || b;
    return true;
}
static bool xor_whole(int64_t a, int64_t b, int64_t *y) {
    *y = !a != !b;
    return true;
}
static bool not_whole(int64_t a, int64_t *y) {
    *y = !a;
    return true;
}
static bool negative_whole(int64_t a, int64_t *y) {
    return !thaw_batch_times(a) && !__builtin_sub_overflow(0, a, y);
}
static bool absolute_whole(int64_t a, int64_t *y) {
    *y = a;
    return thaw_batch_times(a) || a >= 0 || negative_whole(a, y);
}
static bool sign_whole(int64_t a, int64_t *y) {
    *y = thaw_batch_times(a) ? 1 : (a > 0) - (a < 0);
    return true;
}

/* ---- the table ------------------------------------------------------------------------------ */

#define ONE(f, w) .compute = thaw__fold_unary, .real1 = f, .whole1 = w
#define TWO(f, w) .compute = thaw__fold_binary, .real2 = f, .whole2 = w
#define MANY(f, w) .compute = thaw__fold_many, .real2 = f, .whole2 = w
#define TEST(f, w) TWO(f, w), .test = true
#define ROW(f) .compute = thaw__fold_##f

static const thaw_fold table[] = {
    {"Abs", ONE(fabs, absolute_whole)},
    {"Add", TWO(add, add_whole)},
    {"And", TEST(NULL, and_whole)},
    {"BatchNormalization", ROW(batch_norm)},
    {"Cast", ROW(cast)},
    {"CastLike", ROW(cast)},
    {"Ceil", ONE(ceil, NULL)},
    {"Clip", ROW(clip)},
    {"Concat", ROW(concat)},
    {"ConstantOfShape", ROW(constant_of_shape)},
    {"Cos", ONE(cos, NULL)},
    {"DequantizeLinear", ROW(dequantize)},
    {"Div", TWO(divide, divide_whole)},
    {"Dropout", ROW(same)},
    {"Equal", TEST(is_equal, equal_whole)},
    {"Erf", ONE(erf, NULL)},
    {"Exp", ONE(exp, NULL)},
    {"Expand", ROW(expand)},
    {"Flatten", ROW(flatten)},
    {"Floor", ONE(floor, NULL)},
    {"Gather", ROW(gather)},
    {"Greater", TEST(is_greater, greater_whole)},
    {"GreaterOrEqual", TEST(is_greater_or_equal, greater_or_equal_whole)},
    {"Identity", ROW(same)},
    {"Less", TEST(is_less, less_whole)},
    {"LessOrEqual", TEST(is_less_or_equal, less_or_equal_whole)},
    {"Log", ONE(log, NULL)},
    {"MatMul", ROW(matmul)},
    {"Max", MANY(larger, larger_whole)},
    {"Mean", ROW(mean)},
    {"Min", MANY(smaller, smaller_whole)},
    {"Mod", TWO(modulo, modulo_whole)},
    {"Mul", TWO(multiply, multiply_whole)},
    {"Neg", ONE(negative, negative_whole)},
    {"Not", ONE(NULL, not_whole), .test = true},
    {"Or", TEST(NULL, or_whole)},
    {"Pad", ROW(pad)},
    {"Pow", TWO(pow, power_whole)},
    {"Range", ROW(range)},
    {"Reciprocal", ONE(reciprocal, NULL)},
    {"ReduceL1", ROW(reduce_l1)},
    {"ReduceL2", ROW(reduce_l2)},
    {"ReduceMax", ROW(reduce_max)},
    {"ReduceMean", ROW(reduce_mean)},
    {"ReduceMin", ROW(reduce_min)},
    {"ReduceProd", ROW(reduce_prod)},
    {"ReduceSum", ROW(reduce_sum)},
    {"ReduceSumSquare", ROW(reduce_sum_square)},
    {"Relu", ONE(relu, NULL)},
    {"Round", ONE(rint, NULL)},
    {"Sigmoid", ONE(sigmoid, NULL)},
    {"Sign", ONE(sign, sign_whole)},
    {"Sin", ONE(sin, NULL)},
    {"Size", ROW(size)},
    {"Slice", ROW(slice)},
    {"Softplus", ONE(softplus, NULL)},
    {"Split", ROW(split)},
    {"Sqrt", ONE(sqrt, NULL)},
    {"Sub", TWO(subtract, subtract_whole)},
    {"Sum", MANY(add, add_whole)},
    {"Tanh", ONE(tanh, NULL)},
    {"Tile", ROW(tile)},
    {"Transpose", ROW(transpose)},
    {"Where", ROW(where)},
    {"Xor", TEST(NULL, xor_whole)},
};

const thaw_fold *thaw__fold_find(const char *type) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].type, type) == 0) return &table[i];
    return NULL;
}

thaw_status thaw__fold_node(thaw_graph *graph, thaw_node *node, bool *done, thaw_error *err) {
    const thaw_fold *row = thaw__fold_find(node->type);
    THAW_TRY(thaw__fold_places(graph, node, done, err));
    if (*done) return THAW_OK;
    if (!row || node->n_in < 1 || !thaw_node_out(graph, node, 0)) return THAW_OK;
    for (int i = 0; i < node->n_in; i++) {
        const thaw_value *in = thaw_node_in(graph, node, i);
        if (in && (!in->data || in->rank < 0)) return THAW_OK;
    }
    if (!thaw_node_in(graph, node, 0)) return THAW_OK;
    *done = true;
    return row->compute(graph, node, err);
}

/* ---- for the rows --------------------------------------------------------------------------- */

thaw_status thaw__fold_make(thaw_graph *graph, thaw_node *node, int i, thaw_dtype dtype, int rank,
                            const int64_t *dims, void **data, thaw_error *err) {
    thaw_value *y = thaw_node_out(graph, node, i);
    int64_t n = 1, room = (int64_t)(graph->fold_room / thaw_dtype_bytes(dtype));
    if (!y || rank > THAW_MAX_RANK) return thaw__op_misfit(graph, node, err);
    for (int k = 0; k < rank; k++) {
        if (thaw_batch_times(dims[k]))
            return thaw__op_refuse(node, err, "makes a constant of the size of the batch");
        if (dims[k] < 0) return thaw__op_misfit(graph, node, err);
        if (__builtin_mul_overflow(n, dims[k], &n) || n > room)
            return thaw__op_refuse(node, err,
                                   "makes more of the file's constants than 16 times them");
    }
    graph->fold_room -= (size_t)n * thaw_dtype_bytes(dtype);
    /* One element at least, so that an empty constant is one, too. */
    *data = thaw_arena_array(graph->arena, (size_t)n + 1, thaw_dtype_bytes(dtype));
    if (!*data) return thaw_fail_memory(err, "for %s (%s)", node->name, node->type);
    thaw__op_set_shape(y, dtype, rank, dims);
    y->data = *data;
    return THAW_OK;
}

int thaw__fold_axis(int64_t axis, int rank) {
    if (axis < 0) axis += rank;
    return axis >= 0 && axis < rank ? (int)axis : -1;
}

const int64_t *thaw__fold_ints(const thaw_graph *graph, const thaw_node *node, const char *name,
                               int input, int64_t *n) {
    const thaw_attr *attr = thaw_node_attr(node, name);
    const thaw_value *in = thaw_node_in(graph, node, input);
    *n = 0;
    if (attr) {
        *n = attr->ints ? (int64_t)attr->n : 0;
        return attr->ints;
    }
    if (!thaw__op_is_ints(in) || in->rank > 1) return NULL;
    *n = thaw_value_elements(in);
    return in->data;
}

int thaw__fold_broadcast(int rank_a, const int64_t *a, int rank_b, const int64_t *b,
                         int64_t dims[THAW_MAX_RANK]) {
    int rank = rank_a > rank_b ? rank_a : rank_b;
    for (int i = 0; i < rank; i++) {
        int ia = i - (rank - rank_a), ib = i - (rank - rank_b);
        int64_t da = ia >= 0 ? a[ia] : 1, db = ib >= 0 ? b[ib] : 1;
        if (da != db && da != 1 && db != 1) return -1;
        dims[i] = da == 1 ? db : da;
    }
    return rank;
}

void thaw__fold_strides(const thaw_value *v, int rank, int64_t strides[THAW_MAX_RANK]) {
    int64_t step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        int k = i - (rank - v->rank);
        int64_t d = k >= 0 ? v->dims[k] : 1;
        strides[i] = d == 1 ? 0 : step;
        step *= d;
    }
}

void thaw__fold_next(thaw_fold_walk *w) {
    for (int i = w->rank - 1; i >= 0; i--) {
        w->at[i]++;
        for (int k = 0; k < 3; k++)
            w->offset[k] += w->strides[k][i];
        if (w->at[i] < w->dims[i]) return;
        for (int k = 0; k < 3; k++)
            w->offset[k] -= w->strides[k][i] * w->dims[i];
        w->at[i] = 0;
    }
}
