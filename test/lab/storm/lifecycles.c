// SPDX-License-Identifier: Apache-2.0
//
// Lifecycles of mediated devices: create, optionally open as a VMM does, close, remove.

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "storm/seat.h"
#include "vfio/iommufd.h"
#include "vfio/vfio.h"

enum { UUID_SIZE = 37, PATH_SIZE = 128, LINE_SIZE = 512 };

struct mdev {
	char uuid[UUID_SIZE];
	const struct type *type;
	bool created, removed, held;
	/* The operation that failed first, or NULL, and its errno. */
	const char *failed;
	int error;
	unsigned int opens, vms;
	/* While it is open. */
	struct seat *seat;
	int group, device;
	bool attached, added;
	struct mdev *outer;
};

static void make_uuid(char uuid[static UUID_SIZE])
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		abort();
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(uuid, UUID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		 b[13], b[14], b[15]);
}

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t written = write(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return written < 0 ? -1 : 0;
}

static void note_failure(struct mdev *mdev, const char *operation)
{
	if (!mdev->failed) {
		mdev->error = errno;
		mdev->failed = operation;
	}
}

static bool do_open(struct mdev *mdev, const struct options *options)
{
	struct seat *seat = mdev->seat;

	mdev->group = vfio_group_open(mdev->uuid);
	if (mdev->group < 0 || vfio_group_attach(mdev->group, seat->container) < 0)
		return false;
	mdev->attached = true;
	// A container has its IOMMU as long as there are groups in it.
	if (seat->groups++ == 0 && vfio_container_iommu(seat->container) < 0)
		return false;
	if (options->kvm) {
		if (vfio_kvm_change(seat->kvmvfio, mdev->group, KVM_DEV_VFIO_GROUP_ADD) < 0)
			return false;
		mdev->added = true;
	}
	mdev->device = vfio_device_open(mdev->group, mdev->uuid);
	return mdev->device >= 0;
}

static bool do_open_by_cdev(struct mdev *mdev, const struct options *options)
{
	struct seat *seat = mdev->seat;

	mdev->device = cdev_open(mdev->uuid);
	if (mdev->device < 0)
		return false;
	if (options->kvm) {
		if (vfio_kvm_change(seat->kvmvfio, mdev->device, KVM_DEV_VFIO_GROUP_ADD) < 0)
			return false;
		mdev->added = true;
	}
	return cdev_bind(mdev->device, seat->iommufd) >= 0 && cdev_attach(mdev->device, seat->ioas) == 0;
}

static void take_seat(struct mdev *mdev, struct worker *worker, struct seat **seat)
{
	struct totals *totals = worker->totals;
	uint64_t vms = totals->vms;

	if (!*seat) {
		*seat = seat_new(worker->options, totals);
		mdev->vms = totals->vms - vms;
	}
	if (!*seat) {
		note_failure(mdev, "vm");
		return;
	}
	mdev->seat = *seat;
	mdev->seat->users++;
	if (!worker->options->open)
		return;
	if (worker->options->cdev ? do_open_by_cdev(mdev, worker->options) :
				    do_open(mdev, worker->options)) {
		mdev->opens++;
		totals->opens++;
	} else {
		note_failure(mdev, "open");
		totals->openErrors++;
	}
}

static struct mdev *begin(struct worker *worker, const struct type *type, struct seat **seat)
{
	const struct options *options = worker->options;
	struct mdev *mdev = calloc(1, sizeof(*mdev));

	if (!mdev)
		abort();
	mdev->type = type;
	mdev->group = mdev->device = -1;
	make_uuid(mdev->uuid);
	if (write_to(type->create, mdev->uuid) < 0) {
		note_failure(mdev, "create");
		worker->totals->createErrors++;
		return mdev;
	}
	mdev->created = true;
	worker->totals->creates++;
	if (options->open || options->kvm)
		take_seat(mdev, worker, seat);
	return mdev;
}

