#include "canvas.h"

#include <stdlib.h>
#include <string.h>

int canvas_init(canvas *c, int width, int height) {
    size_t n = (size_t)width * (size_t)height;
    *c = (canvas){.width = width, .height = height};
    c->unit = (float)(width < height ? width : height) / 2;
    c->samples = calloc(n, sizeof *c->samples);
    c->colors = calloc(n, sizeof *c->colors);
    c->line = malloc((size_t)(width > height ? width : height) * sizeof *c->line);
    c->materials = malloc(CANVAS_MATERIALS * sizeof *c->materials);
    return c->samples && c->colors && c->line && c->materials ? 0 : -1;
}

void canvas_free(canvas *c) {
    free(c->samples);
    free(c->colors);
    free(c->line);
    free(c->materials);
    *c = (canvas){0};
}

int canvas_material(canvas *c, const material *m) {
    if (c->n_materials < CANVAS_MATERIALS) c->materials[c->n_materials++] = *m;
    return c->n_materials - 1;
}

/* ---- surfaces to samples ---- */

typedef struct vertex {
    vec3 p; /* x, y in samples, z in the world */
    vec3 normal;
    float u, v;
} vertex;

typedef struct grid {
    int nu, nv;
    vertex at[SURFACE_STEPS + 1][SURFACE_STEPS + 1];
} grid;

/* World positions first: normals need them. */
static void place_vertices(grid *g, surface s, const void *shape, const frame *f) {
    for (int i = 0; i <= g->nu; i++)
        for (int j = 0; j <= g->nv; j++) {
            vertex *a = &g->at[i][j];
            a->u = (float)i / (float)g->nu;
            a->v = (float)j / (float)g->nv * 2 - 1;
            vec3 q = s(shape, a->u, a->v);
            a->p = v3_along(v3_along(v3_along(f->origin, f->x, q.x), f->y, q.y), f->z, q.z);
        }
}

static void find_normals(grid *g) {
    for (int i = 0; i <= g->nu; i++)
        for (int j = 0; j <= g->nv; j++) {
            vec3 du = v3_sub(g->at[i < g->nu ? i + 1 : i][j].p, g->at[i ? i - 1 : 0][j].p);
            vec3 dv = v3_sub(g->at[i][j < g->nv ? j + 1 : j].p, g->at[i][j ? j - 1 : 0].p);
            g->at[i][j].normal = v3_unit(v3_cross(du, dv));
        }
}

static float min3(float a, float b, float c) {
    float m = a < b ? a : b;
    return m < c ? m : c;
}

static float max3(float a, float b, float c) {
    float m = a > b ? a : b;
    return m > c ? m : c;
}

/* First sample whose middle is at or right of x, kept inside 0..limit. */
static int first_sample(float x, int limit) {
    if (!(x > 0)) return 0;
    return x >= (float)limit ? limit : (int)(x + 0.5f);
}

static void put_sample(sample *s, const vertex t[3], float a, float b, float c, int material) {
    float z = a * t[0].p.z + b * t[1].p.z + c * t[2].p.z;
    if (s->material && s->z >= z) return;
    s->z = z;
    s->u = a * t[0].u + b * t[1].u + c * t[2].u;
    s->v = a * t[0].v + b * t[1].v + c * t[2].v;
    s->normal = v3_along(v3_along(v3_scale(t[0].normal, a), t[1].normal, b), t[2].normal, c);
    s->material = material + 1;
}

static void fill_triangle(canvas *c, const vertex t[3], int material) {
    vec3 p = t[0].p, q = t[1].p, r = t[2].p;
    float area = (q.x - p.x) * (r.y - p.y) - (r.x - p.x) * (q.y - p.y);
    if (fabsf(area) < 1e-6f) return;
    int x0 = first_sample(min3(p.x, q.x, r.x), c->width);
    int x1 = first_sample(max3(p.x, q.x, r.x), c->width);
    int y0 = first_sample(min3(p.y, q.y, r.y), c->height);
    int y1 = first_sample(max3(p.y, q.y, r.y), c->height);
    float scale = 1 / area;
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
            float px = (float)x + 0.5f - p.x, py = (float)y + 0.5f - p.y;
            float b = (px * (r.y - p.y) - (r.x - p.x) * py) * scale;
            float d = ((q.x - p.x) * py - px * (q.y - p.y)) * scale;
            float a = 1 - b - d;
            if (a < 0 || b < 0 || d < 0) continue;
            put_sample(&c->samples[(size_t)y * (size_t)c->width + (size_t)x], t, a, b, d, material);
        }
}

