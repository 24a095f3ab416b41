/* Requests that train: a job, many jobs that a tuner makes, and the algorithm that they run. */
#include <string.h>

#include "request_parts.h"
#include "run/metric_lines.h"

enum {
    VOLUME_GB = 30, /* What SageMaker's own SDK asks for. */
    NAME_LETTERS = 63,
    TUNING_NAME_LETTERS = 32,
    OLDEST_CAPABILITY = 75, /* That kernels/cuda/ is compiled for. */
};

static const char *const input_modes[] = {THAW_INPUT_MODE_LIST(THAW_ENUM_NAME)};
static const char *const s3_types[] = {THAW_S3_TYPE_LIST(THAW_ENUM_NAME)};
static const char *const distributions[] = {THAW_S3_DISTRIBUTION_LIST(THAW_ENUM_NAME)};
static const char *const strategies[] = {THAW_TUNING_STRATEGY_LIST(THAW_ENUM_NAME)};
static const char *const early_stoppings[] = {THAW_EARLY_STOPPING_LIST(THAW_ENUM_NAME)};

/* ---- channels ------------------------------------------------------------------------------- */

/* Content type of the pictures at an address. */
static const char *pictures_type(const thaw_options *o, const char *address) {
    if (!thaw_is_auto(o->sagemaker.content_type)) return o->sagemaker.content_type;
    bool records = thaw__ends_with(address, ".rec") || o->sagemaker.data_type == THAW_S3_AUGMENTED;
    return records ? "application/x-recordio" : "application/x-image";
}

/* Whether the way in which pictures come can bring what stands at the address. */
static thaw_status check_pictures(const thaw__request *r, const char *key, const char *address,
                                  thaw_error *err) {
    thaw_input_mode mode = r->options->sagemaker.input_mode;
    thaw_s3_type type = r->options->sagemaker.data_type;
    bool folder = thaw__ends_with(address, "/");
    if (type != THAW_S3_PREFIX && folder)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "%s = '%.120s' is a folder, and sagemaker.data_type = %s wants the manifest "
            "file itself",
            key, address, s3_types[type]);
    if (type == THAW_S3_AUGMENTED && mode != THAW_INPUT_PIPE)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "an augmented manifest comes by Pipe only: give --input-mode=Pipe, not %s",
                         input_modes[mode]);
    if (type == THAW_S3_MANIFEST && mode == THAW_INPUT_FASTFILE)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "FastFile reads a folder and takes no manifest: give --input-mode=File, or "
            "--data-type=S3Prefix with the folder");
    if (mode == THAW_INPUT_FASTFILE && !folder)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "%s = '%.120s': FastFile reads whole folders, whose address ends with /",
                         key, address);
    if (mode == THAW_INPUT_PIPE &&
        strcmp(pictures_type(r->options, address), "application/x-recordio") != 0)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "%s = '%.120s': Pipe brings records, a .rec file or an augmented manifest; a "
            "folder of pictures comes by File or FastFile",
            key, address);
    return THAW_OK;
}

/* "s3://b/train" is also the beginning of s3://b/train_old/. */
static void warn_of_prefix(const thaw__request *r, const char *key, const char *address) {
    const char *last = strrchr(address, '/') + 1;
    if (r->options->sagemaker.data_type == THAW_S3_PREFIX && *last && !strchr(last, '.'))
        thaw_log_write(
            r->log, THAW_LOG_WARN,
            "%s = %s without a / at the end is everything whose name begins so: of %s_old/, "
            "too",
            key, address, last);
}

static json_t *put_channel(thaw__request *r, json_t *list, const char *name, const char *address,
                           const char *type, const char *distribution) {
    json_t *channel = thaw_json_object(r->json, list, NULL);
    thaw_json_text(r->json, channel, "ChannelName", name);
    json_t *source = thaw_json_object(r->json, channel, "DataSource");
    json_t *s3 = thaw_json_object(r->json, source, "S3DataSource");
    thaw_json_text(r->json, s3, "S3DataType", type);
    thaw_json_text(r->json, s3, "S3Uri", address);
    thaw_json_text(r->json, s3, "S3DataDistributionType", distribution);
    return channel;
}

