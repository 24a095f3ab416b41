/* thaw new: a known network with random weights, as an ONNX file. */
#include <stdio.h>

#include "commands.h"
#include "onnx/architectures.h"
#include "utf8.h"

thaw_status thaw_cmd_new(const thaw_cli *cli, const thaw_options *options, thaw_error *err) {
    (void)cli;
    THAW_TRY(thaw_options_require(options, "new.arch", err));
    THAW_TRY(thaw_options_require(options, "new.output", err));
    thaw_new_network network = {.arch = options->new_network.arch,
                                .classes = options->new_network.classes,
                                .size = options->new_network.size,
                                .seed = (uint64_t)options->seed};
    THAW_TRY(thaw_architecture_write(&network, options->new_network.output, err));
    thaw_utf8_put(stdout, options->new_network.output, 0);
    printf(": %s with random weights (seed %lld), %lld classes, %lld x %lld pictures\n",
           network.arch, (long long)options->seed, (long long)network.classes,
           (long long)network.size, (long long)network.size);
    return THAW_OK;
}
