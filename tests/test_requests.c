/* Requests to SageMaker: what cannot be is refused in a sentence, and what a request says is what the
 * options say. Whether SageMaker's API takes them is for tests/peer/test_requests.py. */
#include <string.h>

#include "options/options.h"
#include "program.h"
#include "run/instances.h"
#include "run/metric_lines.h"

#define ROLE "--role=arn:aws:iam::111122223333:role/thaw "
#define IMAGE "--image=111122223333.dkr.ecr.us-east-1.amazonaws.com/thaw:cuda "
#define MADE ROLE IMAGE "--name=n "
#define JOB "job " MADE "--train=s3://bucket/train/ --model=s3://bucket/m.onnx "
#define G5 "--instance=ml.g5.xlarge "
#define TUNING "tuning-job " MADE "--train=s3://bucket/train/ --model=s3://bucket/m.onnx " G5
#define TRANSFORM "transform-job --name=n --model-name=m --input=s3://bucket/new/ "
#define VARIANT "endpoint-config --name=n --model-name=m "

static char long_text[3001];

static void what_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *words, *said;
    } cases[] = {
        {"job", "sagemaker.image is not given"},
        {"job " IMAGE, "sagemaker.role is not given"},
        {"job " MADE, "sagemaker.train is not given"},
        {JOB, "sagemaker.instance is not given"},
        {"job --role=me " IMAGE, "'me' is not the ARN of a role"},
        {"job --role=arn:aws:iam::1:role/x " IMAGE, "is not the ARN of a role"},
        {JOB G5 "--name=-a", "expected at most 63 letters, digits and dashes"},
        {JOB G5 "--train=pictures", "is no address in S3: expected s3://BUCKET/"},
        {JOB G5 "--model=models/m.onnx", "is no address in S3"},
        {JOB G5 "--validation=s3://b", "is no address in S3"},
        {JOB G5 "--data.train=pictures", "did you mean --sagemaker.train?"},
        {JOB G5 "--head.lr=1e-4..1e-1", "expected auto or a number"},
        {JOB "--instance=ml.g5.xlarg", "did you mean ml.g5.xlarge?"},
        {JOB "--instance=ml.c5.large", "SageMaker does not train on this machine"},
        {JOB G5 "--input-mode=Pipe", "a folder of pictures comes by File or FastFile"},
        {JOB G5 "--input-mode=FastFile --train=s3://bucket/train", "whose address ends with /"},
        {JOB G5 "--input-mode=FastFile --data-type=ManifestFile --train=s3://bucket/m.json",
         "FastFile reads a folder and takes no manifest"},
        {JOB G5 "--data-type=ManifestFile", "wants the manifest file itself"},
        {JOB G5 "--data-type=AugmentedManifestFile --train=s3://bucket/m.json",
         "comes by Pipe only"},
        {JOB G5 "--spot", "without sagemaker.checkpoints the job would begin anew"},
        {JOB G5 "--spot --checkpoints=here", "is no address in S3"},
        {JOB G5 "--spot --checkpoints=s3://bucket/c/ --max-wait=10 --max-runtime=20",
         "must be at least sagemaker.max_runtime, which is 20"},
        {JOB G5 "--max-wait=10", "is for spot machines"},
        {JOB G5 "--spot --checkpoints=s3://bucket/c/ --keep-alive=60",
         "a spot machine cannot be kept"},
        {JOB G5 "--volume-key=k", "takes no key"},
        {JOB G5 "--subnets=subnet-1", "and only the subnets are given"},
        {JOB G5 "--subnets=subnet_1 --security-groups=sg-1", "'subnet_1' is no id"},
        {JOB G5 "--security-groups=a,b,c,d,e,f --subnets=s", "has 6 ids, SageMaker takes 5"},
        {JOB G5 "--tags=a", "'a' is no name=value"},
        {JOB G5 "--env=1A=b", "is no variable of a container"},
        {JOB G5 "--data.group=%s", "has 3000 bytes, and SageMaker's hyperparameters at most 2500"},
        {TUNING, "nothing to tune"},
        {TUNING "--name=a-name-of-more-than-thirty-two-letters --head.lr=1e-4..1e-1",
         "expected at most 32 letters"},
        {TUNING "--head.lr=1e-4..1e-1 --strategy=Grid", "tries lists and no ranges"},
        {TUNING "--head.lr=1e-4..1e-1 --strategy=Hyperband", "how many epochs a job has"},
        {TUNING "--head.lr=1e-4..1e-1 --strategy=Hyperband --epochs=9 "
                "--sagemaker.early_stopping=Auto",
         "wants sagemaker.early_stopping = Off"},
        {TUNING "--head.lr=1e-4..1e-1 --objective=accuracy", "is no metric of Thaw"},
        {TUNING "--head.lr=1e-4..1e-1 --data.validation=0", "needs validation pictures"},
        {TUNING "--head.lr=1e-4..1e-1 --max-jobs=2 --parallel-jobs=3",
         "is more than sagemaker.max_jobs"},
        {TUNING "--seed=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,"
                "29,30,31",
         "seed has 31 values to try, SageMaker takes 30"},
        {"model " MADE, "sagemaker.model_data is not given"},
        {"model " MADE "--model-data=s3://bucket/model", "expected a model.tar.gz, or a folder"},
        {"model " MADE "--model-data=s3://bucket/model.tar.gz --multi-model",
         "it is the folder of all models"},
        {"model " MADE "--spot",
         "--spot, which is sagemaker.spot, does nothing in thaw sagemaker model"},
        {VARIANT G5 "--multi-model", "with Triton's container only"},
        {VARIANT "--instance=ml.p3dn.24xlarge", "SageMaker does not run endpoints on this machine"},
        {VARIANT "--instance=ml.m5.large --volume=513", "has at most 512 GB"},
        {VARIANT G5 "--volume-key=k", "takes no key"},
        {VARIANT G5 "--model-name=a_b", "sagemaker.model_name = 'a_b'"},
        {"endpoint --name=n", "sagemaker.endpoint_config is not given"},
        {TRANSFORM "--instance=ml.p4d.24xlarge", "SageMaker does not run transform jobs"},
        {TRANSFORM G5 "--max-payload=30 --concurrency=4", "are 120 MB, and SageMaker allows 100"},
        {TRANSFORM G5 "--concurrency=17", "17 pictures of 6 MB at once are 102 MB"},
        {TRANSFORM G5 "--cuda=13", "CUDA 13 needs 580"},
        {"jbo", "needs a second word, one of: job, tuning-job"},
    };
    program p = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[PROGRAM_LINE];
        snprintf(words, sizeof words, cases[i].words, long_text); /* Few have a place for it. */
        program_run(&p, "sagemaker %s", words);
        program_expect_text(&p, program_refusal(&p, 2), cases[i].said);
        assert_string_equal(p.out, "");
        program_free(&p);
    }
}

