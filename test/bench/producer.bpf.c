// SPDX-License-Identifier: GPL-2.0-only
/*
 * Plays a scenario of records into a ring buffer, under BPF_PROG_TEST_RUN where no
 * tracing is allowed. The records are written by the code of the probes; only
 * what they would sample from the kernel's VFIO and KVM objects is on the scenario.
 *
 * Socket filters, because they may call the helpers that the probes call (on
 * 6.18; older kernels refuse some of them), and because a test run of an XDP
 * program takes ms longer, for the kernel patches its XDP dispatcher around it.
 */
#include "common.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct named_event);
} records SEC(".maps");

struct scenario {
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
	__type(value, struct scenario);
} scenario SEC(".maps");

/* The next record of the scenario. One that finds the ring full is lost, as in the agent. */
static __always_inline const struct named_event *next_record(__u64 *elapsed)
{
	__u32 zero = 0;
	struct scenario *state = bpf_map_lookup_elem(&scenario, &zero);
	__u32 next;

	if (!state)
		return NULL;
	next = state->next;
	*elapsed = state->elapsed;
	if (next + 1 < state->length) {
		state->next = next + 1;
	} else {
		state->next = 0;
		state->elapsed += state->span;
	}
	return bpf_map_lookup_elem(&records, &next);
}

/* Fills all fields but those that the kernel sets itself. */
static __always_inline void copy_event(struct event *to, const struct event *from, __u64 elapsed)
{
	__u32 seq = to->seq;
	__u16 cpu = to->cpu;

	*to = *from;
	to->time += elapsed;
	to->seq = seq;
	to->cpu = cpu;
}

static __always_inline void read_names(struct event_names *to, const struct event_names *from)
{
	if (from->uuid[15])
		bpf_probe_read_kernel(to->uuid, sizeof(to->uuid), from->uuid);
	if (from->device[0])
		read_name(to->device, from->device);
	if (from->bus[0])
		read_name(to->bus, from->bus);
	if (from->type[0])
		read_name(to->type, from->type);
	if (from->parent[0])
		read_name(to->parent, from->parent);
	if (from->driver[0])
		read_name(to->driver, from->driver);
	if (from->inode)
		bpf_probe_read_kernel(&to->inode, sizeof(to->inode), &from->inode);
}

static __always_inline bool has_end(__u8 point)
{
	return point != VFIO_GROUP_SET_KVM && point != VFIO_DEVICE_KVM_DROP &&
	       point != KVM_GET && point != KVM_PUT;
}

/* As end_as(), but all calls of the scenario are one thread's here, so one may have ended another. */
static __always_inline void forget(__u8 point, struct call *call)
{
	struct call_key key = { .tid = bpf_get_current_pid_tgid(), .point = point };
	struct call *found = bpf_map_lookup_elem(&calls, &key);

	if (found) {
		*call = *found;
		bpf_map_delete_elem(&calls, &key);
	}
}

SEC("socket")
int probe(struct __sk_buff *packet)
{
	struct call call = { .group_id = -1 };
	const struct named_event *record;
	struct event *event;
	__u64 elapsed;
	__u8 point;

	record = next_record(&elapsed);
	if (!record)
		return 0;
	point = record->event.point;
	if (record->event.flags & EVENT_NAMED) {
		struct named_event *named = begin_named(point, &call);

		if (!named)
			return 0;
		read_names(&named->names, &record->names);
		copy_event(&named->event, &record->event, elapsed);
		submit(named);
		return 0;
	}
	if (record->event.flags & EVENT_END)
		forget(point, &call);
	else if (has_end(point))
		remember(point, &call);
	event = plain_event(point);
	if (!event)
		return 0;
	sample(event, &call);
	copy_event(event, &record->event, elapsed);
	submit(event);
	return 0;
}

/* The least that any writer has to do: reserve, copy, submit. */
SEC("socket")
int copy(struct __sk_buff *packet)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu_counters *counters = bpf_map_lookup_elem(&cpu_counters, &cpu);
	const struct named_event *record;
	struct named_event *named;
	struct event *event;
	__u64 elapsed;
	bool is_named;

	record = next_record(&elapsed);
	if (!counters || !record)
		return 0;
	is_named = record->event.flags & EVENT_NAMED;
	if (is_named) {
		event = bpf_ringbuf_reserve(&events, sizeof(*named), 0);
		if (event)
			((struct named_event *)event)->names = record->names;
	} else {
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	}
	if (!event) {
		counters->attempts++;
		counters->dropped++;
		return 0;
	}
	event->seq = counters->attempts++;
	event->cpu = cpu;
	copy_event(event, &record->event, elapsed);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
