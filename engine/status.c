#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void make_printable(char *text) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) *text = '?';
    }
}

thaw_status thaw_fail(thaw_error *err, thaw_status code, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        make_printable(err->text);
    }
    return code;
}

thaw_status thaw_fail_within(thaw_error *err, thaw_status code, const char *format, ...) {
    if (!err) return code;
    char inner[THAW_ERROR_TEXT];
    memcpy(inner, err->text, sizeof inner);
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (used < 0) used = 0;
    size_t at = (size_t)used < sizeof err->text ? (size_t)used : sizeof err->text - 1;
    snprintf(err->text + at, sizeof err->text - at, ": %.*s", (int)sizeof inner - 1, inner);
    make_printable(err->text);
    return err->code;
}

const char *thaw_status_text(thaw_status code) {
    switch (code) {
#define X(name, value, text) \
    case THAW_##name:        \
        return text;
        THAW_STATUS_LIST(X)
#undef X
    }
    return "unknown";
}
