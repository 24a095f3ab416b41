/* What is sent to SageMaker: the requests of its API as JSON, from the options in [sagemaker] and, for
 * trainings, from those of the training itself.
 *
 *   job              CreateTrainingJob
 *   tuning-job       CreateHyperParameterTuningJob
 *   algorithm        CreateAlgorithm
 *   model            CreateModel
 *   endpoint-config  CreateEndpointConfig
 *   endpoint         CreateEndpoint
 *   transform-job    CreateTransformJob
 *   metrics, tuning  parts of these: MetricDefinitions, ParameterRanges
 *
 * What SageMaker would refuse, or take and then fail with, is refused here, with the reason. Nothing
 * is sent: the `aws` program does that, see the command.
 */
#ifndef THAW_REQUEST_H
#define THAW_REQUEST_H

#include "json.h"
#include "log.h"
#include "options/options.h"

typedef struct thaw_request_kind thaw_request_kind;

/* The kind called word, "job"; NULL: there is none. */
const thaw_request_kind *thaw_request_find(const char *word);

/* What `aws sagemaker` calls it, "create-training-job"; NULL: it is a part, and not sent. */
const char *thaw_request_aws_command(const thaw_request_kind *kind);

/* Fills json, of thaw_json_begin, with the request. What is worth knowing goes to the log (NULL: nobody
 * is told). ERR_USAGE: an option is missing, or SageMaker or Thaw could not do this. */
thaw_status thaw_request_build(const thaw_request_kind *kind, const thaw_options *options,
                               thaw_log *log, thaw_json *json, thaw_error *err);

#endif
