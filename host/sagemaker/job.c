#include "job.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channels.h"
#include "disks.h"
#include "failure.h"
#include "file.h"
#include "gather.h"
#include "hyperparameters.h"
#include "publish.h"
#include "run/stop.h"
#include "run/train.h"
#include "text.h"

static const char SOURCE[] = "SageMaker";

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the training job");
}

/* ---- whether it is one ---------------------------------------------------------------------- */

static bool is_ini(const char *word) {
    return word[0] != '-' || !word[1];
}

/* `train` alone or with flags; nothing, from an overridden entry point; or flags alone, which a job's
 * arguments put in the place of `train`. An ini file says that somebody is trying something else. */
static bool means_a_job(int argc, char **argv) {
    if (!thaw_platform_is_here()) return false;
    if (argc < 2) return true;
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "--version"))
        return false;
    if (argv[1][0] == '-') return true;
    return !strcmp(argv[1], "train") && (argc == 2 || !is_ini(argv[2]));
}

static thaw_status put_train_first(thaw_job *job, int *argc, char ***argv, thaw_error *err) {
    static char train[] = "train";
    if (*argc >= 2 && !strcmp((*argv)[1], train)) return THAW_OK;
    char **words = thaw_arena_array(&job->arena, (size_t)*argc + 2, sizeof *words);
    if (!words) return no_memory(err);
    words[0] = (*argv)[0];
    words[1] = train;
    for (int i = 1; i < *argc; i++)
        words[i + 1] = (*argv)[i];
    *argv = words;
    ++*argc;
    return THAW_OK;
}

thaw_status thaw_job_open(thaw_job *job, int *argc, char ***argv, thaw_error *err) {
    *job = (thaw_job){.meant = means_a_job(*argc, *argv)};
    if (!job->meant) return THAW_OK;
    job->failure = thaw_arena_printf(&job->arena, "%s/output/failure", thaw_platform_base());
    if (!job->failure) return no_memory(err);
    /* The first process of a container gets no signal that it does not ask for. It has no children here,
     * so that there is none to reap. */
    thaw_stop_catch();
    unlink(job->failure); /* An earlier try's. */
    thaw_failure_watch(job->failure);
    THAW_TRY(put_train_first(job, argc, argv, err));
    return thaw_platform_open(&job->platform, err);
}

void thaw_job_close(thaw_job *job) {
    thaw_platform_close(&job->platform);
    thaw_arena_free(&job->arena);
}

/* ---- configuration -------------------------------------------------------------------------- */

thaw_status thaw_job_configure(thaw_job *job, thaw_options *options, thaw_error *err) {
    THAW_TRY(thaw_options_set(options, "metrics", "true", SOURCE, err));
    THAW_TRY(thaw_options_set(options, "checkpoint.bundle", "true", SOURCE, err));
    return thaw_hyperparameters_set(job->platform.hyperparameters, options, err);
}

/* A path below a folder becomes the option's value, unless somebody has set it. */
static thaw_status set_path(thaw_options *options, const char *key, const char *folder,
                            const char *name, thaw_error *err) {
    if (thaw_options_is_set(options, key)) return THAW_OK;
    const char *path = thaw_file_join(&options->arena, folder, name);
    return path ? thaw_options_set(options, key, path, SOURCE, err) : no_memory(err);
}

static bool is_empty(const char *folder) {
    DIR *dir = opendir(folder);
    bool empty = true;
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        empty &= entry->d_name[0] == '.';
    if (dir) closedir(dir);
    return empty;
}

/* Where there is a folder of checkpoints it is kept in S3 while the job runs, and filled from there when the
 * job, or another one, starts again: then what was computed and what was trained are in it. */
static thaw_status set_checkpoints(const char *folder, thaw_options *options, thaw_log *log,
                                   thaw_error *err) {
    bool begun = !is_empty(folder);
    if (begun && (!thaw_options_is_set(options, "resume") || options->resume))
        thaw_log_write(
            log, THAW_LOG_INFO,
            "resume: %s holds what an earlier job has computed; this one goes on from there",
            folder);
    THAW_TRY(set_path(options, "cache.dir", folder, "cache", err));
    THAW_TRY(set_path(options, "checkpoint.dir", folder, "training", err));
    /* Files come back from S3 with the rights of whoever brings them, and the container is the job's. */
    if (!thaw_options_is_set(options, "cache.shared"))
        THAW_TRY(thaw_options_set(options, "cache.shared", "true", SOURCE, err));
    if (!begun || thaw_options_is_set(options, "resume")) return THAW_OK;
    return thaw_options_set(options, "resume", "true", SOURCE, err);
}

/* All that is the job's own affair: where the run, the cache and the checkpoints are. */
static thaw_status set_places(const thaw_job *job, const char *work, thaw_options *options,
                              thaw_log *log, thaw_error *err) {
    struct stat info;
    const char *checkpoints =
        thaw_arena_printf(&options->arena, "%s/checkpoints", job->platform.base);
    const char *out = thaw_file_join(&options->arena, work, "run");
    if (!checkpoints || !out) return no_memory(err);
    THAW_TRY(thaw_options_set(options, "out", out, SOURCE, err));
    if (stat(checkpoints, &info) == 0 && S_ISDIR(info.st_mode))
        THAW_TRY(set_checkpoints(checkpoints, options, log, err));
    else
        THAW_TRY(set_path(options, "cache.dir", work, "cache", err));
    return set_path(options, "checkpoint.dir", work, "training", err);
}

