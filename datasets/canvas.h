/* The canvas of the picture generator: a small software renderer.
 *
 * Surfaces are sampled on a grid, cut into triangles and put into a depth buffer that remembers,
 * for every sample, which material lies there and at which place of its surface. Colours come last,
 * once for each visible sample: a petal's pattern, light, the shadow that other petals throw on it.
 *
 * The world: x right, y up, z to the viewer, parallel projection. The picture's short side spans
 * -1..1. Colours are linear light, 0..1.
 */
#ifndef THAW_CANVAS_H
#define THAW_CANVAS_H

#include "draw_math.h"

/* How a material turns a place (u, v) on its surface into a colour. */
typedef enum pattern {
    PATTERN_PLAIN,   /* base to tip along u */
    PATTERN_PETAL,   /* base to tip along u, faint veins, and one mark in the accent colour */
    PATTERN_LEAF,    /* midrib and side veins in the accent colour */
    PATTERN_GRAIN,   /* base and tip mixed by noise: stone, soil, skin of fruits */
    PATTERN_FLORETS, /* the dots of a daisy's centre: base inside, tip outside, accent in the gaps
                      */
    PATTERN_STRIPES, /* base and accent, across u */
    PATTERN_SECTORS, /* base and accent, along u */
    PATTERN_CHECKS,  /* base and accent */
    PATTERN_DOTS,    /* accent dots on base */
    PATTERN_BRICKS,  /* base bricks, accent joints */
    PATTERN_WOOD     /* base and tip, in long grains along u */
} pattern;

/* What a petal wears in its accent colour. */
typedef enum mark {
    MARK_NONE,
    MARK_THROAT, /* a soft glow at the base */
    MARK_BLOTCH, /* a sharp spot at the base */
    MARK_EDGE,   /* a rim */
    MARK_STREAK, /* a line down the middle */
    MARK_VEINS,  /* a fan of lines from the base */
    MARK_SPOTS,  /* freckles near the base */
    MARK_TIP     /* the outer end */
} mark;

typedef struct material {
    pattern pattern;
    mark mark;
    vec3 base, tip, accent;
    float mark_size;   /* share of the petal that the mark takes, 0..1 */
    float repeat;      /* how often a pattern repeats over the surface */
    float gloss;       /* strength of the highlight, 0..1 */
    float translucent; /* share of light that comes through from behind, 0..1 */
    uint32_t seed;
} material;

/* Where a surface stands: three axes (their lengths scale it) and an origin. */
typedef struct frame {
    vec3 x, y, z, origin;
} frame;

/* A surface: the point at u in 0..1, v in -1..1, in its own coordinates. */
typedef vec3 (*surface)(const void *shape, float u, float v);

typedef struct light {
    vec3 direction; /* to the sun, length 1 */
    vec3 sun, sky, ground;
} light;

typedef struct sample {
    float z;
    vec3 normal; /* length 1 only nearly */
    float u, v;
    int material; /* index + 1; 0: nothing is there */
} sample;

enum { CANVAS_MATERIALS = 2048, SURFACE_STEPS = 24 };

typedef struct canvas {
    int width, height;   /* in samples */
    float unit;          /* samples in one unit of the world */
    sample *samples;     /* height * width, top row first */
    vec3 *colors;        /* the same */
    vec3 *line;          /* scratch: one row or column */
    material *materials; /* CANVAS_MATERIALS */
    int n_materials;
} canvas;

/* Makes an empty black canvas; 0, or -1 when memory is short (canvas_free is safe then, too). */
int canvas_init(canvas *c, int width, int height);
void canvas_free(canvas *c);

/* Keeps a material and returns its number. A canvas that is full hands out its last one again. */
int canvas_material(canvas *c, const material *m);

/* Draws a surface into the depth buffer on a grid of nu by nv patches (1..SURFACE_STEPS). */
void canvas_surface(canvas *c, surface s, const void *shape, const frame *f, int nu, int nv,
                    int material);

/* Colours every sample that shows a surface. shadows 0 leaves out thrown shadows and occlusion. */
void canvas_shade(canvas *c, const light *l, int shadows);

/* Blurs the colours: three box filters of that radius in samples, which is nearly a Gaussian. */
void canvas_blur(canvas *c, int radius);

/* The colours of src, stretched over all of dst, bilinearly. */
void canvas_stretch(canvas *dst, const canvas *src);

#endif
