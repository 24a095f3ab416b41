/* Names that other programs have for their options, where Thaw's differ in more than the name: those of
 * SageMaker's built-in image classification and of JumpStart's, so that a job made for them runs with
 * the image swapped. A name that means the same under another word is an alias in the table of
 * options; what stands here is translated, passed over with a sentence, or refused with one.
 */
#ifndef THAW_FOREIGN_H
#define THAW_FOREIGN_H

#include "options.h"
#include "text.h"

typedef struct thaw__foreign thaw__foreign;

/* The row of this name, NULL: there is none. */
const thaw__foreign *thaw__foreign_find(const char *name);

/* Offers all names for one that was not found. */
void thaw__foreign_offer(thaw_nearest *nearest);

/* Does what the row says for this value. A sentence for a person becomes a note of the options.
 * ERR_USAGE: refused, or no legal value. */
thaw_status thaw__foreign_set(thaw_options *options, const thaw__foreign *row, const char *text,
                              const char *source, thaw_error *err);

/* thaw_options_set by a name that other programs have for all that is trained. */
thaw_status thaw__options_set_shared(thaw_options *options, const char *key, const char *text,
                                     const char *source, thaw_error *err);

#endif
