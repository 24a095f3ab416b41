#include "lbfgs.h"

#include <math.h>
#include <string.h>

enum { HISTORY = 10 };

/* Of Wolfe's conditions: how much of the expected descent is wanted, and how much of the slope may be
 * left. */
static const double enough_descent = 1e-4, enough_slope = 0.9;

/* Differences of the function below this part of it may be rounding. */
static const double hidden = 1e-9;

typedef struct search {
    const thaw_lbfgs *problem;
    thaw_lbfgs_result *result;
    double *x, *g;                     /* Where the search is, and the gradient there. */
    double *next_x, *next_g;           /* Where it looks. */
    double *direction;                 /* Downhill. */
    double *dx[HISTORY], *dg[HISTORY]; /* Of the last steps, a ring. */
    double rho[HISTORY];               /* 1 / (dx dg) */
    int64_t n_kept, next_kept;
} search;

static double dot(int64_t n, const double *a, const double *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest(int64_t n, const double *a) {
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fabs(a[i]) > most || isnan(a[i]) ? fabs(a[i]) : most;
    return most;
}

static void add(int64_t n, double factor, const double *a, double *to) {
    for (int64_t i = 0; i < n; i++)
        to[i] += factor * a[i];
}

/* ---- direction ------------------------------------------------------------------------------ */

/* direction = -H g by the two loops over the steps that are remembered. */
static void find_direction(search *s) {
    int64_t n = s->problem->n;
    double alpha[HISTORY], *q = s->direction;
    for (int64_t i = 0; i < n; i++)
        q[i] = -s->g[i];
    for (int64_t k = 1; k <= s->n_kept; k++) {
        int64_t i = (s->next_kept - k + HISTORY) % HISTORY;
        alpha[i] = s->rho[i] * dot(n, s->dx[i], q);
        add(n, -alpha[i], s->dg[i], q);
    }
    /* The last step's curvature; without one, a step as long as the gradient is none too long for
     * what is scaled. */
    int64_t last = (s->next_kept - 1 + HISTORY) % HISTORY;
    double scale = s->n_kept ? 1 / (s->rho[last] * dot(n, s->dg[last], s->dg[last])) : 1;
    for (int64_t i = 0; i < n; i++)
        q[i] *= scale;
    for (int64_t k = s->n_kept; k >= 1; k--) {
        int64_t i = (s->next_kept - k + HISTORY) % HISTORY;
        add(n, alpha[i] - s->rho[i] * dot(n, s->dg[i], q), s->dx[i], q);
    }
}

/* Remembers the step from x to next_x, unless it shows no curvature. */
static void remember(search *s) {
    int64_t n = s->problem->n, k = s->next_kept;
    for (int64_t i = 0; i < n; i++) {
        s->dx[k][i] = s->next_x[i] - s->x[i];
        s->dg[k][i] = s->next_g[i] - s->g[i];
    }
    double curvature = dot(n, s->dx[k], s->dg[k]);
    if (!(curvature > 1e-16 * dot(n, s->dg[k], s->dg[k]))) return;
    s->rho[k] = 1 / curvature;
    s->next_kept = (k + 1) % HISTORY;
    if (s->n_kept < HISTORY) s->n_kept++;
}

/* ---- line search ---------------------------------------------------------------------------- */

/* What there is at x + a * direction. */
typedef struct point {
    double a, f, slope;
} point;

static thaw_status look(search *s, double a, point *p, thaw_error *err) {
    int64_t n = s->problem->n;
    for (int64_t i = 0; i < n; i++)
        s->next_x[i] = s->x[i] + a * s->direction[i];
    s->result->evaluations++;
    THAW_TRY(s->problem->evaluate(s->problem->ctx, s->next_x, &p->f, s->next_g, err));
    p->a = a;
    p->slope = dot(n, s->next_g, s->direction);
    return THAW_OK;
}

/* Where between two points a parabola has its minimum: through both values and the slope at low. Not
 * too near to either. */
static double between(const point *low, const point *high) {
    static const double least = 0.1, most = 0.9;
    double d = high->a - low->a;
    double part = -low->slope * d / (2 * (high->f - low->f - low->slope * d));
    if (!isfinite(part)) part = 0.5;
    return low->a + d * fmin(fmax(part, least), most);
}

/* Whether the point lies low enough: Wolfe's first condition. Where rounding hides what the function
 * falls by, the slope says the same of a parabola (Hager and Zhang 2005). */
static bool is_low(const point *start, const point *p) {
    static const double least_fall = 0.1;
    if (p->f <= start->f + enough_descent * p->a * start->slope) return true;
    return p->f <= start->f + hidden * fabs(start->f) &&
           p->slope <= (2 * least_fall - 1) * start->slope;
}

/* Looks for a step that goes down enough and leaves little slope: next_x, next_g and *end hold it.
 * *found false: there is none that can be told from rounding. */
static thaw_status search_line(search *s, const point *start, double a, point *end, bool *found,
                               thaw_error *err) {
    enum { MOST_LOOKS = 40 };
    point low = *start, high = {0};
    bool enclosed = false;
    *found = false;
    for (int k = 0; k < MOST_LOOKS; k++) {
        point p;
        THAW_TRY(look(s, a, &p, err));
        if (!is_low(start, &p) || (low.a > 0 && p.f > low.f + hidden * fabs(low.f))) {
            high = p;
            enclosed = true;
        } else if (fabs(p.slope) <= -enough_slope * start->slope) {
            *end = p;
            *found = true;
            return THAW_OK;
        } else {
            if (p.slope * (enclosed ? high.a - low.a : 1) >= 0) {
                high = low;
                enclosed = true;
            }
            low = p;
        }
        a = enclosed ? between(&low, &high) : 2 * a;
    }
    return THAW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static thaw_status allocate(search *s, thaw_arena *arena, thaw_error *err) {
    size_t n = (size_t)s->problem->n;
    double **arrays[] = {&s->g, &s->next_x, &s->next_g, &s->direction};
    bool good = true;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        good &= (*arrays[i] = thaw_arena_array(arena, n, sizeof(double))) != NULL;
    for (int i = 0; i < HISTORY; i++) {
        good &= (s->dx[i] = thaw_arena_array(arena, n, sizeof(double))) != NULL;
        good &= (s->dg[i] = thaw_arena_array(arena, n, sizeof(double))) != NULL;
    }
    return good ? THAW_OK : thaw_fail_memory(err, "for L-BFGS on %zu numbers", n);
}

/* One step. *moved false: there was none. */
static thaw_status step(search *s, bool *moved, thaw_error *err) {
    int64_t n = s->problem->n;
    thaw_lbfgs_result *r = s->result;
    find_direction(s);
    point start = {0, r->f, dot(n, s->g, s->direction)}, end;
    *moved = false;
    if (!(start.slope < 0)) return THAW_OK;
    double first = s->n_kept ? 1 : 1 / sqrt(dot(n, s->direction, s->direction));
    THAW_TRY(search_line(s, &start, first, &end, moved, err));
    if (!*moved) return THAW_OK;
    remember(s);
    memcpy(s->x, s->next_x, (size_t)n * sizeof *s->x);
    memcpy(s->g, s->next_g, (size_t)n * sizeof *s->g);
    r->f = end.f;
    r->gradient = largest(n, s->g);
    r->iterations++;
    return THAW_OK;
}

thaw_status thaw_lbfgs_minimise(const thaw_lbfgs *problem, double *x, thaw_arena *arena,
                                thaw_lbfgs_result *result, thaw_error *err) {
    search s = {.problem = problem, .result = result, .x = x};
    *result = (thaw_lbfgs_result){.evaluations = 1};
    THAW_TRY(allocate(&s, arena, err));
    THAW_TRY(problem->evaluate(problem->ctx, x, &result->f, s.g, err));
    result->gradient = largest(problem->n, s.g);
    if (!isfinite(result->f) || !isfinite(result->gradient))
        return thaw_fail(err, THAW_ERR_DATA,
                         "what L-BFGS is to minimise is not finite where it starts");
    while (result->gradient > problem->tolerance && result->iterations < problem->most_iterations) {
        bool moved;
        THAW_TRY(step(&s, &moved, err));
        if (!moved) break;
    }
    result->converged = result->gradient <= problem->tolerance;
    return THAW_OK;
}
