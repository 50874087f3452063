/* A supervised program that talks: it says when it began, writes lines of 100 bytes, and waits for a signal.
 *
 * talk FIFO NAME BYTES RATE: see child.c for FIFO and NAME. RATE 0 writes BYTES as fast as they are taken, 64 KiB at a
 * time; else so many lines a second, ten milliseconds' worth at a time. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 100, LINES = 655 };

static void put(const char *data, size_t length)
{
    while (length) {
        ssize_t written = write(1, data, length);
        if (written < 0)
            _exit(1);
        data += written;
        length -= written;
    }
}

int main(int argc, char **argv)
{
    static char block[LINE * LINES];
    struct timespec now, next;
    char line[512];
    long long bytes, rate, written = 0;
    int length, fifo;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc != 5)
        return 2;
    bytes = atoll(argv[3]);
    rate = atoll(argv[4]);
    memset(block, 'x', sizeof block);
    for (int each = 0; each < LINES; each++)
        block[each * LINE + LINE - 1] = '\n';
    length = snprintf(line, sizeof line, "%s %d %lld\n", argv[2], (int)getpid(),
                      (long long)now.tv_sec * 1000000000LL + now.tv_nsec);
    fifo = open(argv[1], O_WRONLY | O_CLOEXEC);
    if (fifo < 0 || length >= (int)sizeof line || write(fifo, line, length) != length)
        return 1;
    close(fifo);
    next = now;
    while (written < bytes) {
        long long piece = rate ? rate / 100 * LINE : (long long)sizeof block;
        if (piece > bytes - written)
            piece = bytes - written;
        if (rate) {
            next.tv_nsec += 10000000;
            if (next.tv_nsec >= 1000000000) {
                next.tv_nsec -= 1000000000;
                next.tv_sec++;
            }
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, 0);
            for (long long at = 0; at < piece; at += LINE)
                put(block, LINE); /* a line at a time, as programs do */
        } else
            put(block, piece);
        written += piece;
    }
    for (;;)
        pause();
}
