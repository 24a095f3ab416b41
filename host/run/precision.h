/* What a trunk computes in. */
#ifndef THAW_PRECISION_H
#define THAW_PRECISION_H

#include "session.h"

/* Where nothing is tried out: the precision that was asked for, fp16 where there is no fp32, and for
 * `auto` the narrowest. ERR_UNSUPPORTED: the device does not. */
thaw_status thaw_precision_asked(const thaw_options *options, const thaw_backend *backend,
                                 thaw_dtype *compute, thaw_error *err);

/* Sets session->compute for this network and the session's dataset, a few of whose pictures are
 * computed to see what `auto` gains and costs, and whether half precision holds them; says what it
 * chose. A GPU that has nothing else than half precision gives way to the CPU then.
 * ERR_UNSUPPORTED as above; what computing returns. */
thaw_status thaw_precision_choose(thaw_session *session, const thaw_network *network,
                                  thaw_error *err);

#endif
