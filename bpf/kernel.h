/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few kernel structures that the probes read, declared with only the fields
 * in use. CO-RE finds the real offsets in the running kernel's BTF.
 */
#ifndef VFIOSCOPE_KERNEL_H
#define VFIOSCOPE_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kset;

struct kobject {
	const char *name;
	struct kobject *parent;
	struct kset *kset;
	struct kernfs_node *sd;
};

struct kset {
	struct kobject kobj;
};

struct bus_type {
	const char *name;
};

struct class {
	const char *name;
};

struct device_driver {
	const char *name;
	const struct bus_type *bus;
};

struct iommu_group {
	struct kobject kobj;
	int id;
};

struct device {
	struct kobject kobj;
	struct device *parent;
	const struct bus_type *bus;
	const struct class *class;
	struct device_driver *driver;
	struct iommu_group *iommu_group;
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

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct mm_struct;

struct kvm {
	refcount_t users_count;
	struct mm_struct *mm;
	int userspace_pid;
};

struct kvm_vcpu {
	struct kvm *kvm;
};

struct kvm_device {
	struct kvm *kvm;
};

struct cdev {
	struct kobject kobj;
};

struct file_system_type {
	const char *name;
};

struct super_block {
	struct file_system_type *s_type;
};

struct inode {
	unsigned short i_mode;
	__u32 i_rdev;
	struct super_block *i_sb;
	struct cdev *i_cdev;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};

struct vfio_group {
	struct iommu_group *iommu_group;
	struct kvm *kvm;
};

struct vfio_device_ops {
	void (*request)(void *device, unsigned int count);
};

struct vfio_device {
	struct device *dev;
	const struct vfio_device_ops *ops;
	struct vfio_group *group;
	struct kvm *kvm;
	struct device device;
	unsigned int open_count;
	unsigned char iommufd_attached : 1;
};

struct iommufd_ctx {
	struct file *file;
};

struct vfio_device_file {
	struct vfio_device *device;
	_Bool access_granted;
	struct iommufd_ctx *iommufd;
	struct vfio_group *group;
};

struct fdtable {
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

union thread_union {
	unsigned long stack[1];
};

struct irq_stack {
	char stack[1];
};

struct task_struct {
	void *stack;
	unsigned int flags;
	struct mm_struct *mm;
	const struct cred *cred;
	int pid;
	int tgid;
	char comm[16];
	struct files_struct *files;
	struct css_set *cgroups;
	struct task_struct *group_leader;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((aligned(8)));

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* include/linux/sched.h: the task is on its way out of do_exit(). */
#define PF_EXITING 0x00000004

#endif
