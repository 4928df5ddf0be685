// SPDX-License-Identifier: Apache-2.0
// The peer of the ring reader: libbpf's own consumer, reading the same fields.

#include <bpf/libbpf.h>
#include <linux/types.h>
#include <stddef.h>

#include "event.h"
#include "produce.h"

// Doubles, as in JavaScript, so that both readers' sums can be compared.
struct reading {
	double elapsed;
	double time;
	double point;
	double pid;
};

static struct reading reading;

static int on_record(void *context, void *data, size_t size)
{
	const struct event *event = data;
	struct reading *sums = context;

	(void)size;
	sums->time += event->time;
	sums->point += event->point;
	sums->pid += event->pid;
	return 0;
}

struct ring_buffer *bench_consumer(int ring)
{
	return ring_buffer__new(ring, on_record, &reading, NULL);
}

// Empties the ring. Returns how many records there were, or a negative errno.
int bench_consume(struct ring_buffer *consumer, struct reading *result)
{
	double start;
	int count;

	reading = (struct reading){ 0 };
	start = bench_cpu_time();
	count = ring_buffer__consume(consumer);
	reading.elapsed = bench_cpu_time() - start;
	*result = reading;
	return count;
}
