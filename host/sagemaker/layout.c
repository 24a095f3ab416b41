#include "layout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "json.h"

extern char **environ;

static const char *text_at(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static thaw_status path_in(char path[PATH_MAX], const char *base, const char *name,
                           thaw_error *err) {
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) < PATH_MAX) return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO, "%.200s/%.200s: the path is too long", base, name);
}

static thaw_status write_config(const char *base, const char *name, const thaw_json *json,
                                thaw_error *err) {
    char path[PATH_MAX], inside[64];
    snprintf(inside, sizeof inside, "input/config/%s", name);
    THAW_TRY(path_in(path, base, inside, err));
    return thaw_json_write(json, path, err);
}

/* ---- channels ------------------------------------------------------------------------------- */

static thaw_status link_to(const char *path, const char *target, thaw_error *err) {
    if (symlink(target, path) == 0) return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO, "cannot make the link %s: %s", path, strerror(errno));
}

/* A folder is the channel; a file lies in it. */
static thaw_status link_channel(const char *base, const thaw_local_channel *channel,
                                thaw_error *err) {
    char name[128], folder[PATH_MAX], path[PATH_MAX];
    struct stat info;
    snprintf(name, sizeof name, "input/data/%.64s", channel->name);
    THAW_TRY(path_in(folder, base, name, err));
    if (stat(channel->path, &info) == 0 && S_ISDIR(info.st_mode))
        return link_to(folder, channel->path, err);
    THAW_TRY(thaw_file_make_folders(folder, err));
    THAW_TRY(path_in(path, folder, strrchr(channel->path, '/') + 1, err));
    return link_to(path, channel->path, err);
}

static const thaw_local_channel *find(const thaw_local_channel *channels, size_t n,
                                      const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(channels[i].name, name) == 0) return &channels[i];
    return NULL;
}

static void describe_channel(thaw_json *json, const json_t *channel, const char *mode) {
    const json_t *s3 = json_object_get(json_object_get(channel, "DataSource"), "S3DataSource");
    json_t *one = thaw_json_object(json, json->root, text_at(channel, "ChannelName"));
    thaw_json_text(json, one, "TrainingInputMode", mode);
    thaw_json_text(json, one, "S3DistributionType", text_at(s3, "S3DataDistributionType"));
    thaw_json_text(json, one, "RecordWrapperType", "None");
    thaw_json_text(json, one, "ContentType", text_at(channel, "ContentType"));
}

static thaw_status bring_channel(const char *base, const json_t *request, const json_t *channel,
                                 const thaw_local_channel *channels, size_t n, thaw_json *json,
                                 thaw_error *err) {
    const char *name = text_at(channel, "ChannelName"), *mode = text_at(channel, "InputMode");
    const thaw_local_channel *local = find(channels, n, name);
    if (!*mode)
        mode = text_at(json_object_get(request, "AlgorithmSpecification"), "TrainingInputMode");
    if (!local)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.%s asks for a channel that the folder has no pictures for",
                         name);
    if (strcasecmp(mode, "Pipe") == 0)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "sagemaker.input_mode = Pipe: nothing streams here; try it with File or FastFile");
    describe_channel(json, channel, mode);
    return link_channel(base, local, err);
}

static thaw_status bring_channels(const char *base, const json_t *request,
                                  const thaw_local_channel *channels, size_t n, thaw_error *err) {
    thaw_json json = thaw_json_begin();
    thaw_status status = THAW_OK;
    size_t i;
    const json_t *channel;
    json_array_foreach(json_object_get(request, "InputDataConfig"), i, channel) {
        if (status == THAW_OK)
            status = bring_channel(base, request, channel, channels, n, &json, err);
    }
    if (status == THAW_OK) status = write_config(base, "inputdataconfig.json", &json, err);
    thaw_json_free(&json);
    return status;
}

/* ---- the rest ------------------------------------------------------------------------------- */

static thaw_status write_hyperparameters(const char *base, const json_t *request, thaw_error *err) {
    thaw_json json = thaw_json_begin();
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(request, "HyperParameters"), key, value)
        thaw_json_text(&json, json.root, key, json_string_value(value));
    thaw_status status = write_config(base, "hyperparameters.json", &json, err);
    thaw_json_free(&json);
    return status;
}

