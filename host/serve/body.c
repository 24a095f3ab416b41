#include "body.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base64.h"
#include "json.h"
#include "media.h"
#include "utf8.h"

/* ---- the type ------------------------------------------------------------------------------- */

static bool is_picture(const char *media) {
    static const char *const also[] = {"application/x-image", "application/octet-stream",
                                       "application/jpeg", "binary/octet-stream"};
    if (!*media || !strncasecmp(media, "image/", 6)) return true;
    for (size_t i = 0; i < sizeof also / sizeof *also; i++)
        if (!strcasecmp(media, also[i])) return true;
    return false;
}

thaw_status thaw_body_type_parse(const char *content_type, thaw_body_type *type, thaw_error *err) {
    *type = (thaw_body_type){THAW_BODY_PICTURE, ""};
    char media[THAW_MEDIA_TEXT];
    const char *rest = thaw_media_name(content_type ? content_type : "", media);
    if (is_picture(media)) return THAW_OK;
    if (!strcasecmp(media, "application/json")) {
        type->kind = THAW_BODY_JSON;
        return THAW_OK;
    }
    if (strcasecmp(media, "multipart/form-data") != 0)
        return thaw_fail(
            err, THAW_ERR_UNSUPPORTED,
            "Content-Type %.80s is not taken: send a picture's file as image/jpeg, image/png, "
            "application/x-image or application/octet-stream, several as multipart/form-data, or "
            "base64 in application/json",
            media);
    type->kind = THAW_BODY_MULTIPART;
    if (thaw_media_parameter(rest, "boundary", type->boundary, sizeof type->boundary) &&
        type->boundary[0])
        return THAW_OK;
    return thaw_fail(err, THAW_ERR_FORMAT,
                     "Content-Type multipart/form-data has no boundary of 1 to 70 letters");
}

/* ---- what all forms share ------------------------------------------------------------------- */

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for a request");
}

static thaw_status reserve(thaw_body *body, size_t n, thaw_error *err) {
    if (n > THAW_BODY_PICTURES)
        return thaw_fail(err, THAW_ERR_FORMAT, "a request has %d pictures at most",
                         THAW_BODY_PICTURES);
    body->pictures = thaw_arena_array(&body->arena, n ? n : 1, sizeof *body->pictures);
    return body->pictures ? THAW_OK : no_memory(err);
}

/* ---- parts ---------------------------------------------------------------------------------- */

typedef struct span {
    const char *at, *end;
} span;

static const char *find(span where, const char *what, size_t n) {
    return where.at ? memmem(where.at, (size_t)(where.end - where.at), what, n) : NULL;
}

/* The value of a header among lines, behind its colon; at NULL: it is not there. */
static span header_value(span lines, const char *name) {
    size_t n = strlen(name);
    for (const char *line = lines.at; line < lines.end;) {
        const char *end = find((span){line, lines.end}, "\r\n", 2);
        if (!end) end = lines.end;
        if ((size_t)(end - line) > n && !strncasecmp(line, name, n) && line[n] == ':')
            return (span){line + n + 1, end};
        line = end + 2;
    }
    return (span){NULL, NULL};
}

/* As a text in the arena, without what could steer a terminal. */
static char *copy_value(thaw_body *body, span value) {
    enum { MOST = 1024 }; /* Of a header's line. */
    size_t n = (size_t)(value.end - value.at);
    char *text = thaw_arena_string(&body->arena, value.at, n < MOST ? n : MOST);
    if (text) thaw_utf8_printable(text);
    return text;
}

/* Whether these headers are a picture's; its name goes to *name. */
static thaw_status is_file(thaw_body *body, span headers, bool *file, const char **name,
                           thaw_error *err) {
    enum { NAME = 256 };
    char media[THAW_MEDIA_TEXT], called[NAME] = "";
    span disposition = header_value(headers, "Content-Disposition");
    span type = header_value(headers, "Content-Type");
    *file = false;
    if (type.at) {
        const char *text = copy_value(body, type);
        if (!text) return no_memory(err);
        thaw_media_name(text, media);
        *file = strncasecmp(media, "text/", 5) != 0;
    }
    if (disposition.at) {
        const char *text = copy_value(body, disposition);
        if (!text) return no_memory(err);
        const char *rest = thaw_media_name(text, media);
        *file |= thaw_media_parameter(rest, "filename", called, sizeof called);
    }
    *name = thaw_arena_string(&body->arena, called, strlen(called));
    return *name ? THAW_OK : no_memory(err);
}

static thaw_status cut_off(thaw_error *err) {
    return thaw_fail(err, THAW_ERR_FORMAT,
                     "the multipart body is damaged or cut off: a part's end is missing");
}

/* The part behind a delimiter: [headers, blank line, content] up to the next delimiter, where *at goes. */
static thaw_status take_part(thaw_body *body, const char *delimiter, const char **at,
                             const char *end, thaw_error *err) {
    size_t n = strlen(delimiter);
    const char *next = find((span){*at, end}, delimiter, n);
    if (!next) return cut_off(err);
    /* A part may have no header at all: then the blank line comes first. */
    const char *blank = find((span){*at, next}, "\r\n\r\n", 4);
    const char *content = blank ? blank + 4 : NULL;
    if (!content) return cut_off(err);
    bool file;
    const char *name;
    THAW_TRY(is_file(body, (span){*at + 2, blank}, &file, &name, err));
    if (file && body->n == THAW_BODY_PICTURES)
        return thaw_fail(err, THAW_ERR_FORMAT, "a request has %d pictures at most",
                         THAW_BODY_PICTURES);
    if (file)
        body->pictures[body->n++] =
            (thaw_body_picture){.bytes = content, .n = (size_t)(next - content), .name = name};
    *at = next + n;
    return THAW_OK;
}

