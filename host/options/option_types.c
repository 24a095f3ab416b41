#include "option_types.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "file.h"
#include "options.h"
#include "text.h"
#include "trunk/backend.h"

thaw_status thaw__option_parse(const thaw__option *row, const char *text, thaw_arena *arena,
                               void *slot) {
    if (!row->automatic || strcasecmp(text, "auto") != 0)
        return row->type->parse(row, text, arena, slot);
    memcpy(slot, row->type->automatic, row->type->bytes);
    return THAW_OK;
}

static const char *auto_or(const thaw__option *row) {
    return row->automatic ? "auto or " : "";
}

static bool in_range(const thaw__option *row, double value) {
    return thaw_range_holds(row->range, value);
}

/* Copies text without its last n bytes to a small buffer; false when it is too long. */
static bool copy_without_end(const char *text, size_t n, char *copy, size_t size) {
    size_t length = strlen(text);
    if (length < n || length - n >= size) return false;
    memcpy(copy, text, length - n);
    copy[length - n] = '\0';
    return true;
}

static thaw_status parse_text(const thaw__option *row, const char *text, thaw_arena *arena,
                              void *slot) {
    if (!*text && *row->fallback) return THAW_ERR_USAGE;
    const char *copy = thaw_arena_string(arena, text, strlen(text));
    if (!copy) return THAW_ERR_NOMEM;
    *(const char **)slot = copy;
    return THAW_OK;
}

static void describe_text(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "a text%s", *row->fallback ? " that is not empty" : "");
}

static thaw_status parse_path(const thaw__option *row, const char *text, thaw_arena *arena,
                              void *slot) {
    const char *home = getenv("HOME");
    if (row->none && !strcasecmp(text, "none")) return *(const char **)slot = "", THAW_OK;
    if (strncmp(text, "~/", 2) != 0 || !home) return parse_text(row, text, arena, slot);
    const char *path = thaw_file_join(arena, home, text + 2);
    if (!path) return THAW_ERR_NOMEM;
    *(const char **)slot = path;
    return THAW_OK;
}

static void describe_path(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    const char *with_none = row->automatic ? "auto, none or " : "none or ";
    snprintf(text, THAW__EXPECTED_TEXT, "%sa path%s", row->none ? with_none : auto_or(row),
             *row->fallback ? " that is not empty" : "");
}

static thaw_status parse_integer(const thaw__option *row, const char *text, thaw_arena *arena,
                                 void *slot) {
    (void)arena;
    int64_t value;
    if (!thaw_text_integer(text, &value) || !in_range(row, (double)value)) return THAW_ERR_USAGE;
    *(int64_t *)slot = value;
    return THAW_OK;
}

static void describe_integer(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%san integer from %.0f to %.0f", auto_or(row),
             row->range->least, row->range->most);
}

static thaw_status parse_number(const thaw__option *row, const char *text, thaw_arena *arena,
                                void *slot) {
    (void)arena;
    double value;
    if (!thaw_text_number(text, &value) || !in_range(row, value)) return THAW_ERR_USAGE;
    *(double *)slot = value;
    return THAW_OK;
}

static void describe_number(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%sa number from %g to %g", auto_or(row), row->range->least,
             row->range->most);
}

static thaw_status parse_switch(const thaw__option *row, const char *text, thaw_arena *arena,
                                void *slot) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    (void)row, (void)arena;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) != 0) continue;
        *(bool *)slot = i % 2;
        return THAW_OK;
    }
    return THAW_ERR_USAGE;
}

static void describe_switch(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    (void)row;
    snprintf(text, THAW__EXPECTED_TEXT, "true or false");
}

static bool is_legal(const thaw__option *row, int value) {
    return !row->values || row->values >> value & 1;
}

static thaw_status parse_choice(const thaw__option *row, const char *text, thaw_arena *arena,
                                void *slot) {
    (void)arena;
    int value = thaw_text_find(row->names, text);
    if (value < 0 || !is_legal(row, value)) return THAW_ERR_USAGE;
    *(int *)slot = value;
    return THAW_OK;
}

