#include "view.h"

#include <math.h>
#include <string.h>

#include "rng.h"

/* Of what follows, for caches: another way to draw or to compute makes other features. */
enum { VERSION = 1 };

static const double most_stretch = 4.0 / 3, radians = 3.14159265358979323846 / 180;

/* ---- drawing ------------------------------------------------------------------------------- */

static float between(thaw_rng *rng, double low, double high) {
    return (float)(low + (high - low) * (double)thaw_rng_uniform(rng));
}

thaw_view thaw_view_draw(const thaw_view_ranges *r, thaw_hash picture, int64_t k) {
    thaw_rng rng = thaw_rng_open(picture.hi ^ picture.lo, THAW_RNG_VIEW, (uint64_t)k);
    /* All numbers are drawn whatever the ranges: a changed one leaves the others as they were. */
    thaw_view v = {.area = between(&rng, r->crop, 1),
                   .stretch = between(&rng, -log(most_stretch), log(most_stretch)),
                   .at_x = thaw_rng_uniform(&rng),
                   .at_y = thaw_rng_uniform(&rng),
                   .crop = r->crop < 1};
    v.flip = thaw_rng_uniform(&rng) < 0.5f && r->flip;
    v.degrees = between(&rng, -r->rotate, r->rotate);
    v.brightness = between(&rng, 1 - r->colour, 1 + r->colour);
    v.contrast = between(&rng, 1 - r->colour, 1 + r->colour);
    v.saturation = between(&rng, 1 - r->colour, 1 + r->colour);
    return v;
}

thaw_hash thaw_view_key(const thaw_view_ranges *r, thaw_hash picture, int64_t k) {
    if (k == 0) return picture;
    const double numbers[] = {VERSION, (double)k, r->crop, r->flip, r->rotate, r->colour};
    return thaw_hash_bytes(picture, numbers, sizeof numbers);
}

bool thaw_views_are_still(const thaw_view_ranges *r) {
    return r->crop >= 1 && !r->flip && r->rotate <= 0 && r->colour <= 0;
}

thaw_box thaw_view_box(const thaw_view *v, int width, int height, double aspect) {
    double ratio = aspect * exp((double)v->stretch);
    double h = fmin(sqrt((double)v->area * width * height / ratio), height);
    if (h * ratio > width) h = width / ratio;
    double w = h * ratio;
    return (thaw_box){(width - w) * (double)v->at_x, (height - h) * (double)v->at_y, w, h};
}

/* ---- pixels -------------------------------------------------------------------------------- */

static void mirror(int width, int height, uint8_t *rgb) {
    for (int y = 0; y < height; y++) {
        uint8_t *row = rgb + (size_t)y * (size_t)width * 3;
        for (int x = 0; x < width / 2; x++)
            for (int c = 0; c < 3; c++) {
                uint8_t *a = row + 3 * x + c, *b = row + 3 * (width - 1 - x) + c, t = *a;
                *a = *b;
                *b = t;
            }
    }
}

static int limit(int i, int n) {
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* Bilinear; what lies outside is the nearest pixel. */
static void sample(int width, int height, const uint8_t *rgb, double x, double y, uint8_t *out) {
    int left = (int)floor(x), top = (int)floor(y);
    double dx = x - left, dy = y - top;
    for (int c = 0; c < 3; c++) {
        double sum = 0;
        for (int k = 0; k < 4; k++) {
            int px = limit(left + k % 2, width), py = limit(top + k / 2, height);
            double weight = (k % 2 ? dx : 1 - dx) * (k / 2 ? dy : 1 - dy);
            sum += weight * rgb[3 * ((size_t)py * (size_t)width + (size_t)px) + (size_t)c];
        }
        out[c] = (uint8_t)lrint(sum);
    }
}

/* Around the centre, counterclockwise. */
static void rotate(double degrees, int width, int height, uint8_t *rgb, uint8_t *scratch) {
    double cosine = cos(degrees * radians), sine = sin(degrees * radians);
    double cx = (width - 1) / 2.0, cy = (height - 1) / 2.0;
    memcpy(scratch, rgb, (size_t)width * (size_t)height * 3);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++, rgb += 3)
            sample(width, height, scratch, cx + cosine * (x - cx) - sine * (y - cy),
                   cy + sine * (x - cx) + cosine * (y - cy), rgb);
}

/* As Pillow's converts RGB to L. */
static double grey(const uint8_t *p) {
    return (p[0] * 19595 + p[1] * 38470 + p[2] * 7471) / 65536.0;
}

/* Brightness towards black, contrast towards the mean grey, saturation towards each pixel's grey. */
static void colour(const thaw_view *v, size_t n, uint8_t *rgb) {
    double mean = 0;
    for (size_t i = 0; i < n; i++)
        mean += grey(rgb + 3 * i);
    mean = mean / (double)n * (double)v->brightness;
    for (size_t i = 0; i < n; i++, rgb += 3) {
        double g = grey(rgb), saturation = (double)v->saturation;
        for (int c = 0; c < 3; c++) {
            double value = (g + (rgb[c] - g) * saturation) * (double)v->brightness;
            value = mean + (value - mean) * (double)v->contrast;
            rgb[c] = (uint8_t)lrint(fmin(fmax(value, 0), 255));
        }
    }
}

void thaw_view_finish(const thaw_view *v, int width, int height, uint8_t *rgb, uint8_t *scratch) {
    if (v->flip) mirror(width, height, rgb);
    if (v->degrees != 0) rotate((double)v->degrees, width, height, rgb, scratch);
    if (v->brightness != 1 || v->contrast != 1 || v->saturation != 1)
        colour(v, (size_t)width * (size_t)height, rgb);
}
