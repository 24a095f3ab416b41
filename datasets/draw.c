#include "draw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "jpeg_encode.h"
#include "scene.h"

_Static_assert((int)THAW_DRAW_BASE == (int)SPECIES_BASE && (int)THAW_DRAW_DEMO == (int)SPECIES_DEMO,
               "species");
_Static_assert((int)THAW_DRAW_OTHERS == (int)OTHER_COUNT, "others");

const char *thaw_draw_kind_name(int kind) {
    if (kind < 0 || kind >= THAW_DRAW_KINDS) return NULL;
    return kind < THAW_DRAW_SPECIES ? species_table[kind].name
                                    : other_names[kind - THAW_DRAW_SPECIES];
}

/* ---- one picture ---- */

/* How the photograph was taken. */
typedef struct camera {
    light light;
    float exposure, contrast, saturation, vignette, noise;
    float blur; /* in units of the world */
    uint32_t grain;
} camera;

static camera choose_camera(rng *r) {
    camera k;
    float warm = rng_range(r, -0.12f, 0.18f), sun = rng_range(r, 0.45f, 1.0f);
    float sky = rng_range(r, 0.3f, 0.55f);
    k.light.direction = v3_unit(rng_vec(r, v3(-0.9f, 0, 0.45f), v3(0.9f, 0.9f, 1.1f)));
    k.light.sun = v3_scale(v3(1 + warm, 1, 1 - warm), sun);
    k.light.sky = v3_scale(v3(0.95f, 1, 1.08f), sky);
    k.light.ground = v3_scale(v3(0.9f, 1, 0.8f), sky * 0.55f);
    k.exposure = rng_range(r, 0.95f, 1.4f);
    k.contrast = rng_range(r, 0.85f, 1.1f);
    k.saturation = rng_range(r, 0.85f, 1.2f);
    k.vignette = rng_range(r, 0, 0.25f);
    k.noise = rng_chance(r, 0.3f) ? rng_range(r, 0.01f, 0.045f) : 0.008f;
    k.blur = rng_chance(r, 0.25f) ? rng_range(r, 0.003f, 0.014f) : 0;
    k.grain = (uint32_t)rng_bits(r);
    return k;
}

/* A blade or a leaf that hangs into the picture, nearer than everything else. */
static void draw_in_front(canvas *c, rng *r) {
    float turn = rng_range(r, 0, 1);
    vec3 edge = v3(1.3f * cos_turns(turn), 1.3f * sin_turns(turn), 2.2f);
    vec3 goal = rng_vec(r, v3(-0.6f, -0.6f, 2.2f), v3(0.6f, 0.6f, 2.2f));
    petal leaf = {TIP_POINTED, .widest = .4f, .neck = .4f, .cup = .3f};
    leaf.length = rng_range(r, 0.8f, 1.6f);
    leaf.width = rng_range(r, 0.03f, 0.16f);
    leaf.curl = rng_range(r, -0.1f, 0.1f);
    scene_leaf(c, edge, v3_sub(goal, edge), &leaf, some_green(r), r);
}

/* Highlights roll off instead of being cut. */
static float shoulder(float x) {
    return x < 0.6f ? x : 0.6f + (x - 0.6f) / (1 + (x - 0.6f) / 0.42f);
}

static uint8_t to_byte(float linear, float contrast, float noise) {
    float x = sqrtf(fmaxf(shoulder(linear), 0));
    x = 0.45f + (x - 0.45f) * contrast + noise;
    return (uint8_t)(clamp01(x) * 255 + 0.5f);
}

/* Averages step * step samples to a pixel. */
static vec3 pixel_color(const canvas *c, int x, int y, int step) {
    vec3 sum = v3(0, 0, 0);
    for (int j = 0; j < step; j++)
        for (int i = 0; i < step; i++)
            sum = v3_add(
                sum, c->colors[(size_t)(y * step + j) * (size_t)c->width + (size_t)(x * step + i)]);
    return v3_scale(sum, 1 / (float)(step * step));
}