static void describe_choice(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    int n_left = row->automatic;
    for (int i = 0; row->names[i]; i++)
        n_left += is_legal(row, i);
    size_t n = 0;
    for (int i = row->automatic ? -1 : 0; n_left > 0 && n < THAW__EXPECTED_TEXT; i++) {
        if (i >= 0 && !is_legal(row, i)) continue;
        const char *behind = --n_left > 1 ? ", " : n_left == 1 ? " or " : "";
        n += (size_t)snprintf(text + n, THAW__EXPECTED_TEXT - n, "%s%s",
                              i < 0 ? "auto" : row->names[i], behind);
    }
}

static thaw_status parse_size(const thaw__option *row, const char *text, thaw_arena *arena,
                              void *slot) {
    static const char units[] = "KMGT"; /* Powers of 1024. */
    (void)arena;
    double value;
    char digits[32];
    size_t n = strlen(text);
    const char *unit = n ? strchr(units, toupper((unsigned char)text[n - 1])) : NULL;
    if (!copy_without_end(text, unit != NULL, digits, sizeof digits)) return THAW_ERR_USAGE;
    if (!thaw_text_number(digits, &value)) return THAW_ERR_USAGE;
    if (unit) value *= (double)((int64_t)1 << 10 * (unit - units + 1));
    if (!in_range(row, value)) return THAW_ERR_USAGE;
    *(int64_t *)slot = (int64_t)value;
    return THAW_OK;
}

static void describe_size(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%sbytes such as 65536, 512M or 4G, from %.0f to %.0fT",
             auto_or(row), row->range->least, row->range->most / (double)((int64_t)1 << 40));
}

/* Reads 1 or 3 numbers with commas between; spaces around a number are fine. */
static bool read_channels(const thaw__option *row, const char *text, thaw_opt_channels value) {
    char copy[128];
    if (!copy_without_end(text, 0, copy, sizeof copy)) return false;
    int n = 0;
    for (char *rest = copy, *part; (part = strsep(&rest, ",")); n++) {
        part += strspn(part, " ");
        size_t length = strcspn(part, " ");
        if (part[length + strspn(part + length, " ")]) return false;
        part[length] = '\0';
        if (n == 3 || !thaw_text_number(part, &value[n])) return false;
        if (!in_range(row, value[n])) return false;
    }
    if (n == 1) value[1] = value[2] = value[0];
    return n != 2;
}

static thaw_status parse_channels(const thaw__option *row, const char *text, thaw_arena *arena,
                                  void *slot) {
    (void)arena;
    thaw_opt_channels channels;
    if (!read_channels(row, text, channels)) return THAW_ERR_USAGE;
    memcpy(slot, channels, sizeof channels);
    return THAW_OK;
}

static void describe_channels(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%s1 or 3 numbers with commas between, each from %g to %g",
             auto_or(row), row->range->least, row->range->most);
}

static thaw_status parse_device(const thaw__option *row, const char *text, thaw_arena *arena,
                                void *slot) {
    int index;
    return thaw_device_parse(text, &index) ? parse_text(row, text, arena, slot) : THAW_ERR_USAGE;
}

static void describe_device(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    (void)row;
    snprintf(text, THAW__EXPECTED_TEXT, "auto, cpu, cuda or cuda:N with N from 0 to %d",
             THAW_DEVICES_MAX - 1);
}

static thaw_status parse_held_out(const thaw__option *row, const char *text, thaw_arena *arena,
                                  void *slot) {
    thaw_opt_held_out held_out = {0};
    if (thaw_text_number(text, &held_out.fraction)) {
        if (!in_range(row, held_out.fraction)) return THAW_ERR_USAGE;
    } else {
        THAW_TRY(parse_path(row, text, arena, &held_out.folder));
    }
    *(thaw_opt_held_out *)slot = held_out;
    return THAW_OK;
}

