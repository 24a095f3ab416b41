#include "lint.h"

#include <stdlib.h>
#include <string.h>

/* A picture and the hash of its bytes. */
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

static int compare_twins(const void *a, const void *b) {
    const thaw_twins *x = a, *y = b;
    if (x->other != y->other) return x->other < y->other ? -1 : 1;
    return x->picture < y->picture ? -1 : x->picture > y->picture;
}

static void add_twins(thaw_lint *lint, size_t picture, size_t earlier, size_t stranger) {
    size_t other = earlier != picture ? earlier : stranger;
    lint->twins[lint->n_twins++] = (thaw_twins){.one = picture < other ? picture : other,
                                                .other = picture < other ? other : picture,
                                                .picture = picture,
                                                .earlier = earlier,
                                                .stranger = stranger};
}

/* Looks at n pictures with the same bytes. */
static void look_at(thaw_lint *lint, const keyed *group, size_t n) {
    const thaw_dataset *d = lint->dataset;
    size_t first = group[0].picture, stranger = first; /* Of the first split; of another class. */
    for (size_t i = 1; i < n; i++) {
        size_t picture = group[i].picture;
        if (d->split[picture] < d->split[first]) first = picture;
        if (d->label[picture] != d->label[group[0].picture]) stranger = picture;
    }
    for (size_t i = 0; i < n; i++) {
        size_t picture = group[i].picture;
        bool same = d->label[picture] == d->label[stranger];
        size_t other = same ? group[0].picture : stranger;
        bool across_splits = d->split[picture] > d->split[first];
        bool across_classes = d->label[other] != d->label[picture];
        lint->n_across_splits += across_splits;
        lint->n_across_classes += across_classes;
        if (across_splits || across_classes)
            add_twins(lint, picture, across_splits ? first : picture,
                      across_classes ? other : picture);
    }
}

static void count_classes(thaw_lint *lint, const bool *rejected, size_t *counts) {
    const thaw_dataset *d = lint->dataset;
    for (size_t i = 0; i < d->n; i++)
        if (d->split[i] == THAW_SPLIT_TRAIN && !rejected[i])
            thaw_dataset_tally(d, d->label[i], 1, counts);
    for (size_t k = 0; k < d->n_classes; k++) {
        if (counts[k] < counts[lint->fewest]) lint->fewest = k;
        if (counts[k] > counts[lint->most]) lint->most = k;
    }
    lint->n_fewest = counts[lint->fewest];
    lint->n_most = counts[lint->most];
}

/* The end of the group that begins at first: of pictures with the same bytes. */
static size_t group_end(const keyed *all, size_t n, size_t first) {
    size_t end = first + 1;
    while (end < n && thaw_hash_equal(all[end].key, all[first].key))
        end++;
    return end;
}

/* all[n] is sorted. */
static bool find_twins(thaw_lint *lint, const keyed *all, size_t n, thaw_arena *arena) {
    size_t most = 0; /* Few have any, of hundreds of thousands. */
    for (size_t first = 0, end; first < n; first = end) {
        end = group_end(all, n, first);
        if (end - first > 1) most += end - first;
    }
    lint->twins = thaw_arena_array(arena, most, sizeof *lint->twins);
    if (!lint->twins) return false;
    for (size_t first = 0, end; first < n; first = end) {
        end = group_end(all, n, first);
        if (end - first > 1) look_at(lint, all + first, end - first);
    }
    qsort(lint->twins, lint->n_twins, sizeof *lint->twins, compare_twins);
    return true;
}

thaw_status thaw_lint_look(thaw_lint *lint, const thaw_dataset *dataset, const thaw_hash *keys,
                           const bool *rejected, thaw_arena *arena, thaw_error *err) {
    *lint = (thaw_lint){.dataset = dataset};
    size_t n = 0;
    size_t *counts = thaw_arena_array(arena, dataset->n_classes, sizeof *counts);
    keyed *all = malloc(dataset->n * sizeof *all + 1);
    bool found = all && counts;
    for (size_t i = 0; found && i < dataset->n; i++)
        if (!rejected[i]) all[n++] = (keyed){keys[i], i};
    if (found) qsort(all, n, sizeof *all, compare_keyed);
    found = found && find_twins(lint, all, n, arena);
    free(all);
    if (!found) return thaw_fail_memory(err, "to look for duplicates");
    count_classes(lint, rejected, counts);
    return THAW_OK;
}

/* The first pair in two splits, or in two classes. */
static const thaw_twins *find_pair(const thaw_lint *lint, bool classes) {
    const thaw_dataset *d = lint->dataset;
    for (size_t i = 0; i < lint->n_twins; i++) {
        const thaw_twins *t = &lint->twins[i];
        if (classes ? d->label[t->one] != d->label[t->other]
                    : d->split[t->one] != d->split[t->other])
            return t;
    }
    return NULL;
}

static void say_pair(const thaw_lint *lint, bool classes, size_t n, const char *what,
                     const char *therefore, thaw_log *log) {
    char one[PATH_MAX], other[PATH_MAX];
    const thaw_twins *t = find_pair(lint, classes);
    if (!n || !t) return;
    thaw_dataset_path(lint->dataset, t->one, one);
    thaw_dataset_path(lint->dataset, t->other, other);
    thaw_log_write(log, THAW_LOG_WARN, "%s: %zu, so that %s; '%.600s' and '%.600s' are one picture",
                   what, n, therefore, one, other);
}

void thaw_lint_say(const thaw_lint *lint, bool weighted, thaw_log *log) {
    enum { MUCH_RARER = 5 };
    say_pair(lint, false, lint->n_across_splits,
             "pictures of the validation or the test with the same bytes as one of another split",
             "what is measured on them is too good", log);
    say_pair(lint, true, lint->n_across_classes,
             "pictures with the same bytes as one of another class", "one label is wrong", log);
    if (weighted || lint->n_most < MUCH_RARER * lint->n_fewest || !lint->n_fewest) return;
    thaw_log_write(log, THAW_LOG_WARN,
                   "class '%.120s' has %zu pictures to learn from, class '%.120s' has %zu: "
                   "head.class_weights = balanced keeps rare classes from being forgotten",
                   lint->dataset->class_name[lint->most], lint->n_most,
                   lint->dataset->class_name[lint->fewest], lint->n_fewest);
}

void thaw_lint_json(const thaw_lint *lint, thaw_json *json, json_t *into) {
    enum { MOST_PAIRS = 1000 };
    if (!lint->n_twins) return;
    json_t *duplicates = thaw_json_object(json, into, "duplicates");
    thaw_json_integer(json, duplicates, "across_splits", (int64_t)lint->n_across_splits);
    thaw_json_integer(json, duplicates, "across_classes", (int64_t)lint->n_across_classes);
    json_t *pairs = thaw_json_array(json, duplicates, "pairs");
    for (size_t i = 0; i < lint->n_twins && i < MOST_PAIRS; i++) {
        char path[PATH_MAX];
        json_t *pair = thaw_json_array(json, pairs, NULL);
        thaw_dataset_path(lint->dataset, lint->twins[i].one, path);
        thaw_json_text(json, pair, NULL, path);
        thaw_dataset_path(lint->dataset, lint->twins[i].other, path);
        thaw_json_text(json, pair, NULL, path);
    }
}
