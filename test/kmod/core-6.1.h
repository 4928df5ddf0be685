/* SPDX-License-Identifier: GPL-2.0 */
/* The core since Linux 6.1: an mdev driver probes mdevs, and initialises their vfio_device itself. */
#include <linux/completion.h>
#include <linux/pci.h>

struct registration {
	struct mdev_parent parent;
	struct mdev_type types[ARRAY_SIZE(kinds)];
	struct mdev_type *all[ARRAY_SIZE(kinds)];
};

static inline struct faulty_parent *parent_of(struct registration *registration);

struct faulty {
	struct vfio_device vdev;
	struct faulty_parent *parent;
	const struct kind *kind;
	struct use use;
	bool is_registered;
	/* A second vfio_device of the device. */
	struct faulty *second;
	/* Completed at its release, if a remove waits for that. */
	struct completion *released;
};

static struct faulty *faulty_of(struct vfio_device *vdev)
{
	return container_of(vdev, struct faulty, vdev);
}

/* As vfio_device_put_registration(), which drivers may not call. */
static void put_use(void *object)
{
	struct vfio_device *vdev = object;

	if (refcount_dec_and_test(&vdev->refcount))
		complete(&vdev->comp);
}

static int open_device(struct vfio_device *vdev)
{
	if (leak_use) {
		refcount_inc(&vdev->refcount);
		leak(put_use, vdev);
	}
	return begin_use(&faulty_of(vdev)->use, vdev->kvm);
}

static void close_device(struct vfio_device *vdev)
{
	end_use(&faulty_of(vdev)->use);
}

static void ignore_request(struct vfio_device *vdev, unsigned int count)
{
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
/* The vfio_device that is put too early, one at a time, and the end of its unregistration. */
static struct faulty *hasty;
static DECLARE_COMPLETION(unregistered);

static void put_early(struct work_struct *work)
{
	vfio_put_device(&hasty->vdev);
}

static DECLARE_WORK(early, put_early);

/* The device is off the bus now, so this puts the last reference. */
static void put_on_request(struct vfio_device *vdev, unsigned int count)
{
	if (count > 0)
		return;
	hasty = faulty_of(vdev);
	schedule_work(&early);
}

/* The vfio_device is freed when its release returns, so the release waits until nobody uses it. */
static void wait_before_return(struct faulty *faulty)
{
	if (faulty == hasty)
		wait_for_completion(&unregistered);
}

/* @return whether it has been freed */
static bool end_early(struct faulty *faulty)
{
	if (faulty != hasty)
		return false;
	complete(&unregistered);
	flush_work(&early);
	hasty = NULL;
	return true;
}

/* What all devices of a set share exists as long as one of them. */
static void share_set(struct faulty *faulty)
{
	vfio_assign_device_set(&faulty->vdev, faulty->parent);
}
#endif

static void release(struct vfio_device *vdev)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	wait_before_return(faulty_of(vdev));
#endif
	if (faulty_of(vdev)->released)
		complete(faulty_of(vdev)->released);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	vfio_free_device(vdev);
#endif
}

static const struct vfio_device_ops plain_ops = {
	.name = NAME,
	.open_device = open_device,
	.close_device = close_device,
	.release = release,
};

