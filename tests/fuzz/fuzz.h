/* What the fuzz targets share. A target is one function for libFuzzer, which gives it bytes: it may
 * answer them with a result or with a sentence, and nothing else. tests/fuzz/run.sh builds and runs
 * them all. */
#ifndef THAW_FUZZ_H
#define THAW_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What always holds, whatever the bytes are. */
#define FUZZ_CHECK(what)                                                       \
    do {                                                                       \
        if (!(what)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
            abort();                                                           \
        }                                                                      \
    } while (0)

/* A failure comes with its code and a sentence. */
static inline void fuzz_check_status(thaw_status status, const thaw_error *err) {
    if (status == THAW_OK) return;
    FUZZ_CHECK(err->code == status);
    FUZZ_CHECK(strlen(err->text) > 10 && strlen(err->text) < THAW_ERROR_TEXT);
}

/* The bytes as a string, to be freed. */
static inline char *fuzz_text(const uint8_t *data, size_t n) {
    char *text = malloc(n + 1);
    FUZZ_CHECK(text);
    if (n) memcpy(text, data, n);
    text[n] = '\0';
    return text;
}

#endif
