// SPDX-License-Identifier: GPL-2.0-only
/* drivers/vfio/mdev: parents, and mediated devices from create to release. */
#include "common.h"

static __always_inline void describe_mdev(struct call *call, const struct mdev_device *mdev)
{
	call->dev = opaque(mdev);
	call->parent = opaque(BPF_CORE_READ(mdev, type, parent));
	call->group_id = -1;
}

static __always_inline void name_type(struct event_names *names, const struct mdev_type *type)
{
	const struct mdev_parent *parent = BPF_CORE_READ(type, parent);

	read_name(names->bus, "mdev");
	read_name(names->type, BPF_CORE_READ(type, kobj.name));
	read_name(names->parent, BPF_CORE_READ(parent, dev, kobj.name));
	read_name(names->driver, BPF_CORE_READ(parent, mdev_driver, driver.name));
}

static __always_inline int begin_mdev(__u8 point, const struct mdev_device *mdev)
{
	struct call call = {};
	struct named_event *named;

	describe_mdev(&call, mdev);
	named = begin_named(point, &call);
	if (!named)
		return 0;
	read_name(named->names.device, BPF_CORE_READ(mdev, dev.kobj.name));
	name_type(&named->names, BPF_CORE_READ(mdev, type));
	submit(named);
	return 0;
}

static __always_inline int begin_parent(__u8 point, const struct mdev_parent *parent,
					const struct device *dev, const struct mdev_driver *driver)
{
	struct call call = { .parent = opaque(parent), .group_id = -1 };
	struct named_event *named = begin_named(point, &call);

	if (!named)
		return 0;
	read_name(named->names.parent, BPF_CORE_READ(dev, kobj.name));
	read_name(named->names.driver, BPF_CORE_READ(driver, driver.name));
	submit(named);
	return 0;
}

SEC("kprobe")
int BPF_KPROBE(parent_register_begin, const struct mdev_parent *parent,
	       const struct device *dev, const struct mdev_driver *driver)
{
	return begin_parent(MDEV_PARENT_REGISTER, parent, dev, driver);
}

SEC("kretprobe")
int BPF_KRETPROBE(parent_register_end, int ret)
{
	return end(MDEV_PARENT_REGISTER, ret);
}

SEC("kprobe")
int BPF_KPROBE(parent_unregister_begin, const struct mdev_parent *parent)
{
	return begin_parent(MDEV_PARENT_UNREGISTER, parent, BPF_CORE_READ(parent, dev),
			    BPF_CORE_READ(parent, mdev_driver));
}

SEC("kretprobe")
int BPF_KRETPROBE(parent_unregister_end)
{
	return end(MDEV_PARENT_UNREGISTER, 0);
}

SEC("kprobe")
int BPF_KPROBE(create_begin, const struct mdev_type *type, const void *uuid)
{
	struct call call = { .parent = opaque(BPF_CORE_READ(type, parent)), .group_id = -1 };
	struct named_event *named = begin_named(MDEV_CREATE, &call);

	if (!named)
		return 0;
	bpf_probe_read_kernel(named->names.uuid, sizeof(named->names.uuid), uuid);
	name_type(&named->names, type);
	submit(named);
	return 0;
}

SEC("kretprobe")
int BPF_KRETPROBE(create_end, int ret)
{
	return end(MDEV_CREATE, ret);
}

/* The first event of a create that knows the device: mdev->dev is the first member. */
SEC("kprobe")
int BPF_KPROBE(probe_begin, const struct device *dev)
{
	return begin_mdev(MDEV_PROBE, (const void *)dev);
}

SEC("kretprobe")
int BPF_KRETPROBE(probe_end, int ret)
{
	return end(MDEV_PROBE, ret);
}

SEC("kprobe")
int BPF_KPROBE(remove_begin, const struct mdev_device *mdev)
{
	return begin_mdev(MDEV_REMOVE, mdev);
}

SEC("kretprobe")
int BPF_KRETPROBE(remove_end, int ret)
{
	return end(MDEV_REMOVE, ret);
}

/* Called for every child of the parent device, of which only some are mdevs. */
SEC("kprobe")
int BPF_KPROBE(remove_child_begin, const struct device *dev)
{
	char bus[5] = {};

	read_name(bus, BPF_CORE_READ(dev, bus, name));
	if (bus[0] != 'm' || bus[1] != 'd' || bus[2] != 'e' || bus[3] != 'v')
		return 0;
	return begin_mdev(MDEV_REMOVE_CHILD, (const void *)dev);
}

SEC("kretprobe")
int BPF_KRETPROBE(remove_child_end, int ret)
{
	return end(MDEV_REMOVE_CHILD, ret);
}

SEC("kprobe")
int BPF_KPROBE(unbind_begin, const struct device *dev)
{
	return begin_mdev(MDEV_UNBIND, (const void *)dev);
}

SEC("kretprobe")
int BPF_KRETPROBE(unbind_end)
{
	return end(MDEV_UNBIND, 0);
}

SEC("kprobe")
int BPF_KPROBE(release_begin, const struct device *dev)
{
	return begin_mdev(MDEV_RELEASE, (const void *)dev);
}

SEC("kretprobe")
int BPF_KRETPROBE(release_end)
{
	return end(MDEV_RELEASE, 0);
}

char LICENSE[] SEC("license") = "GPL";
