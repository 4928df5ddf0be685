// SPDX-License-Identifier: GPL-2.0-only
/*
 * drivers/vfio: how a vfio_device is allocated, registered, unregistered and freed. The
 * groups are in vfio-groups.bpf.c, opens and closes in vfio-opens.bpf.c.
 */
#include "layout.h"

static __always_inline void describe_vdev(struct call *call, const struct vfio_device *vdev,
					  const struct device *dev)
{
	call->vdev = opaque(vdev);
	call->dev = opaque(dev);
	call->group_id = group_id_of(vdev, dev);
	call->sample_vdev = vdev;
}

/* With the VM that the device holds now. */
static __always_inline void describe_captured(struct call *call, const struct vfio_device *vdev)
{
	const struct kvm *kvm = captured_by(vdev);

	describe_vdev(call, vdev, device_of(vdev));
	call->kvm = opaque(kvm);
	call->sample_kvm = kvm;
}

/* Whether the caller's memory is not that of the VM. */
static __always_inline bool is_foreign(const struct kvm *kvm)
{
	const struct task_struct *task = (void *)bpf_get_current_task();

	return kvm && bpf_core_field_exists(kvm->mm) &&
	       BPF_CORE_READ(kvm, mm) != BPF_CORE_READ(task, mm);
}

static __always_inline void describe_opened(struct call *call, const struct vfio_device *vdev)
{
	describe_captured(call, vdev);
	call->facts = is_foreign(call->sample_kvm) ? EVENT_FOREIGN : 0;
}

static __always_inline int submit_named(struct named_event *named, const struct device *dev)
{
	if (!named)
		return 0;
	read_name(named->names.device, BPF_CORE_READ(dev, kobj.name));
	read_name(named->names.bus, BPF_CORE_READ(dev, bus, name));
	read_parent(&named->names, BPF_CORE_READ(dev, parent, kobj.name));
	read_name(named->names.driver, driver_name(dev));
	submit(named);
	return 0;
}

static __always_inline int begin_vdev(__u8 point, const struct vfio_device *vdev)
{
	const struct device *dev = device_of(vdev);
	struct call call = {};

	if (!dev)
		return 0;
	describe_vdev(&call, vdev, dev);
	return submit_named(begin_named(point, &call), dev);
}

/* For functions that the kernel passes the struct device instead of the vfio_device. */
static __always_inline int begin_dev(__u8 point, const struct device *dev)
{
	struct call call = {
		.dev = opaque(dev),
		.group_id = iommu_group_id(BPF_CORE_READ(dev, iommu_group)),
	};

	return submit_named(begin_named(point, &call), dev);
}

static __always_inline int begin_file(__u8 point, const struct vfio_device *vdev, const void *key)
{
	const struct device *dev = device_of(vdev);
	struct call call = { .file = opaque(key) };

	if (!dev)
		return 0;
	if (point == VFIO_DEVICE_OPEN)
		describe_opened(&call, vdev);
	else
		describe_captured(&call, vdev);
	return submit_named(begin_named(point, &call), dev);
}

/* 6.1: every vfio_device is initialised here, also one that its driver embeds and uses again. */
SEC("kprobe")
int BPF_KPROBE(init_begin, const struct vfio_device *vdev, const struct device *dev)
{
	struct call call = { .vdev = opaque(vdev), .dev = opaque(dev), .group_id = -1 };

	return submit_named(begin_named(VFIO_INIT, &call), dev);
}

SEC("kretprobe")
int BPF_KRETPROBE(init_end, int ret)
{
	return end(VFIO_INIT, ret);
}

/* 6.2 and later: _vfio_alloc_device(size, dev, ops), which returns it. */
SEC("kprobe")
int BPF_KPROBE(alloc_begin, unsigned long size, const struct device *dev)
{
	struct call call = { .dev = opaque(dev), .group_id = -1 };

	return submit_named(begin_named(VFIO_INIT, &call), dev);
}

SEC("kretprobe")
int BPF_KRETPROBE(alloc_end, const struct vfio_device *vdev)
{
	long value = (long)vdev;
	bool failed = value < 0 && value >= -4095;
	struct call call;

	if (!take(VFIO_INIT, &call))
		return 0;
	if (!failed)
		call.vdev = opaque(vdev);
	return emit_end(VFIO_INIT, failed ? value : 0, &call);
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
		describe_vdev(call, call->sample_vdev, device_of(call->sample_vdev));
}

SEC("kretprobe")
int BPF_KRETPROBE(register_end, int ret)
{
	return end_as(VFIO_REGISTER, ret, refine_group);
}

/* 5.10: vfio_add_group_dev(dev, ops, data), for mdevs too; they have their group already. */
SEC("kprobe")
int BPF_KPROBE(add_begin, const struct device *dev)
{
	return begin_dev(VFIO_REGISTER, dev);
}

SEC("kretprobe")
int BPF_KRETPROBE(add_end, int ret)
{
	return end(VFIO_REGISTER, ret);
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
	const struct vfio_device_ops *ops = NULL;
	const struct device *dev = device_of(vdev);
	struct call call = {};

	if (!dev)
		return 0;
	describe_vdev(&call, vdev, dev);
	if (bpf_core_field_exists(vdev->ops) && bpf_core_field_exists(ops->request) &&
	    BPF_CORE_READ(vdev, ops, request))
		call.facts = EVENT_ASKS;
	return submit_named(begin_named(VFIO_UNREGISTER, &call), dev);
}

SEC("kretprobe")
int BPF_KRETPROBE(unregister_end)
{
	return end(VFIO_UNREGISTER, 0);
}

/* 5.10: vfio_del_group_dev(dev) */
SEC("kprobe")
int BPF_KPROBE(del_begin, const struct device *dev)
{
	return begin_dev(VFIO_UNREGISTER, dev);
}

/* The last thing that it does is to free the vfio_device. */
SEC("kretprobe")
int BPF_KRETPROBE(del_end)
{
	struct call call;

	if (!take(VFIO_UNREGISTER, &call))
		return 0;
	emit_end(VFIO_UNREGISTER, 0, &call);
	emit(VFIO_RELEASE, &call);
	return emit_end(VFIO_RELEASE, 0, &call);
}

/* The vfio_device's own struct device (vfioN), whose parent is the device behind it. */
SEC("kprobe")
int BPF_KPROBE(vdev_release_begin, const struct device *own)
{
	const struct vfio_device *vdev = NULL;

	if (BY_POSITION && !bpf_core_field_exists(vdev->device))
		return begin_dev(VFIO_RELEASE, BPF_CORE_READ(own, parent));
	vdev = (const void *)own - bpf_core_field_offset(struct vfio_device, device);
	return begin_vdev(VFIO_RELEASE, vdev);
}

/* The object is gone: nothing of it may be sampled. */
static __always_inline void refine_gone(struct call *call, long ret)
{
	call->sample_vdev = NULL;
}

SEC("kretprobe")
int BPF_KRETPROBE(vdev_release_end)
{
	return end_as(VFIO_RELEASE, 0, refine_gone);
}
