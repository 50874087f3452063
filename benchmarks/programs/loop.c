/* The limit in C: what starting, and starting again, costs when nothing else is done.
 *
 * loop CHILD FIFO NAMES CONTROL [UID]: starts CHILD FIFO NAME for every line of the file NAMES, and again whenever one
 * ends; with UID as that user and group, and so by fork.
 * A line "+NAME" in the FIFO CONTROL starts one more, "-NAME" ends one (TERM) so that it is started again.
 * At TERM: all are told TERM and waited for. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct one {
    pid_t pid;
    char *name;
};

static struct one *all;
static size_t count;
static char *child, *fifo;
static posix_spawnattr_t attributes;
static sigset_t none;
static int uid = -1;

static pid_t start_as_user(char **argv, char **environment)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0)
        execve(child, argv, environment);
    _exit(127);
}

static void start(struct one *one)
{
    char *argv[] = {child, fifo, one->name, NULL};
    char *environment[] = {NULL};

    if (uid >= 0) {
        if ((one->pid = start_as_user(argv, environment)) < 0) {
            perror("fork");
            exit(1);
        }
    } else if (posix_spawn(&one->pid, child, NULL, &attributes, argv, environment) != 0) {
        perror("posix_spawn");
        exit(1);
    }
}

static void add(const char *name)
{
    all = realloc(all, (count + 1) * sizeof *all);
    if (all == NULL)
        exit(1);
    all[count].name = strdup(name);
    start(&all[count++]);
}

static void obey(char *line)
{
    size_t i;

    if (line[0] == '+')
        add(line + 1);
    else
        for (i = 0; i < count; i++)
            if (strcmp(all[i].name, line + 1) == 0)
                kill(all[i].pid, SIGTERM);
}

static void again(void)
{
    pid_t pid;
    size_t i;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        for (i = 0; i < count; i++)
            if (all[i].pid == pid) {
                start(&all[i]);
                break;
            }
}

static void end(void)
{
    size_t i;

    for (i = 0; i < count; i++)
        kill(all[i].pid, SIGTERM);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    exit(0);
}

int main(int argc, char **argv)
{
    sigset_t watched;
    struct pollfd ready[2];
    struct signalfd_siginfo heard;
    char text[4096], *line;
    ssize_t length;
    FILE *names;

    if (argc < 5 || argc > 6 || (names = fopen(argv[3], "re")) == NULL)
        return 2;
    child = argv[1];
    fifo = argv[2];
    if (argc == 6)
        uid = atoi(argv[5]);
    sigemptyset(&none);
    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigaddset(&watched, SIGTERM);
    sigprocmask(SIG_BLOCK, &watched, NULL);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &none);
    ready[0].fd = signalfd(-1, &watched, SFD_CLOEXEC);
    ready[1].fd = open(argv[4], O_RDWR | O_CLOEXEC);
    ready[0].events = ready[1].events = POLLIN;
    while (fgets(text, sizeof text, names) != NULL)
        add(strtok(text, "\n"));
    fclose(names);
    for (;;) {
        if (poll(ready, 2, -1) < 0)
            continue;
        if (ready[0].revents) {
            if (read(ready[0].fd, &heard, sizeof heard) == sizeof heard && heard.ssi_signo == SIGTERM)
                end();
            again();
        }
        if (ready[1].revents && (length = read(ready[1].fd, text, sizeof text - 1)) > 0) {
            text[length] = '\0';
            for (line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
                obey(line);
        }
    }
}
