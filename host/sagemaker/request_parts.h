/* What the files behind request.h share: parts that several requests have. A part whose option was not
 * given is left out, unless its comment says that it must be there. Keys of options are those of the
 * table, fields those of SageMaker's API. */
#ifndef THAW_REQUEST_PARTS_H
#define THAW_REQUEST_PARTS_H

#include "request.h"
#include "run/instances.h"

/* A request under construction. */
typedef struct thaw__request {
    const thaw_options *options;
    thaw_log *log;
    thaw_json *json; /* What is put goes to json->root, or to a parent in it. */
} thaw__request;

/* One for each kind, in request_training.c and request_hosting.c. */
#define THAW__REQUEST(name) thaw_status thaw__request_##name(thaw__request *r, thaw_error *err)
THAW__REQUEST(job);
THAW__REQUEST(tuning_job);
THAW__REQUEST(algorithm);
THAW__REQUEST(model);
THAW__REQUEST(endpoint_config);
THAW__REQUEST(endpoint);
THAW__REQUEST(transform_job);
THAW__REQUEST(metrics);
THAW__REQUEST(tuning);
#undef THAW__REQUEST

/* Puts sagemaker.name, or thaw- and the time, of at most so many letters. */
thaw_status thaw__put_name(thaw__request *r, const char *field, size_t most, thaw_error *err);

/* The name of something that was made before; it must be there. */
thaw_status thaw__put_other_name(thaw__request *r, json_t *parent, const char *field,
                                 const char *key, const char *name, thaw_error *err);

/* These must be there. */
thaw_status thaw__put_role(thaw__request *r, json_t *parent, const char *field, thaw_error *err);
thaw_status thaw__put_image(thaw__request *r, json_t *parent, const char *field, thaw_error *err);

/* The machine that sagemaker.instance names. ERR_USAGE: there is none, or SageMaker does not let it do
 * this: one bit of THAW_INSTANCE_TRAINS and so on. */
thaw_status thaw__find_instance(const thaw__request *r, unsigned use,
                                const thaw_instance **instance, thaw_error *err);

/* sagemaker.volume_key. ERR_USAGE: the machine has a disk of its own, which takes no key. */
thaw_status thaw__put_volume_key(thaw__request *r, json_t *parent, const char *field,
                                 const thaw_instance *instance, thaw_error *err);

/* sagemaker.subnets and sagemaker.security_groups; one needs the other. */
thaw_status thaw__put_vpc(thaw__request *r, json_t *parent, thaw_error *err);

/* sagemaker.environment, of at most so many variables; sagemaker.tags at the root. */
thaw_status thaw__put_environment(thaw__request *r, json_t *parent, size_t most, thaw_error *err);
thaw_status thaw__put_tags(thaw__request *r, thaw_error *err);

/* Puts text unless it is "". */
void thaw__put_given(thaw__request *r, json_t *parent, const char *field, const char *text);

/* ERR_USAGE unless text, which option key has, is s3://BUCKET/... */
thaw_status thaw__check_s3(const char *key, const char *text, thaw_error *err);

/* Puts sagemaker.output_path, or thaw/ in the bucket of the address near. */
thaw_status thaw__put_output_path(thaw__request *r, json_t *parent, const char *near,
                                  thaw_error *err);

bool thaw__ends_with(const char *text, const char *end);

/* Whether sagemaker.model names a network in the image, to be given as a hyperparameter: a path from its
 * root, or a name alone. */
bool thaw__model_is_in_image(const char *model);

/* In request_parameters.c: what is trained with. */

/* Puts an object with the options of training that were given, but for the axes. */
thaw_status thaw__put_hyperparameters(thaw__request *r, json_t *parent, const char *field,
                                      thaw_error *err);

/* Puts ParameterRanges: the axes. */
thaw_status thaw__put_ranges(thaw__request *r, json_t *parent, const thaw_axes *axes,
                             thaw_error *err);

/* Puts SupportedHyperParameters: all options of training. */
void thaw__put_specifications(thaw__request *r, json_t *parent);

/* Puts MetricDefinitions. */
void thaw__put_metrics(thaw__request *r, json_t *parent);

#endif