static void put_attributes(thaw__request *r, json_t *channel) {
    json_t *s3 = json_object_get(json_object_get(channel, "DataSource"), "S3DataSource");
    json_t *names = thaw_json_array(r->json, s3, "AttributeNames");
    const char *text = r->options->sagemaker.attributes;
    while (*text) {
        char name[257];
        size_t n = strcspn(text, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, text);
        thaw_json_text(r->json, names, NULL, name);
        text += n + (text[n] == ',');
    }
    thaw_json_text(r->json, channel, "RecordWrapperType", "RecordIO");
}

/* A channel of pictures; none where there is no address. */
static thaw_status put_pictures(thaw__request *r, json_t *list, const char *name, const char *key,
                                const char *address, thaw_error *err) {
    if (!*address) return THAW_OK;
    THAW_TRY(thaw__check_s3(key, address, err));
    THAW_TRY(check_pictures(r, key, address, err));
    warn_of_prefix(r, key, address);
    json_t *channel = put_channel(r, list, name, address, s3_types[r->options->sagemaker.data_type],
                                  distributions[r->options->sagemaker.distribution]);
    thaw_json_text(r->json, channel, "ContentType", pictures_type(r->options, address));
    if (r->options->sagemaker.data_type == THAW_S3_AUGMENTED) put_attributes(r, channel);
    return THAW_OK;
}

/* A channel of one file, which every machine gets whole and before the start. */
static thaw_status put_file(thaw__request *r, json_t *list, const char *name, const char *key,
                            const char *address, const char *content_type, thaw_error *err) {
    if (!*address) return THAW_OK;
    THAW_TRY(thaw__check_s3(key, address, err));
    json_t *channel = put_channel(r, list, name, address, "S3Prefix", "FullyReplicated");
    thaw_json_text(r->json, channel, "ContentType", content_type);
    thaw_json_text(r->json, channel, "InputMode", "File");
    return THAW_OK;
}

