#include "confusion.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "page.h"

enum {
    MOST_CLASSES = 300, /* A larger matrix is nothing that a person reads. */
    MOST_CELLS = 2500,  /* Some 200 bytes of the page each. */
    MOST_PAIRS = 30,
};

/* ---- order ------------------------------------------------------------------------------------ */

/* Two classes, and how much they are taken for one another. */
typedef struct link {
    int32_t a, b; /* a < b */
    double share;
} link;

/* Chains of classes under construction. */
typedef struct chains {
    int32_t (*next)[2]; /* [K] the neighbours; -1: none. */
    int32_t *root;      /* [K] a union-find forest. */
} chains;

static int by_classes(const void *a, const void *b) {
    const link *x = a, *y = b;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    return x->b < y->b ? -1 : x->b > y->b;
}

static int by_share(const void *a, const void *b) {
    const link *x = a, *y = b;
    if (x->share != y->share) return x->share > y->share ? -1 : 1;
    return by_classes(a, b);
}

/* Both directions of a confusion as one link, the strongest first. Returns how many. */
static size_t make_links(const thaw_results *r, link *links) {
    const int64_t *support = r->metrics.support;
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < r->n_pairs; i++) {
        const thaw_confusion *p = &r->pairs[i];
        if (p->label == p->answer) continue;
        bool up = p->label < p->answer;
        links[n++] = (link){up ? p->label : p->answer, up ? p->answer : p->label,
                            (double)p->n / (double)support[p->label]};
    }
    qsort(links, n, sizeof *links, by_classes);
    for (size_t i = 0; i < n; i++) {
        if (kept && by_classes(&links[kept - 1], &links[i]) == 0)
            links[kept - 1].share += links[i].share;
        else
            links[kept++] = links[i];
    }
    qsort(links, kept, sizeof *links, by_share);
    return kept;
}

static int32_t find(int32_t *root, int32_t k) {
    while (root[k] != k)
        k = root[k] = root[root[k]];
    return k;
}

static void join(chains *c, const link *l) {
    int32_t *a = c->next[l->a], *b = c->next[l->b], x = find(c->root, l->a),
            y = find(c->root, l->b);
    if (a[1] >= 0 || b[1] >= 0 || x == y) return;
    a[a[0] >= 0] = l->b;
    b[b[0] >= 0] = l->a;
    c->root[x] = y;
}

/* Walks from an end of a chain to the other one; returns where `order` goes on. */
static int64_t *walk(const chains *c, int32_t k, bool *seen, int64_t *order) {
    while (k >= 0 && !seen[k]) {
        seen[k] = true;
        *order++ = k;
        int32_t first = c->next[k][0];
        k = first >= 0 && !seen[first] ? first : c->next[k][1];
    }
    return order;
}

/* The end of class k's chain that lies in the direction of its first neighbour, or k itself. */
static int32_t end_of(const chains *c, int32_t k) {
    int32_t before = -1, at = k;
    while (c->next[at][1] >= 0) {
        int32_t next = c->next[at][0] != before ? c->next[at][0] : c->next[at][1];
        before = at;
        at = next;
    }
    return at;
}

static void order_chains(const chains *c, int64_t K, bool *seen, int64_t *order) {
    for (int32_t k = 0; k < K; k++)
        if (!seen[k]) order = walk(c, end_of(c, k), seen, order);
}

thaw_status thaw_confusion_order(const thaw_results *r, int64_t *order, thaw_error *err) {
    thaw_arena arena = {0};
    size_t K = (size_t)r->metrics.K;
    chains c = {.next = thaw_arena_array(&arena, K, sizeof *c.next),
                .root = thaw_arena_array(&arena, K, sizeof *c.root)};
    link *links = thaw_arena_array(&arena, r->n_pairs, sizeof *links);
    bool *seen = thaw_arena_array(&arena, K, sizeof *seen);
    bool enough = c.next && c.root && links && seen;
    for (size_t k = 0; enough && k < K; k++) {
        c.root[k] = (int32_t)k;
        c.next[k][0] = c.next[k][1] = -1;
    }
    size_t n = enough ? make_links(r, links) : 0;
    for (size_t i = 0; i < n; i++)
        join(&c, &links[i]);
    if (enough) order_chains(&c, (int64_t)K, seen, order);
    thaw_arena_free(&arena);
    return enough ? THAW_OK : thaw_fail_memory(err, "to order %zu classes", K);
}

