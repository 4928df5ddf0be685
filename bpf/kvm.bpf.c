// SPDX-License-Identifier: GPL-2.0-only
/*
 * virt/kvm: VMs and the references that keep them. Most gets are inlined into
 * their callers, so each event samples users_count instead of counting calls.
 */
#include "layout.h"

/* include/uapi/linux/kvm.h: KVM_CREATE_VM, _IO(0xAE, 0x01) */
#define CREATE_VM 0xae01

static __always_inline struct call describe_kvm(const struct kvm *kvm)
{
	return (struct call){ .kvm = opaque(kvm), .group_id = -1, .sample_kvm = kvm };
}

/* The object may be freed when the call returns: nothing of it is sampled then. */
static __always_inline void refine_destroyed(struct call *call, long ret)
{
	call->sample_kvm = NULL;
}

SEC("kprobe")
int BPF_KPROBE(vm_create_begin, const struct file *file, unsigned int command)
{
	struct call call = { .group_id = -1 };

	return command == CREATE_VM ? begin(KVM_VM_CREATE, &call) : 0;
}

SEC("kretprobe")
int BPF_KRETPROBE(vm_create_end, long ret)
{
	return end(KVM_VM_CREATE, ret);
}

SEC("kprobe")
int BPF_KPROBE(vm_init_begin, const struct kvm *kvm)
{
	struct call call = describe_kvm(kvm);

	return begin(KVM_VM_INIT, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(vm_init_end, int ret)
{
	return end(KVM_VM_INIT, ret);
}

SEC("kprobe")
int BPF_KPROBE(vm_destroy_begin, const struct kvm *kvm)
{
	struct call call = describe_kvm(kvm);

	return begin(KVM_VM_DESTROY, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(vm_destroy_end)
{
	return end_as(KVM_VM_DESTROY, 0, refine_destroyed);
}

SEC("kprobe")
int BPF_KPROBE(vm_fd_close_begin, const void *inode, const struct file *file)
{
	struct call call = describe_kvm(BPF_CORE_READ(file, private_data));

	return begin(KVM_VM_FD_CLOSE, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(vm_fd_close_end)
{
	return end_as(KVM_VM_FD_CLOSE, 0, refine_destroyed);
}

SEC("kprobe")
int BPF_KPROBE(get, const struct kvm *kvm)
{
	struct call call = describe_kvm(kvm);

	return single(KVM_GET, &call);
}

SEC("kprobe")
int BPF_KPROBE(get_safe_begin, const struct kvm *kvm)
{
	struct call call = describe_kvm(kvm);

	return begin(KVM_GET_SAFE, &call);
}

SEC("kretprobe")
int BPF_KRETPROBE(get_safe_end, bool ret)
{
	return end(KVM_GET_SAFE, ret);
}

SEC("kprobe")
int BPF_KPROBE(put, const struct kvm *kvm)
{
	struct call call = describe_kvm(kvm);

	return single(KVM_PUT, &call);
}
