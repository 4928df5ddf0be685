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

enum wire {
	WIRE_VERSION = 4,	/* raise it when a reader of the version before would misread a record */
	POINT_LIMIT = 256,	/* numbers of points are below it: a record has one byte for them */
	COMM_LENGTH = 16,
	NAME_LENGTH = 40,
};

/*
 * Logical points. The table in src/kernel/probe-table.ts says which kernel function stands
 * for which point. The numbers are part of the wire format: each is below POINT_LIMIT, and
 * none is ever used again for another point.
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
	VFIO_GROUP_NOTIFY = 31,	/* ret of its end is what the callbacks returned, NOTIFY_* */

	KVM_VM_CREATE = 32,
	KVM_VM_INIT = 33,
	KVM_VM_DESTROY = 34,
	KVM_VM_FD_CLOSE = 35,
	KVM_GET = 36,
	KVM_GET_SAFE = 37,
	KVM_PUT = 38,

	MODULE_LOAD = 48,	/* a kernel module was loaded */
	MODULE_UNLOAD = 49,	/* a process requests to unload a kernel module */

	/*
	 * Not calls, but what a host snapshot found. The agent takes a snapshot when it
	 * starts and after a loss. Each begins and ends with SNAPSHOT_RUN, and the records
	 * between them describe what existed.
	 */
	SNAPSHOT_RUN = 56,	/* a host snapshot; covered is set at its end */
	SNAPSHOT_PARENT = 57,	/* a parent in sysfs */
	SNAPSHOT_DEVICE = 58,	/* a device in sysfs, with device_state */
	SNAPSHOT_OPEN = 59,	/* a device file in a process, with fd */
	SNAPSHOT_GROUP = 60,	/* a group file in a process, with fd */
	SNAPSHOT_VM = 61,	/* a VM file in a process, with fd */
	SNAPSHOT_VM_FILE = 62,	/* another file of a VM (a vcpu, a device, statistics), with fd */
	SNAPSHOT_VM_ENTRY = 63,	/* a VM's directory in debugfs: vm_pid, and the fd that the VM was created with */

	SNAPSHOT_REMOVAL = 65,	/* a thread in the removal of a device, with device_state */
	SNAPSHOT_UNREGISTER = 66,	/* a thread in the unregistration of a parent, with device_state */

	VFIO_DMA_MAP = 64,	/* an end without a begin, of failures only; inode is the number of bytes */

	VFIO_CDEV_OPEN = 67,
	VFIO_CDEV_CLOSE = 68,
	VFIO_CDEV_SET_KVM = 69,
	VFIO_CDEV_BIND = 70,	/* parent of its end is the iommufd context */
	VFIO_CDEV_BLOCK_GROUP = 71,
	VFIO_CDEV_UNBIND = 72,
	VFIO_CDEV_ATTACH = 73,	/* inode of its begin is the id of the address space or page table */
	VFIO_CDEV_DETACH = 74,
	IOMMUFD_OPEN = 75,	/* parent of its end is the context */
	IOMMUFD_CLOSE = 76,	/* parent is the context */

	SNAPSHOT_CDEV = 77,	/* a cdev of a device in a process, with fd and device_state */
	SNAPSHOT_IOMMUFD = 78,	/* /dev/iommu in a process, with fd; parent is the context */
};

/* Parts of the host that a snapshot could read. Only what is missing in one of them is known to be gone. */
enum snapshot_coverage {
	COVERED_SYSFS = 1,	/* parents and devices */
	COVERED_FILES = 2,	/* the files of all processes */
	COVERED_DEBUGFS = 4,	/* all VMs, also those that no process has a file of */
	COVERED_NO_KVM = 8,	/* KVM is not loaded, so there are no VMs */
};

