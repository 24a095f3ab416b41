/* What others do to a cache, and with it: who may own and write its folders, what somebody planted in
 * them, a cache that can only be read, and several processes that share the work of filling one. */
#include "cache_testing.h"
//
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <utime.h>

enum { NOBODY = 65534, PATIENCE = 60 }; /* Seconds after which a test fails that would never end. */

static void fill(cache_test *t, size_t n) {
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, n);
    thaw_cache_close(cache);
}

static void expect_refusal(cache_test *t, thaw_status status, const char *said) {
    thaw_cache *cache;
    assert_int_equal(thaw_cache_open(&cache, &t->spec, &t->err), status);
    assert_null(cache);
    if (!strstr(t->err.text, said)) fail_msg("expected \"%s\" in: %s", said, t->err.text);
}

static mode_t mode_of(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

/* ---- whose folder it is ---------------------------------------------------------------------- */

static const struct {
    mode_t mode;
    bool allowed;
} modes[] = {
    {0700, true},  {0755, true},  {0555, true},  {01777, true},  {01775, true},
    {0775, false}, {0777, false}, {0757, false}, {02775, false}, {0722, false},
};

static void who_may_write(void **state) {
    cache_test *t = *state;
    char trunk[PATH_MAX];
    fill(t, 3);
    test_trunk_path(t, "", trunk);
    const char *folders[] = {t->dir.root, trunk};
    for (int f = 0; f < 2; f++)
        for (size_t k = 0; k < sizeof modes / sizeof *modes; k++) {
            assert_int_equal(chmod(folders[f], modes[k].mode), 0);
            thaw_status status = thaw_cache_check_root(folders[f], false, &t->err);
            assert_int_equal(status, modes[k].allowed ? THAW_OK : THAW_ERR_USAGE);
            assert_int_equal(thaw_cache_check_root(folders[f], true, &t->err), THAW_OK);
            t->spec.shared = false;
            if (!modes[k].allowed) expect_refusal(t, THAW_ERR_USAGE, "chmod go-w");
            if (!modes[k].allowed) expect_refusal(t, THAW_ERR_USAGE, "cache.shared = true");
            t->spec.shared = !modes[k].allowed;
            thaw_cache *cache = test_open(t);
            assert_int_equal(test_count(t, cache, 0, 3), 3);
            thaw_cache_close(cache);
            assert_int_equal(chmod(folders[f], 0755), 0);
        }
    assert_int_equal(thaw_cache_check_root("/nowhere/at/all", false, &t->err), THAW_OK);
}

/* Root's files are anybody's to read; those of another user are not. */
static void another_owner(void **state) {
    cache_test *t = *state;
    if (geteuid() != 0) {
        print_message("SKIPPED: only root can give a folder away\n");
        skip();
    }
    char trunk[PATH_MAX];
    fill(t, 3);
    test_trunk_path(t, "", trunk);
    assert_int_equal(chown(trunk, NOBODY, NOBODY), 0);
    expect_refusal(t, THAW_ERR_USAGE, "belongs to another user");
    assert_int_equal(chown(t->dir.root, NOBODY, NOBODY), 0);
    expect_refusal(t, THAW_ERR_USAGE, "belongs to another user");
    t->spec.shared = true;
    thaw_cache *cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 3), 3);
    thaw_cache_close(cache);
}

/* Whatever the umask, others can't write to what a cache makes; with shared they can. */
static void modes_of_what_is_made(void **state) {
    cache_test *t = *state;
    char root[PATH_MAX], path[PATH_MAX], parent[PATH_MAX];
    mode_t before = umask(0);
    for (int shared = 0; shared < 2; shared++) {
        snprintf(root, sizeof root, "%s/%d/cache", t->dir.root, shared);
        t->spec.root = root;
        t->spec.shared = shared;
        fill(t, 3);
        cache_test inside = *t;
        snprintf(inside.dir.root, sizeof inside.dir.root, "%.127s", root);
        assert_int_equal(mode_of(root), shared ? 0777 : 0755);
        assert_int_equal(mode_of(test_trunk_path(&inside, "", path)), shared ? 0777 : 0755);
        assert_int_equal(mode_of(test_trunk_path(&inside, "lock", path)), shared ? 0666 : 0644);
        assert_int_equal(mode_of(test_shard(&inside, path)), shared ? 0666 : 0644);
        snprintf(parent, sizeof parent, "%s/%d", t->dir.root, shared);
        assert_int_equal(mode_of(parent), 0777); /* That is nobody's cache. */
    }
    umask(before);
}

