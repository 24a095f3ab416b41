/* The bundle.json of a trained run, which THAW_FUZZ_RUN names (tests/fuzz/run.sh trains one): a
 * bundle that opens has the labels of its model. */
#include "../tempdir.h"
#include "fuzz.h"
#include "model/bundle.h"

static thaw_backend backend;
static tempdir place;
static char path[PATH_MAX];

static void remove_place(void) {
    tempdir_remove(&place);
}

/* The fuzzer's own copy of the run: several may be at work. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    char command[3 * PATH_MAX];
    const char *run = getenv("THAW_FUZZ_RUN");
    if (!run) {
        fprintf(stderr, "fuzz_bundle: set THAW_FUZZ_RUN to a trained run's folder\n");
        exit(1);
    }
    place = tempdir_make();
    atexit(remove_place);
    snprintf(command, sizeof command, "cp -r '%s/.' '%s'", run, place.root);
    tempdir_check(system(command) == 0, command);
    tempdir_path(&place, "bundle.json", path);
    FUZZ_CHECK(thaw_backend_open(&backend, "cpu", 1, NULL) == THAW_OK);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    thaw_bundle bundle;
    thaw_error err = {0};
    FILE *file = fopen(path, "wb");
    tempdir_check(file && fwrite(data, 1, n, file) == n && fclose(file) == 0, path);
    thaw_status status = thaw_bundle_open(&bundle, place.root, &backend, &err);
    fuzz_check_status(status, &err);
    if (status == THAW_OK) {
        FUZZ_CHECK((int64_t)bundle.n_labels == bundle.layers[bundle.n_layers - 1].K);
        FUZZ_CHECK(bundle.network.preprocess.geometry.width > 0);
    }
    thaw_bundle_close(&bundle);
    return 0;
}
