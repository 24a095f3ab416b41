/* Stands in for download.c where libcurl or GnuTLS are missing. */
#include "download.h"

thaw_status thaw_download_file(const thaw_download *d, thaw_error *err) {
    return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                     "this build of Thaw cannot fetch '%.600s': install libcurl4-gnutls-dev and "
                     "build again, with -DTHAW_FETCH=ON",
                     d->url);
}
