// SPDX-License-Identifier: GPL-2.0-only
/*
 * drivers/vfio: how a device is opened and closed, and its VM captured and dropped.
 *
 * The kernel rewrote this several times. The table in src/kernel/probe-table.ts says which of
 * the programs stand for a point on which kernel.
 */
#include "layout.h"

/* include/uapi/linux/vfio.h: VFIO_GROUP_GET_DEVICE_FD, _IO(';', 100 + 6) */
#define GET_DEVICE_FD 0x3b6a
/* VFIO_GROUP_UNSET_CONTAINER, _IO(';', 100 + 5) */
#define UNSET_CONTAINER 0x3b69

SEC("kprobe")
int BPF_KPROBE(get_fd_begin, const struct file *file, unsigned int command, const char *name)
{
	struct call call = {};
	struct named_event *named;

	if (command != GET_DEVICE_FD && command != UNSET_CONTAINER)
		return 0;
	call.group_id = group_id(BPF_CORE_READ(file, private_data));
	if (command == UNSET_CONTAINER)
		return begin(VFIO_GROUP_UNSET_CONTAINER, &call);
	named = begin_named(VFIO_DEVICE_GET_FD, &call);
	if (!named)
		return 0;
	named->event.flags |= read_user_name(named->names.device, name);
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

	if (ret >= 0 && resolve_file(file_of(ret), &found))
		call->file = opaque(found.key);
	describe_opened(call, call->sample_vdev);
}

/*
 * Emits an open that no probe has seen: the device is known only now, from the new
 * descriptor. The open began when the descriptor was requested.
 */
static __always_inline void emit_open(const struct call *request, long fd)
{
	struct call call = {};
	struct device_file found;
	struct named_event *named;

	if (!resolve_file(file_of(fd), &found)) {
		unreadable();
		return;
	}
	describe_opened(&call, found.vdev);
	call.file = opaque(found.key);
	named = named_event(VFIO_DEVICE_OPEN);
	if (named) {
		sample(&named->event, &call);
		named->event.time = request->time;
		submit_named(named, device_of(found.vdev));
	}
	emit_end(VFIO_DEVICE_OPEN, 0, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(get_fd_end, long ret)
{
	end(VFIO_GROUP_UNSET_CONTAINER, ret);
	return end(VFIO_DEVICE_GET_FD, ret);
}

/* Before 6.6, where an open returns to nobody else. */
SEC("kretprobe")
int BPF_KRETPROBE(get_fd_and_open_end, long ret)
{
	struct call call;
	bool emitted = take(VFIO_DEVICE_OPEN, &call);

	if (emitted) {
		refine_opened(&call, ret);
		emit_end(VFIO_DEVICE_OPEN, ret < 0 ? ret : 0, &call);
	}
	end(VFIO_GROUP_UNSET_CONTAINER, ret);
	if (!take(VFIO_DEVICE_GET_FD, &call))
		return 0;
	if (!emitted && !call.opened && ret >= 0)
		emit_open(&call, ret);
	return emit_end(VFIO_DEVICE_GET_FD, ret, &call);
}

/* 6.6 and later: every open passes through this function. */
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

/* 6.1: the first step of every open; get_fd_and_open_end emits its end. */
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

/* Before 6.6: a device file is released as any file. */
SEC("kprobe")
int BPF_KPROBE(file_close_begin, const void *inode, const struct file *file)
{
	struct device_file found;

	if (!resolve_file(file, &found)) {
		unreadable();
		return 0;
	}
	return begin_file(VFIO_DEVICE_CLOSE, found.vdev, found.key);
}

/* Once no process has the device open, a remover may have freed it. */
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

/* 6.1: the last step of a close, and the last point at which the device is known to exist. */
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
	return emit_end(VFIO_DEVICE_CLOSE, 0, &call);
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

/* What was captured: nothing if the VM was already being destroyed. */
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
