/*
 * A library for LD_PRELOAD in which one call of the C library fails, as on a host with a fault.
 *
 * faults_arm(index, error) counts calls from then on, in the process group of the caller. The call with that
 * number returns -1 with the error, and does nothing. All others do what they do. faults_count() returns
 * how many calls there were: with an index of -1 none fails.
 *
 * Not counted: mappings of no file, by which Python gets its memory. close(), which closes even if it fails. A byte
 * that a process writes to a pipe or a socket of its own, to wake itself up in a signal: that cannot fail.
 * Reads of the kernel log one after the other count as one call: each drill makes that log longer, and so the
 * numbers of all later calls would be other ones.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct state {
	long count;
	long index;
	pid_t group;
	int error;
	char failed[32];
};

static struct state *state;
/* The last call was a read of the kernel log. */
static int in_log;

__attribute__((constructor)) static void share(void)
{
	void *page = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	state = page == MAP_FAILED ? NULL : page;
	if (state)
		state->index = -1;
}

void faults_arm(long index, int error)
{
	state->index = -1;
	state->failed[0] = 0;
	state->error = error;
	state->group = getpgrp();
	__atomic_store_n(&state->count, 0, __ATOMIC_SEQ_CST);
	state->index = index;
}

long faults_count(void)
{
	return __atomic_load_n(&state->count, __ATOMIC_SEQ_CST);
}

/* The name of the call that failed; "" if none did. */
const char *faults_failed(void)
{
	return state->failed;
}

static int fails(const char *name)
{
	in_log = 0;
	if (!state || state->group != getpgrp() || __atomic_fetch_add(&state->count, 1, __ATOMIC_SEQ_CST) != state->index)
		return 0;
	strncpy(state->failed, name, sizeof(state->failed) - 1);
	errno = state->error;
	return 1;
}

