#include "points.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

enum { USUAL = 64, DRAWS_A_POINT = 64, MOST = 1 << 20 };

static thaw_status fail_too_many(size_t wanted, size_t there, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_USAGE,
                     "sweep.trials = %zu, and the axes have %zu different points: ask for no more, "
                     "or give an axis more values",
                     wanted, there);
}

/* Points of the grid that lists make; 0: there is a range, or they are too many to be counted out. */
static size_t grid_size(const thaw_axes *axes) {
    size_t size = 1;
    for (size_t a = 0; a < axes->n; a++) {
        if (axes->axis[a].kind != THAW_AXIS_CHOICE) return 0;
        size *= axes->axis[a].n_choices;
        if (size > MOST) return 0;
    }
    return size;
}

/* Point number i of the grid, whose last axis runs fastest. */
static void take_grid_point(const thaw_axes *axes, size_t i, const char **values) {
    for (size_t a = axes->n; a-- > 0; i /= axes->axis[a].n_choices)
        values[a] = axes->axis[a].choices[i % axes->axis[a].n_choices];
}

static int compare_numbers(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* n points of the grid, in its order. */
static thaw_status draw_grid(const thaw_axes *axes, size_t size, size_t n, uint64_t seed,
                             thaw_arena *arena, const char **values, thaw_error *err) {
    int64_t *order = thaw_arena_array(arena, size, sizeof *order);
    if (!order) return thaw_fail_memory(err, "for the points of a sweep");
    thaw_rng rng = thaw_rng_open(seed, THAW_RNG_POINTS, 0);
    thaw_rng_permutation(&rng, (int64_t)size, order);
    qsort(order, n, sizeof *order, compare_numbers);
    for (size_t i = 0; i < n; i++)
        take_grid_point(axes, (size_t)order[i], values + i * axes->n);
    return THAW_OK;
}

/* The root of g^(d+1) = g + 1; the iteration contracts. */
static double root(size_t d) {
    double g = 2;
    for (int i = 0; i < 64; i++)
        g = pow(1 + g, 1 / (double)(d + 1));
    return g;
}

static bool is_new(const char *const *values, size_t n_axes, size_t i) {
    for (size_t j = 0; j < i; j++) {
        size_t same = 0;
        while (same < n_axes && strcmp(values[i * n_axes + same], values[j * n_axes + same]) == 0)
            same++;
        if (same == n_axes) return false;
    }
    return true;
}

/* n points of the sequence, without those that round to an earlier one. */
static thaw_status draw_sequence(const thaw_axes *axes, size_t n, uint64_t seed, thaw_arena *arena,
                                 const char **values, thaw_error *err) {
    double g = root(axes->n), shift[THAW_AXES_MAX];
    thaw_rng rng = thaw_rng_open(seed, THAW_RNG_POINTS, 0);
    for (size_t a = 0; a < axes->n; a++)
        shift[a] = (double)thaw_rng_uniform(&rng);
    size_t found = 0;
    for (size_t i = 0; found < n && i < n * DRAWS_A_POINT; i++) {
        for (size_t a = 0; a < axes->n; a++) {
            double u = shift[a] + (double)(i + 1) * pow(g, -(double)(a + 1));
            const char *text = thaw_axis_at(&axes->axis[a], u - floor(u), arena);
            if (!text) return thaw_fail_memory(err, "for the points of a sweep");
            values[found * axes->n + a] = text;
        }
        found += is_new(values, axes->n, found);
    }
    return found == n ? THAW_OK : fail_too_many(n, found, err);
}

thaw_status thaw_points_draw(const thaw_axes *axes, size_t n, uint64_t seed, thaw_arena *arena,
                             thaw_points *points, thaw_error *err) {
    size_t size = grid_size(axes);
    if (n == 0) n = size > 0 && size < USUAL ? size : USUAL;
    if (size > 0 && n > size) return fail_too_many(n, size, err);
    const char **values = thaw_arena_array(arena, n, axes->n * sizeof *values);
    if (!values) return thaw_fail_memory(err, "for the points of a sweep");
    *points = (thaw_points){n, values};
    if (size > 0) return draw_grid(axes, size, n, seed, arena, values, err);
    return draw_sequence(axes, n, seed, arena, values, err);
}
