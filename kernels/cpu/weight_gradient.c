/* Rows of a pass are packed in panels, ROWS channels of dy or COLUMNS of x wide, of which a tile of
 * dw is computed: 6 x 2 vectors of sums, 2 + 1 operands, AVX2's sixteen registers.
 *
 *     x   [C / COLUMNS][points][pass][COLUMNS]
 *     dy  [K / ROWS][points, or 1 for all taps][pass][ROWS], and room to write a vector at the end
 */
#include "weight_gradient.h"

#include <dnnl.h>

#include "lanes.h"

enum {
    ROWS = 6,
    COLUMNS = 2 * LANES,
    TILE = 4, /* Pixels of the output, */
    SPAN = 6, /* of the input under them: one way each. */
    POINTS = SPAN * SPAN,
    TAPS = 9,                /* Of the filters that tiles are for. */
    PACKED = 2304,           /* Rows of all points together. */
    SECOND_CACHE = 48 << 10, /* Floats of x that are surely in it. */
    LEAST_CHANNELS = 16,     /* Fewer leave panels empty. */
    SUMMED = 64,             /* Rows of which a float is the sum before a double is. */
};

static int64_t panels_of(int64_t channels, int64_t wide) {
    return (channels + wide - 1) / wide;
}

static int64_t tiles_of(int64_t pixels) {
    return panels_of(pixels, TILE);
}

/* Whether tiles are at most half of the products, with what hangs over at the edges. */
static bool suits_tiles(const thaw_conv_shape *c) {
    const thaw_window *w = &c->window;
    bool plain = w->R == 3 && w->S == 3 && w->stride_h == 1 && w->stride_w == 1 &&
                 w->dilation_h == 1 && w->dilation_w == 1;
    return plain && 2 * POINTS * tiles_of(c->P) * tiles_of(c->Q) <= TAPS * c->P * c->Q;
}

/* Whether x, as it lies, is the matrix of a product. */
static bool suits_matrix(const thaw_conv_shape *c) {
    const thaw_window *w = &c->window;
    return w->R == 1 && w->S == 1 && w->stride_h == 1 && w->stride_w == 1 && c->H == c->P &&
           c->W == c->Q && w->pad_top == 0 && w->pad_left == 0;
}

bool cpu_weight_gradient_plan(const thaw_conv_shape *c, cpu_weight_gradient *plan) {
    if (c->G > 1) return false;
    *plan = (cpu_weight_gradient){.conv = *c, .matrix = suits_matrix(c)};
    if (plan->matrix) return true;
    if (c->C < LEAST_CHANNELS || c->K < LEAST_CHANNELS) return false;
    bool tiles = suits_tiles(c);
    int64_t points = tiles ? POINTS : c->window.R * c->window.S;
    plan->tiles = tiles;
    plan->points = points;
    plan->height = tiles ? tiles_of(c->P) : c->P;
    plan->width = tiles ? tiles_of(c->Q) : c->Q;
    int64_t all = c->N * plan->height * plan->width;
    plan->pass = PACKED / points < 1 ? 1 : PACKED / points;
    if (plan->pass > all) plan->pass = all;
    return true;
}

/* ---- the workspace -------------------------------------------------------------------------- */

/* A pass under way. */
typedef struct pass {
    const cpu_weight_gradient *plan;
    const float *x, *dy;
    int64_t first, n; /* Its rows. */
    float *inputs;    /* Packed x. */
    float *outputs;   /* Packed dy. */
    float *row;       /* [points, K in whole vectors] of dy, before it is packed. */
    double *sums;     /* [K] */
    float *products;  /* [points, ROWS, COLUMNS] of a tile of dw. */
} pass;

static int64_t panel_of_inputs(const cpu_weight_gradient *p) {
    return p->points * p->pass * COLUMNS;
}

static int64_t points_of_outputs(const cpu_weight_gradient *p) {
    return p->tiles ? POINTS : 1;
}

