#include "scene.h"

const char *const other_names[OTHER_COUNT] = {
    "ball",  "beetle", "butterfly", "cloud",   "fence",    "fruit",  "grass",
    "house", "leaves", "mushroom",  "parasol", "starfish", "stones", "texture",
};

static const frame world = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0, 0, 0}};
static const vec3 upward = {0, 1, 0};

static vec3 somewhere(float spread, rng *r) {
    return rng_vec(r, v3(-spread, -spread, -1), v3(spread, spread, 0));
}

/* Anywhere in the picture, looking up by pitch from low to high, in any turn. */
static frame any_frame(float spread, float low, float high, float size, rng *r) {
    vec3 at = somewhere(spread, r), axis = look_along(rng_range(r, low, high), 0);
    return frame_along(at, axis, upward, size, rng_range(r, 0, 1));
}

/* At a place, looking up by pitch from low to high, leaning a little to a side. */
static frame standing(vec3 at, float low, float high, float size, rng *r) {
    float pitch = rng_range(r, low, high);
    vec3 axis = look_along(pitch, .06f * rng_bell(r));
    return frame_along(at, axis, upward, size, rng_range(r, 0, 1));
}

static void put_face(canvas *c, vec3 a, vec3 b, vec3 d, vec3 e, const material *m) {
    canvas_surface(c, face_surface, &(face){a, b, d, e}, &world, 1, 1, canvas_material(c, m));
}

static void put_ball(canvas *c, const frame *f, float dents, const material *m, rng *r) {
    blob b = {.depth = dents};
    for (int i = 0; i < 4; i++)
        b.wave[i] = rng_vec(r, v3(-.7f, -.7f, -.7f), v3(.7f, .7f, .7f));
    canvas_surface(c, blob_surface, &b, f, 18, 24, canvas_material(c, m));
}

static void draw_ball(canvas *c, rng *r) {
    static const pattern patterns[] = {PATTERN_STRIPES, PATTERN_SECTORS, PATTERN_CHECKS,
                                       PATTERN_DOTS, PATTERN_PLAIN};
    for (int n = rng_int(r, 1, 3); n > 0; n--) {
        vec3 color = some_color(r);
        vec3 other = some_color(r);
        material m = plain_material(patterns[rng_int(r, 0, 4)], color, color, other, r);
        m.repeat = (float)rng_int(r, 2, 7);
        m.gloss = rng_range(r, 0, 0.8f);
        frame f = any_frame(0.5f, -.5f, .5f, rng_range(r, 0.25f, 0.75f), r);
        put_ball(c, &f, 0, &m, r);
    }
}

static void draw_beetle(canvas *c, rng *r) {
    float size = rng_range(r, 0.3f, 0.6f);
    vec3 ahead = look_along(0, rng_range(r, 0, 1)), at = somewhere(0.3f, r);
    ahead = v3(ahead.x, ahead.z, 0);
    vec3 side = v3(-ahead.y, ahead.x, 0), black = hue_color(BLACK);
    material dark = plain_material(PATTERN_PLAIN, black, black, black, r);
    dark.gloss = 0.5f;
    vec3 shell = some_color(r);
    material wing = plain_material(rng_chance(r, 0.6f) ? PATTERN_DOTS : PATTERN_PLAIN, shell,
                                   v3_scale(shell, 0.6f), black, r);
    wing.gloss = 0.8f;
    wing.repeat = (float)rng_int(r, 3, 5);
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j += 2) {
            vec3 hip = v3_along(at, ahead, 0.4f * size * (float)i);
            vec3 knee = v3_along(hip, side, 0.9f * size * (float)j);
            vec3 foot = v3_along(v3_along(knee, side, 0.35f * size * (float)j), ahead,
                                 0.3f * size * (float)i);
            scene_stalk(c, &(tube){hip, knee, foot, size * 0.06f, size * 0.03f}, black);
        }
    float wide = rng_range(r, 0.5f, 0.8f);
    frame body = {v3_scale(side, size * wide), v3_scale(v3(0, 0, 1), size * 0.5f),
                  v3_scale(ahead, size), at};
    put_ball(c, &body, 0, &wing, r);
    frame head = {v3_scale(side, size * wide * 0.6f), v3_scale(v3(0, 0, 1), size * 0.4f),
                  v3_scale(ahead, size * 0.35f), v3_along(at, ahead, size)};
    put_ball(c, &head, 0, &dark, r);
    vec3 back = v3_along(at, v3(0, 0, 1), size * 0.5f);
    scene_stalk(c,
                &(tube){v3_along(back, ahead, size * 0.7f), back, v3_along(at, ahead, -size),
                        size * 0.02f, size * 0.02f},
                black);
}

