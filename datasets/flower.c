#include "scene.h"

/* What one plant has chosen among all that its species may look like. */
typedef struct plant {
    const species *kind;
    vec3 color, shade, mark, green;
    float shade_by, mark_size;
    float wide, cup, rise; /* this plant's own build: factors near 1, and a rise in turns */
} plant;

static plant choose_plant(const species *s, rng *r) {
    int n = 0;
    while (n < 6 && s->hues[n])
        n++;
    plant p = {.kind = s};
    p.color = vary_color(hue_color(s->hues[rng_int(r, 0, n - 1)]), 0.25f, r);
    p.shade = s->shade ? vary_color(hue_color(s->shade), 0.2f, r) : p.color;
    p.shade_by = s->shade ? clamp01(s->shade_by * rng_range(r, 0.5f, 1.5f)) : 0;
    p.mark = vary_color(hue_color(s->mark_hue), 0.2f, r);
    p.mark_size = s->mark_size * rng_range(r, 0.75f, 1.25f);
    p.green = some_green(r);
    p.wide = rng_range(r, 0.85f, 1.15f);
    p.cup = rng_range(r, 0.6f, 1.5f);
    p.rise = rng_range(r, -0.025f, 0.025f);
    return p;
}

static material petal_material(const plant *p, const whorl *w, rng *r) {
    vec3 color = vary_color(w->hue ? hue_color(w->hue) : p->color, 0.12f, r);
    material m = {.pattern = PATTERN_PETAL,
                  .base = v3_mix(v3_scale(color, 0.8f), p->shade, w->hue ? 0 : p->shade_by),
                  .tip = color,
                  .accent = p->mark,
                  .mark = w->hue || w->bare ? MARK_NONE : p->kind->mark,
                  .mark_size = p->mark_size,
                  .gloss = 0.08f,
                  .translucent = 0.35f,
                  .seed = (uint32_t)rng_bits(r)};
    return m;
}

static int steps_for(float samples, int least, int most) {
    int n = (int)(samples / 5);
    return n < least ? least : n > most ? most : n;
}

/* The petal at share 0..1 of the way from the outermost to the innermost. */
static petal shape_petal(const plant *p, const whorl *w, float share, float turn, rng *r) {
    int spiral = w->inner_length > 0;
    float length = spiral ? mix(w->length, w->inner_length, share) : w->length;
    float rise = spiral ? mix(w->rise, w->inner_rise, share) : w->rise;
    length *= (1 - w->lip * sin_turns(turn)) * (1 + 0.08f * rng_bell(r));
    petal q = {.tip = w->tip, .length = length, .widest = w->widest, .neck = w->neck};
    q.width = w->width * p->wide * (spiral ? mix(1, 0.65f, share) : 1);
    q.rise = rise / 360 + p->rise + 0.02f * rng_bell(r);
    q.curl = w->curl / 360 + 0.03f * rng_bell(r);
    q.cup = w->cup * p->cup;
    q.ruffle = w->ruffle;
    q.phase = rng_range(r, 0, 1);
    q.start = w->start * (spiral ? 1 - 0.8f * share : 1);
    return q;
}

static void draw_whorl(canvas *c, const plant *p, const whorl *w, const frame *f, rng *r) {
    int n = rng_int(r, w->least, w->most);
    float size = sqrtf(v3_dot(f->z, f->z)) * c->unit;
    for (int i = 0; i < n; i++) {
        float share = n > 1 ? (float)i / (float)(n - 1) : 0;
        float turn = w->inner_length > 0 ? (float)i * 0.381966f : (float)i / (float)n;
        if (w->fan > 0) turn = (share - 0.5f) * w->fan / 360;
        turn += w->turn / 360 + (n > 3 ? 0.012f : 0.004f) * rng_bell(r);
        petal shape = shape_petal(p, w, share, turn, r);
        material m = petal_material(p, w, r);
        float a = cos_turns(turn), b = sin_turns(turn);
        frame g = {v3_along(v3_scale(f->x, a), f->y, b), v3_along(v3_scale(f->y, a), f->x, -b),
                   f->z, f->origin};
        int nu = steps_for(size * shape.length, 4, 14);
        int nv = steps_for(size * shape.width * 2, w->tip == TIP_NOTCHED ? 6 : 4, 10);
        if (w->tip == TIP_FRINGED && size > 30) nv = 20;
        canvas_surface(c, petal_surface, &shape, &g, nu, nv, canvas_material(c, &m));
    }
}

