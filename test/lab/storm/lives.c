// SPDX-License-Identifier: Apache-2.0
//
// Lives of mediated devices: create, perhaps open as a VMM does, close, remove.

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "storm/seat.h"
#include "vfio/vfio.h"

enum { UUID_SIZE = 37, PATH_SIZE = 128, LINE_SIZE = 512 };

struct life {
	char uuid[UUID_SIZE];
	const struct type *type;
	bool created, removed, held;
	/* The act that failed first, or NULL, and its errno. */
	const char *failed;
	int error;
	unsigned int opens, vms;
	/* While it is open. */
	struct seat *seat;
	int group, device;
	bool attached, added;
	struct life *outer;
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

static void note_failure(struct life *life, const char *act)
{
	if (!life->failed) {
		life->error = errno;
		life->failed = act;
	}
}

static bool do_open(struct life *life, const struct options *options)
{
	struct seat *seat = life->seat;

	life->group = vfio_group_open(life->uuid);
	if (life->group < 0 || vfio_group_attach(life->group, seat->container) < 0)
		return false;
	life->attached = true;
	// A container has its IOMMU as long as there are groups in it.
	if (seat->groups++ == 0 && vfio_container_iommu(seat->container) < 0)
		return false;
	if (options->kvm) {
		if (vfio_kvm_change(seat->kvmvfio, life->group, KVM_DEV_VFIO_GROUP_ADD) < 0)
			return false;
		life->added = true;
	}
	life->device = vfio_device_open(life->group, life->uuid);
	return life->device >= 0;
}

static void take_seat(struct life *life, struct worker *worker, struct seat **seat)
{
	struct totals *totals = worker->totals;
	uint64_t vms = totals->vms;

	if (!*seat) {
		*seat = seat_new(worker->options, totals);
		life->vms = totals->vms - vms;
	}
	if (!*seat) {
		note_failure(life, "vm");
		return;
	}
	life->seat = *seat;
	life->seat->users++;
	if (!worker->options->open)
		return;
	if (do_open(life, worker->options)) {
		life->opens++;
		totals->opens++;
	} else {
		note_failure(life, "open");
		totals->openErrors++;
	}
}

static struct life *begin(struct worker *worker, const struct type *type, struct seat **seat)
{
	const struct options *options = worker->options;
	struct life *life = calloc(1, sizeof(*life));

	if (!life)
		abort();
	life->type = type;
	life->group = life->device = -1;
	make_uuid(life->uuid);
	if (write_to(type->create, life->uuid) < 0) {
		note_failure(life, "create");
		worker->totals->createErrors++;
		return life;
	}
	life->created = true;
	worker->totals->creates++;
	if (options->open || options->kvm)
		take_seat(life, worker, seat);
	return life;
}

static void leave_seat(struct life *life, struct totals *totals)
{
	if (life->device >= 0) {
		close(life->device);
		totals->closes++;
	}
	if (life->added)
		vfio_kvm_change(life->seat->kvmvfio, life->group, KVM_DEV_VFIO_GROUP_DEL);
	if (life->attached) {
		vfio_group_detach(life->group);
		life->seat->groups--;
	}
	if (life->group >= 0)
		close(life->group);
	seat_leave(life->seat, totals);
}

static void report(const struct life *life, int file)
{
	char line[LINE_SIZE], failure[64] = "";

	if (file < 0)
		return;
	if (life->failed)
		snprintf(failure, sizeof(failure), "\"failed\":\"%s\",\"errno\":\"%s\",", life->failed,
			 strerrorname_np(life->error));
	// In one piece, so that the lines of several workers do not mix.
	int length = snprintf(line, sizeof(line),
			      "{\"uuid\":\"%s\",\"parent\":\"%s\",\"type\":\"%s\",\"created\":%s,%s"
			      "\"opens\":%u,\"vms\":%u,\"held\":%s,\"removed\":%s,\"pid\":%d}\n",
			      life->uuid, life->type->parent, life->type->name,
			      life->created ? "true" : "false", failure, life->opens, life->vms,
			      life->held ? "true" : "false", life->removed ? "true" : "false", getpid());
	if (write(file, line, length) != length)
		perror("storm: report");
}

static void finish(struct life *life, struct worker *worker)
{
	char path[PATH_SIZE];

	if (life->seat)
		leave_seat(life, worker->totals);
	if (life->created) {
		snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/remove", life->uuid);
		if (write_to(path, "1") < 0) {
			note_failure(life, "remove");
			worker->totals->removeErrors++;
		} else {
			life->removed = true;
			worker->totals->removes++;
		}
	}
	life->held = false;
	report(life, worker->options->report);
	free(life);
}

// The newest first, so that a device ends within the life of the one that was there before it.
static void finish_all(struct life *newest, struct worker *worker)
{
	while (newest) {
		struct life *outer = newest->outer;
		finish(newest, worker);
		newest = outer;
	}
}

void run_lives(struct worker *worker)
{
	const struct options *options = worker->options;
	struct life *kept = NULL;
	struct seat *seat = NULL;
	unsigned long next_type = worker->index, rounds = options->rounds;

	for (unsigned long round = 0; rounds == 0 || round < rounds; round++) {
		if (storm_stopping())
			break;
		if (rounds == 0 && options->keep > 0 && storm_finishing())
			rounds = round + options->keep;
		bool keep = rounds > 0 && rounds - round <= options->keep;
		struct life *newest = keep ? kept : NULL;
		for (int i = 0; i <= options->nested; i++) {
			const struct type *type = &options->types[next_type++ % options->type_count];
			struct life *life = begin(worker, type, &seat);
			life->outer = newest;
			newest = life;
		}
		if (keep)
			kept = newest;
		else
			finish_all(newest, worker);
		if (seat && (round + 1) % options->vms_every == 0) {
			seat_retire(seat, worker->totals);
			seat = NULL;
		}
	}
	if (seat)
		seat_retire(seat, worker->totals);
	for (struct life *life = kept; life; life = life->outer) {
		life->held = life->created;
		report(life, options->report);
	}
	if (options->keep > 0)
		storm_hold();
	finish_all(kept, worker);
}