/* What sysfs shows of a device's state, and /proc of its removal. */
enum device_state {
	DEVICE_REMOVABLE = 1,	/* an mdev that has its file `remove` */
	DEVICE_LEAVING = 2,	/* taken off its bus, while a process still has it open */
	DEVICE_WAITING = 4,	/* its removal waits for its users */
	DEVICE_IN_DRIVER = 8,	/* its removal is in the remove callback of its driver */
	DEVICE_INFERRED = 16,	/* that it is this device, or this parent, is only inferred */
	DEVICE_BOUND = 32,	/* SNAPSHOT_CDEV: the file is bound to an iommufd context */
	DEVICE_ATTACHED = 64,	/* SNAPSHOT_CDEV: the device is attached to an address space of it */
};

enum event_flags {
	EVENT_END = 1,		/* the call returned; otherwise it was entered */
	EVENT_EXITING = 2,	/* the calling process is being torn down (PF_EXITING) */
	EVENT_NAMED = 4,	/* a struct event_names follows */
	EVENT_SNAPSHOT = 8,	/* found by a host snapshot; it is not in a CPU's sequence */
	EVENT_FOREIGN = 16,	/* the opener's memory is not that of the VM it opens the device for */
	EVENT_ASKS = 32,	/* the device's driver can ask its users to release it */
	EVENT_OPTIONS = 64,	/* something follows the requested name, such as a VF token; it is not recorded */
};

struct event {
	__u64 time;		/* ns, CLOCK_BOOTTIME */
	__u32 seq;		/* counts the records this CPU tried to write */
	__u16 cpu;		/* the CPU that wrote it; each has its own seq */
	__u8 point;		/* enum point */
	__u8 flags;		/* enum event_flags */
	__u32 pid;		/* the caller's process (tgid), initial pid namespace */
	__u32 tid;		/* the calling thread, likewise */
	char comm[COMM_LENGTH];	/* name of the caller's process */
	__s32 ret;		/* EVENT_END: what the function returned */
	__s32 open_count;	/* vfio_device::open_count now, -1 if not sampled */
	__s32 users_count;	/* kvm::users_count now, -1 if not sampled */
	__s32 group_id;		/* iommu group number, -1 if none */
	__u64 dev;		/* struct device behind the VFIO device; for mdev the mdev itself */
	__u64 vdev;		/* struct vfio_device */
	__u64 parent;		/* struct device that offers the mdev; struct iommufd_ctx where the point says so */
	__u64 kvm;		/* struct kvm */
	__u64 file;		/* a device file or cdev: struct vfio_device_file, before 6.6 struct file */
	__u64 cgroup;		/* cgroup v2 id of the caller */
	__s32 vm_pid;		/* kvm::userspace_pid, the thread that created the VM */
	__u32 uid;		/* the caller's user, initial user namespace */
};

/* What only some records carry: what identifies an object to a person, and what a snapshot found. */
struct event_names {
	__u8 uuid[16];		/* guid_t of a create, whose device has no name yet */
	char device[NAME_LENGTH];	/* uuid, PCI address or module name */
	char bus[COMM_LENGTH];		/* "mdev", "pci" … */
	char type[NAME_LENGTH];		/* mdev type directory; of a cdev, its own name vfioN */
	char parent[NAME_LENGTH];	/* parent device in sysfs; a long name ends in ~ and a hash of all of it */
	char driver[NAME_LENGTH];	/* driver that serves the device, or that offers the parent */
	__u64 inode;			/* number of the mdev's directory in sysfs, 0 if it has none; or what the point says */
	__s32 fd;			/* descriptor of the file that a snapshot found, -1 if none */
	__u16 covered;			/* end of SNAPSHOT_RUN: enum snapshot_coverage; otherwise 0 */
	__u16 device_state;		/* SNAPSHOT_DEVICE and the like: enum device_state; otherwise 0 */
};

struct named_event {
	struct event event;		/* with EVENT_NAMED among its flags */
	struct event_names names;	/* follows directly */
};

/* The writers' account of losses: one cache line per CPU, which the agent maps. */
struct cpu_counters {
	__u64 attempts;		/* records that the CPU tried to write; the low 32 bits are the next seq */
	__u64 dropped;		/* attempts that found the ring full */
	__u64 calls_full;	/* ends without their begin, because the call table was full */
	__u64 unreadable;	/* objects that failed their check: see certified reads in layout.h */
	__u64 reserved[4];	/* 0 */
};

#endif
