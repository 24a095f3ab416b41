#include "page.h"

#include <stdlib.h>
#include <string.h>

/* THAW_SERVE_PAGE is the file's path, by CMakeLists.txt. */
__asm__(
    ".section .rodata\n"
    ".global thaw_serve_page\n"
    "thaw_serve_page: .incbin \"" THAW_SERVE_PAGE
    "\"\n"
    ".global thaw_serve_page_end\n"
    "thaw_serve_page_end: .byte 0\n"
    ".previous\n");

char *thaw_serve_page_with(const char *nonce, size_t *n) {
    static const char place[] = "NONCE";
    enum { PLACES = 8 };
    size_t length = strlen(nonce), size = (size_t)(thaw_serve_page_end - thaw_serve_page);
    char *text = malloc(size + PLACES * length), *to = text;
    const char *from = thaw_serve_page;
    for (int i = 0; text && i < PLACES; i++) {
        const char *at =
            memmem(from, (size_t)(thaw_serve_page_end - from), place, sizeof place - 1);
        if (!at) break;
        to = mempcpy(to, from, (size_t)(at - from));
        to = mempcpy(to, nonce, length);
        from = at + sizeof place - 1;
    }
    if (text) to = mempcpy(to, from, (size_t)(thaw_serve_page_end - from));
    *n = (size_t)(to - text);
    return text;
}
