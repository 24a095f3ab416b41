/* Whatever happens to the files and processes of a cache, no wrong value comes out and no record is
 * lost but the damaged ones.
 *
 * Tails torn at every byte, every byte flipped, thousands of random mutations, writers killed at
 * random moments, writers side by side, damage that is computed anew and mended; and that memory
 * stays flat when the cache grows tenfold. */
#include "cache_testing.h"
//
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* Makes a cache of n records and returns its shard's bytes, to be freed. */
static uint8_t *make_shard(cache_test *t, size_t n, char path[PATH_MAX], size_t *size) {
    thaw_cache *cache = test_open(t);
    test_append(t, cache, 0, n);
    thaw_cache_close(cache);
    return test_read(test_shard(t, path), size);
}

/* ---- torn and flipped
 * ----------------------------------------------------------------------------- */

/* The file ends at each byte of its last record: the others are there, and appending goes on. */
static void torn_at_every_byte(void **state) {
    cache_test *t = *state;
    enum { N = 4 };
    char path[PATH_MAX];
    size_t size, stride = test_stride(t);
    uint8_t *bytes = make_shard(t, N, path, &size);
    assert_int_equal(size, TEST_HEADER + N * stride);
    for (size_t cut = size - stride; cut < size; cut++) {
        test_write(path, bytes, cut);
        thaw_cache *cache = test_open(t);
        assert_int_equal(test_count(t, cache, 0, N), N - 1);
        assert_int_equal(thaw_cache_measure(cache).damaged, 0);
        test_append(t, cache, 0, N + 2);
        assert_int_equal(test_count(t, cache, 0, N + 2), N + 2);
        thaw_cache_close(cache);
        test_shard(t, path); /* The torn shard was used again: there is no other. */
        assert_int_equal(test_size(path), size + 2 * stride);
        test_totals sum = test_verify(t);
        assert_int_equal(sum.records, N + 2);
        assert_int_equal(sum.damaged, 0);
    }
    free(bytes);
}

/* The file ends within its header: nothing is there, the file is left alone, a new one is made. */
static void torn_header(void **state) {
    cache_test *t = *state;
    char path[PATH_MAX], paths[TEST_SHARDS][PATH_MAX];
    size_t size;
    uint8_t *bytes = make_shard(t, 3, path, &size);
    for (size_t cut = 0; cut < TEST_HEADER; cut++) {
        test_write(path, bytes, cut);
        thaw_cache *cache = test_open(t);
        assert_int_equal(test_count(t, cache, 0, 3), 0);
        test_append(t, cache, 0, 3);
        assert_int_equal(test_count(t, cache, 0, 3), 3);
        thaw_cache_close(cache);
        assert_int_equal(test_shards(t, paths), 2);
        unlink(paths[strcmp(paths[0], path) == 0]);
    }
    free(bytes);
}

/* Bytes whose flipping must be noticed: all but the zeros that fill up. */
static bool matters(const cache_test *t, size_t at) {
    size_t payload = (size_t)t->spec.D * (t->spec.dtype == THAW_F16 ? 2 : 4);
    if (at < TEST_HEADER) return false; /* The shard's header costs no record. */
    size_t in_record = (at - TEST_HEADER) % test_stride(t);
    return in_record < 32 || (in_record >= 64 && in_record < 64 + payload);
}

