// SPDX-License-Identifier: Apache-2.0

#include "vmm/things.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THINGS = 4096 };

static struct thing things[MAX_THINGS];
static size_t thing_count;

int fail(int error)
{
	errno = error;
	return -1;
}

struct thing *thing_find(const char *name)
{
	for (size_t i = 0; i < thing_count; i++)
		if (strcmp(things[i].name, name) == 0)
			return &things[i];
	fprintf(stderr, "vmm: there is no %s\n", name);
	errno = ENOENT;
	return NULL;
}

int thing_fd(const char *name)
{
	struct thing *thing = thing_find(name);

	return thing ? thing->fd : -1;
}

int thing_keep(const char *name, int fd)
{
	if (fd < 0)
		return -1;
	for (size_t i = 0; i < thing_count; i++)
		if (strcmp(things[i].name, name) == 0)
			return close(fd), fail(EEXIST);
	if (thing_count == MAX_THINGS || strlen(name) >= NAME_SIZE)
		return close(fd), fail(ENFILE);
	things[thing_count] = (struct thing){ .fd = fd };
	strcpy(things[thing_count++].name, name);
	return fd;
}

int thing_close(const char *name)
{
	struct thing *thing = thing_find(name);

	if (!thing)
		return -1;
	int fd = thing->fd;
	*thing = things[--thing_count];
	return close(fd);
}

int things_survive_exec(void)
{
	for (size_t i = 0; i < thing_count; i++)
		if (fcntl(things[i].fd, F_SETFD, 0) < 0)
			return -1;
	return 0;
}
