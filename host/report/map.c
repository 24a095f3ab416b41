#include "map.h"

#include <math.h>
#include <string.h>

#include "chart.h"
#include "page.h"

enum { NAMED = 12 }; /* So many classes have their colours told. */

/* The points, class after class. */
typedef struct sorted {
    double *x, *y;
    const char **titles;
    thaw_series *series; /* [K + 1] the last: rings around wrong answers. */
    double *wrong_x, *wrong_y;
    size_t n_wrong;
} sorted;

static bool allocate(sorted *s, const thaw_map *m, int64_t K, thaw_arena *arena) {
    size_t n = (size_t)m->n;
    s->x = thaw_arena_array(arena, n, sizeof *s->x);
    s->y = thaw_arena_array(arena, n, sizeof *s->y);
    s->wrong_x = thaw_arena_array(arena, n, sizeof *s->wrong_x);
    s->wrong_y = thaw_arena_array(arena, n, sizeof *s->wrong_y);
    s->titles = thaw_arena_array(arena, n, sizeof *s->titles);
    s->series = thaw_arena_array(arena, (size_t)K + 1, sizeof *s->series);
    return s->x && s->y && s->wrong_x && s->wrong_y && s->titles && s->series;
}

static const char *title_of(const thaw_map *m, int64_t i, const char *const *classes,
                            thaw_arena *arena) {
    const char *label = classes[m->label[i]];
    if (m->answer[i] == m->label[i] || m->answer[i] < 0)
        return thaw_arena_printf(arena, "%.80s\n%.120s", label, m->names[i]);
    return thaw_arena_printf(arena, "%.80s, taken for %.80s\n%.120s", label, classes[m->answer[i]],
                             m->names[i]);
}

/* Adds the points of class k behind the `at` that there are; returns how many there are then, 0 with
 * at > n when memory is short. */
static size_t add_class(sorted *s, const thaw_map *m, int32_t k, size_t at,
                        const char *const *classes, thaw_arena *arena) {
    size_t first = at;
    for (int64_t i = 0; i < m->n; i++) {
        if (m->label[i] != k) continue;
        s->x[at] = m->plane.x[i];
        s->y[at] = m->plane.y[i];
        s->titles[at] = title_of(m, i, classes, arena);
        if (!s->titles[at]) return SIZE_MAX;
        at++;
        if (m->answer[i] == k) continue;
        s->wrong_x[s->n_wrong] = m->plane.x[i];
        s->wrong_y[s->n_wrong++] = m->plane.y[i];
    }
    s->series[k] = (thaw_series){.colour = k,
                                 .x = s->x + first,
                                 .y = s->y + first,
                                 .titles = s->titles + first,
                                 .n = at - first,
                                 .marked = -1,
                                 .dots = true};
    return at;
}

static void put(FILE *out, const sorted *s, const thaw_map *m, int64_t K) {
    char x[64], title[96];
    snprintf(x, sizeof x, "first component, %.0f %% of the variance", 100 * m->plane.share[0]);
    snprintf(title, sizeof title, "Map of features (upwards: second component, %.0f %%)",
             100 * m->plane.share[1]);
    thaw_chart chart = {.title = title,
                        .x = {.label = x, .low = NAN, .high = NAN},
                        .y = {.low = NAN, .high = NAN},
                        .series = s->series,
                        .n_series = (size_t)K + 1,
                        .width = 640,
                        .height = 420};
    thaw_axis_hold(&chart.x, s->x, (size_t)m->n);
    thaw_axis_hold(&chart.y, s->y, (size_t)m->n);
    thaw_chart_put(out, &chart);
}

thaw_status thaw_map_put(FILE *out, const thaw_map *m, const char *const *classes, int64_t K,
                         thaw_error *err) {
    thaw_arena arena = {0};
    sorted s = {.n_wrong = 0};
    size_t at = 0;
    if (m->n == 0) return THAW_OK;
    bool enough = allocate(&s, m, K, &arena);
    for (int32_t k = 0; enough && k < K; k++) {
        at = add_class(&s, m, k, at, classes, &arena);
        enough = at != SIZE_MAX;
        if (enough && K <= NAMED) s.series[k].name = classes[k];
    }
    if (enough) {
        s.series[K] = (thaw_series){.name = "answered wrong",
                                    .colour = THAW_COLOUR_WARN,
                                    .x = s.wrong_x,
                                    .y = s.wrong_y,
                                    .n = s.n_wrong,
                                    .marked = -1,
                                    .dots = true,
                                    .rings = true};
        thaw_page_heading(out, "Which pictures look alike");
        thaw_page_note(
            out,
            "%lld of %lld pictures, by what the head reads of them: near ones look alike to "
            "the model. A plane shows only a part of that; a ring is a wrong answer.",
            (long long)m->n, (long long)m->n_all);
        put(out, &s, m, K);
    }
    thaw_arena_free(&arena);
    return enough ? THAW_OK : thaw_fail_memory(err, "for a map of %lld pictures", (long long)m->n);
}
