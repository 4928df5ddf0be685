// SPDX-License-Identifier: GPL-2.0-only
/*
 * drivers/vfio/device_cdev.c and drivers/iommu/iommufd: devices that are opened by a cdev of their own
 * instead of by their group, and used once they are bound to an iommufd context. 6.6 and later.
 */
#include "layout.h"

static __always_inline const void *context_of(const struct vfio_device_file *df)
{
	return bpf_core_field_exists(df->iommufd) ? BPF_CORE_READ(df, iommufd) : NULL;
}

SEC("kprobe")
int BPF_KPROBE(cdev_open_begin, const struct inode *inode, const struct file *file)
{
	const struct device *own = own_device_of_cdev(inode), *dev;
	const struct vfio_device *vdev = NULL;
	struct call call = {};
	struct named_event *named;

	if (!own) {
		unreadable();
		return 0;
	}
	dev = BPF_CORE_READ(own, parent);
	if (bpf_core_field_exists(vdev->device)) {
		vdev = (const void *)own - bpf_core_field_offset(struct vfio_device, device);
		describe_vdev(&call, vdev, dev);
	} else {
		call.dev = opaque(dev);
		call.group_id = iommu_group_id(BPF_CORE_READ(dev, iommu_group));
	}
	call.argument = file;
	named = begin_named(VFIO_CDEV_OPEN, &call);
	if (named)
		read_name(named->names.type, BPF_CORE_READ(own, kobj.name));
	return submit_named(named, dev);
}

/* The open has made the vfio_device_file. */
static __always_inline void refine_cdev(struct call *call, long ret)
{
	const struct file *file = call->argument;

	if (!ret && file)
		call->file = opaque(BPF_CORE_READ(file, private_data));
}

SEC("kretprobe")
int BPF_KRETPROBE(cdev_open_end, int ret)
{
	return end_as(VFIO_CDEV_OPEN, ret, refine_cdev);
}

/* The same function closes files that a group returned. */
SEC("kprobe")
int BPF_KPROBE(cdev_close_begin, const struct inode *inode, const struct file *file)
{
	const struct vfio_device_file *df = BPF_CORE_READ(file, private_data);

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFCHR || !own_device_of_cdev(inode))
		return 0;
	return begin_file(VFIO_CDEV_CLOSE, device_behind(df), df);
}

SEC("kretprobe")
int BPF_KRETPROBE(cdev_close_end)
{
	return end_as(VFIO_CDEV_CLOSE, 0, refine_left);
}

/* kvm-vfio passes files of groups to the same function. */
SEC("kprobe")
int BPF_KPROBE(cdev_set_kvm, const struct file *file, const struct kvm *kvm)
{
	const struct inode *inode = BPF_CORE_READ(file, f_inode);
	const struct vfio_device_file *df = BPF_CORE_READ(file, private_data);
	const struct vfio_device *vdev;
	struct call call = {};

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFCHR || !own_device_of_cdev(inode))
		return 0;
	vdev = device_behind(df);
	describe_vdev(&call, vdev, device_of(vdev));
	call.file = opaque(df);
	call.kvm = opaque(kvm);
	call.sample_kvm = kvm;
	return single(VFIO_CDEV_SET_KVM, &call);
}

SEC("kprobe")
int BPF_KPROBE(cdev_bind_begin, const struct vfio_device_file *df)
{
	struct call_key key = call_of(VFIO_CDEV_BIND);
	struct call *call;

	/* A file that a group returned is no cdev: the kernel refuses that, and its close is no close of a cdev. */
	if (bpf_core_field_exists(df->group) && BPF_CORE_READ(df, group))
		return 0;
	begin_file(VFIO_CDEV_BIND, device_behind(df), df);
	call = bpf_map_lookup_elem(&calls, &key);
	if (call)
		call->argument = df;
	return 0;
}

static __always_inline void refine_bound(struct call *call, long ret)
{
	if (!ret && call->argument)
		call->parent = opaque(context_of(call->argument));
}

SEC("kretprobe")
int BPF_KRETPROBE(cdev_bind_end, long ret)
{
	return end_as(VFIO_CDEV_BIND, ret, refine_bound);
}

SEC("kprobe")
int BPF_KPROBE(cdev_block_group_begin, const struct vfio_device *vdev)
{
	struct call call = {};

	describe_vdev(&call, vdev, device_of(vdev));
	return begin(VFIO_CDEV_BLOCK_GROUP, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(cdev_block_group_end, int ret)
{
	return end(VFIO_CDEV_BLOCK_GROUP, ret);
}

/* Every close passes here, also of a file that was never bound; without BTF that cannot be distinguished. */
SEC("kprobe")
int BPF_KPROBE(cdev_unbind, const struct vfio_device_file *df)
{
	const struct vfio_device *vdev = device_behind(df);
	struct call call = { .file = opaque(df) };

	if (!bpf_core_field_exists(df->access_granted) || !BPF_CORE_READ(df, access_granted))
		return 0;
	describe_captured(&call, vdev);
	return single(VFIO_CDEV_UNBIND, &call);
}

/* struct vfio_device_attach_iommufd_pt of include/uapi/linux/vfio.h */
#define PT_ID 8

SEC("kprobe")
int BPF_KPROBE(cdev_attach_begin, const struct vfio_device_file *df, const void *request)
{
	const struct vfio_device *vdev = device_behind(df);
	struct call call = { .file = opaque(df) };
	struct named_event *named;
	__u32 id = 0;

	describe_captured(&call, vdev);
	named = begin_named(VFIO_CDEV_ATTACH, &call);
	if (!named)
		return 0;
	bpf_probe_read_user(&id, sizeof(id), request + PT_ID);
	named->names.inode = id;
	return submit_named(named, device_of(vdev));
}

SEC("kretprobe")
int BPF_KRETPROBE(cdev_attach_end, int ret)
{
	return end(VFIO_CDEV_ATTACH, ret);
}

SEC("kprobe")
int BPF_KPROBE(cdev_detach_begin, const struct vfio_device_file *df)
{
	return begin_file(VFIO_CDEV_DETACH, device_behind(df), df);
}

SEC("kretprobe")
int BPF_KRETPROBE(cdev_detach_end, int ret)
{
	return end(VFIO_CDEV_DETACH, ret);
}

SEC("kprobe")
int BPF_KPROBE(iommufd_open_begin, const struct inode *inode, const struct file *file)
{
	struct call call = { .group_id = -1, .argument = file };

	return begin(IOMMUFD_OPEN, &call);
}

/* The open has made the context. */
static __always_inline void refine_iommufd(struct call *call, long ret)
{
	if (!ret)
		call->parent = opaque(iommufd_of(call->argument));
}

SEC("kretprobe")
int BPF_KRETPROBE(iommufd_open_end, int ret)
{
	return end_as(IOMMUFD_OPEN, ret, refine_iommufd);
}

SEC("kprobe")
int BPF_KPROBE(iommufd_close, const struct inode *inode, const struct file *file)
{
	struct call call = { .group_id = -1, .parent = opaque(iommufd_of(file)) };

	return single(IOMMUFD_CLOSE, &call);
}
