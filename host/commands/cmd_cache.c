/* thaw cache ls|verify|explain|gc: look after the kept features. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "run/device.h"
#include "run/storage.h"
#include "utf8.h"

/* Prints a line: names of models, folders and shards may hold anything. */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
    char line[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    thaw_utf8_printable(line);
    puts(line);
}

static const char *fact(const thaw_cache_entry *e, const char *name) {
    for (size_t i = 0; i < e->n_facts; i++)
        if (strcmp(e->facts[i].name, name) == 0) return e->facts[i].value;
    return "?";
}

static void format_date(int64_t when, char text[32]) {
    time_t t = (time_t)when;
    struct tm local;
    strcpy(text, "never");
    if (when && localtime_r(&t, &local)) strftime(text, 32, "%Y-%m-%d %H:%M", &local);
}

static thaw_status print_entry(void *context, const thaw_cache_entry *e, thaw_error *err) {
    (void)err;
    uint64_t *total = context;
    *total += e->bytes;
    char date[32];
    format_date(e->last_used, date);
    if (e->n_facts)
        say("%.12s  %9zu  %9.1f MB  %-16s  %s, %s, %s, %s%s", e->key, e->records,
            (double)e->bytes / 1e6, date, e->about, fact(e, "size"), fact(e, "filter"),
            fact(e, "precision"), e->in_use ? "  (in use)" : "");
    else
        say("%.12s  %9zu  %9.1f MB  %-16s  trunk.json is missing or damaged", e->key, e->records,
            (double)e->bytes / 1e6, date);
    return THAW_OK;
}

static thaw_status list(const char *root, thaw_error *err) {
    uint64_t total = 0;
    printf("trunk            pictures       on disk   last used         what\n");
    THAW_TRY(thaw_cache_walk(root, false, print_entry, &total, err));
    say("%.1f MB in %s", (double)total / 1e6, root);
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
        say("    %s at byte %llu", e->spots[i].shard, (unsigned long long)e->spots[i].offset);
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

/* What would a train run with these options find, and if nothing, why? text: of the nearest trunk's
 * differences; *n as thaw_cache_explain says. */
static thaw_status compare(const thaw_options *options, const thaw_network *network,
                           const thaw_backend *backend, const char *root, char *text, size_t size,
                           int *n, thaw_error *err) {
    thaw_arena arena = {0};
    thaw_cache_spec spec;
    thaw_dtype compute;
    bool kept;
    thaw_status status = thaw_storage_precision(options, network, backend, &compute, &kept, err);
    if (status == THAW_OK)
        status = thaw_storage_spec(options, network, backend, compute, root, &arena, &spec, err);
    if (status == THAW_OK) status = thaw_cache_explain(&spec, text, size, n, err);
    thaw_arena_free(&arena);
    return status;
}

static thaw_status explain(const thaw_options *options, const char *root, thaw_error *err) {
    THAW_TRY(thaw_options_require(options, "model", err));
    thaw_network network;
    thaw_backend backend; /* Which one computes is one of the facts. */
    THAW_TRY(thaw_device_open(options, &backend, err));
    thaw_status status = thaw_network_open(&network, options, err);
    char text[2048];
    int n = -1;
    if (status == THAW_OK)
        status = compare(options, &network, &backend, root, text, sizeof text, &n, err);
    thaw_network_close(&network);
    thaw_backend_close(&backend);
    THAW_TRY(status);
    if (n < 0)
        say("nothing is kept in %s", root);
    else if (n == 0)
        say("%s",
            "these settings have a trunk in the cache: a picture misses only when its file's "
            "content is new");
    else
        say("nothing is kept for these settings; the nearest trunk differs in (kept -> wanted)");
    for (char *line = text, *next; n > 0 && line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        say("%s", line);
    }
    return THAW_OK;
}

static thaw_status collect(const thaw_options *options, const char *root, thaw_error *err) {
    thaw_cache_collected r;
    THAW_TRY(thaw_cache_check_root(root, options->cache.shared, err));
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
            status = explain(options, root, err);
        else if (strcmp(what, "gc") == 0)
            status = collect(options, root, err);
        else
            status = thaw_fail(err, THAW_ERR_USAGE,
                               "thaw cache %s: expected ls, verify, explain or gc", what);
    }
    thaw_arena_free(&arena);
    return status;
}