static void draw_wing(canvas *c, const frame *body, float side, int hind, const material *m,
                      rng *r) {
    petal wing = {TIP_ROUND, hind ? 0.75f : 1.05f, hind ? 0.36f : 0.4f, 0.7f,
                  0.1f,      .rise = 0.05f,        .ruffle = 0.04f};
    float turn = hind ? -0.07f : 0.1f, a = cos_turns(turn) * side, b = sin_turns(turn);
    vec3 x = v3_along(v3_scale(body->x, a), body->y, b);
    vec3 y = v3_along(v3_scale(body->x, -b * side), body->y, cos_turns(turn));
    frame f = {x, y, v3_scale(body->z, 1), body->origin};
    wing.rise += 0.02f * rng_bell(r);
    canvas_surface(c, petal_surface, &wing, &f, 16, 12, canvas_material(c, m));
}

static void draw_butterfly(canvas *c, rng *r) {
    static const mark marks[] = {MARK_EDGE, MARK_SPOTS, MARK_TIP, MARK_VEINS, MARK_BLOTCH};
    float size = rng_range(r, 0.45f, 0.85f);
    vec3 at = somewhere(0.3f, r), axis = look_along(rng_range(r, 0, 0.16f), 0);
    frame body = frame_along(at, axis, upward, size, rng_range(r, -0.12f, 0.12f));
    vec3 color = some_color(r), dark = hue_color(rng_chance(r, 0.6f) ? BLACK : UMBER);
    vec3 root = v3_mix(color, some_color(r), 0.4f);
    material m = plain_material(PATTERN_PETAL, root, color, dark, r);
    m.mark = marks[rng_int(r, 0, 4)];
    m.mark_size = rng_range(r, 0.15f, 0.5f);
    for (int hind = 1; hind >= 0; hind--) {
        draw_wing(c, &body, 1, hind, &m, r);
        draw_wing(c, &body, -1, hind, &m, r);
    }
    material fur = plain_material(PATTERN_GRAIN, dark, v3_scale(dark, 2), dark, r);
    frame trunk = {v3_scale(body.x, 0.06f), v3_scale(body.z, 0.06f), v3_scale(body.y, 0.42f),
                   body.origin};
    put_ball(c, &trunk, 0.05f, &fur, r);
    for (float side = -1; side <= 1; side += 2) {
        vec3 tip = v3_along(v3_along(body.origin, body.y, 0.8f), body.x, 0.25f * side);
        scene_stalk(c,
                    &(tube){v3_along(body.origin, body.y, 0.35f),
                            v3_along(body.origin, body.y, 0.7f), tip, 0.012f, 0.008f},
                    dark);
    }
}

/* White noise on blue: the clouds are colours of the background, not surfaces. */
static void draw_cloud(canvas *c, rng *r) {
    uint32_t seed = (uint32_t)rng_bits(r);
    vec3 blue = v3_mix(hue_color(BLUE), hue_color(SKY), rng_range(r, 0.2f, 1));
    vec3 tint = hue_color(rng_chance(r, 0.4f) ? CORAL : SKY);
    vec3 white = v3_mix(hue_color(WHITE), tint, rng_range(r, 0, 0.5f));
    float scale = rng_range(r, 0.8f, 2.5f), cover = rng_range(r, 0.35f, 0.6f), step = 1 / c->unit;
    for (int y = 0; y < c->height; y++)
        for (int x = 0; x < c->width; x++) {
            float px = (float)x * step * scale, py = (float)y * step * scale * 1.6f;
            float thick = smooth(cover, cover + 0.2f, cloud2(px, py, seed));
            float below = cloud2(px, py - 0.15f, seed) - cover;
            vec3 cloud = v3_scale(white, 1 - 0.45f * clamp01(below * 2));
            vec3 sky = v3_mix(blue, hue_color(WHITE), 0.5f * (float)y / (float)c->height);
            c->colors[(size_t)y * (size_t)c->width + (size_t)x] = v3_mix(sky, cloud, thick);
        }
}

