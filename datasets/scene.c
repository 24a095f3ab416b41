/* What flowers, other things and backgrounds have in common. */
#include "scene.h"

frame frame_along(vec3 origin, vec3 axis, vec3 up, float size, float turn) {
    vec3 z = v3_unit(axis);
    /* Nearly parallel to up: what faces away from the viewer counts as up. */
    if (fabsf(v3_dot(z, up)) > 0.97f) up = v3(0, 0, -1);
    vec3 x = v3_unit(v3_cross(up, z)), y = v3_cross(z, x);
    float cosine = cos_turns(turn) * size, sine = sin_turns(turn) * size;
    return (frame){v3_along(v3_scale(x, cosine), y, sine), v3_along(v3_scale(y, cosine), x, -sine),
                   v3_scale(z, size), origin};
}

vec3 look_along(float pitch, float yaw) {
    return v3(sin_turns(yaw) * cos_turns(pitch), sin_turns(pitch),
              cos_turns(yaw) * cos_turns(pitch));
}

vec3 vary_color(vec3 color, float by, rng *r) {
    float light = 1 + by * rng_bell(r);
    float red = rng_bell(r), green = rng_bell(r), blue = rng_bell(r);
    vec3 off = v3(1 + by * red, 1 + by * green, 1 + by * blue);
    return v3_scale(v3_mul(color, off), light);
}

vec3 some_green(rng *r) {
    vec3 green = v3_mix(hue_color(DARK_GREEN), hue_color(GREEN), rng_range(r, 0, 1));
    if (rng_chance(r, 0.3f)) green = v3_mix(green, hue_color(LIME), rng_range(r, 0, 0.5f));
    if (rng_chance(r, 0.2f)) green = v3_mix(green, hue_color(SKY), rng_range(r, 0, 0.25f));
    return vary_color(green, 0.3f, r);
}

vec3 some_color(rng *r) {
    return vary_color(hue_color((hue)rng_int(r, WHITE, SKY)), 0.2f, r);
}

material plain_material(pattern p, vec3 base, vec3 tip, vec3 accent, rng *r) {
    return (material){.pattern = p,
                      .base = base,
                      .tip = tip,
                      .accent = accent,
                      .repeat = 8,
                      .gloss = 0.1f,
                      .seed = (uint32_t)rng_bits(r)};
}

void scene_leaf(canvas *c, vec3 from, vec3 along, const petal *shape, vec3 color, rng *r) {
    vec3 x = v3_unit(along);
    vec3 facing = rng_vec(r, v3(-0.7f, -0.2f, 1), v3(0.7f, 0.8f, 1));
    vec3 y = v3_unit(v3_cross(facing, x));
    frame f = {x, y, v3_cross(x, y), from};
    vec3 light = v3_mix(color, hue_color(LIME), 0.3f);
    material m = plain_material(PATTERN_LEAF, v3_scale(color, 0.8f), color, light, r);
    m.gloss = rng_range(r, 0, 0.3f);
    m.translucent = 0.3f;
    canvas_surface(c, petal_surface, shape, &f, 12, 6, canvas_material(c, &m));
}

void scene_stalk(canvas *c, const tube *shape, vec3 color) {
    material m = {
        .pattern = PATTERN_PLAIN, .base = color, .tip = v3_scale(color, 1.15f), .gloss = 0.1f};
    frame world = {v3(1, 0, 0), v3(0, 1, 0), v3(0, 0, 1), v3(0, 0, 0)};
    canvas_surface(c, tube_surface, shape, &world, 12, 8, canvas_material(c, &m));
}
