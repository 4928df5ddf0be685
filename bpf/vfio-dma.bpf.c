// SPDX-License-Identifier: GPL-2.0-only
/*
 * drivers/vfio/container.c and drivers/iommu/iommufd: requests of a VMM to map memory for DMA that
 * fail. There are thousands that succeed for each VM, so nothing is kept at the begin of a request:
 * what was requested is read from the registers that the system call was made with, and only if it failed.
 */
#include "layout.h"

/* include/uapi/linux/vfio.h: VFIO_IOMMU_MAP_DMA, _IO(';', 100 + 13), also understood by iommufd */
#define MAP_DMA 0x3b71
/* include/uapi/linux/iommufd.h: IOMMU_IOAS_MAP, _IO(';', 0x85), and IOMMU_IOAS_MAP_FILE, 0x8f */
#define IOAS_MAP 0x3b85
#define IOAS_MAP_FILE 0x3b8f
/* Where the arguments of all three have the number of bytes. */
#define BYTES 24

/*
 * bpf_task_pt_regs() is of 5.15. Before, the registers are at the end of the stack, on x86. Whether the BTF
 * has the type of that depends on the pahole that the kernel was built with; the stack of interrupts has
 * the same size: arch/x86/include/asm/page_64_types.h.
 */
static __always_inline const struct pt_regs *registers_of_caller(void)
{
	const struct task_struct *task;
	unsigned long size;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (const void *)bpf_task_pt_regs(bpf_get_current_task_btf());
#ifdef __TARGET_ARCH_x86
	task = (void *)bpf_get_current_task();
	size = bpf_core_type_exists(union thread_union) ? bpf_core_type_size(union thread_union) :
							  bpf_core_type_size(struct irq_stack);
	return BPF_CORE_READ(task, stack) + size - sizeof(struct pt_regs);
#else
	return NULL;
#endif
}

/* Of a 64-bit process: a 32-bit one passes its arguments otherwise, and emits nothing. */
static __always_inline int end_of_mapping(long ret)
{
	const struct pt_regs *regs;
	struct named_event *named;
	unsigned long command = 0, argument = 0;

	if (ret >= 0 || !is_watched(VFIO_DMA_MAP))
		return 0;
	regs = registers_of_caller();
	bpf_probe_read_kernel(&command, sizeof(command), &PT_REGS_PARM2(regs));
	if (command != MAP_DMA && command != IOAS_MAP && command != IOAS_MAP_FILE)
		return 0;
	bpf_probe_read_kernel(&argument, sizeof(argument), &PT_REGS_PARM3(regs));
	named = named_event(VFIO_DMA_MAP);
	if (!named)
		return 0;
	named->event.flags |= EVENT_END;
	named->event.ret = ret;
	bpf_probe_read_user(&named->names.inode, sizeof(named->names.inode),
			    (const void *)(argument + BYTES));
	submit(named);
	return 0;
}

SEC("kretprobe")
int BPF_KRETPROBE(container_map_end, long ret)
{
	return end_of_mapping(ret);
}

SEC("kretprobe")
int BPF_KRETPROBE(iommufd_map_end, long ret)
{
	return end_of_mapping(ret);
}
