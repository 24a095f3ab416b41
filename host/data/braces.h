/* Names with numbers that count, as WebDataset's users and shells write them: x-{000000..000099}.tar. */
#ifndef THAW_BRACES_H
#define THAW_BRACES_H

#include <stdbool.h>

#include "arena.h"
#include "status.h"
#include "words.h"

/* Where the first {N..M} of a text begins; NULL: it has none. */
const char *thaw_braces_find(const char *text);

/* Adds all names that a text stands for, in order, those of the last {N..M} next to each other. Numbers have as
 * many digits as the longer of N and M where one of them begins with 0. ERR_USAGE: N is more than M, or there
 * are more than a million names. ERR_NOMEM. */
thaw_status thaw_braces_expand(const char *text, thaw_words *names, thaw_arena *arena,
                               thaw_error *err);

#endif
