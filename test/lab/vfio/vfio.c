// SPDX-License-Identifier: Apache-2.0

#include "vfio/vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int vfio_vm_create(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		return -1;
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	int error = errno;
	close(kvm);
	errno = error;
	return vm;
}

int vfio_vcpu_create(int vm, unsigned long index)
{
	return ioctl(vm, KVM_CREATE_VCPU, index);
}

int vfio_kvm_create(int vm)
{
	struct kvm_create_device device = { .type = KVM_DEV_TYPE_VFIO };

	return ioctl(vm, KVM_CREATE_DEVICE, &device) < 0 ? -1 : (int)device.fd;
}

int vfio_kvm_change(int kvmvfio, int group, uint64_t attribute)
{
	int32_t fd = group;
	struct kvm_device_attr attr = {
		.group = KVM_DEV_VFIO_GROUP,
		.attr = attribute,
		.addr = (uintptr_t)&fd,
	};
	return ioctl(kvmvfio, KVM_SET_DEVICE_ATTR, &attr);
}

int vfio_container_open(void)
{
	return open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
}

int vfio_container_iommu(int container)
{
	return ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
}

static void *new_memory(uint64_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int map_memory(int container, void *memory, uint64_t iova, uint64_t bytes)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = bytes,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
}

int vfio_container_map(int container, uint64_t iova, uint64_t bytes)
{
	void *memory = new_memory(bytes);

	return memory == MAP_FAILED ? -1 : map_memory(container, memory, iova, bytes);
}

int vfio_container_loop(int container, uint64_t bytes, unsigned long times)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap), .size = bytes };
	struct timespec begin, end;
	void *memory = new_memory(bytes);

	if (memory == MAP_FAILED)
		return -1;
	memset(memory, 1, bytes);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (unsigned long i = 0; i < times; i++) {
		if (map_memory(container, memory, 0, bytes) < 0)
			return -1;
		unmap.size = bytes;
		if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) < 0)
			return -1;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	munmap(memory, bytes);
	return (end.tv_sec - begin.tv_sec) * 1000000 + (end.tv_nsec - begin.tv_nsec) / 1000;
}

static int group_of_device(const char *device, char target[static PATH_MAX])
{
	static const char *const buses[] = { "mdev", "pci" };
	char link[PATH_MAX];

	for (size_t i = 0; i < sizeof(buses) / sizeof(*buses); i++) {
		snprintf(link, sizeof(link), "/sys/bus/%s/devices/%s/iommu_group", buses[i], device);
		ssize_t length = readlink(link, target, PATH_MAX - 1);
		if (length > 0) {
			target[length] = '\0';
			return 0;
		}
	}
	errno = ENODEV;
	return -1;
}

int vfio_group_open(const char *name)
{
	char target[PATH_MAX], path[PATH_MAX + 16];
	const char *number = name;

	if (number[strspn(number, "0123456789")] != '\0') {
		if (group_of_device(name, target) < 0)
			return -1;
		number = strrchr(target, '/') + 1;
	}
	snprintf(path, sizeof(path), "/dev/vfio/%s", number);
	return open(path, O_RDWR | O_CLOEXEC);
}

int vfio_group_attach(int group, int container)
{
	return ioctl(group, VFIO_GROUP_SET_CONTAINER, &container);
}

int vfio_group_detach(int group)
{
	return ioctl(group, VFIO_GROUP_UNSET_CONTAINER);
}

int vfio_device_open(int group, const char *device)
{
	return ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device);
}
