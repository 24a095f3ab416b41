#include "settings.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "file.h"
#include "text.h"

/* ---- the environment ------------------------------------------------------------------------ */

/* THAW_SERVE_PORT for serve.port. */
static const char *variable_name(thaw_arena *arena, const char *key) {
    char *name = thaw_arena_printf(arena, "THAW_%s", key);
    for (char *c = name; c && *c; c++)
        *c = *c == '.' ? '_' : (char)toupper((unsigned char)*c);
    return name;
}

thaw_status thaw_settings_read_environment(thaw_options *options, thaw_error *err) {
    thaw_arena arena = {0};
    thaw_status status = THAW_OK;
    for (size_t i = 0; i < thaw_options_count() && status == THAW_OK; i++) {
        const char *key = thaw_options_key(i), *name = variable_name(&arena, key);
        const char *value = name ? getenv(name) : NULL;
        thaw_option_facts facts = {0};
        if (!name) status = thaw_fail_memory(err, "for the options");
        if (!value || thaw_options_is_set(options, key)) continue;
        status = thaw_options_look_up(key, THAW_FOR_SERVE, name, &facts, err);
        if (status == THAW_OK && facts.used_by & THAW_FOR_SERVE)
            status = thaw_options_set(options, key, value, name, err);
    }
    thaw_arena_free(&arena);
    return status;
}

static bool is_true(const char *name) {
    const char *value = getenv(name);
    return value && (!strcasecmp(value, "true") || !strcmp(value, "1"));
}

/* A number that the platform gives; fallback where it does not. */
static thaw_status read_number(const char *name, int64_t most, int64_t fallback, int64_t *value,
                               thaw_error *err) {
    const char *text = getenv(name);
    *value = fallback;
    if (!text || !*text) return THAW_OK;
    if (thaw_text_integer(text, value) && *value >= 0 && *value <= most) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE, "%s is '%.80s': expected an integer from 0 to %lld", name,
                     text, (long long)most);
}

static thaw_status read_accept(thaw_settings *s, thaw_error *err) {
    static const char name[] = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT";
    const char *text = getenv(name);
    if (thaw_answer_negotiate(text, s->fallback, &s->fallback)) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE,
                     "%s is '%.80s': expected application/json, application/json;list, "
                     "application/json;verbose or application/jsonlines",
                     name, text);
}

/* MaxConcurrentTransforms times MaxPayloadInMB may be 100 at most, says the platform. */
static thaw_status read_transform(thaw_settings *s, const thaw_options *options, thaw_error *err) {
    enum { TOGETHER_MB = 100, USUAL_MB = 6, MB = 1 << 20, MOST_TRANSFORMS = 1000 };
    int64_t payload, transforms;
    THAW_TRY(read_number("SAGEMAKER_MAX_PAYLOAD_IN_MB", TOGETHER_MB, -1, &payload, err));
    s->payload_mb = payload < 0 ? USUAL_MB : (int)payload;
    int64_t together = TOGETHER_MB / (s->payload_mb ? s->payload_mb : 1);
    if (s->payload_mb == 0) together = 1;
    THAW_TRY(read_number("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", MOST_TRANSFORMS, together,
                         &transforms, err));
    s->transforms = (int)transforms;
    const char *strategy = getenv("SAGEMAKER_BATCH_STRATEGY");
    s->strategy =
        strategy && !strcasecmp(strategy, "MULTI_RECORD") ? "MULTI_RECORD" : "SINGLE_RECORD";
    s->most_body = (size_t)TOGETHER_MB * MB;
    if (payload == 0) s->most_body = THAW_PICTURE_MOST_BYTES; /* Chunked, and without a limit. */
    if (payload > 0) s->most_body = (size_t)payload * MB;
    if (!thaw_is_auto(options->serve.most_body)) s->most_body = (size_t)options->serve.most_body;
    return THAW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static thaw_status choose_folder(thaw_settings *s, const thaw_options *options, const char *run,
                                 thaw_arena *arena, thaw_error *err) {
    const char *base = getenv("SAGEMAKER_BASE_DIR");
    if (*options->serve.models) {
        if (run)
            return thaw_fail(err, THAW_ERR_USAGE,
                             "serve.models = %s and the run %s: give one of them",
                             options->serve.models, run);
        s->models = options->serve.models;
        return THAW_OK;
    }
    s->folder = run;
    if (run || is_true("SAGEMAKER_MULTI_MODEL")) return THAW_OK;
    s->folder = thaw_file_join(arena, base && *base ? base : "/opt/ml", "model");
    return s->folder ? THAW_OK : thaw_fail_memory(err, "for a path");
}

thaw_status thaw_settings_open(thaw_settings *s, const thaw_options *options, const char *run,
                               thaw_arena *arena, thaw_error *err) {
    enum { USUAL_PORT = 8080, LAST_PORT = 65535 };
    int64_t port;
    *s = (thaw_settings){.in_band = is_true("SAGEMAKER_BATCH")};
    THAW_TRY(choose_folder(s, options, run, arena, err));
    bool contained = !run && !s->models;
    s->address = contained ? "0.0.0.0" : "127.0.0.1";
    if (!thaw_is_auto(options->serve.address)) s->address = options->serve.address;
    THAW_TRY(read_number("SAGEMAKER_BIND_TO_PORT", LAST_PORT, USUAL_PORT, &port, err));
    s->port = (int)(thaw_is_auto(options->serve.port) ? port : options->serve.port);
    s->page = options->serve.page && (!contained || thaw_options_is_set(options, "serve.page"));
    THAW_TRY(read_accept(s, err));
    return read_transform(s, options, err);
}
