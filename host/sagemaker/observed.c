#include "observed.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "text.h"

/* A number in the line, if the expression finds one. */
static thaw_status look(const regex_t *regex, const char *line, thaw_observed *o, thaw_error *err) {
    enum { WHOLE, NUMBER, GROUPS };
    regmatch_t group[GROUPS];
    char text[64];
    double value;
    if (regexec(regex, line, GROUPS, group, 0) != 0) return THAW_OK;
    snprintf(text, sizeof text, "%.*s", (int)(group[NUMBER].rm_eo - group[NUMBER].rm_so),
             line + group[NUMBER].rm_so);
    if (!thaw_text_number(text, &value))
        return thaw_fail(err, THAW_ERR_FORMAT, "%s: its expression finds '%s', which is no number",
                         o->name, text);
    if (o->n++ == 0) o->first = value;
    o->last = value;
    return THAW_OK;
}

/* log: n bytes of lines that end with a zero each. */
static thaw_status look_everywhere(const char *expression, const char *log, size_t n,
                                   thaw_observed *o, thaw_error *err) {
    regex_t regex;
    if (regcomp(&regex, expression, REG_EXTENDED) != 0)
        return thaw_fail(err, THAW_ERR_FORMAT, "%s: '%s' is no expression", o->name, expression);
    thaw_status status = THAW_OK;
    if (regex.re_nsub < 1)
        status = thaw_fail(err, THAW_ERR_FORMAT, "%s: '%s' has no group", o->name, expression);
    for (const char *line = log; line < log + n && status == THAW_OK; line += strlen(line) + 1)
        status = look(&regex, line, o, err);
    regfree(&regex);
    return status;
}

thaw_status thaw_observed_read(const char *path, const json_t *definitions, thaw_arena *arena,
                               thaw_observed **list, size_t *n, thaw_error *err) {
    enum { LARGEST = 1 << 30 };
    char *log;
    size_t bytes;
    *n = json_array_size(definitions);
    *list = thaw_arena_array(arena, *n, sizeof **list);
    if (!*list) return thaw_fail_memory(err, "for the metrics");
    THAW_TRY(thaw_file_read(path, LARGEST, arena, &log, &bytes, err));
    for (size_t i = 0; i < bytes; i++)
        if (log[i] == '\n') log[i] = '\0';
    for (size_t i = 0; i < *n; i++) {
        const json_t *one = json_array_get(definitions, i);
        (*list)[i].name = json_string_value(json_object_get(one, "Name"));
        THAW_TRY(look_everywhere(json_string_value(json_object_get(one, "Regex")), log, bytes,
                                 &(*list)[i], err));
    }
    return THAW_OK;
}

const thaw_observed *thaw_observed_find(const thaw_observed *list, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0) return &list[i];
    return NULL;
}
