/* What an answer looks like: from an Accept header to a form, from scores to bytes. No sockets. */
#ifndef THAW_ANSWER_H
#define THAW_ANSWER_H

#include "model/bundle.h"

typedef enum thaw_answer_shape {
    THAW_ANSWER_OBJECT,  /* {"probabilities": [...]} */
    THAW_ANSWER_LIST,    /* [...] */
    THAW_ANSWER_VERBOSE, /* With labels, the best one, all above 0.5 where there may be several,
                          * and the old head's answer. */
} thaw_answer_shape;

typedef struct thaw_answer_form {
    thaw_answer_shape shape;
    bool lines; /* JSON Lines: a line a picture, {"prediction": [...]} unless verbose. */
} thaw_answer_form;

/* Chooses what an Accept header likes best, RFC 9110: application/json, alone or with ;verbose or ;list,
 * application/jsonlines, alone or with ;verbose. NULL, "" and wildcards are the fallback. False: it takes
 * none of them. */
bool thaw_answer_negotiate(const char *accept, thaw_answer_form fallback, thaw_answer_form *form);

/* The Content-Type of a form. Static. */
const char *thaw_answer_media(thaw_answer_form form);

/* What is known of the pictures of a request. */
typedef struct thaw_answered {
    size_t n;
    bool several;               /* The answer is a list: {"predictions": [...]}. */
    const char *const *problem; /* [n] One sentence: why there are no scores; NULL: there are. */
    const float *scores;        /* [n, n_labels] */
    const char *const *labels;
    size_t n_labels;
    bool sigmoid;          /* Pictures may have several classes: those with scores above 0.5. */
    const bool *unknown;   /* [n] Unlike all that the bundle knows; NULL: it does not tell. */
    const float *distance; /* [n] By so much, where unknown is not NULL. */
    const thaw_kept_answer *old; /* [n]; NULL: there is no old head. */
    const char *const *old_labels;
} thaw_answered;

/* Writes the answer as a text, to be freed; numbers have 9 digits, which make the same floats when they
 * are read. A picture without scores is {"error": SENTENCE} in its place. Where the bundle tells, an object has
 * "unknown": true or false beside its scores, and a verbose one of an unknown picture "unknown" for its
 * predicted_label, without a score; a bare list of scores has no room for it. ERR_NOMEM. */
thaw_status thaw_answer_write(thaw_answer_form form, const thaw_answered *answered, char **text,
                              thaw_error *err);

#endif
