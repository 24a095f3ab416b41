/* Requests that serve: a model, an endpoint and its configuration, a batch transform. */
#include <string.h>

#include "request_parts.h"

enum { NAME_LETTERS = 63, ENDPOINT_VOLUME_GB = 512, PAYLOAD_MB = 6, TOGETHER_MB = 100 };

/* ---- drivers -------------------------------------------------------------------------------- */

/* Unless told otherwise SageMaker gives a machine with a GPU the driver 470, which runs CUDA 11 at most.
 * An image with a newer one must ask for a newer driver by the name of what the machine boots. */
static const struct {
    const char *inference, *transform, *driver; /* NULL: none is needed, or none will do. */
} boots[] = {
    [THAW_IMAGE_CPU] = {NULL, NULL, NULL},
    [THAW_IMAGE_CUDA_11] = {NULL, NULL, NULL},
    [THAW_IMAGE_CUDA_12] = {"al2-ami-sagemaker-inference-gpu-3-1",
                            "al2-ami-sagemaker-batch-gpu-535", "525"},
    [THAW_IMAGE_CUDA_13] = {"al2023-ami-sagemaker-inference-gpu-4-1", NULL, "580"},
};

static void put_boot(thaw__request *r, json_t *parent, const char *field, const char *name,
                     const thaw_instance *instance) {
    thaw_image_cuda cuda = r->options->sagemaker.cuda;
    if (cuda == THAW_IMAGE_CPU)
        thaw_log_write(r->log, THAW_LOG_WARN,
                       "sagemaker.cuda = none: the image would not use the %s of %s", instance->gpu,
                       instance->name);
    if (!name) return;
    thaw_log_write(r->log, THAW_LOG_INFO,
                   "%s = %s: without it the machine may have the driver 470, and CUDA %s needs %s",
                   field, name, cuda == THAW_IMAGE_CUDA_12 ? "12" : "13", boots[cuda].driver);
    thaw_json_text(r->json, parent, field, name);
}

/* ---- model ---------------------------------------------------------------------------------- */

static thaw_status put_model_data(thaw__request *r, json_t *container, thaw_error *err) {
    const char *data = r->options->sagemaker.model_data;
    bool many = r->options->sagemaker.multi_model, folder = thaw__ends_with(data, "/");
    THAW_TRY(thaw_options_require(r->options, "sagemaker.model_data", err));
    THAW_TRY(thaw__check_s3("sagemaker.model_data", data, err));
    if (many && !folder)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "sagemaker.model_data = '%.120s': with sagemaker.multi_model it is the folder "
            "of all models, whose address ends with /",
            data);
    if (!folder && !thaw__ends_with(data, ".tar.gz"))
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "sagemaker.model_data = '%.120s': expected a model.tar.gz, or a folder, whose "
            "address ends with /",
            data);
    if (many) {
        thaw_json_text(r->json, container, "Mode", "MultiModel");
        thaw_log_write(r->log, THAW_LOG_INFO,
                       "an endpoint with many models runs on machines without a GPU");
    }
    if (many || !folder) {
        thaw_json_text(r->json, container, "ModelDataUrl", data);
        return THAW_OK;
    }
    json_t *source = thaw_json_object(r->json, container, "ModelDataSource");
    json_t *s3 = thaw_json_object(r->json, source, "S3DataSource");
    thaw_json_text(r->json, s3, "S3Uri", data);
    thaw_json_text(r->json, s3, "S3DataType", "S3Prefix");
    thaw_json_text(r->json, s3, "CompressionType", "None");
    return THAW_OK;
}

