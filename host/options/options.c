#include "options.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "foreign.h"
#include "option_types.h"
#include "text.h"

enum { ALIAS_MAX = 64 }; /* Bytes of the longest alias, with its NUL. */

static const char DEFAULT_SOURCE[] = "default";

/* ---- looking up ----------------------------------------------------------------------------- */

/* Copies the next word of a list with spaces between; false at its end. */
static bool next_word(const char **list, char word[ALIAS_MAX]) {
    if (!*list) return false;
    *list += strspn(*list, " ");
    size_t n = strcspn(*list, " ");
    if (n == 0) return false;
    snprintf(word, ALIAS_MAX, "%.*s", (int)n, *list);
    *list += n;
    return true;
}

/* --max-runtime is max_runtime. */
static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b)) return false;
    return *a == *b;
}

static bool has_alias(const thaw__option *row, const char *name) {
    char alias[ALIAS_MAX];
    for (const char *list = row->aliases; next_word(&list, alias);)
        if (same_name(alias, name)) return true;
    return false;
}

/* Among the commands' own rows. A key goes before an alias. */
static const thaw__option *find_among(const char *name, unsigned commands) {
    for (int by_alias = 0; by_alias < 2; by_alias++)
        for (size_t i = 0; i < thaw__options_n; i++)
            if (thaw__options_table[i].used_by & commands &&
                (by_alias ? has_alias(&thaw__options_table[i], name)
                          : same_name(thaw__options_table[i].key, name)))
                return &thaw__options_table[i];
    return NULL;
}

const thaw__option *thaw__options_find(const char *name, unsigned commands) {
    const thaw__option *row = find_among(name, commands);
    return row ? row : find_among(name, THAW_FOR_ALL);
}

static const char *last_part(const char *key) {
    const char *point = strrchr(key, '.');
    return point ? point + 1 : key;
}

/* The name that was probably meant, NULL when there is none; one of an alias is copied to word. The right
 * name in the wrong section is the likeliest mistake, so it goes before a slip of the finger. */
static const char *suggest(const char *name, char word[ALIAS_MAX]) {
    thaw_nearest nearest = {.word = name};
    for (size_t i = 0; i < thaw__options_n; i++) {
        if (!strcmp(last_part(thaw__options_table[i].key), last_part(name)))
            return thaw__options_table[i].key;
        thaw_nearest_offer(&nearest, thaw__options_table[i].key);
    }
    char alias[ALIAS_MAX];
    for (size_t i = 0; i < thaw__options_n; i++)
        for (const char *list = thaw__options_table[i].aliases; next_word(&list, alias);) {
            thaw_nearest_offer(&nearest, alias);
            if (nearest.best == alias) nearest.best = strcpy(word, alias);
        }
    thaw__foreign_offer(&nearest);
    return nearest.best;
}

static thaw_status fail_unknown(const char *name, const char *source, thaw_error *err) {
    char word[ALIAS_MAX];
    const char *key = suggest(name, word);
    if (key)
        return thaw_fail(err, THAW_ERR_USAGE, "%s: unknown option '%.120s'; did you mean '%s'?",
                         source, name, key);
    return thaw_fail(err, THAW_ERR_USAGE,
                     "%s: unknown option '%.120s'; `thaw options` lists all of them", source, name);
}

thaw_status thaw_options_look_up(const char *key, unsigned commands, const char *source,
                                 thaw_option_facts *facts, thaw_error *err) {
    const thaw__option *row = thaw__options_find(key, commands);
    bool foreign = thaw__foreign_find(key);
    if (!row && !foreign) return fail_unknown(key, source, err);
    *facts = row ? thaw_options_facts((size_t)(row - thaw__options_table))
                 : (thaw_option_facts){.key = key};
    facts->name = thaw__options_find(key, THAW_FOR_ALL) == row ? key : facts->key;
    if (foreign) facts->used_by |= THAW_FOR_TRAINING;
    return THAW_OK;
}

static thaw_option_kind kind_of(const thaw__option *row) {
    return row->type == &thaw__type_integer  ? THAW_OPTION_INTEGER
           : row->type == &thaw__type_number ? THAW_OPTION_NUMBER
           : row->type == &thaw__type_choice ? THAW_OPTION_CHOICE
           : row->type == &thaw__type_switch ? THAW_OPTION_SWITCH
                                             : THAW_OPTION_TEXT;
}

thaw_option_facts thaw_options_facts(size_t i) {
    const thaw__option *row = &thaw__options_table[i];
    return (thaw_option_facts){.key = row->key,
                               .used_by = row->used_by,
                               .kind = kind_of(row),
                               .is_switch = row->type == &thaw__type_switch,
                               .is_swept = thaw__axes_may(row),
                               .help = row->help,
                               .fallback = row->fallback,
                               .automatic = row->automatic,
                               .range = row->range ? *row->range : (thaw_range){0},
                               .names = row->names,
                               .values = row->values};
}

const char *thaw_options_namesake(const char *key, unsigned commands) {
    for (size_t i = 0; i < thaw__options_n; i++)
        if (thaw__options_table[i].used_by & commands &&
            !strcmp(last_part(thaw__options_table[i].key), last_part(key)))
            return thaw__options_table[i].key;
    return NULL;
}

thaw_status thaw_options_require(const thaw_options *options, const char *key, thaw_error *err) {
    const thaw__option *row = thaw__options_find(key, THAW_FOR_ALL);
    assert(row);
    if (*options->origin[row - thaw__options_table].text) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE, "%s is not given: set it with --%s=... or in train.ini",
                     key, key);
}

bool thaw_options_is_set(const thaw_options *options, const char *key) {
    const thaw__option *row = thaw__options_find(key, THAW_FOR_ALL);
    assert(row);
    return strcmp(options->origin[row - thaw__options_table].source, DEFAULT_SOURCE) != 0;
}

