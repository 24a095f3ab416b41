#include "instances.h"

#include <string.h>

#include "text.h"

const char thaw_instance_price_date[] = "2025-01, to be checked";

enum {
    TRAINS = THAW_INSTANCE_TRAINS,
    SERVES = THAW_INSTANCE_SERVES,
    HOSTS = SERVES | THAW_INSTANCE_TRANSFORMS,
    NO_BATCH = TRAINS | SERVES,
    ALL = TRAINS | HOSTS,
};

// clang-format off
static const thaw_instance table[] = {
    /* name, uses, GPU, capability, GPUs, MiB each, vCPUs, RAM GiB, NVMe GB, EFA, dollars an hour */
    {"ml.m5.large", ALL, "", 0, 0, 0, 2, 8, 0, 0, 0.115},
    {"ml.m5.xlarge", ALL, "", 0, 0, 0, 4, 16, 0, 0, 0.23},
    {"ml.m5.2xlarge", ALL, "", 0, 0, 0, 8, 32, 0, 0, 0.461},
    {"ml.m5.4xlarge", ALL, "", 0, 0, 0, 16, 64, 0, 0, 0},
    {"ml.m5.12xlarge", ALL, "", 0, 0, 0, 48, 192, 0, 0, 0},
    {"ml.m5.24xlarge", ALL, "", 0, 0, 0, 96, 384, 0, 0, 0},
    {"ml.c5.large", SERVES, "", 0, 0, 0, 2, 4, 0, 0, 0},
    {"ml.c5.xlarge", ALL, "", 0, 0, 0, 4, 8, 0, 0, 0.204},
    {"ml.c5.2xlarge", ALL, "", 0, 0, 0, 8, 16, 0, 0, 0.408},
    {"ml.c5.4xlarge", ALL, "", 0, 0, 0, 16, 32, 0, 0, 0},
    {"ml.c5.9xlarge", ALL, "", 0, 0, 0, 36, 72, 0, 0, 0},
    {"ml.c5.18xlarge", ALL, "", 0, 0, 0, 72, 144, 0, 0, 0},
    {"ml.c6i.large", HOSTS, "", 0, 0, 0, 2, 4, 0, 0, 0},
    {"ml.c6i.xlarge", ALL, "", 0, 0, 0, 4, 8, 0, 0, 0},
    {"ml.c6i.2xlarge", ALL, "", 0, 0, 0, 8, 16, 0, 0, 0},
    {"ml.c6i.4xlarge", ALL, "", 0, 0, 0, 16, 32, 0, 0, 0},
    {"ml.c6i.8xlarge", ALL, "", 0, 0, 0, 32, 64, 0, 0, 0},
    {"ml.c6i.12xlarge", ALL, "", 0, 0, 0, 48, 96, 0, 0, 0},
    {"ml.c6i.16xlarge", ALL, "", 0, 0, 0, 64, 128, 0, 0, 0},
    {"ml.g4dn.xlarge", ALL, "T4", 75, 1, 16384, 4, 16, 125, 0, 0.736},
    {"ml.g4dn.2xlarge", ALL, "T4", 75, 1, 16384, 8, 32, 225, 0, 0.94},
    {"ml.g4dn.4xlarge", ALL, "T4", 75, 1, 16384, 16, 64, 225, 0, 0},
    {"ml.g4dn.8xlarge", ALL, "T4", 75, 1, 16384, 32, 128, 900, 1, 0},
    {"ml.g4dn.12xlarge", ALL, "T4", 75, 4, 16384, 48, 192, 900, 1, 0},
    {"ml.g4dn.16xlarge", ALL, "T4", 75, 1, 16384, 64, 256, 900, 1, 0},
    {"ml.g5.xlarge", ALL, "A10G", 86, 1, 22888, 4, 16, 250, 0, 1.408},
    {"ml.g5.2xlarge", ALL, "A10G", 86, 1, 22888, 8, 32, 450, 0, 1.515},
    {"ml.g5.4xlarge", ALL, "A10G", 86, 1, 22888, 16, 64, 600, 0, 0},
    {"ml.g5.8xlarge", ALL, "A10G", 86, 1, 22888, 32, 128, 900, 1, 0},
    {"ml.g5.12xlarge", ALL, "A10G", 86, 4, 22888, 48, 192, 3800, 1, 0},
    {"ml.g5.16xlarge", ALL, "A10G", 86, 1, 22888, 64, 256, 1900, 1, 0},
    {"ml.g5.24xlarge", ALL, "A10G", 86, 4, 22888, 96, 384, 3800, 1, 0},
    {"ml.g5.48xlarge", ALL, "A10G", 86, 8, 22888, 192, 768, 7600, 1, 0},
    {"ml.g6.xlarge", ALL, "L4", 89, 1, 22888, 4, 16, 250, 0, 0},
    {"ml.g6.2xlarge", ALL, "L4", 89, 1, 22888, 8, 32, 450, 0, 0},
    {"ml.g6.4xlarge", ALL, "L4", 89, 1, 22888, 16, 64, 600, 0, 0},
    {"ml.g6.8xlarge", ALL, "L4", 89, 1, 22888, 32, 128, 900, 1, 0},
    {"ml.g6.12xlarge", ALL, "L4", 89, 4, 22888, 48, 192, 3760, 1, 0},
    {"ml.g6.16xlarge", ALL, "L4", 89, 1, 22888, 64, 256, 1880, 1, 0},
    {"ml.g6.24xlarge", ALL, "L4", 89, 4, 22888, 96, 384, 3760, 1, 0},
    {"ml.g6.48xlarge", ALL, "L4", 89, 8, 22888, 192, 768, 7520, 1, 0},
    {"ml.g6e.xlarge", ALL, "L40S", 89, 1, 45776, 4, 32, 250, 0, 0},
    {"ml.g6e.2xlarge", ALL, "L40S", 89, 1, 45776, 8, 64, 450, 0, 0},
    {"ml.g6e.4xlarge", ALL, "L40S", 89, 1, 45776, 16, 128, 600, 0, 0},
    {"ml.g6e.8xlarge", ALL, "L40S", 89, 1, 45776, 32, 256, 900, 1, 0},
    {"ml.g6e.12xlarge", ALL, "L40S", 89, 4, 45776, 48, 384, 3800, 1, 0},
    {"ml.g6e.16xlarge", ALL, "L40S", 89, 1, 45776, 64, 512, 1900, 1, 0},
    {"ml.g6e.24xlarge", ALL, "L40S", 89, 4, 45776, 96, 768, 3800, 2, 0},
    {"ml.g6e.48xlarge", ALL, "L40S", 89, 8, 45776, 192, 1536, 7600, 4, 0},
    {"ml.p3.2xlarge", ALL, "V100", 70, 1, 16384, 8, 61, 0, 0, 3.825},
    {"ml.p3.8xlarge", ALL, "V100", 70, 4, 16384, 32, 244, 0, 0, 0},
    {"ml.p3.16xlarge", ALL, "V100", 70, 8, 16384, 64, 488, 0, 0, 0},
    {"ml.p3dn.24xlarge", TRAINS, "V100", 70, 8, 32768, 96, 768, 1800, 1, 0},
    {"ml.p4d.24xlarge", NO_BATCH, "A100", 80, 8, 40960, 96, 1152, 8000, 4, 0},
    {"ml.p4de.24xlarge", NO_BATCH, "A100", 80, 8, 81920, 96, 1152, 8000, 4, 0},
    {"ml.p5.4xlarge", NO_BATCH, "H100", 90, 1, 81920, 16, 256, 3800, 1, 0},
    {"ml.p5.48xlarge", NO_BATCH, "H100", 90, 8, 81920, 192, 2048, 30400, 32, 0},
    {"ml.p5e.48xlarge", NO_BATCH, "H200", 90, 8, 144384, 192, 2048, 30400, 32, 0},
    {"ml.p5en.48xlarge", NO_BATCH, "H200", 90, 8, 144384, 192, 2048, 30400, 16, 0},
    {"ml.p6-b200.48xlarge", NO_BATCH, "B200", 100, 8, 183359, 192, 2048, 30400, 8, 0},
};
// clang-format on

const thaw_instance *thaw_instances(size_t *n) {
    *n = sizeof table / sizeof *table;
    return table;
}

thaw_status thaw_instance_find(const char *name, const char *what, const thaw_instance **instance,
                               thaw_error *err) {
    thaw_nearest nearest = {.word = name};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        *instance = &table[i];
        if (strcmp(table[i].name, name) == 0) return THAW_OK;
        thaw_nearest_offer(&nearest, table[i].name);
    }
    return thaw_fail(err, THAW_ERR_USAGE,
                     "%s = '%.80s' is no machine that Thaw knows%s%s%s; `thaw sagemaker instances` "
                     "lists them",
                     what, name, nearest.best ? "; did you mean " : "",
                     nearest.best ? nearest.best : "", nearest.best ? "?" : "");
}
