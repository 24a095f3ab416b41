/* Bytes as letters, RFC 4648: how JSON carries pictures. */
#ifndef THAW_BASE64_H
#define THAW_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that n letters may stand for, at most. */
static inline size_t thaw_base64_room(size_t n) {
    return n / 4 * 3 + 3;
}

/* Decodes n letters of the standard alphabet into out, which has room for thaw_base64_room(n); *bytes
 * receives how many there are. Line ends and blanks between letters are passed over, the '=' at the end
 * may be missing. False: something else stands there, or the last letter makes no byte. */
bool thaw_base64_decode(const char *text, size_t n, uint8_t *out, size_t *bytes);

#endif