/* ---- the matrix ------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b, void *ctx) {
    const thaw_results *r = ctx;
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    if (r->pairs[i].n != r->pairs[k].n) return r->pairs[i].n > r->pairs[k].n ? -1 : 1;
    return i < k ? -1 : i > k;
}

/* The pairs by falling number, in the arena; NULL when memory is short. */
static size_t *sorted_pairs(const thaw_results *r, thaw_arena *arena) {
    size_t *sorted = thaw_arena_array(arena, r->n_pairs, sizeof *sorted);
    for (size_t i = 0; sorted && i < r->n_pairs; i++)
        sorted[i] = i;
    if (sorted) qsort_r(sorted, r->n_pairs, sizeof *sorted, by_number, (void *)r);
    return sorted;
}

static thaw_cell cell_of(const thaw_results *r, const thaw_confusion *p, const size_t *place) {
    thaw_cell cell = {
        .row = place[p->label],
        .column = place[p->answer],
        .shade = (double)p->n / (double)r->metrics.support[p->label],
        .colour = p->label == p->answer ? THAW_COLOUR_ACCENT : THAW_COLOUR_WARN,
    };
    snprintf(cell.text, sizeof cell.text, "%lld", (long long)p->n);
    return cell;
}

static thaw_status put_matrix(FILE *out, const thaw_results *r, const size_t *sorted,
                              thaw_arena *arena, thaw_error *err) {
    size_t K = (size_t)r->metrics.K, n = r->n_pairs < MOST_CELLS ? r->n_pairs : MOST_CELLS;
    int64_t *order = thaw_arena_array(arena, K, sizeof *order);
    size_t *place = thaw_arena_array(arena, K, sizeof *place);
    const char **names = thaw_arena_array(arena, K, sizeof *names);
    thaw_cell *cells = thaw_arena_array(arena, n, sizeof *cells);
    if (!order || !place || !names || !cells) return thaw_fail_memory(err, "for a matrix");
    THAW_TRY(thaw_confusion_order(r, order, err));
    for (size_t i = 0; i < K; i++) {
        place[order[i]] = i;
        names[i] = r->classes[order[i]];
    }
    for (size_t i = 0; i < n; i++)
        cells[i] = cell_of(r, &r->pairs[sorted[i]], place);
    thaw_heat heat = {.title = "What is taken for what",
                      .row_label = "what a picture shows",
                      .column_label = "what the model says",
                      .rows = names,
                      .columns = names,
                      .n_rows = K,
                      .n_columns = K,
                      .cells = cells,
                      .n_cells = n};
    thaw_chart_heat(out, &heat);
    if (n < r->n_pairs)
        thaw_page_note(out, "The %zu most frequent of %zu pairs; metrics.json has all.", n,
                       r->n_pairs);
    return THAW_OK;
}

/* ---- the pairs -------------------------------------------------------------------------------- */

static void put_pair(FILE *out, const thaw_results *r, const thaw_confusion *p) {
    thaw_page_row(out);
    thaw_page_cell(out, r->classes[p->label]);
    thaw_page_cell(out, r->classes[p->answer]);
    thaw_page_figure(out, THAW_UNIT_COUNT, (double)p->n);
    thaw_page_figure(out, THAW_UNIT_SHARE, (double)p->n / (double)r->metrics.support[p->label]);
}

static void put_pairs(FILE *out, const thaw_results *r, const size_t *sorted) {
    static const char *const columns[] = {"shows", "taken for", "pictures", "of the class"};
    int64_t put = 0;
    thaw_page_table_begin(out, columns, 2, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < r->n_pairs && put < MOST_PAIRS; i++) {
        const thaw_confusion *p = &r->pairs[sorted[i]];
        if (p->label == p->answer) continue;
        put_pair(out, r, p);
        put++;
    }
    thaw_page_table_end(out);
}

static bool any_confused(const thaw_results *r) {
    for (size_t i = 0; i < r->n_pairs; i++)
        if (r->pairs[i].label != r->pairs[i].answer) return true;
    return false;
}

thaw_status thaw_confusion_put(FILE *out, const thaw_results *r, thaw_error *err) {
    thaw_arena arena = {0};
    size_t *sorted = sorted_pairs(r, &arena);
    thaw_status status = sorted ? THAW_OK : thaw_fail_memory(err, "for confused classes");
    thaw_page_heading(out, "Confusion");
    bool shown = r->metrics.K <= MOST_CLASSES;
    if (shown)
        thaw_page_note(out,
                       "Classes that are taken for one another stand side by side; the "
                       "stronger the colour, the larger the share of a row's pictures.");
    thaw_page_charts_begin(out);
    if (status == THAW_OK && shown) status = put_matrix(out, r, sorted, &arena, err);
    if (status == THAW_OK && any_confused(r)) put_pairs(out, r, sorted);
    thaw_page_charts_end(out);
    thaw_arena_free(&arena);
    return status;
}
