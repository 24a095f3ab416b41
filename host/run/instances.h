/* Amazon's machines: what SageMaker trains, serves and transforms on. One table; prices, requests and
 * `thaw sagemaker instances` take what they say from it. */
#ifndef THAW_INSTANCES_H
#define THAW_INSTANCES_H

#include <stdbool.h>
#include <stddef.h>

#include "status.h"

/* What SageMaker lets a machine do, as of its API's model of 2026-11; a bit each. */
enum {
    THAW_INSTANCE_TRAINS = 1 << 0,
    THAW_INSTANCE_SERVES = 1 << 1,
    THAW_INSTANCE_TRANSFORMS = 1 << 2,
};

typedef struct thaw_instance {
    const char *name; /* "ml.g5.xlarge" */
    unsigned uses;
    const char *gpu;    /* "A10G"; "": it has none. */
    int capability;     /* Its compute capability, 86 for 8.6. */
    int gpus, gpu_mib;  /* Memory of each, as EC2 has it. */
    int vcpus, ram_gib; /* A vCPU is a hardware thread. */
    int nvme_gb;        /* Its own disk, in place of a volume; 0: it gets a volume. */
    int efa;            /* Elastic fabric adapters. */
    double per_hour;    /* List price in dollars; 0: not known here. */
} thaw_instance;

/* Of the prices: on demand in us-east-1, remembered and not looked up. Prices change, and other regions
 * have others: whoever relies on one checks it. */
extern const char thaw_instance_price_date[];

/* The table; *n rows. */
const thaw_instance *thaw_instances(size_t *n);

/* ERR_USAGE: the name is in no row; the sentence begins with what, and has the nearest name. */
thaw_status thaw_instance_find(const char *name, const char *what, const thaw_instance **instance,
                               thaw_error *err);

#endif
