// SPDX-License-Identifier: GPL-2.0-only
/* What all objects share: the maps, and the arrival of kernel modules. */
#include "common.h"

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

char LICENSE[] SEC("license") = "GPL";
