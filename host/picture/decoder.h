/* What the decoders of the formats work with; internal to this room.
 *
 * A format's decoder is one function. It reads the header, says what it found with
 * thaw__picture_open, and then either writes every pixel of d->rgb or fails: nobody looks whether a
 * part of it is missing.
 */
#ifndef THAW_DECODER_H
#define THAW_DECODER_H

#include "image.h"
#include "resize.h"

enum { THAW__LONGEST_SIDE = 1 << 16 };

/* The shown pixel (x, y) is the stored one at (y, x) if `swap`, counted from the other end of the
 * stored axis if `flip`. */
typedef struct thaw_turn {
    bool swap, flip_x, flip_y;
} thaw_turn;

/* An axis and what it was made for: pictures of one dataset often have one size. */
typedef struct thaw_cached_axis {
    thaw_axis axis;
    thaw_span span;
} thaw_cached_axis;

/* Samples of more than 8 bits, until the window has made 8 bits of them. */
typedef struct thaw_deep {
    float *samples; /* [height, width, channels] */
    size_t bytes;
    int channels; /* Of grey or RGB, and alpha from 0 to 255 behind it: 1 to 4. 0: no samples are deep. */
    bool invert; /* The least is white. */
} thaw_deep;

struct thaw_decoder {
    thaw_image_budget *budget;     /* NULL: nobody shares. */
    const volatile int *stop;      /* NULL: never. */
    const thaw_geometry *geometry; /* Of the picture at work. NULL: all of it is wanted. */
    const thaw_view *view;         /* Of it; NULL: as it is. */
    uint8_t background;            /* Grey on which transparent pixels are laid. */
    int64_t most_pixels;           /* That a picture may have: 2^28; fuzzers have no time for it. */

    int shrink;                      /* The file's sides over what is decoded: 1, 2, 4 or 8. */
    int width, height;               /* Of the stored picture as it is decoded, */
    int first_column, n_columns;     /* of which these columns are in rgb. */
    int channels;                    /* Of rgb while it is filled: 3, or 4 with alpha. */
    int stored_width, stored_height; /* Of the picture as the file has it. */
    int orientation;                 /* As the file says it. */
    const char *format;              /* Of the file. */
    thaw_turn turn;
    uint8_t *rgb; /* [height, n_columns, channels] */
    thaw_deep deep;

    uint8_t *small; /* What the resize leaves, where the result needs turning. */
    float *scratch;
    uint8_t *seen; /* Of a view: u8 RGB as it is shown, and as much to work with. */
    size_t rgb_bytes, small_bytes, scratch_bytes, seen_bytes;
    size_t borrowed; /* From the budget. */
    thaw_cached_axis x, y;
};

/* What a header says. */
typedef struct thaw_picture {
    int64_t width, height;
    int channels;        /* 3, or 4: RGB with alpha. */
    int deep_channels;   /* Of d->deep, which is filled in the place of rgb; 0: rgb is. */
    int orientation;     /* EXIF's 1..8; 0: nothing is said. */
    bool shrinks;        /* It can be decoded at d->shrink. */
    uint64_t more_bytes; /* What a library takes for the pixels beside rgb. */
} thaw_picture;

/* Checks the size, finds out at which size and which columns are needed, and borrows what the
 * picture takes from the budget, waiting for it. ERR_FORMAT: no pixels; ERR_UNSUPPORTED: too many; ERR_INTERRUPTED;
 * ERR_NOMEM. */
thaw_status thaw__picture_open(thaw_decoder *d, const thaw_picture *p, thaw_error *err);

/* Room for the pixels, d->rgb, and for deep samples, once the columns are as narrow as they can be.
 * ERR_NOMEM. */
thaw_status thaw__picture_rows(thaw_decoder *d, thaw_error *err);

/* Whether samples of more than 8 bits are wanted as they are, for a window: else a decoder makes 8
 * bits of them itself, the upper ones. */
bool thaw__picture_is_deep(const thaw_decoder *d);

/* Row y of d->deep. */
static inline float *thaw__picture_deep_row(const thaw_decoder *d, int64_t y) {
    return d->deep.samples + (size_t)y * (size_t)d->width * (size_t)d->deep.channels;
}

/* Makes deep samples of a row that begins with u16, most significant byte first. */
void thaw__picture_widen(const thaw_decoder *d, int64_t y);

/* From deep samples to d->rgb, as the window says. ERR_FORMAT: a sample is no number; ERR_NOMEM. */
thaw_status thaw__window_apply(thaw_decoder *d, const thaw_pixel_window *window, thaw_error *err);

/* The row of d->rgb. */
static inline uint8_t *thaw__picture_row(const thaw_decoder *d, int64_t y) {
    return d->rgb + (size_t)y * (size_t)d->n_columns * (size_t)d->channels;
}

bool thaw__picture_stopped(const thaw_decoder *d);

/* ERR_FORMAT: "the JPEG is damaged: " and how. */
thaw_status thaw__picture_damaged(const char *format, const char *how, thaw_error *err);

/* ERR_FORMAT: this build lacks the format's library, which the package has. */
thaw_status thaw__picture_unread(const char *format, const char *package, thaw_error *err);

/* n pixels of CMYK to RGB, as Pillow converts. The inks are inverted: 255 is none. */
void thaw__cmyk_to_rgb(const uint8_t *ink, int n, uint8_t *rgb);

/* A pixel of RGBA whose colours were multiplied by alpha to one whose are not, as Pillow does. */
void thaw__unpremultiply(uint8_t rgba[4]);

/* EXIF's orientation, 1..8; 1 where it holds another number; 0 when it says nothing or is damaged.
 * EXIF is a TIFF structure, which may stand behind the letters that it has in a JPEG. */
int thaw__exif_orientation(const uint8_t *exif, size_t n);

/* The same from an XMP packet, and from ImageMagick's text of EXIF in hexadecimal digits. */
int thaw__xmp_orientation(const uint8_t *text, size_t n);
int thaw__hex_orientation(const uint8_t *text, size_t n);

/* Waits until n bytes, at most the whole, are free, and takes them. False: stopped. */
bool thaw__budget_take(thaw_image_budget *budget, size_t n, const volatile int *stop);
void thaw__budget_return(thaw_image_budget *budget, size_t n);

/* One a format: the n bytes of a file to d->rgb. ERR_FORMAT: damaged or cut off, which says how;
 * ERR_UNSUPPORTED; ERR_NOMEM; ERR_INTERRUPTED. */
thaw_status thaw__jpeg_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);
thaw_status thaw__png_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);
thaw_status thaw__pnm_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);
thaw_status thaw__bmp_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);
thaw_status thaw__gif_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);
thaw_status thaw__psd_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);

/* Formats whose libraries a build may lack: NAME.c or, where CMake has not found its library,
 * without_NAME.c. */
thaw_status thaw__webp_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);
thaw_status thaw__tiff_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);
thaw_status thaw__heif_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);
thaw_status thaw__dicom_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err);

/* "libwebp 1.2.4", with what else decides about pixels; "": the build lacks it. */
enum { THAW__VERSION = 160 };
typedef void thaw_version(char text[THAW__VERSION]);
thaw_version thaw__jpeg_version, thaw__png_version, thaw__webp_version, thaw__tiff_version,
    thaw__heif_version, thaw__dicom_version;

#endif