static void develop(const canvas *c, const camera *k, int step, int width, int height,
                    uint8_t *rgb) {
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            vec3 color = pixel_color(c, x, y, step);
            float dx = 2 * (float)x / (float)width - 1, dy = 2 * (float)y / (float)height - 1;
            float gain = k->exposure * (1 - k->vignette * (dx * dx + dy * dy) * 0.6f);
            float grey = v3_dot(color, v3(0.3f, 0.59f, 0.11f));
            color = v3_scale(v3_mix(v3(grey, grey, grey), color, k->saturation), gain);
            float noise =
                k->noise * (cell_value(x, y, k->grain) + cell_value(x, y, k->grain + 1) - 1);
            uint8_t *p = rgb + 3 * ((size_t)y * (size_t)width + (size_t)x);
            p[0] = to_byte(color.x, k->contrast, noise);
            p[1] = to_byte(color.y, k->contrast, noise);
            p[2] = to_byte(color.z, k->contrast, noise);
        }
}

static rng picture_rng(int kind, uint64_t seed, uint32_t index) {
    uint64_t key = hash64(seed + 0x9e3779b97f4a7c15u);
    return (rng){hash64(key ^ hash64(((uint64_t)kind << 32 | index) + 1)), 0};
}

static void compose(canvas *c, canvas *coarse, int kind, rng *r, const camera *k) {
    rng behind = rng_fork(r), thing = rng_fork(r), front = rng_fork(r);
    scene_background(c, coarse, &behind);
    if (kind < THAW_DRAW_SPECIES)
        scene_flower(c, &species_table[kind], &thing);
    else
        scene_other(c, kind - THAW_DRAW_SPECIES, &thing);
    if (rng_chance(&front, 0.25f)) draw_in_front(c, &front);
    canvas_shade(c, &k->light, 1);
    canvas_blur(c, (int)(k->blur * c->unit + 0.5f));
}

thaw_status thaw_draw_picture(int kind, uint64_t seed, uint32_t index, int width, int height,
                              uint8_t *rgb, thaw_error *err) {
    int least = width < height ? width : height, most = width < height ? height : width;
    if (!thaw_draw_kind_name(kind))
        return thaw_fail(err, THAW_ERR_USAGE, "draw: kind %d does not exist, there are 0 to %d",
                         kind, THAW_DRAW_KINDS - 1);
    if (least < THAW_DRAW_LEAST_SIDE || most > THAW_DRAW_MOST_SIDE)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "draw: a picture of %d x %d pixels, each side must be %d to %d", width,
                         height, THAW_DRAW_LEAST_SIDE, THAW_DRAW_MOST_SIDE);
    int step = least < 64 ? 4 : least < 112 ? 3 : 2;
    rng r = picture_rng(kind, seed, index);
    camera k = choose_camera(&r);
    canvas fine, coarse;
    /* The background is out of focus anyway: a sixth of the samples a side will do. */
    int failed = canvas_init(&fine, width * step, height * step);
    failed |= canvas_init(&coarse, (width * step + 5) / 6, (height * step + 5) / 6);
    if (!failed) {
        compose(&fine, &coarse, kind, &r, &k);
        develop(&fine, &k, step, width, height, rgb);
    }
    canvas_free(&fine);
    canvas_free(&coarse);
    return failed
               ? thaw_fail(err, THAW_ERR_NOMEM, "draw: no memory for %d x %d pixels", width, height)
               : THAW_OK;
}

/* ---- datasets ---- */

/* A class: its folder and the kinds that take turns in it. */
typedef struct class_kinds {
    const char *name;
    int first, count;
} class_kinds;

static int list_classes(thaw_draw_set set, class_kinds *classes) {
    if (set == THAW_DRAW_SET_BASE2) {
        classes[0] = (class_kinds){"flower", 0, THAW_DRAW_BASE};
        classes[1] = (class_kinds){"no_flower", THAW_DRAW_SPECIES, THAW_DRAW_OTHERS};
        return 2;
    }
    for (int i = 0; i < THAW_DRAW_DEMO; i++) {
        int kind = THAW_DRAW_BASE + i;
        classes[i] = (class_kinds){thaw_draw_kind_name(kind), kind, 1};
    }
    return THAW_DRAW_DEMO;
}

enum {
    FIRST_TEST_INDEX = 1 << 24, /* So that more training pictures never become test pictures. */
    QUALITY = 92,               /* Of the JPEGs. */
};

