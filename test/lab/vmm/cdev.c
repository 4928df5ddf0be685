// SPDX-License-Identifier: Apache-2.0

#include "vmm/cdev.h"

#include <stdint.h>
#include <stdlib.h>

#include "vfio/iommufd.h"
#include "vmm/things.h"

int vmm_iommufd_open(char **arg)
{
	return thing_keep(arg[0], iommufd_open());
}

int vmm_iommufd_ioas(char **arg)
{
	int iommufd = thing_fd(arg[0]);

	return iommufd < 0 ? -1 : iommufd_ioas(iommufd);
}

int vmm_iommufd_map(char **arg)
{
	int iommufd = thing_fd(arg[0]);
	uint32_t ioas = strtoul(arg[1], NULL, 0);
	uint64_t iova = strtoull(arg[2], NULL, 0), bytes = strtoull(arg[3], NULL, 0);

	return iommufd < 0 ? -1 : iommufd_map(iommufd, ioas, iova, bytes);
}

int vmm_cdev_open(char **arg)
{
	return thing_keep(arg[0], cdev_open(arg[1]));
}

int vmm_cdev_bind(char **arg)
{
	int cdev = thing_fd(arg[0]), iommufd = thing_fd(arg[1]);

	return cdev < 0 || iommufd < 0 ? -1 : cdev_bind(cdev, iommufd);
}

int vmm_cdev_attach(char **arg)
{
	int cdev = thing_fd(arg[0]);

	return cdev < 0 ? -1 : cdev_attach(cdev, strtoul(arg[1], NULL, 0));
}

int vmm_cdev_detach(char **arg)
{
	int cdev = thing_fd(arg[0]);

	return cdev < 0 ? -1 : cdev_detach(cdev);
}