static thaw_status parse_parts(thaw_body *body, const char *boundary, const char *bytes, size_t n,
                               thaw_error *err) {
    char delimiter[THAW_BOUNDARY_TEXT + 4];
    int length = snprintf(delimiter, sizeof delimiter, "\r\n--%s", boundary);
    const char *at = bytes, *end = bytes + n;
    THAW_TRY(reserve(body, THAW_BODY_PICTURES, err));
    /* The first delimiter may begin the body, without a line's end before it. */
    if (n >= (size_t)length - 2 && !memcmp(bytes, delimiter + 2, (size_t)length - 2))
        at = bytes + length - 2;
    else
        at = find((span){bytes, end}, delimiter, (size_t)length);
    if (!at) return cut_off(err);
    if (at != bytes + length - 2) at += length;
    while (end - at < 2 || memcmp(at, "--", 2) != 0) {
        if (end - at < 2 || memcmp(at, "\r\n", 2) != 0) return cut_off(err);
        THAW_TRY(take_part(body, delimiter, &at, end, err));
    }
    return THAW_OK;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* data:image/png;base64,TEXT is what a browser makes of a picture. */
static void skip_url(const char **text, size_t *n) {
    enum { LONGEST = 100 };
    if (*n < 5 || memcmp(*text, "data:", 5) != 0) return;
    const char *comma = memchr(*text, ',', *n < LONGEST ? *n : LONGEST);
    if (!comma) return;
    *n -= (size_t)(comma + 1 - *text);
    *text = comma + 1;
}

static thaw_status add_base64(thaw_body *body, const json_t *value, const char *what,
                              thaw_error *err) {
    thaw_body_picture *p = &body->pictures[body->n++];
    *p = (thaw_body_picture){.name = ""};
    const char *text = json_string_value(value);
    if (!text) {
        p->problem = thaw_arena_printf(&body->arena, "%s is not a text of base64", what);
        return p->problem ? THAW_OK : no_memory(err);
    }
    size_t n = json_string_length(value);
    skip_url(&text, &n);
    uint8_t *bytes = thaw_arena_alloc(&body->arena, thaw_base64_room(n));
    if (!bytes) return no_memory(err);
    p->bytes = bytes;
    if (thaw_base64_decode(text, n, bytes, &p->n)) return THAW_OK;
    p->problem = thaw_arena_printf(&body->arena, "%s is not base64", what);
    return p->problem ? THAW_OK : no_memory(err);
}

static thaw_status take_json(thaw_body *body, const json_t *json, thaw_error *err) {
    const json_t *one = json_object_get(json, "image"), *list = json_object_get(json, "images");
    const json_t *instances = json_object_get(json, "instances");
    if (one) {
        body->several = false;
        THAW_TRY(reserve(body, 1, err));
        return add_base64(body, one, "\"image\"", err);
    }
    if (!list) list = instances;
    if (!json_is_array(list))
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "the JSON is none of {\"image\": BASE64}, {\"images\": [BASE64, ...]} and "
                         "{\"instances\": [{\"b64\": BASE64}, ...]}");
    THAW_TRY(reserve(body, json_array_size(list), err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        if (list == instances) value = json_object_get(value, "b64");
        THAW_TRY(add_base64(body, value, list == instances ? "its \"b64\"" : "it", err));
    }
    return THAW_OK;
}

static thaw_status parse_json(thaw_body *body, const char *bytes, size_t n, thaw_error *err) {
    json_t *json;
    THAW_TRY(thaw_json_parse(bytes, n, "the request's JSON", &json, err));
    thaw_status status = take_json(body, json, err);
    json_decref(json);
    return status;
}

/* ---- all forms ------------------------------------------------------------------------------ */

thaw_status thaw_body_parse(thaw_body *body, const thaw_body_type *type, const void *bytes,
                            size_t n, thaw_error *err) {
    *body = (thaw_body){.several = type->kind != THAW_BODY_PICTURE};
    if (n == 0) return thaw_fail(err, THAW_ERR_FORMAT, "the request has no body");
    if (type->kind == THAW_BODY_PICTURE) {
        THAW_TRY(reserve(body, 1, err));
        body->pictures[body->n++] = (thaw_body_picture){.bytes = bytes, .n = n, .name = ""};
        return THAW_OK;
    }
    if (type->kind == THAW_BODY_MULTIPART)
        THAW_TRY(parse_parts(body, type->boundary, bytes, n, err));
    else
        THAW_TRY(parse_json(body, bytes, n, err));
    if (body->n) return THAW_OK;
    return thaw_fail(err, THAW_ERR_FORMAT, "the request has no picture");
}

void thaw_body_free(thaw_body *body) {
    thaw_arena_free(&body->arena);
    *body = (thaw_body){0};
}