static const struct vfio_device_ops asking_ops = {
	.name = NAME,
	.open_device = open_device,
	.close_device = close_device,
	.release = release,
	.request = ignore_request,
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
static const struct vfio_device_ops hasty_ops = {
	.name = NAME,
	.open_device = open_device,
	.close_device = close_device,
	.release = release,
	.request = put_on_request,
};
#endif

static const struct vfio_device_ops *ops_for_faults(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	if (early_put)
		return &hasty_ops;
#endif
	return request ? &asking_ops : &plain_ops;
}

static void put_vdev(void *vdev)
{
	vfio_put_device(vdev);
}

static void release_reference(void *data)
{
	DECLARE_COMPLETION_ONSTACK(released);
	struct faulty *faulty = data;
	bool waits = wait_release;

	if (faulty->is_registered)
		vfio_unregister_group_dev(&faulty->vdev);
	return_instances(faulty->parent, faulty->kind);
	if (!IS_ERR_OR_NULL(faulty->second))
		vfio_put_device(&faulty->second->vdev);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	if (end_early(faulty))
		return;
#endif
	if (waits)
		faulty->released = &released;
	vfio_put_device(&faulty->vdev);
	if (waits)
		wait_for_completion(&released);
}

static int set_up(struct faulty *faulty)
{
	struct vfio_device *vdev = &faulty->vdev;
	int ret = 0;

	if (leak_vdev) {
		get_device(&vdev->device);
		leak(put_vdev, vdev);
	}
	if (leak_dev)
		leak_device(vdev->dev);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	if (early_put)
		share_set(faulty);
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	if (double_init)
		ret = vfio_init_device(vdev, vdev->dev, vdev->ops);
#else
	if (double_init) {
		faulty->second = vfio_alloc_device(faulty, vdev, vdev->dev, vdev->ops);
		ret = PTR_ERR_OR_ZERO(faulty->second);
	}
#endif
	if (fail_probe)
		ret = -EIO;
	if (ret || no_register)
		return ret;
	ret = vfio_register_emulated_iommu_dev(vdev);
	faulty->is_registered = !ret;
	if (!ret && double_register)
		(void)vfio_register_emulated_iommu_dev(vdev);
	return ret;
}

static int probe(struct mdev_device *mdev)
{
	struct registration *registration =
		container_of(mdev->type->parent, struct registration, parent);
	struct faulty_parent *parent = parent_of(registration);
	const struct kind *kind = &kinds[mdev->type - registration->types];
	struct faulty *faulty;
	int ret = take_instances(parent, kind);

	if (ret)
		return ret;
	faulty = vfio_alloc_device(faulty, vdev, &mdev->dev, ops_for_faults());
	if (IS_ERR(faulty)) {
		return_instances(parent, kind);
		return PTR_ERR(faulty);
	}
	faulty->parent = parent;
	faulty->kind = kind;
	ret = set_up(faulty);
	if (!ret && late_unregister)
		ret = devm_add_action(&mdev->dev, release_reference, faulty);
	else if (!ret)
		dev_set_drvdata(&mdev->dev, faulty);
	if (ret)
		release_reference(faulty);
	return ret;
}

static void remove(struct mdev_device *mdev)
{
	struct faulty *faulty = dev_get_drvdata(&mdev->dev);

	hold(&hold_remove);
	/* Without this call devres unregisters it, which happens after the bus has unbound it. */
	if (faulty)
		release_reference(faulty);
}

static unsigned int get_available(struct mdev_type *type)
{
	struct registration *registration = container_of(type->parent, struct registration, parent);

	return available(parent_of(registration), &kinds[type - registration->types]);
}

static struct mdev_driver mdev_driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.probe = probe,
	.remove = remove,
	.get_available = get_available,
	.driver.name = NAME,
};

/* A PCI device that user space binds to the driver by a driver_override. Nobody can open it. */
struct passed_through {
	struct vfio_device vdev;
};

static int init_passed_through(struct vfio_device *vdev)
{
	hold(&hold_probe);
	return 0;
}

static void release_passed_through(struct vfio_device *vdev)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	vfio_free_device(vdev);
#endif
}

static const struct vfio_device_ops pci_ops = {
	.name = NAME,
	.init = init_passed_through,
	.release = release_passed_through,
};

static int pci_probe(struct pci_dev *pci, const struct pci_device_id *id)
{
	struct passed_through *device = vfio_alloc_device(passed_through, vdev, &pci->dev, &pci_ops);
	int ret;

	if (IS_ERR(device))
		return PTR_ERR(device);
	ret = vfio_register_group_dev(&device->vdev);
	if (ret)
		vfio_put_device(&device->vdev);
	else
		pci_set_drvdata(pci, device);
	return ret;
}

static void pci_remove(struct pci_dev *pci)
{
	struct passed_through *device = pci_get_drvdata(pci);

	vfio_unregister_group_dev(&device->vdev);
	vfio_put_device(&device->vdev);
}

static const struct pci_device_id any_by_override[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(PCI_ANY_ID, PCI_ANY_ID) },
	{}
};

static struct pci_driver pci_driver = {
	.name = NAME,
	.id_table = any_by_override,
	.probe = pci_probe,
	.remove = pci_remove,
	.driver_managed_dma = true,
};

static int register_driver(void)
{
	int ret;

	/* The core gets a reference on it for each device that is open. */
	if (!no_owner)
		mdev_driver.driver.owner = THIS_MODULE;
	ret = mdev_register_driver(&mdev_driver);
	if (ret)
		return ret;
	ret = pci_register_driver(&pci_driver);
	if (ret)
		mdev_unregister_driver(&mdev_driver);
	return ret;
}

static void unregister_driver(void)
{
	pci_unregister_driver(&pci_driver);
	mdev_unregister_driver(&mdev_driver);
}

static int register_parent(struct registration *registration, struct device *dev)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		registration->types[i].sysfs_name = kinds[i].name;
		registration->types[i].pretty_name = kinds[i].name;
		registration->all[i] = &registration->types[i];
	}
	return mdev_register_parent(&registration->parent, dev, &mdev_driver, registration->all,
				    ARRAY_SIZE(kinds));
}

static void unregister_parent(struct registration *registration, struct device *dev)
{
	mdev_unregister_parent(&registration->parent);
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
typedef int remove_result;
#define REMOVED 0
#else
typedef void remove_result;
#define REMOVED
#endif