bool thaw_options_has_default(const thaw_options *options, const char *key) {
    const thaw__option *row = thaw__options_find(key, THAW_FOR_ALL);
    assert(row);
    const char *text = options->origin[row - thaw__options_table].text;
    bool both_auto = row->automatic && strcasecmp(text, "auto") == 0;
    return strcmp(text, row->fallback) == 0 || (both_auto && strcmp(row->fallback, "auto") == 0);
}

bool thaw_options_is_path(const thaw_options *options, size_t i) {
    const char *(*path_of)(const void *) = thaw__options_table[i].type->path;
    const char *path =
        path_of ? path_of((const char *)options + thaw__options_table[i].offset) : NULL;
    return path && *path;
}

size_t thaw_options_count(void) {
    return thaw__options_n;
}

const char *thaw_options_key(size_t i) {
    return thaw__options_table[i].key;
}

/* A hundredth; of a few dozen pictures, where that is none, a few may be broken all the same. */
static double allow(double total) {
    double few = fmin(3, total / 10);
    return fmax(total / 100, few);
}

bool thaw_opt_limit_exceeded(thaw_opt_limit limit, size_t bad, size_t total) {
    double n = (double)total, allowed = limit.percent ? limit.number / 100 * n : limit.number;
    return (double)bad > (thaw_is_auto(limit.number) ? allow(n) : allowed);
}

/* ---- setting -------------------------------------------------------------------------------- */

static thaw_status set_row(thaw_options *options, const thaw__option *row, const char *text,
                           const char *source, thaw_error *err) {
    thaw_opt_origin origin = {
        .text = thaw_arena_string(&options->arena, text, strlen(text)),
        .source = thaw_arena_string(&options->arena, source, strlen(source)),
    };
    if (!origin.text || !origin.source) return thaw_fail_memory(err, "for the option %s", row->key);
    void *slot = (char *)options + row->offset;
    thaw_status status = thaw__option_parse(row, text, &options->arena, slot);
    if (status == THAW_ERR_USAGE) {
        char expected[THAW__EXPECTED_TEXT];
        row->type->describe(row, expected);
        return thaw_fail(err, status, "%s: %s = '%.120s': expected %s", source, row->key, text,
                         expected);
    }
    if (status != THAW_OK) return thaw_fail(err, status, "no memory for the option %s", row->key);
    options->origin[row - thaw__options_table] = origin;
    return THAW_OK;
}

thaw_status thaw_options_set(thaw_options *options, const char *key, const char *text,
                             const char *source, thaw_error *err) {
    const thaw__option *row = thaw__options_find(key, THAW_FOR_ALL);
    const thaw__foreign *foreign = row ? NULL : thaw__foreign_find(key);
    if (foreign) return thaw__foreign_set(options, foreign, text, source, err);
    if (!row) return fail_unknown(key, source, err);
    if (options->axes.allowed && thaw__axes_wants(row, text))
        return thaw__axes_take(&options->axes, row, text, source, &options->arena, err);
    THAW_TRY(set_row(options, row, text, source, err));
    options->origin[row - thaw__options_table].shared = row->above && !same_name(row->key, key);
    thaw__axes_drop(&options->axes, row->key);
    return THAW_OK;
}

thaw_status thaw__options_set_shared(thaw_options *options, const char *key, const char *text,
                                     const char *source, thaw_error *err) {
    const thaw__option *row = thaw__options_find(key, THAW_FOR_ALL);
    assert(row && row->above);
    THAW_TRY(thaw_options_set(options, key, text, source, err));
    options->origin[row - thaw__options_table].shared = true;
    return THAW_OK;
}

thaw_status thaw_options_settle(thaw_options *options, thaw_error *err) {
    if (strcmp(options->freeze, "last") == 0) return THAW_OK;
    for (size_t i = 0; i < thaw__options_n; i++) {
        const thaw_opt_origin *from = &options->origin[i];
        if (from->shared && !thaw_options_is_set(options, thaw__options_table[i].above))
            THAW_TRY(thaw_options_set(options, thaw__options_table[i].above, from->text,
                                      from->source, err));
    }
    return THAW_OK;
}

thaw_status thaw_options_note(thaw_options *options, thaw_error *err, const char *format, ...) {
    thaw_text text = {0};
    va_list args;
    va_start(args, format);
    text.n = (size_t)vsnprintf(text.text, sizeof text.text, format, args);
    va_end(args);
    size_t n = text.n < sizeof text.text ? text.n : sizeof text.text - 1;
    const char *copy = thaw_arena_string(&options->arena, text.text, n);
    if (!copy) return thaw_fail_memory(err, "for a note on the options");
    if (options->n_notes < THAW_OPTIONS_NOTES) options->notes[options->n_notes++] = copy;
    return THAW_OK;
}

thaw_status thaw_options_init(thaw_options *options, thaw_error *err) {
    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < thaw__options_n; i++)
        THAW_TRY(set_row(options, &thaw__options_table[i], thaw__options_table[i].fallback,
                         DEFAULT_SOURCE, err));
    return THAW_OK;
}

thaw_status thaw_options_copy(thaw_options *options, const thaw_options *from, thaw_error *err) {
    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < thaw__options_n; i++)
        THAW_TRY(set_row(options, &thaw__options_table[i], from->origin[i].text,
                         from->origin[i].source, err));
    for (size_t i = 0; i < from->n_notes; i++)
        THAW_TRY(thaw_options_note(options, err, "%s", from->notes[i]));
    return THAW_OK;
}

void thaw_options_free(thaw_options *options) {
    thaw_arena_free(&options->arena);
}
