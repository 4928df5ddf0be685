// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fills a ring buffer with records of the wire format under BPF_PROG_TEST_RUN,
 * where no tracing is allowed. The loss account is kept as bpf/common.h keeps it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "event.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lane);
} lanes SEC(".maps");

/* What replay() copies, in order and over again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct named_event);
} records SEC(".maps");

struct tape {
	__u64 elapsed;	/* ns to add to the recorded times: all passes so far */
	__u64 span;	/* ns that one pass lasts */
	__u32 next;
	__u32 length;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tape);
} tape SEC(".maps");

static __always_inline struct event *reserve(struct lane *lane, const __u64 size)
{
	struct event *event = bpf_ringbuf_reserve(&events, size, 0);

	if (!event) {
		lane->attempts++;
		lane->dropped++;
	}
	return event;
}

/*
 * One record made as reserve() in bpf/common.h makes it, without the helpers that
 * only tracing programs may call (task, comm, cgroup): a lower bound for a probe.
 */
SEC("socket")
int compose(struct __sk_buff *packet)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct lane *lane = bpf_map_lookup_elem(&lanes, &cpu);
	struct event *event;

	if (!lane)
		return 0;
	event = reserve(lane, sizeof(*event));
	if (!event)
		return 0;
	event->time = bpf_ktime_get_boot_ns();
	event->seq = lane->attempts++;
	event->cpu = cpu;
	event->point = KVM_PUT;
	event->flags = 0;
	event->pid = 600 + (event->seq & 63);
	event->tid = event->pid;
	__builtin_memset(event->comm, 'q', sizeof(event->comm));
	event->ret = 0;
	event->open_count = -1;
	event->users_count = 2;
	event->group_id = -1;
	event->dev = 0;
	event->vdev = 0;
	event->parent = 0;
	event->kvm = 1;
	event->file = 0;
	event->cgroup = 1;
	event->vm_pid = event->pid;
	event->reserved = 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline void stamp(struct event *event, struct lane *lane, __u32 cpu, __u64 elapsed)
{
	event->time += elapsed;
	event->seq = lane->attempts++;
	event->cpu = cpu;
	bpf_ringbuf_submit(event, 0);
}

/* The next record of the tape; one that finds the ring full is lost, as in life. */
SEC("socket")
int replay(struct __sk_buff *packet)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct lane *lane = bpf_map_lookup_elem(&lanes, &cpu);
	__u32 zero = 0;
	struct tape *state = bpf_map_lookup_elem(&tape, &zero);
	struct named_event *record;
	struct event *event;
	__u64 elapsed;
	__u32 next;

	if (!lane || !state)
		return 0;
	next = state->next;
	elapsed = state->elapsed;
	record = bpf_map_lookup_elem(&records, &next);
	if (!record)
		return 0;
	if (++next >= state->length) {
		next = 0;
		state->elapsed += state->span;
	}
	state->next = next;
	if (record->event.flags & EVENT_NAMED) {
		event = reserve(lane, sizeof(*record));
		if (!event)
			return 0;
		__builtin_memcpy(event, record, sizeof(*record));
		stamp(event, lane, cpu, elapsed);
	} else {
		event = reserve(lane, sizeof(*event));
		if (!event)
			return 0;
		__builtin_memcpy(event, &record->event, sizeof(*event));
		stamp(event, lane, cpu, elapsed);
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
