/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIOSCOPE_BENCH_PRODUCE_H
#define VFIOSCOPE_BENCH_PRODUCE_H

/*
 * Runs the program here `count` times, or less often when the kernel cuts the run
 * short: see the per-CPU counters. Returns the ns of CPU that it took, or a negative errno.
 */
double bench_produce(int program, int count);

/*
 * ns of CPU that this thread had. Unlike time on the clock it does not grow while
 * something else runs here, so a busy machine does less harm.
 */
double bench_cpu_time(void);

#endif