/* One bit of every byte: at most its record is missing; computing it anew is enough, for good. */
static void check_flips(cache_test *t, size_t n) {
    char path[PATH_MAX];
    size_t size;
    uint8_t *bytes = make_shard(t, n, path, &size);
    for (size_t at = 0; at < size; at++) {
        test_write(path, bytes, size);
        test_flip(path, (off_t)at, (int)(at * 5 % 8));
        size_t victim = at < TEST_HEADER ? n : (at - TEST_HEADER) / test_stride(t);
        thaw_cache *cache = test_open(t);
        for (size_t i = 0; i < n; i++)
            if (test_has(t, cache, i) != !(i == victim && matters(t, at)))
                fail_msg("byte %d: record %d", (int)at, (int)i);
        assert_int_equal(thaw_cache_measure(cache).damaged, matters(t, at));
        test_append(t, cache, 0, n);
        assert_int_equal(test_count(t, cache, 0, n), n);
        thaw_cache_close(cache);
        size_t grown = size + (matters(t, at) ? test_stride(t) : 0);
        for (int again = 0; again < 2; again++) {
            cache = test_open(t);
            assert_int_equal(test_count(t, cache, 0, n), n);
            assert_int_equal(thaw_cache_measure(cache).records, n);
            test_append(t, cache, 0, n);
            thaw_cache_close(cache);
            assert_int_equal(test_size(path), grown);
        }
    }
    free(bytes);
}

static void every_byte_flipped(void **state) {
    check_flips(*state, 5);
}

static void every_byte_of_halves_flipped(void **state) {
    cache_test *t = *state;
    t->spec.dtype = THAW_F16;
    check_flips(t, 5);
}

/* verify names the place; collect removes damaged records and keeps all others. */
static void mended(void **state) {
    cache_test *t = *state;
    enum { N = 30 };
    char path[PATH_MAX];
    size_t size, stride = test_stride(t);
    uint8_t *bytes = make_shard(t, N, path, &size);
    static const struct {
        const char *name;
        size_t victims[8], n;
    } cases[] = {
        {"first", {0}, 1},
        {"last", {29}, 1},
        {"middle", {11}, 1},
        {"two at the end", {28, 29}, 2},
        {"middle and end", {3, 29}, 2},
        {"middle and before the end", {3, 28}, 2},
        {"a run", {12, 13, 14, 15, 16, 17, 18, 19}, 8},
        {"none", {0}, 0},
    };
    static const size_t places[] = {70, 3, 20, 30}; /* Value, key, the two checks. */
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        test_write(path, bytes, size);
        test_flip(path, 9, 0); /* The header's version, too. */
        for (size_t v = 0; v < cases[k].n; v++)
            test_flip(path, (off_t)(TEST_HEADER + cases[k].victims[v] * stride + places[v % 4]), 3);
        test_totals sum = test_verify(t);
        assert_int_equal(sum.damaged, cases[k].n + 1);
        assert_int_equal(sum.last.spots[0].offset, 0);
        assert_string_equal(sum.last.spots[0].shard, strrchr(path, '/') + 1);
        for (size_t v = 0; v < cases[k].n; v++)
            assert_int_equal(sum.last.spots[v + 1].offset,
                             TEST_HEADER + cases[k].victims[v] * stride);
        thaw_cache_collected r;
        assert_ok(t, thaw_cache_collect(t->dir.root, UINT64_MAX, 0, &r, &t->err));
        assert_int_equal(r.records, cases[k].n);
        assert_int_equal(r.bytes, cases[k].n * stride);
        assert_int_equal(test_verify(t).damaged, 0);
        thaw_cache *cache = test_open(t);
        assert_int_equal(thaw_cache_measure(cache).damaged, 0);
        assert_int_equal(test_count(t, cache, 0, N), N - cases[k].n);
        thaw_cache_close(cache);
    }
    free(bytes);
}

/* A power cut can leave a hole of zeros, and what followed it. */
static void hole_of_zeros(void **state) {
    cache_test *t = *state;
    enum { N = 100, PAGE = 4096 };
    char path[PATH_MAX];
    size_t size, stride = test_stride(t);
    uint8_t *bytes = make_shard(t, N, path, &size);
    memset(bytes + TEST_HEADER + 40 * stride + 7, 0, 30 * stride);
    test_write(path, bytes, size);
    thaw_cache *cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, N), N - 31);
    test_append(t, cache, 0, N);
    assert_int_equal(test_count(t, cache, 0, N), N);
    thaw_cache_close(cache);
    /* The first page, with the header and the first records: the rest still says what it is. */
    size_t n_lost = (PAGE - TEST_HEADER + stride - 1) / stride;
    memset(bytes, 0, PAGE);
    test_write(path, bytes, size);
    assert_int_equal(test_verify(t).foreign, 0);
    cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, N), N - n_lost - 31);
    thaw_cache_close(cache);
    free(bytes);
}

