/* A list of pictures, whose first byte says of which form: what is read stands by class and in order, and
 * stays below the root. */
#include "../tempdir.h"
#include "data/list.h"
#include "file.h"
#include "fuzz.h"
#include "text.h"

static tempdir place;
static char csv[PATH_MAX], lst[PATH_MAX], manifest[PATH_MAX];

static void remove_place(void) {
    tempdir_remove(&place);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    place = tempdir_make();
    atexit(remove_place);
    tempdir_path(&place, "x.csv", csv);
    tempdir_path(&place, "x.lst", lst);
    tempdir_path(&place, "x.manifest", manifest);
    return 0;
}

static void check_list(const thaw_list *list) {
    FUZZ_CHECK(list->n > 0 && list->n_classes > 0);
    FUZZ_CHECK(list->first[0] == 0 && list->first[list->n_classes] == list->n);
    for (size_t k = 0; k < list->n_classes; k++)
        for (size_t i = list->first[k]; i < list->first[k + 1]; i++) {
            const thaw_listed *row = &list->rows[i];
            FUZZ_CHECK(row->label == k && row->split < THAW_SPLIT_COUNT);
            FUZZ_CHECK(!thaw_file_leads_out(row->path));
            FUZZ_CHECK(i == list->first[k] || thaw_text_natural(row[-1].path, row->path) < 0);
            const char *name = thaw_list_name(list, row);
            FUZZ_CHECK(name >= row->path && name <= row->path + strlen(row->path));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    const char *path = data[0] % 4 == 3 ? manifest : data[0] % 2 ? csv : lst;
    thaw_list list;
    thaw_arena arena = {0};
    thaw_error err = {0};
    FILE *file = fopen(path, "wb");
    tempdir_check(file && fwrite(data + 1, 1, n - 1, file) == n - 1 && fclose(file) == 0, path);
    thaw_list_spec spec = {.file = path};
    thaw_status status = thaw_list_read(&list, &spec, &arena, &err);
    fuzz_check_status(status, &err);
    if (status == THAW_OK) check_list(&list);
    thaw_arena_free(&arena);
    return 0;
}