/* Of one point. */
static int64_t panel_of_outputs(const cpu_weight_gradient *p) {
    return p->pass * ROWS + LANES;
}

/* The parts of the workspace, or, if there is none, their size alone. */
static size_t divide(const cpu_weight_gradient *p, void *workspace, pass *to) {
    int64_t K = p->conv.K, whole = panels_of(K, LANES) * LANES;
    int64_t outputs = panels_of(K, ROWS) * points_of_outputs(p) * panel_of_outputs(p);
    const int64_t sizes[] = {
        panels_of(p->conv.C, COLUMNS) * panel_of_inputs(p) * (int64_t)sizeof(float),
        outputs * (int64_t)sizeof(float),
        points_of_outputs(p) * whole * (int64_t)sizeof(float),
        whole * (int64_t)sizeof(double),
        p->points * ROWS * COLUMNS * (int64_t)sizeof(float),
    };
    enum { PARTS = sizeof sizes / sizeof *sizes };
    size_t places[PARTS], n = 0;
    for (int i = 0; i < PARTS; i++) {
        places[i] = n;
        n += (size_t)(sizes[i] + 63) / 64 * 64;
    }
    if (!workspace) return n;
    char *start = workspace;
    to->inputs = (float *)(start + places[0]);
    to->outputs = (float *)(start + places[1]);
    to->row = (float *)(start + places[2]);
    to->sums = (double *)(start + places[3]);
    to->products = (float *)(start + places[4]);
    return n;
}

size_t cpu_weight_gradient_workspace(const cpu_weight_gradient *plan) {
    return divide(plan, NULL, NULL);
}

/* ---- points of a tile ------------------------------------------------------------------------ */

/* One way through a tile, for eight channels, in place; `step` vectors apart. The polynomials are
 * evaluated at 0, 1, -1, 1/2, -2 and infinity, of which roundings are the smallest. */

INLINE void points_of_x(lanes *v, int step) {
    const lanes a = v[0], b = v[step], c = v[2 * step], d = v[3 * step], e = v[4 * step],
                f = v[5 * step];
    v[0] = a - c * 2 + (d - b) * 1.5f + e;
    v[step] = e - b + c * 0.5f + d * 2.5f;
    v[2 * step] = e + b - c * 2.5f + d * 0.5f;
    v[3 * step] = e - c + (d - b) * 2;
    v[4 * step] = e - c + (b - d) * 0.5f;
    v[5 * step] = b - d * 2 + (e - c) * 1.5f + f;
}

INLINE void points_of_dy(lanes *v, int step) {
    const lanes a = v[0], b = v[step], c = v[2 * step], d = v[3 * step];
    const lanes even = (a + c) * (1 / 3.0f), odd = (b + d) * (1 / 3.0f);
    v[step] = even + odd;
    v[2 * step] = odd - even;
    v[3 * step] = (a * 16 + b * 8 + c * 4 + d * 2) * (-1 / 15.0f);
    v[4 * step] = (a - b * 2 + c * 4 - d * 8) * (1 / 15.0f);
    v[5 * step] = d;
}

INLINE void taps_of_points(lanes *v, int step) {
    const lanes d = v[3 * step], e = v[4 * step];
    const lanes even = v[step] + v[2 * step], odd = v[step] - v[2 * step];
    v[0] = v[0] + even + d + e;
    v[step] = odd + d * 0.5f - e * 2;
    v[2 * step] = even + d * 0.25f + e * 4 + v[5 * step];
}

/* ---- packing --------------------------------------------------------------------------------- */

/* Eight channels from c on; zeros where there is no pixel (NULL) or no channel. */
INLINE void load(const float *pixel, int64_t c, int64_t channels, lanes *v) {
    *v = (lanes){0};
    if (pixel && c + LANES <= channels) *v = *at(pixel + c);
    if (pixel && c + LANES > channels && c < channels) some(pixel + c, channels - c, v);
}

