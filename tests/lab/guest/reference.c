/* The bare loop that `sdeictl bench` has to agree with: nanoseconds a getppid, the least of some samples. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CALLS 2000
#define SAMPLES 200

int main(void)
{
	double least = 1e9;

	for (int sample = 0; sample < SAMPLES; sample++) {
		struct timespec from, to;

		clock_gettime(CLOCK_MONOTONIC, &from);
		for (int call = 0; call < CALLS; call++)
			syscall(SYS_getppid);
		clock_gettime(CLOCK_MONOTONIC, &to);
		double spent = (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
		if (spent / CALLS < least)
			least = spent / CALLS;
	}
	printf("%.3f\n", least);
	return 0;
}
