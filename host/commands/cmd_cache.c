/* thaw cache ls|verify|explain|gc: look after the kept features. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "run/device.h"
#include "run/precision.h"
#include "run/storage.h"
#include "text.h"

static const char *fact(const thaw_cache_entry *e, const char *name) {
    for (size_t i = 0; i < e->n_facts; i++)
        if (strcmp(e->facts[i].name, name) == 0) return e->facts[i].value;
    return "?";
}

static void print_date(int64_t when) {
    char text[32] = "never";
    time_t t = (time_t)when;
    struct tm local;
    if (when && localtime_r(&t, &local)) strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local);
    printf("  %-16s", text);
}

static thaw_status print_entry(void *context, const thaw_cache_entry *e, thaw_error *err) {
    (void)err;
    uint64_t *total = context;
    *total += e->bytes;
    printf("%.12s  %9zu  %9.1f MB", e->key, e->records, (double)e->bytes / 1e6);
    print_date(e->last_used);
    if (e->n_facts)
        printf("  %s, %s, %s, %s%s\n", e->about, fact(e, "size"), fact(e, "filter"),
               fact(e, "precision"), e->in_use ? "  (in use)" : "");
    else
        printf("  trunk.json is missing or damaged\n");
    return THAW_OK;
}

static thaw_status list(const char *root, thaw_error *err) {
    uint64_t total = 0;
    printf("trunk            pictures       on disk   last used         what\n");
    THAW_TRY(thaw_cache_walk(root, false, print_entry, &total, err));
    printf("%.1f MB in %s\n", (double)total / 1e6, root);
    return THAW_OK;
}

typedef struct verification {
    size_t trunks, records, damaged, foreign;
} verification;

static thaw_status verify_entry(void *context, const thaw_cache_entry *e, thaw_error *err) {
    (void)err;
    verification *v = context;
    v->trunks++;
    v->records += e->records;
    v->damaged += e->damaged;
    v->foreign += e->foreign;
    printf("%.12s  %zu records, %zu damaged%s\n", e->key, e->records, e->damaged,
           e->foreign ? ", shards of another format" : "");
    for (size_t i = 0; i < e->damaged && i < THAW_CACHE_SPOTS; i++)
        printf("    %s at byte %llu\n", e->spots[i].shard, (unsigned long long)e->spots[i].offset);
    if (e->damaged > THAW_CACHE_SPOTS) printf("    and %zu more\n", e->damaged - THAW_CACHE_SPOTS);
    return THAW_OK;
}

static thaw_status verify(const char *root, thaw_error *err) {
    verification v = {0};
    THAW_TRY(thaw_cache_walk(root, true, verify_entry, &v, err));
    printf("%zu records of %zu trunks read and compared with their checksums\n", v.records,
           v.trunks);
    if (!v.damaged && !v.foreign) return THAW_OK;
    return thaw_fail(err, THAW_ERR_MISMATCH,
                     "%zu records are damaged and %zu shards have another format; damaged records "
                     "are computed anew when they are needed, thaw cache gc removes them",
                     v.damaged, v.foreign);
}

/* What would a train run with these options find, and if nothing, why? */
static thaw_status explain(const thaw_options *options, const char *root, thaw_arena *arena,
                           thaw_error *err) {
    THAW_TRY(thaw_options_require(options, "model", err));
    thaw_network network;
    thaw_backend backend; /* Which one computes is one of the facts. */
    THAW_TRY(thaw_device_open(options, &backend, err));
    thaw_status status = thaw_network_open(&network, options, err);
    char text[2048];
    int n = -1;
    if (status == THAW_OK) {
        size_t n_facts;
        thaw_dtype compute = thaw_is_auto(options->precision) ? THAW_F32 : options->precision;
        thaw_dtype stored = thaw_is_auto(options->cache.dtype) ? THAW_F32 : options->cache.dtype;
        thaw_cache_spec spec = {
            .root = root,
            .D = network.n_features,
            .dtype = stored,
            .facts = thaw_storage_facts(&network, backend.kernels, compute, arena, &n_facts)};
        spec.n_facts = n_facts;
        status = spec.facts ? thaw_cache_explain(&spec, text, sizeof text, &n, err)
                            : thaw_fail_memory(err, "for the facts of a cache");
    }
    thaw_network_close(&network);
    thaw_backend_close(&backend);
    THAW_TRY(status);
    if (n < 0)
        printf("nothing is kept in %s\n", root);
    else if (n == 0)
        printf(
            "these settings have a trunk in the cache: a picture misses only when its file's "
            "content is new\n");
    else
        printf(
            "nothing is kept for these settings; the nearest trunk differs in (kept -> wanted)\n"
            "%s\n",
            text);
    return THAW_OK;
}

static thaw_status collect(const thaw_options *options, const char *root, thaw_error *err) {
    thaw_cache_collected r;
    THAW_TRY(thaw_cache_collect(root, (uint64_t)options->cache.keep_bytes, options->cache.keep_days,
                                &r, err));
    printf("%zu trunks and %zu damaged records removed, %.1f MB freed, %.1f MB remain\n", r.trunks,
           r.records, (double)r.bytes / 1e6, (double)r.remain / 1e6);
    if (r.in_use) printf("%zu trunks are in use and were left alone\n", r.in_use);
    return THAW_OK;
}

thaw_status thaw_cmd_cache(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    thaw_arena arena = {0};
    const char *root, *what = cli->args[0];
    thaw_status status = thaw_storage_root(options, &arena, &root, err);
    if (status == THAW_OK && !root)
        status = thaw_fail(err, THAW_ERR_USAGE, "cache.dir = none: there is nothing to look at");
    if (status == THAW_OK) {
        if (strcmp(what, "ls") == 0)
            status = list(root, err);
        else if (strcmp(what, "verify") == 0)
            status = verify(root, err);
        else if (strcmp(what, "explain") == 0)
            status = explain(options, root, &arena, err);
        else if (strcmp(what, "gc") == 0)
            status = collect(options, root, err);
        else
            status = thaw_fail(err, THAW_ERR_USAGE,
                               "thaw cache %s: expected ls, verify, explain or gc", what);
    }
    thaw_arena_free(&arena);
    return status;
}
