/* thaw train [TRAIN.ini]: train a new head on the features of a frozen model. */
#include "commands.h"
#include "run/train.h"
#include "sagemaker/job.h"

thaw_status thaw_cmd_train(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    thaw_train_summary summary;
    if (cli->job) return thaw_job_train(cli->job, options, err);
    return thaw_train_run(options, options->out, &summary, err);
}
