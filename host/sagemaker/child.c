#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

enum { LINE_BYTES = 8192, GIVE_UP_S = 20 };

thaw_child thaw_child_none(void) {
    return (thaw_child){.log = -1};
}

/* In the new process, where nothing but system calls may be made. */
static void become(pid_t parent, int out, char *const words[], char *const *environment) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127); /* It died before it was asked for. */
    int nothing = open("/dev/null", O_RDONLY);
    if (dup2(nothing, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(out, STDERR_FILENO) < 0)
        _exit(127);
    execve("/proc/self/exe", words, environment);
    _exit(127);
}

thaw_status thaw_child_start(thaw_child *child, const char *word, char *const *environment,
                             const char *log, thaw_error *err) {
    char *words[] = {"thaw", (char *)word, NULL};
    pid_t parent = getpid();
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    *child = thaw_child_none();
    if (out >= 0) child->log = open(log, O_RDONLY | O_CLOEXEC);
    if (child->log < 0) {
        int code = errno;
        if (out >= 0) close(out);
        return thaw_fail(err, THAW_ERR_IO, "cannot make the log %s: %s", log, strerror(code));
    }
    child->seen = lseek(child->log, 0, SEEK_END);
    child->start_s = thaw_now_s();
    child->pid = fork();
    if (child->pid == 0) become(parent, out, words, environment);
    int code = errno;
    close(out);
    if (child->pid > 0) return THAW_OK;
    child->pid = 0;
    return thaw_fail(err, THAW_ERR_SYSTEM, "thaw %s cannot be started: %s", word, strerror(code));
}

bool thaw_child_runs(thaw_child *child) {
    int status;
    if (!child->pid || waitpid(child->pid, &status, WNOHANG) == 0) return child->pid;
    child->pid = 0;
    child->end_s = thaw_now_s();
    child->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return false;
}

void thaw_child_signal(const thaw_child *child, int number) {
    if (child->pid) kill(child->pid, number);
}

void thaw_child_lines(thaw_child *child, void (*visit)(void *ctx, const char *line), void *ctx) {
    char text[LINE_BYTES + 1];
    ssize_t n;
    while ((n = pread(child->log, text, LINE_BYTES, child->seen)) > 0) {
        text[n] = '\0';
        char *line = text, *end;
        for (; (end = memchr(line, '\n', (size_t)(text + n - line))); line = end + 1) {
            *end = '\0';
            visit(ctx, line);
        }
        if (line == text && n == LINE_BYTES) { /* As much of a line as anybody wants to read. */
            visit(ctx, text);
            line = text + n;
        }
        if (line == text) return;
        child->seen += line - text;
    }
}

void thaw_child_close(thaw_child *child) {
    const struct timespec pause = {.tv_nsec = 10000000};
    double until = thaw_now_s() + GIVE_UP_S;
    thaw_child_signal(child, SIGTERM);
    while (thaw_child_runs(child)) {
        if (thaw_now_s() > until) thaw_child_signal(child, SIGKILL);
        nanosleep(&pause, NULL);
    }
    if (child->log >= 0) close(child->log);
    child->log = -1;
}
