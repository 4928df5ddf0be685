// SPDX-License-Identifier: GPL-2.0
/*
 * A driver of mediated devices without a function, on parents without hardware, with faults that are
 * switched on one by one. Without any it is a correct driver.
 *
 * A fault violates an order, but does not corrupt memory: a write to `put` puts what is leaked, and
 * what leaked objects refer to exists as long as the module.
 */
#include <linux/delay.h>
#include <linux/kvm_host.h>
#include <linux/list.h>
#include <linux/mdev.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/vfio.h>

#include "faults.h"

#define NAME "faulty"
#define LONG_NAME NAME "-parent-with-a-name-of-more-than-39-bytes"

enum { MAX_PARENTS = 64, INSTANCES = 16 };

/* A type of device: how many of its parent's instances one takes. */
struct kind {
	const char *name;
	unsigned int instances;
};

static const struct kind kinds[] = {
	{ .name = "single", .instances = 1 },
	{ .name = "double", .instances = 2 },
};

struct faulty_parent;

/* A device that is open. */
struct use {
	struct list_head entry;
	struct kvm *kvm;
	/* Of the opener's memory, if it is watched. */
	struct mmu_notifier notifier;
	bool is_watched;
};

/* A reference that was not put. */
struct leak {
	struct list_head entry;
	void (*put)(void *object);
	void *object;
};

/* Guards the lists and the instances of all parents. */
static DEFINE_MUTEX(state);
static LIST_HEAD(uses);
static LIST_HEAD(leaks);

static int take_instances(struct faulty_parent *parent, const struct kind *kind);
static void return_instances(struct faulty_parent *parent, const struct kind *kind);
static unsigned int available(struct faulty_parent *parent, const struct kind *kind);
static int begin_use(struct use *use, struct kvm *kvm);
static void end_use(struct use *use);
static void leak(void (*put)(void *object), void *object);
static void leak_device(struct device *dev);

/* Adapts this driver to the core: devices, their callbacks, and the registration of parents. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#include "core-5.10.h"
#else
#include "core-6.1.h"
#endif

struct faulty_parent {
	/* Types refer to it, and leaked devices to their types. */
	struct registration registration;
	struct list_head entry;
	unsigned int free;
};

/* Every parent that ever registered. */
static LIST_HEAD(known);

static inline struct faulty_parent *parent_of(struct registration *registration)
{
	return container_of(registration, struct faulty_parent, registration);
}

static void leak(void (*put)(void *object), void *object)
{
	struct leak *one = kmalloc(sizeof(*one), GFP_KERNEL | __GFP_NOFAIL);

	*one = (struct leak){ .put = put, .object = object };
	mutex_lock(&state);
	list_add_tail(&one->entry, &leaks);
	mutex_unlock(&state);
}

static void put_leaks(void)
{
	struct leak *one, *next;
	LIST_HEAD(all);

	mutex_lock(&state);
	list_splice_init(&leaks, &all);
	mutex_unlock(&state);
	list_for_each_entry_safe(one, next, &all, entry) {
		one->put(one->object);
		kfree(one);
	}
}

static int store_put(const char *value, const struct kernel_param *param)
{
	put_leaks();
	return 0;
}

static const struct kernel_param_ops put_ops = { .set = store_put };
module_param_cb(put, &put_ops, NULL, 0200);
MODULE_PARM_DESC(put, "Write anything to put all leaked references");

static void put_dev(void *dev)
{
	put_device(dev);
}

static void leak_device(struct device *dev)
{
	leak(put_dev, get_device(dev));
}

static void put_kvm(void *kvm)
{
	kvm_put_kvm(kvm);
}

static void put_place(void *object)
{
	struct faulty_parent *parent = object;

	mutex_lock(&state);
	parent->free++;
	mutex_unlock(&state);
}

/* @return 0, or -ENOSPC when the parent has not that many left */
static int take_instances(struct faulty_parent *parent, const struct kind *kind)
{
	static DEFINE_MUTEX(setup);
	bool is_serial = under_lock;
	int ret = -ENOSPC;

	if (is_serial)
		mutex_lock(&setup);
	if (probe_ms)
		msleep(probe_ms);
	hold(&hold_probe);
	if (is_serial)
		mutex_unlock(&setup);
	mutex_lock(&state);
	if (parent->free >= kind->instances) {
		parent->free -= kind->instances;
		ret = 0;
	}
	mutex_unlock(&state);
	return ret;
}

static void return_instances(struct faulty_parent *parent, const struct kind *kind)
{
	unsigned int i;

	for (i = 0; i < kind->instances; i++) {
		if (leak_instance)
			leak(put_place, parent);
		else
			put_place(parent);
	}
}