/* ---- what somebody planted ------------------------------------------------------------------- */

/* A file that nobody must touch, last changed long ago. */
static void make_victim(cache_test *t, char path[PATH_MAX]) {
    tempdir_file(&t->dir, "victim", "mine");
    assert_int_equal(utime(tempdir_path(&t->dir, "victim", path), &(struct utimbuf){1000, 1000}),
                     0);
}

static void expect_untouched(const char *victim) {
    struct stat info;
    assert_int_equal(stat(victim, &info), 0);
    assert_int_equal(info.st_mtime, 1000);
    assert_int_equal(info.st_size, 4);
}

static void planted_lock(void **state) {
    cache_test *t = *state;
    char victim[PATH_MAX], lock[PATH_MAX];
    make_victim(t, victim);
    fill(t, 3);
    unlink(test_trunk_path(t, "lock", lock));
    assert_int_equal(symlink(victim, lock), 0);
    expect_refusal(t, THAW_ERR_IO, "/lock is a link or no regular file: remove it");
    expect_untouched(victim);
    unlink(lock);
    assert_int_equal(symlink("nowhere", lock), 0);
    expect_refusal(t, THAW_ERR_IO, "/lock is a link");
    unlink(lock);
    assert_int_equal(mkfifo(lock, 0600), 0);
    alarm(20); /* A pipe that is opened as a file waits for ever. */
    expect_refusal(t, THAW_ERR_IO, "no regular file");
    test_totals sum = test_verify(t);
    assert_int_equal(sum.records, 3);
    alarm(0);
}

/* Shards and the file of claims that are links or pipes are none. */
static void planted_files(void **state) {
    cache_test *t = *state;
    char victim[PATH_MAX], shard[PATH_MAX], path[PATH_MAX];
    thaw_cache_collected r;
    make_victim(t, victim);
    fill(t, 3);
    test_shard(t, shard);
    assert_int_equal(rename(shard, tempdir_path(&t->dir, "elsewhere", path)), 0);
    assert_int_equal(symlink(path, shard), 0);
    assert_int_equal(mkfifo(test_trunk_path(t, "pipe.shard", path), 0600), 0);
    unlink(test_trunk_path(t, "claims", path));
    assert_int_equal(symlink(victim, path), 0);
    alarm(20);
    thaw_cache *cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 3), 0);
    assert_int_equal(thaw_cache_claim_record(cache, test_key(0)), THAW_CLAIM_MINE);
    thaw_cache_close(cache);
    assert_ok(t, thaw_cache_collect(t->dir.root, UINT64_MAX, 0, &r, &t->err));
    alarm(0);
    expect_untouched(victim);
}

/* A trunk's folder that is a link: nobody looks or writes behind it. */
static void planted_folder(void **state) {
    cache_test *t = *state;
    char trunk[PATH_MAX], elsewhere[PATH_MAX], path[PATH_MAX];
    thaw_cache_collected r;
    fill(t, 3);
    test_trunk_path(t, "", trunk);
    assert_int_equal(rename(trunk, tempdir_path(&t->dir, "elsewhere", elsewhere)), 0);
    assert_int_equal(symlink(elsewhere, trunk), 0);
    expect_refusal(t, THAW_ERR_IO, trunk);
    assert_ok(t, thaw_cache_collect(t->dir.root, 0, 0, &r, &t->err));
    assert_int_equal(r.trunks, 0);
    assert_int_equal(access(tempdir_path(&t->dir, "elsewhere/lock", path), F_OK), 0);
}

/* ---- a cache that can only be read ------------------------------------------------------------ */

