/* A training job's folder as SageMaker lays it out, in the working folder of a test. */
#ifndef SAGEMAKER_TESTING_H
#define SAGEMAKER_TESTING_H

#include "program.h"

enum { SM_TRAIN = 9, SM_TEST = 2, SM_CLASSES = 8, SM_PATH = 512 };

/* BASE of the job under way. */
static char sm_base[SM_PATH];

static inline const char *sm_path(const char *name) {
    static char path[4][PATH_MAX];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], PATH_MAX, "%s/%s", sm_base, name);
    return path[turn];
}

static inline void sm_config(const char *name, const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/input/config/%s", sm_base, name);
    write_bytes(path, text, strlen(text));
}

/* A channel is a link to a folder beside BASE's own. */
static inline void sm_channel(const char *name, const char *folder) {
    char path[PATH_MAX], target[PATH_MAX], here[PATH_MAX];
    tempdir_check(getcwd(here, sizeof here) != NULL, "getcwd");
    snprintf(path, sizeof path, "%s/input/data/%s", sm_base, name);
    snprintf(target, sizeof target, "%.2000s/%.2000s", here, folder);
    unlink(path);
    tempdir_check(symlink(target, path) == 0, path);
}

static const char SM_CHANNELS[] =
    "{\"train\":{\"TrainingInputMode\":\"File\",\"S3DistributionType\":\"FullyReplicated\","
    "\"RecordWrapperType\":\"None\",\"ContentType\":\"application/x-image\"},"
    "\"test\":{\"TrainingInputMode\":\"FastFile\"},\"model\":{\"TrainingInputMode\":\"File\"}}";

/* A fresh BASE of this name with train, test and model, and these hyperparameters. */
static inline void sm_lay_out(const char *name, const char *hyperparameters) {
    static const char *const folders[] = {"",      "input",  "input/config", "input/data",
                                          "model", "output", "output/data"};
    char here[PATH_MAX];
    tempdir_check(getcwd(here, sizeof here) != NULL, "getcwd");
    snprintf(sm_base, sizeof sm_base, "%.300s/%.100s", here, name);
    remove_tree(sm_base);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        tempdir_check(mkdir(sm_path(folders[i]), 0755) == 0, folders[i]);
    mkdir("models", 0755);
    if (!is_there("models/m.onnx")) copy_file("m.onnx", "models/m.onnx");
    sm_config("hyperparameters.json", hyperparameters);
    sm_config("inputdataconfig.json", SM_CHANNELS);
    sm_channel("train", "pics/train");
    sm_channel("test", "pics/test");
    sm_channel("model", "models");
    setenv("SAGEMAKER_BASE_DIR", sm_base, 1);
    setenv("THAW_MODELS", "/nowhere", 1);
}

/* The first line of the failure file; "" where there is none. */
static inline const char *sm_failure(void) {
    static char line[2048];
    FILE *file = fopen(sm_path("output/failure"), "r");
    *line = '\0';
    if (!file) return line;
    if (!fgets(line, sizeof line, file)) *line = '\0';
    fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return line;
}

#endif
