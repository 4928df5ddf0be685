// SPDX-License-Identifier: Apache-2.0
#include "produce.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <time.h>

double bench_cpu_time(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

double bench_produce(int program, int count)
{
	unsigned char frame[64] = { 0 };	/* a packet to run it on */
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = count);
	/* The kernel measures too, but not for a run that it cuts short (EINTR). */
	double start = bench_cpu_time();
	int error = bpf_prog_test_run_opts(program, &options);

	return error && error != -EINTR ? error : bench_cpu_time() - start;
}
