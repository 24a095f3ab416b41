#include "alike.h"

#include <stdlib.h>

enum { WORDS = 4, WORD_BITS = 16, BUCKETS = 1 << WORD_BITS };

/* ---- the same bytes ---------------------------------------------------------------------------- */

typedef struct keyed {
    thaw_hash key;
    size_t picture;
} keyed;

static int compare_keyed(const void *a, const void *b) {
    const keyed *x = a, *y = b;
    if (x->key.hi != y->key.hi) return x->key.hi < y->key.hi ? -1 : 1;
    if (x->key.lo != y->key.lo) return x->key.lo < y->key.lo ? -1 : 1;
    return x->picture < y->picture ? -1 : x->picture > y->picture;
}

static void find_copies(keyed *all, size_t n, thaw_alike *of) {
    qsort(all, n, sizeof *all, compare_keyed);
    for (size_t i = 1; i < n; i++)
        if (thaw_hash_equal(all[i].key, all[i - 1].key))
            of[all[i].picture].first = of[all[i - 1].picture].first;
}

/* ---- the same look ----------------------------------------------------------------------------- */

/* Leaders by each word of their hashes. Places count from 1; 0 is none. */
typedef struct index {
    const thaw_look *looks;
    uint32_t *first[WORDS]; /* [BUCKETS] the newest leader of each bucket, */
    uint32_t *next[WORDS];  /* [n + 1] and the one before it. */
    uint32_t *seen;         /* [n + 1] by which search a leader was looked at last. */
    uint32_t search;
} index;

static unsigned word_of(uint64_t bits, int w) {
    return (unsigned)(bits >> (WORD_BITS * w)) & (BUCKETS - 1);
}

static void add_leader(index *x, size_t picture) {
    uint32_t place = (uint32_t)picture + 1;
    for (int w = 0; w < WORDS; w++) {
        uint32_t *first = &x->first[w][word_of(x->looks[picture].bits, w)];
        x->next[w][place] = *first;
        *first = place;
    }
}

/* The best so far of a picture. */
typedef struct search {
    const thaw_look *look;
    uint64_t bits; /* Its own, or those of its mirrored self. */
    bool mirrored, cut_short;
    size_t looked_at, compared;
    thaw_alike best;
    bool found;
} search;

static bool is_better(const search *s, int bits, double correlation, size_t leader) {
    if (!s->found) return true;
    if (bits != s->best.bits) return bits < s->best.bits;
    if ((float)correlation != s->best.correlation) return (float)correlation > s->best.correlation;
    return leader < s->best.leader;
}

static void look_at_leader(const index *x, search *s, size_t leader) {
    int bits = __builtin_popcountll(s->bits ^ x->looks[leader].bits);
    if (bits > THAW_LOOK_MOST_BITS || (s->found && bits > s->best.bits)) return;
    if (s->compared == THAW_ALIKE_MOST_COMPARED) {
        s->cut_short = true;
        return;
    }
    s->compared++;
    double correlation = thaw_look_compare(s->look, &x->looks[leader], s->mirrored);
    if (correlation < thaw_look_alike || !is_better(s, bits, correlation, leader)) return;
    s->found = true;
    s->best.leader = leader;
    s->best.bits = bits;
    s->best.correlation = (float)correlation;
    s->best.mirrored = s->mirrored;
}

static void look_into_bucket(index *x, search *s, int w, unsigned word) {
    for (uint32_t place = x->first[w][word]; place; place = x->next[w][place]) {
        if (x->seen[place] == x->search) continue;
        if (s->looked_at == THAW_ALIKE_MOST) {
            s->cut_short = true;
            return;
        }
        x->seen[place] = x->search;
        s->looked_at++;
        look_at_leader(x, s, place - 1);
    }
}

static void look_everywhere(index *x, search *s) {
    x->search++;
    for (int w = 0; w < WORDS; w++) {
        unsigned word = word_of(s->bits, w);
        look_into_bucket(x, s, w, word);
        for (int b = 0; b < WORD_BITS; b++)
            look_into_bucket(x, s, w, word ^ 1u << b);
    }
}

/* Mirrored ones count where there is nothing the right way round. */
static void find_leader(index *x, size_t picture, thaw_alike_result *result) {
    search s = {
        .look = &x->looks[picture], .bits = x->looks[picture].bits, .best = result->of[picture]};
    look_everywhere(x, &s);
    result->n_looked_at += s.looked_at;
    if (!s.found) {
        s.bits = thaw_look_mirrored(s.bits);
        s.mirrored = true;
        s.looked_at = s.compared = 0;
        look_everywhere(x, &s);
        result->n_looked_at += s.looked_at;
    }
    result->n_cut_short += s.cut_short;
    if (s.found)
        result->of[picture] = s.best;
    else
        add_leader(x, picture);
}

static thaw_status make_index(index *x, size_t n, thaw_arena *arena, thaw_error *err) {
    bool made = n < UINT32_MAX / 2; /* Two searches of each picture are numbered. */
    for (int w = 0; w < WORDS && made; w++) {
        x->first[w] = thaw_arena_array(arena, BUCKETS, sizeof *x->first[w]);
        x->next[w] = thaw_arena_array(arena, n + 1, sizeof *x->next[w]);
        made = x->first[w] && x->next[w];
    }
    x->seen = thaw_arena_array(arena, n + 1, sizeof *x->seen);
    return made && x->seen ? THAW_OK : thaw_fail_memory(err, "to compare %zu pictures", n);
}

static void find_looks(index *x, const bool *left_out, size_t n, thaw_alike_result *result) {
    for (size_t i = 0; i < n; i++)
        if (!left_out[i] && !x->looks[i].uniform && result->of[i].first == i)
            find_leader(x, i, result);
    for (size_t i = 0; i < n; i++) {
        size_t first = result->of[i].first;
        if (first == i) continue;
        result->of[i] = result->of[first];
        result->of[i].first = first;
    }
}

thaw_status thaw_alike_find(const thaw_hash *keys, const thaw_look *looks, const bool *left_out,
                            size_t n, thaw_arena *arena, thaw_alike_result *result,
                            thaw_error *err) {
    *result = (thaw_alike_result){.of = thaw_arena_array(arena, n, sizeof *result->of)};
    index x = {.looks = looks};
    thaw_arena scratch = {0};
    keyed *all = thaw_arena_array(&scratch, n, sizeof *all);
    thaw_status status = result->of && all ? make_index(&x, n, &scratch, err)
                                           : thaw_fail_memory(err, "to compare %zu pictures", n);
    size_t n_all = 0;
    for (size_t i = 0; status == THAW_OK && i < n; i++) {
        result->of[i] = (thaw_alike){.first = i, .leader = i, .correlation = 1};
        if (!left_out[i]) all[n_all++] = (keyed){keys[i], i};
    }
    if (status == THAW_OK) {
        find_copies(all, n_all, result->of);
        find_looks(&x, left_out, n, result);
    }
    thaw_arena_free(&scratch);
    return status;
}