/* A shard's header is damaged: nothing is lost, and the next writer replaces it. */
static void damaged_header(void **state) {
    cache_test *t = *state;
    char path[PATH_MAX];
    size_t size;
    free(make_shard(t, 3, path, &size));
    test_flip(path, 30, 1);
    assert_int_equal(test_verify(t).damaged, 1);
    thaw_cache *cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, 3), 3);
    test_append(t, cache, 3, 1);
    thaw_cache_close(cache);
    assert_int_equal(test_size(test_shard(t, path)), size + test_stride(t));
    assert_int_equal(test_verify(t).damaged, 0);
}

/* Any bit of a shard's header: verify calls nothing damaged but the header, collect keeps every record,
 * with trunk.json to compare it with or without, and nobody allocates what a damaged size tells. */
static void any_bit_of_the_header(void **state) {
    cache_test *t = *state;
    enum { N = 20, MOST = 1 << 30, MEANING = 40 }; /* Zeros follow. */
    char path[PATH_MAX], json[PATH_MAX];
    size_t size;
    struct rlimit before, small;
    uint8_t *bytes = make_shard(t, N, path, &size);
    test_trunk_path(t, "trunk.json", json);
    getrlimit(RLIMIT_AS, &before);
    small = (struct rlimit){MOST, before.rlim_max};
    if (!SANITIZED) assert_int_equal(setrlimit(RLIMIT_AS, &small), 0);
    for (int bit = 0; bit < TEST_HEADER * 8; bit++)
        for (int without_facts = 0; without_facts < 2; without_facts++) {
            test_write(path, bytes, size);
            test_flip(path, bit / 8, bit % 8);
            if (without_facts) unlink(json);
            test_totals sum = test_verify(t);
            bool noticed = bit < MEANING * 8 && !without_facts;
            if (sum.damaged > 1 || (noticed && sum.damaged != 1))
                fail_msg("bit %d: %zu are damaged", bit, sum.damaged);
            thaw_cache_collected r;
            assert_ok(t, thaw_cache_collect(t->dir.root, UINT64_MAX, 0, &r, &t->err));
            if (r.records || r.bytes) fail_msg("bit %d: %zu records are gone", bit, r.records);
            thaw_cache *cache = test_open(t);
            if (test_count(t, cache, 0, N) != N) fail_msg("bit %d: records are missing", bit);
            assert_int_equal(thaw_cache_measure(cache).damaged, 0);
            thaw_cache_close(cache);
        }
    setrlimit(RLIMIT_AS, &before);
    free(bytes);
}

/* What trunk.json tells counts only when the trunk's key is its hash. */
static void facts_that_lie(void **state) {
    cache_test *t = *state;
    enum { N = 20 };
    char path[PATH_MAX], json[PATH_MAX];
    size_t size, n;
    free(make_shard(t, N, path, &size));
    char *text = (char *)test_read(test_trunk_path(t, "trunk.json", json), &n), *at;
    text[n] = '\0';
    at = strstr(text, "\"24\""); /* The number of values. */
    assert_non_null(at);
    at[1] = '1';
    test_write(json, text, n);
    free(text);
    test_totals sum = test_verify(t);
    assert_int_equal(sum.without_facts, 1);
    assert_int_equal(sum.records, N);
    assert_int_equal(sum.damaged, 0);
    thaw_cache_collected r;
    assert_ok(t, thaw_cache_collect(t->dir.root, UINT64_MAX, 0, &r, &t->err));
    assert_int_equal(r.records, 0);
    assert_int_equal(test_size(path), size);
}

/* The file shrinks while it is open: a miss, no crash. */
static void cut_while_open(void **state) {
    cache_test *t = *state;
    char path[PATH_MAX];
    size_t size;
    free(make_shard(t, 10, path, &size));
    thaw_cache *cache = test_open(t);
    assert_int_equal(truncate(path, (off_t)(TEST_HEADER + 4 * test_stride(t) + 50)), 0);
    assert_int_equal(test_count(t, cache, 0, 10), 4);
    thaw_cache_close(cache);
}