thaw_status thaw__request_model(thaw__request *r, thaw_error *err) {
    json_t *root = r->json->root;
    THAW_TRY(thaw__put_name(r, "ModelName", NAME_LETTERS, err));
    THAW_TRY(thaw__put_role(r, root, "ExecutionRoleArn", err));
    json_t *container = thaw_json_object(r->json, root, "PrimaryContainer");
    THAW_TRY(thaw__put_image(r, container, "Image", err));
    THAW_TRY(put_model_data(r, container, err));
    THAW_TRY(thaw__put_environment(r, container, 100, err));
    THAW_TRY(thaw__put_vpc(r, root, err));
    if (r->options->sagemaker.isolation)
        thaw_json_boolean(r->json, root, "EnableNetworkIsolation", true);
    return thaw__put_tags(r, err);
}

/* ---- endpoint ------------------------------------------------------------------------------- */

static thaw_status put_endpoint_volume(thaw__request *r, json_t *variant,
                                       const thaw_instance *instance, thaw_error *err) {
    int64_t volume = r->options->sagemaker.volume;
    if (thaw_is_auto(volume)) return THAW_OK;
    if (volume > ENDPOINT_VOLUME_GB)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.volume = %lld: an endpoint's machine has at most %d GB",
                         (long long)volume, ENDPOINT_VOLUME_GB);
    if (instance->nvme_gb)
        thaw_log_write(r->log, THAW_LOG_WARN,
                       "sagemaker.volume = %lld is left out: %s has a disk of its own, of %d GB",
                       (long long)volume, instance->name, instance->nvme_gb);
    else
        thaw_json_integer(r->json, variant, "VolumeSizeInGB", volume);
    return THAW_OK;
}

thaw_status thaw__request_endpoint_config(thaw__request *r, thaw_error *err) {
    const thaw_options *o = r->options;
    json_t *root = r->json->root;
    const thaw_instance *instance;
    THAW_TRY(thaw__put_name(r, "EndpointConfigName", NAME_LETTERS, err));
    THAW_TRY(thaw__find_instance(r, THAW_INSTANCE_SERVES, &instance, err));
    if (o->sagemaker.multi_model && instance->gpus)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "sagemaker.multi_model: SageMaker runs many models behind one endpoint on a GPU "
            "with Triton's container only; take a machine without, such as ml.c6i.xlarge");
    json_t *variant =
        thaw_json_object(r->json, thaw_json_array(r->json, root, "ProductionVariants"), NULL);
    thaw_json_text(r->json, variant, "VariantName", "AllTraffic");
    THAW_TRY(thaw__put_other_name(r, variant, "ModelName", "sagemaker.model_name",
                                  o->sagemaker.model_name, err));
    thaw_json_text(r->json, variant, "InstanceType", instance->name);
    thaw_json_integer(r->json, variant, "InitialInstanceCount", o->sagemaker.count);
    THAW_TRY(put_endpoint_volume(r, variant, instance, err));
    if (instance->gpus)
        put_boot(r, variant, "InferenceAmiVersion", boots[o->sagemaker.cuda].inference, instance);
    THAW_TRY(thaw__put_volume_key(r, root, "KmsKeyId", instance, err));
    return thaw__put_tags(r, err);
}

thaw_status thaw__request_endpoint(thaw__request *r, thaw_error *err) {
    THAW_TRY(thaw__put_name(r, "EndpointName", NAME_LETTERS, err));
    THAW_TRY(thaw__put_other_name(r, r->json->root, "EndpointConfigName",
                                  "sagemaker.endpoint_config",
                                  r->options->sagemaker.endpoint_config, err));
    return thaw__put_tags(r, err);
}

/* ---- batch transform ------------------------------------------------------------------------ */

static thaw_status put_load(thaw__request *r, thaw_error *err) {
    int64_t payload = r->options->sagemaker.max_payload,
            concurrency = r->options->sagemaker.concurrency;
    /* Where one is not given the container may say it, and else this is SageMaker's default. */
    int64_t mb = thaw_is_auto(payload) ? PAYLOAD_MB : payload,
            n = thaw_is_auto(concurrency) ? 1 : concurrency;
    if (mb * n > TOGETHER_MB)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "%lld pictures of %lld MB at once are %lld MB, and SageMaker allows %d: lower "
            "sagemaker.concurrency or sagemaker.max_payload",
            (long long)n, (long long)mb, (long long)(n * mb), TOGETHER_MB);
    if (!thaw_is_auto(payload))
        thaw_json_integer(r->json, r->json->root, "MaxPayloadInMB", payload);
    if (!thaw_is_auto(concurrency))
        thaw_json_integer(r->json, r->json->root, "MaxConcurrentTransforms", concurrency);
    return THAW_OK;
}

