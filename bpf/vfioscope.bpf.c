// SPDX-License-Identifier: GPL-2.0-only
/*
 * All programs are in one object, because searching the kernel's BTF is most of what
 * libbpf does when it loads an object. The agent loads the programs that the running kernel
 * needs, from this object or from the one that is built with TYPED (layout.h).
 */
#include "mdev.bpf.c"
#include "vfio.bpf.c"
#include "vfio-groups.bpf.c"
#include "vfio-opens.bpf.c"
#include "vfio-dma.bpf.c"
#include "iommufd.bpf.c"
#include "kvm.bpf.c"
#include "files.bpf.c"

/* include/trace/events/module.h: the fields that every kernel since 2.6.36 has. */
struct module_load_args {
	__u64 common;
	__u32 taints;
	__u32 name_location;	/* __data_loc: offset in the low 16 bits */
};

SEC("tracepoint/module/module_load")
int module_load(struct module_load_args *args)
{
	struct named_event *named = named_event(MODULE_LOAD);

	if (!named)
		return 0;
	read_name(named->names.device, (void *)args + (args->name_location & 0xffff));
	submit(named);
	return 0;
}

/* The system call gets the registers of its caller, and there the name. */
SEC("kprobe")
int BPF_KPROBE(unload_begin, const struct pt_regs *caller)
{
	struct call call = { .group_id = -1 };
	struct named_event *named = begin_named(MODULE_UNLOAD, &call);
	const char *name = NULL;

	if (!named)
		return 0;
	bpf_probe_read_kernel(&name, sizeof(name), &PT_REGS_PARM1(caller));
	named->event.flags |= read_user_name(named->names.device, name);
	submit(named);
	return 0;
}

SEC("kretprobe")
int BPF_KRETPROBE(unload_end, long ret)
{
	return end(MODULE_UNLOAD, ret);
}

char LICENSE[] SEC("license") = "GPL";