static int outside(const canvas *c, const grid *g) {
    float x0 = 1e9f, x1 = -1e9f, y0 = 1e9f, y1 = -1e9f;
    for (int i = 0; i <= g->nu; i++)
        for (int j = 0; j <= g->nv; j++) {
            vec3 p = g->at[i][j].p;
            x0 = fminf(x0, p.x), x1 = fmaxf(x1, p.x), y0 = fminf(y0, p.y), y1 = fmaxf(y1, p.y);
        }
    return x1 < 0 || y1 < 0 || x0 > (float)c->width || y0 > (float)c->height;
}

void canvas_surface(canvas *c, surface s, const void *shape, const frame *f, int nu, int nv,
                    int material) {
    grid g = {.nu = nu, .nv = nv};
    place_vertices(&g, s, shape, f);
    find_normals(&g);
    for (int i = 0; i <= nu; i++)
        for (int j = 0; j <= nv; j++) {
            vec3 *p = &g.at[i][j].p;
            p->x = (float)c->width / 2 + p->x * c->unit;
            p->y = (float)c->height / 2 - p->y * c->unit;
        }
    if (outside(c, &g)) return;
    for (int i = 0; i < nu; i++)
        for (int j = 0; j < nv; j++) {
            vertex a = g.at[i][j], b = g.at[i + 1][j], d = g.at[i][j + 1], e = g.at[i + 1][j + 1];
            fill_triangle(c, (vertex[3]){a, b, e}, material);
            fill_triangle(c, (vertex[3]){a, e, d}, material);
        }
}

/* ---- samples to colours ---- */

static float marked(const material *m, float u, float v) {
    float w = fabsf(v), s = m->mark_size;
    switch (m->mark) {
        case MARK_NONE:
            return 0;
        case MARK_THROAT:
            return 1 - smooth(s * 0.3f, s * 1.3f, u);
        case MARK_BLOTCH:
            return 1 - smooth(s * 0.92f, s * 1.08f, u + 0.25f * s * w * w);
        case MARK_EDGE:
            return smooth(1 - s * 1.3f, 1 - s * 0.7f, fmaxf(w, u));
        case MARK_STREAK:
            return 1 - smooth(s * 0.5f, s, w + u * s * 0.8f);
        case MARK_VEINS: {
            float line = fabsf(sin_turns(v * 4 + 0.08f * sin_turns(u * 3)));
            return (1 - smooth(0.15f, 0.45f, line)) * (1 - smooth(s * 0.5f, s, u));
        }
        case MARK_SPOTS: {
            float x = u * 14, y = v * 5;
            float size = cell_value((int)floorf(x), (int)floorf(y), m->seed) * 0.45f;
            float dx = x - floorf(x) - 0.5f, dy = y - floorf(y) - 0.5f;
            float dot = 1 - smooth(size * 0.7f, size, sqrtf(dx * dx + dy * dy) + 1e-3f);
            return dot * (1 - smooth(s * 0.8f, s, u)) * smooth(0.05f, 0.15f, u);
        }
        case MARK_TIP:
            return smooth(1 - s * 1.2f, 1 - s * 0.8f, u);
    }
    return 0;
}

static vec3 petal_color(const material *m, float u, float v) {
    vec3 color = v3_mix(m->base, m->tip, smooth(0.02f, 0.75f, u));
    float vein = sin_turns(v * 7 + 0.3f * noise2(u * 3, v * 3, m->seed));
    float mottle = noise2(u * 6, v * 4, m->seed + 7);
    color = v3_scale(color, 0.93f + 0.05f * vein * (1 - u) + 0.1f * (mottle - 0.5f));
    return v3_mix(color, m->accent, marked(m, u, v));
}

static vec3 leaf_color(const material *m, float u, float v) {
    float w = fabsf(v);
    float rib = 1 - smooth(0.02f, 0.09f, w);
    float side = 1 - smooth(0.1f, 0.3f, fabsf(sin_turns(u * m->repeat - w * 1.2f)));
    float mottle = cloud2(u * 5, v * 3, m->seed);
    vec3 color = v3_mix(m->base, m->tip, clamp01(u * 0.5f + mottle * 0.6f));
    return v3_mix(color, m->accent, fmaxf(rib * 0.6f, side * 0.25f));
}

/* Sunflower order: seed k sits at the golden angle times k, at the root of k. u is the radius. */
static vec3 floret_color(const material *m, float u, float v) {
    float ring = floorf(u * m->repeat), across = u * m->repeat - ring - 0.5f;
    float around = 5 + ring * 6, turn = v * 0.5f + ring * 0.381966f;
    float along = turn * around - floorf(turn * around) - 0.5f;
    float dot = 1 - smooth(0.2f, 0.5f, sqrtf(across * across + along * along));
    return v3_mix(m->accent, v3_mix(m->base, m->tip, smooth(0.35f, 0.85f, u)), dot);
}