static thaw_status put_input(thaw__request *r, thaw_error *err) {
    const char *address = r->options->sagemaker.input, *type = r->options->sagemaker.content_type;
    THAW_TRY(thaw_options_require(r->options, "sagemaker.input", err));
    THAW_TRY(thaw__check_s3("sagemaker.input", address, err));
    json_t *input = thaw_json_object(r->json, r->json->root, "TransformInput");
    json_t *source = thaw_json_object(r->json, input, "DataSource");
    json_t *s3 = thaw_json_object(r->json, source, "S3DataSource");
    thaw_json_text(r->json, s3, "S3DataType", "S3Prefix");
    thaw_json_text(r->json, s3, "S3Uri", address);
    thaw_json_text(r->json, input, "ContentType",
                   thaw_is_auto(type) ? "application/x-image" : type);
    thaw_json_text(r->json, input, "SplitType", "None"); /* A picture is an object. */
    return THAW_OK;
}

static thaw_status put_answers(thaw__request *r, thaw_error *err) {
    const thaw_options *o = r->options;
    json_t *output = thaw_json_object(r->json, r->json->root, "TransformOutput");
    THAW_TRY(thaw__put_output_path(r, output, o->sagemaker.input, err));
    thaw_json_text(r->json, output, "Accept", o->sagemaker.accept);
    static const char lines_type[] = "application/jsonlines"; /* With ";verbose" or without. */
    bool lines = strncmp(o->sagemaker.accept, lines_type, sizeof lines_type - 1) == 0;
    thaw_json_text(r->json, output, "AssembleWith", lines ? "Line" : "None");
    thaw__put_given(r, output, "KmsKeyId", o->sagemaker.output_key);
    return THAW_OK;
}

static thaw_status put_machines(thaw__request *r, thaw_error *err) {
    const thaw_options *o = r->options;
    const thaw_instance *instance;
    THAW_TRY(thaw__find_instance(r, THAW_INSTANCE_TRANSFORMS, &instance, err));
    if (instance->gpus && o->sagemaker.cuda == THAW_IMAGE_CUDA_13)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.cuda = 13: machines with a GPU have at most the driver 535 in "
                         "transform jobs, and CUDA 13 needs 580; take an image with CUDA 12, or a "
                         "machine without a GPU");
    json_t *machines = thaw_json_object(r->json, r->json->root, "TransformResources");
    thaw_json_text(r->json, machines, "InstanceType", instance->name);
    thaw_json_integer(r->json, machines, "InstanceCount", o->sagemaker.count);
    if (instance->gpus)
        put_boot(r, machines, "TransformAmiVersion", boots[o->sagemaker.cuda].transform, instance);
    return thaw__put_volume_key(r, machines, "VolumeKmsKeyId", instance, err);
}

thaw_status thaw__request_transform_job(thaw__request *r, thaw_error *err) {
    json_t *root = r->json->root;
    THAW_TRY(thaw__put_name(r, "TransformJobName", NAME_LETTERS, err));
    THAW_TRY(thaw__put_other_name(r, root, "ModelName", "sagemaker.model_name",
                                  r->options->sagemaker.model_name, err));
    thaw_json_text(r->json, root, "BatchStrategy", "SingleRecord");
    THAW_TRY(put_load(r, err));
    THAW_TRY(put_input(r, err));
    THAW_TRY(put_answers(r, err));
    THAW_TRY(put_machines(r, err));
    THAW_TRY(thaw__put_environment(r, root, 16, err));
    return thaw__put_tags(r, err);
}
