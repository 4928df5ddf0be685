// SPDX-License-Identifier: Apache-2.0
//
// Contended load with known ground truth: processes that create, open, close and remove mediated
// devices, or take and put references to VMs, and count what the kernel granted and refused.
//
// stdout gets a line of JSON when all kept devices exist ("holding"), and one at the end ("done").
// The report gets a line for each device; the one of a kept device is written when it is held, and
// again when it has been removed.

#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "storm/storm.h"

enum { MAX_WORKERS = 256, LINE_SIZE = 1024 };

static const char USAGE[] =
	"usage: storm --create FILE[,FILE...] [options]\n"
	"       storm --loop kvm [options]\n"
	"  --workers N    processes (1)\n"
	"  --rounds R     rounds of each process (1); 0: until SIGTERM, or SIGUSR1 with --keep\n"
	"  --rest MS      pause of a process after each round (0)\n"
	"  --create FILES mdev types, by their create files, in turn\n"
	"  --open         open each device as a VMM does\n"
	"  --cdev         each by its cdev, bound to an iommufd context, not by its group\n"
	"  --kvm          with a VM\n"
	"  --vms-every M  rounds for which a process keeps one VM (1)\n"
	"  --nested       two devices in each round; the second is removed before the first\n"
	"  --keep K       keep the devices of the last K rounds of each process until SIGTERM\n"
	"                 (SIGUSR1: the next K rounds are the last)\n"
	"  --loop kvm     take and put references to VMs, without devices\n"
	"  --report FILE  a line of JSON for each device, and the totals at the end\n";

static sigset_t ending_signals;
// Those, and the one that asks for the last rounds.
static sigset_t signals;
// Workers write a byte to it when they hold; it ends with the last of them.
static int held_pipe[2];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void bad_usage(const char *why)
{
	fprintf(stderr, "storm: %s\n%s", why, USAGE);
	exit(2);
}

bool storm_stopping(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT));
}

bool storm_finishing(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1);
}

void storm_hold(void)
{
	int signal;

	if (write(held_pipe[1], "", 1) == 1)
		sigwait(&ending_signals, &signal);
}

// .../PARENT/mdev_supported_types/TYPE/create
static void read_type(struct type *type, char *create)
{
	char path[512];

	if (access(create, W_OK) < 0)
		fail(create);
	type->create = create;
	snprintf(path, sizeof(path), "%s", create);
	char *words[4] = { "", "", "", "" };
	for (char *word = strtok(path, "/"); word; word = strtok(NULL, "/")) {
		memmove(words, words + 1, 3 * sizeof(*words));
		words[3] = word;
	}
	snprintf(type->parent, sizeof(type->parent), "%s", words[0]);
	snprintf(type->name, sizeof(type->name), "%s", words[2]);
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text == '\0' || *text == '-' || *end != '\0')
		bad_usage("an option needs a number");
	return value;
}

