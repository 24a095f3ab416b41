#include "timing.h"

#include <algorithm>

void must(int code, const char *what) {
    if (code) {
        cudaGetLastError();
        throw trouble{std::string(what) + ": " + cudaGetErrorString((cudaError_t)code)};
    }
}

contender::contender(std::string name, cudaStream_t stream, int n_sets,
                     std::function<int(int)> launch)
    : name(name), stream(stream), n_sets(n_sets), launch(launch) {
    const double SAMPLE_MS = 2;
    const int MOST_LAUNCHES = 256;
    must(cudaEventCreate(&start), "cudaEventCreate");
    must(cudaEventCreate(&end), "cudaEventCreate");
    time_ms(2);
    double each = std::max(time_ms(std::min(n_sets, 8)) / std::min(n_sets, 8), 1e-4);
    n_launches = (int)std::min(std::max(SAMPLE_MS / each, 1.0), (double)MOST_LAUNCHES);
    if (n_launches > n_sets) n_launches -= n_launches % n_sets; /* Each set as often. */
    capture();
    sample();
    us.clear();
}

contender::~contender() {
    if (graph) cudaGraphExecDestroy(graph);
    if (start) cudaEventDestroy(start);
    if (end) cudaEventDestroy(end);
}

void contender::queue(int n) {
    for (int i = 0; i < n; i++) {
        if (launch(i % n_sets)) throw trouble{name + ": the launch failed"};
    }
}

double contender::time_ms(int n) {
    must(cudaEventRecord(start, stream), "cudaEventRecord");
    queue(n);
    must(cudaEventRecord(end, stream), "cudaEventRecord");
    must(cudaEventSynchronize(end), name.c_str());
    float ms;
    must(cudaEventElapsedTime(&ms, start, end), "cudaEventElapsedTime");
    return ms;
}

/* Leaves graph NULL where that does not work: then launches are timed one by one. */
void contender::capture() {
    cudaGraph_t recorded = nullptr;
    if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return;
    bool good = true;
    for (int i = 0; good && i < n_launches; i++)
        good = launch(i % n_sets) == 0;
    good = cudaStreamEndCapture(stream, &recorded) == cudaSuccess && good && recorded;
    if (good && cudaGraphInstantiate(&graph, recorded, 0) != cudaSuccess) graph = nullptr;
    if (recorded) cudaGraphDestroy(recorded);
    cudaGetLastError();
}

void contender::sample() {
    double ms;
    if (graph) {
        float elapsed;
        must(cudaEventRecord(start, stream), "cudaEventRecord");
        must(cudaGraphLaunch(graph, stream), name.c_str());
        must(cudaEventRecord(end, stream), "cudaEventRecord");
        must(cudaEventSynchronize(end), name.c_str());
        must(cudaEventElapsedTime(&elapsed, start, end), "cudaEventElapsedTime");
        ms = elapsed;
    } else {
        ms = time_ms(n_launches);
    }
    us.push_back(ms * 1e3 / n_launches);
}

double contender::median() const {
    std::vector<double> sorted = us;
    std::sort(sorted.begin(), sorted.end());
    size_t n = sorted.size();
    return n ? (sorted[(n - 1) / 2] + sorted[n / 2]) / 2 : 0;
}

double contender::least() const {
    return us.empty() ? 0 : *std::min_element(us.begin(), us.end());
}

double contender::most() const {
    return us.empty() ? 0 : *std::max_element(us.begin(), us.end());
}
