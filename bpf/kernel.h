/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few kernel structures that the probes read, declared with only the fields
 * in use. CO-RE finds the real offsets in the running kernel's BTF.
 */
#ifndef VFIOSCOPE_KERNEL_H
#define VFIOSCOPE_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kobject {
	const char *name;
};

struct bus_type {
	const char *name;
};

struct device_driver {
	const char *name;
};

struct device {
	struct kobject kobj;
	struct device *parent;
	const struct bus_type *bus;
	struct device_driver *driver;
};

struct mdev_driver {
	struct device_driver driver;
};

struct mdev_parent {
	struct device *dev;
	struct mdev_driver *mdev_driver;
};

struct mdev_type {
	struct mdev_parent *parent;
	struct kobject kobj;
};

struct mdev_device {
	struct device dev;
	struct mdev_type *type;
};

struct iommu_group {
	int id;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct kvm {
	refcount_t users_count;
	int userspace_pid;
};

struct cdev {
	struct kobject kobj;
};

struct inode {
	struct cdev *i_cdev;
};

struct vfio_group {
	struct cdev cdev;
	struct iommu_group *iommu_group;
};

struct vfio_device {
	struct device *dev;
	struct vfio_group *group;
	struct kvm *kvm;
	struct device device;
	unsigned int open_count;
};

struct vfio_device_file {
	struct vfio_device *device;
};

struct file {
	void *private_data;
};

struct task_struct {
	unsigned int flags;
};

#pragma clang attribute pop

/* include/linux/sched.h: the task is on its way out of do_exit(). */
#define PF_EXITING 0x00000004

#endif
