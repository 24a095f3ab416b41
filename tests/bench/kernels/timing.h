/* Timing launches: each contender's launches are captured in a graph that rotates over several sets
 * of operands, larger in all than twice the L2 cache; contenders take turns, so that what the
 * clocks do falls on all of them. */
#ifndef THAW_BENCH_TIMING_H
#define THAW_BENCH_TIMING_H

#include <cuda_runtime.h>

#include <functional>
#include <string>
#include <vector>

/* What went wrong with one part; the benchmark goes on with the next. */
struct trouble {
    std::string text;
};

/* Throws trouble unless code is 0. */
void must(int code, const char *what);

class contender {
   public:
    std::string name;
    std::vector<double> us; /* A launch, one number a sample. */
    double nmse = 0;        /* Of its result. */

    /* launch(set) queues one run on the stream and returns 0 or a code; its first runs, which may
     * load or compile code, are made here. Throws trouble. */
    contender(std::string name, cudaStream_t stream, int n_sets, std::function<int(int)> launch);
    contender(const contender &) = delete;
    ~contender();

    void sample(); /* Adds one to us. Throws trouble. */
    double median() const;
    double least() const;
    double most() const;

   private:
    cudaStream_t stream;
    int n_sets, n_launches = 0;
    std::function<int(int)> launch;
    cudaEvent_t start = nullptr, end = nullptr;
    cudaGraphExec_t graph = nullptr; /* NULL: what it launches cannot be captured. */

    double time_ms(int n);
    void queue(int n);
    void capture();
};

#endif
