/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors from one process to another, as SCM_RIGHTS does it. On the way they are in no
 * process. All return a file descriptor or 0, or -1 with errno set.
 */

#ifndef LAB_INBOX_H
#define LAB_INBOX_H

/* A socket that takes descriptors, under a name of this network namespace. */
int inbox_open(const char *name);
/* Leaves a copy of `fd` in the inbox of that name. */
int inbox_send(const char *name, int fd);
/* Takes the oldest descriptor out; waits for one. */
int inbox_receive(int inbox);

#endif
