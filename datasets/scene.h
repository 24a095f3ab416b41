/* Scenes: what stands on a canvas. */
#ifndef THAW_SCENE_H
#define THAW_SCENE_H

#include "species.h"

enum { OTHER_COUNT = 14 };

/* Names of the pictures that show no flower, in their order. */
extern const char *const other_names[OTHER_COUNT];

/* Draws one plant of a species with its leaves. */
void scene_flower(canvas *c, const species *s, rng *r);

/* Draws things that are no flower; other: 0..OTHER_COUNT-1. */
void scene_other(canvas *c, int other, rng *r);

/* Fills all colours with something out of focus. coarse is a small empty canvas, for scratch. */
void scene_background(canvas *c, canvas *coarse, rng *r);

/* A leaf or a blade of grass that grows from a point in a direction, its upper side to the viewer.
 */
void scene_leaf(canvas *c, vec3 from, vec3 along, const petal *shape, vec3 color, rng *r);

/* A round stalk from a point to a point, bent to pass near by. */
void scene_stalk(canvas *c, const tube *shape, vec3 color);

/* A material with nothing special about it. */
material plain_material(pattern p, vec3 base, vec3 tip, vec3 accent, rng *r);

/* Some green, from yellowish to bluish. */
vec3 some_green(rng *r);

/* Any colour of the table that a flower could wear. */
vec3 some_color(rng *r);

/* The colour, a little off, as no two petals are alike. */
vec3 vary_color(vec3 color, float by, rng *r);

/* A frame of that size at origin whose z axis points along axis and whose y axis is as near to up
 * as it can be, then turned about the axis. */
frame frame_along(vec3 origin, vec3 axis, vec3 up, float size, float turn);

/* The unit vector that looks up by pitch and to the right by yaw; (0, 0) is at the viewer. */
vec3 look_along(float pitch, float yaw);

#endif
