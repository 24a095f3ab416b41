#include "hold_out.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hash.h"

typedef enum grouping_kind { BY_PICTURE, BY_FOLDER, BY_PATTERN } grouping_kind;

struct thaw_grouping {
    grouping_kind kind;
    bool compiled;
    regex_t pattern;
};

thaw_status thaw_grouping_open(thaw_grouping **grouping, const char *text, thaw_error *err) {
    thaw_grouping *g = *grouping = calloc(1, sizeof *g);
    if (!g) return thaw_fail_memory(err, "for data.group");
    if (!text || strcasecmp(text, "none") == 0) return THAW_OK;
    g->kind = strcasecmp(text, "folder") == 0 ? BY_FOLDER : BY_PATTERN;
    if (g->kind == BY_FOLDER) return THAW_OK;
    int code = regcomp(&g->pattern, text, REG_EXTENDED);
    g->compiled = code == 0;
    if (g->compiled) return THAW_OK;
    char reason[256];
    regerror(code, &g->pattern, reason, sizeof reason);
    return thaw_fail(err, THAW_ERR_USAGE,
                     "data.group = '%.200s': expected none, folder or an extended regular "
                     "expression: %s",
                     text, reason);
}

void thaw_grouping_close(thaw_grouping *grouping) {
    if (grouping && grouping->compiled) regfree(&grouping->pattern);
    free(grouping);
}

/* The part of the name that is its group; n = 0: it has none. */
typedef struct part {
    const char *start;
    size_t n;
} part;

static part find_group(const thaw_grouping *g, const char *name) {
    const char *slash = strrchr(name, '/');
    regmatch_t match[2];
    if (g->kind == BY_FOLDER && slash) return (part){name, (size_t)(slash - name)};
    if (g->kind != BY_PATTERN || regexec(&g->pattern, name, 2, match, 0) != 0)
        return (part){name, 0};
    const regmatch_t *m = &match[match[1].rm_so >= 0];
    return (part){name + m->rm_so, (size_t)(m->rm_eo - m->rm_so)};
}

bool thaw_grouping_fits(const thaw_grouping *grouping, const char *name) {
    return find_group(grouping, name).n > 0;
}

/* The part that decides where a picture without a group falls. */
static part find_own(const char *name) {
    const char *slash = strrchr(name, '/'), *file = slash ? slash + 1 : name;
    const char *variant = strstr(file, "_nohash_");
    return variant ? (part){file, (size_t)(variant - file)} : (part){name, strlen(name)};
}

double thaw_hold_out_position(const thaw_grouping *grouping, const char *name) {
    part p = find_group(grouping, name);
    if (!p.n) p = find_own(name);
    thaw_hash hash = thaw_hash_bytes((thaw_hash){0, 0}, p.start, p.n);
    return (double)(hash.lo >> 11) * 0x1p-53;
}

size_t thaw_hold_out(const thaw_grouping *grouping, size_t n, const char *const *names,
                     double fraction, bool *held_out) {
    double least = 1, most = 0;
    size_t n_held_out = 0;
    for (size_t i = 0; i < n; i++) {
        double position = thaw_hold_out_position(grouping, names[i]);
        if (position < least) least = position;
        if (position > most) most = position;
    }
    for (size_t i = 0; i < n; i++) {
        double position = thaw_hold_out_position(grouping, names[i]);
        held_out[i] =
            least < most && position != most && (position < fraction || position == least);
        n_held_out += held_out[i];
    }
    return n_held_out;
}

typedef struct place {
    double position;
    size_t i;
} place;

static int compare_places(const void *a, const void *b) {
    const place *x = a, *y = b;
    return (x->position > y->position) - (x->position < y->position);
}

thaw_status thaw_deal(const thaw_grouping *grouping, size_t n, const char *const *names, int folds,
                      int *fold, thaw_error *err) {
    place *places = malloc((n + 1) * sizeof *places);
    if (!places) return thaw_fail_memory(err, "to deal %zu pictures", n);
    for (size_t i = 0; i < n; i++)
        places[i] = (place){thaw_hold_out_position(grouping, names[i]), i};
    qsort(places, n, sizeof *places, compare_places);
    /* Groups in the order of their places, one after the other. */
    for (size_t k = 0, group = 0; k < n; k++) {
        group += k > 0 && places[k].position != places[k - 1].position;
        fold[places[k].i] = (int)(group % (size_t)folds);
    }
    free(places);
    return THAW_OK;
}
