// SPDX-License-Identifier: Apache-2.0

#include "vfio/iommufd.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

// include/uapi/linux/iommufd.h and vfio.h, which are newer than the headers of bookworm.
struct ioas_alloc {
	uint32_t size, flags, out_ioas_id;
};
struct ioas_map {
	uint32_t size, flags, ioas_id, reserved;
	uint64_t user_va, length, iova;
};
struct bind_iommufd {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t out_devid;
};
struct attach_pt {
	uint32_t argsz, flags, pt_id;
};
struct detach_pt {
	uint32_t argsz, flags;
};
enum { MAP_FIXED_IOVA = 1, MAP_WRITEABLE = 2, MAP_READABLE = 4 };

#define IOAS_ALLOC _IO(VFIO_TYPE, 0x81)
#define IOAS_MAP _IO(VFIO_TYPE, 0x85)
#define BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define ATTACH_PT _IO(VFIO_TYPE, VFIO_BASE + 19)
#define DETACH_PT _IO(VFIO_TYPE, VFIO_BASE + 20)

int iommufd_open(void)
{
	return open("/dev/iommu", O_RDWR | O_CLOEXEC);
}

int iommufd_ioas(int iommufd)
{
	struct ioas_alloc alloc = { .size = sizeof(alloc) };

	return ioctl(iommufd, IOAS_ALLOC, &alloc) < 0 ? -1 : (int)alloc.out_ioas_id;
}

int iommufd_map(int iommufd, uint32_t ioas, uint64_t iova, uint64_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ioas_map map = {
		.size = sizeof(map),
		.flags = MAP_FIXED_IOVA | MAP_WRITEABLE | MAP_READABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)memory,
		.length = bytes,
		.iova = iova,
	};

	return memory == MAP_FAILED ? -1 : ioctl(iommufd, IOAS_MAP, &map);
}

int cdev_open(const char *device)
{
	char pattern[PATH_MAX], path[PATH_MAX];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "/sys/bus/*/devices/%s/vfio-dev/vfio*", device);
	if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0) {
		errno = ENODEV;
		return -1;
	}
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
	return open(path, O_RDWR | O_CLOEXEC);
}

int cdev_bind(int cdev, int iommufd)
{
	struct bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };

	return ioctl(cdev, BIND_IOMMUFD, &bind);
}

int cdev_attach(int cdev, uint32_t pt)
{
	struct attach_pt attach = { .argsz = sizeof(attach), .pt_id = pt };

	return ioctl(cdev, ATTACH_PT, &attach);
}

int cdev_detach(int cdev)
{
	struct detach_pt detach = { .argsz = sizeof(detach) };

	return ioctl(cdev, DETACH_PT, &detach);
}
