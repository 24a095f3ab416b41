#include <stdio.h>
#include <sys/mman.h>

#include "backend.h"
#include "machine.h"

/* Fresh pages, given back at once when released: planning a large trunk leaves no hole in the heap,
 * and after the last one the process is small again. */
static void *cpu_alloc(size_t n) {
    void *memory =
        mmap(NULL, n ? n : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    madvise(memory, n, MADV_HUGEPAGE); /* Fewer TLB misses; only a hint. */
    return memory;
}

static void cpu_release(void *memory, size_t n) {
    if (memory) munmap(memory, n ? n : 1);
}

/* As the kernel sees it: in a virtual machine sysconf() may tell the whole host's. */
static size_t last_level_cache(void) {
    enum { USUAL = 16 << 20 }; /* Where the system does not say. */
    FILE *file = fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "re");
    size_t kilobytes = 0;
    if (file) {
        if (fscanf(file, "%zuK", &kilobytes) != 1) kilobytes = 0;
        fclose(file);
    }
    return kilobytes ? kilobytes << 10 : USUAL;
}

thaw_status thaw_backend_cpu_open(thaw_backend *backend, int threads, thaw_error *err) {
    *backend = (thaw_backend){.threads = threads > 0 ? threads : thaw_usable_cpus(),
                              .cache_bytes = last_level_cache(),
                              .alloc = cpu_alloc,
                              .release = cpu_release};
    if (thaw_cpu_kernels.open(0, backend->threads, &backend->device, &backend->stream, err) != 0)
        return THAW_ERR_BACKEND;
    backend->kernels = &thaw_cpu_kernels;
    return THAW_OK;
}