static void draw_fence(canvas *c, rng *r) {
    vec3 color = rng_chance(r, 0.5f) ? hue_color(BROWN) : some_color(r);
    material wood = plain_material(PATTERN_WOOD, color, v3_scale(color, 0.45f), color, r);
    float wide = rng_range(r, 0.1f, 0.3f), gap = rng_range(r, 0.02f, 0.2f);
    float lean = rng_range(r, -0.2f, 0.2f), top = rng_range(r, 0.1f, 0.9f);
    for (int i = 0; i < 2; i++) {
        float y = mix(-0.7f, top - 0.3f, (float)i);
        put_face(c, v3(-2, y - lean, -.2f), v3(-2, y - lean + .16f, -.2f), v3(2, y + lean, -.2f),
                 v3(2, y + lean + .16f, -.2f), &wood);
    }
    for (float x = -2; x < 2; x += wide + gap) {
        vec3 shade = vary_color(color, 0.3f, r);
        material m = plain_material(PATTERN_WOOD, shade, v3_scale(shade, 0.5f), shade, r);
        float high = top + lean * x + 0.04f * rng_bell(r);
        put_face(c, v3(x, -2, 0), v3(x + wide, -2, 0), v3(x, high, 0), v3(x + wide, high, 0), &m);
        put_face(c, v3(x, high, 0), v3(x + wide, high, 0), v3(x + wide / 2, high + wide * .6f, 0),
                 v3(x + wide / 2, high + wide * .6f, 0), &m);
    }
}

static void draw_fruit(canvas *c, rng *r) {
    static const lathe shapes[] = {
        {7, {0, .35f, .8f, 1, .85f, .4f, 0}, {-.75f, -.9f, -.65f, 0, .6f, .75f, .55f}}, /* apple */
        {7, {0, .5f, .8f, .75f, .45f, .3f, 0}, {-.9f, -.85f, -.4f, .1f, .6f, .95f, 1}}, /* pear */
        {5, {0, .7f, 1, .7f, 0}, {-1, -.7f, 0, .7f, 1}},                                /* berry */
    };
    int kind = rng_int(r, 0, 2);
    vec3 color = some_color(r);
    for (int n = kind == 2 ? rng_int(r, 3, 9) : rng_int(r, 1, 3); n > 0; n--) {
        float size = kind == 2 ? rng_range(r, 0.15f, 0.3f) : rng_range(r, 0.35f, 0.65f);
        vec3 at = somewhere(kind == 2 ? 0.6f : 0.5f, r);
        frame f = standing(at, 0.12f, 0.3f, size, r);
        vec3 ripe = vary_color(color, 0.2f, r);
        vec3 unripe = v3_mix(color, hue_color(LIME), rng_range(r, 0, 0.6f));
        material m = plain_material(PATTERN_GRAIN, ripe, unripe, color, r);
        m.repeat = 3, m.gloss = 0.7f;
        canvas_surface(c, lathe_surface, &shapes[kind], &f, 18, 24, canvas_material(c, &m));
        tube stalk = {v3_along(at, f.z, 0.5f), v3_along(at, f.z, 1),
                      v3_along(v3_along(at, f.z, 1.25f), f.x, 0.2f), size * 0.05f, size * 0.04f};
        scene_stalk(c, &stalk, hue_color(BROWN));
        if (rng_chance(r, 0.5f)) continue;
        petal leaf = {TIP_POINTED, size * 0.9f, size * 0.25f, .45f, .2f, .curl = -.1f};
        vec3 along = rng_vec(r, v3(-1, 0.6f, 0), v3(1, 0.6f, 0));
        scene_leaf(c, v3_along(at, f.z, 0.95f), along, &leaf, some_green(r), r);
    }
}