/* ---- mutations
 * -------------------------------------------------------------------------------------- */

/* Changes bytes as bad disks, editors and wrong copies do. Returns the new size. */
static size_t mutate(uint8_t *bytes, size_t size, size_t most, uint64_t *seed) {
    size_t n = 1 + test_random(seed) % 4;
    while (n-- > 0) {
        size_t at = test_random(seed) % size, length = 1 + test_random(seed) % 300;
        if (length > size - at) length = size - at;
        switch (test_random(seed) % 6) {
            case 0:
                bytes[at] ^= (uint8_t)(1 << test_random(seed) % 8);
                break;
            case 1:
                memset(bytes + at, test_random(seed) % 2 ? 0xff : 0, length);
                break;
            case 2: /* Another part of the file. */
                memmove(bytes + test_random(seed) % (size - length + 1), bytes + at, length);
                break;
            case 3: /* Cut. */
                size = at + 1;
                break;
            case 4: /* A part is missing: all that follows is shifted. */
                memmove(bytes + at, bytes + at + length, size - at - length);
                if (size > length) size -= length;
                break;
            default: /* Longer. */
                if (length > most - size) length = most - size;
                for (size_t i = 0; i < length; i++)
                    bytes[size++] = (uint8_t)test_random(seed);
        }
    }
    return size;
}

static void mutants(void **state) {
    cache_test *t = *state;
    enum { N = 8, MUTANTS = 4000, MOST = 16384 };
    char path[PATH_MAX], json[PATH_MAX], paths[TEST_SHARDS][PATH_MAX];
    size_t size, json_size, survived = 0;
    static uint8_t mutant[MOST];
    uint8_t *bytes = make_shard(t, N, path, &size);
    uint8_t *text = test_read(test_trunk_path(t, "trunk.json", json), &json_size);
    uint64_t seed = 1;
    for (int i = 0; i < MUTANTS; i++) {
        memcpy(mutant, bytes, size);
        test_write(path, mutant, mutate(mutant, size, MOST, &seed));
        memcpy(mutant, text, json_size);
        if (i % 3 == 0) test_write(json, mutant, mutate(mutant, json_size, MOST, &seed));
        test_verify(t);
        thaw_cache_collected r;
        if (i % 4 == 0) assert_ok(t, thaw_cache_collect(t->dir.root, UINT64_MAX, 0, &r, &t->err));
        thaw_cache *cache = test_open(t);
        survived += test_count(t, cache, 0, N);
        test_append(t, cache, 0, N);
        assert_int_equal(test_count(t, cache, 0, N), N);
        thaw_cache_close(cache);
        cache = test_open(t);
        assert_int_equal(test_count(t, cache, 0, N), N);
        thaw_cache_close(cache);
        for (size_t n = test_shards(t, paths); n-- > 0;)
            unlink(paths[n]);
    }
    /* Most mutations leave most records alone. */
    assert_true(survived > (size_t)MUTANTS * N / 3);
    free(bytes);
    free(text);
}

/* ---- processes
 * -------------------------------------------------------------------------------------- */

/* Two writers at once, half of whose records are the same. */
static void side_by_side(void **state) {
    cache_test *t = *state;
    enum { N = 2000, STEP = 25 };
    pid_t child[2];
    for (int k = 0; k < 2; k++) {
        child[k] = fork();
        if (child[k]) continue;
        thaw_cache *cache = test_open(t);
        for (uint64_t i = 0; i < N; i += STEP)
            test_append(t, cache, (uint64_t)k * N / 2 + i, STEP);
        thaw_cache_close(cache);
        _exit(0);
    }
    for (int k = 0; k < 2; k++) {
        int result;
        waitpid(child[k], &result, 0);
        assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    }
    thaw_cache *cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, N + N / 2), N + N / 2);
    assert_int_equal(thaw_cache_measure(cache).records, N + N / 2);
    assert_int_equal(thaw_cache_measure(cache).damaged, 0);
    thaw_cache_close(cache);
    char paths[TEST_SHARDS][PATH_MAX];
    assert_in_range(test_shards(t, paths), 1, 2);
}