static thaw_status put_channels(thaw__request *r, json_t *parent, thaw_error *err) {
    const thaw_options *o = r->options;
    json_t *list = thaw_json_array(r->json, parent, "InputDataConfig");
    THAW_TRY(thaw_options_require(o, "sagemaker.train", err));
#define PICTURES(field) \
    THAW_TRY(put_pictures(r, list, #field, "sagemaker." #field, o->sagemaker.field, err))
    PICTURES(train);
    PICTURES(validation);
    PICTURES(test);
#undef PICTURES
#define LIST(field)                                                             \
    THAW_TRY(put_file(r, list, #field, "sagemaker." #field, o->sagemaker.field, \
                      "application/x-image", err))
    LIST(train_lst);
    LIST(validation_lst);
#undef LIST
    if (thaw__model_is_in_image(o->sagemaker.model)) return THAW_OK; /* A hyperparameter. */
    if (!*o->sagemaker.model)
        thaw_log_write(
            r->log, THAW_LOG_WARN,
            "no sagemaker.model: the job starts from the one network that the image has");
    bool packed = thaw__ends_with(o->sagemaker.model, ".tar.gz");
    return put_file(r, list, "model", "sagemaker.model", o->sagemaker.model,
                    packed ? "application/x-sagemaker-model" : "application/octet-stream", err);
}

/* ---- machines and time ---------------------------------------------------------------------- */

static void tell_of_instance(const thaw__request *r, const thaw_instance *instance) {
    const thaw_options *o = r->options;
    if (instance->nvme_gb && !thaw_is_auto(o->sagemaker.volume))
        thaw_log_write(r->log, THAW_LOG_WARN,
                       "sagemaker.volume = %lld does nothing: %s has a disk of its own, of %d GB",
                       (long long)o->sagemaker.volume, instance->name, instance->nvme_gb);
    if (instance->gpus > 1)
        thaw_log_write(r->log, THAW_LOG_WARN, "%s has %d GPUs, and Thaw computes on one of them",
                       instance->name, instance->gpus);
    if (instance->gpus && instance->capability < OLDEST_CAPABILITY)
        thaw_log_write(
            r->log, THAW_LOG_WARN,
            "%s has a %s, which is older than Thaw's kernels: it would compute without it",
            instance->name, instance->gpu);
    if (o->sagemaker.count > 1 && o->sagemaker.distribution == THAW_S3_REPLICATED)
        thaw_log_write(
            r->log, THAW_LOG_WARN,
            "one machine trains: of several that all have every picture, the others wait; "
            "--distribution=ShardedByS3Key gives each its share");
}

static thaw_status put_resources(thaw__request *r, json_t *parent, thaw_error *err) {
    const thaw_options *o = r->options;
    const thaw_instance *instance;
    THAW_TRY(thaw__find_instance(r, THAW_INSTANCE_TRAINS, &instance, err));
    tell_of_instance(r, instance);
    json_t *resources = thaw_json_object(r->json, parent, "ResourceConfig");
    thaw_json_text(r->json, resources, "InstanceType", instance->name);
    thaw_json_integer(r->json, resources, "InstanceCount", o->sagemaker.count);
    thaw_json_integer(r->json, resources, "VolumeSizeInGB",
                      thaw_is_auto(o->sagemaker.volume) ? VOLUME_GB : o->sagemaker.volume);
    THAW_TRY(thaw__put_volume_key(r, resources, "VolumeKmsKeyId", instance, err));
    if (!o->sagemaker.keep_alive) return THAW_OK;
    if (o->sagemaker.spot)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "sagemaker.keep_alive does not go with sagemaker.spot: a spot machine cannot "
            "be kept; leave one of the two out");
    thaw_json_integer(r->json, resources, "KeepAlivePeriodInSeconds", o->sagemaker.keep_alive);
    return THAW_OK;
}

static thaw_status put_time(thaw__request *r, json_t *parent, thaw_error *err) {
    const thaw_options *o = r->options;
    int64_t runtime = o->sagemaker.max_runtime, wait = o->sagemaker.max_wait;
    json_t *stopping = thaw_json_object(r->json, parent, "StoppingCondition");
    thaw_json_integer(r->json, stopping, "MaxRuntimeInSeconds", runtime);
    if (!o->sagemaker.spot) {
        if (thaw_is_auto(wait)) return THAW_OK;
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.max_wait is for spot machines: give --spot, or leave it out");
    }
    if (thaw_is_auto(wait)) wait = 2 * runtime;
    if (wait < runtime)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.max_wait = %lld holds waiting and running: it must be at least "
                         "sagemaker.max_runtime, which is %lld",
                         (long long)wait, (long long)runtime);
    thaw_json_integer(r->json, stopping, "MaxWaitTimeInSeconds", wait);
    return THAW_OK;
}

static thaw_status put_checkpoints(thaw__request *r, json_t *parent, thaw_error *err) {
    const char *checkpoints = r->options->sagemaker.checkpoints;
    if (r->options->sagemaker.spot) {
        if (!*checkpoints)
            return thaw_fail(
                err, THAW_ERR_USAGE,
                "a spot machine may be taken away, and without sagemaker.checkpoints the "
                "job would begin anew each time: give --checkpoints=s3://BUCKET/FOLDER/");
        thaw_json_boolean(r->json, parent, "EnableManagedSpotTraining", true);
    }
    if (!*checkpoints) return THAW_OK;
    THAW_TRY(thaw__check_s3("sagemaker.checkpoints", checkpoints, err));
    json_t *config = thaw_json_object(r->json, parent, "CheckpointConfig");
    thaw_json_text(r->json, config, "S3Uri", checkpoints);
    return THAW_OK;
}

/* ---- a training ----------------------------------------------------------------------------- */

static thaw_status put_output(thaw__request *r, json_t *parent, thaw_error *err) {
    json_t *output = thaw_json_object(r->json, parent, "OutputDataConfig");
    THAW_TRY(thaw__put_output_path(r, output, r->options->sagemaker.train, err));
    thaw__put_given(r, output, "KmsKeyId", r->options->sagemaker.output_key);
    return THAW_OK;
}

