/* One file by its address, size and checksum.
 *
 * What comes stands in PATH.part until all of it is there and is what it should be; then it is renamed.
 * What was cut off goes on where it ended, in the same run or in the next, where the server can give a
 * part of a file (HTTP's Range), and else begins anew. What turns out to be another file is kept as
 * PATH.wrong, so that one can look at it.
 */
#ifndef THAW_DOWNLOAD_H
#define THAW_DOWNLOAD_H

#include <stdint.h>

#include "catalogue.h"
#include "log.h"
#include "status.h"

typedef struct thaw_download {
    const char *url;
    const char *path;         /* Where it goes; its folder is there. */
    uint64_t bytes;           /* Its size, */
    const uint8_t *sha256;    /* [THAW_SHA256_BYTES] and its checksum. */
    const volatile int *stop; /* Becomes non-zero: ERR_INTERRUPTED; what came stays. NULL: never. */
    thaw_log *log;
    double wait_s; /* Before a connection that was cut is tried again. */
} thaw_download;

/* Does nothing where the file is there. ERR_IO: the server cannot be reached, has no such file, the disk is
 * full, or another program is fetching it; ERR_MISMATCH: size or checksum are not what they should be;
 * ERR_INTERRUPTED; ERR_UNSUPPORTED: this build cannot fetch. */
thaw_status thaw_download_file(const thaw_download *download, thaw_error *err);

#endif