/* A sharp choice between two colours, by the sign of a wave. */
static vec3 either(const material *m, float wave) {
    return v3_mix(m->base, m->accent, smooth(-0.06f, 0.06f, wave));
}

static vec3 dots_color(const material *m, float u, float v) {
    float x = u * m->repeat, y = (v + 1) * m->repeat;
    int ix = (int)floorf(x), iy = (int)floorf(y);
    float dx = x - floorf(x) - 0.3f - 0.4f * cell_value(ix, iy, m->seed);
    float dy = y - floorf(y) - 0.3f - 0.4f * cell_value(ix, iy, m->seed + 1);
    float size = 0.16f + 0.14f * cell_value(ix, iy, m->seed + 2);
    return v3_mix(m->accent, m->base, smooth(size * 0.9f, size * 1.1f, sqrtf(dx * dx + dy * dy)));
}

static vec3 brick_color(const material *m, float u, float v) {
    float y = u * m->repeat, row = floorf(y);
    float x = v * m->repeat * 0.5f + 0.5f * (row - 2 * floorf(row / 2)), column = floorf(x);
    float joint = fminf(fminf(y - row, row + 1 - y) * 2, fminf(x - column, column + 1 - x) * 4);
    float shade = 0.75f + 0.5f * cell_value((int)column, (int)row, m->seed);
    return v3_mix(m->accent, v3_scale(m->base, shade), smooth(0.1f, 0.2f, joint));
}

static vec3 material_color(const material *m, float u, float v) {
    switch (m->pattern) {
        case PATTERN_PLAIN:
            return v3_mix(m->base, m->tip, u);
        case PATTERN_PETAL:
            return petal_color(m, u, v);
        case PATTERN_LEAF:
            return leaf_color(m, u, v);
        case PATTERN_GRAIN:
            return v3_mix(m->base, m->tip, cloud2(u * m->repeat, v * m->repeat, m->seed));
        case PATTERN_FLORETS:
            return floret_color(m, u, v);
        case PATTERN_STRIPES:
            return either(m, sin_turns(u * m->repeat));
        case PATTERN_SECTORS:
            return either(m, sin_turns(v * m->repeat / 2));
        case PATTERN_CHECKS:
            return either(m, sin_turns(u * m->repeat) * sin_turns(v * m->repeat / 2));
        case PATTERN_DOTS:
            return dots_color(m, u, v);
        case PATTERN_BRICKS:
            return brick_color(m, u, v);
        case PATTERN_WOOD:
            return v3_mix(m->base, m->tip,
                          cloud2(u * 2, v * m->repeat + 0.3f * sin_turns(u), m->seed));
    }
    return m->base;
}

static const sample *sample_at(const canvas *c, float x, float y) {
    if (!(x >= 0 && y >= 0 && x < (float)c->width && y < (float)c->height)) return NULL;
    const sample *s = &c->samples[(size_t)(int)y * (size_t)c->width + (size_t)(int)x];
    return s->material ? s : NULL;
}

/* Walks from the sample towards the sun through the depth buffer. What is much nearer to the viewer
 * than the ray does not shade it: it may float far above. */
static float in_shadow(const canvas *c, float z, int x, int y, vec3 sun, float jitter) {
    enum { STEPS = 7 };
    for (int k = 0; k < STEPS; k++) {
        float d = ((float)k + 0.3f + jitter) * 0.03f;
        const sample *s =
            sample_at(c, (float)x + sun.x * d * c->unit, (float)y - sun.y * d * c->unit);
        if (!s) continue;
        float above = s->z - (z + sun.z * d);
        if (above > 0.012f && above < 0.3f) return 1 - (float)k / (STEPS * 1.6f);
    }
    return 0;
}

/* How much of the sky the neighbours hide: a near and a far ring of four probes each. */
static float occluded(const canvas *c, float z, int x, int y, float jitter) {
    float sum = 0, dx = cos_turns(jitter * 0.25f), dy = sin_turns(jitter * 0.25f);
    for (int k = 0; k < 8; k++) {
        float d = (k % 2 ? 0.07f : 0.025f) * c->unit;
        const sample *s = sample_at(c, (float)x + dx * d, (float)y + dy * d);
        /* An eighth of a turn on. */
        float turned = (dx - dy) * 0.70710678f;
        dy = (dx + dy) * 0.70710678f, dx = turned;
        if (!s || s->z <= z) continue;
        float above = s->z - z;
        sum += smooth(0.0f, 0.06f, above) * (1 - smooth(0.25f, 0.6f, above));
    }
    return sum / 8;
}

