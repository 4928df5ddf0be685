// SPDX-License-Identifier: Apache-2.0
//
// PID 1 of the lab's VM: starts commands and carries their streams over one virtio-serial port.
// The protocol is described in ../frames.ts.

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { HEADER = 9, MAX_PAYLOAD = 1024 * 1024 };

static int port, signals, kmsg;

_Noreturn void die(const char *what)
{
	fprintf(stderr, "lab runner: %s: %s\n", what, strerror(errno));
	reboot(RB_POWER_OFF);
	_exit(1);
}

void send_frame(char type, uint32_t id, const void *payload, uint32_t length)
{
	// In one write: each one has the emulated CPU wait for the host.
	static uint8_t frame[HEADER + MAX_PAYLOAD];
	size_t sent = 0, size = HEADER + length;

	frame[0] = type;
	memcpy(frame + 1, &id, 4);
	memcpy(frame + 5, &length, 4);
	memcpy(frame + HEADER, payload, length);
	while (sent < size) {
		ssize_t written = write(port, frame + sent, size - sent);
		if (written < 0 && errno != EINTR)
			die("write to port");
		if (written > 0)
			sent += written;
	}
}

static void send_kernel_messages(void)
{
	char record[8192];
	ssize_t got;

	// EPIPE: the kernel overwrote records that were not read yet; reading continues behind them.
	while ((got = read(kmsg, record, sizeof(record))) > 0 || (got < 0 && errno == EPIPE))
		if (got > 0)
			send_frame('K', 0, record, got);
}

static void resize(struct process *p, const uint8_t *payload)
{
	struct winsize size = { 0 };

	memcpy(&size.ws_row, payload, 2);
	memcpy(&size.ws_col, payload + 2, 2);
	ioctl(p->out, TIOCSWINSZ, &size);
}

static void handle(char type, uint32_t id, uint8_t *payload, uint32_t length)
{
	struct process *p = find_process(id);

	if (type == 'R') {
		start_process(id, (char *)payload, length);
	} else if (type == 'P') {
		send_kernel_messages();
		send_frame('P', id, "", 0);
	} else if (type == 'I' && p) {
		take_input(p, payload, length);
	} else if (type == 'S' && p && length == 1) {
		kill(-p->pid, payload[0]);
	} else if (type == 'W' && p && length == 4) {
		resize(p, payload);
	}
}

static void receive(void)
{
	static uint8_t buffer[HEADER + MAX_PAYLOAD + 1];
	static size_t filled;
	uint32_t id, length;

	ssize_t got = read(port, buffer + filled, sizeof(buffer) - 1 - filled);
	if (got <= 0)
		die("read from port");
	filled += got;
	while (filled >= HEADER) {
		memcpy(&id, buffer + 1, 4);
		memcpy(&length, buffer + 5, 4);
		if (length > MAX_PAYLOAD)
			die("frame too long");
		if (filled < HEADER + length)
			return;
		// start_process() walks the payload as C strings: something must end the last one.
		uint8_t *behind = buffer + HEADER + length;
		uint8_t saved = *behind;
		*behind = 0;
		handle(buffer[0], id, buffer + HEADER, length);
		*behind = saved;
		filled -= HEADER + length;
		memmove(buffer, behind, filled);
	}
}

static void serve(void)
{
	struct signalfd_siginfo info;
	size_t count = 3;

	for (struct process *p = processes; p; p = p->next)
		count += 3;
	struct pollfd fds[count];
	fds[0] = (struct pollfd){ .fd = port, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = signals, .events = POLLIN };
	fds[2] = (struct pollfd){ .fd = kmsg, .events = POLLIN };
	struct pollfd *next = fds + 3;
	for (struct process *p = processes; p; p = p->next) {
		*next++ = (struct pollfd){ .fd = p->out, .events = POLLIN };
		*next++ = (struct pollfd){ .fd = p->err, .events = POLLIN };
		*next++ = (struct pollfd){ .fd = p->input_length ? p->in : -1, .events = POLLOUT };
	}
	if (poll(fds, count, -1) < 0 && errno != EINTR)
		die("poll");

	for (struct process *p = processes; p; p = p->next) {
		drain_process(p);
		feed_process(p);
	}
	send_kernel_messages();
	if (fds[0].revents)
		receive();
	while (read(signals, &info, sizeof(info)) > 0)
		;
	reap_processes();
}

static int open_child_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	struct utsname system;

	if (argc != 2) {
		fprintf(stderr, "usage: runner PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	port = open(argv[1], O_RDWR | O_CLOEXEC);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	signals = open_child_signals();
	if (port < 0 || kmsg < 0 || signals < 0)
		die("open");
	uname(&system);
	send_frame('H', 0, system.release, strlen(system.release));
	for (;;)
		serve();
}
