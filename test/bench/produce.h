/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIOSCOPE_BENCH_PRODUCE_H
#define VFIOSCOPE_BENCH_PRODUCE_H

/*
 * Runs the program here `count` times, or less often when the kernel cuts the run
 * short: the lanes tell. Returns the ns that it took, or a negative errno.
 */
double bench_produce(int program, int count);

/* ns on the monotonic clock. */
double bench_now(void);

#endif