static void leave_seat(struct mdev *mdev, struct totals *totals)
{
	// A cdev has to be taken from its VM while it is open, a group may be later.
	if (mdev->added && mdev->group < 0) {
		vfio_kvm_change(mdev->seat->kvmvfio, mdev->device, KVM_DEV_VFIO_GROUP_DEL);
		mdev->added = false;
	}
	if (mdev->device >= 0) {
		close(mdev->device);
		totals->closes++;
	}
	if (mdev->added)
		vfio_kvm_change(mdev->seat->kvmvfio, mdev->group, KVM_DEV_VFIO_GROUP_DEL);
	if (mdev->attached) {
		vfio_group_detach(mdev->group);
		mdev->seat->groups--;
	}
	if (mdev->group >= 0)
		close(mdev->group);
	seat_leave(mdev->seat, totals);
}

static void report(const struct mdev *mdev, int file)
{
	char line[LINE_SIZE], failure[64] = "";

	if (file < 0)
		return;
	if (mdev->failed)
		snprintf(failure, sizeof(failure), "\"failed\":\"%s\",\"errno\":\"%s\",", mdev->failed,
			 strerrorname_np(mdev->error));
	// In one piece, so that the lines of several workers do not mix.
	int length = snprintf(line, sizeof(line),
			      "{\"uuid\":\"%s\",\"parent\":\"%s\",\"type\":\"%s\",\"created\":%s,%s"
			      "\"opens\":%u,\"vms\":%u,\"held\":%s,\"removed\":%s,\"pid\":%d}\n",
			      mdev->uuid, mdev->type->parent, mdev->type->name,
			      mdev->created ? "true" : "false", failure, mdev->opens, mdev->vms,
			      mdev->held ? "true" : "false", mdev->removed ? "true" : "false", getpid());
	if (write(file, line, length) != length)
		perror("storm: report");
}

static void finish(struct mdev *mdev, struct worker *worker)
{
	char path[PATH_SIZE];

	if (mdev->seat)
		leave_seat(mdev, worker->totals);
	if (mdev->created) {
		snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/remove", mdev->uuid);
		if (write_to(path, "1") < 0) {
			note_failure(mdev, "remove");
			worker->totals->removeErrors++;
		} else {
			mdev->removed = true;
			worker->totals->removes++;
		}
	}
	mdev->held = false;
	report(mdev, worker->options->report);
	free(mdev);
}

// The newest first, so that a device is removed before the one that was created before it.
static void finish_all(struct mdev *newest, struct worker *worker)
{
	while (newest) {
		struct mdev *outer = newest->outer;
		finish(newest, worker);
		newest = outer;
	}
}

void run_lifecycles(struct worker *worker)
{
	const struct options *options = worker->options;
	struct mdev *kept = NULL;
	struct seat *seat = NULL;
	unsigned long next_type = worker->index, rounds = options->rounds;

	for (unsigned long round = 0; rounds == 0 || round < rounds; round++) {
		if (storm_stopping())
			break;
		if (rounds == 0 && options->keep > 0 && storm_finishing())
			rounds = round + options->keep;
		bool keep = rounds > 0 && rounds - round <= options->keep;
		struct mdev *newest = keep ? kept : NULL;
		for (int i = 0; i <= options->nested; i++) {
			const struct type *type = &options->types[next_type++ % options->type_count];
			struct mdev *mdev = begin(worker, type, &seat);
			mdev->outer = newest;
			newest = mdev;
		}
		if (keep)
			kept = newest;
		else
			finish_all(newest, worker);
		if (seat && (round + 1) % options->vms_every == 0) {
			seat_retire(seat, worker->totals);
			seat = NULL;
		}
		usleep(1000 * options->rest_ms);
	}
	if (seat)
		seat_retire(seat, worker->totals);
	for (struct mdev *mdev = kept; mdev; mdev = mdev->outer) {
		mdev->held = mdev->created;
		report(mdev, options->report);
	}
	if (options->keep > 0)
		storm_hold();
	finish_all(kept, worker);
}