static void put_switches(thaw__request *r, json_t *parent) {
    const thaw_options *o = r->options;
    if (o->sagemaker.isolation) thaw_json_boolean(r->json, parent, "EnableNetworkIsolation", true);
    if (o->sagemaker.encrypt_traffic)
        thaw_json_boolean(r->json, parent, "EnableInterContainerTrafficEncryption", true);
    if (o->sagemaker.retries) {
        json_t *retry = thaw_json_object(r->json, parent, "RetryStrategy");
        thaw_json_integer(r->json, retry, "MaximumRetryAttempts", o->sagemaker.retries);
    }
}

/* All that a job and the definition of a tuner's jobs have in common. */
static thaw_status put_training(thaw__request *r, json_t *parent, thaw_error *err) {
    json_t *algorithm = thaw_json_object(r->json, parent, "AlgorithmSpecification");
    THAW_TRY(thaw__put_image(r, algorithm, "TrainingImage", err));
    thaw_json_text(r->json, algorithm, "TrainingInputMode",
                   input_modes[r->options->sagemaker.input_mode]);
    thaw__put_metrics(r, algorithm);
    THAW_TRY(thaw__put_role(r, parent, "RoleArn", err));
    THAW_TRY(put_channels(r, parent, err));
    THAW_TRY(put_output(r, parent, err));
    THAW_TRY(put_resources(r, parent, err));
    THAW_TRY(put_time(r, parent, err));
    THAW_TRY(put_checkpoints(r, parent, err));
    THAW_TRY(thaw__put_vpc(r, parent, err));
    THAW_TRY(thaw__put_environment(r, parent, 100, err));
    put_switches(r, parent);
    return THAW_OK;
}

thaw_status thaw__request_job(thaw__request *r, thaw_error *err) {
    json_t *root = r->json->root;
    THAW_TRY(thaw__put_name(r, "TrainingJobName", NAME_LETTERS, err));
    THAW_TRY(thaw__put_hyperparameters(r, root, "HyperParameters", err));
    THAW_TRY(put_training(r, root, err));
    return thaw__put_tags(r, err);
}

/* ---- tuning --------------------------------------------------------------------------------- */

static thaw_status put_objective(thaw__request *r, json_t *parent, thaw_error *err) {
    const thaw_options *o = r->options;
    size_t n;
    const thaw_metric_definition *metrics = thaw_metric_definitions(&n), *metric = NULL;
    for (size_t i = 0; i < n; i++)
        if (strcmp(metrics[i].name, o->sagemaker.objective) == 0) metric = &metrics[i];
    if (!metric)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "sagemaker.objective = '%.80s' is no metric of Thaw; `thaw sagemaker metrics` "
            "lists them",
            o->sagemaker.objective);
    if (strncmp(metric->name, "validation:", 11) == 0 && !*o->sagemaker.validation &&
        o->data.validation.fraction == 0)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.objective = %s needs validation pictures: give "
                         "sagemaker.validation, or more than 0 for data.validation",
                         metric->name);
    json_t *objective = thaw_json_object(r->json, parent, "HyperParameterTuningJobObjective");
    thaw_json_text(r->json, objective, "Type", thaw_metric_aim_name(metric->aim));
    thaw_json_text(r->json, objective, "MetricName", metric->name);
    return THAW_OK;
}

static thaw_status put_limits(thaw__request *r, json_t *parent, thaw_error *err) {
    const thaw_options *o = r->options;
    json_t *limits = thaw_json_object(r->json, parent, "ResourceLimits");
    /* A grid's points are counted by SageMaker. */
    if (o->sagemaker.strategy != THAW_TUNING_GRID)
        thaw_json_integer(r->json, limits, "MaxNumberOfTrainingJobs", o->sagemaker.max_jobs);
    thaw_json_integer(r->json, limits, "MaxParallelTrainingJobs", o->sagemaker.parallel_jobs);
    if (o->sagemaker.parallel_jobs <= o->sagemaker.max_jobs) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_USAGE,
        "sagemaker.parallel_jobs = %lld is more than sagemaker.max_jobs, which is %lld",
        (long long)o->sagemaker.parallel_jobs, (long long)o->sagemaker.max_jobs);
}