/* What is taken, with a word. */
static void what_is_told(void **state) {
    (void)state;
    static const struct {
        const char *words, *said;
    } cases[] = {
        {JOB "--instance=ml.g5.xlarge --volume=50", "sagemaker.volume = 50 does nothing"},
        {JOB "--instance=ml.g5.12xlarge", "has 4 GPUs, and Thaw computes on one"},
        {JOB "--instance=ml.p3.2xlarge", "older than Thaw's kernels"},
        {JOB G5 "--count=2", "one machine trains"},
        {JOB G5 "--train=s3://bucket/train", "of train_old/, too"},
        {JOB G5 "--data.validation=held_out", "is a path on this machine, and no part"},
        {"job " MADE G5 "--train=s3://bucket/t/", "starts from the one network that the image has"},
        {VARIANT G5, "CUDA 12 needs 525"},
        {VARIANT G5 "--cuda=13", "al2023-ami-sagemaker-inference-gpu-4-1"},
        {VARIANT G5 "--cuda=none", "would not use the A10G"},
        {VARIANT G5 "--volume=50", "is left out"},
        {TRANSFORM G5, "TransformAmiVersion = al2-ami-sagemaker-batch-gpu-535"},
        {"model " MADE "--model-data=s3://bucket/models/ --multi-model", "without a GPU"},
    };
    program p = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        program_expect_ok(&p, "sagemaker %s", cases[i].words);
        program_expect_text(&p, p.err, cases[i].said);
        program_free(&p);
    }
    program_expect_ok(&p, "sagemaker " VARIANT "--instance=ml.m5.large");
    assert_string_equal(p.err, "");
    program_free(&p);
}