/* The channels of a pixel, or NULL: outside. */
static const float *pixel_of(const float *map, int64_t height, int64_t width, int64_t channels,
                             int64_t n, int64_t i, int64_t j) {
    if (i < 0 || i >= height || j < 0 || j >= width) return NULL;
    return map + ((n * height + i) * width + j) * channels;
}

/* Which picture's row it is, and where in the picture. */
typedef struct place {
    int64_t n, i, j;
} place;

static place place_of(const cpu_weight_gradient *plan, int64_t row) {
    int64_t each = plan->height * plan->width;
    return (place){row / each, row % each / plan->width, row % plan->width};
}

static void advance(const cpu_weight_gradient *plan, place *at) {
    if (++at->j < plan->width) return;
    at->j = 0;
    if (++at->i < plan->height) return;
    at->i = 0;
    at->n++;
}

static const float *input_pixel(const pass *p, const place *at, int64_t i, int64_t j) {
    const thaw_conv_shape *c = &p->plan->conv;
    return pixel_of(p->x, c->H, c->W, c->C, at->n, i - c->window.pad_top, j - c->window.pad_left);
}

static float *packed_input(const pass *p, int64_t row, int64_t c) {
    return p->inputs + c / COLUMNS * panel_of_inputs(p->plan) + row * COLUMNS + c % COLUMNS;
}

THAW_CLONES static void pack_input_taps(const pass *p, const place *here, int64_t row) {
    const thaw_conv_shape *c = &p->plan->conv;
    const thaw_window *w = &c->window;
    int64_t C = panels_of(c->C, COLUMNS) * COLUMNS;
    for (int64_t tap = 0; tap < p->plan->points; tap++) {
        const float *pixel =
            input_pixel(p, here, here->i * w->stride_h + tap / w->S * w->dilation_h,
                        here->j * w->stride_w + tap % w->S * w->dilation_w);
        for (int64_t k = 0; k < C; k += LANES) {
            lanes v;
            load(pixel, k, c->C, &v);
            *at(packed_input(p, row + tap * p->plan->pass, k)) = v;
        }
    }
}

THAW_CLONES static void pack_input_tile(const pass *p, const place *here, int64_t row) {
    const thaw_conv_shape *c = &p->plan->conv;
    int64_t C = panels_of(c->C, COLUMNS) * COLUMNS;
    const float *pixels[POINTS];
    for (int i = 0; i < POINTS; i++)
        pixels[i] = input_pixel(p, here, here->i * TILE + i / SPAN, here->j * TILE + i % SPAN);
    for (int64_t k = 0; k < C; k += LANES) {
        lanes v[POINTS];
        for (int i = 0; i < POINTS; i++)
            load(pixels[i], k, c->C, &v[i]);
        for (int i = 0; i < SPAN; i++)
            points_of_x(v + i, SPAN);
        for (int i = 0; i < SPAN; i++)
            points_of_x(v + i * SPAN, 1);
        for (int i = 0; i < POINTS; i++)
            *at(packed_input(p, row + i * p->plan->pass, k)) = v[i];
    }
}

/* K numbers of dy, ROWS to a panel. Vectors write more, which the next row's overwrite. */
THAW_CLONES static void pack_row(const float *from, int64_t K, int64_t panel, float *to) {
    int64_t k = 0;
    for (; k + LANES <= K; k += ROWS, to += panel)
        *at(to) = *at(from + k);
    for (; k < K; k += ROWS, to += panel) {
        lanes v;
        some(from + k, K - k, &v);
        *at(to) = v;
    }
}

