#include "classes.h"

#include <stdlib.h>
#include <string.h>

#include "utf8.h"

struct thaw_class_entry {
    const char *name;
    size_t label;
};

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const thaw_class_entry *)a)->name, ((const thaw_class_entry *)b)->name);
}

thaw_status thaw_classes_take(thaw_classes *classes, const char *const *names, size_t n,
                              thaw_arena *arena, thaw_error *err) {
    const char **copy = thaw_arena_array(arena, n, sizeof *copy);
    thaw_class_entry *by_name = thaw_arena_array(arena, n, sizeof *by_name);
    if (!copy || !by_name) return thaw_fail_memory(err, "for the names of the classes");
    for (size_t i = 0; i < n; i++) {
        copy[i] = thaw_arena_string(arena, names[i], strlen(names[i]));
        if (!copy[i]) return thaw_fail_memory(err, "for the names of the classes");
        by_name[i] = (thaw_class_entry){copy[i], i};
    }
    qsort(by_name, n, sizeof *by_name, compare_entries);
    *classes = (thaw_classes){.name = copy, .n = n, .by_name = by_name};
    return THAW_OK;
}

bool thaw_classes_find(const thaw_classes *classes, const char *name, size_t *label) {
    thaw_class_entry wanted = {.name = name};
    const thaw_class_entry *found =
        bsearch(&wanted, classes->by_name, classes->n, sizeof wanted, compare_entries);
    if (found) *label = found->label;
    return found != NULL;
}

void thaw_classes_advise(const thaw_classes *classes, const char *name, thaw_text *advice) {
    thaw_nearest nearest = {.word = name};
    for (size_t i = 0; i < classes->n; i++) {
        if (thaw_utf8_looks_like(name, classes->name[i])) {
            thaw_text_add(advice,
                          "; '%.120s' looks the same and differs in Unicode normalisation: rename "
                          "one to the other",
                          classes->name[i]);
            return;
        }
        thaw_nearest_offer(&nearest, classes->name[i]);
    }
    if (nearest.best) thaw_text_add(advice, "; did you mean '%.120s'?", nearest.best);
}

bool thaw_classes_alike(const thaw_classes *classes, size_t pair[2]) {
    for (size_t i = 0; i < classes->n; i++) {
        if (!thaw_utf8_has_marks(classes->name[i])) continue; /* One of such a pair has. */
        for (size_t k = 0; k < classes->n; k++) {
            if (k == i || !thaw_utf8_looks_like(classes->name[i], classes->name[k])) continue;
            pair[0] = i;
            pair[1] = k;
            return true;
        }
    }
    return false;
}
