// SPDX-License-Identifier: GPL-2.0-only
/*
 * drivers/vfio: vfio_device registration, groups, and device files.
 *
 * How a device is opened and closed was written anew several times; which of the
 * programs stand for a point on which kernel is the table in src/kernel/probe-table.ts.
 */
#include "layout.h"

/* include/uapi/linux/vfio.h: VFIO_GROUP_GET_DEVICE_FD, _IO(';', 100 + 6) */
#define GET_DEVICE_FD 0x3b6a

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

static __always_inline int submit_named(struct named_event *named, const struct device *dev)
{
	if (!named)
		return 0;
	read_name(named->names.device, BPF_CORE_READ(dev, kobj.name));
	read_name(named->names.bus, BPF_CORE_READ(dev, bus, name));
	read_name(named->names.parent, BPF_CORE_READ(dev, parent, kobj.name));
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

/* Where the kernel passes the struct device around instead of the vfio_device. */
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
	struct call call = { .file = opaque(key) };

	describe_captured(&call, vdev);
	if (!call.dev)
		return 0;
	return submit_named(begin_named(point, &call), device_of(vdev));
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
	return begin_vdev(VFIO_UNREGISTER, vdev);
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
	tell_end(VFIO_UNREGISTER, 0, &call);
	single(VFIO_RELEASE, &call);
	return tell_end(VFIO_RELEASE, 0, &call);
}

/* The vfio_device's own struct device (vfioN), whose parent is the device behind it. */
SEC("kprobe")
int BPF_KPROBE(vdev_release_begin, const struct device *own)
{
	const struct vfio_device *vdev = NULL;

	if (!bpf_core_field_exists(vdev->device))
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

/*
 * 6.0 and later have a character device for each group, below its struct device. Before,
 * one serves all, and only where the kernel itself names the files is the name to be trusted.
 */
static __always_inline int group_id_of_file(const struct inode *inode, const struct file *file)
{
	const struct kobject *kobj = BPF_CORE_READ(inode, i_cdev, kobj.parent);
	const struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);

	if (kobj && is_device(device_of_kobject(kobj)))
		return number_in(BPF_CORE_READ(kobj, name));
	if (is_named(BPF_CORE_READ(inode, i_sb, s_type, name), "devtmpfs"))
		return number_in((const char *)BPF_CORE_READ(dentry, d_name.name));
	return -1;
}

