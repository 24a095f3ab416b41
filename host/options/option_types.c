#include "option_types.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "file.h"
#include "options.h"
#include "text.h"

static bool is_auto(const thaw__option *row, const char *text) {
    return row->automatic && !strcasecmp(text, "auto");
}

static const char *auto_or(const thaw__option *row) {
    return row->automatic ? "auto or " : "";
}

static bool in_range(const thaw__option *row, double value) {
    return value >= row->min && value <= row->max;
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
    if (strncmp(text, "~/", 2) != 0 || !home) return parse_text(row, text, arena, slot);
    const char *path = thaw_file_join(arena, home, text + 2);
    if (!path) return THAW_ERR_NOMEM;
    *(const char **)slot = path;
    return THAW_OK;
}

static void describe_path(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "a path%s", *row->fallback ? " that is not empty" : "");
}

static thaw_status parse_integer(const thaw__option *row, const char *text, thaw_arena *arena,
                                 void *slot) {
    (void)arena;
    int64_t value = THAW_AUTO;
    if (!is_auto(row, text) && (!thaw_text_integer(text, &value) || !in_range(row, (double)value)))
        return THAW_ERR_USAGE;
    *(int64_t *)slot = value;
    return THAW_OK;
}

static void describe_integer(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%san integer from %.0f to %.0f", auto_or(row), row->min,
             row->max);
}

static thaw_status parse_number(const thaw__option *row, const char *text, thaw_arena *arena,
                                void *slot) {
    (void)arena;
    double value = THAW_AUTO;
    if (!is_auto(row, text) && (!thaw_text_number(text, &value) || !in_range(row, value)))
        return THAW_ERR_USAGE;
    *(double *)slot = value;
    return THAW_OK;
}

static void describe_number(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%sa number from %g to %g", auto_or(row), row->min,
             row->max);
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

static thaw_status parse_choice(const thaw__option *row, const char *text, thaw_arena *arena,
                                void *slot) {
    (void)arena;
    for (int i = 0; row->choices[i]; i++) {
        if (strcasecmp(text, row->choices[i]) != 0) continue;
        *(int *)slot = i;
        return THAW_OK;
    }
    return THAW_ERR_USAGE;
}

static void describe_choice(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    size_t n = 0;
    text[0] = '\0';
    for (int i = 0; row->choices[i] && n < THAW__EXPECTED_TEXT; i++) {
        const char *between = i == 0 ? "" : row->choices[i + 1] ? ", " : " or ";
        n += (size_t)snprintf(text + n, THAW__EXPECTED_TEXT - n, "%s%s", between, row->choices[i]);
    }
}

static thaw_status parse_size(const thaw__option *row, const char *text, thaw_arena *arena,
                              void *slot) {
    static const char units[] = "KMGT"; /* Powers of 1024. */
    (void)arena;
    double value = THAW_AUTO;
    if (!is_auto(row, text)) {
        char digits[32];
        size_t n = strlen(text);
        const char *unit = n ? strchr(units, toupper((unsigned char)text[n - 1])) : NULL;
        if (!copy_without_end(text, unit != NULL, digits, sizeof digits)) return THAW_ERR_USAGE;
        if (!thaw_text_number(digits, &value)) return THAW_ERR_USAGE;
        if (unit) value *= (double)((int64_t)1 << 10 * (unit - units + 1));
        if (!in_range(row, value)) return THAW_ERR_USAGE;
    }
    *(int64_t *)slot = (int64_t)value;
    return THAW_OK;
}

static void describe_size(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%sbytes such as 65536, 512M or 4G, from %.0f to %.0fT",
             auto_or(row), row->min, row->max / (double)((int64_t)1 << 40));
}

/* Reads 1 or 3 numbers with commas between; spaces around a number are fine. */
static bool read_channels(const thaw__option *row, const char *text, double value[3]) {
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
    thaw_opt_channels channels = {.automatic = is_auto(row, text)};
    if (!channels.automatic && !read_channels(row, text, channels.value)) return THAW_ERR_USAGE;
    *(thaw_opt_channels *)slot = channels;
    return THAW_OK;
}

static void describe_channels(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "%s1 or 3 numbers with commas between, each from %g to %g",
             auto_or(row), row->min, row->max);
}

static thaw_status parse_device(const thaw__option *row, const char *text, thaw_arena *arena,
                                void *slot) {
    (void)arena;
    thaw_opt_device device = {.index = -1};
    int64_t index;
    if (!strcasecmp(text, "auto")) {
        device.kind = THAW_OPT_DEVICE_AUTO;
    } else if (!strcasecmp(text, "cpu")) {
        device.kind = THAW_OPT_DEVICE_CPU;
    } else if (!strcasecmp(text, "cuda")) {
        device.kind = THAW_OPT_DEVICE_CUDA;
    } else {
        if (strncasecmp(text, "cuda:", 5) != 0) return THAW_ERR_USAGE;
        if (!thaw_text_integer(text + 5, &index)) return THAW_ERR_USAGE;
        if (!in_range(row, (double)index)) return THAW_ERR_USAGE;
        device = (thaw_opt_device){.kind = THAW_OPT_DEVICE_CUDA, .index = (int)index};
    }
    *(thaw_opt_device *)slot = device;
    return THAW_OK;
}

static void describe_device(const thaw__option *row, char text[THAW__EXPECTED_TEXT]) {
    snprintf(text, THAW__EXPECTED_TEXT, "auto, cpu, cuda or cuda:N with N from %.0f to %.0f",
             row->min, row->max);
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
    snprintf(text, THAW__EXPECTED_TEXT, "a folder or a fraction from %g to %g", row->min, row->max);
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
    snprintf(text, THAW__EXPECTED_TEXT, "an integer from %.0f to %.0f, or 0%% to 100%%", row->min,
             row->max);
}

const thaw__option_type thaw__type_text = {parse_text, describe_text};
const thaw__option_type thaw__type_path = {parse_path, describe_path};
const thaw__option_type thaw__type_integer = {parse_integer, describe_integer};
const thaw__option_type thaw__type_number = {parse_number, describe_number};
const thaw__option_type thaw__type_switch = {parse_switch, describe_switch};
const thaw__option_type thaw__type_choice = {parse_choice, describe_choice};
const thaw__option_type thaw__type_size = {parse_size, describe_size};
const thaw__option_type thaw__type_channels = {parse_channels, describe_channels};
const thaw__option_type thaw__type_device = {parse_device, describe_device};
const thaw__option_type thaw__type_held_out = {parse_held_out, describe_held_out};
const thaw__option_type thaw__type_limit = {parse_limit, describe_limit};
