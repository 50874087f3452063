/* The limit for log files: what moving bytes from pipes into files costs when nothing else is done.
 *
 * pour FOLDER NAMES ARGUMENT...: starts the program of these arguments for every line NAME of the file NAMES, {} among
 * them being NAME, and splices what it says into FOLDER/NAME.log, at 50 MiB into FOLDER/NAME.log.1 and so on. At TERM:
 * all are told TERM and waited for. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 65536, FILE_SIZE = 50 << 20 };

struct one {
    pid_t pid;
    char name[256];
    int reading, file, number;
    loff_t size;
};

static volatile sig_atomic_t ending;

static void end(int number)
{
    (void)number;
    ending = 1;
}

static void begin_file(struct one *one, const char *folder)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s.log", folder, one->name);

    if (one->file >= 0) {
        close(one->file);
        snprintf(path + length, sizeof path - length, ".%d", ++one->number);
    }
    one->size = 0;
    if ((one->file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        exit(1);
}

static void start(struct one *one, const char *folder, char **arguments)
{
    char *argv[64], *environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], count = 0;

    for (; arguments[count] != NULL && count < 63; count++)
        argv[count] = strcmp(arguments[count], "{}") == 0 ? one->name : arguments[count];
    argv[count] = NULL;
    if (pipe2(ends, O_CLOEXEC) < 0)
        exit(1);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    if (posix_spawn(&one->pid, argv[0], &actions, NULL, argv, environment) != 0)
        exit(1);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    one->reading = ends[0];
    one->file = -1;
    begin_file(one, folder);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = end};
    struct epoll_event event, ready[64];
    struct one *all = NULL;
    int looking = epoll_create1(EPOLL_CLOEXEC), count = 0;
    char name[256];
    FILE *names;

    if (argc < 4 || (names = fopen(argv[2], "re")) == NULL)
        return 2;
    sigaction(SIGTERM, &action, NULL);
    while (fgets(name, sizeof name, names) != NULL) {
        all = realloc(all, (count + 1) * sizeof *all);
        if (all == NULL)
            return 1;
        memset(&all[count], 0, sizeof *all);
        strcpy(all[count].name, strtok(name, "\n"));
        start(&all[count], argv[1], argv + 3);
        event.events = EPOLLIN;
        event.data.u32 = count;
        epoll_ctl(looking, EPOLL_CTL_ADD, all[count++].reading, &event);
    }
    while (!ending) {
        int found = epoll_wait(looking, ready, 64, -1);

        for (int each = 0; each < found; each++) {
            struct one *one = &all[ready[each].data.u32];
            ssize_t moved;

            if (one->size >= FILE_SIZE)
                begin_file(one, argv[1]);
            moved = splice(one->reading, NULL, one->file, &one->size, CHUNK, 0);
            if (moved <= 0)
                epoll_ctl(looking, EPOLL_CTL_DEL, one->reading, NULL);
        }
    }
    for (int each = 0; each < count; each++)
        kill(all[each].pid, SIGTERM);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    return 0;
}
