/* A supervised program at its smallest: it says when it began, then waits for a signal.
 *
 * child FIFO NAME [once]: writes "NAME PID NANOSECONDS\n" (CLOCK_MONOTONIC, read first of all) into FIFO in one write.
 * With `once` it ends then. A FIFO, not a datagram socket: a thousand reports fit before anybody reads, so no child waits for the reader. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec now;
    char line[512];
    int length, fifo;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc != 3 && argc != 4)
        return 2;
    length = snprintf(line, sizeof line, "%s %d %lld\n", argv[2], (int)getpid(),
                      (long long)now.tv_sec * 1000000000LL + now.tv_nsec);
    fifo = open(argv[1], O_WRONLY | O_CLOEXEC);
    if (fifo < 0 || length >= (int)sizeof line || write(fifo, line, length) != length)
        return 1;
    close(fifo);
    if (argc == 4)
        return 0;
    for (;;)
        pause();
}
