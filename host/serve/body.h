/* What a request's body holds: from a Content-Type and bytes to pictures. No sockets. */
#ifndef THAW_BODY_H
#define THAW_BODY_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "status.h"

enum {
    THAW_BODY_PICTURES = 1024, /* In one request, at most. */
    THAW_BOUNDARY_TEXT = 71,   /* RFC 2046: up to 70 letters. */
};

typedef enum thaw_body_kind {
    THAW_BODY_PICTURE,   /* The body is a picture's file. */
    THAW_BODY_MULTIPART, /* multipart/form-data, RFC 7578: a part a picture. */
    THAW_BODY_JSON,      /* Pictures' files in base64. */
} thaw_body_kind;

typedef struct thaw_body_type {
    thaw_body_kind kind;
    char boundary[THAW_BOUNDARY_TEXT]; /* Of the parts. */
} thaw_body_type;

/* Reads a Content-Type; NULL or "" is a picture's, whatever the format: the content decides.
 * ERR_UNSUPPORTED: it is none that is taken; ERR_FORMAT: parts without a boundary. */
thaw_status thaw_body_type_parse(const char *content_type, thaw_body_type *type, thaw_error *err);

/* A picture in a body. */
typedef struct thaw_body_picture {
    const void *bytes;
    size_t n;
    const char *name;    /* As the client calls it; "": it does not. */
    const char *problem; /* One sentence: why there are no bytes; NULL: there are. */
} thaw_body_picture;

typedef struct thaw_body {
    thaw_body_picture *pictures; /* [n], in the order of the body. */
    size_t n;
    bool
        several; /* The form has room for several pictures: so the answer is a list, of one as well. */
    thaw_arena arena;
} thaw_body;

/* Finds the pictures in n bytes, which outlive the body. JSON is {"image": TEXT}, {"images": [TEXT, ...]}
 * or {"instances": [{"b64": TEXT}, ...]}, where TEXT is base64, also as a data: URL. Of parts, those with a
 * file name or a type that is not text are pictures; other fields are passed over. Free it also after an
 * error. ERR_FORMAT: it is damaged or cut off, it has no picture, or too many; ERR_NOMEM. */
thaw_status thaw_body_parse(thaw_body *body, const thaw_body_type *type, const void *bytes,
                            size_t n, thaw_error *err);
void thaw_body_free(thaw_body *body);

#endif
