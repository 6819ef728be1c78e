/*
 * The bare loop that `sdeictl bench` has to agree with: nanoseconds a getppid, the least of some samples.
 *
 *     reference CALLS SAMPLES
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long calls = argc > 2 ? atol(argv[1]) : 0, samples = argc > 2 ? atol(argv[2]) : 0;
	double least = 1e18;

	while (samples-- > 0) {
		struct timespec from, to;

		clock_gettime(CLOCK_MONOTONIC, &from);
		for (long call = 0; call < calls; call++)
			syscall(SYS_getppid);
		clock_gettime(CLOCK_MONOTONIC, &to);
		double spent = (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
		if (spent < least)
			least = spent;
	}
	printf("%.6f\n", least / calls);
	return 0;
}
