#include "media.h"

#include <string.h>
#include <strings.h>

static const char BLANKS[] = " \t";

const char *thaw_media_name(const char *text, char name[THAW_MEDIA_TEXT]) {
    text += strspn(text, BLANKS);
    size_t n = strcspn(text, ";, \t"), kept = n < THAW_MEDIA_TEXT ? n : THAW_MEDIA_TEXT - 1;
    memcpy(name, text, kept);
    name[kept] = '\0';
    return text + n;
}

/* Copies a value, quoted or not, to `value`; NULL: it has no room. Returns what stands behind it. */
static const char *take_value(const char *at, char *value, size_t size) {
    size_t n = 0;
    bool quoted = *at == '"', fits = true;
    if (quoted) at++;
    while (*at && (quoted ? *at != '"' : !strchr(";, \t", *at))) {
        /* Browsers write %22 for a quote and leave backslashes as they are; others escape. */
        if (quoted && *at == '\\' && (at[1] == '"' || at[1] == '\\')) at++;
        if (n + 1 < size)
            value[n++] = *at;
        else
            fits = false;
        at++;
    }
    value[n] = '\0';
    if (quoted && *at == '"') at++;
    return fits ? at : NULL;
}

/* Steps over a value that nobody wants. */
static const char *skip_value(const char *at) {
    if (*at != '"') return at + strcspn(at, ";,");
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1]) at++;
    return *at ? at + 1 : at;
}

bool thaw_media_parameter(const char *at, const char *name, char *value, size_t size) {
    for (;;) {
        at += strspn(at, BLANKS);
        if (*at != ';') return false;
        at++;
        at += strspn(at, BLANKS);
        size_t n = strcspn(at, "=;, \t");
        bool found = n == strlen(name) && !strncasecmp(at, name, n);
        at += n;
        at += strspn(at, BLANKS);
        bool valued = *at == '=';
        if (valued) at += 1 + strspn(at + 1, BLANKS);
        if (found && !valued) value[0] = '\0';
        if (found) return !valued || take_value(at, value, size) != NULL;
        if (valued) at = skip_value(at);
    }
}
