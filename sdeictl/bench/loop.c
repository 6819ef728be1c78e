/*
 * The timed loops of `sdeictl bench`: a plain shared library, which Python calls through ctypes.
 *
 * Each sdeictl_bench_NAME(count) makes one call `count` times. It returns how many nanoseconds of
 * CLOCK_MONOTONIC that took, or -errno. System calls go through syscall(2) of the C library, as in
 * `perf bench syscall basic` and in ordinary programs; the _raw functions use the bare instruction.
 * Nothing is subtracted: sdeictl_bench_empty() shows the cost of the loop itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 256

/* A compiler barrier: earlier memory accesses are complete here, and a loop around it is kept. */
#define BARRIER() __asm__ volatile("" ::: "memory")

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

#define TIMED(statement)                                     \
	({                                                   \
		int64_t started = now();                     \
		for (uint64_t i = 0; i < count; i++) {       \
			statement;                           \
		}                                            \
		now() - started;                             \
	})

int64_t sdeictl_bench_empty(uint64_t count)
{
	return TIMED(BARRIER());
}

int64_t sdeictl_bench_getppid(uint64_t count)
{
	return TIMED(syscall(SYS_getppid));
}

int64_t sdeictl_bench_gettid(uint64_t count)
{
	return TIMED(syscall(SYS_gettid));
}

#if defined(__aarch64__)
static long raw_syscall(long number)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = 0;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8) : "memory");
	return x0;
}
#elif defined(__x86_64__)
static long raw_syscall(long number)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "0"(number) : "rcx", "r11", "memory");
	return result;
}
#endif

#if defined(__aarch64__) || defined(__x86_64__)
int64_t sdeictl_bench_getppid_raw(uint64_t count)
{
	return TIMED(raw_syscall(SYS_getppid));
}

int64_t sdeictl_bench_gettid_raw(uint64_t count)
{
	return TIMED(raw_syscall(SYS_gettid));
}
#endif

int64_t sdeictl_bench_read_zero(uint64_t count)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int64_t spent;
	char byte;

	if (fd < 0)
		return -errno;
	spent = TIMED(if (read(fd, &byte, 1) != 1) break);
	close(fd);
	return spent;
}

int64_t sdeictl_bench_sched_yield(uint64_t count)
{
	return TIMED(sched_yield());
}

int64_t sdeictl_bench_futex_wake(uint64_t count)
{
	uint32_t word = 0;

	return TIMED(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
}

/* The first write to a page of anonymous memory. The time to free the pages does not count. */
int64_t sdeictl_bench_page_fault(uint64_t count)
{
	long size = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, PAGES * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int64_t spent = 0;

	if (pages == MAP_FAILED)
		return -errno;
	madvise(pages, PAGES * size, MADV_NOHUGEPAGE);
	for (uint64_t done = 0; done < count;) {
		uint64_t batch = count - done < PAGES ? count - done : PAGES;
		int64_t started = now();

		for (uint64_t page = 0; page < batch; page++)
			*(volatile char *)(pages + page * size) = 1;
		spent += now() - started;
		madvise(pages, PAGES * size, MADV_DONTNEED);
		done += batch;
	}
	munmap(pages, PAGES * size);
	return spent;
}

/* A timer that must expire: its interrupt, the wakeup, and the read that waits for it. */
int64_t sdeictl_bench_timer(uint64_t count)
{
	struct itimerspec soon = { .it_value = { .tv_nsec = 1000 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t expired;
	int64_t spent;

	if (fd < 0)
		return -errno;
	spent = TIMED(timerfd_settime(fd, 0, &soon, NULL); if (read(fd, &expired, 8) != 8) break);
	close(fd);
	return spent;
}

static void echo(int in, int out)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(in, &byte, 1) == 1 && write(out, &byte, 1) == 1)
		;
	_exit(0);
}

/* A byte to another process and back: two context switches if both processes are bound to one CPU. */
int64_t sdeictl_bench_pipe(uint64_t count)
{
	int there[2], back[2];
	int64_t spent;
	char byte = 0;
	pid_t child;

	if (pipe2(there, O_CLOEXEC))
		return -errno;
	if (pipe2(back, O_CLOEXEC)) {
		close(there[0]);
		close(there[1]);
		return -EMFILE;
	}
	child = fork();
	if (!child) {
		close(there[1]);
		close(back[0]);
		echo(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	spent = child < 0 ? -EAGAIN :
		TIMED(if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) break);
	close(there[1]);
	close(back[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	return spent;
}

/* getppid with a known amount of extra work, which a comparison must find. For tests/tools/bench_clock.py. */
int64_t sdeictl_bench_getppid_busy(uint64_t count, uint64_t busy)
{
	return TIMED(syscall(SYS_getppid); for (uint64_t spin = 0; spin < busy; spin++) BARRIER());
}
