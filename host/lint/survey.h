/* Reads every picture of a dataset once, without a network, and keeps what is to be known of each. */
#ifndef THAW_SURVEY_H
#define THAW_SURVEY_H

#include "alike.h"
#include "data/dataset.h"
#include "log.h"
#include "picture/image.h"

/* Of one picture. */
typedef struct thaw_surveyed {
    const char *problem; /* Why it cannot be used, one sentence; NULL: it can. */
    const char *format; /* As its bytes say, also of formats that are not read; NULL: none known. */
    uint64_t bytes;
    int width, height; /* As it is shown. */
    int orientation;   /* EXIF's; 0: nothing is said. */
} thaw_surveyed;

typedef struct thaw_survey {
    const thaw_dataset *dataset;
    thaw_surveyed *of; /* [dataset->n] */
    thaw_hash *keys;   /* [dataset->n] of the files' bytes. */
    thaw_look *looks;  /* [dataset->n] */
    bool *unread;      /* [dataset->n] has a problem. */
    size_t n_unread;
    thaw_alike_result alike;
    thaw_arena arena; /* Owns all of it. */
} thaw_survey;

/* Nothing of the dataset is changed; what is missing by now has a problem, as has whatever else would be
 * rejected in a training. Memory is some 400 bytes a picture. Free with thaw_survey_free, also
 * after a failure. ERR_NOMEM, ERR_SYSTEM: the pictures are not to blame; ERR_INTERRUPTED. */
thaw_status thaw_survey_make(thaw_survey *survey, const thaw_dataset *dataset,
                             const volatile int *stop, thaw_log *log, thaw_error *err);
void thaw_survey_free(thaw_survey *survey);

#endif
