/* Makes system calls, given as NUMBER:A:B:C:D:E:F, and prints the errno of each, 0 for one that did not fail. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    pid_t self = getpid();

    for (int i = 1; i < argc; i++) {
        unsigned long a[6];
        char *at = argv[i];
        long number = strtol(at, &at, 0);
        for (int j = 0; j < 6; j++)
            a[j] = (unsigned long)strtoull(at + 1, &at, 0);
        errno = 0;
        long result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        int error = errno;
        if (getpid() != self)
            _exit(0); /* clone(2) went through: this is the child */
        printf("%d\n", result == -1 ? error : 0);
        fflush(stdout);
    }
    return 0;
}
