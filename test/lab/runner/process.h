// SPDX-License-Identifier: Apache-2.0
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// A command of the host, from its start until its streams are closed.
struct process {
	struct process *next;
	uint32_t id;
	pid_t pid;
	bool running;
	bool tty;
	int in, out, err;
	bool input_ended;
	uint8_t *input;
	size_t input_length;
};

extern struct process *processes;

// Sends a frame to the host.
void send_frame(char type, uint32_t id, const void *payload, uint32_t length);

// Ends the VM: without PID 1 there is nothing left to report from.
_Noreturn void die(const char *what);

struct process *find_process(uint32_t id);

// Starts a command; the payload is that of a run frame and ends with NUL.
void start_process(uint32_t id, char *payload, uint32_t length);

// Queues input; an empty one ends stdin.
void take_input(struct process *p, const uint8_t *data, uint32_t length);

// Writes as much of the queued input as the command takes.
void feed_process(struct process *p);

// Sends what the command has printed.
void drain_process(struct process *p);

// Reports commands that have ended.
void reap_processes(void);

#endif
