// SPDX-License-Identifier: GPL-2.0-only
/*
 * Host snapshot: walks the files of all processes and describes those of groups,
 * devices and VMs, as records of the wire format.
 *
 * Device and VM files are recognised by the name that the kernel gives them in its
 * own file system of anonymous inodes, which nobody else can give, group files by pointing
 * to a group, cdevs by the class of their device, and /dev/iommu by an object that points back. So the address of an operations table is not needed, which
 * a kernel may hide.
 */
#include "layout.h"

/* include/uapi/linux/major.h: /dev/iommu is one of many devices of this number */
#define MISC_MAJOR 10

static __always_inline void describe_file(struct named_event *named, __u8 point,
				     const struct task_struct *task, __u32 fd)
{
	struct event *event = &named->event;

	__builtin_memset(named, 0, sizeof(*named));
	named->names.fd = fd;
	event->time = bpf_ktime_get_boot_ns();
	event->point = point;
	event->flags = EVENT_SNAPSHOT | EVENT_NAMED;
	event->pid = BPF_CORE_READ(task, tgid);
	event->tid = BPF_CORE_READ(task, pid);
	BPF_CORE_READ_STR_INTO(&event->comm, task, group_leader, comm);
	event->open_count = -1;
	event->users_count = -1;
	event->group_id = -1;
	event->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	event->uid = BPF_CORE_READ(task, cred, uid.val);
}

static __always_inline void describe_vm(struct event *event, const struct kvm *kvm)
{
	event->kvm = opaque(kvm);
	if (kvm && bpf_core_field_exists(kvm->users_count)) {
		event->users_count = BPF_CORE_READ(kvm, users_count.refs.counter);
		event->vm_pid = BPF_CORE_READ(kvm, userspace_pid);
	}
}

static __always_inline bool describe_device(struct named_event *named, const struct file *file)
{
	struct device_file found;
	const struct vfio_device *vdev;
	const struct device *dev;

	if (!resolve_file(file, &found))
		return false;
	/* Copied to a local: otherwise CO-RE searches the kernel for our own struct device_file. */
	vdev = found.vdev;
	dev = device_of(vdev);
	if (!dev)
		return false;
	named->event.dev = opaque(dev);
	named->event.vdev = opaque(vdev);
	named->event.file = opaque(found.key);
	named->event.group_id = group_id_of(vdev, dev);
	if (bpf_core_field_exists(vdev->open_count))
		named->event.open_count = BPF_CORE_READ(vdev, open_count);
	describe_vm(&named->event, captured_by(vdev));
	read_name(named->names.device, BPF_CORE_READ(dev, kobj.name));
	read_name(named->names.bus, BPF_CORE_READ(dev, bus, name));
	/* Cut if it is long: the stack has no room for more, and sysfs shows the parents of all devices. */
	read_name(named->names.parent, BPF_CORE_READ(dev, parent, kobj.name));
	read_name(named->names.driver, driver_name(dev));
	return true;
}

/* @return false where no BTF shows what has become of a cdev since it was opened */
static __always_inline bool describe_cdev(struct named_event *named, const struct file *file)
{
	const struct vfio_device_file *df = BPF_CORE_READ(file, private_data);
	const struct vfio_device *vdev = device_behind(df);

	if (!bpf_core_field_exists(df->access_granted) || !describe_device(named, file))
		return false;
	read_name(named->names.type, BPF_CORE_READ(vdev, device.kobj.name));
	if (!BPF_CORE_READ(df, access_granted))
		return true;
	named->event.parent = opaque(context_of(df));
	named->names.device_state = DEVICE_BOUND;
	if (bpf_core_field_exists(vdev->iommufd_attached) &&
	    BPF_CORE_READ_BITFIELD_PROBED(vdev, iommufd_attached))
		named->names.device_state |= DEVICE_ATTACHED;
	return true;
}

/* The VM of a "kvm-vcpu:N", whose first member it is, or of a "kvm-vfio", whose second it is. */
static __always_inline const struct kvm *vm_of_file(const struct file *file)
{
	const void *private = BPF_CORE_READ(file, private_data);
	const struct kvm_device *device = private;
	const struct kvm_vcpu *vcpu = private;

	if (is_named(BPF_CORE_READ(file, f_path.dentry, d_name.name), "kvm-vfio"))
		return bpf_core_field_exists(device->kvm) ? BPF_CORE_READ(device, kvm) :
							    pointer_at(private, 8);
	return bpf_core_field_exists(vcpu->kvm) ? BPF_CORE_READ(vcpu, kvm) : pointer_at(private, 0);
}

/* @return the point of such a file, or POINT_NONE */
static __always_inline __u8 point_of(const struct file *file, const struct inode *inode)
{
	char name[9] = {};	/* enough to distinguish them; a number follows */

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFCHR) {
		if (is_group(BPF_CORE_READ(file, private_data)))
			return SNAPSHOT_GROUP;
		if (own_device_of_cdev(inode))
			return SNAPSHOT_CDEV;
		return BPF_CORE_READ(inode, i_rdev) >> 20 == MISC_MAJOR && iommufd_of(file) ?
			       SNAPSHOT_IOMMUFD :
			       POINT_NONE;
	}
	if (!is_named(BPF_CORE_READ(inode, i_sb, s_type, name), "anon_inodefs"))
		return POINT_NONE;
	read_name(name, BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (name[0] == '[' && name[1] == 'v' && name[2] == 'f' && name[3] == 'i' && name[4] == 'o')
		return SNAPSHOT_OPEN;
	if (name[0] != 'k' || name[1] != 'v' || name[2] != 'm' || name[3] != '-')
		return POINT_NONE;
	if (name[4] == 'v' && name[5] == 'm')
		return SNAPSHOT_VM;
	return name[4] == 'v' ? SNAPSHOT_VM_FILE : POINT_NONE;
}

/* The verifier allows no arithmetic on a pointer that it passes to an iterator, but opaque() needs it. */
static __always_inline const void *untyped(const void *object)
{
	const void *plain = NULL;

	bpf_probe_read_kernel(&plain, sizeof(plain), &object);
	return plain;
}

SEC("iter/task_file")
int snapshot_files(struct bpf_iter__task_file *ctx)
{
	const struct task_struct *task = ctx->task;
	const struct file *file = untyped(ctx->file);
	const void *private;
	struct named_event named;
	__u8 point;

	if (!task || !file)
		return 0;
	point = point_of(file, BPF_CORE_READ(file, f_inode));
	if (point == POINT_NONE)
		return 0;
	describe_file(&named, point, task, ctx->fd);
	private = BPF_CORE_READ(file, private_data);
	switch (point) {
	case SNAPSHOT_GROUP:
		named.event.group_id = group_id(private);
		describe_vm(&named.event, group_kvm(private));
		break;
	case SNAPSHOT_OPEN:
		if (!describe_device(&named, file)) {
			unreadable();
			return 0;
		}
		break;
	case SNAPSHOT_CDEV:
		if (!describe_cdev(&named, file))
			return 0;
		break;
	case SNAPSHOT_IOMMUFD:
		named.event.parent = opaque(private);
		break;
	case SNAPSHOT_VM:
		describe_vm(&named.event, private);
		break;
	default:
		describe_vm(&named.event, vm_of_file(file));
	}
	bpf_seq_write(ctx->meta->seq, &named, sizeof(named));
	return 0;
}
