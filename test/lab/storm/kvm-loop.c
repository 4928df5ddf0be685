// SPDX-License-Identifier: Apache-2.0
//
// Takes and puts references to VMs as fast as possible, without any device.

#include <dirent.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <unistd.h>

#include "storm/seat.h"
#include "vfio/vfio.h"

enum { PATH_SIZE = 512 };

// An open file of a VM's statistics in debugfs holds a reference on the VM, in all versions of the
// kernel, and is closed at once; a kvm-vfio waits for RCU when it is closed.
static int open_statistics(int vm)
{
	static char path[PATH_SIZE];
	static int vm_of_path = -1;

	if (vm_of_path != vm) {
		int length = snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d", getpid(), vm);
		DIR *directory = opendir(path);
		struct dirent *entry = NULL;
		if (!directory)
			return -1;
		while ((entry = readdir(directory)) && entry->d_type != DT_REG)
			;
		if (entry)
			snprintf(path + length, sizeof(path) - length, "/%s", entry->d_name);
		closedir(directory);
		vm_of_path = vm;
	}
	return open(path, O_RDONLY | O_CLOEXEC);
}

static struct seat *start_vm(const struct options *options, struct totals *totals)
{
	struct seat *seat = seat_new(options, totals);

	if (seat) {
		// The kernel refuses this, because there is no such group.
		vfio_kvm_change(seat->kvmvfio, -1, KVM_DEV_VFIO_GROUP_ADD);
		vfio_kvm_change(seat->kvmvfio, -1, KVM_DEV_VFIO_GROUP_DEL);
	}
	return seat;
}

static void take_and_put(int vm, struct totals *totals)
{
	int reference = open_statistics(vm);

	if (reference < 0) {
		totals->referenceErrors++;
		return;
	}
	totals->references++;
	close(reference);
	totals->puts++;
}

void run_kvm_loop(struct worker *worker)
{
	const struct options *options = worker->options;
	struct totals *totals = worker->totals;
	struct seat *seat = NULL;

	for (unsigned long round = 0; options->rounds == 0 || round < options->rounds; round++) {
		if (storm_stopping())
			break;
		if (!seat)
			seat = start_vm(options, totals);
		if (seat)
			take_and_put(seat->vm, totals);
		if (seat && (round + 1) % options->vms_every == 0) {
			seat_retire(seat, totals);
			seat = NULL;
		}
	}
	if (seat)
		seat_retire(seat, totals);
}
