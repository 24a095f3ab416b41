/* How far two files of float features are from each other.
 *
 * usage: feature_error WANT GOT
 * Prints a JSON object: the normalised mean squared error of GOT, how many numbers there are, how
 * many of GOT are not finite, and whether all bits are equal. Exit status 1: the files do not
 * match.
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "bench.h"
#include "file.h"

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: feature_error WANT GOT\n"), 2;
    thaw_arena arena = {0};
    thaw_error err = {0};
    char *files[2];
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        if (thaw_file_read(argv[1 + i], (size_t)1 << 40, &arena, &files[i], &bytes[i], &err))
            return fprintf(stderr, "feature_error: %s\n", err.text), 1;
    }
    size_t n = bytes[0] / sizeof(float);
    if (bytes[0] != bytes[1] || n == 0)
        return fprintf(stderr, "feature_error: %zu and %zu bytes do not match\n", bytes[0],
                       bytes[1]),
               1;
    double error = 0, power = 0;
    size_t not_finite = 0;
    for (size_t i = 0; i < n; i++) {
        float want, got;
        memcpy(&want, files[0] + i * sizeof want, sizeof want);
        memcpy(&got, files[1] + i * sizeof got, sizeof got);
        if (!isfinite(got)) not_finite++;
        double d = isfinite(got) ? (double)got - want : (double)want;
        error += d * d;
        power += (double)want * want;
    }
    bool equal = memcmp(files[0], files[1], bytes[0]) == 0;
    printf("{\"nmse\": %.4g, \"values\": %zu, \"not_finite\": %zu, \"equal\": %s}\n",
           power > 0 ? error / power : (double)(error > 0), n, not_finite,
           equal ? "true" : "false");
    thaw_arena_free(&arena);
    return 0;
}
