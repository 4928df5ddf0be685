/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Follows pointers from one kernel object to the next: by CO-RE where the types of the
 * modules are known, and by position where they are not (5.10 has no module BTF, and other
 * kernels may be built without it). What is found by position must prove what it is
 * ("certified reads"): a struct device must be in the kset "devices", an mdev type must be
 * below "mdev_supported_types", and an IOMMU group must be named after its own number. All
 * of these proofs are read by CO-RE, because the BTF of vmlinux describes them.
 *
 * The positions: drivers/vfio and drivers/vfio/mdev of 5.10, 6.1, 6.12 and 7.2.
 */
#ifndef VFIOSCOPE_LAYOUT_H
#define VFIOSCOPE_LAYOUT_H

#include "common.h"

/*
 * Everything is built twice: with TYPED for kernels from 6.1 on that have module BTF. The
 * verifier need not check code that is left out, and its work is much of what loading costs.
 */
#ifdef TYPED
#define BY_POSITION false
#define STEP static __always_inline
#else
#define BY_POSITION true
#define STEP static __noinline
#endif

#define S_IFMT 0170000
#define S_IFCHR 0020000

/* Counts an object that is not of the kind that its pointer implies. */
static __always_inline void unreadable(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu_counters *counters = bpf_map_lookup_elem(&cpu_counters, &cpu);

	if (counters)
		counters->unreadable++;
}

/* A buffer for a text of at least that size, which can be compared by words. */
#define TEXT(name, size)							\
	union { char chars[((size) + 7) & ~7]; __u64 words[((size) + 7) / 8]; } name

/* @text a literal; one character more is read, so that a longer name differs */
#define is_named(from, text)							\
({										\
	TEXT(found, sizeof(text) + 1) = {};					\
	TEXT(wanted, sizeof(text) + 1) = { text };					\
	__u64 different = 0;							\
										\
	read_name(found.chars, from);						\
	for (unsigned int i = 0; i < sizeof(found) / 8; i++)			\
		different |= found.words[i] ^ wanted.words[i];			\
	!different;								\
})

/*
 * Replaces the end of a name that was cut by a hash of all of it, if there is more of it. It is read in parts,
 * because the stack is small.
 */
static __always_inline void shorten(char *to, const char *from)
{
	TEXT(part, 32);
	__u64 hash = 0;

	if (read_name(part.chars, from + NAME_LENGTH - 1) <= 1)
		return;
	for (unsigned int at = 0; at < 4; at++) {
		long length;

		__builtin_memset(&part, 0, sizeof(part));
		length = read_name(part.chars, from + at * (sizeof(part) - 1));
		for (unsigned int i = 0; i < sizeof(part) / 8; i++)
			hash = (hash ^ part.words[i]) * 0xd6e8feb86659fd93ULL;
		if (length < (long)sizeof(part))
			break;
	}
	to[30] = '~';
	for (unsigned int i = 0; i < 8; i++) {
		__u8 digit = hash >> (60 - 4 * i) & 15;

		to[31 + i] = digit + (digit < 10 ? '0' : 'a' - 10);
	}
}

/*
 * The name of a parent. Two parents whose long names begin alike stay two; src/events/long-name.ts does the
 * same to names from sysfs.
 */
static __always_inline void read_parent(struct event_names *names, const char *from)
{
	if (read_name(names->parent, from) == NAME_LENGTH)
		shorten(names->parent, from);
}

#define EACH_BYTE(value) ((value) * 0x0101010101010101ULL)

/*
 * Copies a name that a process passes to the kernel, up to its first blank, control character or "=". What
 * follows may be a secret: the request for a device has its VF token there, "vf_token=UUID", in front of the
 * name if the process confuses the order. No name of a device has a "=". So the text is read to the stack, which only this program sees, and the rest of the field is 0. Without branches for each byte,
 * because these cost the verifier much time.
 * @return EVENT_OPTIONS if anything but blanks follows, otherwise 0
 */
STEP __u8 read_user_name(char to[NAME_LENGTH], const char *from)
{
	TEXT(name, NAME_LENGTH) = {};
	__u64 keep = ~0ULL, rest = 0;

	bpf_probe_read_user_str(name.chars, NAME_LENGTH, from);
	for (unsigned int i = 0; i < sizeof(name) / 8; i++) {
		__u64 word = name.words[i];
		/* The highest bit of each byte that is greater than ' ' and not '=', and of the first that is not. */
		__u64 above = ((word & EACH_BYTE(0x7f)) + EACH_BYTE(0x7f - ' ')) | word;
		__u64 equals = word ^ EACH_BYTE('=');
		__u64 differs = ((equals & EACH_BYTE(0x7f)) + EACH_BYTE(0x7f)) | equals;
		__u64 ends = ~(above & differs) & EACH_BYTE(0x80);
		__u64 first = ends & -ends;

		/* The bytes in front of the first that ends the name; all of them if none does. */
		keep &= (first >> 7) - 1;
		name.words[i] = word & keep;
		rest |= above & EACH_BYTE(0x80) & ~keep;
		/* Once the name has ended, nothing more is kept. */
		keep = (__u64)((__s64)keep >> 63);
	}
	__builtin_memcpy(to, name.chars, NAME_LENGTH);
	return rest ? EVENT_OPTIONS : 0;
}