/* Three of five pictures are square, the others lie or stand. */
static void choose_sides(int kind, uint64_t seed, uint32_t index, int size, int *width,
                         int *height) {
    rng r = picture_rng(kind, ~seed, index);
    int longer = size + (int)((float)size * rng_range(&r, 0.1f, 1.0f / 3));
    float choice = rng_range(&r, 0, 1);
    if (longer > THAW_DRAW_MOST_SIDE) longer = THAW_DRAW_MOST_SIDE;
    *width = choice < 0.2f ? longer : size;
    *height = choice > 0.8f ? longer : size;
}

static thaw_status write_picture(const thaw_draw_options *o, const class_kinds *class, int test,
                                 int number, thaw_error *err) {
    int kind = class->first + number % class->count, width, height;
    uint32_t index = (uint32_t)(number / class->count + (test ? FIRST_TEST_INDEX : 0));
    choose_sides(kind, o->seed, index, o->size, &width, &height);
    uint8_t *rgb = malloc((size_t)width * (size_t)height * 3);
    if (!rgb) return thaw_fail(err, THAW_ERR_NOMEM, "draw: no memory for a picture");
    thaw_status status = thaw_draw_picture(kind, o->seed, index, width, height, rgb, err);
    unsigned char *bytes = NULL;
    unsigned long n_bytes = 0;
    if (!status && thaw_jpeg_encode(rgb, width, height, QUALITY, &bytes, &n_bytes))
        status = thaw_fail(err, THAW_ERR_IO, "draw: libjpeg cannot encode a %d x %d picture", width,
                           height);
    if (!status) {
        char path[4160];
        snprintf(path, sizeof path, "%s/%s/%s/%s-%04d.jpg", o->root, test ? "test" : "train",
                 class->name, thaw_draw_kind_name(kind), number / class->count);
        status = thaw_file_write(path, bytes, n_bytes, err);
    }
    free(bytes);
    free(rgb);
    return status;
}

static thaw_status make_class_folders(const thaw_draw_options *o, const class_kinds *classes,
                                      int n_classes, thaw_error *err) {
    for (int i = 0; i < n_classes; i++)
        for (int test = 0; test < 2; test++) {
            char path[4096];
            if (!(test ? o->n_test : o->n_train)) continue;
            snprintf(path, sizeof path, "%s/%s/%s", o->root, test ? "test" : "train",
                     classes[i].name);
            THAW_TRY(thaw_file_make_folders(path, err));
        }
    return THAW_OK;
}

static thaw_status check_options(const thaw_draw_options *o, thaw_error *err) {
    /* The longest path in here: /train/no_flower/, a kind and a number. */
    if (!o->root || !o->root[0] || strlen(o->root) > 4000)
        return thaw_fail(err, THAW_ERR_USAGE, "draw: the folder's name is empty or too long");
    if (o->set != THAW_DRAW_SET_DEMO8 && o->set != THAW_DRAW_SET_BASE2)
        return thaw_fail(err, THAW_ERR_USAGE, "draw: there is no set %d", (int)o->set);
    if (o->n_train < 0 || o->n_test < 0 || o->n_train > 1000000 || o->n_test > 1000000)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "draw: %d training and %d test pictures, each must be 0 to 1000000",
                         o->n_train, o->n_test);
    if (o->size < THAW_DRAW_LEAST_SIDE || o->size > THAW_DRAW_MOST_SIDE)
        return thaw_fail(err, THAW_ERR_USAGE, "draw: size %d, it must be %d to %d", o->size,
                         THAW_DRAW_LEAST_SIDE, THAW_DRAW_MOST_SIDE);
    return THAW_OK;
}

thaw_status thaw_draw_dataset(const thaw_draw_options *o, thaw_error *err) {
    class_kinds classes[THAW_DRAW_DEMO];
    THAW_TRY(check_options(o, err));
    int n_classes = list_classes(o->set, classes), per_class = o->n_train + o->n_test;
    THAW_TRY(make_class_folders(o, classes, n_classes, err));
    thaw_status status = THAW_OK;
    int total = n_classes * per_class;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < total; i++) {
        thaw_status seen, mine;
        thaw_error why;
#pragma omp atomic read
        seen = status;
        if (seen) continue; /* One failure is enough: the disk is full, or the folder is gone. */
        int test = i % per_class >= o->n_train;
        int number = i % per_class - (test ? o->n_train : 0);
        mine = write_picture(o, &classes[i / per_class], test, number, &why);
        if (!mine) continue;
#pragma omp critical
        if (!status) {
            if (err) *err = why;
#pragma omp atomic write
            status = mine;
        }
    }
    return status;
}
