/* Which preprocessing a network wants, asked of pictures: the features that each preset gives are
 * probed, and the one whose features tell the classes apart best is what the network was trained with.
 *
 * Some pictures of each class, the same on every machine, go through the frozen network under each
 * preset. A linear head at its optimum (probe.h) is trained on four fifths and scored on the rest, five
 * times, so that every picture is scored once by a head that has not seen it.
 */
#ifndef THAW_PRESET_PROBE_H
#define THAW_PRESET_PROBE_H

#include "log.h"
#include "model/network.h"
#include "paired.h"

enum { THAW_PROBED_MAX = 16 };

typedef struct thaw_probed {
    char name[64];              /* Of presets with the same numbers, all: "inception, keras". */
    thaw_preprocess preprocess; /* Geometry as the network's own. */
    bool chosen;                /* It is what the network has without being asked. */
    bool finite;                /* False: there are features that are no numbers, and no scores. */
    thaw_accuracy top1;
    double loss; /* Mean cross-entropy of the held-out pictures. */
    /* Against the best: by how much the loss is higher, 95 % of what other pictures would give, and p of the
     * paired comparison of top-1. */
    double behind, low, high, p;
} thaw_probed;

typedef struct thaw_preset_probe {
    thaw_probed list[THAW_PROBED_MAX]; /* From the lowest loss up; those without one last. */
    int n;
    int n_alike; /* The first so many cannot be told apart: their intervals begin at 0 or below. */
    int advised; /* Which of them to take: the network's own choice if it is one, or else the first. */
    size_t n_pictures, n_classes, n_bad, n_classes_there;
} thaw_preset_probe;

/* Asks at most `most` readable pictures of what `folder` (see data.train) has to train on and to validate.
 * Where there are too many classes for five pictures of each, fewer classes. network: opened with freeze = last.
 * ERR_DATA: too few pictures; what datasets, the pipeline and training return. */
thaw_status thaw_preset_probe_run(const thaw_network *network, const char *folder, size_t most,
                                  int64_t batch, thaw_backend *backend, thaw_log *log,
                                  thaw_preset_probe *probe, thaw_error *err);

#endif