static thaw_status check_axes(const thaw_options *o, thaw_error *err) {
    if (!o->axes.n)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "nothing to tune: give an option several values, as in --head.lr=1e-4..1e-1; "
            "`thaw sagemaker tuning` has ranges for all that may be worth it");
    for (size_t i = 0; i < o->axes.n; i++)
        if (o->sagemaker.strategy == THAW_TUNING_GRID && o->axes.axis[i].kind != THAW_AXIS_CHOICE)
            return thaw_fail(
                err, THAW_ERR_USAGE,
                "sagemaker.strategy = Grid tries lists and no ranges: list the values of "
                "%s, as in a,b,c",
                o->axes.axis[i].key);
    return THAW_OK;
}

/* Hyperband stops jobs by itself, and must know how many epochs there are. */
static thaw_status put_hyperband(thaw__request *r, json_t *parent, thaw_error *err) {
    const thaw_options *o = r->options;
    if (thaw_options_is_set(o, "sagemaker.early_stopping") &&
        o->sagemaker.early_stopping == THAW_EARLY_STOPPING_AUTO)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.strategy = Hyperband stops jobs by itself, and SageMaker wants "
                         "sagemaker.early_stopping = Off with it");
    if (thaw_is_auto(o->epochs))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.strategy = Hyperband must know how many epochs a job has: give "
                         "--epochs");
    json_t *config = thaw_json_object(r->json, parent, "StrategyConfig");
    json_t *hyperband = thaw_json_object(r->json, config, "HyperbandStrategyConfig");
    thaw_json_integer(r->json, hyperband, "MinResource", 1);
    thaw_json_integer(r->json, hyperband, "MaxResource", o->epochs);
    return THAW_OK;
}

static thaw_status put_tuning(thaw__request *r, json_t *parent, thaw_error *err) {
    const thaw_options *o = r->options;
    bool hyperband = o->sagemaker.strategy == THAW_TUNING_HYPERBAND;
    THAW_TRY(check_axes(o, err));
    thaw_json_text(r->json, parent, "Strategy", strategies[o->sagemaker.strategy]);
    if (hyperband) THAW_TRY(put_hyperband(r, parent, err));
    THAW_TRY(put_objective(r, parent, err));
    THAW_TRY(put_limits(r, parent, err));
    THAW_TRY(thaw__put_ranges(r, parent, &o->axes, err));
    thaw_json_text(
        r->json, parent, "TrainingJobEarlyStoppingType",
        early_stoppings[hyperband ? THAW_EARLY_STOPPING_OFF : o->sagemaker.early_stopping]);
    return THAW_OK;
}

thaw_status thaw__request_tuning_job(thaw__request *r, thaw_error *err) {
    json_t *root = r->json->root;
    THAW_TRY(thaw__put_name(r, "HyperParameterTuningJobName", TUNING_NAME_LETTERS, err));
    THAW_TRY(put_tuning(r, thaw_json_object(r->json, root, "HyperParameterTuningJobConfig"), err));
    json_t *definition = thaw_json_object(r->json, root, "TrainingJobDefinition");
    THAW_TRY(thaw__put_hyperparameters(r, definition, "StaticHyperParameters", err));
    THAW_TRY(put_training(r, definition, err));
    return thaw__put_tags(r, err);
}

/* ---- the algorithm -------------------------------------------------------------------------- */

static void put_texts(thaw__request *r, json_t *parent, const char *field,
                      const char *const *texts) {
    json_t *list = thaw_json_array(r->json, parent, field);
    for (size_t i = 0; texts[i]; i++)
        thaw_json_text(r->json, list, NULL, texts[i]);
}

static void put_instances(thaw__request *r, json_t *parent, const char *field, unsigned use) {
    size_t n;
    const thaw_instance *instances = thaw_instances(&n);
    json_t *list = thaw_json_array(r->json, parent, field);
    for (size_t i = 0; i < n; i++)
        if (instances[i].uses & use) thaw_json_text(r->json, list, NULL, instances[i].name);
}