static vec3 lit_color(const canvas *c, const light *l, int x, int y, int shadows) {
    const sample *s = &c->samples[(size_t)y * (size_t)c->width + (size_t)x];
    const material *m = &c->materials[s->material - 1];
    vec3 n = v3_unit(s->normal);
    if (n.z < 0) n = v3_scale(n, -1); /* Petals and leaves have two sides. */
    vec3 color = material_color(m, s->u, s->v);
    float jitter = cell_value(x, y, 77);
    float shadow = shadows ? in_shadow(c, s->z, x, y, l->direction, jitter) : 0;
    float hidden = shadows ? occluded(c, s->z, x, y, jitter) : 0;
    float facing = v3_dot(n, l->direction);
    float direct = clamp01(facing * 0.8f + 0.2f) * (1 - 0.75f * shadow);
    float through = m->translucent * clamp01(0.5f - facing) * (1 - 0.5f * shadow);
    vec3 ambient = v3_scale(v3_mix(l->ground, l->sky, n.y * 0.5f + 0.5f), 1 - 0.85f * hidden);
    vec3 out = v3_mul(color, v3_along(ambient, l->sun, direct + through));
    vec3 half = v3_unit(v3_add(l->direction, v3(0, 0, 1)));
    float shine = clamp01(v3_dot(n, half));
    shine = shine * shine, shine = shine * shine, shine = shine * shine;
    shine = shine * shine;
    return v3_along(out, l->sun, m->gloss * shine * (1 - shadow) * 0.5f);
}

void canvas_shade(canvas *c, const light *l, int shadows) {
    for (int y = 0; y < c->height; y++)
        for (int x = 0; x < c->width; x++) {
            size_t i = (size_t)y * (size_t)c->width + (size_t)x;
            if (c->samples[i].material) c->colors[i] = lit_color(c, l, x, y, shadows);
        }
}

/* ---- colours to colours ---- */

/* One box filter over n values that lie stride apart, the ends repeated; line is scratch for n. */
static void blur_line(vec3 *colors, int n, size_t stride, int radius, vec3 *line) {
    for (int i = 0; i < n; i++)
        line[i] = colors[(size_t)i * stride];
    vec3 sum = v3_scale(line[0], (float)radius);
    for (int i = 0; i < radius; i++)
        sum = v3_add(sum, line[i < n ? i : n - 1]);
    float scale = 1 / (float)(2 * radius + 1);
    for (int i = 0; i < n; i++) {
        sum = v3_add(sum, line[i + radius < n ? i + radius : n - 1]);
        colors[(size_t)i * stride] = v3_scale(sum, scale);
        /* The window of i holds i - radius .. i + radius; its first value leaves. */
        sum = v3_sub(sum, line[i > radius ? i - radius : 0]);
    }
}

void canvas_blur(canvas *c, int radius) {
    if (radius < 1) return;
    for (int pass = 0; pass < 3; pass++) {
        for (int y = 0; y < c->height; y++)
            blur_line(c->colors + (size_t)y * (size_t)c->width, c->width, 1, radius, c->line);
        for (int x = 0; x < c->width; x++)
            blur_line(c->colors + x, c->height, (size_t)c->width, radius, c->line);
    }
}

void canvas_stretch(canvas *dst, const canvas *src) {
    for (int y = 0; y < dst->height; y++) {
        float sy = ((float)y + 0.5f) * (float)src->height / (float)dst->height - 0.5f;
        int y0 = sy > 0 ? (int)sy : 0, y1 = y0 + 1 < src->height ? y0 + 1 : y0;
        for (int x = 0; x < dst->width; x++) {
            float sx = ((float)x + 0.5f) * (float)src->width / (float)dst->width - 0.5f;
            int x0 = sx > 0 ? (int)sx : 0, x1 = x0 + 1 < src->width ? x0 + 1 : x0;
            const vec3 *a = src->colors + (size_t)y0 * (size_t)src->width;
            const vec3 *b = src->colors + (size_t)y1 * (size_t)src->width;
            float tx = clamp01(sx - (float)x0), ty = clamp01(sy - (float)y0);
            dst->colors[(size_t)y * (size_t)dst->width + (size_t)x] =
                v3_mix(v3_mix(a[x0], a[x1], tx), v3_mix(b[x0], b[x1], tx), ty);
        }
    }
}
