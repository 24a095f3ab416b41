#include "jpeg_encode.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h> /* needs stdio.h before it */

typedef struct jpeg_trap {
    struct jpeg_error_mgr manager; /* first: libjpeg hands back a pointer to it */
    jmp_buf out;
} jpeg_trap;

static void leave_jpeg(j_common_ptr info) {
    longjmp(((jpeg_trap *)info->err)->out, 1);
}

/* No JPEG of this size is larger (tjBufSize, for two bytes of colour a pixel). libjpeg must never grow
 * the buffer: where memory for that is short, it leaves a pointer to what it has freed. */
static unsigned long most_bytes(int width, int height) {
    unsigned long w = ((unsigned long)width + 15) & ~15ul, h = ((unsigned long)height + 15) & ~15ul;
    return w * h * 4 + 2048;
}

int thaw_jpeg_encode(const uint8_t *rgb, int width, int height, int quality, unsigned char **bytes,
                     unsigned long *n_bytes) {
    struct jpeg_compress_struct info;
    jpeg_trap trap;
    info.err = jpeg_std_error(&trap.manager);
    trap.manager.error_exit = leave_jpeg;
    *n_bytes = most_bytes(width, height);
    *bytes = malloc(*n_bytes);
    if (!*bytes) return -1;
    if (setjmp(trap.out)) {
        jpeg_destroy_compress(&info);
        return -1;
    }
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, bytes, n_bytes);
    info.image_width = (JDIMENSION)width;
    info.image_height = (JDIMENSION)height;
    info.input_components = 3;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, quality, TRUE);
    info.dct_method = JDCT_ISLOW; /* The one whose results do not depend on the processor. */
    jpeg_start_compress(&info, TRUE);
    while (info.next_scanline < info.image_height) {
        JSAMPROW row = (uint8_t *)rgb + (size_t)info.next_scanline * (size_t)width * 3;
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    return 0;
}
