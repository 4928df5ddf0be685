// SPDX-License-Identifier: GPL-2.0-only
/*
 * drivers/vfio/mdev: parents, and mediated devices from create to release.
 *
 * An mdev begins with its struct device, and a parent is named by the struct
 * device that offers it: 5.10 passes no other object.
 */
#include "layout.h"

static __always_inline const struct device *parent_of(const struct kobject *type)
{
	return type ? device_of_kobject(BPF_CORE_READ(type, parent, parent)) : NULL;
}

/* The driver that offers the type: its own name on 6.1 and later, else what the parent is bound to. */
static __always_inline const char *offering_driver(const struct mdev_parent *parent,
						   const struct device *dev)
{
	const char *name = name_of_offering_driver(parent);

	return name ? name : driver_name(dev);
}

static __always_inline void name_type(struct event_names *names, const struct kobject *type,
				      const char *driver)
{
	read_name(names->bus, "mdev");
	read_name(names->type, BPF_CORE_READ(type, name));
	read_parent(names, BPF_CORE_READ(parent_of(type), kobj.name));
	read_name(names->driver, driver);
}

/* The mdev's driver. 5.10 binds every mdev to vfio_mdev, which does not identify the vendor driver. */
static __always_inline const char *mdev_driver_name(const struct mdev_device *mdev,
						    const struct device *parent)
{
	const char *name = driver_name((const void *)mdev);

	return name && !is_named(name, "vfio_mdev") ? name : driver_name(parent);
}

static __always_inline int begin_typed(__u8 point, const struct mdev_device *mdev,
				       const struct kobject *type)
{
	const struct device *dev = (const void *)mdev;
	const struct device *parent = BPF_CORE_READ(dev, parent);
	struct call call = {
		.dev = opaque(mdev),
		.parent = opaque(parent),
		.group_id = -1,
	};
	struct named_event *named = begin_named(point, &call);
	const char *driver;

	if (!named)
		return 0;
	driver = bpf_core_field_exists(mdev->type) ?
		offering_driver(BPF_CORE_READ(mdev, type, parent), parent) :
		mdev_driver_name(mdev, parent);
	read_name(named->names.device, BPF_CORE_READ(dev, kobj.name));
	name_type(&named->names, type, driver);
	named->names.inode = BPF_CORE_READ(dev, kobj.sd, id);
	submit(named);
	return 0;
}

static __always_inline int begin_mdev(__u8 point, const struct mdev_device *mdev)
{
	return begin_typed(point, mdev, type_directory_of(mdev));
}

static __always_inline int begin_parent(__u8 point, const struct device *dev, const char *driver)
{
	struct call call = { .parent = opaque(dev), .group_id = -1 };
	struct named_event *named = begin_named(point, &call);

	if (!named)
		return 0;
	read_parent(&named->names, BPF_CORE_READ(dev, kobj.name));
	read_name(named->names.driver, driver);
	submit(named);
	return 0;
}

SEC("kprobe")
int BPF_KPROBE(parent_register_begin, const struct mdev_parent *parent,
	       const struct device *dev, const struct mdev_driver *driver)
{
	const char *name = name_of_mdev_driver(driver);

	return begin_parent(MDEV_PARENT_REGISTER, dev, name ? name : driver_name(dev));
}

/* 5.10: mdev_register_device(dev, ops) */
SEC("kprobe")
int BPF_KPROBE(device_register_begin, const struct device *dev)
{
	return begin_parent(MDEV_PARENT_REGISTER, dev, driver_name(dev));
}

SEC("kretprobe")
int BPF_KRETPROBE(parent_register_end, int ret)
{
	return end(MDEV_PARENT_REGISTER, ret);
}

SEC("kprobe")
int BPF_KPROBE(parent_unregister_begin, const struct mdev_parent *parent)
{
	const struct device *dev = device_of_parent(parent);

	return begin_parent(MDEV_PARENT_UNREGISTER, dev, offering_driver(parent, dev));
}

/* 5.10: mdev_unregister_device(dev) */
SEC("kprobe")
int BPF_KPROBE(device_unregister_begin, const struct device *dev)
{
	return begin_parent(MDEV_PARENT_UNREGISTER, dev, driver_name(dev));
}

SEC("kretprobe")
int BPF_KRETPROBE(parent_unregister_end)
{
	return end(MDEV_PARENT_UNREGISTER, 0);
}

static __always_inline int begin_create(const struct kobject *type, const char *driver,
					const void *uuid)
{
	struct call call = { .parent = opaque(parent_of(type)), .group_id = -1 };
	struct named_event *named = begin_named(MDEV_CREATE, &call);

	if (!named)
		return 0;
	bpf_probe_read_kernel(named->names.uuid, sizeof(named->names.uuid), uuid);
	name_type(&named->names, type, driver);
	submit(named);
	return 0;
}

SEC("kprobe")
int BPF_KPROBE(create_begin, const struct mdev_type *type, const void *uuid)
{
	const struct kobject *kobj = type_directory(type);

	const struct mdev_parent *parent = bpf_core_field_exists(type->parent) ?
		BPF_CORE_READ(type, parent) : pointer_at(type, 16);

	return begin_create(kobj, offering_driver(parent, parent_of(kobj)), uuid);
}

/* 5.10: mdev_device_create(type, parent, uuid) */
SEC("kprobe")
int BPF_KPROBE(kobject_create_begin, const struct kobject *type, const struct device *parent,
	       const void *uuid)
{
	return begin_create(type, driver_name(parent), uuid);
}

SEC("kretprobe")
int BPF_KRETPROBE(create_end, int ret)
{
	return end(MDEV_CREATE, ret);
}

/* The first event of a create that knows the device. */
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
	if (!is_named(BPF_CORE_READ(dev, bus, name), "mdev"))
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
	const struct mdev_device *mdev = (const void *)dev;

	/* An mdev that outlives its parent also outlives its type, which is freed with the parent. */
	return begin_typed(MDEV_RELEASE, mdev, type_directory_if_any(mdev));
}

SEC("kretprobe")
int BPF_KRETPROBE(release_end)
{
	return end(MDEV_RELEASE, 0);
}

/* After it has returned, that driver can serve no mdev any more. */
SEC("kprobe")
int BPF_KPROBE(driver_unregister, const struct mdev_driver *driver)
{
	struct named_event *named =
		is_watched(MDEV_DRIVER_UNREGISTER) ? named_event(MDEV_DRIVER_UNREGISTER) : NULL;

	if (!named)
		return 0;
	read_name(named->names.driver, name_of_mdev_driver(driver));
	submit(named);
	return 0;
}
