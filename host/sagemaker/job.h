/* The program as a SageMaker training job: started as `train`, or with nothing, or with flags alone, in a
 * container whose BASE/input/config is there (see platform.h).
 *
 *   hyperparameters, channels ─► options ─► run, on a disk with room ─► BASE/model, BASE/output/data
 *                                             │ SIGTERM: the best so far
 *                                             ▼
 *                        BASE/checkpoints: the cache and what is half trained, for the next time
 */
#ifndef THAW_JOB_H
#define THAW_JOB_H

#include "arena.h"
#include "options/options.h"
#include "platform.h"
#include "status.h"

typedef struct thaw_job {
    bool meant; /* This is one; all else of this header is only for one. */
    thaw_platform platform;
    const char *failure; /* BASE/output/failure */
    thaw_arena arena;
} thaw_job;

/* Whether the words (as main's) mean a job. Then the word train stands first in *argv, signals are caught
 * and what ends the program is written down. Close the job also after an error. */
thaw_status thaw_job_open(thaw_job *job, int *argc, char ***argv, thaw_error *err);
void thaw_job_close(thaw_job *job);

/* Sets the hyperparameters. The command line comes after it, and wins. Errors name the file. */
thaw_status thaw_job_configure(thaw_job *job, thaw_options *options, thaw_error *err);

/* Takes the channels for all that is not set yet, trains, and leaves what is to be uploaded. A host that does
 * not lead sends its pictures, where it has others, and is done. ERR_INTERRUPTED: told to stop; the model of the best epoch so
 * far is there, if there was one. */
thaw_status thaw_job_train(thaw_job *job, const thaw_options *options, thaw_error *err);

/* What the program ends with, where it would end with `code`: writes the failure, if it is one. */
int thaw_job_end(const thaw_job *job, thaw_status status, int code, const thaw_error *err);

#endif