static __always_inline const void *pointer_at(const void *object, __u32 offset)
{
	const void *pointer = NULL;

	bpf_probe_read_kernel(&pointer, sizeof(pointer), object + offset);
	return pointer;
}

STEP bool is_device(const struct device *dev)
{
	return dev && is_named(BPF_CORE_READ(dev, kobj.kset, kobj.name), "devices");
}

/*
 * @return the number that is the name, also behind "noiommu-", or -1. It has up to seven digits, which
 * are converted all at once: a loop over them costs the verifier of 7.2 more time than all other code.
 */
STEP int number_in(const char *from)
{
	TEXT(name, 8) = {};
	TEXT(prefix, 8) = { "noiommu-" };
	__u64 digits;
	long length;

	bpf_probe_read_kernel(name.chars, sizeof(name), from);
	if (name.words[0] == prefix.words[0])
		from += sizeof(name);
	name.words[0] = 0;
	length = read_name(name.chars, from) - 1;
	if (length < 1 || length > 7)
		return -1;
	/* Zeros before them make it eight; the first is in the lowest byte. */
	digits = name.words[0] << (64 - 8 * length) | EACH_BYTE('0') >> (8 * length);
	if ((digits & EACH_BYTE(0xf0)) != EACH_BYTE('0') ||
	    ((digits + EACH_BYTE(6)) & EACH_BYTE(0xf0)) != EACH_BYTE('0'))
		return -1;
	digits &= EACH_BYTE(0x0f);
	/* Pairs, fours, eight. */
	digits = (digits * 10 + (digits >> 8)) & 0x00ff00ff00ff00ffULL;
	digits = (digits * 100 + (digits >> 16)) & 0x0000ffff0000ffffULL;
	return (int)(digits * 10000 + (digits >> 32));
}

static __always_inline int iommu_group_id(const struct iommu_group *group)
{
	return group ? BPF_CORE_READ(group, id) : -1;
}

/* Only an IOMMU group has a name that is its own number. */
STEP bool is_iommu_group(const struct iommu_group *group)
{
	return group && number_in(BPF_CORE_READ(group, kobj.name)) == BPF_CORE_READ(group, id);
}

/* A group loses its iommu_group when its last device leaves. */
STEP int group_id(const struct vfio_group *group)
{
	const struct iommu_group *iommu_group;

	if (!group)
		return -1;
	if (bpf_core_field_exists(group->iommu_group))
		return iommu_group_id(BPF_CORE_READ(group, iommu_group));
	if (!BY_POSITION)
		return -1;
	/* From 6.0 on it begins with its own struct device, named after the number. */
	if (is_device((const void *)group))
		return number_in(BPF_CORE_READ((const struct device *)group, kobj.name));
	iommu_group = pointer_at(group, 16);
	if (is_iommu_group(iommu_group))
		return iommu_group_id(iommu_group);
	unreadable();
	return -1;
}

/* Whether the object behind a character device's file is a group. */
STEP bool is_group(const void *object)
{
	const struct device *dev = object;

	if (!object)
		return false;
	if (is_device(dev))
		return is_named(BPF_CORE_READ(dev, class, name), "vfio");
	return BY_POSITION && is_iommu_group(pointer_at(object, 16));
}

/*
 * @return NULL where that is not known, or none. In 5.10 the position proves nothing by itself:
 * the caller must know the VM from another source.
 */
static __always_inline const struct kvm *group_kvm(const struct vfio_group *group)
{
	if (bpf_core_field_exists(group->kvm))
		return BPF_CORE_READ(group, kvm);
	return is_device((const void *)group) ? NULL : pointer_at(group, 232);
}

/* struct vfio_device begins with its struct device, in all kernels. */
STEP const struct device *device_of(const struct vfio_device *vdev)
{
	const struct device *dev;

	if (bpf_core_field_exists(vdev->dev))
		return BPF_CORE_READ(vdev, dev);
	if (!BY_POSITION)
		return NULL;
	dev = pointer_at(vdev, 0);
	if (is_device(dev))
		return dev;
	unreadable();
	return NULL;
}

static __always_inline int group_id_of(const struct vfio_device *vdev, const struct device *dev)
{
	if (bpf_core_field_exists(vdev->group))
		return group_id(BPF_CORE_READ(vdev, group));
	return dev ? iommu_group_id(BPF_CORE_READ(dev, iommu_group)) : -1;
}

/* @return the VM that the device holds; NULL where that is not known, or none */
static __always_inline const struct kvm *captured_by(const struct vfio_device *vdev)
{
	return bpf_core_field_exists(vdev->kvm) ? BPF_CORE_READ(vdev, kvm) : NULL;
}

static __always_inline const struct vfio_device *device_behind(const struct vfio_device_file *df)
{
	if (bpf_core_field_exists(df->device))
		return BPF_CORE_READ(df, device);
	return pointer_at(df, 0);
}

