#include "window.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decoder.h"
#include "text.h"

/* ---- as text ------------------------------------------------------------------------------- */

static const char *const names[] = {THAW_WINDOW_LIST(THAW_ENUM_NAME) NULL};

/* Two numbers, the first below the second, with `between` between them. */
static bool read_pair(const char *text, size_t n, const char *between, thaw_pixel_window *w) {
    char copy[THAW_WINDOW_TEXT];
    if (n >= sizeof copy) return false;
    memcpy(copy, text, n);
    copy[n] = 0;
    char *middle = strstr(copy, between);
    if (!middle) return false;
    *middle = 0;
    char *second = middle + strlen(between);
    second += strspn(second, " ");
    return thaw_text_number(copy, &w->low) && thaw_text_number(second, &w->high) &&
           w->low < w->high;
}

bool thaw_pixel_window_parse(const char *text, thaw_pixel_window *window) {
    static const char percentile[] = "percentile(";
    const size_t n = strlen(text), length = sizeof percentile - 1;
    thaw_pixel_window w = {0};
    int kind = thaw_text_find(names, text);
    if (kind == THAW_WINDOW_FILE || kind == THAW_WINDOW_MINMAX) {
        w.kind = (thaw_pixel_window_kind)kind;
    } else if (n > length && strncmp(text, percentile, length) == 0 && text[n - 1] == ')') {
        w.kind = THAW_WINDOW_PERCENTILE;
        if (!read_pair(text + length, n - length - 1, ",", &w) || w.low < 0 || w.high > 100)
            return false;
    } else {
        w.kind = THAW_WINDOW_FIXED;
        if (!read_pair(text, n, "..", &w)) return false;
    }
    *window = w;
    return true;
}

void thaw_pixel_window_text(const thaw_pixel_window *w, char text[THAW_WINDOW_TEXT]) {
    switch (w->kind) {
        case THAW_WINDOW_FILE:
        case THAW_WINDOW_MINMAX:
            snprintf(text, THAW_WINDOW_TEXT, "%s", names[w->kind]);
            break;
        case THAW_WINDOW_PERCENTILE:
            snprintf(text, THAW_WINDOW_TEXT, "percentile(%.9g,%.9g)", w->low, w->high);
            break;
        case THAW_WINDOW_FIXED:
            snprintf(text, THAW_WINDOW_TEXT, "%.9g..%.9g", w->low, w->high);
            break;
    }
}

/* ---- percentiles --------------------------------------------------------------------------- */

/* Floats as integers that have the same order. */
static uint32_t ordered(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float unordered(uint32_t bits) {
    float value;
    bits = bits & 0x80000000u ? bits & 0x7fffffffu : ~bits;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Where the colours of a picture lie among its samples. */
typedef struct colours {
    const float *samples;
    size_t n_pixels;
    int channels, n; /* The first n of the channels. */
} colours;

enum { BINS = 1 << 16 };

/* How often each upper half occurs; or, of one upper half, each lower half. */
static void count(const colours *c, bool lower, uint32_t upper, uint32_t bins[BINS]) {
    memset(bins, 0, BINS * sizeof *bins);
    for (size_t i = 0; i < c->n_pixels; i++) {
        for (int k = 0; k < c->n; k++) {
            uint32_t bits = ordered(c->samples[i * (size_t)c->channels + (size_t)k]);
            if (!lower)
                bins[bits >> 16]++;
            else if (bits >> 16 == upper)
                bins[bits & 0xffff]++;
        }
    }
}

/* The bin that the sample of this rank is in; rank becomes its rank there. */
static uint32_t find_bin(const uint32_t bins[BINS], size_t *rank) {
    uint32_t bin = 0;
    while (bin < BINS - 1 && *rank >= bins[bin])
        *rank -= bins[bin++];
    return bin;
}

/* The sample below which that percentage of them lies: one that there is, as NumPy's "lower". */
static float percentile(const colours *c, double percent, uint32_t bins[BINS]) {
    size_t n = c->n_pixels * (size_t)c->n, rank = (size_t)(percent / 100 * (double)(n - 1));
    count(c, false, 0, bins);
    uint32_t upper = find_bin(bins, &rank);
    count(c, true, upper, bins);
    return unordered(upper << 16 | find_bin(bins, &rank));
}

/* ---- samples to 8 bits --------------------------------------------------------------------- */

static void find_ends(const colours *c, double *low, double *high) {
    *low = *high = (double)c->samples[0];
    for (size_t i = 0; i < c->n_pixels; i++) {
        for (int k = 0; k < c->n; k++) {
            double v = (double)c->samples[i * (size_t)c->channels + (size_t)k];
            *low = fmin(*low, v);
            *high = fmax(*high, v);
        }
    }
}

static bool all_finite(const colours *c) {
    for (size_t i = 0; i < c->n_pixels * (size_t)c->channels; i++)
        if (!isfinite(c->samples[i])) return false;
    return true;
}

/* The samples that become black and white. */
static thaw_status choose_ends(const colours *c, const thaw_pixel_window *w, double *low,
                               double *high, thaw_error *err) {
    *low = w->low;
    *high = w->high;
    if (w->kind == THAW_WINDOW_MINMAX) find_ends(c, low, high);
    if (w->kind != THAW_WINDOW_PERCENTILE) return THAW_OK;
    uint32_t *bins = malloc(BINS * sizeof *bins);
    if (!bins) return thaw_fail_memory(err, "for a picture's percentiles");
    *low = (double)percentile(c, w->low, bins);
    *high = (double)percentile(c, w->high, bins);
    free(bins);
    return THAW_OK;
}

/* From the end, so that what is written has been read. */
void thaw__picture_widen(const thaw_decoder *d, int64_t y) {
    float *row = thaw__picture_deep_row(d, y);
    const uint8_t *bytes = (const uint8_t *)row;
    bool alpha = d->deep.channels % 2 == 0;
    for (size_t i = (size_t)d->width * (size_t)d->deep.channels; i-- > 0;) {
        unsigned upper = bytes[2 * i], value = upper << 8 | bytes[2 * i + 1];
        bool last = i % (size_t)d->deep.channels == (size_t)d->deep.channels - 1;
        row[i] = (float)(alpha && last ? upper : value);
    }
}

static uint8_t shade(double v, double low, double high, bool invert) {
    double share = high > low ? (v - low) / (high - low) : 0;
    uint8_t grey = (uint8_t)lrint(255 * fmin(fmax(share, 0), 1));
    return invert ? 255 - grey : grey;
}

thaw_status thaw__window_apply(thaw_decoder *d, const thaw_pixel_window *window, thaw_error *err) {
    const thaw_deep *deep = &d->deep;
    colours c = {.samples = deep->samples,
                 .n_pixels = (size_t)d->width * (size_t)d->height,
                 .channels = deep->channels,
                 .n = deep->channels < 3 ? 1 : 3};
    double low = 0, high = 0;
    if (!all_finite(&c))
        return thaw_fail(err, THAW_ERR_FORMAT, "a sample of the picture is no finite number");
    THAW_TRY(choose_ends(&c, window, &low, &high, err));
    for (size_t i = 0; i < c.n_pixels; i++) {
        const float *from = c.samples + i * (size_t)c.channels;
        uint8_t *to = d->rgb + i * (size_t)d->channels;
        for (int k = 0; k < 3; k++)
            to[k] = shade((double)from[k < c.n ? k : 0], low, high, deep->invert);
        if (d->channels == 4) to[3] = (uint8_t)from[c.n];
    }
    return THAW_OK;
}
