/* What the files behind options.h share: the row of the table, and the types: how a text becomes a
 * value, and what is legal, in words. */
#ifndef THAW_OPTION_TYPES_H
#define THAW_OPTION_TYPES_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "range.h"
#include "status.h"

enum { THAW__EXPECTED_TEXT = 192 }; /* Room for "an integer from 1 to 65536" and its like. */

typedef struct thaw__option thaw__option;

typedef struct thaw__option_type {
    size_t bytes;          /* Of the slot. */
    const void *automatic; /* What "auto" leaves there, see thaw_is_auto; NULL: never legal. */
    /* Parses text, which is not "auto", into the value at slot; what must outlive the call goes to
     * arena. THAW_ERR_USAGE when text is not legal for row, THAW_ERR_NOMEM; slot is then as before.
     */
    thaw_status (*parse)(const thaw__option *row, const char *text, thaw_arena *arena, void *slot);
    /* Writes what is legal for row, as the end of "expected ...". */
    void (*describe)(const thaw__option *row, char text[THAW__EXPECTED_TEXT]);
    /* The path that the slot holds; NULL or "": it holds none. No function: it never does. */
    const char *(*path)(const void *slot);
} thaw__option_type;

/* One row of the table. */
struct thaw__option {
    const char *key;
    unsigned used_by; /* THAW_FOR_...: the commands that it means something to. */
    const thaw__option_type *type;
    size_t offset;            /* Of the value in thaw_options. */
    const char *fallback;     /* The default, as text. */
    bool automatic;           /* "auto" is legal and leaves the choice to the program. */
    bool none;                /* Of a path: "none" is legal and gives "". */
    const thaw_range *range;  /* Of numbers. */
    bool scale;               /* Of numbers: a change is a factor, not a difference. */
    const char *const *names; /* Of a choice: by enum value, NULL at the end. */
    unsigned values;          /* Of a choice: bit v, value v is legal; 0: all are. */
    const char *aliases;      /* Other names, separated by spaces; NULL for none. */
    const char *above; /* The option that is this one's for layers above a cut; NULL: none. */
    const char *help;  /* One sentence. */
};

/* All rows, in the order of train.ini; table.c. */
extern const thaw__option thaw__options_table[];
extern const size_t thaw__options_n;

/* The row with this key or alias, where a dash counts as an underscore: one that the commands use, if
 * there is one; NULL when there is none at all. */
const thaw__option *thaw__options_find(const char *name, unsigned commands);

/* Parses text as the row's type does, after "auto". */
thaw_status thaw__option_parse(const thaw__option *row, const char *text, thaw_arena *arena,
                               void *slot);

/* The type, the C type of its slot, and what is special about it. */
extern const thaw__option_type thaw__type_text;     /* const char *; "" when fallback is "". */
extern const thaw__option_type thaw__type_path;     /* const char *; a leading "~/" is replaced. */
extern const thaw__option_type thaw__type_integer;  /* int64_t */
extern const thaw__option_type thaw__type_number;   /* double */
extern const thaw__option_type thaw__type_switch;   /* bool */
extern const thaw__option_type thaw__type_choice;   /* An enum, counted from 0. */
extern const thaw__option_type thaw__type_size;     /* int64_t; bytes, or with K, M, G, T. */
extern const thaw__option_type thaw__type_channels; /* thaw_opt_channels */
extern const thaw__option_type thaw__type_device;   /* const char *; as thaw_backend_open has it. */
extern const thaw__option_type thaw__type_held_out; /* thaw_opt_held_out */
extern const thaw__option_type thaw__type_limit;    /* thaw_opt_limit; N, or a share as N%. */
extern const thaw__option_type thaw__type_window;   /* thaw_pixel_window */

#endif
