/* thaw serve [RUN]: answers what a trained run sees in pictures, by HTTP. */
#include <stdio.h>

#include "commands.h"
#include "run/stop.h"
#include "serve/server.h"

static thaw_status serve(const thaw_settings *settings, const thaw_options *options, thaw_log *log,
                         const volatile int *stop, thaw_error *err) {
    thaw_server *server = NULL;
    thaw_status status = thaw_server_open(&server, settings, options, log, err);
    if (status == THAW_OK) {
        thaw_log_write(log, THAW_LOG_INFO, "thaw %s serves %s", THAW_VERSION,
                       settings->folder   ? settings->folder
                       : settings->models ? settings->models
                                          : "the models that /models is given");
        puts(thaw_server_url(server));
        fflush(stdout); /* Whoever chose port 0 waits for it. */
        status = thaw_server_run(server, stop, err);
    }
    thaw_server_close(server);
    return status;
}

thaw_status thaw_cmd_serve(const thaw_cli *cli, const thaw_options *given, thaw_error *err) {
    const volatile int *stop = thaw_stop_catch();
    thaw_arena arena = {0};
    thaw_settings settings;
    thaw_options options;
    thaw_log log;
    thaw_status status = thaw_options_copy(&options, given, err);
    if (status == THAW_OK) status = thaw_settings_read_environment(&options, err);
    thaw_log_open(&log, stderr, status == THAW_OK ? options.log : THAW_LOG_INFO);
    if (status == THAW_OK)
        status =
            thaw_settings_open(&settings, &options, cli->n_args ? cli->args[0] : NULL, &arena, err);
    if (status == THAW_OK) status = serve(&settings, &options, &log, stop, err);
    thaw_log_close(&log);
    thaw_options_free(&options);
    thaw_arena_free(&arena);
    return status;
}
