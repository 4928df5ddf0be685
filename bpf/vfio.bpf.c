// SPDX-License-Identifier: GPL-2.0-only
/* drivers/vfio: vfio_device registration, groups, and device files. */
#include "common.h"

/* include/uapi/linux/vfio.h: VFIO_GROUP_GET_DEVICE_FD, _IO(';', 100 + 6) */
#define GET_DEVICE_FD 0x3b6a

/* A group loses its iommu_group when its last device leaves. */
static __always_inline int group_id(const struct vfio_group *group)
{
	const struct iommu_group *iommu_group = BPF_CORE_READ(group, iommu_group);

	return iommu_group ? BPF_CORE_READ(iommu_group, id) : -1;
}

static __always_inline void describe_vdev(struct call *call, const struct vfio_device *vdev)
{
	call->vdev = opaque(vdev);
	call->dev = opaque(BPF_CORE_READ(vdev, dev));
	call->group_id = group_id(BPF_CORE_READ(vdev, group));
	call->sample_vdev = vdev;
}

/* With the VM that the device holds now. */
static __always_inline void describe_captured(struct call *call, const struct vfio_device *vdev)
{
	const struct kvm *kvm = BPF_CORE_READ(vdev, kvm);

	describe_vdev(call, vdev);
	call->kvm = opaque(kvm);
	call->sample_kvm = kvm;
}

static __always_inline int submit_named(struct named_event *named, const struct device *dev)
{
	if (!named)
		return 0;
	read_name(named->names.device, BPF_CORE_READ(dev, kobj.name));
	read_name(named->names.bus, BPF_CORE_READ(dev, bus, name));
	read_name(named->names.parent, BPF_CORE_READ(dev, parent, kobj.name));
	read_name(named->names.driver, BPF_CORE_READ(dev, driver, name));
	submit(named);
	return 0;
}

static __always_inline int begin_vdev(__u8 point, const struct vfio_device *vdev)
{
	struct call call = {};

	describe_vdev(&call, vdev);
	return submit_named(begin_named(point, &call), BPF_CORE_READ(vdev, dev));
}

static __always_inline int begin_file(__u8 point, const struct vfio_device_file *df)
{
	const struct vfio_device *vdev = BPF_CORE_READ(df, device);
	struct call call = { .file = opaque(df) };

	describe_captured(&call, vdev);
	return submit_named(begin_named(point, &call), BPF_CORE_READ(vdev, dev));
}

SEC("kprobe")
int BPF_KPROBE(register_begin, const struct vfio_device *vdev)
{
	return begin_vdev(VFIO_REGISTER, vdev);
}

/* The group exists only after registration: read it again. */
static __always_inline void refine_group(struct call *call, long ret)
{
	if (!ret)
		describe_vdev(call, call->sample_vdev);
}

SEC("kretprobe")
int BPF_KRETPROBE(register_end, int ret)
{
	return end_as(VFIO_REGISTER, ret, refine_group);
}

SEC("kprobe")
int BPF_KPROBE(register_emulated_begin, const struct vfio_device *vdev)
{
	return begin_vdev(VFIO_REGISTER_EMULATED, vdev);
}

SEC("kretprobe")
int BPF_KRETPROBE(register_emulated_end, int ret)
{
	return end_as(VFIO_REGISTER_EMULATED, ret, refine_group);
}

SEC("kprobe")
int BPF_KPROBE(unregister_begin, const struct vfio_device *vdev)
{
	return begin_vdev(VFIO_UNREGISTER, vdev);
}

SEC("kretprobe")
int BPF_KRETPROBE(unregister_end)
{
	return end(VFIO_UNREGISTER, 0);
}

SEC("kprobe")
int BPF_KPROBE(release_begin, const struct device *device)
{
	const struct vfio_device *vdev;

	vdev = (const void *)device - bpf_core_field_offset(struct vfio_device, device);
	return begin_vdev(VFIO_RELEASE, vdev);
}

/* The object is gone: nothing of it may be sampled. */
static __always_inline void refine_gone(struct call *call, long ret)
{
	call->sample_vdev = NULL;
}

SEC("kretprobe")
int BPF_KRETPROBE(release_end)
{
	return end_as(VFIO_RELEASE, 0, refine_gone);
}

SEC("kprobe")
int BPF_KPROBE(group_open_begin, const struct inode *inode)
{
	const struct vfio_group *group = (const void *)BPF_CORE_READ(inode, i_cdev) -
		bpf_core_field_offset(struct vfio_group, cdev);
	struct call call = { .group_id = group_id(group) };

	return begin(VFIO_GROUP_OPEN, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(group_open_end, int ret)
{
	return end(VFIO_GROUP_OPEN, ret);
}

SEC("kprobe")
int BPF_KPROBE(group_set_kvm, const struct vfio_group *group, const struct kvm *kvm)
{
	struct call call = {
		.kvm = opaque(kvm),
		.group_id = group_id(group),
		.sample_kvm = kvm,
	};

	return single(VFIO_GROUP_SET_KVM, &call);
}

SEC("kprobe")
int BPF_KPROBE(get_fd_begin, const struct file *file, unsigned int command, const char *name)
{
	const struct vfio_group *group;
	struct call call = {};
	struct named_event *named;

	if (command != GET_DEVICE_FD)
		return 0;
	group = BPF_CORE_READ(file, private_data);
	call.group_id = group_id(group);
	named = begin_named(VFIO_DEVICE_GET_FD, &call);
	if (!named)
		return 0;
	bpf_probe_read_user_str(named->names.device, sizeof(named->names.device), name);
	submit(named);
	return 0;
}

SEC("kretprobe")
int BPF_KRETPROBE(get_fd_end, long ret)
{
	return end(VFIO_DEVICE_GET_FD, ret);
}

SEC("kprobe")
int BPF_KPROBE(open_begin, const struct vfio_device_file *df)
{
	return begin_file(VFIO_DEVICE_OPEN, df);
}

SEC("kretprobe")
int BPF_KRETPROBE(open_end, int ret)
{
	return end(VFIO_DEVICE_OPEN, ret);
}

SEC("kprobe")
int BPF_KPROBE(close_begin, const struct vfio_device_file *df)
{
	return begin_file(VFIO_DEVICE_CLOSE, df);
}

SEC("kretprobe")
int BPF_KRETPROBE(close_end)
{
	return end(VFIO_DEVICE_CLOSE, 0);
}

SEC("kprobe")
int BPF_KPROBE(kvm_capture_begin, const struct vfio_device *vdev, const struct kvm *kvm)
{
	struct call call = {};

	describe_vdev(&call, vdev);
	call.kvm = opaque(kvm);
	call.sample_kvm = kvm;
	return begin(VFIO_DEVICE_KVM_CAPTURE, &call);
}

/* What was captured, which is nothing when the VM was already on its way out. */
static __always_inline void refine_captured(struct call *call, long ret)
{
	describe_captured(call, call->sample_vdev);
}

SEC("kretprobe")
int BPF_KRETPROBE(kvm_capture_end)
{
	return end_as(VFIO_DEVICE_KVM_CAPTURE, 0, refine_captured);
}

SEC("kprobe")
int BPF_KPROBE(kvm_drop, const struct vfio_device *vdev)
{
	struct call call = {};

	describe_captured(&call, vdev);
	return single(VFIO_DEVICE_KVM_DROP, &call);
}

char LICENSE[] SEC("license") = "GPL";