static void draw_grass(canvas *c, rng *r) {
    vec3 green = some_green(r);
    if (rng_chance(r, 0.25f)) green = v3_mix(green, hue_color(GOLD), 0.5f);
    float wide = rng_range(r, 0.015f, 0.06f);
    for (int n = rng_int(r, 60, 140); n > 0; n--) {
        vec3 from = rng_vec(r, v3(-1.4f, -1.7f, -1), v3(1.4f, -0.5f, 1));
        vec3 along = rng_vec(r, v3(-.5f, 1, -.3f), v3(.5f, 1, .3f));
        petal blade = {TIP_POINTED, .widest = .2f, .neck = .8f, .cup = .5f};
        blade.length = rng_range(r, 0.7f, 1.9f);
        blade.width = wide * rng_range(r, .6f, 1.4f);
        blade.curl = rng_range(r, -.3f, .1f);
        scene_leaf(c, from, along, &blade, vary_color(green, 0.4f, r), r);
    }
}

static void draw_house(canvas *c, rng *r) {
    vec3 paint = some_color(r), base = hue_color(rng_chance(r, 0.5f) ? CREAM : BROWN);
    vec3 color = v3_mix(paint, base, 0.5f);
    material wall = plain_material(rng_chance(r, 0.5f) ? PATTERN_BRICKS : PATTERN_PLAIN, color,
                                   color, v3_mix(color, hue_color(CREAM), 0.6f), r);
    wall.repeat = (float)rng_int(r, 8, 20);
    vec3 tile = some_color(r);
    material roof = plain_material(PATTERN_BRICKS, tile, tile, v3_scale(tile, 0.5f), r);
    roof.repeat = 12;
    float x0 = rng_range(r, -1.2f, -0.4f), x1 = rng_range(r, 0.4f, 1.2f);
    float y0 = -1.3f, y1 = rng_range(r, -0.1f, 0.6f), peak = y1 + rng_range(r, 0.3f, 0.7f);
    put_face(c, v3(x0, y0, 0), v3(x1, y0, 0), v3(x0, y1, 0), v3(x1, y1, 0), &wall);
    put_face(c, v3(x0 - .1f, y1 - .05f, .2f), v3(x1 + .1f, y1 - .05f, .2f),
             v3(x0 + .3f, peak, -.2f), v3(x1 - .3f, peak, -.2f), &roof);
    vec3 glass = hue_color(rng_chance(r, 0.3f) ? LEMON : SKY);
    glass = v3_scale(glass, rng_range(r, .1f, .8f));
    material pane = plain_material(PATTERN_PLAIN, glass, v3_scale(glass, 0.6f), glass, r);
    pane.gloss = 0.6f;
    vec3 white = hue_color(WHITE);
    material frame_paint = plain_material(PATTERN_PLAIN, white, white, white, r);
    int columns = rng_int(r, 2, 4), rows = rng_int(r, 1, 3);
    for (int i = 0; i < columns * rows; i++) {
        float w = (x1 - x0) / (float)columns, h = (y1 + 1) / (float)rows;
        float x = x0 + w * ((float)(i % columns) + 0.25f),
              y = -1 + h * ((float)(i / columns) + .2f);
        float e = 0.03f, right = x + w * 0.5f, high = y + h * 0.6f;
        put_face(c, v3(x - e, y - e, .02f), v3(right + e, y - e, .02f), v3(x - e, high + e, .02f),
                 v3(right + e, high + e, .02f), &frame_paint);
        put_face(c, v3(x, y, .04f), v3(right, y, .04f), v3(x, high, .04f), v3(right, high, .04f),
                 &pane);
    }
}

