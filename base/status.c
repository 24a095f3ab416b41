#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

thaw_status thaw_fail(thaw_error *err, thaw_status code, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        thaw_utf8_format(err->text, sizeof err->text, format, args);
        va_end(args);
        thaw_utf8_printable(err->text);
    }
    return code;
}

thaw_status thaw_fail_memory(thaw_error *err, const char *format, ...) {
    char what[THAW_ERROR_TEXT / 2];
    va_list args;
    va_start(args, format);
    thaw_utf8_format(what, sizeof what, format, args);
    va_end(args);
    return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory %s", what);
}

thaw_status thaw_fail_within(thaw_error *err, thaw_status code, const char *format, ...) {
    if (!err) return code;
    char inner[THAW_ERROR_TEXT / 4 * 3]; /* So that prefix and sentence fit in any case. */
    snprintf(inner, sizeof inner, "%.*s", thaw_utf8_prefix(err->text, sizeof inner - 1), err->text);
    va_list args;
    va_start(args, format);
    thaw_utf8_format(err->text, sizeof err->text - sizeof inner - 2, format, args);
    va_end(args);
    strcat(strcat(err->text, ": "), inner);
    thaw_utf8_printable(err->text);
    return err->code;
}

bool thaw_status_rejects(thaw_status code) {
    return code == THAW_ERR_IO || code == THAW_ERR_FORMAT || code == THAW_ERR_UNSUPPORTED;
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