/* What a process finds that can't write the cache of ten records; it exits with 0 when all is well. */
static void read_only_reader(cache_test *t) {
    char path[PATH_MAX];
    thaw_cache *cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 10), 10);
    assert_int_equal(thaw_cache_measure(cache).in_memory, 0);
    assert_int_equal(thaw_cache_claim_record(cache, test_key(20)), THAW_CLAIM_MINE);
    test_append(t, cache, 5, 10); /* Half of them are there. */
    assert_int_equal(test_count(t, cache, 0, 15), 15);
    assert_int_equal(thaw_cache_measure(cache).in_memory, 5);
    assert_true(thaw_cache_measure(cache).read_only);
    assert_ok(t, thaw_cache_refresh(cache, &t->err));
    t->spec.memory_bytes = 1;
    thaw_cache *small = test_open(t);
    assert_int_equal(test_try_append(t, small, 100, 1), THAW_ERR_IO);
    assert_non_null(strstr(t->err.text, "cannot be written"));
    thaw_cache_close(small);
    thaw_cache_close(cache);
    assert_int_equal(test_verify(t).records, 10);
    assert_int_equal(test_size(test_shard(t, path)), TEST_HEADER + 10 * test_stride(t));
}

/* Runs the reader in a child that isn't root, or with the root's folder mounted so that it can't be
 * written. */