struct device_file {
	const struct vfio_device *vdev;
	/* The same in the open and the close of this file. */
	const void *key;
};

/*
 * Finds the device of a VFIO device file: until 6.5 the file points to the vfio_device, from
 * 6.6 on to a vfio_device_file that points to it. Both begin with a pointer, and only one of
 * these pointers leads to a device.
 */
STEP bool resolve_file(const struct file *file, struct device_file *found)
{
	const void *private = BPF_CORE_READ(file, private_data);
	const void *first = private ? pointer_at(private, 0) : NULL;

	if (!first)
		return false;
	if (is_device(first)) {
		found->vdev = private;
		found->key = file;
		return true;
	}
	if (is_device(pointer_at(first, 0))) {
		found->vdev = first;
		found->key = private;
		return true;
	}
	return false;
}

static __always_inline const struct device *device_of_kobject(const struct kobject *kobj)
{
	return (const void *)kobj - bpf_core_field_offset(struct device, kobj);
}

/*
 * The own struct device (vfioN) of the vfio_device whose cdev an inode of a character device is. Its class
 * proves what it is.
 * @return NULL if it is another one
 */
STEP const struct device *own_device_of_cdev(const struct inode *inode)
{
	const struct kobject *kobj = BPF_CORE_READ(inode, i_cdev, kobj.parent);
	const struct device *own = device_of_kobject(kobj);

	return kobj && is_device(own) && is_named(BPF_CORE_READ(own, class, name), "vfio-dev") ? own :
											       NULL;
}

/* drivers/iommu/iommufd: of type `struct iommufd_ctx`, which begins with a pointer back to its file. */
static __always_inline const void *iommufd_of(const struct file *file)
{
	const void *context = BPF_CORE_READ(file, private_data);

	return context && pointer_at(context, 0) == file ? context : NULL;
}

static __always_inline bool is_type(const struct kobject *kobj)
{
	return kobj && is_named(BPF_CORE_READ(kobj, parent, name), "mdev_supported_types");
}

/* The directory of an mdev type, whose parent's parent is the device that offers it. */
STEP const struct kobject *type_directory(const struct mdev_type *type)
{
	const struct kobject *kobj;

	if (bpf_core_type_exists(struct mdev_type))
		return (const void *)type + bpf_core_field_offset(struct mdev_type, kobj);
	if (!BY_POSITION)
		return NULL;
	/* It follows two names and the parent. */
	kobj = (const void *)type + 24;
	if (is_type(kobj))
		return kobj;
	unreadable();
	return NULL;
}

/* @return NULL also where it no longer exists */
STEP const struct kobject *type_directory_if_any(const struct mdev_device *mdev)
{
	const struct kobject *kobj;
	__u32 size;

	if (bpf_core_field_exists(mdev->type))
		return type_directory(BPF_CORE_READ(mdev, type));
	if (!BY_POSITION)
		return NULL;
	size = bpf_core_type_size(struct device);
	/* 5.10: parent, uuid, data, list, then the directory of its type. */
	kobj = pointer_at(mdev, size + 48);
	if (is_type(kobj))
		return kobj;
	/* 6.1: uuid, list, then its type. */
	kobj = pointer_at(mdev, size + 32) + 24;
	return is_type(kobj) ? kobj : NULL;
}

static __always_inline const struct kobject *type_directory_of(const struct mdev_device *mdev)
{
	const struct kobject *kobj = type_directory_if_any(mdev);

	if (!kobj)
		unreadable();
	return kobj;
}

STEP const struct device *device_of_parent(const struct mdev_parent *parent)
{
	const struct device *dev;

	if (bpf_core_field_exists(parent->dev))
		return BPF_CORE_READ(parent, dev);
	if (!BY_POSITION)
		return NULL;
	dev = pointer_at(parent, 0);
	if (is_device(dev))
		return dev;
	unreadable();
	return NULL;
}

/*
 * From 6.1 on the driver follows two words and four functions, and is on the bus "mdev".
 * @return NULL where that is not so
 */
STEP const char *name_of_mdev_driver(const struct mdev_driver *mdev_driver)
{
	const struct device_driver *driver;

	if (!mdev_driver)
		return NULL;
	if (bpf_core_field_exists(mdev_driver->driver))
		return BPF_CORE_READ(mdev_driver, driver.name);
	if (!BY_POSITION)
		return NULL;
	driver = (const void *)mdev_driver + 48;
	return is_named(BPF_CORE_READ(driver, bus, name), "mdev") ? BPF_CORE_READ(driver, name) :
								     NULL;
}

/* @return the driver that a parent offers its types by; NULL where that is not known */
STEP const char *name_of_offering_driver(const struct mdev_parent *parent)
{
	if (!parent)
		return NULL;
	return name_of_mdev_driver(bpf_core_field_exists(parent->mdev_driver) ?
				   BPF_CORE_READ(parent, mdev_driver) : pointer_at(parent, 8));
}

static __always_inline const char *driver_name(const struct device *dev)
{
	return BPF_CORE_READ(dev, driver, name);
}
#endif
