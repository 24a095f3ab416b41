/* A channel that is ShardedByS3Key lies on all hosts, on each another part. The leader trains, so the
 * others send it their files: over TCP, from the hosts' names, before anything is computed.
 *
 * A connection: the sender says who it is ("THAWGTHR", its rank and the number of hosts) and waits for
 * its turn (a byte). Then for each file: lengths of channel and path, size, both texts, the bytes, and their
 * hash; in the end a file without a name. Then the leader says that it has everything (a byte). Numbers
 * are little-endian. Whoever hears nothing for a minute, or finds no peer in half an hour, gives up with
 * a sentence: no host waits for ever.
 */
#ifndef THAW_GATHER_H
#define THAW_GATHER_H

#include "log.h"
#include "platform.h"

/* Whether there is anything to gather: several hosts, and a channel whose parts they have. */
bool thaw_gather_is_needed(const thaw_platform *platform);

/* Sends this host's parts to the leader. ERR_IO: it cannot be reached, or goes away; ERR_INTERRUPTED. */
thaw_status thaw_gather_send(const thaw_platform *platform, const volatile int *stop, thaw_log *log,
                             thaw_error *err);

/* Makes a whole of each such channel below folder, of links to this host's own files and of what the others
 * send, and the channels' paths those. Files that come are checked: where they would lie, how large they
 * are against the room on the disk, and their hash.
 * ERR_IO: a host does not come, or goes away, or the disk is too small; ERR_FORMAT: what comes is no such
 * file; ERR_UNSUPPORTED: a pipe; ERR_INTERRUPTED; ERR_NOMEM. */
thaw_status thaw_gather_receive(thaw_platform *platform, const char *folder,
                                const volatile int *stop, thaw_log *log, thaw_error *err);

#endif