static size_t count_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* What one adds the other sees after a refresh: in known shards and in new ones. */
static void refreshed(void **state) {
    cache_test *t = *state;
    thaw_cache *a = test_open(t), *b = test_open(t);
    test_append(t, a, 0, 10);
    assert_int_equal(test_count(t, b, 0, 10), 0);
    assert_ok(t, thaw_cache_refresh(b, &t->err));
    assert_int_equal(test_count(t, b, 0, 10), 10);
    test_append(t, a, 10, 10);
    test_append(t, b, 20, 10);
    assert_ok(t, thaw_cache_refresh(a, &t->err));
    assert_ok(t, thaw_cache_refresh(b, &t->err));
    size_t before = count_descriptors();
    assert_ok(t, thaw_cache_refresh(b, &t->err));
    assert_int_equal(count_descriptors(), before); /* A known shard is not opened again. */
    assert_int_equal(test_count(t, a, 0, 30), 30);
    assert_int_equal(test_count(t, b, 0, 30), 30);
    assert_int_equal(thaw_cache_measure(b).records, 30);
    char paths[TEST_SHARDS][PATH_MAX];
    assert_int_equal(test_shards(t, paths), 2); /* One for each. */
    thaw_cache_close(a);
    thaw_cache_close(b);
    a = test_open(t);
    test_append(t, a, 30, 10);
    thaw_cache_close(a);
    assert_int_equal(test_shards(t, paths), 2); /* An abandoned one is taken again. */
}

/* A shard that another process has closed since is taken over with what was added to it. */
static void taken_over(void **state) {
    cache_test *t = *state;
    thaw_cache *a = test_open(t);
    test_append(t, a, 0, 10);
    thaw_cache *b = test_open(t);
    test_append(t, a, 10, 10);
    thaw_cache_close(a);
    test_append(t, b, 20, 10);
    assert_int_equal(test_count(t, b, 0, 30), 30);
    thaw_cache_close(b);
    char path[PATH_MAX];
    assert_int_equal(test_size(test_shard(t, path)), TEST_HEADER + 30 * test_stride(t));
}

/* Appends for ever; after each append writes to the pipe up to which record all is there. */
static void write_until_killed(cache_test *t, int acknowledge, uint64_t begin, uint64_t seed) {
    thaw_cache *cache = test_open(t);
    for (;;) {
        size_t n = 1 + test_random(&seed) % 40;
        test_append(t, cache, begin, n);
        begin += n;
        if (write(acknowledge, &begin, sizeof begin) != sizeof begin) _exit(1);
    }
}

/* Kills writers at random moments. What they said is there must be there, always; and no record is
 * damaged, only torn off. */
static void killed_writers(void **state) {
    cache_test *t = *state;
    enum { ROUNDS = 80 };
    uint64_t seed = 3, there = 0;
    size_t torn = 0;
    t->spec.D = 2000; /* 8 KB: a kill often falls into a write. */
    t->spec.shard_bytes = 4 << 20;
    for (int round = 0; round < ROUNDS; round++) {
        int acknowledge[2];
        assert_int_equal(pipe(acknowledge), 0);
        pid_t child = fork();
        if (child == 0) write_until_killed(t, acknowledge[1], there, seed);
        close(acknowledge[1]);
        uint64_t said = there;
        bool started = read(acknowledge[0], &said, sizeof said) == sizeof said;
        assert_true(started);
        usleep((useconds_t)(test_random(&seed) % 5000));
        kill(child, SIGKILL);
        while (read(acknowledge[0], &said, sizeof said) == sizeof said)
            continue;
        close(acknowledge[0]);
        waitpid(child, NULL, 0);
        char paths[TEST_SHARDS][PATH_MAX];
        for (size_t n = test_shards(t, paths); n-- > 0;)
            torn += (test_size(paths[n]) - TEST_HEADER) % test_stride(t) != 0;
        thaw_cache *cache = test_open(t);
        assert_int_equal(test_count(t, cache, there, said - there), said - there);
        assert_int_equal(thaw_cache_measure(cache).damaged, 0);
        thaw_cache_close(cache);
        there = said;
    }
    thaw_cache *cache = test_open(t);
    assert_int_equal(test_count(t, cache, 0, there), there);
    assert_int_equal(thaw_cache_measure(cache).damaged, 0);
    thaw_cache_close(cache);
    assert_int_equal(test_verify(t).damaged, 0);
    print_message("%zu of %d kills tore a record; %d records survived\n", torn, ROUNDS, (int)there);
}

