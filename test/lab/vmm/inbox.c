// SPDX-License-Identifier: Apache-2.0

#include "vmm/inbox.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union rights {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

// An abstract name: it ends with its socket, and no file is left.
static socklen_t address_of(const char *name, struct sockaddr_un *address)
{
	size_t length = strnlen(name, sizeof(address->sun_path) - 1);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(address->sun_path + 1, name, length);
	return offsetof(struct sockaddr_un, sun_path) + 1 + length;
}

// One message with room for one descriptor.
static struct msghdr message(struct iovec *byte, union rights *rights)
{
	return (struct msghdr){
		.msg_iov = byte,
		.msg_iovlen = 1,
		.msg_control = rights->room,
		.msg_controllen = sizeof(rights->room),
	};
}

int inbox_open(const char *name)
{
	struct sockaddr_un address;
	socklen_t length = address_of(name, &address);
	int inbox = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (inbox < 0 || bind(inbox, (struct sockaddr *)&address, length) == 0)
		return inbox;
	int error = errno;
	close(inbox);
	errno = error;
	return -1;
}

int inbox_send(const char *name, int fd)
{
	struct sockaddr_un address;
	union rights rights = { 0 };
	struct iovec byte = { .iov_base = "", .iov_len = 1 };
	struct msghdr letter = message(&byte, &rights);

	letter.msg_name = &address;
	letter.msg_namelen = address_of(name, &address);
	rights.header = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(sizeof(fd)),
	};
	memcpy(CMSG_DATA(&rights.header), &fd, sizeof(fd));
	int outgoing = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (outgoing < 0)
		return -1;
	ssize_t sent = sendmsg(outgoing, &letter, 0);
	int error = errno;
	close(outgoing);
	errno = error;
	return sent < 0 ? -1 : 0;
}

int inbox_receive(int inbox)
{
	char content;
	union rights rights;
	struct iovec byte = { .iov_base = &content, .iov_len = 1 };
	struct msghdr letter = message(&byte, &rights);
	int fd;

	if (recvmsg(inbox, &letter, MSG_CMSG_CLOEXEC) < 0)
		return -1;
	if (!CMSG_FIRSTHDR(&letter)) {
		errno = ENOMSG;
		return -1;
	}
	memcpy(&fd, CMSG_DATA(&rights.header), sizeof(fd));
	return fd;
}