static struct options read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "workers", required_argument, NULL, 'w' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "rest", required_argument, NULL, 'p' },
		{ "create", required_argument, NULL, 'c' },
		{ "open", no_argument, NULL, 'o' },
		{ "cdev", no_argument, NULL, 'd' },
		{ "kvm", no_argument, NULL, 'v' },
		{ "vms-every", required_argument, NULL, 'e' },
		{ "nested", no_argument, NULL, 'n' },
		{ "keep", required_argument, NULL, 'k' },
		{ "loop", required_argument, NULL, 'l' },
		{ "report", required_argument, NULL, 'f' },
		{ 0 },
	};
	struct options options = { .workers = 1, .rounds = 1, .vms_every = 1, .report = -1 };
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'w': options.workers = number(optarg); break;
		case 'r': options.rounds = number(optarg); break;
		case 'p': options.rest_ms = number(optarg); break;
		case 'o': options.open = true; break;
		case 'd': options.cdev = true; break;
		case 'v': options.kvm = true; break;
		case 'e': options.vms_every = number(optarg); break;
		case 'n': options.nested = true; break;
		case 'k': options.keep = number(optarg); break;
		case 'c':
			for (char *file = strtok_r(optarg, ",", &optarg); file;
			     file = strtok_r(NULL, ",", &optarg)) {
				if (options.type_count == MAX_TYPES)
					bad_usage("too many types");
				read_type(&options.types[options.type_count++], file);
			}
			break;
		case 'l':
			if (strcmp(optarg, "kvm") != 0)
				bad_usage("there is only --loop kvm");
			options.loop = options.kvm = true;
			break;
		case 'f':
			options.report = open(optarg, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
			if (options.report < 0)
				fail(optarg);
			break;
		default: bad_usage("see below");
		}
	}
	if (optind < argc)
		bad_usage("too many arguments");
	if (options.loop == (options.type_count > 0))
		bad_usage("either --create or --loop");
	if (options.workers < 1 || options.workers > MAX_WORKERS || options.vms_every < 1)
		bad_usage("--workers and --vms-every are at least 1, and workers at most 256");
	if ((options.rounds > 0 && options.keep > options.rounds) ||
	    (options.loop && options.keep > 0))
		bad_usage("--keep is for devices, and at most as many rounds as there are");
	return options;
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void print_totals(const char *state, const struct options *options,
			 const struct totals *totals, double seconds)
{
	struct totals sum = { 0 };
	char line[LINE_SIZE];
	int length = snprintf(line, sizeof(line), "{\"state\":\"%s\",\"seconds\":%.3f", state, seconds);

#define ADD(name) \
	for (unsigned int i = 0; i < options->workers; i++) \
		sum.name += totals[i].name; \
	length += snprintf(line + length, sizeof(line) - length, ",\"" #name "\":%" PRIu64, sum.name);
	TOTALS(ADD)
#undef ADD
	length += snprintf(line + length, sizeof(line) - length, "}\n");
	if (write(STDOUT_FILENO, line, length) != length)
		fail("storm: stdout");
	if (options->report >= 0 && write(options->report, line, length) != length)
		fail("storm: report");
}

static pid_t start_worker(struct worker worker, const int gate[2])
{
	char byte;
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (child > 0)
		return child;
	// However the storm ends, its workers end with it.
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(gate[1]);
	close(held_pipe[0]);
	// All begin at the same time: when the gate is closed.
	if (read(gate[0], &byte, 1) != 0)
		fail("gate");
	if (worker.options->loop)
		run_kvm_loop(&worker);
	else
		run_lifecycles(&worker);
	_exit(0);
}

// Waits until all workers have ended, prints the totals when all of them hold, and passes signals on.
static void watch(const struct options *options, const struct totals *totals,
		  const pid_t *children, double start)
{
	enum { HELD, SIGNAL };
	struct pollfd waiting[] = {
		[HELD] = { .fd = held_pipe[0], .events = POLLIN },
		[SIGNAL] = { .fd = signalfd(-1, &signals, SFD_CLOEXEC), .events = POLLIN },
	};
	unsigned int holding = 0;
	char byte;

	while (poll(waiting, 2, -1) > 0) {
		struct signalfd_siginfo info;
		if (waiting[SIGNAL].revents && read(waiting[SIGNAL].fd, &info, sizeof(info)) > 0)
			for (unsigned int i = 0; i < options->workers; i++)
				kill(children[i], info.ssi_signo == SIGUSR1 ? SIGUSR1 : SIGTERM);
		if (!waiting[HELD].revents)
			continue;
		if (read(held_pipe[0], &byte, 1) != 1)
			return;
		if (++holding == options->workers)
			print_totals("holding", options, totals, seconds_now() - start);
	}
}

int main(int argc, char **argv)
{
	struct options options = read_options(argc, argv);
	size_t size = options.workers * sizeof(struct totals);
	struct totals *totals =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t children[MAX_WORKERS];
	struct rlimit files;
	int gate[2], failures = 0;

	sigemptyset(&ending_signals);
	sigaddset(&ending_signals, SIGTERM);
	sigaddset(&ending_signals, SIGINT);
	signals = ending_signals;
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (totals == MAP_FAILED || pipe2(gate, O_CLOEXEC) < 0 || pipe2(held_pipe, O_CLOEXEC) < 0)
		fail("storm");
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	for (unsigned int i = 0; i < options.workers; i++)
		children[i] = start_worker((struct worker){ &options, &totals[i], i }, gate);
	close(held_pipe[1]);
	double start = seconds_now();
	close(gate[0]);
	close(gate[1]);
	watch(&options, totals, children, start);
	for (unsigned int i = 0; i < options.workers; i++) {
		int status;
		if (waitpid(children[i], &status, 0) < 0 || status != 0)
			failures++;
	}
	print_totals("done", &options, totals, seconds_now() - start);
	if (failures > 0)
		fprintf(stderr, "storm: %d workers ended early\n", failures);
	return failures > 0;
}
