/* thaw sagemaker job|tuning-job|...: prints a request to SageMaker, or becomes the aws program that
 * sends it; thaw sagemaker instances: the machines there are; thaw sagemaker try: all of it here. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "commands.h"
#include "file.h"
#include "run/instances.h"
#include "sagemaker/request.h"
#include "sagemaker/try.h"

enum { DIGITS = 9 };

/* ---- machines ------------------------------------------------------------------------------- */

static void print_instance(const thaw_instance *instance) {
    char gpu[32] = "-", memory[16] = "", disk[16] = "volume", price[16] = "";
    if (instance->gpus) {
        snprintf(gpu, sizeof gpu, "%d x %s", instance->gpus, instance->gpu);
        snprintf(memory, sizeof memory, "%.0f", instance->gpu_mib / 1024.0);
    }
    if (instance->nvme_gb) snprintf(disk, sizeof disk, "%d", instance->nvme_gb);
    if (instance->per_hour > 0) snprintf(price, sizeof price, "%.3f", instance->per_hour);
    printf("%-20s %-10s %8s %6d %8d %8s %4d  %-5s %-5s %-9s %8s\n", instance->name, gpu, memory,
           instance->vcpus, instance->ram_gib, disk, instance->efa,
           instance->uses & THAW_INSTANCE_TRAINS ? "train" : "",
           instance->uses & THAW_INSTANCE_SERVES ? "serve" : "",
           instance->uses & THAW_INSTANCE_TRANSFORMS ? "transform" : "", price);
}

static void print_instances(void) {
    size_t n;
    const thaw_instance *instances = thaw_instances(&n);
    printf("%-20s %-10s %8s %6s %8s %8s %4s  %-21s %8s\n", "machine", "GPU", "GiB each", "vCPUs",
           "RAM, GiB", "disk, GB", "EFA", "may", "$/hour");
    for (size_t i = 0; i < n; i++)
        print_instance(&instances[i]);
    printf("$/hour: on demand in us-east-1, %s\n", thaw_instance_price_date);
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Makes text what standard input reads: a file of its own, in memory, since a request may be longer than
 * an argument or a pipe. */
static thaw_status become_input(const char *text, thaw_error *err) {
    int fd = memfd_create("request", 0);
    size_t n = strlen(text);
    bool written = fd >= 0 && thaw_file_write_at(fd, text, n, 0) && dup2(fd, STDIN_FILENO) >= 0;
    if (!written)
        return thaw_fail(err, THAW_ERR_SYSTEM, "the request cannot be handed on: %s",
                         strerror(errno));
    close(fd);
    return THAW_OK;
}

/* What it prints and what it ends with are then the aws program's. */
static thaw_status become_aws(const char *command, const char *text, thaw_error *err) {
    THAW_TRY(become_input(text, err));
    fflush(stdout);
    execlp("aws", "aws", "sagemaker", command, "--cli-input-json", "file:///dev/stdin",
           (char *)NULL);
    if (errno == ENOENT)
        return thaw_fail(
            err, THAW_ERR_SYSTEM,
            "sagemaker.submit: there is no program aws on the PATH: install the AWS CLI, "
            "or send what is printed without --submit from where it is: aws sagemaker %s "
            "--cli-input-json file://FILE",
            command);
    return thaw_fail(err, THAW_ERR_SYSTEM, "the aws program does not start: %s", strerror(errno));
}

static thaw_status make_request(const thaw_request_kind *kind, const thaw_options *options,
                                char **text, thaw_error *err) {
    thaw_log log;
    thaw_json json = thaw_json_begin();
    thaw_log_open(&log, stderr, THAW_LOG_INFO);
    thaw_status status = thaw_request_build(kind, options, &log, &json, err);
    if (status == THAW_OK)
        status = thaw_json_print(&json, THAW_JSON_INDENTED, DIGITS, "the request", text, err);
    thaw_json_free(&json);
    thaw_log_close(&log);
    return status;
}

thaw_status thaw_cmd_sagemaker(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    const char *word = cli->command->name + strlen("sagemaker ");
    const thaw_request_kind *kind = thaw_request_find(word);
    char *text = NULL;
    if (strcmp(word, "try") == 0) return thaw_try_run(options, cli->args[0], err);
    if (!kind) {
        print_instances();
        return THAW_OK;
    }
    THAW_TRY(make_request(kind, options, &text, err));
    const char *aws = thaw_request_aws_command(kind);
    thaw_status status = THAW_OK;
    if (aws && options->sagemaker.submit)
        status = become_aws(aws, text, err);
    else
        puts(text);
    free(text);
    return status;
}