static void put_channel_specifications(thaw__request *r, json_t *parent) {
    static const char *const
        pictures[] = {"application/x-image", "application/x-recordio", NULL},
        *const lists[] = {"application/x-image", NULL},
        *const models[] = {"application/octet-stream", "application/x-sagemaker-model", NULL},
        *const all_modes[] = {"File", "FastFile", "Pipe", NULL}, *const file[] = {"File", NULL};
    static const struct {
        const char *name, *description;
        const char *const *types, *const *modes;
    } channels[] = {
        {"train", "Pictures, a folder for each class.", pictures, all_modes},
        {"validation", "The same, for choosing.", pictures, all_modes},
        {"test", "The same, for the report.", pictures, all_modes},
        {"model", "The network to start from: an ONNX file, or an earlier model.tar.gz.", models,
         file},
        {"train_lst", "A list of the training pictures.", lists, file},
        {"validation_lst", "A list of the validation pictures.", lists, file},
    };
    json_t *list = thaw_json_array(r->json, parent, "TrainingChannels");
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        json_t *one = thaw_json_object(r->json, list, NULL);
        thaw_json_text(r->json, one, "Name", channels[i].name);
        thaw_json_text(r->json, one, "Description", channels[i].description);
        thaw_json_boolean(r->json, one, "IsRequired", i == 0);
        put_texts(r, one, "SupportedContentTypes", channels[i].types);
        put_texts(r, one, "SupportedInputModes", channels[i].modes);
    }
}

static void put_objectives(thaw__request *r, json_t *parent) {
    size_t n;
    const thaw_metric_definition *metrics = thaw_metric_definitions(&n);
    json_t *list = thaw_json_array(r->json, parent, "SupportedTuningJobObjectiveMetrics");
    for (size_t i = 0; i < n; i++) {
        json_t *one = thaw_json_object(r->json, list, NULL);
        thaw_json_text(r->json, one, "Type", thaw_metric_aim_name(metrics[i].aim));
        thaw_json_text(r->json, one, "MetricName", metrics[i].name);
    }
}

static thaw_status put_inference(thaw__request *r, json_t *parent, thaw_error *err) {
    static const char *const types[] = {"image/jpeg", "image/png", "application/x-image",
                                        "application/json", NULL},
                             *const answers[] = {"application/json", "application/jsonlines", NULL};
    json_t *inference = thaw_json_object(r->json, parent, "InferenceSpecification");
    json_t *containers = thaw_json_array(r->json, inference, "Containers");
    THAW_TRY(thaw__put_image(r, thaw_json_object(r->json, containers, NULL), "Image", err));
    put_instances(r, inference, "SupportedTransformInstanceTypes", THAW_INSTANCE_TRANSFORMS);
    put_instances(r, inference, "SupportedRealtimeInferenceInstanceTypes", THAW_INSTANCE_SERVES);
    put_texts(r, inference, "SupportedContentTypes", types);
    put_texts(r, inference, "SupportedResponseMIMETypes", answers);
    return THAW_OK;
}

thaw_status thaw__request_algorithm(thaw__request *r, thaw_error *err) {
    json_t *root = r->json->root;
    THAW_TRY(thaw__put_name(r, "AlgorithmName", NAME_LETTERS, err));
    thaw_json_text(r->json, root, "AlgorithmDescription",
                   "Thaw fine-tunes a CNN that comes as an ONNX file.");
    json_t *training = thaw_json_object(r->json, root, "TrainingSpecification");
    THAW_TRY(thaw__put_image(r, training, "TrainingImage", err));
    thaw__put_specifications(r, training);
    put_instances(r, training, "SupportedTrainingInstanceTypes", THAW_INSTANCE_TRAINS);
    thaw_json_boolean(r->json, training, "SupportsDistributedTraining", true);
    thaw__put_metrics(r, training);
    put_channel_specifications(r, training);
    put_objectives(r, training);
    THAW_TRY(put_inference(r, root, err));
    return thaw__put_tags(r, err);
}
