/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's faults: one module parameter each, off by default. README.md lists the kernels on which
 * a fault exists, and its effect.
 */
#ifndef FAULTY_FAULTS_H
#define FAULTY_FAULTS_H

#include <linux/moduleparam.h>
#include <linux/wait_bit.h>

static int set_hold(const char *value, const struct kernel_param *param)
{
	int ret = param_set_bool(value, param);

	wake_up_var(param->arg);
	return ret;
}

static const struct kernel_param_ops hold_ops = {
	.set = set_hold,
	.get = param_get_bool,
};

/* Asleep all the time: of a thread that keeps waking up, the agent reads no stack. */
static void hold(bool *while_on)
{
	wait_var_event(while_on, !READ_ONCE(*while_on));
}

#define FAULT(name, mode, text)			\
	static bool name;			\
	module_param(name, bool, mode);		\
	MODULE_PARM_DESC(name, text)
/* While it is on, calls wait in hold(). */
#define HOLD(name, text)				\
	static bool name;				\
	module_param_cb(name, &hold_ops, &name, 0644);	\
	MODULE_PARM_DESC(name, text)
#define DELAY(name, text)			\
	static unsigned int name;		\
	module_param(name, uint, 0644);		\
	MODULE_PARM_DESC(name, text)

static unsigned int parents = 2;
module_param(parents, uint, 0444);
MODULE_PARM_DESC(parents, "Number of parent devices (default 2)");

FAULT(long_names, 0444, "The names of the parents are longer than 39 bytes, and begin alike");

/* Creating. */
DELAY(probe_ms, "A create takes that many milliseconds");
HOLD(hold_probe, "A create or a binding does not end before this is switched off");
FAULT(under_lock, 0644, "A create sleeps with the lock that all others need");
FAULT(fail_probe, 0644, "A create fails with EIO, after the device was set up");
FAULT(double_init, 0644, "A vfio_device is initialised twice");
FAULT(double_register, 0644, "A vfio_device is registered twice");
FAULT(no_register, 0644, "A vfio_device is initialised and never registered");

/* Opening. */
HOLD(hold_open, "An open does not end before this is switched off");
HOLD(hold_close, "A close does not end before this is switched off");
FAULT(needs_kvm, 0644, "An open without a VM fails with ESRCH");
FAULT(one_kvm, 0644, "An open for a VM that has one of these devices open fails with EEXIST");
FAULT(leak_kvm, 0644, "An open takes a reference on the VM that its close does not put");
FAULT(extra_put, 0644, "An open puts a reference on a VM that has none");
FAULT(notify_bad, 0644, "The group's notifier refuses a VM with NOTIFY_BAD");
FAULT(leak_use, 0644, "An open takes a reference on the registration that its close does not put");
HOLD(hold_memory, "An opener's exit, when it frees its memory, does not end before this is switched off");
FAULT(no_owner, 0444, "An open device does not keep the module from being unloaded");

/* Removing. */
HOLD(hold_remove, "A remove does not end before this is switched off");
FAULT(request, 0644, "Devices created from now on are requested back from their users, and ignore it");
FAULT(late_unregister, 0644, "Devices created from now on are unregistered after the bus has unbound them");
FAULT(early_put, 0644, "A vfio_device is put while its remove waits for users");
FAULT(leak_vdev, 0644, "A reference on the vfio_device is not put");
FAULT(wait_release, 0644, "A remove waits until the vfio_device is released");
FAULT(leak_dev, 0644, "A reference on the mdev is not put");
FAULT(leak_instance, 0644, "The instance of a removed device stays taken");
FAULT(driver_first, 0644, "The mdev driver is unregistered before its parents");

#endif