static thaw_status check_data(const thaw_job *job, const thaw_options *options, thaw_error *err) {
    thaw_text names = {0};
    const thaw_platform *p = &job->platform;
    if (*options->data.train) return THAW_OK;
    for (size_t i = 0; i < p->n_channels; i++)
        thaw_text_add(&names, "%s%s", i ? ", " : "", p->channels[i].name);
    return thaw_fail(
        err, THAW_ERR_USAGE,
        "there is no channel called train or training, with a folder of pictures for each "
        "class; %s%s",
        p->n_channels ? "there is " : "there is none at all", names.text);
}

/* ---- training ------------------------------------------------------------------------------- */

static void say_job(const thaw_job *job, const thaw_options *options, thaw_log *log) {
    const thaw_platform *p = &job->platform;
    const char *name = getenv("TRAINING_JOB_NAME");
    thaw_log_write(log, THAW_LOG_INFO,
                   "thaw %s: SageMaker training job%s%s, host %s (%zu of %zu)%s%s", THAW_VERSION,
                   name ? " " : "", name ? name : "", p->hosts[p->rank], p->rank + 1, p->n_hosts,
                   *p->instance ? ", " : "", p->instance);
    thaw_disks_say(p->base, log);
    if (log->level >= THAW_LOG_INFO) thaw_options_write_effective(log->stream, options);
}

/* The run's files to where they are uploaded from; of a run that failed, what it says of bad pictures. */
static thaw_status publish(const thaw_job *job, const thaw_options *options, bool written,
                           thaw_log *log, thaw_error *err) {
    char model[PATH_MAX], data[PATH_MAX], partial[PATH_MAX];
    snprintf(model, sizeof model, "%.2000s/model", job->platform.base);
    snprintf(data, sizeof data, "%.2000s/output/data", job->platform.base);
    snprintf(partial, sizeof partial, "%.2000s.partial", options->out);
    if (!written) {
        THAW_TRY(thaw_file_make_folders(data, err));
        return thaw_publish_file(partial, "rejected.csv", data, err);
    }
    THAW_TRY(thaw_publish(options->out, model, data, err));
    thaw_log_write(log, THAW_LOG_INFO, "model: %s, all else: %s", model, data);
    return THAW_OK;
}

/* The pictures of all hosts, where each has others. */
static thaw_status set_data(thaw_job *job, const char *work, thaw_options *options, thaw_log *log,
                            thaw_error *err) {
    const char *folder = thaw_file_join(&options->arena, work, "gathered");
    if (!folder) return no_memory(err);
    if (thaw_gather_is_needed(&job->platform))
        THAW_TRY(thaw_gather_receive(&job->platform, folder, thaw_stop_catch(), log, err));
    THAW_TRY(thaw_channels_set_data(&job->platform, work, thaw_stop_catch(), options, err));
    return check_data(job, options, err);
}

static thaw_status train_here(thaw_job *job, thaw_options *options, thaw_log *log,
                              thaw_error *err) {
    const char *work, *name = getenv("TRAINING_JOB_NAME");
    thaw_train_summary summary;
    THAW_TRY(thaw_disks_choose(job->platform.base, &options->arena, &work, err));
    THAW_TRY(set_data(job, work, options, log, err));
    THAW_TRY(thaw_channels_set_model(&job->platform, options, err));
    THAW_TRY(set_places(job, work, options, log, err));
    say_job(job, options, log);
    thaw_status status =
        thaw_train_run(options, name && *name ? name : "SageMaker training job", &summary, err);
    thaw_error why = {0};
    thaw_status published = publish(job, options, summary.written, log, &why);
    if (published == THAW_OK) return status;
    if (status == THAW_OK) return thaw_fail(err, published, "%s", why.text);
    thaw_log_write(log, THAW_LOG_ERROR, "%s",
                   why.text); /* The first failure is what ends the job. */
    return status;
}

/* What a host that does not lead is good for: whoever ends early with success stops nobody. */
static thaw_status help(const thaw_platform *p, thaw_log *log, thaw_error *err) {
    if (thaw_gather_is_needed(p)) return thaw_gather_send(p, thaw_stop_catch(), log, err);
    thaw_log_write(
        log, THAW_LOG_WARN,
        "host %s has nothing to do: %s has all pictures, and trains alone; a job with one "
        "instance costs less",
        p->hosts[p->rank], p->hosts[0]);
    return THAW_OK;
}

thaw_status thaw_job_train(thaw_job *job, const thaw_options *options, thaw_error *err) {
    const thaw_platform *p = &job->platform;
    thaw_options own;
    thaw_log log;
    thaw_log_open(&log, stderr, options->log);
    thaw_status status = thaw_options_copy(&own, options, err);
    if (status == THAW_OK)
        status = p->rank > 0 ? help(p, &log, err) : train_here(job, &own, &log, err);
    thaw_options_free(&own);
    thaw_log_close(&log);
    return status;
}

int thaw_job_end(const thaw_job *job, thaw_status status, int code, const thaw_error *err) {
    /* StopTrainingJob shows Stopped whatever the code is; a spot instance that is taken away must not
     * look as if the job had completed, which 0 could. It is what a shell says of SIGTERM. */
    enum { STOPPED = 143 };
    if (status == THAW_ERR_INTERRUPTED) return STOPPED;
    if (status != THAW_OK && job->failure)
        thaw_failure_write(job->failure, err->text,
                           "thaw " THAW_VERSION "; the log has all that came before it.\n");
    return code;
}
