/* Why something misses: the nearest trunk that is there, and what it differs in. */
#include <stdio.h>
#include <string.h>

#include "cache_trunks.h"

/* Calls for each fact that differs; a fact that only one of them has differs, too. */
typedef void (*difference_visit)(void *context, const char *name, const char *kept,
                                 const char *wanted);

static int compare_facts(const thaw__cache_facts *kept, const thaw__cache_facts *wanted,
                         difference_visit visit, void *context) {
    int count = 0;
    const thaw__cache_facts *sides[] = {wanted, kept};
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < sides[side]->n; i++) {
            const char *name = sides[side]->list[i].name;
            const char *a = thaw__facts_value(kept, name), *b = thaw__facts_value(wanted, name);
            bool seen = side == 1 && thaw__facts_has(wanted, name);
            if (seen || strcmp(a, b) == 0) continue;
            count++;
            if (visit) visit(context, name, a, b);
        }
    }
    return count;
}

/* A text of bounded size that grows by lines. */
typedef struct lines {
    char *text;
    size_t used, size;
} lines;

static void add_line(void *context, const char *name, const char *kept, const char *wanted) {
    lines *l = context;
    if (l->used >= l->size) return;
    int n = snprintf(l->text + l->used, l->size - l->used, "%s%s: %s -> %s", l->used ? "\n" : "",
                     name, kept, wanted);
    l->used += n > 0 ? (size_t)n : 0;
}

static void explain(const thaw__trunks *all, const thaw__cache_facts *wanted, lines *text,
                    int *n_differences) {
    const thaw__trunk_entry *best = NULL;
    for (size_t i = 0; i < all->n; i++) {
        const thaw__trunk_entry *t = &all->list[i];
        if (!t->facts.n || !t->entry.records) continue;
        int count = compare_facts(&t->facts, wanted, NULL, NULL);
        if (best && count >= *n_differences) continue;
        best = t;
        *n_differences = count;
    }
    if (best) compare_facts(&best->facts, wanted, add_line, text);
}

thaw_status thaw_cache_explain(const thaw_cache_spec *spec, char *text, size_t text_size,
                               int *n_differences, thaw_error *err) {
    thaw__trunks all;
    lines out = {text, 0, text_size};
    if (text_size) text[0] = 0;
    *n_differences = -1;
    THAW_TRY(thaw__trunks_read(spec->root, false, &all, err));
    thaw_arena arena = {0};
    thaw__cache_facts wanted;
    thaw_status status = thaw__facts_of(spec, &arena, &wanted, err);
    if (status == THAW_OK) explain(&all, &wanted, &out, n_differences);
    thaw_arena_free(&arena);
    thaw__trunks_free(&all);
    return status;
}
