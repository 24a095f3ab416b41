/* Arithmetic of the picture generator: vectors, random numbers, noise.
 *
 * The pictures must come out the same on every machine, so nothing here calls the maths library
 * beyond sqrtf and floorf, which IEEE 754 defines to the last bit, and the generator is compiled
 * without contraction to fused multiply-adds. Angles are in turns: 1 is the full circle.
 */
#ifndef THAW_DRAW_MATH_H
#define THAW_DRAW_MATH_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vec3 {
    float x, y, z;
} vec3;

static inline vec3 v3(float x, float y, float z) {
    return (vec3){x, y, z};
}
static inline vec3 v3_add(vec3 a, vec3 b) {
    return v3(a.x + b.x, a.y + b.y, a.z + b.z);
}
static inline vec3 v3_sub(vec3 a, vec3 b) {
    return v3(a.x - b.x, a.y - b.y, a.z - b.z);
}
static inline vec3 v3_scale(vec3 a, float s) {
    return v3(a.x * s, a.y * s, a.z * s);
}
/* a + b * s */
static inline vec3 v3_along(vec3 a, vec3 b, float s) {
    return v3(a.x + b.x * s, a.y + b.y * s, a.z + b.z * s);
}
static inline vec3 v3_mul(vec3 a, vec3 b) {
    return v3(a.x * b.x, a.y * b.y, a.z * b.z);
}
static inline vec3 v3_mix(vec3 a, vec3 b, float t) {
    return v3_add(v3_scale(a, 1 - t), v3_scale(b, t));
}
static inline float v3_dot(vec3 a, vec3 b) {
    return a.x * b.x + a.y * b.y + a.z * b.z;
}
static inline vec3 v3_cross(vec3 a, vec3 b) {
    return v3(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
/* Length 1; a vector of no length becomes the z axis. */
static inline vec3 v3_unit(vec3 a) {
    float d = v3_dot(a, a);
    return d > 1e-20f ? v3_scale(a, 1 / sqrtf(d)) : v3(0, 0, 1);
}

static inline float mix(float a, float b, float t) {
    return a + (b - a) * t;
}
static inline float clamp01(float x) {
    return x < 0 ? 0 : x > 1 ? 1 : x;
}
/* 0 below a, 1 above b, smooth between. */
static inline float smooth(float a, float b, float x) {
    float t = clamp01((x - a) / (b - a));
    return t * t * (3 - 2 * t);
}

/* Sine of an angle in turns, to about 0.001: a parabola bent once. Enough for drawing. */
static inline float sin_turns(float t) {
    t -= floorf(t + 0.5f);
    float y = 8 * t - 16 * t * fabsf(t);
    return y + 0.225f * (y * fabsf(y) - y);
}
static inline float cos_turns(float t) {
    return sin_turns(t + 0.25f);
}

/* Random numbers: the n-th number is a hash of (key, n), so streams never depend on each other. */
typedef struct rng {
    uint64_t key, count;
} rng;

/* A well mixed 64-bit hash of x (the finaliser of SplitMix64). */
static inline uint64_t hash64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}
static inline uint64_t rng_bits(rng *r) {
    return hash64(r->key + ++r->count * 0x9e3779b97f4a7c15u);
}
/* A stream of its own, which does not move when more is drawn from r later. */
static inline rng rng_fork(rng *r) {
    return (rng){rng_bits(r), 0};
}
/* Uniform in [a, b). */
static inline float rng_range(rng *r, float a, float b) {
    return a + (b - a) * ((float)(rng_bits(r) >> 40) * 0x1p-24f);
}
/* Uniform in a..b, both included. */
static inline int rng_int(rng *r, int a, int b) {
    return a + (int)((rng_bits(r) >> 33) % (uint64_t)(b - a + 1));
}
/* 1 with probability p. */
static inline int rng_chance(rng *r, float p) {
    return rng_range(r, 0, 1) < p;
}
/* Around 0, between -1 and 1, mostly small. */
static inline float rng_bell(rng *r) {
    float sum = 0;
    for (int i = 0; i < 3; i++)
        sum += rng_range(r, -1, 1);
    return sum / 3;
}

/* Each coordinate uniform between low's and high's. One call, because C does not say in which order
 * a compiler evaluates the arguments of v3(rng_range(...), rng_range(...), 0): nothing in the
 * generator draws two numbers in one list of arguments or initialisers. */
static inline vec3 rng_vec(rng *r, vec3 low, vec3 high) {
    float x = rng_range(r, low.x, high.x);
    float y = rng_range(r, low.y, high.y);
    float z = rng_range(r, low.z, high.z);
    return v3(x, y, z);
}

/* A number in [0, 1) that belongs to the cell (x, y) of the grid named seed. */
static inline float cell_value(int x, int y, uint32_t seed) {
    uint32_t h = (uint32_t)x * 0x8da6b343u ^ (uint32_t)y * 0xd8163841u ^ seed * 0xcb1ab31fu;
    h = (h ^ (h >> 16)) * 0x7feb352du;
    h = (h ^ (h >> 15)) * 0x846ca68bu;
    return (float)((h ^ (h >> 16)) >> 8) * 0x1p-24f;
}

/* Smooth noise in [0, 1), features of size 1. */
static inline float noise2(float x, float y, uint32_t seed) {
    float fx = floorf(x), fy = floorf(y);
    int ix = (int)fx, iy = (int)fy;
    float tx = smooth(0, 1, x - fx), ty = smooth(0, 1, y - fy);
    float low = mix(cell_value(ix, iy, seed), cell_value(ix + 1, iy, seed), tx);
    float high = mix(cell_value(ix, iy + 1, seed), cell_value(ix + 1, iy + 1, seed), tx);
    return mix(low, high, ty);
}

/* Noise with detail: three octaves, in [0, 1). */
static inline float cloud2(float x, float y, uint32_t seed) {
    return noise2(x, y, seed) * 0.57f + noise2(x * 2.1f, y * 2.1f, seed + 1) * 0.29f +
           noise2(x * 4.3f, y * 4.3f, seed + 2) * 0.14f;
}

#endif