static json_t *request(const char *words, const char *more) {
    program p = {0};
    program_expect_ok(&p, "sagemaker %s%s", words, more);
    json_t *json = json_loads(p.out, 0, NULL);
    assert_non_null(json);
    program_free(&p);
    return json;
}

static void expect_text(const json_t *object, const char *key, const char *text) {
    const char *found = json_string_value(json_object_get(object, key));
    if (!found || strcmp(found, text) != 0)
        fail_msg("%s is %s, expected %s", key, found ? found : "not there", text);
}

/* All that the user gave, from the file and the line, and nothing else: no paths, no axes. */
static void hyperparameters_are_what_was_given(void **state) {
    (void)state;
    tempdir t = tempdir_make();
    char line[1024];
    tempdir_file(&t, "t.ini",
                 "model = here.onnx\nseed = 7\nfreeze = stage4\ncache.dir = /tmp/c\n[data]\n"
                 "train = pictures\nvalidation = 0.2\n[head]\nlr = 0.5\n[sagemaker]\ninstance = "
                 "ml.m5.large\n");
    snprintf(line, sizeof line, "%s/t.ini --head.lr=0.25 --epochs=auto", t.root);
    json_t *job = request(JOB, line), *map = json_object_get(job, "HyperParameters");
    assert_int_equal(json_object_size(map), 6);
    expect_text(map, "seed", "7");
    expect_text(map, "freeze", "stage4");
    expect_text(map, "data.validation", "0.2");
    expect_text(map, "head.lr", "0.25");
    expect_text(map, "epochs", "auto");
    expect_text(map, "top.epochs", "auto"); /* Or the job would take them from epochs. */
    json_decref(job);
    snprintf(line, sizeof line, "%s/t.ini --head.lr=0.1..1 --freeze=last,stage4 --epochs=4..9",
             t.root);
    json_t *tuning = request(TUNING, line);
    map =
        json_object_get(json_object_get(tuning, "TrainingJobDefinition"), "StaticHyperParameters");
    assert_int_equal(json_object_size(map), 2);
    expect_text(map, "seed", "7");
    expect_text(map, "data.validation", "0.2");
    const json_t *ranges = json_object_get(json_object_get(tuning, "HyperParameterTuningJobConfig"),
                                           "ParameterRanges");
    const json_t *lr = json_array_get(json_object_get(ranges, "ContinuousParameterRanges"), 0);
    expect_text(lr, "Name", "head.lr");
    expect_text(lr, "MinValue", "0.1");
    expect_text(lr, "ScalingType", "Logarithmic");
    expect_text(json_array_get(json_object_get(ranges, "IntegerParameterRanges"), 0), "MaxValue",
                "9");
    expect_text(json_array_get(json_object_get(ranges, "CategoricalParameterRanges"), 0), "Name",
                "freeze");
    json_decref(tuning);
    json_t *in_image = request("job " MADE G5, "--train=s3://bucket/t/ --model=mobilenet_v2");
    expect_text(json_object_get(in_image, "HyperParameters"), "model", "mobilenet_v2");
    assert_int_equal(json_array_size(json_object_get(in_image, "InputDataConfig")), 1);
    json_decref(in_image);
    tempdir_remove(&t);
}

/* SageMaker takes a hundred hyperparameters, one of which a tuner adds, and paths of this machine mean
 * nothing there. So a job can be given all options that there are. */
