// SPDX-License-Identifier: Apache-2.0
// flood PROGRAM_FD CPU SECONDS: runs the program without pause on one CPU.

#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "produce.h"

enum { RUNS_PER_CALL = 10000 };

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

int main(int count, char **words)
{
	if (count != 4) {
		fprintf(stderr, "usage: flood PROGRAM_FD CPU SECONDS\n");
		return 2;
	}
	int program = atoi(words[1]);
	double end = now() + atof(words[3]);
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(atoi(words[2]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus)) {
		perror("flood: sched_setaffinity");
		return 1;
	}
	while (now() < end) {
		double elapsed = bench_produce(program, RUNS_PER_CALL);

		if (elapsed < 0) {
			fprintf(stderr, "flood: the kernel refused a test run: %s\n", strerror(-(int)elapsed));
			return 1;
		}
	}
	return 0;
}