static void draw_knob(canvas *c, const frame *f, float radius, float height, const material *m) {
    lathe dome = {5,
                  {radius, radius, radius * 0.9f, radius * 0.55f, 0},
                  {-0.05f, height * 0.3f, height * 0.65f, height * 0.93f, height}};
    int n = steps_for(sqrtf(v3_dot(f->z, f->z)) * c->unit * radius * 2, 5, 16);
    canvas_surface(c, lathe_surface, &dome, f, n, n + 4, canvas_material(c, m));
}

static void draw_stamens(canvas *c, const plant *p, const frame *f, rng *r) {
    const centre *k = &p->kind->centre;
    int n = rng_int(r, k->least, k->most);
    material thread =
        plain_material(PATTERN_PLAIN, hue_color(k->inside), hue_color(CREAM), hue_color(CREAM), r);
    material knob = plain_material(PATTERN_PLAIN, hue_color(k->outside), hue_color(k->outside),
                                   hue_color(k->outside), r);
    int thread_id = canvas_material(c, &thread), knob_id = canvas_material(c, &knob);
    float thick = k->radius * (n > 12 ? 0.03f : 0.07f);
    for (int i = 0; i < n; i++) {
        float turn = (float)i * 0.381966f, out = k->radius * rng_range(r, n > 12 ? 0.45f : 0.8f, 1);
        float up = k->height * rng_range(r, 0.75f, 1.1f);
        vec3 end = v3(out * cos_turns(turn), out * sin_turns(turn), up);
        tube stem = {v3(end.x * 0.2f, end.y * 0.2f, 0), v3(end.x * 0.4f, end.y * 0.4f, up), end,
                     thick, thick};
        canvas_surface(c, tube_surface, &stem, f, 5, 4, thread_id);
        frame g = *f;
        g.origin = v3_along(v3_along(v3_along(f->origin, f->x, end.x), f->y, end.y), f->z, end.z);
        g.x = v3_scale(f->x, thick * 2.4f), g.y = v3_scale(f->y, thick * 2.4f);
        g.z = v3_scale(f->z, thick * 2.4f);
        canvas_surface(c, blob_surface, &(blob){.depth = 0}, &g, 5, 6, knob_id);
    }
    material heart = plain_material(PATTERN_FLORETS, hue_color(k->inside), hue_color(k->inside),
                                    v3_scale(hue_color(k->inside), 0.4f), r);
    heart.repeat = 4;
    draw_knob(c, f, k->radius * (n > 12 ? 0.42f : 0.14f), k->height * (n > 12 ? 0.7f : 1.1f),
              &heart);
}

static void draw_centre(canvas *c, const plant *p, const frame *f, rng *r) {
    const centre *k = &p->kind->centre;
    vec3 inside = k->inside ? vary_color(hue_color(k->inside), 0.2f, r) : p->color;
    vec3 outside = k->outside ? vary_color(hue_color(k->outside), 0.2f, r) : p->color;
    if (k->kind == CENTRE_STAMENS) draw_stamens(c, p, f, r);
    if (k->kind == CENTRE_DISC) {
        /* A lathe runs from its rim to its pole, so the rim's colour is the base. */
        material m = plain_material(PATTERN_FLORETS, outside, inside, v3_scale(inside, 0.35f), r);
        m.repeat = 5 + 12 * k->radius;
        float radius = k->radius * rng_range(r, 0.85f, 1.15f);
        draw_knob(c, f, radius, k->height * rng_range(r, 0.7f, 1.4f), &m);
    }
    if (k->kind == CENTRE_KNOB) {
        material m = plain_material(PATTERN_PLAIN, outside, inside, inside, r);
        draw_knob(c, f, k->radius, k->height, &m);
    }
}

static void draw_calyx(canvas *c, const plant *p, const frame *f, rng *r) {
    whorl sepals = {5, 5, TIP_POINTED, .34f, .1f, .4f, .8f, .curl = 10, .cup = .3f, .start = .02f};
    sepals.rise = p->kind->whorls[0].rise - 15; /* Below the petals, or they would poke through. */
    frame g = *f;
    g.origin = v3_along(f->origin, f->z, -0.07f);
    material m = plain_material(PATTERN_PLAIN, p->green, p->green, p->green, r);
    int id = canvas_material(c, &m);
    for (int i = 0; i < 5; i++) {
        petal shape = shape_petal(p, &sepals, 0, 0, r);
        float a = cos_turns((float)i / 5), b = sin_turns((float)i / 5);
        frame h = {v3_along(v3_scale(g.x, a), g.y, b), v3_along(v3_scale(g.y, a), g.x, -b), g.z,
                   g.origin};
        canvas_surface(c, petal_surface, &shape, &h, 5, 4, id);
    }
}