/* ---- memory
 * ----------------------------------------------------------------------------------------- */

static long peak_kb(void) {
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kb) == 1) break;
    fclose(f);
    return kb;
}

enum { FLAT_D = 320, FLAT_BATCH = 100 };

static void fill_flat(cache_test *t, uint64_t begin, uint64_t end) {
    thaw_cache *cache = test_open(t);
    float *rows = test_rows(t, 0, FLAT_BATCH);
    thaw_hash keys[FLAT_BATCH];
    for (; begin < end; begin += FLAT_BATCH) {
        for (int k = 0; k < FLAT_BATCH; k++)
            keys[k] = test_key(begin + (uint64_t)k);
        assert_ok(t, thaw_cache_append(cache, keys, FLAT_BATCH, rows, &t->err));
    }
    free(rows);
    thaw_cache_close(cache);
}

/* Opens the cache and reads every record, in a process of its own; its largest size in KB. */
static long peak_of_reading(cache_test *t, uint64_t n) {
    int answer[2];
    assert_int_equal(pipe(answer), 0);
    pid_t child = fork();
    if (child == 0) {
        float row[FLAT_D];
        thaw_cache *cache = test_open(t);
        for (uint64_t i = 0; i < n; i++)
            assert_ok(t, thaw_cache_read(cache, test_key(i * 7919 % n), row, &t->err));
        long kb = peak_kb();
        _exit(write(answer[1], &kb, sizeof kb) != sizeof kb);
    }
    close(answer[1]);
    long kb = 0;
    assert_int_equal(read(answer[0], &kb, sizeof kb), sizeof kb);
    close(answer[0]);
    waitpid(child, NULL, 0);
    return kb;
}

/* Ten times the records: a tenth more memory at most, beyond the index. */
static void memory_is_flat(void **state) {
    cache_test *t = *state;
    if (SANITIZED) {
        print_message("SKIPPED: the sanitizer's own memory hides the cache's\n");
        skip();
    }
    enum { FEW = 20000, MANY = 200000 };
    t->spec.D = FLAT_D;
    t->spec.dtype = THAW_F16;
    fill_flat(t, 0, FEW);
    long few = peak_of_reading(t, FEW);
    fill_flat(t, FEW, MANY);
    long many = peak_of_reading(t, MANY);
    /* While the index grows there are two, the new one and one of half its size. */
    long index = (MANY - FEW) * 96L / 1024;
    print_message("largest size: %ld KB with %d records, %ld KB with %d; the file has %ld KB\n",
                  few, FEW, many, MANY, (long)(MANY * test_stride(t) / 1024));
    assert_true(many < few + few / 10 + index);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, cache_test_setup, cache_test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(torn_at_every_byte),
        TEST(torn_header),
        TEST(every_byte_flipped),
        TEST(every_byte_of_halves_flipped),
        TEST(mended),
        TEST(hole_of_zeros),
        TEST(damaged_header),
        TEST(any_bit_of_the_header),
        TEST(facts_that_lie),
        TEST(cut_while_open),
        TEST(mutants),
        TEST(side_by_side),
        TEST(refreshed),
        TEST(taken_over),
        TEST(killed_writers),
        TEST(memory_is_flat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
