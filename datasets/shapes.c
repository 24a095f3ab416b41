#include "shapes.h"

/* How far a strip of the petal reaches, as a share of its length, v from rim to rim. */
static float tip_reach(tip t, float v) {
    float w = fabsf(v);
    switch (t) {
        case TIP_NOTCHED:
            return 1 - 0.2f * (1 - smooth(0, 0.45f, w));
        case TIP_FRINGED:
            return 1 - 0.14f * fabsf(sin_turns(v * 2.5f));
        case TIP_LONG:
            return 1 + 0.12f * (1 - w);
        default:
            return 1;
    }
}

/* Half the width at t along the petal, 1 at the widest place. */
static float half_width(const petal *p, float t) {
    if (t < p->widest) return mix(p->neck, 1, sin_turns(t / p->widest * 0.25f));
    float x = clamp01((t - p->widest) / (1 - p->widest));
    switch (p->tip) {
        case TIP_POINTED:
            return (1 - x) * (1 + 0.9f * x);
        case TIP_LONG:
            return (1 - x) * (1 - 0.25f * x);
        case TIP_SQUARE:
        case TIP_FRINGED:
            return sqrtf(1 - x * x * x * x * 0.9f);
        default:
            return sqrtf(1 - x * x);
    }
}

vec3 petal_surface(const void *shape, float u, float v) {
    const petal *p = shape;
    /* Rows closer together at the tip, where the outline turns fastest. */
    float row = u * (2 - u), t = row * tip_reach(p->tip, v);
    float bend = fabsf(p->curl) < 1e-3f ? 1e-3f : p->curl;
    float angle = p->rise + bend * t, per = p->length / (bend * 6.2831853f);
    float out = p->start + per * (sin_turns(angle) - sin_turns(p->rise));
    float up = per * (cos_turns(p->rise) - cos_turns(angle));
    float w = p->width * half_width(p, row);
    float lift = p->cup * w * v * v + p->ruffle * row * v * v * sin_turns(u * 2 + v + p->phase);
    return v3(out - sin_turns(angle) * lift, w * v, up + cos_turns(angle) * lift);
}

/* Catmull-Rom through the values, the ends repeated. */
static float spline(const float *value, int n, float u) {
    float at = u * (float)(n - 1);
    int i = (int)at < n - 1 ? (int)at : n - 2;
    float t = at - (float)i, p1 = value[i], p2 = value[i + 1];
    float p0 = i > 0 ? value[i - 1] : p1, p3 = i + 2 < n ? value[i + 2] : p2;
    return p1 + 0.5f * t *
                    (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)));
}

vec3 lathe_surface(const void *shape, float u, float v) {
    const lathe *l = shape;
    float r = fmaxf(spline(l->radius, l->n, u), 0);
    return v3(r * cos_turns(v / 2), r * sin_turns(v / 2), spline(l->height, l->n, u));
}

vec3 blob_surface(const void *shape, float u, float v) {
    const blob *b = shape;
    float across = sin_turns(u / 2);
    vec3 d = v3(across * cos_turns(v / 2), across * sin_turns(v / 2), cos_turns(u / 2));
    float r = 1;
    for (int i = 0; i < 4; i++)
        r += b->depth * sin_turns(v3_dot(d, b->wave[i]) + 0.25f * (float)i);
    return v3_scale(d, r);
}

vec3 tube_surface(const void *shape, float u, float v) {
    const tube *t = shape;
    vec3 ab = v3_mix(t->from, t->by, u), bc = v3_mix(t->by, t->to, u);
    vec3 along = v3_unit(v3_sub(bc, ab)), right = v3_unit(v3_cross(along, v3(0.1f, 0.2f, 1)));
    vec3 front = v3_cross(right, along);
    float r = mix(t->thick, t->thin, u);
    vec3 p = v3_along(v3_mix(ab, bc, u), right, r * cos_turns(v / 2));
    return v3_along(p, front, r * sin_turns(v / 2));
}

vec3 face_surface(const void *shape, float u, float v) {
    const face *f = shape;
    float s = v * 0.5f + 0.5f;
    return v3_mix(v3_mix(f->a, f->b, s), v3_mix(f->d, f->e, s), u);
}
