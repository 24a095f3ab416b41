/* Streams, events, captures and graphs. What is queued is not done before somebody waits for it,
 * and then streams take turns at random: a copy that nothing waited for has not landed, and two
 * streams that share memory without an event between them spoil it. For one host thread at a time.
 */
#include <time.h>

#include <deque>
#include <functional>
#include <memory>
#include <set>

#include "block.h"

namespace {

/* Work, which may have to wait for other streams first. */
struct operation {
    std::function<cudaError_t()> work;
    std::function<bool()> is_ready; /* Empty: always. */
};

struct queue_state {
    std::deque<operation> waiting;
    uint64_t queued = 0, done = 0;
    bool blocking;                   /* Synchronous calls wait for it. */
    cudaError_t error = cudaSuccess; /* The first of its operations'; it stays. */
};

}  // namespace

struct simt_graph {
    std::vector<std::function<cudaError_t()>> operations;
};

struct simt_stream {
    std::shared_ptr<queue_state> state = std::make_shared<queue_state>();
    std::unique_ptr<simt_graph> capturing;
    bool spoiled = false; /* By a call that a capture does not allow. */
};

struct simt_event {
    std::shared_ptr<queue_state> state; /* NULL: never marked. */
    uint64_t place = 0;                 /* Operations of the stream up to it. */
    std::shared_ptr<double> reached_ms; /* By the host's clock. */
    bool is_past() const {
        return !state || state->done >= place;
    }
};

namespace {

std::set<simt_stream *> &open_streams() {
    static std::set<simt_stream *> *all = new std::set<simt_stream *>;
    return *all;
}

/* The stream that this OS thread captures; NULL if none. */
thread_local simt_stream *capture;

double clock_ms() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

void advance(queue_state &q) {
    operation next = std::move(q.waiting.front());
    q.waiting.pop_front();
    /* Nothing is computed behind an error, as on a device whose context is lost. */
    cudaError_t code = q.error || !next.work ? cudaSuccess : next.work();
    if (code && !q.error) q.error = code;
    q.done++;
}

/* Whoever can goes on, one operation at a time, until is_done. */
template <class F>
void advance_until(F is_done) {
    static uint64_t random = [] {
        const char *text = getenv("THAW_SIMT_SEED");
        return text ? strtoull(text, nullptr, 0) : 1;
    }();
    while (!is_done()) {
        std::vector<queue_state *> ready;
        for (simt_stream *stream : open_streams()) {
            queue_state &q = *stream->state;
            if (!q.waiting.empty() && (!q.waiting.front().is_ready || q.waiting.front().is_ready()))
                ready.push_back(&q);
        }
        if (ready.empty()) {
            fprintf(stderr, "simt: streams wait for each other, or for one that was destroyed\n");
            abort();
        }
        advance(*ready[simt::draw(random) % ready.size()]);
    }
}

cudaError_t finish_streams(bool only_blocking) {
    cudaError_t first = cudaSuccess;
    for (simt_stream *stream : open_streams()) {
        queue_state &q = *stream->state;
        if (only_blocking && !q.blocking) continue;
        advance_until([&] { return q.waiting.empty(); });
        if (!first) first = q.error;
    }
    return first;
}

void push(simt_stream *stream, operation next) {
    stream->state->waiting.push_back(std::move(next));
    stream->state->queued++;
}

}  // namespace

namespace simt {

cudaError_t refused_while_capturing() {
    if (!capture) return cudaSuccess;
    capture->spoiled = true;
    return cudaErrorStreamCaptureUnsupported;
}

cudaError_t immediate_failure() {
    if (cudaError_t failure = injected_failure()) return failure;
    return refused_while_capturing();
}

cudaError_t queue(cudaStream_t stream, std::function<cudaError_t()> work) {
    if (!stream) {
        cudaError_t code = finish_blocking();
        return code ? code : work();
    }
    if (stream->capturing)
        stream->capturing->operations.push_back(std::move(work));
    else
        push(stream, {std::move(work), nullptr});
    return cudaSuccess;
}

cudaError_t finish(cudaStream_t stream) {
    if (!stream) return finish_blocking();
    queue_state &q = *stream->state;
    advance_until([&] { return q.waiting.empty(); });
    return q.error;
}

cudaError_t finish_blocking() {
    return finish_streams(true);
}

cudaError_t finish_all() {
    return finish_streams(false);
}

}  // namespace simt

/* ---- streams -------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    if (cudaError_t failure = simt::immediate_failure()) return failure;
    *stream = new simt_stream;
    (*stream)->state->blocking = flags != cudaStreamNonBlocking;
    open_streams().insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    return cudaStreamCreateWithFlags(stream, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (!stream) return cudaErrorInvalidValue;
    simt::finish(stream);
    if (stream == capture) capture = nullptr;
    open_streams().erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (stream && stream->capturing) return simt::refused_while_capturing();
    return simt::finish(stream);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (stream->capturing) return simt::refused_while_capturing(); /* Forks are not emulated. */
    simt_event now = *event;
    push(stream, {nullptr, [now] { return now.is_past(); }});
    return cudaSuccess;
}

/* ---- captures and graphs -------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!stream || stream->capturing) return cudaErrorStreamCaptureUnsupported;
    stream->capturing = std::make_unique<simt_graph>();
    stream->spoiled = false;
    capture = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    std::unique_ptr<simt_graph> captured = std::move(stream->capturing);
    capture = nullptr;
    *graph = nullptr;
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (!captured) return cudaErrorInvalidValue;
    if (stream->spoiled) return cudaErrorStreamCaptureInvalidated;
    *graph = captured.release();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph,
                                 unsigned long long) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    *executable = new simt_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    for (const std::function<cudaError_t()> &work : executable->operations) {
        if (cudaError_t code = simt::queue(stream, work)) return code;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    delete executable;
    return cudaSuccess;
}

/* ---- events --------------------------------------------------------------------------------- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    *event = new simt_event;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    return cudaEventCreateWithFlags(event, 0);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    if (stream && stream->capturing) return simt::refused_while_capturing();
    *event = {};
    auto reached = std::make_shared<double>(clock_ms());
    if (stream) {
        push(stream, {[reached] { return *reached = clock_ms(), cudaSuccess; }, nullptr});
        event->state = stream->state;
        event->place = stream->state->queued;
    }
    event->reached_ms = reached;
    return cudaSuccess;
}

/* Asking moves nothing: what is queued is done when somebody waits. */
cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (!event->is_past()) return cudaErrorNotReady;
    return event->state ? event->state->error : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (cudaError_t failure = simt::injected_failure()) return failure;
    advance_until([&] { return event->is_past(); });
    return event->state ? event->state->error : cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    if (!from->reached_ms || !to->reached_ms) return cudaErrorInvalidValue;
    if (!from->is_past() || !to->is_past()) return cudaErrorNotReady;
    *ms = (float)(*to->reached_ms - *from->reached_ms);
    return cudaSuccess;
}
