/* Whether a page is what every page must be: whole, with nothing from outside, and drawn in numbers. */
#ifndef THAW_PAGE_TESTING_H
#define THAW_PAGE_TESTING_H

#include <ctype.h>

#include "testing.h"

/* Elements whose end HTML lets a writer leave out, or that have none. */
static inline bool page_may_stay_open(const char *name) {
    static const char *const names[] = {"html", "meta", "p", "tr", "td", "th", "!doctype", "img"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], name)) return true;
    return false;
}

/* Attributes of a chart that are numbers, or numbers with letters of a path. */
static inline void page_check_numbers(const char *tag, const char *end) {
    static const char *const names[] = {
        " x=\"", " y=\"", " x1=\"", " x2=\"", " y1=\"",    " y2=\"",     " cx=\"",    " cy=\"",
        " r=\"", " d=\"", " rx=\"", " h=\"",  " width=\"", " height=\"", " points=\""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *at = strstr(tag, names[i]);
        if (!at || at > end) continue;
        at += strlen(names[i]);
        const char *stop = at + strspn(at, "0123456789., MHVLz-");
        if (*stop != '"') fail_msg("no number at %.60s in %.80s", stop, tag);
    }
}

/* A reference that a browser would follow. */
static inline void page_check_inside(const char *text) {
    static const char *const outside[] = {"href=", "url(", "@import", "<link", "<iframe", "<base"};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        if (strstr(text, outside[i])) fail_msg("%s leads out of the page", outside[i]);
    for (const char *at = text; (at = strstr(at, "src=")); at++)
        if (strncmp(at, "src=\"data:image/jpeg;base64,", 28)) fail_msg("from outside: %.60s", at);
}

/* No word of the text from here to the next tag is a number that is none. */
static inline void page_check_words(const char *text) {
    static const char *const none[] = {"nan", "-nan", "inf", "-inf", "(null)"};
    for (const char *at = text; *at && *at != '<';) {
        size_t n = strcspn(at, " \n<,;:%");
        for (size_t i = 0; i < sizeof none / sizeof *none; i++)
            if (n == strlen(none[i]) && strncmp(at, none[i], n) == 0)
                fail_msg("%s stands in %.60s", none[i], text);
        at += n + (at[n] && at[n] != '<');
    }
}

/* Every element is closed in turn, and text holds no stray angle bracket. */
static inline void page_check(const char *text) {
    enum { DEEPEST = 32 };
    char open[DEEPEST][16];
    int depth = 0;
    for (const char *at = strchr(text, '<'); at; at = strchr(at + 1, '<')) {
        char name[16];
        bool closing = at[1] == '/';
        const char *end = strchr(at, '>');
        if (sscanf(at + 1 + closing, "%15[a-z0-9!]", name) != 1 || !end)
            fail_msg("a stray < at %.40s", at);
        page_check_numbers(at, end);
        page_check_words(end + 1);
        if (page_may_stay_open(name) || end[-1] == '/') continue;
        if (!closing) {
            assert_true(depth < DEEPEST);
            strcpy(open[depth++], name);
        } else if (depth == 0 || strcmp(open[--depth], name) != 0) {
            fail_msg("</%s> closes nothing at %.40s", name, at);
        }
        at = end;
    }
    assert_int_equal(depth, 0);
    page_check_inside(text);
}

#endif
