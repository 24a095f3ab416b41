/* How an error of the emulation is told: one sentence, and where the kernel stood. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <mutex>
#include <string>

#include "block.h"

namespace simt {

static std::string without_folders(const std::string &path) {
    return path.substr(path.rfind('/') + 1);
}

std::string words_of(place where) {
    return without_folders(where.file_name()) + ":" + std::to_string(where.line());
}

/* The return addresses on the running fiber's stack, innermost first. The emulation and the
 * kernels keep frame pointers; whatever else may lie there stays inside the stack. */
static std::vector<const void *> callers() {
    std::vector<const void *> list;
    if (!current_thread) return list;
    auto stack = (uintptr_t)current_thread->context.stack;
    auto frame = (uintptr_t)__builtin_frame_address(0);
    while (frame >= stack && frame <= stack + STACK_BYTES - 16 && frame % 8 == 0) {
        list.push_back(((const void **)frame)[1]);
        uintptr_t next = ((uintptr_t *)frame)[0];
        if (next <= frame) break;
        frame = next;
    }
    return list;
}

static bool is_kernels(const std::string &path) {
    if (path.find("/tests/simt/ptx.cuh") != std::string::npos) return false;
    return path.find(".cu:") != std::string::npos || path.find("/kernels/") != std::string::npos;
}

/* "file:line" of each place of kernel code at these addresses, by addr2line; inlined functions give
 * several. */
static std::vector<std::string> lines_at(const std::vector<const void *> &addresses) {
    extern const char start_of_program __asm__("__executable_start");
    std::vector<std::string> lines;
    std::string command = "addr2line -i -e /proc/" + std::to_string(getpid()) + "/exe";
    for (const void *a : addresses) {
        char text[32]; /* The address that a call returns to is behind it. */
        snprintf(text, sizeof text, " %zx", (size_t)((const char *)a - &start_of_program) - 1);
        command += text;
    }
    FILE *pipe = addresses.empty() ? nullptr : popen((command + " 2>/dev/null").c_str(), "r");
    char line[1024];
    while (pipe && fgets(line, sizeof line, pipe)) {
        line[strcspn(line, " \n")] = 0; /* Behind a blank: its "discriminator". */
        std::string short_line = without_folders(line);
        bool again = !lines.empty() && lines.back() == short_line;
        if (is_kernels(line) && !again) lines.push_back(short_line);
    }
    if (pipe) pclose(pipe);
    return lines;
}

/* The place first, then those that called it. */
static std::vector<std::string> lines_of(const site &at) {
    std::vector<const void *> addresses = callers();
    if (at.pc) {
        auto found = std::find(addresses.begin(), addresses.end(), at.pc);
        if (found == addresses.end()) found = addresses.insert(addresses.begin(), at.pc);
        addresses.erase(addresses.begin(), found);
    }
    std::vector<std::string> lines = lines_at(addresses);
    if (at.pc) return lines.empty() ? std::vector<std::string>{"?"} : lines;
    std::string where = words_of(at.where);
    if (lines.empty() || lines[0] != where) lines.insert(lines.begin(), where);
    return lines;
}

[[noreturn]] static void end_process(const site &at, const char *format, va_list list) {
    static std::mutex one;
    one.lock(); /* For good: the first error is the one that is told. */
    fflush(stdout);
    std::vector<std::string> lines = lines_of(at);
    fprintf(stderr, "simt: %s: ", lines[0].c_str());
    vfprintf(stderr, format, list);
    if (current_thread) {
        const uint3 &b = current_block->index;
        fprintf(stderr, " (block %u,%u,%u thread %u", b.x, b.y, b.z, current_thread->number);
        for (size_t i = 1; i < lines.size(); i++)
            fprintf(stderr, "%s%s", i == 1 ? "; called at " : ", ", lines[i].c_str());
        fprintf(stderr, ")");
    }
    fprintf(stderr, "\n");
    _exit(3);
}

void error(place where, const char *format, ...) {
    va_list list;
    va_start(list, format);
    end_process({where, nullptr}, format, list);
}

void error_at(const site &at, const char *format, ...) {
    va_list list;
    va_start(list, format);
    end_process(at, format, list);
}

}  // namespace simt
