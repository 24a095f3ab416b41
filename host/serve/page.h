/* The page that a browser gets: host/serve/page.html, which the build puts into the program. */
#ifndef THAW_SERVE_PAGE_H
#define THAW_SERVE_PAGE_H

#include <stddef.h>

extern const char thaw_serve_page[], thaw_serve_page_end[]; /* No NUL between them. */

/* A copy, to be freed, in which each NONCE is `nonce`, which has as many letters or more. NULL: no memory. */
char *thaw_serve_page_with(const char *nonce, size_t *n);

#endif
