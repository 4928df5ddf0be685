/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Maps and helpers that all probe objects share. Each object declares the same
 * maps; the agent lets them share the maps of the first, so that all records
 * are in one ring and in one order.
 */
#ifndef VFIOSCOPE_COMMON_H
#define VFIOSCOPE_COMMON_H

#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "event.h"
#include "kernel.h"

/* A begin keeps these for its end: a kretprobe sees no arguments. */
struct call {
	__u64 dev;
	__u64 vdev;
	__u64 parent;
	__u64 kvm;
	__u64 file;
	__s32 group_id;
	__u8 opened;	/* a VFIO_DEVICE_GET_FD whose VFIO_DEVICE_OPEN has been emitted */
	__u8 facts;	/* of enum event_flags */
	__u64 time;	/* when it began, ns, CLOCK_BOOTTIME */
	/* Kernel addresses, for sampling again at the end; never copied to the ring. */
	const struct vfio_device *sample_vdev;
	const struct kvm *sample_kvm;
	const void *argument;	/* what the function fills in */
};

struct call_key {
	__u32 tid;
	__u32 point;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);		/* the agent sets the number of possible CPUs */
	__type(key, __u32);
	__type(value, struct cpu_counters);
} cpu_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

/*
 * Which points are watched, a bit for each. All points that are attached together start at one
 * instant: a device would look open for ever if its open were emitted, but not its close, because
 * that was not attached yet. Therefore the agent writes the bank that is not in use and then
 * switches banks with a single store.
 */
struct watched_points {
	__u64 bank;		/* the bank in use, 0 or 1 */
	__u64 bits[2][POINT_LIMIT / 64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct watched_points);
} watched SEC(".maps");

/* What the agent writes into each object before it loads it. */
struct preset {
	/* Random, so that an opaque id says nothing about the address behind it. */
	__u64 add;
	__u64 multiply;		/* odd, else two objects could share an id */
	/* Never read: they make the compiler describe the wire format in the object's BTF. */
	struct named_event record[0];
	struct cpu_counters counters[0];
	enum point point;
	enum event_flags flags;
	enum snapshot_coverage covered;
	enum device_state device_state;
	enum wire wire;
};

const volatile struct preset preset SEC(".rodata.preset") = { .multiply = 1 };

/* Ask it once per call, at the begin: the end finds out by looking into the call table. */
static __always_inline bool is_watched(__u8 point)
{
	__u32 first = 0;
	const volatile struct watched_points *points = bpf_map_lookup_elem(&watched, &first);

	return points && points->bits[points->bank & 1][point / 64] & 1ULL << point % 64;
}

/* The name under which an object leaves the kernel: a keyed bijection of its address. */
static __always_inline __u64 opaque(const void *object)
{
	__u64 x = (__u64)object;

	if (!x)
		return 0;
	x = (x + preset.add) * preset.multiply;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ULL;
	x ^= x >> 32;
	return x;
}

/* Threads may have names of their own, such as "CPU 0/KVM", but a pid stands beside the name. */
static __always_inline void name_process(struct event *event, const struct task_struct *task)
{
	if (event->pid == event->tid) {
		bpf_get_current_comm(event->comm, sizeof(event->comm));
		return;
	}
	__builtin_memset(event->comm, 0, sizeof(event->comm));
	BPF_CORE_READ_STR_INTO(&event->comm, task, group_leader, comm);
}

/*
 * Reserves and fills the common part of a record. Kprobes and tracepoints run with
 * preemption off, so nothing else on this CPU touches its counters meanwhile.
 */
static __always_inline void *reserve(__u8 point, __u8 flags, const __u64 size)
{
	const struct task_struct *task = (void *)bpf_get_current_task();
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 cpu = bpf_get_smp_processor_id();
	struct event *event;
	struct cpu_counters *counters;

	counters = bpf_map_lookup_elem(&cpu_counters, &cpu);
	if (!counters)
		return NULL;
	event = bpf_ringbuf_reserve(&events, size, 0);
	if (!event) {
		counters->attempts++;
		counters->dropped++;
		return NULL;
	}
	if (BPF_CORE_READ(task, flags) & PF_EXITING)
		flags |= EVENT_EXITING;
	event->time = bpf_ktime_get_boot_ns();
	event->seq = counters->attempts++;
	event->cpu = cpu;
	event->point = point;
	event->flags = flags;
	event->pid = pid_tgid >> 32;
	event->tid = pid_tgid;
	name_process(event, task);
	event->ret = 0;
	event->open_count = -1;
	event->users_count = -1;
	event->group_id = -1;
	event->dev = 0;
	event->vdev = 0;
	event->parent = 0;
	event->kvm = 0;
	event->file = 0;
	event->cgroup = bpf_get_current_cgroup_id();
	event->vm_pid = 0;
	event->uid = bpf_get_current_uid_gid();
	return event;
}