/* The points of a tile of dy, in p->row. */
THAW_CLONES static void transform_output_tile(const pass *p, const place *here) {
    const thaw_conv_shape *c = &p->plan->conv;
    int64_t K = panels_of(c->K, LANES) * LANES;
    const float *pixels[TILE * TILE];
    for (int i = 0; i < TILE * TILE; i++)
        pixels[i] = pixel_of(p->dy, c->P, c->Q, c->K, here->n, here->i * TILE + i / TILE,
                             here->j * TILE + i % TILE);
    for (int64_t k = 0; k < K; k += LANES) {
        lanes v[POINTS];
        for (int i = 0; i < TILE * TILE; i++)
            load(pixels[i], k, c->K, &v[i / TILE * SPAN + i % TILE]);
        for (int i = 0; i < TILE; i++)
            points_of_dy(v + i, SPAN);
        for (int i = 0; i < SPAN; i++)
            points_of_dy(v + i * SPAN, 1);
        for (int i = 0; i < POINTS; i++)
            *at(p->row + i * K + k) = v[i];
    }
}

static void pack_output(const pass *p, const place *here, int64_t row) {
    int64_t K = p->plan->conv.K, whole = panels_of(K, LANES) * LANES;
    int64_t points = points_of_outputs(p->plan), panel = panel_of_outputs(p->plan);
    const float *from = p->dy + (p->first + row) * K;
    if (p->plan->tiles) transform_output_tile(p, here), from = p->row;
    for (int64_t i = 0; i < points; i++)
        pack_row(from + i * whole, K, points * panel, p->outputs + i * panel + row * ROWS);
}

static void pack(const pass *p) {
    place here = place_of(p->plan, p->first);
    for (int64_t row = 0; row < p->n; row++, advance(p->plan, &here)) {
        if (p->plan->tiles)
            pack_input_tile(p, &here, row);
        else
            pack_input_taps(p, &here, row);
        pack_output(p, &here, row);
    }
}

/* ---- products -------------------------------------------------------------------------------- */

/* to[ROWS][COLUMNS] = sum over n rows of dy[ROWS] x[COLUMNS] */
INLINE void multiply(int64_t n, const float *dy, const float *x, float *to) {
    lanes sum[ROWS][2] = {{{0}}};
    for (int64_t i = 0; i < n; i++, dy += ROWS, x += COLUMNS)
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < 2; v++)
                sum[r][v] += dy[r] * *at(x + v * LANES);
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < 2; v++)
            *at(to + r * COLUMNS + v * LANES) = sum[r][v];
}

/* to[j][tap] = from[tap][j] for n of the `step` columns, over what earlier passes have left there-> */
INLINE void put(int64_t taps, int64_t step, const float *restrict from, int64_t n, bool add,
                float *restrict to) {
    for (int64_t j = 0; add && j < n; j++)
        for (int64_t i = 0; i < taps; i++)
            to[j * taps + i] += from[i * step + j];
    for (int64_t j = 0; !add && j < n; j++)
        for (int64_t i = 0; i < taps; i++)
            to[j * taps + i] = from[i * step + j];
}

/* The products of a tile's points, `step` floats apart, to those of the taps. */
INLINE void taps_of_tile(int64_t step, const float *from, float *taps) {
    lanes v[POINTS];
    for (int i = 0; i < POINTS; i++)
        v[i] = *at(from + i * step);
    for (int i = 0; i < SPAN; i++)
        taps_of_points(v + i, SPAN);
    for (int i = 0; i < 3; i++)
        taps_of_points(v + i * SPAN, 1);
    for (int i = 0; i < TAPS; i++)
        *at(taps + i * LANES) = v[i / 3 * SPAN + i % 3];
}

/* n filters of a row of dw. */
INLINE void put_row(const pass *p, int r, int64_t n, float *to) {
    enum { STEP = ROWS * COLUMNS };
    const float *from = p->products + r * COLUMNS;
    int64_t taps = p->plan->points;
    bool add = p->first > 0;
    for (int64_t j = 0; p->plan->tiles && j < n; j += LANES) {
        float of_tile[TAPS * LANES];
        taps_of_tile(STEP, from + j, of_tile);
        if (j + LANES <= n)
            put(TAPS, LANES, of_tile, LANES, add, to + j * TAPS); /* Constants: a faster loop. */
        else
            put(TAPS, LANES, of_tile, n - j, add, to + j * TAPS);
    }
    if (p->plan->tiles) return;
    put(taps, STEP, from, n, add, to);
}