static unsigned int available(struct faulty_parent *parent, const struct kind *kind)
{
	return READ_ONCE(parent->free) / kind->instances;
}

/*
 * Puts a reference as if all were gone already. The right count is restored, so nothing in use is
 * freed; until then only the caller, which has the VM, may use it.
 */
static void put_once_too_often(struct kvm *kvm)
{
	unsigned int users = refcount_read(&kvm->users_count);

	refcount_set(&kvm->users_count, 0);
	kvm_put_kvm(kvm);
	refcount_set(&kvm->users_count, users);
}

/*
 * The opener exits, and is in a read section that the destruction of every VM waits for, because KVM watches
 * memory as well.
 */
static void memory_released(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	hold(&hold_memory);
}

static const struct mmu_notifier_ops memory_ops = { .release = memory_released };

/* The first open of a device. */
static int begin_use(struct use *use, struct kvm *kvm)
{
	struct use *other;
	int ret = needs_kvm && !kvm ? -ESRCH : 0;

	hold(&hold_open);
	mutex_lock(&state);
	list_for_each_entry(other, &uses, entry)
		if (one_kvm && kvm && other->kvm == kvm)
			ret = -EEXIST;
	if (!ret) {
		use->kvm = kvm;
		list_add(&use->entry, &uses);
	}
	mutex_unlock(&state);
	if (!ret && leak_kvm && kvm) {
		kvm_get_kvm(kvm);
		leak(put_kvm, kvm);
	}
	if (!ret && extra_put && kvm)
		put_once_too_often(kvm);
	if (!ret && hold_memory) {
		use->notifier.ops = &memory_ops;
		use->is_watched = mmu_notifier_register(&use->notifier, current->mm) == 0;
	}
	return ret;
}

/* The last close. */
static void end_use(struct use *use)
{
	hold(&hold_close);
	if (use->is_watched)
		mmu_notifier_unregister(&use->notifier, use->notifier.mm);
	use->is_watched = false;
	mutex_lock(&state);
	list_del(&use->entry);
	use->kvm = NULL;
	mutex_unlock(&state);
}

static int parent_probe(struct platform_device *device)
{
	struct faulty_parent *parent = kzalloc(sizeof(*parent), GFP_KERNEL);

	if (!parent)
		return -ENOMEM;
	parent->free = INSTANCES;
	platform_set_drvdata(device, parent);
	mutex_lock(&state);
	list_add(&parent->entry, &known);
	mutex_unlock(&state);
	return register_parent(&parent->registration, &device->dev);
}

static remove_result parent_remove(struct platform_device *device)
{
	struct faulty_parent *parent = platform_get_drvdata(device);

	unregister_parent(&parent->registration, &device->dev);
	return REMOVED;
}

static struct platform_driver parent_driver = {
	.probe = parent_probe,
	.remove = parent_remove,
	.driver.name = NAME,
};

static struct platform_device *parent_devices[MAX_PARENTS];

static void free_parents(void)
{
	struct faulty_parent *parent, *next;
	unsigned int i;

	for (i = 0; i < MAX_PARENTS; i++)
		if (!IS_ERR_OR_NULL(parent_devices[i]))
			platform_device_unregister(parent_devices[i]);
	put_leaks();
	list_for_each_entry_safe(parent, next, &known, entry)
		kfree(parent);
}

static int __init faulty_init(void)
{
	unsigned int i;
	int ret;

	if (parents > MAX_PARENTS)
		return -EINVAL;
	ret = register_driver();
	if (ret)
		return ret;
	if (long_names)
		parent_driver.driver.name = LONG_NAME;
	ret = platform_driver_register(&parent_driver);
	for (i = 0; !ret && i < parents; i++) {
		parent_devices[i] = platform_device_register_simple(parent_driver.driver.name, i, NULL, 0);
		ret = PTR_ERR_OR_ZERO(parent_devices[i]);
	}
	if (!ret)
		return 0;
	free_parents();
	platform_driver_unregister(&parent_driver);
	unregister_driver();
	return ret;
}

static void __exit faulty_exit(void)
{
	bool is_early = driver_first;

	if (is_early)
		unregister_driver();
	free_parents();
	platform_driver_unregister(&parent_driver);
	if (!is_early)
		unregister_driver();
}

module_init(faulty_init);
module_exit(faulty_exit);

MODULE_DESCRIPTION("Mediated devices with faults to be switched on, for tests");
MODULE_LICENSE("GPL");
