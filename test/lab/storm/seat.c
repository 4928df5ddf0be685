// SPDX-License-Identifier: Apache-2.0

#include "storm/seat.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "vfio/iommufd.h"
#include "vfio/vfio.h"

static void end(struct seat *seat, struct totals *totals)
{
	if (seat->kvmvfio >= 0) {
		close(seat->kvmvfio);
		totals->puts++;
	}
	if (seat->container >= 0)
		close(seat->container);
	if (seat->iommufd >= 0)
		close(seat->iommufd);
	if (seat->vcpu >= 0)
		close(seat->vcpu);
	if (seat->vm >= 0) {
		close(seat->vm);
		totals->puts++;
		totals->vmEnds++;
	}
	free(seat);
}

static bool make_vm(struct seat *seat, struct totals *totals)
{
	seat->vm = vfio_vm_create();
	if (seat->vm < 0)
		return false;
	totals->vms++;
	seat->vcpu = vfio_vcpu_create(seat->vm, 0);
	if (seat->vcpu < 0)
		return false;
	totals->vcpus++;
	return true;
}

static bool make_iommufd(struct seat *seat)
{
	seat->iommufd = iommufd_open();
	if (seat->iommufd < 0)
		return false;
	int ioas = iommufd_ioas(seat->iommufd);
	seat->ioas = ioas;
	return ioas >= 0;
}

struct seat *seat_new(const struct options *options, struct totals *totals)
{
	struct seat *seat = malloc(sizeof(*seat));

	if (!seat)
		return NULL;
	*seat = (struct seat){ .vm = -1, .vcpu = -1, .kvmvfio = -1, .container = -1, .iommufd = -1 };
	bool done = !options->kvm || make_vm(seat, totals);
	if (done && options->open && options->cdev) {
		done = make_iommufd(seat);
	} else if (done && options->open) {
		seat->container = vfio_container_open();
		done = seat->container >= 0;
	}
	if (done && options->kvm && (options->open || options->loop)) {
		seat->kvmvfio = vfio_kvm_create(seat->vm);
		done = seat->kvmvfio >= 0;
		totals->references += done;
	}
	if (done)
		return seat;
	int error = errno;
	totals->vmErrors++;
	end(seat, totals);
	errno = error;
	return NULL;
}

void seat_retire(struct seat *seat, struct totals *totals)
{
	seat->retired = true;
	if (seat->users == 0)
		end(seat, totals);
}

void seat_leave(struct seat *seat, struct totals *totals)
{
	seat->users--;
	if (seat->retired && seat->users == 0)
		end(seat, totals);
}
