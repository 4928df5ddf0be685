/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of the VMM name: its file descriptors. */

#ifndef LAB_THINGS_H
#define LAB_THINGS_H

#include <sys/types.h>

enum { NAME_SIZE = 64 };

/* A file descriptor, and the process at its other end for a fork. */
struct thing {
	char name[NAME_SIZE];
	int fd;
	pid_t child;
};

/* Returns -1, with errno set to that. */
int fail(int error);
/* NULL with ENOENT, and a line on stderr, if there is none of that name. */
struct thing *thing_find(const char *name);
/* Its descriptor, or -1 as thing_find(). */
int thing_fd(const char *name);
/* Keeps a new descriptor under its name, and returns it; the errno of a failed one passes through. */
int thing_keep(const char *name, int fd);
int thing_close(const char *name);
/* Lets the program that this process becomes have all descriptors. */
int things_survive_exec(void);

#endif
