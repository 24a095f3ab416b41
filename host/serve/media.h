/* Media types as HTTP's headers write them: NAME; PARAMETER=VALUE; ..., RFC 9110. */
#ifndef THAW_MEDIA_H
#define THAW_MEDIA_H

#include <stdbool.h>
#include <stddef.h>

enum { THAW_MEDIA_TEXT = 128 };

/* Copies the name at text, without blanks around it, cut where it is too long; returns what stands behind
 * it: the parameters. */
const char *thaw_media_name(const char *text, char name[THAW_MEDIA_TEXT]);

/* Finds a parameter up to the end of the text, or to a comma outside of quotes, and copies its value,
 * "" where it stands without one. Names know no case. False: it is not there, or its value has no room. */
bool thaw_media_parameter(const char *parameters, const char *name, char *value, size_t size);

#endif