static void draw_leaves(canvas *c, rng *r) {
    vec3 color = some_green(r);
    if (rng_chance(r, 0.45f)) color = some_color(r); /* Autumn, and gaudy house plants. */
    static const tip tips[] = {TIP_POINTED, TIP_ROUND, TIP_LONG, TIP_NOTCHED};
    petal leaf = {tips[rng_int(r, 0, 3)], .cup = .3f, .ruffle = .03f};
    leaf.length = rng_range(r, .5f, 1.2f);
    leaf.width = rng_range(r, .1f, .35f);
    leaf.widest = rng_range(r, .35f, .6f);
    leaf.neck = rng_range(r, .1f, .4f);
    int twig = rng_chance(r, 0.5f);
    float lean = rng_range(r, 0, 1);
    vec3 axis = v3(cos_turns(lean), sin_turns(lean), 0), side = v3(-axis.y, axis.x, 0);
    if (twig) {
        vec3 from = v3_scale(axis, -1.8f), to = v3_scale(axis, 1.2f);
        scene_stalk(c, &(tube){from, v3_mix(from, to, 0.5f), to, 0.03f, 0.01f}, hue_color(BROWN));
        leaf.length *= 0.7f, leaf.width *= 0.7f;
    }
    for (int i = 0, n = rng_int(r, 5, 14); i < n; i++) {
        vec3 from = somewhere(1, r), along = rng_vec(r, v3(-1, -1, 0), v3(1, 1, 0));
        if (twig) {
            from = v3_scale(axis, mix(-1.2f, 1.1f, (float)i / (float)n));
            along = v3_along(axis, side, i % 2 ? 1.2f : -1.2f);
        }
        petal one = leaf;
        one.curl = rng_range(r, -0.2f, 0.1f);
        one.length *= rng_range(r, 0.75f, 1.2f);
        scene_leaf(c, from, along, &one, vary_color(color, 0.3f, r), r);
    }
}

static void draw_mushroom(canvas *c, rng *r) {
    static const lathe caps[] = {
        {6, {.1f, .95f, 1, .85f, .5f, 0}, {.05f, -.05f, .1f, .45f, .68f, .75f}},
        {6, {.1f, .95f, 1, .7f, .35f, 0}, {0, -.12f, 0, .2f, .28f, .3f}},
        {6, {.1f, .6f, .68f, .6f, .4f, 0}, {.1f, -.1f, .2f, .7f, 1.1f, 1.25f}},
    };
    int kind = rng_int(r, 0, 2);
    vec3 color = rng_chance(r, 0.5f) ? some_color(r) : hue_color(BROWN);
    for (int n = rng_int(r, 1, 4); n > 0; n--) {
        float size = rng_range(r, 0.25f, 0.6f);
        vec3 at = rng_vec(r, v3(-.7f, -.2f, -1), v3(.7f, .4f, 0));
        frame f = standing(at, .1f, .25f, size, r);
        pattern skin = rng_chance(r, 0.6f) ? PATTERN_DOTS : PATTERN_GRAIN;
        vec3 own = vary_color(color, 0.15f, r);
        material m = plain_material(skin, own, v3_scale(color, 0.6f), hue_color(CREAM), r);
        m.repeat = (float)rng_int(r, 3, 6);
        m.gloss = rng_range(r, 0, 0.5f);
        canvas_surface(c, lathe_surface, &caps[kind], &f, 18, 24, canvas_material(c, &m));
        tube stem = {v3_along(at, f.z, 0.1f), v3_along(at, f.z, -1),
                     v3(at.x + .1f * rng_bell(r), at.y - 2.2f * size, at.z), size * 0.2f,
                     size * 0.28f};
        scene_stalk(c, &stem, vary_color(hue_color(CREAM), 0.2f, r));
    }
}

static void draw_parasol(canvas *c, rng *r) {
    vec3 a = some_color(r), b = rng_chance(r, 0.6f) ? hue_color(WHITE) : some_color(r);
    int panels = rng_int(r, 6, 12);
    material m =
        plain_material(rng_chance(r, 0.7f) ? PATTERN_SECTORS : PATTERN_STRIPES, a, a, b, r);
    m.repeat = (float)(panels - panels % 2);
    m.translucent = 0.4f;
    float size = rng_range(r, 0.5f, 0.95f);
    vec3 at = somewhere(0.3f, r);
    frame f = standing(at, -.05f, .24f, size, r);
    lathe roof = {5, {1, .85f, .6f, .3f, 0}, {-.1f, .12f, .3f, .4f, .44f}};
    canvas_surface(c, lathe_surface, &roof, &f, 10, 24, canvas_material(c, &m));
    scene_stalk(c, &(tube){v3_along(at, f.z, .5f), at, v3_along(at, f.z, -2.5f), .025f, .025f},
                hue_color(BROWN));
}

