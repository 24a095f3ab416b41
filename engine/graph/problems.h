/* What stands against a model, all at once: nobody wants to learn of it one export after the other. */
#ifndef THAW_PROBLEMS_H
#define THAW_PROBLEMS_H

#include "status.h"
#include "text.h"

enum { THAW_PROBLEM_KINDS = 8, THAW_PROBLEM_NAME = 64 };

/* Problems of one kind: the first in full, of the others the names. */
typedef struct thaw_problem {
    const char *kind; /* NULL: its sentence is its kind. */
    thaw_error first;
    char name[THAW_PROBLEM_NAME]; /* Of the first. */
    char others[160];             /* As many names as have room. */
    int n, n_named;
} thaw_problem;

typedef struct thaw_problems { /* All zero: none. */
    thaw_problem kinds[THAW_PROBLEM_KINDS];
    int n_kinds, n; /* Kinds that are kept; problems of all kinds. */
} thaw_problems;

/* Adds one, of the tensor or node called name. kind: static, the same for problems that need one sentence
 * only; NULL: those whose sentences are the same but for the name and numbers. */
void thaw_problems_add(thaw_problems *problems, const char *kind, const char *name,
                       const thaw_error *why);

/* The only problem as it is, or one sentence on all, with the first one's status. THAW_OK: there is none. */
thaw_status thaw_problems_end(const thaw_problems *problems, thaw_error *err);

#endif
