/* Which classes are taken for which, so that a person sees it: a matrix in which classes that are taken for
 * one another stand side by side, and the pairs that are mixed up most. */
#ifndef THAW_CONFUSION_H
#define THAW_CONFUSION_H

#include "results.h"

/* order [K]: the classes, so that those that are confused stand together. The most confused pairs, by the
 * share of the rarer one's pictures, become neighbours first, as long as neither has two and they
 * close no ring; the chains follow each other by their first class. ERR_NOMEM. */
thaw_status thaw_confusion_order(const thaw_results *results, int64_t *order, thaw_error *err);

/* Matrix and table, with their heading. Of very many classes there is the table only; of very many
 * pairs the matrix has the most frequent. ERR_NOMEM. */
thaw_status thaw_confusion_put(FILE *out, const thaw_results *results, thaw_error *err);

#endif
