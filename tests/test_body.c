/* What of serving needs no socket: a request's body to pictures, an Accept header to a form, scores to
 * text. Each refusal is a sentence; nothing that is cut off reads past its end. */
#include "base64.h"
#include "serve/answer.h"
#include "serve/body.h"
#include "serve/media.h"
#include "testing.h"

/* ---- base64 --------------------------------------------------------------------------------- */

static void base64_is_rfc_4648(void **state) {
    (void)state;
    static const struct {
        const char *text, *bytes; /* bytes NULL: refused. */
    } cases[] = {
        {"", ""},
        {"Zg==", "f"},
        {"Zm8=", "fo"},
        {"Zm9v", "foo"},
        {"Zm9vYg", "foob"},
        {"Zm9vYmE=", "fooba"},
        {"Zm9v\r\nYmFy", "foobar"},
        {"Zm9vYmFy", "foobar"},
        {"Z", NULL},
        {"Zg=", NULL},
        {"Zg==Zg==", NULL},
        {"Zm9v!", NULL},
        {"====", NULL},
        {"Zm9v=", NULL},
        {"Zm-v", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t out[64];
        size_t n = strlen(cases[i].text), bytes;
        assert_true(thaw_base64_room(n) <= sizeof out);
        bool good = thaw_base64_decode(cases[i].text, n, out, &bytes);
        if (good != (cases[i].bytes != NULL)) fail_msg("%s", cases[i].text);
        if (!good) continue;
        assert_int_equal(bytes, strlen(cases[i].bytes));
        assert_memory_equal(out, cases[i].bytes, bytes);
    }
}

/* ---- types ---------------------------------------------------------------------------------- */

static void media_parameters(void **state) {
    (void)state;
    char name[THAW_MEDIA_TEXT], value[16];
    const char *rest =
        thaw_media_name(" form-data ; a=\"x;y\"; FileName=\"a \\\"b\\\".jpg\" ;c;d=e,f=g", name);
    assert_string_equal(name, "form-data");
    assert_true(thaw_media_parameter(rest, "filename", value, sizeof value));
    assert_string_equal(value, "a \"b\".jpg");
    assert_true(thaw_media_parameter(rest, "c", value, sizeof value));
    assert_string_equal(value, "");
    assert_true(thaw_media_parameter(rest, "d", value, sizeof value));
    assert_string_equal(value, "e");
    assert_false(thaw_media_parameter(rest, "f", value, sizeof value)); /* Behind a comma. */
    assert_false(thaw_media_parameter(rest, "name", value, sizeof value));
    assert_false(thaw_media_parameter(rest, "a", value, 2)); /* No room. */
    assert_false(thaw_media_parameter("; x=\"open", "y", value, sizeof value));
}

static void content_types(void **state) {
    (void)state;
    static const struct {
        const char *type;
        thaw_status status;
        thaw_body_kind kind;
    } cases[] = {
        {NULL, THAW_OK, THAW_BODY_PICTURE},
        {"", THAW_OK, THAW_BODY_PICTURE},
        {"image/jpeg", THAW_OK, THAW_BODY_PICTURE},
        {"IMAGE/PNG", THAW_OK, THAW_BODY_PICTURE},
        {"image/whatever; q=1", THAW_OK, THAW_BODY_PICTURE},
        {"application/x-image", THAW_OK, THAW_BODY_PICTURE},
        {"application/octet-stream", THAW_OK, THAW_BODY_PICTURE},
        {"application/json; charset=utf-8", THAW_OK, THAW_BODY_JSON},
        {"multipart/form-data; boundary=\"a b\"", THAW_OK, THAW_BODY_MULTIPART},
        {"multipart/form-data", THAW_ERR_FORMAT, 0},
        {"multipart/form-data; boundary=", THAW_ERR_FORMAT, 0},
        {"multipart/form-data; boundary="
         "12345678901234567890123456789012345678901234567890123456789012345678901",
         THAW_ERR_FORMAT, 0},
        {"text/csv", THAW_ERR_UNSUPPORTED, 0},
        {"application/x-www-form-urlencoded", THAW_ERR_UNSUPPORTED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thaw_body_type type;
        thaw_error err = {0};
        if (thaw_body_type_parse(cases[i].type, &type, &err) != cases[i].status)
            fail_msg("%s: %s", cases[i].type, err.text);
        if (cases[i].status == THAW_OK) assert_int_equal(type.kind, cases[i].kind);
    }
}

/* ---- bodies --------------------------------------------------------------------------------- */

/* Parses a copy of exactly n bytes, which a sanitizer watches. */
static thaw_status parse(thaw_body *body, const char *content_type, const char *bytes, size_t n,
                         char **copy, thaw_error *err) {
    thaw_body_type type;
    assert_int_equal(thaw_body_type_parse(content_type, &type, NULL), THAW_OK);
    *copy = malloc(n ? n : 1);
    memcpy(*copy, bytes, n);
    return thaw_body_parse(body, &type, *copy, n, err);
}

static const char FORM[] = "multipart/form-data; boundary=XX";
static const char PARTS[] =
    "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n"
    "--XX\r\ncontent-disposition: form-data; name=\"a\"; filename=\"one.jpg\"\r\n"
    "Content-Type: image/jpeg\r\n\r\nONE\r\n--X\r\n--XX\r\n"
    "Content-Type: image/png\r\n\r\n\r\n--XX\r\nContent-Type: text/plain\r\n\r\nno\r\n--XX--\r\n";

static void parts_are_found_in_order(void **state) {
    (void)state;
    thaw_body body;
    char *copy;
    thaw_error err = {0};
    if (parse(&body, FORM, PARTS, sizeof PARTS - 1, &copy, &err) != THAW_OK)
        fail_msg("%s", err.text);
    assert_true(body.several);
    assert_int_equal(body.n, 2);
    assert_string_equal(body.pictures[0].name, "one.jpg");
    assert_int_equal(body.pictures[0].n, 8);
    assert_memory_equal(body.pictures[0].bytes, "ONE\r\n--X", 8);
    assert_string_equal(body.pictures[1].name, "");
    assert_int_equal(body.pictures[1].n, 0);
    thaw_body_free(&body);
    free(copy);
}

/* Cut off anywhere before the last delimiter's end it is refused, and never read beyond. */
static void parts_that_are_cut_off(void **state) {
    (void)state;
    for (size_t n = 0; n < sizeof PARTS - 1 - 2; n++) {
        thaw_body body;
        char *copy;
        thaw_error err = {0};
        assert_int_equal(parse(&body, FORM, PARTS, n, &copy, &err), THAW_ERR_FORMAT);
        thaw_body_free(&body);
        free(copy);
    }
}

static void json_forms(void **state) {
    (void)state;
    static const struct {
        const char *text, *said; /* said NULL: taken, as n pictures of "foo". */
        size_t n;
        bool several;
    } cases[] = {
        {"{\"image\": \"Zm9v\"}", NULL, 1, false},
        {"{\"image\": \"data:image/png;base64,Zm9v\"}", NULL, 1, false},
        {"{\"images\": [\"Zm9v\", \"Zm9v\"], \"more\": 1}", NULL, 2, true},
        {"{\"instances\": [{\"b64\": \"Zm9v\"}]}", NULL, 1, true},
        {"{\"images\": []}", "no picture", 0, false},
        {"{\"images\": 3}", "none of", 0, false},
        {"[]", "none of", 0, false},
        {"{\"image\": \"Zm9v\"", "line 1", 0, false},
        {"nonsense", "line 1", 0, false},
        {"", "no body", 0, false},
        {"{\"image\": \"\\u0000\"}", "line 1", 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thaw_body body;
        char *copy;
        thaw_error err = {0};
        thaw_status status =
            parse(&body, "application/json", cases[i].text, strlen(cases[i].text), &copy, &err);
        if (cases[i].said) {
            assert_int_equal(status, THAW_ERR_FORMAT);
            if (!strstr(err.text, cases[i].said)) fail_msg("%s: %s", cases[i].text, err.text);
        } else {
            if (status != THAW_OK) fail_msg("%s: %s", cases[i].text, err.text);
            assert_int_equal(body.n, cases[i].n);
            assert_int_equal(body.several, cases[i].several);
            for (size_t k = 0; k < body.n; k++) {
                assert_int_equal(body.pictures[k].n, 3);
                assert_memory_equal(body.pictures[k].bytes, "foo", 3);
            }
        }
        thaw_body_free(&body);
        free(copy);
    }
}

/* One of several that is no base64 has a problem of its own. */
static void json_with_one_bad_picture(void **state) {
    (void)state;
    static const char text[] =
        "{\"instances\": [{\"b64\": \"Zm9v\"}, {\"b64\": \"?\"}, {\"x\": 1}, 7]}";
    thaw_body body;
    char *copy;
    thaw_error err = {0};
    assert_int_equal(parse(&body, "application/json", text, sizeof text - 1, &copy, &err), THAW_OK);
    assert_int_equal(body.n, 4);
    assert_null(body.pictures[0].problem);
    assert_string_equal(body.pictures[1].problem, "its \"b64\" is not base64");
    assert_string_equal(body.pictures[2].problem, "its \"b64\" is not a text of base64");
    assert_non_null(body.pictures[3].problem);
    thaw_body_free(&body);
    free(copy);
}

static void too_many_pictures(void **state) {
    (void)state;
    enum { MANY = THAW_BODY_PICTURES + 1, PART = 64 };
    char *parts = calloc(MANY + 1, PART), *json = calloc(MANY + 1, 8), *copy;
    int n_parts = sprintf(parts, "--XX"), n_json = sprintf(json, "{\"images\":[\"\"");
    for (int i = 0; i < MANY; i++) {
        n_parts += sprintf(parts + n_parts, "\r\nContent-Type: image/png\r\n\r\nx\r\n--XX");
        if (i) n_json += sprintf(json + n_json, ",\"\"");
    }
    n_parts += sprintf(parts + n_parts, "--");
    n_json += sprintf(json + n_json, "]}");
    const struct {
        const char *type, *text;
        int n;
    } cases[] = {{FORM, parts, n_parts}, {"application/json", json, n_json}};
    for (int i = 0; i < 2; i++) {
        thaw_body body;
        thaw_error err = {0};
        assert_int_equal(
            parse(&body, cases[i].type, cases[i].text, (size_t)cases[i].n, &copy, &err),
            THAW_ERR_FORMAT);
        assert_non_null(strstr(err.text, "1024 pictures at most"));
        thaw_body_free(&body);
        free(copy);
    }
    free(parts);
    free(json);
}

/* ---- answers -------------------------------------------------------------------------------- */

static void accept_headers(void **state) {
    (void)state;
    enum { O = THAW_ANSWER_OBJECT, L = THAW_ANSWER_LIST, V = THAW_ANSWER_VERBOSE, NO = -1 };
    static const thaw_answer_form fallback = {THAW_ANSWER_VERBOSE, true}; /* Unlike all others. */
    static const struct {
        const char *accept;
        int shape;
        bool lines;
    } cases[] = {
        {NULL, V, true},
        {"", V, true},
        {" ,, ", V, true},
        {"*/*", V, true},
        {"application/*", V, true},
        {"application/json", O, false},
        {"Application/JSON;verbose", V, false},
        {"application/json; verbose ; q=0.5", V, false},
        {"application/json;list", L, false},
        {"application/jsonlines", O, true},
        {"application/jsonlines;verbose", V, true},
        {"text/html,application/xhtml+xml,*/*;q=0.8", V, true},
        {"application/json;q=0.3, application/jsonlines;q=0.7", O, true},
        {"application/json, */*", O, false},
        {"text/csv", NO, false},
        {"application/json;q=0", NO, false},
        {"text/html;x=\"a,application/json\"", NO, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thaw_answer_form form;
        bool good = thaw_answer_negotiate(cases[i].accept, fallback, &form);
        if (good != (cases[i].shape != NO) ||
            (good && ((int)form.shape != cases[i].shape || form.lines != cases[i].lines)))
            fail_msg("%s: %d %d %d", cases[i].accept, good, form.shape, form.lines);
    }
}

static void answers_are_written(void **state) {
    (void)state;
    static const float scores[] = {0.25f, 0.75f, 0, 0};
    static const char *const labels[] = {"rose", "<b>\"lily\""}, *const old_labels[] = {"no",
                                                                                        "flower"};
    static const char *const fine[] = {NULL}, *const mixed[] = {NULL, "picture 2: broken"};
    static const thaw_kept_answer old[] = {{1, 0.5f}, {0, 0}};
    static const bool unknown[] = {true, false};
    static const float distance[] = {0.5f, 0};
    const thaw_answered one = {1, false, fine, scores, labels, 2, false, NULL, NULL, NULL, NULL};
    thaw_answered two = one, odd = one, even;
    two.n = 2;
    two.several = true;
    two.problem = mixed;
    two.old = old;
    two.old_labels = old_labels;
    odd.unknown = unknown;
    odd.distance = distance;
    even = odd;
    even.unknown++;
    even.distance++;
    static const char first[] =
        "{\"probabilities\":[0.25,0.75],\"labels\":[\"rose\",\"<b>\\\"lily\\\"\"],"
        "\"predicted_label\":\"<b>\\\"lily\\\"\",\"score\":0.75,"
        "\"old\":{\"predicted_label\":\"flower\",\"score\":0.5}}";
    char verbose[512], lines[512];
    snprintf(verbose, sizeof verbose, "{\"predictions\":[%s,{\"error\":\"picture 2: broken\"}]}",
             first);
    snprintf(lines, sizeof lines, "%s\n{\"error\":\"picture 2: broken\"}\n", first);
    const struct {
        thaw_answer_form form;
        const thaw_answered *answered;
        const char *text;
    } cases[] = {
        {{THAW_ANSWER_OBJECT, false}, &one, "{\"probabilities\":[0.25,0.75]}"},
        {{THAW_ANSWER_LIST, false}, &one, "[0.25,0.75]"},
        {{THAW_ANSWER_OBJECT, true}, &one, "{\"prediction\":[0.25,0.75]}\n"},
        {{THAW_ANSWER_OBJECT, false},
         &two,
         "{\"predictions\":[{\"probabilities\":[0.25,0.75]},{\"error\":\"picture 2: broken\"}]}"},
        {{THAW_ANSWER_LIST, false},
         &two,
         "{\"predictions\":[[0.25,0.75],{\"error\":\"picture 2: broken\"}]}"},
        {{THAW_ANSWER_VERBOSE, false}, &two, verbose},
        {{THAW_ANSWER_VERBOSE, true}, &two, lines},
        {{THAW_ANSWER_OBJECT, false}, &odd, "{\"probabilities\":[0.25,0.75],\"unknown\":true}"},
        {{THAW_ANSWER_OBJECT, true}, &even, "{\"prediction\":[0.25,0.75],\"unknown\":false}\n"},
        {{THAW_ANSWER_LIST, false}, &odd, "[0.25,0.75]"},
        {{THAW_ANSWER_VERBOSE, false},
         &odd,
         "{\"probabilities\":[0.25,0.75],\"labels\":[\"rose\",\"<b>\\\"lily\\\"\"],"
         "\"predicted_label\":\"unknown\",\"distance\":0.5,\"unknown\":true}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text;
        assert_int_equal(thaw_answer_write(cases[i].form, cases[i].answered, &text, NULL), THAW_OK);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_rfc_4648),
        cmocka_unit_test(media_parameters),
        cmocka_unit_test(content_types),
        cmocka_unit_test(parts_are_found_in_order),
        cmocka_unit_test(parts_that_are_cut_off),
        cmocka_unit_test(json_forms),
        cmocka_unit_test(json_with_one_bad_picture),
        cmocka_unit_test(too_many_pictures),
        cmocka_unit_test(accept_headers),
        cmocka_unit_test(answers_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
