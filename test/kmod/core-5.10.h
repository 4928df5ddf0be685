/* SPDX-License-Identifier: GPL-2.0 */
/* The core up to Linux 5.10: a parent has callbacks, and vfio_mdev creates the vfio_device. */
#include <linux/notifier.h>
#include <linux/string.h>

struct registration {
};

struct faulty {
	struct mdev_device *mdev;
	struct faulty_parent *parent;
	const struct kind *kind;
	struct use use;
	/* Guards the count. */
	struct mutex lock;
	unsigned int opens;
	struct notifier_block notifier;
	struct kvm *kvm;
};

/* The name of a type's directory is that of its parent's driver, which may have dashes, a dash, and its own. */
static const struct kind *kind_of(struct kobject *type)
{
	const char *name = strrchr(type->name, '-') + 1;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(name, kinds[i].name) == 0)
			return &kinds[i];
	return NULL;
}

static int create(struct kobject *type, struct mdev_device *mdev)
{
	struct faulty_parent *parent = dev_get_drvdata(mdev_parent_dev(mdev));
	const struct kind *kind = kind_of(type);
	struct faulty *faulty;
	int ret = take_instances(parent, kind);

	if (ret)
		return ret;
	if (leak_dev)
		leak_device(mdev_dev(mdev));
	faulty = kzalloc(sizeof(*faulty), GFP_KERNEL);
	if (!faulty || fail_probe) {
		kfree(faulty);
		return_instances(parent, kind);
		return fail_probe ? -EIO : -ENOMEM;
	}
	mutex_init(&faulty->lock);
	faulty->mdev = mdev;
	faulty->parent = parent;
	faulty->kind = kind;
	mdev_set_drvdata(mdev, faulty);
	return 0;
}

static int remove(struct mdev_device *mdev)
{
	struct faulty *faulty = mdev_get_drvdata(mdev);

	hold(&hold_remove);
	return_instances(faulty->parent, faulty->kind);
	kfree(faulty);
	return 0;
}

/* Called whenever the group gets a VM, and at registration when it has one. */
static int notice_kvm(struct notifier_block *notifier, unsigned long action, void *kvm)
{
	struct faulty *faulty = container_of(notifier, struct faulty, notifier);

	if (action == VFIO_GROUP_NOTIFY_SET_KVM)
		faulty->kvm = kvm;
	return notify_bad && kvm ? NOTIFY_BAD : NOTIFY_OK;
}

static int first_open(struct faulty *faulty)
{
	unsigned long events = VFIO_GROUP_NOTIFY_SET_KVM;
	struct device *dev = mdev_dev(faulty->mdev);
	int ret;

	faulty->kvm = NULL;
	faulty->notifier.notifier_call = notice_kvm;
	ret = vfio_register_notifier(dev, VFIO_GROUP_NOTIFY, &events, &faulty->notifier);
	if (ret)
		return ret;
	ret = begin_use(&faulty->use, faulty->kvm);
	if (ret)
		vfio_unregister_notifier(dev, VFIO_GROUP_NOTIFY, &faulty->notifier);
	return ret;
}

static void last_close(struct faulty *faulty)
{
	end_use(&faulty->use);
	vfio_unregister_notifier(mdev_dev(faulty->mdev), VFIO_GROUP_NOTIFY, &faulty->notifier);
}

static int open(struct mdev_device *mdev)
{
	struct faulty *faulty = mdev_get_drvdata(mdev);
	int ret = 0;

	/* The core keeps only vfio_mdev for each device that is open. */
	if (!no_owner && !try_module_get(THIS_MODULE))
		return -ENODEV;
	mutex_lock(&faulty->lock);
	if (faulty->opens == 0)
		ret = first_open(faulty);
	if (!ret)
		faulty->opens++;
	mutex_unlock(&faulty->lock);
	if (ret && !no_owner)
		module_put(THIS_MODULE);
	return ret;
}

static void release(struct mdev_device *mdev)
{
	struct faulty *faulty = mdev_get_drvdata(mdev);

	mutex_lock(&faulty->lock);
	if (--faulty->opens == 0)
		last_close(faulty);
	mutex_unlock(&faulty->lock);
	if (!no_owner)
		module_put(THIS_MODULE);
}

static ssize_t available_instances_show(struct kobject *type, struct device *dev, char *text)
{
	return sprintf(text, "%u\n", available(dev_get_drvdata(dev), kind_of(type)));
}

static ssize_t device_api_show(struct kobject *type, struct device *dev, char *text)
{
	return sprintf(text, "%s\n", VFIO_DEVICE_API_PCI_STRING);
}

static MDEV_TYPE_ATTR_RO(available_instances);
static MDEV_TYPE_ATTR_RO(device_api);

static struct attribute *type_attributes[] = {
	&mdev_type_attr_available_instances.attr,
	&mdev_type_attr_device_api.attr,
	NULL,
};

static struct attribute_group type_groups[ARRAY_SIZE(kinds)];
static struct attribute_group *all_type_groups[ARRAY_SIZE(kinds) + 1];

static const struct mdev_parent_ops parent_ops = {
	.owner = THIS_MODULE,
	.supported_type_groups = all_type_groups,
	.create = create,
	.remove = remove,
	.open = open,
	.release = release,
};

/* Parents have the callbacks, so there is no driver to register: only their types. */
static int register_driver(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		type_groups[i].name = kinds[i].name;
		type_groups[i].attrs = type_attributes;
		all_type_groups[i] = &type_groups[i];
	}
	return 0;
}

static void unregister_driver(void)
{
}

static int register_parent(struct registration *registration, struct device *dev)
{
	return mdev_register_device(dev, &parent_ops);
}

static void unregister_parent(struct registration *registration, struct device *dev)
{
	mdev_unregister_device(dev);
}

typedef int remove_result;
#define REMOVED 0
