/* What the findings are made of; internal to this room. */
#ifndef THAW_FINDINGS_PARTS_H
#define THAW_FINDINGS_PARTS_H

#include "findings.h"

enum {
    THAW__FEW = 10,  /* Pictures to train on: a class that has fewer is learnt by heart. */
    THAW__WHY = 128, /* Bytes of a few words. */
};

static inline const thaw_surveyed *thaw__surveyed(const thaw_findings *f, size_t i) {
    return &f->survey->of[i];
}

static inline bool thaw__is_read(const thaw_findings *f, size_t i) {
    return !f->survey->unread[i];
}

/* Readable pictures of a class to train on. */
static inline size_t thaw__to_train(const thaw_findings *f, size_t k) {
    return f->counts[k][THAW_SPLIT_TRAIN];
}

static inline thaw_status thaw__findings_no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for what was found");
}

/* Adds a finding that lists no pictures: the sentence says it all. */
thaw_status thaw__findings_say(thaw_findings *findings, const char *kind, thaw_finding_level level,
                               const char *text, const char *advice, thaw_error *err);

/* Each adds what it finds, once the counts are there. ERR_NOMEM. */
thaw_status thaw__find_unreadable(thaw_findings *findings, const thaw_findings_limits *limits,
                                  thaw_error *err);
thaw_status thaw__find_pairs(thaw_findings *findings, thaw_error *err);
thaw_status thaw__find_odd(thaw_findings *findings, const thaw_findings_limits *limits,
                           thaw_error *err);
thaw_status thaw__find_telltales(thaw_findings *findings, thaw_error *err);

#endif
