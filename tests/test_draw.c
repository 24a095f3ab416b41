/* The picture generator: the same bytes always and everywhere, a different picture for every
 * index, all kinds at all sizes, datasets whose files do not depend on threads, errors with words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "draw.h"

static const uint64_t GOLDEN_HASH = 0x48e9ca2cf956f661;

enum { GUARD = 32, GUARD_BYTE = 0xa5 };

/* ---- helpers ---- */

/* FNV-1a, 64 bits: going on from hash over n bytes. */
static uint64_t fnv(uint64_t hash, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static const uint64_t FNV_START = 0xcbf29ce484222325u;

/* Draws into a buffer with guard bytes after it; the caller frees. */
static uint8_t *drawn(int kind, uint64_t seed, uint32_t index, int width, int height) {
    size_t n = (size_t)width * (size_t)height * 3;
    uint8_t *rgb = malloc(n + GUARD);
    assert_non_null(rgb);
    memset(rgb, GUARD_BYTE, n + GUARD);
    thaw_error err;
    if (thaw_draw_picture(kind, seed, index, width, height, rgb, &err)) fail_msg("%s", err.text);
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(rgb[n + i], GUARD_BYTE);
    return rgb;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

/* A new folder under the build folder, its name in the 512 bytes at path. */
static void make_folder(char *path) {
    snprintf(path, 512, "%s/draw-XXXXXX", THAW_BINARY_DIR);
    assert_non_null(mkdtemp(path));
}

static void remove_folder(const char *path) {
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* What nftw has seen: its callback takes no argument. */
static uint64_t tree_hash;
static int tree_files;
static size_t tree_skip;

static int hash_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)ftw;
    if (flag != FTW_F) return 0;
    uint8_t *bytes = malloc((size_t)st->st_size);
    FILE *f = fopen(path, "rb");
    assert_non_null(bytes);
    assert_non_null(f);
    assert_int_equal(fread(bytes, 1, (size_t)st->st_size, f), st->st_size);
    fclose(f);
    /* A sum: the order of files in a folder is the file system's own. */
    const char *name = path + tree_skip;
    tree_hash +=
        fnv(fnv(FNV_START, (const uint8_t *)name, strlen(name)), bytes, (size_t)st->st_size);
    tree_files++;
    free(bytes);
    return 0;
}

/* A number for the names and contents of all files below path. */
static uint64_t hash_folder(const char *path) {
    tree_hash = 0, tree_files = 0, tree_skip = strlen(path);
    assert_int_equal(nftw(path, hash_entry, 8, FTW_PHYS), 0);
    return tree_hash;
}

/* ---- pictures ---- */

static void names_are_unique(void **state) {
    (void)state;
    for (int i = 0; i < THAW_DRAW_KINDS; i++) {
        const char *name = thaw_draw_kind_name(i);
        assert_non_null(name);
        assert_true(strlen(name) > 0 && strlen(name) < 32);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(name, thaw_draw_kind_name(j));
    }
    assert_null(thaw_draw_kind_name(-1));
    assert_null(thaw_draw_kind_name(THAW_DRAW_KINDS));
}

static void same_bytes_twice(void **state) {
    (void)state;
    for (int kind = 0; kind < THAW_DRAW_KINDS; kind++) {
        uint8_t *a = drawn(kind, 3, 5, 48, 48), *b = drawn(kind, 3, 5, 48, 48);
        assert_memory_equal(a, b, 48 * 48 * 3);
        free(a);
        free(b);
    }
}

/* Every compiler, optimisation level and processor must arrive at this number. Whoever changes the
 * drawing on purpose puts the new one here, and trains the base CNN again. */
static void same_bytes_everywhere(void **state) {
    (void)state;
    uint64_t hash = FNV_START;
    for (int kind = 0; kind < THAW_DRAW_KINDS; kind++) {
        uint8_t *rgb = drawn(kind, 20, 1, 40, 40);
        hash = fnv(hash, rgb, 40 * 40 * 3);
        free(rgb);
    }
    if (hash != GOLDEN_HASH) fail_msg("the pictures hash to 0x%016llx", (unsigned long long)hash);
}

static double mean_difference(const uint8_t *a, const uint8_t *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
    return sum / (double)n;
}

static void other_index_other_picture(void **state) {
    (void)state;
    for (int kind = 0; kind < THAW_DRAW_KINDS; kind++) {
        uint8_t *a = drawn(kind, 1, 0, 32, 32), *b = drawn(kind, 1, 1, 32, 32);
        uint8_t *c = drawn(kind, 2, 0, 32, 32);
        assert_true(mean_difference(a, b, 32 * 32 * 3) > 2);
        assert_true(mean_difference(a, c, 32 * 32 * 3) > 2);
        free(a);
        free(b);
        free(c);
    }
}

/* Neither black nor blown out, whatever the light: over all kinds, and for each picture. */
static void brightness_is_sane(void **state) {
    (void)state;
    double total = 0;
    enum { SIDE = 24, EACH = 6 };
    for (int kind = 0; kind < THAW_DRAW_KINDS; kind++)
        for (uint32_t index = 0; index < EACH; index++) {
            uint8_t *rgb = drawn(kind, 4, index, SIDE, SIDE);
            double sum = 0;
            for (int i = 0; i < SIDE * SIDE * 3; i++)
                sum += rgb[i];
            double mean = sum / (SIDE * SIDE * 3);
            if (!(mean > 15 && mean < 240))
                fail_msg("%s %u: mean brightness %g", thaw_draw_kind_name(kind), index, mean);
            total += mean;
            free(rgb);
        }
    double mean = total / (THAW_DRAW_KINDS * EACH);
    if (!(mean > 80 && mean < 160)) fail_msg("mean brightness of all pictures: %g", mean);
}

static void all_kinds_at_all_sizes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int width, height;
    } sizes[] = {{"smallest", 16, 16},
                 {"odd", 33, 17},
                 {"lying", 100, 64},
                 {"standing", 96, 131},
                 {"largest tried", 256, 256}};
    for (int kind = 0; kind < THAW_DRAW_KINDS; kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            free(drawn(kind, 7, 7, sizes[i].width, sizes[i].height));
}