static void draw_starfish(canvas *c, rng *r) {
    vec3 color = some_color(r);
    frame f = any_frame(0.3f, -.05f, .15f, rng_range(r, 0.45f, 0.85f), r);
    int arms = rng_chance(r, 0.8f) ? 5 : rng_int(r, 6, 9);
    material m = plain_material(rng_chance(r, 0.5f) ? PATTERN_DOTS : PATTERN_GRAIN, color,
                                v3_scale(color, 0.6f), v3_mix(color, hue_color(CREAM), 0.6f), r);
    m.repeat = 9;
    int id = canvas_material(c, &m);
    for (int i = 0; i < arms; i++) {
        float turn = ((float)i + 0.1f * rng_bell(r)) / (float)arms, bend = 0.1f * rng_bell(r);
        vec3 d = v3_along(v3_scale(f.x, cos_turns(turn)), f.y, sin_turns(turn));
        vec3 side = v3_along(v3_scale(f.y, cos_turns(turn)), f.x, -sin_turns(turn));
        float size = sqrtf(v3_dot(d, d));
        tube arm = {f.origin, v3_along(v3_along(f.origin, d, .5f), side, bend),
                    v3_along(v3_along(f.origin, d, 1), side, bend), size * .26f, size * .05f};
        canvas_surface(c, tube_surface, &arm, &world, 14, 12, id);
    }
}

static void draw_stones(canvas *c, rng *r) {
    static const hue hues[] = {CREAM, BROWN, BLACK, UMBER, WHITE, BLUSH, SKY};
    vec3 color = vary_color(hue_color(hues[rng_int(r, 0, 6)]), 0.3f, r);
    for (int n = rng_int(r, 2, 14); n > 0; n--) {
        if (rng_chance(r, 0.4f)) color = vary_color(hue_color(hues[rng_int(r, 0, 6)]), 0.3f, r);
        vec3 grey = v3_scale(v3_mix(color, v3(.3f, .3f, .3f), 0.5f), rng_range(r, 0.5f, 1.1f));
        material m = plain_material(PATTERN_GRAIN, grey, v3_scale(grey, 0.4f), grey, r);
        m.repeat = rng_range(r, 5, 25);
        frame f = any_frame(0.9f, -.5f, .5f, rng_range(r, 0.2f, 0.5f), r);
        f.z = v3_scale(f.z, rng_range(r, 0.5f, 1)), f.x = v3_scale(f.x, rng_range(r, 0.7f, 1.3f));
        put_ball(c, &f, 0.08f, &m, r);
    }
}

static void draw_texture(canvas *c, rng *r) {
    vec3 a = some_color(r), b = some_color(r);
    material m = plain_material((pattern)rng_int(r, PATTERN_GRAIN, PATTERN_WOOD), a, b, b, r);
    m.repeat = rng_range(r, 4, 24);
    float turn = rng_range(r, 0, 1), sag = rng_range(r, -1, 1);
    frame f = frame_along(v3(0, 0, 0), v3(0, 0, 1), upward, 1.9f, turn);
    face cloth = {v3(-1, -1, sag), v3(1, -1, -sag), v3(-1, 1, -sag), v3(1, 1, sag)};
    canvas_surface(c, face_surface, &cloth, &f, 12, 12, canvas_material(c, &m));
}

void scene_other(canvas *c, int other, rng *r) {
    static void (*const draw[OTHER_COUNT])(canvas *, rng *) = {
        draw_ball,    draw_beetle,   draw_butterfly, draw_cloud,   draw_fence,
        draw_fruit,   draw_grass,    draw_house,     draw_leaves,  draw_mushroom,
        draw_parasol, draw_starfish, draw_stones,    draw_texture,
    };
    draw[other](c, r);
}
