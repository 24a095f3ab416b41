/* Greedy by size (Pisarchyk & Lee 2020): the largest tensor first, each at the lowest place where
 * nothing lies that is alive with it. Whom a tensor is alive with tells a segment tree over the
 * steps, and the list of what each step makes; so the time is n log n as long as few are alive at
 * once. Who is alive with more than MANY others goes on top of everything.
 */
#include "memory_plan.h"

#include <stdlib.h>

enum { ALIGN = 64, MANY = 256 };

/* A piece of memory and the steps between which it is in use, both counting. */
typedef struct buffer {
    size_t bytes, offset;
    int first, last; /* first -1: nobody makes it. */
    int owner;       /* Port whose buffer this port shares; itself otherwise. */
} buffer;

static size_t aligned(size_t n) {
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static void find_lifetimes(const thaw_program *p, buffer *buffers) {
    for (int i = 0; i < p->n_ports; i++)
        buffers[i] = (buffer){.first = -1, .owner = i};
    for (int s = 0; s < p->n_steps; s++) {
        const thaw_step *step = &p->steps[s];
        for (int i = 0; i < step->n_in; i++) {
            buffer *in = &buffers[buffers[step->in[i] - p->ports].owner];
            if (in->last < s) in->last = s;
        }
        int out = (int)(step->out - p->ports);
        if (step->in_place) buffers[out].owner = buffers[step->in[step->n_in - 1] - p->ports].owner;
        buffer *owner = &buffers[buffers[out].owner];
        if (owner->first < 0) owner->first = s;
        owner->last = s;
        if (step->out->bytes > owner->bytes) owner->bytes = step->out->bytes;
    }
}

/* ---- who is alive together ------------------------------------------------------------------ */

/* A buffer in the list of a node of the tree. */
typedef struct entry {
    const buffer *buffer;
    int next; /* -1: the last. */
} entry;

/* The placed buffers: by the node of a segment tree whose steps they live through (node 1 is all
 * steps, nodes 2 i and 2 i + 1 are the halves of node i), and by the step that makes them. */
typedef struct timetable {
    int n;          /* Leaves: a power of two. */
    int *head;      /* [2 n] First entry of each node. */
    entry *entries; /* [n_ports * 2 log2 n] */
    int n_entries;
    const buffer **made; /* [n] */
} timetable;

static bool open_timetable(timetable *t, const thaw_program *p, thaw_arena *arena) {
    size_t levels = 1;
    for (t->n = 1; t->n < p->n_steps; t->n *= 2)
        levels++;
    t->head = thaw_arena_array(arena, 2 * (size_t)t->n, sizeof *t->head);
    t->entries = thaw_arena_array(arena, 2 * levels * (size_t)p->n_ports, sizeof *t->entries);
    t->made = thaw_arena_array(arena, (size_t)t->n, sizeof(buffer *));
    for (int i = 0; t->head && i < 2 * t->n; i++)
        t->head[i] = -1;
    return t->head && t->entries && t->made;
}

static void add_entry(timetable *t, int node, const buffer *b) {
    t->entries[t->n_entries] = (entry){b, t->head[node]};
    t->head[node] = t->n_entries++;
}

static void add_buffer(timetable *t, const buffer *b) {
    t->made[b->first] = b;
    for (int low = b->first + t->n, high = b->last + t->n + 1; low < high; low /= 2, high /= 2) {
        if (low & 1) add_entry(t, low++, b);
        if (high & 1) add_entry(t, --high, b);
    }
}

/* Those that are alive with b; -1: too many. */
static int find_company(const timetable *t, const buffer *b, const buffer *company[MANY]) {
    int n = 0;
    for (int node = b->first + t->n; node; node /= 2)
        for (int e = t->head[node]; e >= 0; e = t->entries[e].next) {
            if (n == MANY) return -1;
            company[n++] = t->entries[e].buffer;
        }
    if (b->last - b->first > MANY) return -1;
    for (int s = b->first + 1; s <= b->last; s++) {
        if (!t->made[s]) continue;
        if (n == MANY) return -1;
        company[n++] = t->made[s];
    }
    return n;
}

/* ---- placing -------------------------------------------------------------------------------- */

/* The largest first; of equal ones, as they are made. */
static int by_size(const void *a, const void *b) {
    const buffer *p = *(buffer *const *)a, *q = *(buffer *const *)b;
    if (p->bytes != q->bytes) return p->bytes > q->bytes ? -1 : 1;
    return p->first - q->first;
}

static int by_offset(const void *a, const void *b) {
    const buffer *p = *(const buffer *const *)a, *q = *(const buffer *const *)b;
    return p->offset < q->offset ? -1 : p->offset > q->offset;
}

/* The lowest place with room beside n others. */
static size_t lowest_gap(const buffer **others, int n, size_t bytes) {
    size_t offset = 0;
    qsort(others, (size_t)n, sizeof *others, by_offset);
    for (int i = 0; i < n; i++) {
        size_t end = aligned(others[i]->offset + others[i]->bytes);
        if (offset + bytes <= others[i]->offset) break;
        if (end > offset) offset = end;
    }
    return offset;
}

/* Returns where the highest buffer ends. */
static size_t place(buffer **order, int n, timetable *t) {
    size_t total = 0;
    qsort(order, (size_t)n, sizeof *order, by_size);
    for (int i = 0; i < n; i++) {
        buffer *b = order[i];
        const buffer *company[MANY];
        int n_company = find_company(t, b, company);
        b->offset = n_company < 0 ? aligned(total) : lowest_gap(company, n_company, b->bytes);
        add_buffer(t, b);
        if (b->offset + b->bytes > total) total = b->offset + b->bytes;
    }
    return total;
}

static thaw_status plan(thaw_program *p, thaw_arena *arena, size_t *bytes, thaw_error *err) {
    timetable t = {0};
    buffer *buffers = thaw_arena_array(arena, (size_t)p->n_ports, sizeof *buffers);
    buffer **order = thaw_arena_array(arena, (size_t)p->n_ports, sizeof(buffer *));
    if (!buffers || !order || !open_timetable(&t, p, arena))
        return thaw_fail_memory(err, "to plan the trunk's memory");
    find_lifetimes(p, buffers);
    int n = 0;
    for (int i = 0; i < p->n_ports; i++)
        if (buffers[i].bytes) order[n++] = &buffers[i];
    *bytes = place(order, n, &t);
    for (int i = 0; i < p->n_ports; i++)
        p->ports[i].offset = buffers[buffers[i].owner].offset;
    return THAW_OK;
}

thaw_status thaw__memory_plan(thaw_program *program, size_t *bytes, thaw_error *err) {
    thaw_arena arena = {0};
    thaw_status status = plan(program, &arena, bytes, err);
    thaw_arena_free(&arena);
    return status;
}
