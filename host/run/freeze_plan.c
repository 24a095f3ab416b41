#include "freeze_plan.h"

#include <stdio.h>
#include <string.h>

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the depths to compare");
}

/* ---- which cuts ----------------------------------------------------------------------------- */

static bool wants(const thaw_network *n, const char *which, const thaw_cut *cut) {
    if (!thaw_cut_trains(&n->model.graph, &n->cuts, cut)) return false;
    if (cut->index == 0) return true; /* Everything. */
    return cut->stage && (strcmp(which, "all") == 0 || thaw_cut_is_narrowest(&n->cuts, cut));
}

/* Marks the cuts of a list with commas. */
static thaw_status mark_list(const thaw_network *n, const char *text, bool *wanted,
                             thaw_arena *arena, thaw_error *err) {
    char *copy = thaw_arena_string(arena, text, strlen(text)), *rest;
    if (!copy) return no_memory(err);
    for (char *word = strtok_r(copy, ", ", &rest); word; word = strtok_r(NULL, ", ", &rest)) {
        const thaw_cut *cut;
        thaw_error why = {0};
        if (thaw_cuts_select(&n->model.graph, &n->cuts, word, &cut, &why) != THAW_OK)
            return thaw_fail(err, THAW_ERR_USAGE, "bench.cuts: %.600s", why.text);
        wanted[cut->index] = true;
    }
    return THAW_OK;
}

static thaw_status mark(const thaw_network *n, const char *which, bool *wanted, thaw_arena *arena,
                        thaw_error *err) {
    if (strcmp(which, "stages") != 0 && strcmp(which, "all") != 0)
        return mark_list(n, which, wanted, arena, err);
    for (int i = 0; i < n->cuts.last; i++)
        wanted[i] = wants(n, which, &n->cuts.cuts[i]);
    return THAW_OK;
}

/* ---- depths --------------------------------------------------------------------------------- */

static size_t record_bytes(int64_t values) {
    enum { ALIGN = 64 };
    size_t bytes = ALIGN + (size_t)values * sizeof(float);
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static thaw_status describe(const thaw_network *n, const thaw_cut *cut, bool head, thaw_depth *d,
                            thaw_arena *arena, thaw_error *err) {
    const thaw_value *value = &n->model.graph.values[cut->shape];
    int64_t values =
        head && thaw_cut_is_map(&n->model.graph, cut) ? thaw_value_channels(value) : cut->elements;
    *d = (thaw_depth){.index = cut->index,
                      .head = head,
                      .record_bytes = record_bytes(values),
                      .flop_above = cut->flop_above};
    snprintf(d->folder, sizeof d->folder, "cut%d", cut->index);
    d->name = head ? "last" : cut->index == 0 ? "none" : cut->stage ? cut->stage : cut->name;
    d->freeze = head ? "last" : thaw_arena_printf(arena, "%d", cut->index);
    return d->freeze ? THAW_OK : no_memory(err);
}

/* That nothing above it lacks a gradient. */
static thaw_status check_gradients(const thaw_network *n, thaw_depth *d, thaw_arena *arena,
                                   thaw_error *err) {
    thaw_error why = {0};
    const thaw_cut *cut = &n->cuts.cuts[d->index];
    if (d->head || thaw_top_check(&n->model.graph, cut->value, n->head_cut->value,
                                  &thaw_cpu_kernels, &why) == THAW_OK)
        return THAW_OK;
    d->left_out = thaw_arena_string(arena, why.text, strlen(why.text));
    return d->left_out ? THAW_OK : no_memory(err);
}

/* Deeper cuts first: their records are the smaller ones. */
static thaw_status check_room(thaw_depths *depths, size_t n_images, uint64_t room,
                              thaw_arena *arena, thaw_error *err) {
    uint64_t used = 0;
    for (int i = 0; i < depths->n; i++) {
        thaw_depth *d = &depths->list[i];
        uint64_t bytes = d->scratch ? 0 : (uint64_t)d->record_bytes * n_images;
        if (d->left_out) continue;
        if (used + bytes <= room) {
            used += bytes;
            continue;
        }
        d->left_out = thaw_arena_printf(
            arena,
            "its records would take %.1f GB of the cache, where %.1f GB are left: free some of "
            "the disk, or give another cache.dir",
            (double)bytes / 1e9, (double)(room - used) / 1e9);
        if (!d->left_out) return no_memory(err);
    }
    return THAW_OK;
}

thaw_status thaw_depths_choose(const thaw_network *n, const thaw_options *options, size_t n_images,
                               uint64_t room, thaw_arena *arena, thaw_depths *depths,
                               thaw_error *err) {
    size_t most = (size_t)n->cuts.n + 2;
    bool *wanted = thaw_arena_array(arena, most, sizeof *wanted);
    *depths = (thaw_depths){.list = thaw_arena_array(arena, most, sizeof *depths->list)};
    if (!wanted || !depths->list) return no_memory(err);
    THAW_TRY(mark(n, options->bench.cuts, wanted, arena, err));
    THAW_TRY(
        describe(n, &n->cuts.cuts[n->cuts.last], true, &depths->list[depths->n++], arena, err));
    for (int i = n->cuts.last - 1; i >= 0; i--) {
        thaw_depth *d = &depths->list[depths->n];
        if (!wanted[i] || !thaw_cut_trains(&n->model.graph, &n->cuts, &n->cuts.cuts[i])) continue;
        THAW_TRY(describe(n, &n->cuts.cuts[i], false, d, arena, err));
        THAW_TRY(check_gradients(n, d, arena, err));
        depths->n++;
    }
    if (options->bench.scratch) {
        thaw_depth *d = &depths->list[depths->n++];
        THAW_TRY(describe(n, &n->cuts.cuts[0], false, d, arena, err));
        THAW_TRY(check_gradients(n, d, arena, err));
        d->scratch = true;
        d->name = "from scratch";
        snprintf(d->folder, sizeof d->folder, "scratch");
    }
    return check_room(depths, n_images, room, arena, err);
}