/* One flower, without a stalk. */
static void draw_head(canvas *c, const plant *p, const frame *f, rng *r) {
    for (int i = 0; i < 3; i++)
        if (p->kind->whorls[i].least) draw_whorl(c, p, &p->kind->whorls[i], f, r);
    draw_centre(c, p, f, r);
}

/* How the plant stands in the picture. */
typedef struct stance {
    vec3 at, axis, up;
    float size;
} stance;

static stance choose_stance(const species *s, float least, float most, float spread, rng *r) {
    stance t;
    t.size = rng_range(r, least, most);
    t.at = rng_vec(r, v3(-spread, -spread, 0), v3(spread, spread, 0));
    float roll = 0.09f * rng_bell(r), pitch = rng_range(r, s->pitch_low, s->pitch_high) / 360;
    vec3 look = look_along(pitch, 0.16f * rng_bell(r));
    float a = cos_turns(roll), b = sin_turns(roll);
    t.axis = v3(look.x * a - look.y * b, look.x * b + look.y * a, look.z);
    t.up = v3(-b, a, 0);
    return t;
}

/* From under the flower to below the picture's lower edge. */
static void draw_stem(canvas *c, const plant *p, const stance *t, float thick, rng *r) {
    float sway = rng_range(r, -0.4f, 0.4f);
    tube stem = {.from = v3_along(t->at, t->axis, -0.03f * t->size),
                 .by = v3_along(t->at, t->axis, -1.1f * t->size),
                 .to = v3(t->at.x + sway, -2.2f, -0.5f),
                 .thick = thick,
                 .thin = thick * 1.2f};
    if (p->kind->habit == HABIT_NODDING) { /* Up and over, like a crook. */
        stem.by = v3(t->at.x + sway * 0.7f, t->at.y + 1.4f * t->size, -0.3f);
        stem.thick = thick * 0.6f;
    }
    scene_stalk(c, &stem, p->green);
}

static petal leaf_shape(leaf_kind k, float size, rng *r) {
    static const petal shapes[] = {
        [LEAF_OVAL] = {TIP_POINTED, 0.8f, 0.22f, .45f, .25f, .cup = .3f},
        [LEAF_LANCE] = {TIP_POINTED, 0.9f, 0.11f, .4f, .3f, .cup = .4f},
        [LEAF_BLADE] = {TIP_POINTED, 1.5f, 0.08f, .3f, .8f, .cup = .5f},
        [LEAF_HEART] = {TIP_ROUND, 0.75f, 0.36f, .4f, .5f, .cup = .2f},
    };
    petal leaf = shapes[k];
    leaf.length *= size * rng_range(r, 0.7f, 1.3f);
    leaf.width *= size * rng_range(r, 0.7f, 1.3f);
    leaf.curl = rng_range(r, -0.2f, 0.05f);
    leaf.rise = rng_range(r, -0.05f, 0.1f);
    leaf.ruffle = 0.03f * size;
    return leaf;
}

/* Leaves behind the flower: blades rise from the ground, others reach out from the stem. */
static void draw_leaves(canvas *c, const plant *p, const stance *t, rng *r) {
    leaf_kind k = p->kind->leaf;
    if (k == LEAF_NONE) return;
    for (int n = rng_int(r, 1, 6); n > 0; n--) {
        petal leaf = leaf_shape(k, 0.7f + 0.5f * t->size, r);
        vec3 from = rng_vec(r, v3(-0.3f, -1.2f * t->size, -0.9f), v3(0.3f, 0, -0.5f));
        from = v3_add(from, v3(t->at.x, t->at.y, 0));
        vec3 along = rng_vec(r, v3(-1, -0.5f, 0), v3(1, 1, 0));
        if (k == LEAF_BLADE) {
            from = rng_vec(r, v3(t->at.x - 0.7f, -1.3f, from.z), v3(t->at.x + 0.7f, -0.8f, from.z));
            along = rng_vec(r, v3(-0.4f, 1, -0.2f), v3(0.4f, 1, 0.2f));
        }
        scene_leaf(c, from, along, &leaf, vary_color(p->green, 0.25f, r), r);
    }
}

static void draw_single(canvas *c, const plant *p, const stance *t, rng *r) {
    frame f = frame_along(t->at, t->axis, t->up, t->size, rng_range(r, -0.03f, 0.03f));
    /* A flower that has no lower lip may stand in any turn. */
    if (!(p->kind->whorls[0].lip + p->kind->whorls[1].lip + p->kind->whorls[2].lip > 0))
        f = frame_along(t->at, t->axis, t->up, t->size, rng_range(r, 0, 1));
    draw_calyx(c, p, &f, r);
    draw_head(c, p, &f, r);
    draw_stem(c, p, t, 0.035f * (0.5f + t->size), r);
}

