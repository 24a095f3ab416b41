/* A tar file of pictures: whatever a list of it names can be read where it is. */
#include "../tempdir.h"
#include "data/list.h"
#include "file.h"
#include "fuzz.h"
#include "picture/picture_file.h"

static tempdir place;
static char path[PATH_MAX];

static void remove_place(void) {
    tempdir_remove(&place);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    place = tempdir_make();
    atexit(remove_place);
    tempdir_path(&place, "x.tar", path);
    return 0;
}

static void read_picture(const thaw_list *list, const thaw_listed *row) {
    thaw_arena arena = {0};
    thaw_error err = {0};
    size_t n;
    char *bytes, *name = thaw_file_join(&arena, list->root, row->path);
    thaw_status status = thaw_picture_read(name, &arena, &bytes, &n, &err);
    /* A header of another one may have led to the first of them. */
    if (status != THAW_OK) fuzz_check_status(status, &err);
    FUZZ_CHECK(status != THAW_OK || bytes[n] == '\0');
    FUZZ_CHECK(row->name_at <= strlen(row->path) && thaw_list_name(list, row) >= row->path);
    thaw_arena_free(&arena);
}

/* Without the right sums few headers would be looked at. */
static void write_sums(uint8_t *bytes, size_t n) {
    enum { BLOCK = 512, SUM_AT = 148, SUM_BYTES = 8 };
    for (size_t at = 0; at + BLOCK <= n; at += BLOCK) {
        unsigned sum = 0;
        if (memcmp(bytes + at + 257, "ustar", 5) != 0) continue;
        memset(bytes + at + SUM_AT, ' ', SUM_BYTES);
        for (int i = 0; i < BLOCK; i++)
            sum += bytes[at + (size_t)i];
        snprintf((char *)bytes + at + SUM_AT, SUM_BYTES - 1, "%06o", sum);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    thaw_list list;
    thaw_arena arena = {0};
    thaw_error err = {0};
    uint8_t *bytes = (uint8_t *)fuzz_text(data, n);
    write_sums(bytes, n);
    FILE *file = fopen(path, "wb");
    tempdir_check(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0, path);
    free(bytes);
    thaw_list_spec spec = {.file = path};
    thaw_status status = thaw_list_read(&list, &spec, &arena, &err);
    fuzz_check_status(status, &err);
    for (size_t i = 0; status == THAW_OK && i < list.n; i++)
        read_picture(&list, &list.rows[i]);
    thaw_arena_free(&arena);
    return 0;
}
