// SPDX-License-Identifier: GPL-2.0
/*
 * Makes the kernel claim another release until it is booted again. What decides by the number of a kernel, and
 * not by what it has, is wrong from then on. Programs that were started before keep what they have read.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/utsname.h>

static char release[__NEW_UTS_LEN + 1];
module_param_string(release, release, sizeof(release), 0444);
MODULE_PARM_DESC(release, "what uname -r is to print");

static int __init release_init(void)
{
	if (!release[0])
		return -EINVAL;
	/* uts_sem is not exported; nothing else writes these names in the lab. */
	strscpy(init_uts_ns.name.release, release, sizeof(init_uts_ns.name.release));
	return 0;
}

static void __exit release_exit(void)
{
}

module_init(release_init);
module_exit(release_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("claims another kernel release");