static void a_job_can_have_every_option(void **state) {
    (void)state;
    thaw_options options;
    thaw_error err;
    int n = 0;
    assert_int_equal(thaw_options_init(&options, &err), THAW_OK);
    for (size_t i = 0; i < thaw_options_count(); i++) {
        thaw_option_facts facts = thaw_options_facts(i);
        if (!(facts.used_by & THAW_FOR_TRAIN) || !(facts.used_by & THAW_FOR_JOB)) continue;
        n++;
        if (thaw_options_set(&options, facts.key, "folder/file", "test", &err) == THAW_OK &&
            thaw_options_is_path(&options, i) && strcmp(facts.key, "data.validation") != 0)
            fail_msg("%s is a path, and no hyperparameter: mark it HERE", facts.key);
    }
    thaw_options_free(&options);
    assert_in_range(n, 50, 98);
}

/* The API's limits for what a regular expression is, and how many. */
static void metrics_fit_the_api(void **state) {
    (void)state;
    size_t n;
    const thaw_metric_definition *metrics = thaw_metric_definitions(&n);
    assert_in_range(n, 1, 40);
    json_t *json = request("metrics", "");
    const json_t *list = json_object_get(json, "MetricDefinitions");
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) {
        expect_text(json_array_get(list, i), "Name", metrics[i].name);
        expect_text(json_array_get(list, i), "Regex", metrics[i].regex);
        assert_in_range(strlen(metrics[i].name), 1, 255);
        assert_in_range(strlen(metrics[i].regex), 1, 500);
    }
    json_decref(json);
}

/* Kinds of machines stand once each, and have what their kind has. */
static void instances_are_sound(void **state) {
    (void)state;
    size_t n;
    const thaw_instance *list = thaw_instances(&n);
    program p = {0};
    program_expect_ok(&p, "sagemaker instances");
    for (size_t i = 0; i < n; i++) {
        const thaw_instance *one = &list[i];
        assert_memory_equal(one->name, "ml.", 3);
        program_expect_text(&p, p.out, one->name);
        assert_true(one->uses && one->vcpus > 0 && one->ram_gib > 0);
        assert_true((one->gpus > 0) == (*one->gpu != 0));
        assert_true((one->gpus > 0) == (one->gpu_mib > 0));
        assert_true((one->gpus > 0) == (one->capability > 0));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(list[j].name, one->name);
    }
    program_free(&p);
}

/* A program called aws gets the request, and its exit code is the command's. */
static void submitting(void **state) {
    (void)state;
    tempdir t = tempdir_make();
    char path[PATH_MAX], *before = strdup(getenv("PATH"));
    tempdir_file(&t, "aws", "#!/bin/sh\necho \"$*\"\n/bin/cat /dev/stdin\nexit 254\n");
    tempdir_check(chmod(tempdir_path(&t, "aws", path), 0755) == 0, path);
    setenv("PATH", t.root, 1);
    program p = {0};
    program_run(&p, "sagemaker " VARIANT G5 "--submit");
    assert_int_equal(p.code, 254);
    const char words[] =
        "sagemaker create-endpoint-config --cli-input-json file:///dev/stdin\n{\n \"Endpoint";
    assert_memory_equal(p.out, words, strlen(words));
    assert_memory_equal(p.out + strlen(p.out) - 2, "\n}", 2);
    program_free(&p);
    setenv("PATH", "/nowhere", 1);
    program_run(&p, "sagemaker " VARIANT G5 "--submit");
    program_expect_text(&p, program_refusal(&p, 1), "there is no program aws on the PATH");
    program_free(&p);
    setenv("PATH", before, 1);
    free(before);
    tempdir_remove(&t);
}

int main(void) {
    memset(long_text, 'a', sizeof long_text - 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(what_is_told),
        cmocka_unit_test(hyperparameters_are_what_was_given),
        cmocka_unit_test(a_job_can_have_every_option),
        cmocka_unit_test(metrics_fit_the_api),
        cmocka_unit_test(instances_are_sound),
        cmocka_unit_test(submitting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