static void describe_held_out(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%sa folder, a list or a fraction from %g to %g",
             row->automatic ? "auto, " : "", row->range->least, row->range->most);
}

static thaw_status parse_limit(const thaw__option *row, const char *text, thaw_arena *arena,
                               void *slot) {
    (void)arena;
    thaw_opt_limit limit = {0};
    size_t n = strlen(text);
    if (n > 0 && text[n - 1] == '%') {
        char digits[32];
        limit.percent = true;
        if (!copy_without_end(text, 1, digits, sizeof digits)) return THAW_ERR_USAGE;
        if (!thaw_text_number(digits, &limit.number)) return THAW_ERR_USAGE;
        if (limit.number < 0 || limit.number > 100) return THAW_ERR_USAGE;
    } else {
        int64_t count;
        if (!thaw_text_integer(text, &count)) return THAW_ERR_USAGE;
        if (!in_range(row, (double)count)) return THAW_ERR_USAGE;
        limit.number = (double)count;
    }
    *(thaw_opt_limit *)slot = limit;
    return THAW_OK;
}

static void describe_limit(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%san integer from %.0f to %.0f, or 0%% to 100%%",
             row->automatic ? "auto, " : "", row->range->least, row->range->most);
}

static thaw_status parse_window(const thaw__option *row, const char *text, thaw_arena *arena,
                                void *slot) {
    (void)row, (void)arena;
    return thaw_pixel_window_parse(text, slot) ? THAW_OK : THAW_ERR_USAGE;
}

static void describe_window(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT,
             "%sfile, minmax, percentile(LOW,HIGH) such as percentile(0.5,99.5), or samples as "
             "LOW..HIGH such as -1000..400; LOW is below HIGH",
             row->automatic ? "auto, " : "");
}

static const int64_t auto_integer = THAW_AUTO_INTEGER;
static const double auto_number = NAN;
static const int auto_choice = THAW_AUTO_CHOICE;
static const char *const auto_text = NULL;
static const thaw_opt_held_out auto_held_out = {.fraction = NAN};
static const thaw_opt_limit auto_limit = {.number = NAN};
static const thaw_opt_channels auto_channels = {NAN, NAN, NAN};
static const thaw_pixel_window auto_window = {.kind = THAW_AUTO_CHOICE};

static const char *path_of_path(const void *slot) {
    return *(const char *const *)slot;
}

static const char *path_of_held_out(const void *slot) {
    return ((const thaw_opt_held_out *)slot)->folder;
}

#define TYPE(ctype, name, automatic, path) \
    { sizeof(ctype), automatic, parse_##name, describe_##name, path }
const thaw__option_type thaw__type_text = TYPE(const char *, text, &auto_text, NULL);
const thaw__option_type thaw__type_path = TYPE(const char *, path, &auto_text, path_of_path);
const thaw__option_type thaw__type_integer = TYPE(int64_t, integer, &auto_integer, NULL);
const thaw__option_type thaw__type_number = TYPE(double, number, &auto_number, NULL);
const thaw__option_type thaw__type_switch = TYPE(bool, switch, NULL, NULL);
const thaw__option_type thaw__type_choice = TYPE(int, choice, &auto_choice, NULL);
const thaw__option_type thaw__type_size = TYPE(int64_t, size, &auto_integer, NULL);
const thaw__option_type thaw__type_channels =
    TYPE(thaw_opt_channels, channels, auto_channels, NULL);
const thaw__option_type thaw__type_device = TYPE(const char *, device, &auto_text, NULL);
const thaw__option_type thaw__type_held_out =
    TYPE(thaw_opt_held_out, held_out, &auto_held_out, path_of_held_out);
const thaw__option_type thaw__type_limit = TYPE(thaw_opt_limit, limit, &auto_limit, NULL);
const thaw__option_type thaw__type_window = TYPE(thaw_pixel_window, window, &auto_window, NULL);
#undef TYPE
