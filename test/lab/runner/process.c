// SPDX-License-Identifier: Apache-2.0

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, MAX_WORDS = 4096 };

// 1 MiB, the largest pipe that an ordinary process can ask for.
enum { LAST_CHUNKS = 16 };

// The ends of a command's streams: [0] is read, [1] is written.
struct streams {
	int in[2], out[2], err[2];
};

struct process *processes;

struct process *find_process(uint32_t id)
{
	for (struct process *p = processes; p; p = p->next)
		if (p->id == id && p->running)
			return p;
	return NULL;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void open_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) < 0)
		die("pipe");
}

static void open_pipes(struct streams *s)
{
	open_pipe(s->in);
	open_pipe(s->out);
	open_pipe(s->err);
}

static void open_terminal(struct streams *s)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		die("pseudo terminal");
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		die("pseudo terminal");
	*s = (struct streams){
		.in = { slave, fcntl(master, F_DUPFD_CLOEXEC, 0) },
		.out = { master, fcntl(slave, F_DUPFD_CLOEXEC, 0) },
		.err = { -1, fcntl(slave, F_DUPFD_CLOEXEC, 0) },
	};
}

// Runs in the child. The status pipe carries the reason why the command could not start.
_Noreturn static void execute(const char *cwd, char **argv, char **envp, const struct streams *s,
			      bool tty, int status)
{
	sigset_t none;
	const char *step = "start";

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	dup2(s->in[0], 0);
	dup2(s->out[1], 1);
	dup2(s->err[1], 2);
	if (tty)
		ioctl(0, TIOCSCTTY, 0);
	if (chdir(cwd) < 0) {
		step = "enter directory";
	} else {
		environ = envp;
		execvp(argv[0], argv);
	}
	dprintf(status, "%c%s", errno, step);
	_exit(127);
}

static void keep_process(uint32_t id, pid_t pid, const struct streams *s, bool tty)
{
	struct process *p = malloc(sizeof(*p));

	if (!p)
		die("memory");
	*p = (struct process){
		.next = processes,
		.id = id,
		.pid = pid,
		.running = true,
		.tty = tty,
		.in = s->in[1],
		.out = s->out[0],
		.err = s->err[0],
	};
	processes = p;
	const int fds[] = { p->in, p->out, p->err };
	for (size_t i = 0; i < 3; i++)
		if (fds[i] >= 0)
			fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
}

static void spawn(uint32_t id, const char *cwd, char **argv, char **envp, bool tty)
{
	struct streams s;
	int status[2];
	char failure[64];

	open_pipe(status);
	if (tty)
		open_terminal(&s);
	else
		open_pipes(&s);
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		execute(cwd, argv, envp, &s, tty, status[1]);
	close(status[1]);
	close(s.in[0]);
	close(s.out[1]);
	close(s.err[1]);

	// Ends without a byte when exec closes the pipe.
	ssize_t failed = read(status[0], failure, sizeof(failure));
	close(status[0]);
	if (failed <= 0) {
		keep_process(id, pid, &s, tty);
		return;
	}
	waitpid(pid, NULL, 0);
	close_fd(&s.in[1]);
	close_fd(&s.out[0]);
	close_fd(&s.err[0]);
	send_frame('F', id, failure, failed);
}

void start_process(uint32_t id, char *payload, uint32_t length)
{
	static const char refusal[] = { E2BIG, 's', 't', 'a', 'r', 't' };
	char *words[MAX_WORDS + 1], *argv[MAX_WORDS + 1];
	size_t count = 0;

	for (char *word = payload; word < payload + length && count < MAX_WORDS; word += strlen(word) + 1)
		words[count++] = word;
	words[count] = NULL;
	size_t argc = count > 3 ? strtoul(words[2], NULL, 10) : 0;
	if (argc == 0 || argc + 3 > count || count == MAX_WORDS) {
		send_frame('F', id, refusal, sizeof(refusal));
		return;
	}
	memcpy(argv, words + 3, argc * sizeof(char *));
	argv[argc] = NULL;
	spawn(id, words[1], argv, words + 3 + argc, strcmp(words[0], "tty") == 0);
}

void feed_process(struct process *p)
{
	while (p->input_length > 0 && p->in >= 0) {
		ssize_t written = write(p->in, p->input, p->input_length);
		if (written < 0 && errno == EAGAIN)
			return;
		if (written < 0) {
			p->input_length = 0;
			close_fd(&p->in);
			return;
		}
		p->input_length -= written;
		memmove(p->input, p->input + written, p->input_length);
	}
	if (p->input_ended && !p->tty)
		close_fd(&p->in);
}

void take_input(struct process *p, const uint8_t *data, uint32_t length)
{
	if (length == 0) {
		p->input_ended = true;
	} else {
		p->input = realloc(p->input, p->input_length + length);
		if (!p->input)
			die("memory");
		memcpy(p->input + p->input_length, data, length);
		p->input_length += length;
	}
	feed_process(p);
}

// What arrives after the command's own end comes from a child that outlived it: read, so that
// the child does not block, but not sent. The limit keeps a talkative command from starving others.
static void drain(struct process *p, int *fd, char type, int chunks)
{
	static uint8_t chunk[CHUNK];

	while (*fd >= 0 && chunks-- > 0) {
		ssize_t got = read(*fd, chunk, sizeof(chunk));
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got <= 0)
			close_fd(fd);
		else if (p->running)
			send_frame(type, p->id, chunk, got);
	}
}

void drain_process(struct process *p)
{
	drain(p, &p->out, 'O', 1);
	drain(p, &p->err, 'E', 1);
}

static void report_end(struct process *p, int status)
{
	uint8_t result[2] = {
		WIFEXITED(status) ? WEXITSTATUS(status) : 0,
		WIFSIGNALED(status) ? WTERMSIG(status) : 0,
	};
	drain(p, &p->out, 'O', LAST_CHUNKS);
	drain(p, &p->err, 'E', LAST_CHUNKS);
	send_frame('X', p->id, result, sizeof(result));
	p->running = false;
	p->input_length = 0;
	close_fd(&p->in);
}

static void free_closed(void)
{
	for (struct process **link = &processes; *link;) {
		struct process *p = *link;
		if (p->running || p->out >= 0 || p->err >= 0) {
			link = &p->next;
			continue;
		}
		*link = p->next;
		free(p->input);
		free(p);
	}
}

void reap_processes(void)
{
	int status;
	pid_t pid;

	// As PID 1 the runner also inherits orphans, which the host does not know.
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (struct process *p = processes; p; p = p->next)
			if (p->pid == pid && p->running)
				report_end(p, status);
	free_closed();
}