static thaw_status write_resources(const char *base, const json_t *request, thaw_error *err) {
    static const char host[] = "algo-1", group[] = "homogeneousCluster";
    const json_t *wanted = json_object_get(request, "ResourceConfig");
    const char *instance = text_at(wanted, "InstanceType");
    if (json_integer_value(json_object_get(wanted, "InstanceCount")) > 1)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.count: here is one machine; try it with one");
    thaw_json json = thaw_json_begin();
    thaw_json_text(&json, json.root, "current_host", host);
    thaw_json_text(&json, json.root, "current_instance_type", instance);
    thaw_json_text(&json, json.root, "current_group_name", group);
    thaw_json_text(&json, thaw_json_array(&json, json.root, "hosts"), NULL, host);
    json_t *groups = thaw_json_array(&json, json.root, "instance_groups");
    json_t *one = thaw_json_object(&json, groups, NULL);
    thaw_json_text(&json, one, "instance_group_name", group);
    thaw_json_text(&json, one, "instance_type", instance);
    thaw_json_text(&json, thaw_json_array(&json, one, "hosts"), NULL, host);
    thaw_json_text(&json, json.root, "network_interface_name", "lo");
    thaw_status status = write_config(base, "resourceconfig.json", &json, err);
    thaw_json_free(&json);
    return status;
}

static thaw_status bring_checkpoints(const char *base, const json_t *request, const char *from,
                                     thaw_error *err) {
    char path[PATH_MAX];
    if (!json_object_get(request, "CheckpointConfig")) return THAW_OK;
    THAW_TRY(path_in(path, base, "checkpoints", err));
    if (!from) return thaw_file_make_folders(path, err);
    if (rename(from, path) == 0) return THAW_OK;
    return thaw_fail(err, THAW_ERR_IO, "cannot move %s to %s: %s", from, path, strerror(errno));
}

thaw_status thaw_layout_make(const char *base, const json_t *request,
                             const thaw_local_channel *channels, size_t n, const char *checkpoints,
                             thaw_error *err) {
    static const char *const folders[] = {"input/config", "input/data", "model", "output/data"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[PATH_MAX];
        THAW_TRY(path_in(path, base, folders[i], err));
        THAW_TRY(thaw_file_make_folders(path, err));
    }
    THAW_TRY(write_hyperparameters(base, request, err));
    THAW_TRY(write_resources(base, request, err));
    THAW_TRY(bring_channels(base, request, channels, n, err));
    return bring_checkpoints(base, request, checkpoints, err);
}

/* ---- the environment ------------------------------------------------------------------------ */

/* What Thaw reads, whoever has set it here. */
static bool is_ours(const char *variable) {
    static const char *const beginnings[] = {"SAGEMAKER_", "THAW_", "TRAINING_JOB_"};
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (strncmp(variable, beginnings[i], strlen(beginnings[i])) == 0) return true;
    return false;
}

static bool same_name(const char *a, const char *b) {
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* A later value goes before an earlier one. */
static void set(char **list, size_t *n, char *variable) {
    for (size_t i = 0; i < *n; i++)
        if (same_name(variable, list[i])) {
            list[i] = variable;
            return;
        }
    list[(*n)++] = variable;
}

thaw_status thaw_layout_environment(const json_t *request, const char *const *own,
                                    thaw_arena *arena, char ***environment, thaw_error *err) {
    json_t *wanted = json_object_get(request, "Environment"), *value;
    size_t room = json_object_size(wanted) + 1, n = 0;
    for (char **one = environ; *one; one++)
        room++;
    for (const char *const *one = own; *one; one++)
        room++;
    char **list = thaw_arena_array(arena, room, sizeof *list);
    if (!list) return thaw_fail_memory(err, "for an environment");
    for (char **one = environ; *one; one++)
        if (!is_ours(*one)) set(list, &n, *one);
    for (const char *const *one = own; *one; one++)
        set(list, &n, (char *)*one);
    const char *name;
    json_object_foreach(wanted, name, value) {
        char *variable = thaw_arena_printf(arena, "%s=%s", name, json_string_value(value));
        if (!variable) return thaw_fail_memory(err, "for an environment");
        set(list, &n, variable);
    }
    *environment = list;
    return THAW_OK;
}
