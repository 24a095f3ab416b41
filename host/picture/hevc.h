/* For heif.c. */
#ifndef THAW_HEVC_H
#define THAW_HEVC_H

/* Makes libheif decode HEVC strictly, from now on. */
void thaw__hevc_register(void);

#endif
