/* The process that keeps a pod's namespaces: it waits, reaps what ends in them, and goes when asked. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int signal) {
    (void)signal;
    _exit(0);
}

static void reap(int signal) {
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(void) {
    struct sigaction leaves = {.sa_handler = leave};
    struct sigaction reaps = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
    if (sigaction(SIGINT, &leaves, NULL) || sigaction(SIGTERM, &leaves, NULL) || sigaction(SIGCHLD, &reaps, NULL)) {
        return 1;
    }
    for (;;) {
        pause();
    }
}
