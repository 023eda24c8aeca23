/* A disk that fails: preloaded into a program, it answers writes or syncs of files below FAILING_FOLDER with an error, as
 * long as the file that FAILING_AS_SAID_IN names is there and says so: "write 5" or "sync 5", with the error's number. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static const char *folder;
static const char *told;

__attribute__((constructor)) static void begin(void)
{
    folder = getenv("FAILING_FOLDER");
    told = getenv("FAILING_AS_SAID_IN");
    /* It is for this program, and not for those that it starts. */
    unsetenv("LD_PRELOAD");
}

static int is_below(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes < 0 || folder == NULL)
        return 0;
    path[bytes] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* The number of the error with which this operation is to fail, or 0. */
static int fault(int fd, const char *operation)
{
    if (told == NULL)
        return 0;
    int before = errno, error = 0;
    int said = open(told, O_RDONLY | O_CLOEXEC);
    if (said >= 0) {
        char text[64] = "", what[32] = "";
        ssize_t bytes = read(said, text, sizeof text - 1);
        close(said);
        int number = 0;
        if (bytes > 0 && sscanf(text, "%31s %d", what, &number) == 2 && strcmp(what, operation) == 0
            && is_below(fd))
            error = number;
    }
    errno = before;
    return error;
}

#define AS_TOLD(operation, fd)                \
    do {                                      \
        int error = fault((fd), (operation)); \
        if (error != 0) {                     \
            errno = error;                    \
            return -1;                        \
        }                                     \
    } while (0)

ssize_t write(int fd, const void *from, size_t bytes)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "write");
    AS_TOLD("write", fd);
    return real(fd, from, bytes);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "pwrite");
    AS_TOLD("write", fd);
    return real(fd, from, bytes, at);
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off64_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "pwrite64");
    AS_TOLD("write", fd);
    return real(fd, from, bytes, at);
}

int fsync(int fd)
{
    static int (*real)(int);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "fsync");
    AS_TOLD("sync", fd);
    return real(fd);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "fdatasync");
    AS_TOLD("sync", fd);
    return real(fd);
}
