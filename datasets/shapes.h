/* The surfaces that flowers, mushrooms and houses are made of. Each is a `surface` of canvas.h. */
#ifndef THAW_SHAPES_H
#define THAW_SHAPES_H

#include "canvas.h"

/* How a petal or a leaf ends. */
typedef enum tip {
    TIP_ROUND,
    TIP_POINTED,
    TIP_LONG,    /* drawn out to a fine point */
    TIP_NOTCHED, /* a heart: cut in the middle */
    TIP_FRINGED, /* many small teeth */
    TIP_SQUARE   /* a strap's end */
} tip;

/* A petal that grows from the z axis, in the direction x. Its middle line leaves the plane at angle
 * rise and bends by curl over its length; across, it is a shallow gutter (cup) with a wavy rim
 * (ruffle). Lengths in the flower's radius, angles in turns. */
typedef struct petal {
    tip tip;
    float length, width; /* width: half of it, at the widest place */
    float widest;        /* where that is along the length, 0..1 */
    float neck;          /* width at the base, as a share of the widest */
    float rise, curl;
    float cup, ruffle;
    float phase; /* of the ruffle */
    float start; /* distance from the axis */
} petal;

vec3 petal_surface(const void *petal, float u, float v);

/* A surface of revolution about z: up to 8 (radius, height) pairs joined smoothly, u along them. */
typedef struct lathe {
    int n;
    float radius[8], height[8];
} lathe;

vec3 lathe_surface(const void *lathe, float u, float v);

/* A dented ball of radius 1: u from pole to pole. */
typedef struct blob {
    vec3 wave[4]; /* directions and frequencies of the dents */
    float depth;
} blob;

vec3 blob_surface(const void *blob, float u, float v);

/* A bent round stick: a quadratic Bezier curve whose radius goes from thick to thin. */
typedef struct tube {
    vec3 from, by, to;
    float thick, thin;
} tube;

vec3 tube_surface(const void *tube, float u, float v);

/* A flat or twisted four-sided face: u from side a-b to side d-e, v from a to b. */
typedef struct face {
    vec3 a, b, d, e;
} face;

vec3 face_surface(const void *face, float u, float v);

#endif
