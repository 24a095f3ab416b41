/* What the generator's flowers look like: one row a species, no code. */
#ifndef THAW_SPECIES_H
#define THAW_SPECIES_H

#include "shapes.h"

enum { SPECIES_BASE = 28, SPECIES_DEMO = 8, SPECIES_COUNT = SPECIES_BASE + SPECIES_DEMO };

/* Colours by name. HUE_SAME, the zero of a row, stands for "the flower's own". */
typedef enum hue {
    HUE_SAME,
    WHITE,
    CREAM,
    LEMON,
    YELLOW,
    GOLD,
    ORANGE,
    APRICOT,
    CORAL,
    RED,
    CRIMSON,
    WINE,
    BLUSH,
    PINK,
    MAGENTA,
    PURPLE,
    LILAC,
    VIOLET,
    INDIGO,
    BLUE,
    SKY,
    LIME,
    GREEN,
    DARK_GREEN,
    BROWN,
    UMBER,
    BLACK,
    HUE_COUNT
} hue;

/* The colour in linear light. */
vec3 hue_color(hue h);

/* One ring or spiral of petals; a row of zeros is none. Angles in degrees for the reader's sake. */
typedef struct whorl {
    int least, most; /* number of petals */
    tip tip;
    float length, width, widest, neck; /* as in struct petal; lengths in the flower's radius */
    float rise, curl;                  /* of the outermost petal */
    float inner_rise, inner_length;    /* of the innermost; inner_length 0: a ring, not a spiral */
    float cup, ruffle, start;
    float lip;  /* how much longer the lowest petal is than the highest: pansies, orchids */
    float turn; /* degrees by which the ring is turned; 90: its first petal points up */
    float fan;  /* degrees over which the petals spread around turn; 0: all around */
    hue hue;    /* HUE_SAME: the flower's colour; another one goes without its shade and mark */
    int bare;   /* these petals wear no mark */
} whorl;

typedef enum centre_kind {
    CENTRE_NONE,
    CENTRE_DISC,    /* a daisy's: packed florets, flat or domed by height */
    CENTRE_STAMENS, /* threads with a knob */
    CENTRE_KNOB     /* a smooth dome */
} centre_kind;

typedef struct centre {
    centre_kind kind;
    float radius, height; /* in the flower's radius */
    hue inside, outside;  /* HUE_SAME: the flower's colour */
    int least, most;      /* number of stamens */
} centre;

typedef enum habit {
    HABIT_SINGLE,
    HABIT_FEW,    /* two to five flowers on short stalks */
    HABIT_DOME,   /* florets packed on part of a ball */
    HABIT_SPIKE,  /* florets along an upright stem */
    HABIT_NODDING /* like HABIT_FEW, hanging */
} habit;

typedef enum leaf_kind { LEAF_NONE, LEAF_OVAL, LEAF_LANCE, LEAF_BLADE, LEAF_HEART } leaf_kind;

typedef struct species {
    const char *name;
    whorl whorls[3]; /* outermost first */
    hue hues[6];     /* the colours it comes in, HUE_SAME ends the list */
    hue shade;       /* what the colour leans to at the petal's base, by shade_by */
    float shade_by;
    mark mark;
    hue mark_hue;
    float mark_size;
    centre centre;
    habit habit;
    int least, most;             /* number of florets, where the habit has many */
    float floret;                /* a floret's radius as a share of the plant's size */
    float ball;                  /* HABIT_DOME: share of the ball that is covered */
    float pitch_low, pitch_high; /* degrees by which the flower looks up; 0: at the viewer */
    leaf_kind leaf;
} species;

extern const species species_table[SPECIES_COUNT];

#endif
