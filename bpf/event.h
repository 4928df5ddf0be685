/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The wire format: what one record in the ring buffer looks like.
 *
 * This header is the only definition. src/events/wire.gen.ts is generated from
 * the BTF that the compiler writes for it, and the agent compares both again
 * when it loads an object, so the two sides cannot drift apart.
 *
 * A kernel address never appears here: objects are named by opaque(), a keyed
 * bijection of their address (common.h).
 */
#ifndef VFIOSCOPE_EVENT_H
#define VFIOSCOPE_EVENT_H

#include <linux/types.h>

/* Raise it whenever the meaning of a field changes without its place changing. */
enum wire {
	WIRE_VERSION = 3,
	COMM_LENGTH = 16,
	NAME_LENGTH = 40,
};

/*
 * Logical points. Which kernel function stands for which one is the table in
 * src/kernel/probe-table.ts; the numbers are part of the wire format.
 */
enum point {
	POINT_NONE = 0,

	MDEV_PARENT_REGISTER = 1,
	MDEV_PARENT_UNREGISTER = 2,
	MDEV_CREATE = 3,
	MDEV_PROBE = 4,
	MDEV_REMOVE = 5,
	MDEV_REMOVE_CHILD = 6,
	MDEV_UNBIND = 7,
	MDEV_RELEASE = 8,
	MDEV_DRIVER_UNREGISTER = 9,

	VFIO_REGISTER = 16,
	VFIO_REGISTER_EMULATED = 17,
	VFIO_UNREGISTER = 18,
	VFIO_RELEASE = 19,
	VFIO_GROUP_OPEN = 20,
	VFIO_GROUP_SET_KVM = 21,
	VFIO_DEVICE_GET_FD = 22,
	VFIO_DEVICE_OPEN = 23,
	VFIO_DEVICE_CLOSE = 24,
	VFIO_DEVICE_KVM_CAPTURE = 25,
	VFIO_DEVICE_KVM_DROP = 26,
	VFIO_INIT = 27,
	VFIO_GROUP_CLOSE = 28,
	VFIO_GROUP_UNSET_CONTAINER = 29,
	VFIO_GROUP_DETACH = 30,
	VFIO_GROUP_NOTIFY = 31,	/* at its end ret: what the callbacks returned, NOTIFY_* */

	KVM_VM_CREATE = 32,
	KVM_VM_INIT = 33,
	KVM_VM_DESTROY = 34,
	KVM_VM_FD_CLOSE = 35,
	KVM_GET = 36,
	KVM_GET_SAFE = 37,
	KVM_PUT = 38,

	MODULE_LOAD = 48,	/* a kernel module was loaded */
	MODULE_UNLOAD = 49,	/* somebody wants a kernel module to go */

	/*
	 * Not events but what was found when the host was looked at, which the agent
	 * does when it starts and after a loss. A look begins and ends with
	 * SEEN_SNAPSHOT; in between it tells what exists. The end has in ret what could be
	 * looked at, enum seen.
	 */
	SEEN_SNAPSHOT = 56,	/* a look at the host; at its end ret: enum seen */
	SEEN_PARENT = 57,	/* a parent in sysfs */
	SEEN_DEVICE = 58,	/* a device in sysfs; ret: enum device_state */
	SEEN_OPEN = 59,		/* a device file in a process; ret: its descriptor */
	SEEN_GROUP = 60,	/* a group file in a process; ret: its descriptor */
	SEEN_VM = 61,		/* a VM file in a process; ret: its descriptor */
	SEEN_VM_FILE = 62,	/* another file of a VM: a vcpu, a device, statistics */
	SEEN_VM_ENTRY = 63,	/* a VM's directory in debugfs: vm_pid, and ret: the descriptor at its birth */

	POINT_COUNT = 64,
};

/* What could be looked at: only what is missing there is known to be gone. */
enum seen {
	SEEN_SYSFS = 1,		/* parents and devices */
	SEEN_FILES = 2,		/* the files of all processes */
	SEEN_DEBUGFS = 4,	/* VMs that nobody has a file of */
};

/* What sysfs shows of a device's state. */
enum device_state {
	DEVICE_REMOVABLE = 1,	/* an mdev that has its file `remove` */
	DEVICE_LEAVING = 2,	/* taken off its bus, while somebody has it open */
};

enum event_flags {
	EVENT_END = 1,		/* the call returned; otherwise it was entered */
	EVENT_EXITING = 2,	/* the calling process is being torn down (PF_EXITING) */
	EVENT_NAMED = 4,	/* a struct event_names follows */
	EVENT_SEEN = 8,		/* found by looking, so it has no place in a CPU's sequence */
	EVENT_FOREIGN = 16,	/* the opener's memory is not that of the VM it opens the device for */
	EVENT_ASKS = 32,	/* the device's driver can ask its users to let go of it */
};

struct event {
	__u64 time;		/* ns, CLOCK_BOOTTIME */
	__u32 seq;		/* counts the records this CPU tried to write */
	__u16 cpu;		/* where it was written; seq counts for each */
	__u8 point;		/* enum point */
	__u8 flags;		/* enum event_flags */
	__u32 pid;		/* the caller's process (tgid), initial pid namespace */
	__u32 tid;		/* the calling thread, likewise */
	char comm[COMM_LENGTH];	/* name of the calling thread */
	__s32 ret;		/* EVENT_END: what the function returned */
	__s32 open_count;	/* vfio_device::open_count now, -1 if not sampled */
	__s32 users_count;	/* kvm::users_count now, -1 if not sampled */
	__s32 group_id;		/* iommu group number, -1 if none */
	__u64 dev;		/* struct device behind the VFIO device; for mdev the mdev itself */
	__u64 vdev;		/* struct vfio_device */
	__u64 parent;		/* struct device that offers the mdev */
	__u64 kvm;		/* struct kvm */
	__u64 file;		/* a device file: vfio_device_file, before 6.6 file; where an mdev is named: its sysfs inode number */
	__u64 cgroup;		/* cgroup v2 id of the caller */
	__s32 vm_pid;		/* kvm::userspace_pid, the thread that made the VM */
	__u32 uid;		/* the caller's user, initial user namespace */
};

/* Texts that identify an object to a person; only events that are rare carry them. */
struct event_names {
	__u8 uuid[16];		/* guid_t of a create, whose device has no name yet */
	char device[NAME_LENGTH];	/* uuid, PCI address or module name */
	char bus[COMM_LENGTH];		/* "mdev", "pci" … */
	char type[NAME_LENGTH];		/* mdev type directory */
	char parent[NAME_LENGTH];	/* what the device hangs below; an mdev's offers it */
	char driver[NAME_LENGTH];	/* what serves the device, or offers the parent */
};

struct named_event {
	struct event event;		/* with EVENT_NAMED among its flags */
	struct event_names names;	/* right behind it */
};

/* One cache line per CPU, mapped by the agent: the writer's side of the loss account. */
struct lane {
	__u64 attempts;		/* records tried; the low 32 bits are the next seq */
	__u64 dropped;		/* tried, but the ring was full */
	__u64 calls_full;	/* ends that lost their begin because the call table was full */
	__u64 unreadable;	/* objects that did not look as they should: see certified reads in layout.h */
	__u64 reserved[4];	/* 0 */
};

#endif