/* ROWS x COLUMNS filters of dw, from k and c on. */
THAW_CLONES static void compute(const pass *p, int64_t k, int64_t c, float *dw) {
    const cpu_weight_gradient *plan = p->plan;
    int64_t K = plan->conv.K, C = plan->conv.C, taps = plan->tiles ? TAPS : plan->points;
    int64_t points = points_of_outputs(plan), panel = panel_of_outputs(plan);
    const float *dy = p->outputs + k / ROWS * points * panel;
    const float *x = p->inputs + c / COLUMNS * panel_of_inputs(plan);
    for (int64_t i = 0; i < plan->points; i++)
        multiply(p->n, dy + (plan->tiles ? i * panel : 0), x + i * plan->pass * COLUMNS,
                 p->products + i * ROWS * COLUMNS);
    for (int r = 0; r < ROWS && k + r < K; r++)
        put_row(p, r, C - c < COLUMNS ? C - c : COLUMNS, dw + ((k + r) * C + c) * taps);
}

/* So many channels of x stay in the second cache while all of dy goes by. */
static int64_t group_of(const cpu_weight_gradient *plan) {
    int64_t panels = SECOND_CACHE / panel_of_inputs(plan);
    return (panels < 1 ? 1 : panels) * COLUMNS;
}

static void compute_group(const pass *p, int64_t first, int64_t end, float *dw) {
    for (int64_t k = 0; k < p->plan->conv.K; k += ROWS)
        for (int64_t c = first; c < end; c += COLUMNS)
            compute(p, k, c, dw);
}

/* ---- the bias -------------------------------------------------------------------------------- */

THAW_CLONES static void add_rows(int64_t n, int64_t K, const float *dy, float *part, double *sums) {
    memset(part, 0, (size_t)K * sizeof *part);
    for (int64_t m = 0; m < n; m++)
        for (int64_t k = 0; k < K; k++)
            part[k] += dy[m * K + k];
    for (int64_t k = 0; k < K; k++)
        sums[k] += (double)part[k];
}

static void sum_rows(const pass *p, float *db) {
    const thaw_conv_shape *c = &p->plan->conv;
    int64_t M = c->N * c->P * c->Q, K = c->K;
    memset(p->sums, 0, (size_t)K * sizeof *p->sums);
    for (int64_t m = 0; m < M; m += SUMMED)
        add_rows(M - m < SUMMED ? M - m : SUMMED, K, p->dy + m * K, p->row, p->sums);
    for (int64_t k = 0; k < K; k++)
        db[k] = (float)p->sums[k];
}

/* All passes over the rows. */
static void run_passes(pass p, float *dw) {
    const cpu_weight_gradient *plan = p.plan;
    const thaw_conv_shape *c = &plan->conv;
    int64_t all = c->N * plan->height * plan->width, group = group_of(plan);
    for (; p.first < all; p.first += plan->pass) {
        p.n = all - p.first < plan->pass ? all - p.first : plan->pass;
        pack(&p);
        for (int64_t j = 0; j < c->C; j += group)
            compute_group(&p, j, j + group < c->C ? j + group : c->C, dw);
    }
}

int cpu_weight_gradient_run(const cpu_weight_gradient *plan, const float *x, const float *dy,
                            float *dw, float *db, void *workspace) {
    const thaw_conv_shape *c = &plan->conv;
    pass p = {.plan = plan, .x = x, .dy = dy};
    int code = 0;
    divide(plan, workspace, &p);
    if (plan->matrix)
        code = (int)dnnl_sgemm('T', 'N', c->K, c->C, c->N * c->P * c->Q, 1, dy, c->K, x, c->C, 0,
                               dw, c->C);
    else
        run_passes(p, dw);
    if (db) sum_rows(&p, db);
    return code;
}
