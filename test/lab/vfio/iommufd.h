/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that a VMM makes to /dev/iommu and to the cdev of a device, instead of those to its group
 * and a container. All return a file descriptor, an id or 0, or -1 with errno set.
 */

#ifndef LAB_IOMMUFD_H
#define LAB_IOMMUFD_H

#include <stdint.h>

int iommufd_open(void);
/* Makes an address space (IOAS) and returns its id. */
int iommufd_ioas(int iommufd);
/* Maps that many bytes of new memory at an address of the address space. */
int iommufd_map(int iommufd, uint32_t ioas, uint64_t iova, uint64_t bytes);

/* The device is named by its uuid or its PCI address. */
int cdev_open(const char *device);
int cdev_bind(int cdev, int iommufd);
/* `pt` is the id of an address space or of a page table. */
int cdev_attach(int cdev, uint32_t pt);
int cdev_detach(int cdev);

#endif
