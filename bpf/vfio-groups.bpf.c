// SPDX-License-Identifier: GPL-2.0-only
/* drivers/vfio: the files of groups, their containers, and which VM they belong to. */
#include "layout.h"

/* drivers/vfio/vfio.c of 5.10: VFIO_GROUP_NOTIFY_SET_KVM */
#define NOTIFY_SET_KVM 1

/*
 * 6.0 and later have a character device for each group, below its struct device. Before,
 * one serves all, and only where the kernel itself names the files is the name to be trusted.
 */
static __always_inline int group_id_of_file(const struct inode *inode, const struct file *file)
{
	const struct kobject *kobj = BPF_CORE_READ(inode, i_cdev, kobj.parent);

	if (kobj && is_device(device_of_kobject(kobj)))
		return number_in(BPF_CORE_READ(kobj, name));
	if (BY_POSITION && is_named(BPF_CORE_READ(inode, i_sb, s_type, name), "devtmpfs"))
		return number_in((const char *)BPF_CORE_READ(file, f_path.dentry, d_name.name));
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

SEC("kprobe")
int BPF_KPROBE(group_close, const struct inode *inode, const struct file *file)
{
	struct call call = { .group_id = group_id_of_file(inode, file) };

	return single(VFIO_GROUP_CLOSE, &call);
}

SEC("kprobe")
int BPF_KPROBE(group_detach, const struct vfio_group *group)
{
	struct call call = { .group_id = group_id(group) };

	return single(VFIO_GROUP_DETACH, &call);
}

static __always_inline struct call describe_group_kvm(const struct vfio_group *group,
						      const struct kvm *kvm)
{
	return (struct call){
		.kvm = opaque(kvm),
		.group_id = group_id(group),
		.sample_kvm = kvm,
	};
}

static __always_inline int emit_group_kvm(const struct vfio_group *group, const struct kvm *kvm)
{
	struct call call = describe_group_kvm(group, kvm);

	return single(VFIO_GROUP_SET_KVM, &call);
}

SEC("kprobe")
int BPF_KPROBE(group_set_kvm, const struct vfio_group *group, const struct kvm *kvm)
{
	return emit_group_kvm(group, kvm);
}

/* 5.10: callbacks notify the drivers, and run before this returns. */
SEC("kprobe")
int BPF_KPROBE(group_set_kvm_begin, const struct vfio_group *group, const struct kvm *kvm)
{
	struct call call = describe_group_kvm(group, kvm);

	return begin(VFIO_GROUP_SET_KVM, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(group_set_kvm_end)
{
	return end(VFIO_GROUP_SET_KVM, 0);
}

/*
 * 5.10: callbacks of any kind are called here. Those of interest notify drivers of their VM: from
 * within group_set_kvm(), or when a driver registers for the notification during an open.
 */
SEC("kprobe")
int BPF_KPROBE(notify_begin, const void *callbacks, unsigned long action, const struct kvm *kvm)
{
	struct call_key key = call_of(VFIO_GROUP_SET_KVM);
	struct call *within = bpf_map_lookup_elem(&calls, &key);
	struct call call = {};

	if (action != NOTIFY_SET_KVM)
		return 0;
	if (!within) {
		key = call_of(VFIO_DEVICE_GET_FD);
		within = bpf_map_lookup_elem(&calls, &key);
	}
	if (!within)
		return 0;
	call.group_id = within->group_id;
	call.kvm = opaque(kvm);
	call.sample_kvm = kvm;
	remember(VFIO_GROUP_NOTIFY, &call);
	return 0;
}

SEC("kretprobe")
int BPF_KRETPROBE(notify_end, int ret)
{
	return end(VFIO_GROUP_NOTIFY, ret);
}

SEC("kprobe")
int BPF_KPROBE(file_set_kvm, const struct file *file, const struct kvm *kvm)
{
	return emit_group_kvm(BPF_CORE_READ(file, private_data), kvm);
}