static void impossible_pictures_are_refused(void **state) {
    (void)state;
    uint8_t byte = GUARD_BYTE;
    thaw_error err;
    assert_int_equal(thaw_draw_picture(-1, 0, 0, 32, 32, &byte, &err), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "kind -1"));
    assert_int_equal(thaw_draw_picture(THAW_DRAW_KINDS, 0, 0, 32, 32, &byte, NULL), THAW_ERR_USAGE);
    assert_int_equal(thaw_draw_picture(0, 0, 0, 15, 32, &byte, &err), THAW_ERR_USAGE);
    assert_non_null(strstr(err.text, "15 x 32"));
    assert_int_equal(thaw_draw_picture(0, 0, 0, 32, 1025, &byte, NULL), THAW_ERR_USAGE);
    assert_int_equal(byte, GUARD_BYTE);
}

/* ---- datasets ---- */

static void files_do_not_depend_on_threads(void **state) {
    (void)state;
    static const struct {
        thaw_draw_set set;
        int n_train, n_test, files;
    } cases[] = {{THAW_DRAW_SET_DEMO8, 2, 1, 24}, {THAW_DRAW_SET_BASE2, 30, 5, 70}};
    int threads = omp_get_max_threads();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t hash[2];
        for (int many = 0; many < 2; many++) {
            char root[512], below[600];
            thaw_error err;
            make_folder(root);
            snprintf(below, sizeof below, "%s/a/b", root);
            thaw_draw_options o = {below, cases[i].set, cases[i].n_train, cases[i].n_test, 32, 9};
            omp_set_num_threads(many ? 3 : 1);
            if (thaw_draw_dataset(&o, &err)) fail_msg("%s", err.text);
            hash[many] = hash_folder(below);
            assert_int_equal(tree_files, cases[i].files);
            remove_folder(root);
        }
        assert_int_equal(hash[0], hash[1]);
    }
    omp_set_num_threads(threads);
}

