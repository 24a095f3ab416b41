#include "split.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "text.h"

enum { WORD_MAX = 32 }; /* Names of splits are shorter. */

const char *thaw_split_name(thaw_split split) {
    static const char *const names[] = {THAW_SPLIT_LIST(THAW_ENUM_NAME)};
    return names[split];
}

/* "Training_Set" is "training": small letters, without what only joins words and without what all
 * folders are. "" for what is too long to be one word. */
static void simplify(const char *name, char word[WORD_MAX]) {
    static const char *const suffixes[] = {"set", "data", "images", "pictures", "split"};
    size_t n = 0;
    for (; *name && n + 1 < WORD_MAX; name++)
        if (!strchr("_-. ", *name)) word[n++] = (char)tolower((unsigned char)*name);
    word[*name ? 0 : n] = '\0';
    n = strlen(word);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t end = strlen(suffixes[i]);
        if (n <= end || strcmp(word + n - end, suffixes[i]) != 0) continue;
        word[n - end] = '\0';
        return;
    }
}

thaw_split thaw_split_of_name(const char *name) {
    static const struct {
        thaw_split split;
        const char *words[8];
    } splits[] = {
        {THAW_SPLIT_TRAIN, {"train", "training", "trn"}},
        {THAW_SPLIT_VALIDATION,
         {"validation", "valid", "val", "dev", "development", "eval", "evaluation"}},
        {THAW_SPLIT_TEST, {"test", "testing", "tst"}},
    };
    char word[WORD_MAX];
    simplify(name, word);
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        if (thaw_text_find(splits[i].words, word) >= 0) return splits[i].split;
    return THAW_SPLIT_COUNT;
}
