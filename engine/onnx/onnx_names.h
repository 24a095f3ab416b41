/* Names to numbers, for the reader and the writer of ONNX files. */
#ifndef THAW_ONNX_NAMES_H
#define THAW_ONNX_NAMES_H

#include <stdbool.h>

#include "arena.h"

typedef struct thaw__named {
    const char *name; /* Borrowed; NULL: free. */
    int number;
} thaw__named;

typedef struct thaw__names {
    thaw__named *slots; /* Open addressing, at least twice as many as names. */
    size_t mask;
} thaw__names;

/* An empty table for at most `most` names. False: out of memory. */
bool thaw__names_init(thaw__names *names, size_t most, thaw_arena *arena);

/* The name's number, -1 when it is not there. */
int thaw__names_find(const thaw__names *names, const char *name);

/* Adds a name, which must outlive the table. False: it is there already, and keeps its number. */
bool thaw__names_add(thaw__names *names, const char *name, int number);

#endif
