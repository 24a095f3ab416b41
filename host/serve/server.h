/* The server: binds first, answers /ping at once, loads its models in another thread, predicts until it is
 * asked to stop, and then ends what is under way.
 *
 * One thread speaks HTTP (libmicrohttpd) and computes nothing; a request that waits for its answer is
 * suspended and costs no thread. Nothing is written anywhere but to the log, and no body ever is. */
#ifndef THAW_SERVER_H
#define THAW_SERVER_H

#include "log.h"
#include "settings.h"

typedef struct thaw_server thaw_server;

/* Listens, from now on. settings, options and log outlive the server. ERR_USAGE: an address that is none;
 * ERR_SYSTEM: the port is taken, or no thread can be started; ERR_NOMEM. */
thaw_status thaw_server_open(thaw_server **server, const thaw_settings *settings,
                             const thaw_options *options, thaw_log *log, thaw_error *err);

/* Where it listens: "http://127.0.0.1:8080/". */
const char *thaw_server_url(const thaw_server *server);

/* Loads, and serves until *stop is not 0; then ends what is under way, within 25 seconds. Fails as loading or
 * computing does. */
thaw_status thaw_server_run(thaw_server *server, const volatile int *stop, thaw_error *err);

void thaw_server_close(thaw_server *server); /* NULL: nothing. */

#endif
