/* Functions that are compiled for several processors, of which the program takes the best when it
 * starts: the machine that builds need not be the one that runs. Both macros go before `static`.
 *
 *     THAW_CLONES         AVX2 with FMA, and the base: for loops that gain nothing by wider vectors
 *     THAW_CLONES_WIDE    AVX-512, too
 *
 * Not under clang 14, which lacks the attribute for C, and not under sanitizers, which are not ready
 * yet when the choice is made. */
#ifndef THAW_CLONES_H
#define THAW_CLONES_H

#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)
#define THAW_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#define THAW_CLONES_WIDE \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define THAW_CLONES
#define THAW_CLONES_WIDE
#endif

#endif
