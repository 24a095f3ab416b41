#include "arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, BLOCK = 64 * 1024, PACKED = 32 * 1024 };

struct thaw_arena_block {
    struct thaw_arena_block *next;
    void *begin;       /* Where the memory that it is in begins. */
    size_t size, used; /* Of data, which starts ALIGN bytes after the block. */
};

/* Zero, and by calloc, so that of what is big and never touched nothing becomes resident. */
static struct thaw_arena_block *block_open(size_t size) {
    char *begin = calloc(1, size + 2 * ALIGN);
    if (!begin) return NULL;
    struct thaw_arena_block *block = (void *)(begin + (ALIGN - (uintptr_t)begin % ALIGN));
    block->begin = begin;
    block->size = size;
    return block;
}

static void *block_take(struct thaw_arena_block *block, size_t n) {
    if (block->size - block->used < n) return NULL;
    void *p = (char *)block + ALIGN + block->used;
    block->used += n;
    return p;
}

void *thaw_arena_alloc(thaw_arena *arena, size_t n) {
    if (n > SIZE_MAX / 2) return NULL;
    n = (n + ALIGN - 1) / ALIGN * ALIGN;
    void *p = arena->blocks ? block_take(arena->blocks, n) : NULL;
    if (!p) {
        struct thaw_arena_block *block = block_open(n > BLOCK ? n : BLOCK);
        if (!block) return NULL;
        /* A big block goes behind the current one, whose rest stays in use. */
        if (arena->blocks && n > BLOCK) {
            block->next = arena->blocks->next;
            arena->blocks->next = block;
        } else {
            block->next = arena->blocks;
            arena->blocks = block;
        }
        p = block_take(block, n);
    }
    arena->used_bytes += n;
    return p;
}

void *thaw_arena_array(thaw_arena *arena, size_t count, size_t size) {
    if (size && count > SIZE_MAX / 2 / size) return NULL;
    return thaw_arena_alloc(arena, count * size);
}

char *thaw_arena_string(thaw_arena *arena, const char *text, size_t n) {
    char *copy = n < SIZE_MAX ? thaw_arena_alloc(arena, n + 1) : NULL;
    return copy ? memcpy(copy, text, n) : NULL;
}

char *thaw_arena_pack(thaw_arena *arena, const char *text, size_t n) {
    if (n >= PACKED) return thaw_arena_string(arena, text, n);
    if (n + 1 > arena->chunk_left) {
        arena->chunk = thaw_arena_alloc(arena, PACKED);
        arena->chunk_left = arena->chunk ? PACKED : 0;
        if (!arena->chunk) return NULL;
    }
    char *copy = memcpy(arena->chunk, text, n);
    copy[n] = '\0';
    arena->chunk += n + 1;
    arena->chunk_left -= n + 1;
    return copy;
}

char *thaw_arena_printf(thaw_arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n >= 0 ? thaw_arena_alloc(arena, (size_t)n + 1) : NULL;
    if (!text) return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    return text;
}

void thaw_arena_free(thaw_arena *arena) {
    struct thaw_arena_block *block = arena->blocks;
    while (block) {
        struct thaw_arena_block *next = block->next;
        free(block->begin);
        block = next;
    }
    *arena = (thaw_arena){0};
}
