/* Says what a process has and can do, with system calls only: it runs in a jail that has nothing else. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void descriptors(void)
{
    printf("descriptors");
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf(" %d", fd);
    printf("\n");
}

static void identity(void)
{
    uid_t real, effective, saved;
    getresuid(&real, &effective, &saved);
    printf("uids %u %u %u\n", real, effective, saved);
    getresgid(&real, &effective, &saved);
    printf("gids %u %u %u\n", real, effective, saved);
    gid_t groups[64];
    int count = getgroups(64, groups);
    printf("groups");
    for (int i = 0; i < count; i++)
        printf(" %u", groups[i]);
    printf("\n");
}

static void capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    unsigned long long bounding = 0, ambient = 0;
    syscall(SYS_capget, &header, data);
    for (int cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_READ, cap) == 1)
            bounding |= 1ULL << cap;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
            ambient |= 1ULL << cap;
    }
    printf("effective %llu\n", data[0].effective | (unsigned long long)data[1].effective << 32);
    printf("permitted %llu\n", data[0].permitted | (unsigned long long)data[1].permitted << 32);
    printf("inheritable %llu\n", data[0].inheritable | (unsigned long long)data[1].inheritable << 32);
    printf("bounding %llu\nambient %llu\n", bounding, ambient);
    printf("no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static void signals(void)
{
    sigset_t mask;
    struct sigaction action;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    printf("blocked");
    for (int number = 1; number < 65; number++)
        if (sigismember(&mask, number) == 1)
            printf(" %d", number);
    printf("\nignored");
    for (int number = 1; number < 65; number++)
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            printf(" %d", number);
    int death = 0;
    prctl(PR_GET_PDEATHSIG, &death);
    printf("\npdeathsig %d\n", death);
}

static void limits(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    printf("nofile %lld %lld\n", (long long)limit.rlim_cur, (long long)limit.rlim_max);
    getrlimit(RLIMIT_FSIZE, &limit);
    printf("fsize %lld %lld\n", (long long)limit.rlim_cur, (long long)limit.rlim_max);
    getrlimit(RLIMIT_CORE, &limit);
    printf("core %lld %lld\n", (long long)limit.rlim_cur, (long long)limit.rlim_max);
}

static int facts(void)
{
    mode_t mask = umask(0);
    char folder[4096];
    descriptors();
    identity();
    capabilities();
    signals();
    limits();
    printf("umask %o\npid %d\nsession %d\ngroup %d\n", mask, getpid(), getsid(0), getpgrp());
    printf("workdir %s\n", getcwd(folder, sizeof folder) ? folder : "?");
    for (char **variable = environ; *variable; variable++)
        printf("environment %s\n", *variable);
    return 0;
}

static int show(const char *path)
{
    char text[256];
    int fd = open(path, O_RDONLY);
    ssize_t count = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (count < 0)
        return errno;
    return fwrite(text, 1, count, stdout) == (size_t)count ? 0 : EIO;
}

static int climb_and_show(const char *path)
{
    for (int step = 0; step < 64; step++)
        if (chdir(".."))
            return errno;
    return show(path);
}

/* Leaves by a descriptor of a directory outside. */
static int walk(int fd, const char *path)
{
    return fchdir(fd) ? errno : climb_and_show(path);
}

/* Leaves by a second chroot(2), which moves the root below the working directory. */
static int double_chroot(const char *path)
{
    if (mkdir("/home/jail/deeper", 0700) && errno != EEXIST)
        return errno;
    return chroot("/home/jail/deeper") ? errno : climb_and_show(path);
}

/* Runs a command with a key in its session keyring. */
static int with_key(char **words)
{
    syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    if (syscall(SYS_add_key, "user", "token", "a token of the host", 19, KEY_SPEC_SESSION_KEYRING) < 0)
        return errno;
    execvp(words[0], words);
    return errno;
}

static int show_key(void)
{
    char text[256];
    long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "token", 0);
    long count = key < 0 ? -1 : syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof text);
    if (count < 0)
        return errno;
    return fwrite(text, 1, count, stdout) == (size_t)count ? 0 : EIO;
}

static void *stay(void *unused)
{
    pause();
    return unused;
}

/* Goes on without its main thread, which then looks like a zombie. */
static int headless(void)
{
    pthread_t other;
    if (pthread_create(&other, NULL, stay, NULL))
        return EAGAIN;
    printf("ready\n");
    fflush(stdout);
    syscall(SYS_exit, 0);
    return 0;
}

/* Leaves chains of processes of which each forks the next and ends, for a number of seconds. */
static int chains(int number, int pause_us, int seconds)
{
    time_t end = time(NULL) + seconds;
    while (number-- > 0) {
        if (fork())
            continue;
        while (time(NULL) < end) {
            if (fork() > 0) {
                if (rand() % 3 == 0)
                    setsid();
                _exit(0);
            }
            if (pause_us)
                usleep(pause_us);
        }
        _exit(0);
    }
    return 0;
}

int main(int count, char **words)
{
    const char *verb = count > 1 ? words[1] : "facts";
    if (!strcmp(verb, "facts"))
        return facts();
    if (!strcmp(verb, "walk"))
        return walk(atoi(words[2]), words[3]);
    if (!strcmp(verb, "double-chroot"))
        return double_chroot(words[2]);
    if (!strcmp(verb, "show"))
        return show(words[2]);
    if (!strcmp(verb, "type"))
        return ioctl(0, TIOCSTI, "x") ? errno : 0;
    if (!strcmp(verb, "kill"))
        return kill(atoi(words[2]), atoi(words[3])) ? errno : 0;
    if (!strcmp(verb, "with-key"))
        return with_key(words + 2);
    if (!strcmp(verb, "show-key"))
        return show_key();
    if (!strcmp(verb, "open-streams"))
        return (fcntl(0, F_GETFD) >= 0) | (fcntl(1, F_GETFD) >= 0) << 1 | (fcntl(2, F_GETFD) >= 0) << 2;
    if (!strcmp(verb, "headless"))
        return headless();
    if (!strcmp(verb, "chains"))
        return chains(atoi(words[2]), atoi(words[3]), atoi(words[4]));
    if (!strcmp(verb, "raise-limit")) {
        struct rlimit limit = {64, 64};
        return setrlimit(RLIMIT_NOFILE, &limit) ? errno : 0;
    }
    return 255;
}
