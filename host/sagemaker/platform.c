#include "platform.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "file.h"
#include "json.h"

enum { CONFIG_BYTES = 1 << 20 }; /* A hundred hyperparameters of 2500 characters take a quarter. */

const char *thaw_platform_base(void) {
    const char *base = getenv("SAGEMAKER_BASE_DIR");
    return base && *base ? base : "/opt/ml";
}

bool thaw_platform_is_here(void) {
    char path[PATH_MAX];
    struct stat info;
    int n = snprintf(path, sizeof path, "%s/input/config", thaw_platform_base());
    return n < (int)sizeof path && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the files that describe the job");
}

/* Reads the first of the two spellings that is there; *json NULL: neither is. *path: what was read. */
static thaw_status read_config(thaw_platform *p, const char *name, const char *other, json_t **json,
                               const char **path, thaw_error *err) {
    const char *names[] = {name, other};
    *json = NULL;
    for (int i = 0; i < 2 && !*json; i++) {
        struct stat info;
        *path = thaw_arena_printf(&p->arena, "%s/input/config/%s", p->base, names[i]);
        if (!*path) return no_memory(err);
        if (stat(*path, &info) != 0) continue;
        THAW_TRY(thaw_json_read(*path, CONFIG_BYTES, json, err));
        if (json_is_object(*json)) return THAW_OK;
        json_decref(*json);
        *json = NULL;
        return thaw_fail(err, THAW_ERR_FORMAT, "%s is no JSON object", *path);
    }
    return THAW_OK;
}

/* The text under key, a copy; fallback where there is none. */
static const char *text_at(thaw_platform *p, const json_t *json, const char *key,
                           const char *fallback) {
    const char *text = json_string_value(json_object_get(json, key));
    if (!text) text = fallback;
    return thaw_arena_string(&p->arena, text, strlen(text));
}

/* ---- channels ------------------------------------------------------------------------------- */

static thaw_status take_channel(thaw_platform *p, const char *name, const json_t *json,
                                const char *file, thaw_error *err) {
    thaw_channel *c = &p->channels[p->n_channels++];
    const char *mode = json_string_value(json_object_get(json, "TrainingInputMode"));
    const char *wrapper = json_string_value(json_object_get(json, "RecordWrapperType"));
    const char *spread = json_string_value(json_object_get(json, "S3DistributionType"));
    if (!json_is_object(json) || !*name || strchr(name, '/') || name[0] == '.')
        return thaw_fail(err, THAW_ERR_FORMAT, "%s: '%.80s' is no channel", file, name);
    if (mode && strcasecmp(mode, "File") && strcasecmp(mode, "FastFile") &&
        strcasecmp(mode, "Pipe"))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s: channel %.80s has the input mode '%.40s'; expected File, FastFile or "
                         "Pipe",
                         file, name, mode);
    c->name = thaw_arena_string(&p->arena, name, strlen(name));
    c->path = thaw_arena_printf(&p->arena, "%s/input/data/%s", p->base, name);
    c->content_type = text_at(p, json, "ContentType", "");
    c->piped = mode && !strcasecmp(mode, "Pipe");
    c->record_io = wrapper && !strcasecmp(wrapper, "RecordIO");
    c->sharded = spread && !strcasecmp(spread, "ShardedByS3Key");
    return c->name && c->path && c->content_type ? THAW_OK : no_memory(err);
}

static thaw_status read_channels(thaw_platform *p, thaw_error *err) {
    json_t *json;
    const char *file;
    THAW_TRY(read_config(p, "inputdataconfig.json", "inputDataConfig.json", &json, &file, err));
    if (!json) return THAW_OK;
    p->channels = thaw_arena_array(&p->arena, json_object_size(json), sizeof *p->channels);
    thaw_status status = p->channels ? THAW_OK : no_memory(err);
    const char *name;
    json_t *value;
    json_object_foreach(json, name, value) if (status == THAW_OK) status =
        take_channel(p, name, value, file, err);
    json_decref(json);
    return status;
}

const thaw_channel *thaw_platform_channel(const thaw_platform *p, const char *name) {
    for (size_t i = 0; i < p->n_channels; i++)
        if (strcmp(p->channels[i].name, name) == 0) return &p->channels[i];
    return NULL;
}

/* ---- hosts ---------------------------------------------------------------------------------- */

static int compare_hosts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static thaw_status take_hosts(thaw_platform *p, const json_t *json, const char *file,
                              thaw_error *err) {
    const char *current = json_string_value(json_object_get(json, "current_host"));
    const json_t *hosts = json_object_get(json, "hosts");
    size_t n = json_array_size(hosts);
    if (!current || n == 0)
        return thaw_fail(err, THAW_ERR_FORMAT, "%s names no current_host, or no hosts", file);
    p->hosts = thaw_arena_array(&p->arena, n, sizeof *p->hosts);
    if (!p->hosts) return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        const char *host = json_string_value(json_array_get(hosts, i));
        if (!host || !*host)
            return thaw_fail(err, THAW_ERR_FORMAT, "%s: host %zu has no name", file, i + 1);
        p->hosts[i] = thaw_arena_string(&p->arena, host, strlen(host));
        if (!p->hosts[i]) return no_memory(err);
    }
    qsort(p->hosts, n, sizeof *p->hosts, compare_hosts);
    p->n_hosts = n;
    for (p->rank = 0; p->rank < n && strcmp(p->hosts[p->rank], current) != 0;)
        p->rank++;
    if (p->rank < n) return THAW_OK;
    return thaw_fail(err, THAW_ERR_FORMAT, "%s: the current_host %.80s is not among the hosts",
                     file, current);
}

static thaw_status read_hosts(thaw_platform *p, thaw_error *err) {
    static const char *alone[] = {"localhost"};
    json_t *json;
    const char *file;
    p->hosts = alone;
    p->n_hosts = 1;
    THAW_TRY(read_config(p, "resourceconfig.json", "resourceConfig.json", &json, &file, err));
    thaw_status status = json ? take_hosts(p, json, file, err) : THAW_OK;
    p->interface = text_at(p, json, "network_interface_name", "eth0");
    p->instance = text_at(p, json, "current_instance_type", "");
    json_decref(json);
    if (status != THAW_OK) return status;
    return p->interface && p->instance ? THAW_OK : no_memory(err);
}

thaw_status thaw_platform_open(thaw_platform *p, thaw_error *err) {
    const char *file;
    *p = (thaw_platform){.base = thaw_platform_base()};
    THAW_TRY(read_config(p, "hyperparameters.json", "hyperParameters.json", &p->hyperparameters,
                         &file, err));
    if (!p->hyperparameters) p->hyperparameters = json_object();
    if (!p->hyperparameters) return no_memory(err);
    THAW_TRY(read_channels(p, err));
    return read_hosts(p, err);
}

void thaw_platform_close(thaw_platform *p) {
    json_decref(p->hyperparameters);
    thaw_arena_free(&p->arena);
    *p = (thaw_platform){0};
}
