// killer PID N: kills a process as it is about to make its N-th system call, counted over all of its
// threads from now on. Says "ready" once it watches, and then what it did. Ends when its standard
// input does. With a third argument it keeps the process there instead, and kills it in the end.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <linux/ptrace.h>
#include <unistd.h>

static long seize(pid_t thread) {
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;
    if (ptrace(PTRACE_SEIZE, thread, NULL, options) == -1) return -1;
    return ptrace(PTRACE_INTERRUPT, thread, NULL, NULL);
}

static void seize_all(pid_t process) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", process);
    DIR *tasks = opendir(path);
    if (tasks == NULL) exit(2);
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        pid_t thread = atoi(task->d_name);
        if (thread > 0 && seize(thread) == -1) exit(3);
    }
    closedir(tasks);
}

static void on_child(int number) { (void)number; }

int main(int count, char **arguments) {
    if (count != 3 && count != 4) return 1;
    pid_t process = atoi(arguments[1]);
    long left = atol(arguments[2]);
    int keeps = count == 4, is_kept = 0;

    sigset_t blocked, former;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &former);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = on_child}, NULL);
    seize_all(process);
    puts("ready");
    fflush(stdout);

    for (;;) {
        int status;
        pid_t thread = waitpid(-1, &status, __WALL | WNOHANG);
        if (thread == -1 && errno == ECHILD) return 0;
        if (thread <= 0) {
            struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
            if (ppoll(&input, 1, NULL, &former) != 1) continue;
            if (is_kept) kill(process, SIGKILL);
            return 0;  // which lets the process go on
        }
        if (!WIFSTOPPED(status)) continue;
        int number = WSTOPSIG(status), event = status >> 16;
        if (number == (SIGTRAP | 0x80)) {
            struct ptrace_syscall_info info = {0};
            ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info);
            if (info.op == PTRACE_SYSCALL_INFO_ENTRY && --left == 0) {
                printf("%s before %llu\n", keeps ? "kept" : "killed", (unsigned long long)info.entry.nr);
                fflush(stdout);
                is_kept = keeps;
                if (!keeps) kill(process, SIGKILL);
                continue;
            }
        }
        int is_own = number == (SIGTRAP | 0x80) || event != 0 || number == SIGTRAP;
        ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(long)(is_own ? 0 : number));
    }
}