/* More pictures leave those that are there as they were, and never turn one into a test picture. */
static void pictures_keep_their_names(void **state) {
    (void)state;
    char root[512], path[700];
    make_folder(root);
    thaw_draw_options o = {root, THAW_DRAW_SET_DEMO8, 1, 1, 32, 9};
    assert_int_equal(thaw_draw_dataset(&o, NULL), THAW_OK);
    uint64_t few = hash_folder(root);
    o.n_train = 3;
    assert_int_equal(thaw_draw_dataset(&o, NULL), THAW_OK);
    for (int i = 0; i < THAW_DRAW_DEMO; i++) {
        const char *name = thaw_draw_kind_name(THAW_DRAW_BASE + i);
        for (int j = 1; j < 3; j++) {
            snprintf(path, sizeof path, "%s/train/%s/%s-%04d.jpg", root, name, name, j);
            assert_int_equal(unlink(path), 0);
        }
    }
    assert_int_equal(hash_folder(root), few);
    remove_folder(root);
}

static void unwritable_folder_is_named(void **state) {
    (void)state;
    char root[512], path[600];
    make_folder(root);
    /* A file where a folder should be stops everyone, root included. */
    snprintf(path, sizeof path, "%s/file", root);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    thaw_draw_options o = {path, THAW_DRAW_SET_DEMO8, 1, 1, 32, 9};
    thaw_error err = {0};
    assert_int_equal(thaw_draw_dataset(&o, &err), THAW_ERR_IO);
    assert_int_equal(err.code, THAW_ERR_IO);
    assert_non_null(strstr(err.text, path));
    /* And a folder where a file should be. */
    snprintf(path, sizeof path, "%s/set", root);
    assert_int_equal(thaw_draw_dataset(&o, &err), THAW_OK);
    snprintf(path, sizeof path, "%s/set/train/rose/rose-0000.jpg", root);
    assert_int_equal(unlink(path), 0);
    char inside[700];
    snprintf(inside, sizeof inside, "%s/set/train/rose/rose-0000.jpg/x", root);
    o.root = inside;
    assert_int_equal(thaw_draw_dataset(&o, &err), THAW_OK);
    snprintf(path, sizeof path, "%s/set", root);
    o.root = path;
    assert_int_equal(thaw_draw_dataset(&o, &err), THAW_ERR_IO);
    assert_non_null(strstr(err.text, "rose-0000.jpg"));
    assert_int_equal(thaw_draw_dataset(&o, NULL), THAW_ERR_IO);
    remove_folder(root);
}

static void impossible_options_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *name;
        thaw_draw_options options;
        const char *word;
    } cases[] = {
        {"no folder", {"", THAW_DRAW_SET_DEMO8, 1, 1, 32, 0}, "folder"},
        {"no such set", {"x", (thaw_draw_set)7, 1, 1, 32, 0}, "set 7"},
        {"less than none", {"x", THAW_DRAW_SET_DEMO8, -1, 1, 32, 0}, "-1"},
        {"too small", {"x", THAW_DRAW_SET_BASE2, 1, 1, 15, 0}, "size 15"},
        {"too large", {"x", THAW_DRAW_SET_BASE2, 1, 1, 1025, 0}, "size 1025"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thaw_error err = {0};
        if (thaw_draw_dataset(&cases[i].options, &err) != THAW_ERR_USAGE ||
            !strstr(err.text, cases[i].word))
            fail_msg("%s: \"%s\"", cases[i].name, err.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(same_bytes_twice),
        cmocka_unit_test(same_bytes_everywhere),
        cmocka_unit_test(other_index_other_picture),
        cmocka_unit_test(brightness_is_sane),
        cmocka_unit_test(all_kinds_at_all_sizes),
        cmocka_unit_test(impossible_pictures_are_refused),
        cmocka_unit_test(files_do_not_depend_on_threads),
        cmocka_unit_test(pictures_keep_their_names),
        cmocka_unit_test(unwritable_folder_is_named),
        cmocka_unit_test(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
