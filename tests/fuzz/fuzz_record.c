/* A RecordIO file: records that are found can be read, and follow one another to its end. */
#include <fcntl.h>

#include "../tempdir.h"
#include "fuzz.h"
#include "picture/picture_file.h"
#include "recordio.h"

static tempdir place;
static char path[PATH_MAX];

static void remove_place(void) {
    tempdir_remove(&place);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    place = tempdir_make();
    atexit(remove_place);
    tempdir_path(&place, "x.rec", path);
    return 0;
}

static void read_picture(const thaw_record *record) {
    thaw_arena arena = {0};
    thaw_error err = {0};
    char name[PATH_MAX + 32], *bytes;
    size_t n;
    snprintf(name, sizeof name, "%s/%llu", path, (unsigned long long)record->begin);
    FUZZ_CHECK(thaw_picture_read(name, &arena, &bytes, &n, &err) == THAW_OK);
    FUZZ_CHECK(n < record->n_bytes && bytes[n] == '\0');
    thaw_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    thaw_record record = {0};
    thaw_error err = {0};
    thaw_status status = THAW_OK;
    FILE *file = fopen(path, "wb");
    tempdir_check(file && fwrite(data, 1, n, file) == n && fclose(file) == 0, path);
    int fd = open(path, O_RDONLY);
    for (uint64_t at = 0; at < n && status == THAW_OK; at = record.end) {
        status = thaw_record_look(fd, path, n, at, &record, &err);
        fuzz_check_status(status, &err);
        if (status != THAW_OK) break;
        FUZZ_CHECK(record.begin == at && record.end > at && record.end <= n);
        read_picture(&record);
    }
    close(fd);
    return 0;
}
