/* Pictures: the bytes of a file to u8 pixels of the size that a network takes.
 *
 * One definition for training, evaluation and serving. JPEG is decoded by libjpeg-turbo exactly as
 * Pillow decodes it (accurate integer IDCT, fancy upsampling), PNG by libpng, WebP, TIFF, HEIC, AVIF
 * and DICOM by libraries that a build may lack, the rest by short decoders of our own; which of them
 * is decided by the content, never by the name. A picture is what Pillow makes of the same bytes, or
 * it is refused as damaged: no part of it is ever made up. Of several pictures in a file the first
 * counts. EXIF orientation is always applied. The resize is Pillow's antialiased one.
 */
#ifndef THAW_IMAGE_H
#define THAW_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enum.h"
#include "status.h"
#include "window.h"

/* No picture's file is larger; a wrong file must not fill the memory. */
enum { THAW_PICTURE_MOST_BYTES = 512 << 20 };

/* crop: the shorter side to `shorter`, the other in proportion; then the centre. squash: both sides
 * to the target, whatever that does to the proportion. */
#define THAW_FIT_LIST(X)     \
    X(THAW_FIT_CROP, "crop") \
    X(THAW_FIT_SQUASH, "squash")
typedef enum thaw_fit { THAW_FIT_LIST(THAW_ENUM_VALUE) } thaw_fit;

/* bilinear: a triangle; bicubic: Catmull-Rom (a = -0.5). Both widened when shrinking. */
#define THAW_FILTER_LIST(X)             \
    X(THAW_FILTER_BILINEAR, "bilinear") \
    X(THAW_FILTER_BICUBIC, "bicubic")
typedef enum thaw_filter { THAW_FILTER_LIST(THAW_ENUM_VALUE) } thaw_filter;

/* Of the colour channels. */
#define THAW_ORDER_LIST(X)   \
    X(THAW_ORDER_RGB, "rgb") \
    X(THAW_ORDER_BGR, "bgr")
typedef enum thaw_order { THAW_ORDER_LIST(THAW_ENUM_VALUE) } thaw_order;

/* exact: every pixel of the file. fast: of a JPEG a half, a quarter or an eighth of the rows and
 * columns, as long as that leaves two for each of the result; it is transformed to that size from
 * frequencies, as Pillow's draft() does. */
#define THAW_DECODE_LIST(X)       \
    X(THAW_DECODE_EXACT, "exact") \
    X(THAW_DECODE_FAST, "fast")
typedef enum thaw_decode { THAW_DECODE_LIST(THAW_ENUM_VALUE) } thaw_decode;

typedef struct thaw_geometry {
    int width, height; /* Of the result. */
    thaw_fit fit;
    int shorter; /* THAW_FIT_CROP only; below the larger of width and height it counts as that. */
    thaw_filter filter;
    int channels;       /* 3; 1: grey, by the weights of ITU-R 601. */
    thaw_order order;   /* Of the result. */
    uint8_t background; /* Grey on which transparent pixels are laid. */
    thaw_decode decode;
    thaw_pixel_window window; /* For samples of more than 8 bits. */
} thaw_geometry;

typedef struct thaw_view thaw_view; /* view.h */

/* What one thread needs: memory that grows to the largest usual picture and is used again. */
typedef struct thaw_decoder thaw_decoder;
thaw_status thaw_decoder_create(thaw_decoder **decoder, thaw_error *err);
void thaw_decoder_free(thaw_decoder *decoder); /* NULL: nothing. */

/* Memory in bytes that several decoders may hold together for pictures larger than usual; a decoder
 * waits for its share. A picture that needs more than all of it is decoded while no other large one
 * is. Free it after the decoders. ERR_NOMEM. */
typedef struct thaw_image_budget thaw_image_budget;
#define THAW_IMAGE_BUDGET_BYTES ((size_t)1 << 30)
thaw_status thaw_image_budget_create(thaw_image_budget **budget, size_t bytes, thaw_error *err);
void thaw_image_budget_free(thaw_image_budget *budget); /* NULL: nothing. */

/* Makes the decoder take large pictures' memory from the budget (NULL: from nowhere), and end soon,
 * with ERR_INTERRUPTED, once *stop is not 0 (NULL: never). Both outlive it. */
void thaw_decoder_share(thaw_decoder *decoder, thaw_image_budget *budget, const volatile int *stop);

/* Decodes the n bytes of a picture's file into out, u8 [height, width, channels].
 * ERR_FORMAT: not a picture, one of a format that Thaw or this build does not read (named), damaged
 * or cut off; ERR_UNSUPPORTED: larger than 2^28 pixels, or of a kind that is not read; ERR_NOMEM;
 * ERR_INTERRUPTED. out is undefined then. */
thaw_status thaw_image_decode(thaw_decoder *decoder, const void *bytes, size_t n,
                              const thaw_geometry *geometry, uint8_t *out, thaw_error *err);

/* The same of a view of the picture; NULL: of the picture as it is. */
thaw_status thaw_image_decode_view(thaw_decoder *decoder, const void *bytes, size_t n,
                                   const thaw_geometry *geometry, const thaw_view *view,
                                   uint8_t *out, thaw_error *err);

/* What the file of the picture that was decoded last says of it. */
typedef struct thaw_image_facts {
    const char *format; /* "JPEG", static. */
    int width, height;  /* As it is shown. */
    int orientation;    /* EXIF's 1..8; 0: nothing is said. */
} thaw_image_facts;
thaw_image_facts thaw_decoder_facts(const thaw_decoder *decoder);

/* The name of the format, of those that are read or known, that the n bytes of a file begin like; NULL:
 * none. Static text. */
const char *thaw_image_format(const void *bytes, size_t n);

/* The steps of the above, for tests. Pixels are u8 RGB, rows dense. */
typedef struct thaw_pixels {
    const uint8_t *rgb; /* The decoder's, until its next call. */
    int width, height;
} thaw_pixels;
thaw_status thaw_image_decode_full(thaw_decoder *decoder, const void *bytes, size_t n,
                                   uint8_t background, thaw_pixels *pixels, thaw_error *err);
thaw_status thaw_image_resize(thaw_decoder *decoder, const thaw_pixels *pixels,
                              const thaw_geometry *geometry, uint8_t *out, thaw_error *err);

/* Whether this build reads the format: "JPEG", "WebP", "TIFF", "HEIC", "DICOM", ... */
bool thaw_image_reads(const char *format);

/* Names the decoders and the versions of their libraries: other decoders make other pixels, so this
 * is part of what identifies cached features. Static text. */
const char *thaw_image_decoder_id(void);

#endif
