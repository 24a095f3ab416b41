/* What comes through a FIFO, whose first byte says whether labels come as texts: what is kept is a list that
 * can be read, of as many pictures as were counted, or has labels that are no class ids. */
#include "../tempdir.h"
#include "data/list.h"
#include "data/pipe.h"
#include "fuzz.h"

static tempdir place;
static char channel[PATH_MAX], fifo[PATH_MAX];

static void remove_place(void) {
    tempdir_remove(&place);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    place = tempdir_make();
    atexit(remove_place);
    tempdir_path(&place, "x", channel);
    tempdir_path(&place, "x_0", fifo);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    thaw_pipe_spec spec = {.channel = channel, .manifest = data[0] % 2, .patience_s = 1};
    thaw_pipe_result result;
    thaw_list list;
    thaw_arena arena = {0};
    thaw_error err = {0};
    FILE *file = fopen(fifo, "wb");
    tempdir_check(file && fwrite(data + 1, 1, n - 1, file) == n - 1 && fclose(file) == 0, fifo);
    thaw_status status = thaw_pipe_spool(&spec, place.root, &result, &err);
    fuzz_check_status(status, &err);
    if (status == THAW_OK) {
        thaw_list_spec source = {.file = result.source};
        status = thaw_list_read(&list, &source, &arena, &err);
        fuzz_check_status(status, &err);
        FUZZ_CHECK(status == THAW_OK ? list.n == result.n : !spec.manifest);
    }
    thaw_arena_free(&arena);
    return 0;
}