SEC("kprobe")
int BPF_KPROBE(group_open_begin, const struct inode *inode, const struct file *file)
{
	struct call call = { .group_id = group_id_of_file(inode, file) };

	return begin(VFIO_GROUP_OPEN, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(group_open_end, int ret)
{
	return end(VFIO_GROUP_OPEN, ret);
}

static __always_inline int tell_group_kvm(const struct vfio_group *group, const struct kvm *kvm)
{
	struct call call = {
		.kvm = opaque(kvm),
		.group_id = group_id(group),
		.sample_kvm = kvm,
	};

	return single(VFIO_GROUP_SET_KVM, &call);
}

SEC("kprobe")
int BPF_KPROBE(group_set_kvm, const struct vfio_group *group, const struct kvm *kvm)
{
	return tell_group_kvm(group, kvm);
}

SEC("kprobe")
int BPF_KPROBE(file_set_kvm, const struct file *file, const struct kvm *kvm)
{
	return tell_group_kvm(BPF_CORE_READ(file, private_data), kvm);
}

SEC("kprobe")
int BPF_KPROBE(get_fd_begin, const struct file *file, unsigned int command, const char *name)
{
	struct call call = {};
	struct named_event *named;

	if (command != GET_DEVICE_FD)
		return 0;
	call.group_id = group_id(BPF_CORE_READ(file, private_data));
	named = begin_named(VFIO_DEVICE_GET_FD, &call);
	if (!named)
		return 0;
	bpf_probe_read_user_str(named->names.device, sizeof(named->names.device), name);
	submit(named);
	return 0;
}

static __always_inline const struct file *file_of(int fd)
{
	const struct task_struct *task = (void *)bpf_get_current_task();
	const struct file *file = NULL;

	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(task, files, fdt, fd) + fd);
	return file;
}

/* An open that began at its own probe and has no return of its own: 6.1. */
static __always_inline void refine_opened(struct call *call, long ret)
{
	struct device_file found;

	if (ret >= 0 && look_behind(file_of(ret), &found))
		call->file = opaque(found.key);
	describe_captured(call, call->sample_vdev);
}

/*
 * An open that no probe told: the device is known only now, from what the new
 * descriptor stands for. It began when it was asked for.
 */
static __always_inline void tell_open(const struct call *request, long fd)
{
	struct call call = {};
	struct device_file found;
	struct named_event *named;

	if (!look_behind(file_of(fd), &found)) {
		unreadable();
		return;
	}
	describe_captured(&call, found.vdev);
	call.file = opaque(found.key);
	named = named_event(VFIO_DEVICE_OPEN);
	if (named) {
		sample(&named->event, &call);
		named->event.time = request->time;
		submit_named(named, device_of(found.vdev));
	}
	tell_end(VFIO_DEVICE_OPEN, 0, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(get_fd_end, long ret)
{
	struct call call;
	bool told = take(VFIO_DEVICE_OPEN, &call);

	if (told) {
		refine_opened(&call, ret);
		tell_end(VFIO_DEVICE_OPEN, ret < 0 ? ret : 0, &call);
	}
	if (!take(VFIO_DEVICE_GET_FD, &call))
		return 0;
	if (!told && !call.opened && ret >= 0)
		tell_open(&call, ret);
	return tell_end(VFIO_DEVICE_GET_FD, ret, &call);
}

/* 6.6 and later: every open comes by here, and returns from here. */
SEC("kprobe")
int BPF_KPROBE(open_begin, const struct vfio_device_file *df)
{
	return begin_file(VFIO_DEVICE_OPEN, device_behind(df), df);
}

SEC("kretprobe")
int BPF_KRETPROBE(open_end, int ret)
{
	struct call_key key = call_of(VFIO_DEVICE_GET_FD);
	struct call *request = bpf_map_lookup_elem(&calls, &key);

	if (request)
		request->opened = true;
	return end(VFIO_DEVICE_OPEN, ret);
}

/* 6.1: the first step of every open; get_fd_end tells its end. */
SEC("kprobe")
int BPF_KPROBE(assign_begin, const struct vfio_device *vdev)
{
	return begin_file(VFIO_DEVICE_OPEN, vdev, NULL);
}

SEC("kprobe")
int BPF_KPROBE(close_begin, const struct vfio_device_file *df)
{
	return begin_file(VFIO_DEVICE_CLOSE, device_behind(df), df);
}

SEC("kretprobe")
int BPF_KRETPROBE(close_end)
{
	return end(VFIO_DEVICE_CLOSE, 0);
}

/* Before 6.6: a device file is let go of as a file. */
SEC("kprobe")
int BPF_KPROBE(file_close_begin, const void *inode, const struct file *file)
{
	struct device_file found;

	if (!look_behind(file, &found)) {
		unreadable();
		return 0;
	}
	return begin_file(VFIO_DEVICE_CLOSE, found.vdev, found.key);
}

/* With nobody left in the device, a remover may have freed it by now. */
static __always_inline void refine_left(struct call *call, long ret)
{
	call->sample_vdev = NULL;
	call->kvm = 0;
	call->sample_kvm = NULL;
}

SEC("kretprobe")
int BPF_KRETPROBE(file_close_end)
{
	return end_as(VFIO_DEVICE_CLOSE, 0, refine_left);
}

/* 6.1: the last step of a close, and the last moment at which the device is sure to exist. */
SEC("kprobe")
int BPF_KPROBE(close_end_at_put, const struct vfio_device *vdev)
{
	struct call_key key = call_of(VFIO_DEVICE_CLOSE);
	struct call *found = bpf_map_lookup_elem(&calls, &key);
	struct call call;

	if (!found || found->sample_vdev != vdev)
		return 0;
	call = *found;
	bpf_map_delete_elem(&calls, &key);
	describe_captured(&call, vdev);
	return tell_end(VFIO_DEVICE_CLOSE, 0, &call);
}

SEC("kprobe")
int BPF_KPROBE(kvm_capture_begin, const struct vfio_device *vdev, const struct kvm *kvm)
{
	struct call call = {};

	describe_vdev(&call, vdev, device_of(vdev));
	call.kvm = opaque(kvm);
	call.sample_kvm = kvm;
	return begin(VFIO_DEVICE_KVM_CAPTURE, &call);
}

/* What was captured, which is nothing when the VM was already on its way out. */
static __always_inline void refine_captured(struct call *call, long ret)
{
	const struct vfio_device *vdev = call->sample_vdev;

	if (bpf_core_field_exists(vdev->kvm))
		describe_captured(call, vdev);
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
