#include "request.h"

#include <string.h>

#include "request_parts.h"

struct thaw_request_kind {
    const char *word, *aws;
    thaw_status (*build)(thaw__request *r, thaw_error *err);
};

static const thaw_request_kind kinds[] = {
    {"job", "create-training-job", thaw__request_job},
    {"tuning-job", "create-hyper-parameter-tuning-job", thaw__request_tuning_job},
    {"algorithm", "create-algorithm", thaw__request_algorithm},
    {"model", "create-model", thaw__request_model},
    {"endpoint-config", "create-endpoint-config", thaw__request_endpoint_config},
    {"endpoint", "create-endpoint", thaw__request_endpoint},
    {"transform-job", "create-transform-job", thaw__request_transform_job},
    {"metrics", NULL, thaw__request_metrics},
    {"tuning", NULL, thaw__request_tuning},
};

const thaw_request_kind *thaw_request_find(const char *word) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].word, word) == 0) return &kinds[i];
    return NULL;
}

const char *thaw_request_aws_command(const thaw_request_kind *kind) {
    return kind->aws;
}

thaw_status thaw_request_build(const thaw_request_kind *kind, const thaw_options *options,
                               thaw_log *log, thaw_json *json, thaw_error *err) {
    thaw__request r = {.options = options, .log = log, .json = json};
    THAW_TRY(kind->build(&r, err));
    return json->failed ? thaw_fail_memory(err, "for the request") : THAW_OK;
}