/* Defines a function of the C library that can fail: WRAP(type, its failure, name, parameters, arguments). */
#define WRAP(type, failure, name, parameters, arguments)                         \
	type name parameters                                                     \
	{                                                                        \
		static type(*real) parameters;                                   \
		if (!real)                                                       \
			real = (type(*) parameters)dlsym(RTLD_NEXT, #name);      \
		return fails(#name) ? failure : real arguments;                  \
	}
#define INT(name, parameters, arguments) WRAP(int, -1, name, parameters, arguments)
#define SIZE(name, parameters, arguments) WRAP(ssize_t, -1, name, parameters, arguments)

/* As WRAP, for a function whose last parameter, the mode, is optional. */
#define OPEN(name, parameters, arguments)                                        \
	int name parameters                                                      \
	{                                                                        \
		static int (*real)();                                            \
		va_list list;                                                    \
		mode_t mode;                                                     \
		va_start(list, flags);                                           \
		mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
		va_end(list);                                                    \
		if (!real)                                                       \
			real = (int (*)())dlsym(RTLD_NEXT, #name);               \
		return fails(#name) ? -1 : real arguments;                       \
	}

OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

SIZE(pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
SIZE(pread64, (int fd, void *to, size_t size, off64_t at), (fd, to, size, at))
SIZE(pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
SIZE(pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
SIZE(readv, (int fd, const struct iovec *to, int number), (fd, to, number))
SIZE(writev, (int fd, const struct iovec *from, int number), (fd, from, number))
SIZE(readlink, (const char *path, char *to, size_t size), (path, to, size))
SIZE(readlinkat, (int at, const char *path, char *to, size_t size), (at, path, to, size))
SIZE(recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags))
SIZE(sendto,
     (int fd, const void *from, size_t size, int flags, const struct sockaddr *to, socklen_t length),
     (fd, from, size, flags, to, length))
SIZE(recvfrom, (int fd, void *to, size_t size, int flags, struct sockaddr *from, socklen_t *length),
     (fd, to, size, flags, from, length))
SIZE(sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
SIZE(recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
WRAP(off_t, -1, lseek, (int fd, off_t to, int whence), (fd, to, whence))
WRAP(off64_t, -1, lseek64, (int fd, off64_t to, int whence), (fd, to, whence))

INT(fsync, (int fd), (fd))
INT(fdatasync, (int fd), (fd))
INT(ftruncate, (int fd, off_t size), (fd, size))
INT(ftruncate64, (int fd, off64_t size), (fd, size))
INT(rename, (const char *from, const char *to), (from, to))
INT(renameat, (int at, const char *from, int to_at, const char *to), (at, from, to_at, to))
INT(link, (const char *from, const char *to), (from, to))
INT(symlink, (const char *from, const char *to), (from, to))
INT(unlink, (const char *path), (path))
INT(unlinkat, (int at, const char *path, int flags), (at, path, flags))
INT(rmdir, (const char *path), (path))
INT(mkdir, (const char *path, mode_t mode), (path, mode))
INT(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
INT(chmod, (const char *path, mode_t mode), (path, mode))
INT(fchmod, (int fd, mode_t mode), (fd, mode))
INT(fchown, (int fd, uid_t user, gid_t group), (fd, user, group))
INT(stat, (const char *path, struct stat *to), (path, to))
INT(stat64, (const char *path, struct stat64 *to), (path, to))
INT(lstat, (const char *path, struct stat *to), (path, to))
INT(lstat64, (const char *path, struct stat64 *to), (path, to))
INT(fstat, (int fd, struct stat *to), (fd, to))
INT(fstat64, (int fd, struct stat64 *to), (fd, to))
INT(fstatat, (int at, const char *path, struct stat *to, int flags), (at, path, to, flags))
INT(fstatat64, (int at, const char *path, struct stat64 *to, int flags), (at, path, to, flags))
INT(statvfs, (const char *path, struct statvfs *to), (path, to))
INT(statvfs64, (const char *path, struct statvfs64 *to), (path, to))
INT(flock, (int fd, int operation), (fd, operation))
INT(dup, (int fd), (fd))
INT(dup2, (int fd, int to), (fd, to))
INT(pipe, (int to[2]), (to))
INT(pipe2, (int to[2], int flags), (to, flags))
INT(execve, (const char *path, char *const words[], char *const environment[]), (path, words, environment))
INT(kill, (pid_t pid, int number), (pid, number))
INT(sched_setaffinity, (pid_t pid, size_t size, const cpu_set_t *set), (pid, size, set))
INT(socket, (int domain, int type, int protocol), (domain, type, protocol))
INT(bind, (int fd, const struct sockaddr *to, socklen_t length), (fd, to, length))
INT(listen, (int fd, int backlog), (fd, backlog))
INT(connect, (int fd, const struct sockaddr *to, socklen_t length), (fd, to, length))
INT(accept4, (int fd, struct sockaddr *from, socklen_t *length, int flags), (fd, from, length, flags))
INT(setsockopt, (int fd, int level, int name, const void *value, socklen_t length),
    (fd, level, name, value, length))
INT(poll, (struct pollfd *set, nfds_t number, int timeout), (set, number, timeout))
INT(select, (int number, fd_set *in, fd_set *out, fd_set *other, struct timeval *time),
    (number, in, out, other, time))
INT(epoll_create1, (int flags), (flags))
INT(epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event), (epoll, operation, fd, event))
INT(epoll_wait, (int epoll, struct epoll_event *events, int number, int timeout),
    (epoll, events, number, timeout))
WRAP(pid_t, -1, fork, (void), ())
WRAP(DIR *, NULL, opendir, (const char *path), (path))
WRAP(DIR *, NULL, fdopendir, (int fd), (fd))
WRAP(pid_t, -1, waitpid, (pid_t pid, int *status, int options), (pid, status, options))

static int is_kernel_log(int fd)
{
	static int (*look)(int, struct stat *);
	struct stat found;

	if (!look)
		look = (int (*)(int, struct stat *))dlsym(RTLD_NEXT, "fstat");
	return !look(fd, &found) && S_ISCHR(found.st_mode) && found.st_rdev == makedev(1, 11);
}

ssize_t read(int fd, void *to, size_t size)
{
	static ssize_t (*real)(int, void *, size_t);
	int before = errno, log = is_kernel_log(fd);

	errno = before;
	if (!real)
		real = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
	if (!(log && in_log) && fails("read"))
		return -1;
	in_log = log;
	return real(fd, to, size);
}

static int wakes(int fd, size_t size)
{
	static off_t (*seek)(int, off_t, int);
	int before = errno, is_pipe;

	if (size != 1)
		return 0;
	if (!seek)
		seek = (off_t(*)(int, off_t, int))dlsym(RTLD_NEXT, "lseek");
	is_pipe = seek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE;
	errno = before;
	return is_pipe;
}

ssize_t write(int fd, const void *from, size_t size)
{
	static ssize_t (*real)(int, const void *, size_t);

	if (!real)
		real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
	return !wakes(fd, size) && fails("write") ? -1 : real(fd, from, size);
}

ssize_t send(int fd, const void *from, size_t size, int flags)
{
	static ssize_t (*real)(int, const void *, size_t, int);

	if (!real)
		real = (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
	return !wakes(fd, size) && fails("send") ? -1 : real(fd, from, size, flags);
}

/* A function that calls vfork() must not return in the child, so this one forks. */
pid_t vfork(void)
{
	return fork();
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, void *);
	va_list list;
	void *argument;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	if (!real)
		real = (int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl");
	return fails("ioctl") ? -1 : real(fd, request, argument);
}

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	va_list list;
	long a, b, c, d, e, f;

	va_start(list, number);
	a = va_arg(list, long);
	b = va_arg(list, long);
	c = va_arg(list, long);
	d = va_arg(list, long);
	e = va_arg(list, long);
	f = va_arg(list, long);
	va_end(list);
	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	return fails("syscall") ? -1 : real(number, a, b, c, d, e, f);
}

static void *map(const char *name, void *at, size_t size, int protection, int flags, int fd, off64_t offset)
{
	void *(*real)(void *, size_t, int, int, int, off64_t) = dlsym(RTLD_NEXT, name);

	if (!(flags & MAP_ANONYMOUS) && fails(name))
		return MAP_FAILED;
	return real(at, size, protection, flags, fd, offset);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	return map("mmap", at, size, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset)
{
	return map("mmap64", at, size, protection, flags, fd, offset);
}
