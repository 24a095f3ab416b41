#include "onnx_names.h"

#include <string.h>

#include "hash.h"

bool thaw__names_init(thaw__names *names, size_t most, thaw_arena *arena) {
    size_t n = 16;
    while (n < 2 * most)
        n *= 2;
    names->slots = thaw_arena_array(arena, n, sizeof *names->slots);
    names->mask = n - 1;
    return names->slots;
}

/* Where the name is, or would be. */
static thaw__named *slot_of(const thaw__names *names, const char *name) {
    size_t at = (size_t)thaw_hash_bytes((thaw_hash){0}, name, strlen(name)).lo & names->mask;
    while (names->slots[at].name && strcmp(names->slots[at].name, name) != 0)
        at = (at + 1) & names->mask;
    return &names->slots[at];
}

int thaw__names_find(const thaw__names *names, const char *name) {
    const thaw__named *slot = slot_of(names, name);
    return slot->name ? slot->number : -1;
}

bool thaw__names_add(thaw__names *names, const char *name, int number) {
    thaw__named *slot = slot_of(names, name);
    if (slot->name) return false;
    *slot = (thaw__named){name, number};
    return true;
}
