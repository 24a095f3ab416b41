/* What a look at pictures finds: one list, which the terminal, lint.json and lint.html show. */
#ifndef THAW_FINDINGS_H
#define THAW_FINDINGS_H

#include "data/lint.h"
#include "options/options.h"
#include "survey.h"

/* Fails: a training would end with an error. Note: it does no harm. */
#define THAW_FINDING_LEVEL_LIST(X)  \
    X(THAW_FINDING_FAILS, "fails")  \
    X(THAW_FINDING_WARN, "warning") \
    X(THAW_FINDING_NOTE, "note")
typedef enum thaw_finding_level { THAW_FINDING_LEVEL_LIST(THAW_ENUM_VALUE) } thaw_finding_level;

/* A picture that something was found of. */
typedef struct thaw_found {
    size_t picture, like; /* like: the other one of a pair; picture itself: it is alone. */
    const char *why;      /* A few words; NULL: the finding says it all. */
} thaw_found;

typedef struct thaw_finding {
    const char *kind; /* A word for programs. */
    thaw_finding_level level;
    const char *text;        /* A sentence without its point. */
    const char *advice;      /* What to do, the same; NULL: nothing. */
    const thaw_found *found; /* [n] */
    size_t n;
} thaw_finding;

/* Sides of a picture. */
typedef struct thaw_sides {
    int width, height;
} thaw_sides;

typedef struct thaw_format_count {
    const char *name;
    size_t n;
} thaw_format_count;

enum { THAW_FINDINGS_MOST = 64, THAW_FINDINGS_FORMATS = 8 };

typedef struct thaw_findings {
    const thaw_survey *survey;
    thaw_finding list[THAW_FINDINGS_MOST];
    size_t n;

    size_t (*counts)[THAW_SPLIT_COUNT];   /* [n_classes] readable pictures. */
    size_t *unread;                       /* [n_classes] others. */
    uint64_t bytes;                       /* Of all files. */
    thaw_sides smallest, median, largest; /* By area, of readable pictures; 0 x 0: there is none. */
    thaw_format_count formats[THAW_FINDINGS_FORMATS]; /* Of readable pictures; the most first. */
    size_t n_formats, n_turned, n_grey;
    thaw_arena arena; /* Owns what it adds. */
} thaw_findings;

/* What is judged against. */
typedef struct thaw_findings_limits {
    thaw_opt_limit max_bad;
    int least_side;  /* Shorter ones are tiny. */
    bool of_network; /* It is half of what the network takes. */
} thaw_findings_limits;

/* Looks through a survey, which outlives it. Free with thaw_findings_free, also after a failure. ERR_NOMEM. */
thaw_status thaw_findings_make(thaw_findings *findings, const thaw_survey *survey,
                               const thaw_findings_limits *limits, thaw_error *err);
void thaw_findings_free(thaw_findings *findings);

/* Adds one behind those that are as grave; its texts and its list lie in the findings' arena. ERR_NOMEM:
 * also where its text is NULL, and where there are THAW_FINDINGS_MOST already. */
thaw_status thaw_findings_add(thaw_findings *findings, const thaw_finding *finding,
                              thaw_error *err);

/* How many of them would make a training fail. */
size_t thaw_findings_fail(const thaw_findings *findings);

/* Prints all to a terminal. */
void thaw_findings_print(const thaw_findings *findings, FILE *out);

/* Adds all to an object. */
void thaw_findings_json(const thaw_findings *findings, thaw_json *json, json_t *into);

/* Writes them as a page. seen: as which part of a picture it is shown. ERR_IO, ERR_NOMEM, ERR_SYSTEM. */
thaw_status thaw_findings_page(const thaw_findings *findings, const char *data,
                               const thaw_geometry *seen, const char *path, thaw_error *err);

#endif
