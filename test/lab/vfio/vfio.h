/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that a VMM makes to /dev/kvm and /dev/vfio. All return a file descriptor or 0, or -1
 * with errno set.
 */

#ifndef LAB_VFIO_H
#define LAB_VFIO_H

#include <stdint.h>

int vfio_vm_create(void);
int vfio_vcpu_create(int vm, unsigned long index);
/* The kvm-vfio device, through which a VMM assigns VFIO groups to its VM. */
int vfio_kvm_create(int vm);
/* `attribute` is KVM_DEV_VFIO_GROUP_ADD or KVM_DEV_VFIO_GROUP_DEL. */
int vfio_kvm_change(int kvmvfio, int group, uint64_t attribute);

int vfio_container_open(void);
int vfio_container_iommu(int container);
/* Maps that many bytes of new memory at an address of the device's. */
int vfio_container_map(int container, uint64_t iova, uint64_t bytes);
/* Maps and unmaps them that often. Returns how long that took, in microseconds. */
int vfio_container_loop(int container, uint64_t bytes, unsigned long times);
/* The group is named by its number, or by a device in it: a uuid or a PCI address. */
int vfio_group_open(const char *name);
int vfio_group_attach(int group, int container);
int vfio_group_detach(int group);
int vfio_device_open(int group, const char *device);

#endif