static void expect_readable(cache_test *t, bool mounted) {
    pid_t child = fork();
    if (child == 0) {
        const char *root = t->dir.root;
        if (mounted && (unshare(CLONE_NEWNS) != 0 ||
                        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
                        mount(root, root, NULL, MS_BIND, NULL) != 0 ||
                        mount(root, root, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) != 0))
            _exit(77);
        if (!mounted && geteuid() == 0 && setuid(NOBODY) != 0) _exit(77);
        read_only_reader(t);
        _exit(0);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    if (WEXITSTATUS(result) == 77) {
        print_message("SKIPPED: this user can't mount, or not become another one\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void read_only_folder(void **state) {
    cache_test *t = *state;
    char trunk[PATH_MAX], path[PATH_MAX];
    fill(t, 10);
    test_trunk_path(t, "", trunk);
    chmod(test_shard(t, path), 0444);
    chmod(test_trunk_path(t, "lock", path), 0444);
    assert_int_equal(chmod(trunk, 0555), 0);
    assert_int_equal(chmod(t->dir.root, 0555), 0);
    expect_readable(t, false);
    /* Without a lock there is nothing to hold, and nobody to keep out. */
    chmod(trunk, 0755);
    unlink(path);
    chmod(trunk, 0555);
    expect_readable(t, false);
    chmod(trunk, 0755);
    chmod(t->dir.root, 0755);
}

static void read_only_disk(void **state) {
    cache_test *t = *state;
    fill(t, 10);
    expect_readable(t, true);
}

/* ---- sharing the work ------------------------------------------------------------------------- */

static void claims(void **state) {
    cache_test *t = *state;
    thaw_cache *a = test_open(t), *b = test_open(t);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(thaw_cache_claim_record(a, test_key(i)), THAW_CLAIM_MINE);
    assert_int_equal(thaw_cache_claim_record(a, test_key(0)), THAW_CLAIM_MINE); /* Still. */
    assert_int_equal(thaw_cache_claim_record(b, test_key(0)), THAW_CLAIM_OTHERS);
    assert_int_equal(thaw_cache_claim_record(b, test_key(3)), THAW_CLAIM_OTHERS);
    assert_int_equal(thaw_cache_claim_record(b, test_key(4)), THAW_CLAIM_MINE);
    assert_int_equal(thaw_cache_claim_record(a, test_key(4)), THAW_CLAIM_OTHERS);
    test_append(t, a, 0, 2); /* Into a new shard: b finds it by itself. */
    assert_int_equal(thaw_cache_claim_record(b, test_key(0)), THAW_CLAIM_KEPT);
    assert_int_equal(thaw_cache_claim_record(b, test_key(2)), THAW_CLAIM_OTHERS);
    test_append(t, a, 2, 1); /* And into a known one. */
    assert_int_equal(thaw_cache_claim_record(b, test_key(2)), THAW_CLAIM_KEPT);
    thaw_cache_release(a, test_key(3)); /* It could not be decoded. */
    thaw_cache_release(a, test_key(3));
    assert_int_equal(thaw_cache_claim_record(b, test_key(3)), THAW_CLAIM_MINE);
    thaw_cache_close(b);
    assert_int_equal(thaw_cache_claim_record(a, test_key(3)), THAW_CLAIM_MINE);
    thaw_cache_close(a);
    t->spec.root = NULL;
    a = test_open(t);
    assert_int_equal(thaw_cache_claim_record(a, test_key(0)), THAW_CLAIM_MINE);
    test_append(t, a, 0, 1);
    assert_int_equal(thaw_cache_claim_record(a, test_key(0)), THAW_CLAIM_KEPT);
    thaw_cache_close(a);
}

/* Claims end with their process, whatever ends it. */
static void claims_of_the_dead(void **state) {
    cache_test *t = *state;
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        thaw_cache *cache = test_open(t);
        bool mine = thaw_cache_claim_record(cache, test_key(0)) == THAW_CLAIM_MINE;
        if (!mine || write(ready[1], &byte, 1) != 1) _exit(1);
        sleep(PATIENCE);
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    thaw_cache *cache = test_open(t);
    assert_int_equal(thaw_cache_claim_record(cache, test_key(0)), THAW_CLAIM_OTHERS);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(thaw_cache_claim_record(cache, test_key(0)), THAW_CLAIM_MINE);
    thaw_cache_close(cache);
    close(ready[0]);
}

/* Computes what nobody has and nobody is about to, over and over until all is there. Returns how many
 * records that were. */
static size_t work(cache_test *t, size_t n) {
    enum { BATCH = 8 };
    thaw_cache *cache = test_open(t);
    size_t computed = 0, kept;
    do {
        kept = 0;
        for (uint64_t i = 0; i < n; i += BATCH) {
            bool mine[BATCH];
            for (uint64_t k = i; k < i + BATCH; k++) {
                thaw_cache_claim claim = thaw_cache_claim_record(cache, test_key(k));
                mine[k - i] = claim == THAW_CLAIM_MINE;
                kept += claim == THAW_CLAIM_KEPT;
            }
            usleep(200); /* The others get in between. */
            for (uint64_t k = i; k < i + BATCH; k++) {
                if (!mine[k - i]) continue;
                test_append(t, cache, k, 1);
                computed++;
            }
        }
    } while (kept < n);
    assert_int_equal(test_count(t, cache, 0, n), n);
    thaw_cache_close(cache);
    return computed;
}

/* However many work on one cache, each record is computed once. */
static void nothing_is_computed_twice(void **state) {
    cache_test *t = *state;
    enum { WORKERS = 6, N = 800 };
    int answers[2];
    assert_int_equal(pipe(answers), 0);
    for (int k = 0; k < WORKERS; k++)
        if (fork() == 0) {
            alarm(PATIENCE);
            size_t computed = work(t, N);
            _exit(write(answers[1], &computed, sizeof computed) != sizeof computed);
        }
    close(answers[1]);
    size_t sum = 0, computed;
    for (int k = 0; k < WORKERS; k++) {
        assert_int_equal(read(answers[0], &computed, sizeof computed), sizeof computed);
        sum += computed;
    }
    for (int k = 0, result; k < WORKERS; k++) {
        wait(&result);
        assert_int_equal(result, 0);
    }
    assert_int_equal(sum, N);
    close(answers[0]);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, cache_test_setup, cache_test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(who_may_write),
        TEST(another_owner),
        TEST(modes_of_what_is_made),
        TEST(planted_lock),
        TEST(planted_files),
        TEST(planted_folder),
        TEST(read_only_folder),
        TEST(read_only_disk),
        TEST(claims),
        TEST(claims_of_the_dead),
        TEST(nothing_is_computed_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
