/* thaw-draw SET ROOT N_TRAIN N_TEST SIZE SEED: writes a drawn dataset; see draw.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draw.h"

/* A whole number from 0 to most; ends the program with a sentence when it is none. */
static unsigned long long number(const char *name, const char *text, unsigned long long most) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!errno && *text >= '0' && *text <= '9' && !*end && value <= most) return value;
    fprintf(stderr, "thaw-draw: %s is \"%s\", it must be a whole number from 0 to %llu\n", name,
            text, most);
    exit(2);
}

int main(int argc, char **argv) {
    if (argc != 7 || (strcmp(argv[1], "demo8") && strcmp(argv[1], "base2"))) {
        fprintf(stderr,
                "usage: thaw-draw demo8|base2 FOLDER TRAIN TEST SIZE SEED\n"
                "  TRAIN, TEST: pictures in each class; SIZE: the short side in pixels\n");
        return 2;
    }
    thaw_draw_options options = {
        .root = argv[2],
        .set = strcmp(argv[1], "demo8") ? THAW_DRAW_SET_BASE2 : THAW_DRAW_SET_DEMO8,
        .n_train = (int)number("TRAIN", argv[3], 1000000),
        .n_test = (int)number("TEST", argv[4], 1000000),
        .size = (int)number("SIZE", argv[5], THAW_DRAW_MOST_SIDE),
        .seed = number("SEED", argv[6], UINT64_MAX),
    };
    thaw_error err;
    if (thaw_draw_dataset(&options, &err)) {
        fprintf(stderr, "thaw-draw: %s\n", err.text);
        return 1;
    }
    return 0;
}
