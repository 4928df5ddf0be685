/* SPDX-License-Identifier: Apache-2.0 */
/* A VM and its container, or iommufd context: what a VMM has before it opens a device. */

#ifndef LAB_STORM_SEAT_H
#define LAB_STORM_SEAT_H

#include "storm/storm.h"

struct seat {
	/* Descriptors, or -1. */
	int vm;
	int vcpu;
	int kvmvfio;
	int container;
	/* Instead of a container, an iommufd context, and the id of its address space. */
	int iommufd;
	uint32_t ioas;
	/* Groups in the container. */
	unsigned int groups;
	/* Devices that use it; a retired seat ends with the last one. */
	unsigned int users;
	bool retired;
};

/* NULL with errno set if the kernel refused. */
struct seat *seat_new(const struct options *options, struct totals *totals);
/* The seat takes no further devices. */
void seat_retire(struct seat *seat, struct totals *totals);
void seat_leave(struct seat *seat, struct totals *totals);

#endif
