#include "scene.h"

/* Colours from top to bottom, with cloudy spots of both in each other. */
static void fill_gradient(canvas *c, vec3 top, vec3 bottom, float spots, float scale, rng *r) {
    uint32_t seed = (uint32_t)rng_bits(r);
    float step = 1 / c->unit;
    for (int y = 0; y < c->height; y++)
        for (int x = 0; x < c->width; x++) {
            float noise = cloud2((float)x * step * scale, (float)y * step * scale, seed) - 0.5f;
            float t = clamp01((float)y / (float)c->height + spots * noise * 2);
            c->colors[(size_t)y * (size_t)c->width + (size_t)x] = v3_mix(top, bottom, t);
        }
}

static light soft_light(void) {
    return (light){v3(0.3f, 0.7f, 0.65f), v3(.6f, .58f, .5f), v3(.5f, .52f, .55f),
                   v3(.25f, .27f, .2f)};
}

static void foliage(canvas *c, int blades, rng *r) {
    vec3 dark = v3_scale(some_green(r), 0.5f);
    fill_gradient(c, dark, v3_scale(dark, rng_range(r, 0.4f, 1.3f)), 0.6f, 3, r);
    for (int n = rng_int(r, 15, 50); n > 0; n--) {
        vec3 from = rng_vec(r, v3(-1.5f, -1.5f, -3), v3(1.5f, 1.3f, -1));
        vec3 along = rng_vec(r, v3(-1, -1, 0), v3(1, 1, 0));
        petal leaf = {TIP_POINTED, .widest = .45f, .neck = .3f, .cup = .3f};
        leaf.length = rng_range(r, .3f, .9f);
        leaf.width = rng_range(r, .06f, .25f);
        leaf.curl = rng_range(r, -.2f, .1f);
        if (blades) {
            from.y = rng_range(r, -1.6f, -0.3f);
            along = rng_vec(r, v3(-.5f, 1, 0), v3(.5f, 1, 0));
            leaf.length *= 1.7f, leaf.width = rng_range(r, .02f, .07f);
        }
        vec3 green = some_green(r);
        scene_leaf(c, from, along, &leaf, v3_scale(green, rng_range(r, .5f, 1.3f)), r);
    }
}

/* Things of any colour, far out of focus: other flowers, or toys on a lawn. */
static void colored_blobs(canvas *c, int n, rng *r) {
    vec3 color = some_color(r);
    for (; n > 0; n--) {
        if (rng_chance(r, 0.3f)) color = some_color(r);
        vec3 at = rng_vec(r, v3(-1.3f, -1.2f, 0), v3(1.3f, 1.2f, 0));
        vec3 axis = rng_vec(r, v3(0, 0, 1), v3(0, 1, 1));
        frame f = frame_along(at, axis, v3(0, 1, 0), rng_range(r, 0.06f, 0.35f), 0);
        material m = plain_material(PATTERN_GRAIN, color, v3_scale(color, 0.7f), color, r);
        blob b = {.depth = 0.1f};
        for (int i = 0; i < 4; i++)
            b.wave[i] = rng_vec(r, v3(-1, -1, -1), v3(1, 1, 1));
        canvas_surface(c, blob_surface, &b, &f, 6, 8, canvas_material(c, &m));
    }
}

static void meadow(canvas *c, rng *r) {
    vec3 sky = v3_mix(hue_color(SKY), hue_color(WHITE), rng_range(r, 0, 0.8f));
    fill_gradient(c, sky, v3_mix(sky, hue_color(WHITE), 0.5f), 0.3f, 2, r);
    float horizon = rng_range(r, -0.5f, 0.7f);
    vec3 grass = some_green(r);
    face field = {v3(-3, horizon, -5), v3(3, horizon + rng_range(r, -.3f, .3f), -5), v3(-3, -4, -4),
                  v3(3, -4, -4)};
    material m = plain_material(PATTERN_GRAIN, grass, v3_scale(grass, 0.5f), grass, r);
    frame world = {v3(1, 0, 0), v3(0, 1, 0), v3(0, 0, 1), v3(0, 0, 0)};
    canvas_surface(c, face_surface, &field, &world, 2, 2, canvas_material(c, &m));
}

static void ground(canvas *c, rng *r) {
    static const hue hues[] = {UMBER, BROWN, BLACK, CREAM, APRICOT, BROWN};
    vec3 a = vary_color(hue_color(hues[rng_int(r, 0, 5)]), 0.4f, r);
    vec3 b = v3_scale(a, rng_range(r, 0.35f, 0.7f));
    fill_gradient(c, a, b, 1.2f, rng_range(r, 3, 12), r);
}

static void wall(canvas *c, rng *r) {
    vec3 paint = some_color(r), grey = v3_scale(hue_color(WHITE), rng_range(r, 0.1f, 0.9f));
    vec3 a = v3_mix(paint, grey, 0.75f);
    fill_gradient(c, a, v3_scale(a, rng_range(r, 0.5f, 1.1f)), 0.2f, 1, r);
}

static void sky(canvas *c, rng *r) {
    vec3 a = v3_mix(hue_color(BLUE), hue_color(SKY), rng_range(r, 0.2f, 1.2f));
    fill_gradient(c, a, v3_mix(a, hue_color(WHITE), rng_range(r, 0.3f, 0.9f)), 0.6f, 1.5f, r);
}

void scene_background(canvas *c, canvas *coarse, rng *r) {
    float choice = rng_range(r, 0, 1);
    if (choice < 0.38f)
        foliage(coarse, 0, r);
    else if (choice < 0.56f)
        foliage(coarse, 1, r);
    else if (choice < 0.70f)
        meadow(coarse, r);
    else if (choice < 0.80f)
        ground(coarse, r);
    else if (choice < 0.90f)
        wall(coarse, r);
    else
        sky(coarse, r);
    if (rng_chance(r, 0.45f)) colored_blobs(coarse, rng_int(r, 1, 8), r);
    light l = soft_light();
    canvas_shade(coarse, &l, 0);
    canvas_blur(coarse, (int)(coarse->unit * rng_range(r, 0.02f, 0.14f) + 0.5f));
    canvas_stretch(c, coarse);
}
