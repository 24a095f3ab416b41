/* The program: finds the command, sets the options, runs it, and prints what went wrong. Nothing
 * else prints errors or exits. */
#include <fcntl.h>
#include <omp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "commands.h"
#include "machine.h"
#include "sagemaker/job.h"

static const thaw_command commands[] = {
    {"inspect", "MODEL.onnx [FOLDER]",
     "What is in a model, and where it can be cut; with a folder of pictures, which preprocessing "
     "it wants.",
     THAW_FOR_INSPECT, 1, 2, false, thaw_cmd_inspect},
    {"verify", "MODEL.onnx",
     "Whether Thaw computes of a model what another program does: --input x.npy --output y.npy.",
     THAW_FOR_VERIFY, 1, 1, false, thaw_cmd_verify},
    {"train", "[TRAIN.ini]",
     "Train a new head, and the layers below it down to where the model is frozen.", THAW_FOR_TRAIN,
     0, 1, true, thaw_cmd_train},
    {"sweep", "[TRAIN.ini]",
     "Train with many values at once: --head.lr=1e-4..1e-1 --head.weight_decay=0,1e-4 ...",
     THAW_FOR_TRAIN | THAW_FOR_SWEEP, 0, 1, true, thaw_cmd_sweep},
    {"eval", "RUN FOLDER", "How good a trained run is on pictures in a folder or a list.",
     THAW_FOR_EVAL, 2, 2, false, thaw_cmd_eval},
    {"predict", "RUN [PICTURE|FOLDER...]", "What a trained run sees in pictures: one line each.",
     THAW_FOR_PREDICT, 1, -1, false, thaw_cmd_predict},
    {"serve", "[RUN]",
     "Answers over HTTP what a trained run sees in pictures; without RUN what SageMaker has "
     "mounted.",
     THAW_FOR_SERVE, 0, 1, false, thaw_cmd_serve},
    {"cache", "ls|verify|explain|gc", "Look after the kept features.", THAW_FOR_CACHE, 1, 1, false,
     thaw_cmd_cache},
    {"demo", "", "The built-in story: draws flowers, trains, shows the result.", THAW_FOR_TRAIN, 0,
     0, false, thaw_cmd_demo},
    {"lint", "FOLDER",
     "What is wrong or odd about pictures, before anything is trained: --out FOLDER for a page, "
     "--model MODEL.onnx or RUN for doubtful labels.",
     THAW_FOR_LINT, 1, 1, false, thaw_cmd_lint},
    {"data fetch", "NAME",
     "Fetch a real set of pictures, by address, size and checksum, into folders of classes.",
     THAW_FOR_FETCH, 1, 1, false, thaw_cmd_data},
    {"data ls", "", "The sets that can be fetched, with their sizes and licences.", THAW_FOR_FETCH,
     0, 0, false, thaw_cmd_data},
    {"new", "", "Write a known network with random weights: --arch NAME --classes N -o FILE.onnx.",
     THAW_FOR_NEW, 0, 0, false, thaw_cmd_new},
    {"export", "RUN",
     "What others take of a run: the network, --onnx FILE, the weights that were trained, "
     "--safetensors "
     "FILE, or all that serves it, --tar FILE.",
     THAW_FOR_EXPORT, 1, 1, false, thaw_cmd_export},
    {"bench freeze", "[TRAIN.ini]",
     "How deep to freeze: trains the same at each depth, and compares what comes out.",
     THAW_FOR_TRAIN | THAW_FOR_FREEZE, 0, 1, true, thaw_cmd_freeze},
    {"bench", "kernels|trunk|head|sweep|pipeline|cache|decode [ARGUMENT...]",
     "Measure a part: runs the program bench_NAME that lies beside this one.", 0, 1,
     THAW_CLI_PASSED_ON, false, thaw_cmd_bench},
    {"sagemaker job", "[TRAIN.ini]",
     "Print the request for a training job, as aws takes it; or send it: --submit.", THAW_FOR_JOB,
     0, 1, true, thaw_cmd_sagemaker},
    {"sagemaker tuning-job", "[TRAIN.ini]",
     "The same for a tuning job: --head.lr=1e-4..1e-1 --head.batch=16,64 ...", THAW_FOR_TUNING, 0,
     1, true, thaw_cmd_sagemaker},
    {"sagemaker model", "[TRAIN.ini]", "The same for what a job has trained.", THAW_FOR_MODEL, 0, 1,
     true, thaw_cmd_sagemaker},
    {"sagemaker endpoint-config", "[TRAIN.ini]", "The same for how an endpoint serves it.",
     THAW_FOR_ENDPOINT_CONFIG, 0, 1, true, thaw_cmd_sagemaker},
    {"sagemaker endpoint", "[TRAIN.ini]", "The same for an endpoint.", THAW_FOR_ENDPOINT, 0, 1,
     true, thaw_cmd_sagemaker},
    {"sagemaker transform-job", "[TRAIN.ini]", "The same for classifying a folder of pictures.",
     THAW_FOR_TRANSFORM, 0, 1, true, thaw_cmd_sagemaker},
    {"sagemaker algorithm", "[TRAIN.ini]",
     "The same for an algorithm, whose options the console then knows.", THAW_FOR_ALGORITHM, 0, 1,
     true, thaw_cmd_sagemaker},
    {"sagemaker metrics", "", "What a training job measures, and the expressions that find it.", 0,
     0, 0, false, thaw_cmd_sagemaker},
    {"sagemaker tuning", "[TRAIN.ini]", "Ranges for a tuning job, of all that may be worth it.",
     THAW_FOR_TUNING, 0, 1, true, thaw_cmd_sagemaker},
    {"sagemaker try", "[TRAIN.ini] FOLDER",
     "A job's whole life on this machine, from its request to an endpoint's answers.", THAW_FOR_TRY,
     1, 2, true, thaw_cmd_sagemaker},
    {"sagemaker instances", "", "The machines there are, and what they have.", 0, 0, 0, false,
     thaw_cmd_sagemaker},
    {"options", "", "Print train.ini with every option and its default.", THAW_FOR_ALL, 0, 0, false,
     thaw_cmd_options},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static thaw_status run(thaw_cli *cli, thaw_job *job, thaw_error *err) {
    thaw_options options;
    thaw_status status = thaw_options_init(&options, err);
    if (job->meant) cli->job = job;
    if (status == THAW_OK && job->meant) status = thaw_job_configure(job, &options, err);
    if (status == THAW_OK) status = thaw_cli_configure(cli, &options, err);
    if (status == THAW_OK) status = cli->command->run(cli, &options, err);
    thaw_options_free(&options);
    return status;
}

/* OpenMP's threads wait for one another by spinning, unless told otherwise before the program
 * starts. On a machine that does anything else at the same time, that is a catastrophe: measured
 * with two busy loops beside two threads, 163 s where threads that sleep take 7.5 s; alone,
 * spinning gains nothing that can be measured. libgomp reads the variable before main, so main
 * starts again. */
static void let_threads_sleep(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    if (setenv("OMP_WAIT_POLICY", "passive", 1) == 0) execv("/proc/self/exe", argv);
}

/* Whoever started the program may have closed 0, 1 or 2. The next file that is opened would get that
 * number, and what is printed would land in it: in a shard of the cache, say. */
static bool open_standard_descriptors(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

int main(int argc, char **argv) {
    if (!open_standard_descriptors()) return 1; /* And nowhere to say why. */
    let_threads_sleep(argv);
    omp_set_num_threads(thaw_usable_cpus()); /* For what runs before a device is opened. */
    signal(SIGXFSZ,
           SIG_IGN); /* A file that grows beyond the user's limit is an error like others. */
    thaw_cli cli = {0};
    thaw_arena arena = {0};
    thaw_error err = {0};
    thaw_job job;
    thaw_status status = thaw_job_open(&job, &argc, &argv, &err);
    if (status == THAW_OK)
        status = thaw_cli_parse(&cli, &arena, commands, N_COMMANDS, argc, argv, &err);
    if (status == THAW_OK) {
        if (cli.action == THAW_CLI_HELP)
            thaw_cli_write_help(stdout, &cli, commands, N_COMMANDS);
        else if (cli.action == THAW_CLI_VERSION)
            printf("thaw %s\n", THAW_VERSION);
        else
            status = run(&cli, &job, &err);
    }
    if (status == THAW_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = thaw_fail(&err, THAW_ERR_IO, "the output could not be written");
    if (status != THAW_OK) fprintf(stderr, "thaw: %s\n", err.text);
    int code = thaw_cli_exit_code(status);
    if (job.meant) code = thaw_job_end(&job, status, code, &err);
    thaw_job_close(&job);
    thaw_arena_free(&arena);
    return code;
}