/* Florets on part of a ball, at even distances by the golden angle. */
static void draw_dome(canvas *c, const plant *p, const stance *t, rng *r) {
    const species *s = p->kind;
    int n = rng_int(r, s->least, s->most);
    float small = t->size * s->floret * rng_range(r, 0.9f, 1.1f), ball = t->size - small * 0.3f;
    frame f = frame_along(v3_along(t->at, t->axis, -ball * (1 - s->ball)), t->axis, t->up, ball, 0);
    for (int i = 0; i < n; i++) {
        float z = 1 - 2 * s->ball * ((float)i + 0.5f) / (float)n, turn = (float)i * 0.381966f;
        float ring = sqrtf(fmaxf(1 - z * z, 0));
        vec3 off = rng_vec(r, v3(-0.04f, -0.04f, 0), v3(0.04f, 0.04f, 0));
        vec3 d = v3_add(v3(ring * cos_turns(turn), ring * sin_turns(turn), z), off);
        vec3 out = v3_along(v3_along(v3_scale(f.x, d.x), f.y, d.y), f.z, d.z);
        vec3 at = v3_along(f.origin, out, rng_range(r, 0.92f, 1.05f));
        if (at.z < f.origin.z - ball * 0.5f) continue; /* Hidden behind the rest. */
        float size = small * rng_range(r, 0.85f, 1.1f);
        frame g = frame_along(at, out, t->up, size, rng_range(r, 0, 1));
        draw_head(c, p, &g, r);
        tube stalk = {f.origin, v3_along(f.origin, out, 0.5f), at, small * 0.07f, small * 0.07f};
        scene_stalk(c, &stalk, p->green);
    }
    stance below = *t;
    below.at = f.origin;
    draw_stem(c, p, &below, 0.05f * t->size, r);
}

/* Florets along an upright stem, smaller and still closed towards the top. */
static void draw_spike(canvas *c, const plant *p, const stance *t, rng *r) {
    const species *s = p->kind;
    int n = rng_int(r, s->least, s->most);
    float length = t->size * 1.7f, hang = rng_range(r, -0.35f, 0.35f);
    vec3 foot = v3_along(t->at, t->axis, -length / 2), top = v3_along(foot, t->axis, length);
    scene_stalk(c, &(tube){v3_along(foot, t->axis, -1.6f), foot, top, 0.035f, 0.012f}, p->green);
    frame f = frame_along(foot, t->axis, t->up, 1, rng_range(r, 0, 1));
    for (int i = 0; i < n; i++) {
        float share = ((float)i + rng_range(r, 0, 0.7f)) / (float)n, turn = (float)i * 0.381966f;
        float size = length * s->floret * mix(1, 0.35f, share * share);
        vec3 out = v3_along(v3_scale(f.x, cos_turns(turn)), f.y, sin_turns(turn));
        if (out.z < -0.6f) continue;
        vec3 at = v3_along(v3_along(foot, t->axis, length * share), out, size * 0.35f);
        vec3 look = v3_along(out, t->axis, hang + share * 0.8f);
        frame g = frame_along(at, look, t->axis, size, 0.03f * rng_bell(r));
        draw_head(c, p, &g, r);
    }
}

static void draw_plant(canvas *c, const plant *p, const stance *t, rng *r) {
    if (p->kind->habit == HABIT_DOME)
        draw_dome(c, p, t, r);
    else if (p->kind->habit == HABIT_SPIKE)
        draw_spike(c, p, t, r);
    else
        draw_single(c, p, t, r);
}

void scene_flower(canvas *c, const species *s, rng *r) {
    plant p = choose_plant(s, r);
    int several = s->habit == HABIT_FEW || s->habit == HABIT_NODDING;
    int n = several ? rng_int(r, 1, 4) : rng_chance(r, 0.25f) ? 2 : 1;
    float most = n == 1 ? 0.88f : n == 2 ? 0.66f : 0.5f;
    if (s->habit == HABIT_SPIKE) most += 0.12f;
    stance first = choose_stance(s, most * 0.55f, most, n == 1 ? 0.3f : 0.42f, r);
    draw_leaves(c, &p, &first, r);
    draw_plant(c, &p, &first, r);
    for (int i = 1; i < n; i++) {
        stance next = choose_stance(s, first.size * 0.6f, first.size, 0.2f, r);
        /* Around the first one, and behind it. */
        float turn = rng_range(r, 0, 1),
              away = (first.size + next.size) * rng_range(r, 0.75f, 1.1f);
        next.at = v3(first.at.x + cos_turns(turn) * away, first.at.y + sin_turns(turn) * away,
                     -1.2f * (float)i);
        draw_plant(c, &p, &next, r);
    }
}