static __always_inline struct event *plain_event(__u8 point)
{
	return reserve(point, 0, sizeof(struct event));
}

static __always_inline struct named_event *named_event(__u8 point)
{
	struct named_event *named = reserve(point, EVENT_NAMED, sizeof(*named));

	if (named) {
		__builtin_memset(&named->names, 0, sizeof(named->names));
		named->names.fd = -1;
	}
	return named;
}

static __always_inline void submit(void *event)
{
	bpf_ringbuf_submit(event, 0);
}

#define read_name(to, from) bpf_probe_read_kernel_str(to, sizeof(to), from)

static __always_inline void sample(struct event *event, const struct call *call)
{
	const struct vfio_device *vdev = call->sample_vdev;
	const struct kvm *kvm = call->sample_kvm;

	event->flags |= call->facts;
	event->dev = call->dev;
	event->vdev = call->vdev;
	event->parent = call->parent;
	event->kvm = call->kvm;
	event->file = call->file;
	event->group_id = call->group_id;
	/* The types of a module that is not loaded are unknown: this object must load all the same. */
	if (vdev && bpf_core_field_exists(vdev->open_count))
		event->open_count = BPF_CORE_READ(vdev, open_count);
	if (kvm && bpf_core_field_exists(kvm->users_count)) {
		event->users_count = BPF_CORE_READ(kvm, users_count.refs.counter);
		event->vm_pid = BPF_CORE_READ(kvm, userspace_pid);
	}
}

/* The call of this thread at this point. */
static __always_inline struct call_key call_of(__u8 point)
{
	return (struct call_key){ .tid = bpf_get_current_pid_tgid(), .point = point };
}

/*
 * Keeps the call for its end, even when the begin itself finds no room in the ring.
 * @return false when the point is not watched, and nothing may be emitted
 */
static __always_inline bool remember(__u8 point, struct call *call)
{
	struct call_key key = call_of(point);

	if (!is_watched(point))
		return false;
	call->time = bpf_ktime_get_boot_ns();
	if (bpf_map_update_elem(&calls, &key, call, BPF_ANY)) {
		__u32 cpu = bpf_get_smp_processor_id();
		struct cpu_counters *counters = bpf_map_lookup_elem(&cpu_counters, &cpu);

		if (counters)
			counters->calls_full++;
	}
	return true;
}

static __always_inline int emit(__u8 point, const struct call *call)
{
	struct event *event = plain_event(point);

	if (event) {
		sample(event, call);
		submit(event);
	}
	return 0;
}

/* An event without an end of its own. */
static __always_inline int single(__u8 point, const struct call *call)
{
	return is_watched(point) ? emit(point, call) : 0;
}

static __always_inline int begin(__u8 point, struct call *call)
{
	return remember(point, call) ? emit(point, call) : 0;
}

/* The caller fills in the names and submits; NULL when the ring is full or the point is not watched. */
static __always_inline struct named_event *begin_named(__u8 point, struct call *call)
{
	struct named_event *named = remember(point, call) ? named_event(point) : NULL;

	if (named)
		sample(&named->event, call);
	return named;
}

/* An end whose call is at hand. */
static __always_inline int emit_end(__u8 point, long ret, const struct call *call)
{
	struct event *event = reserve(point, EVENT_END, sizeof(*event));

	if (event) {
		event->ret = ret;
		sample(event, call);
		submit(event);
	}
	return 0;
}

/* Takes the call of this thread out of the table. @return false when there is none */
static __always_inline bool take(__u8 point, struct call *call)
{
	struct call_key key = call_of(point);
	struct call *found = bpf_map_lookup_elem(&calls, &key);

	if (!found)
		return false;
	*call = *found;
	bpf_map_delete_elem(&calls, &key);
	return true;
}

/*
 * The end of a call that begin() remembered. Nothing is written for a call that
 * was entered before the point was watched, or that its begin filtered out.
 */
static __always_inline int end_as(__u8 point, long ret, void (*refine)(struct call *, long))
{
	struct call call;

	if (!take(point, &call))
		return 0;
	refine(&call, ret);
	return emit_end(point, ret, &call);
}

/* The same where nothing is to be refined, and so nothing copied. */
static __always_inline int end(__u8 point, long ret)
{
	struct call_key key = call_of(point);
	const struct call *found = bpf_map_lookup_elem(&calls, &key);

	if (!found)
		return 0;
	emit_end(point, ret, found);
	bpf_map_delete_elem(&calls, &key);
	return 0;
}
#endif
