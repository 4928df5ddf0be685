// SPDX-License-Identifier: Apache-2.0
//
// A VMM without a guest: does to /dev/kvm and /dev/vfio what QEMU does, one command per line of
// stdin, so that a test decides the sequence. Each command is answered by one line on stdout:
// "ok VALUE" or "err ERRNO TEXT". The table of commands is at the end.

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vfio/vfio.h"
#include "vmm/cdev.h"
#include "vmm/inbox.h"
#include "vmm/things.h"

enum { MAX_WORDS = 8, LINE_SIZE = 256 };

// The thread beside the main one, at most one at a time, and what its command has returned.
static struct {
	bool is_started;
	pthread_t id;
	char comm[16];
	char line[LINE_SIZE];
	int result;
	int error;
} thread;

static int close_thing(char **arg)
{
	return thing_close(arg[0]);
}

static int dup_thing(char **arg)
{
	int fd = thing_fd(arg[0]);

	return fd < 0 ? -1 : thing_keep(arg[1], fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

static int vm_create(char **arg)
{
	return thing_keep(arg[0], vfio_vm_create());
}

static int vcpu_create(char **arg)
{
	int vm = thing_fd(arg[0]);

	return vm < 0 ? -1 : thing_keep(arg[1], vfio_vcpu_create(vm, strtoul(arg[2], NULL, 10)));
}

// As whoever runs a vcpu does. The mapping keeps the VM when all descriptors are closed.
static int vcpu_map(char **arg)
{
	int vcpu = thing_fd(arg[0]);

	return vcpu < 0 || mmap(NULL, 4096, PROT_READ, MAP_SHARED, vcpu, 0) == MAP_FAILED ? -1 : 0;
}

static int kvmvfio_create(char **arg)
{
	int vm = thing_fd(arg[0]);

	return vm < 0 ? -1 : thing_keep(arg[1], vfio_kvm_create(vm));
}

static int kvmvfio_change(char **arg, uint64_t attribute)
{
	int kvmvfio = thing_fd(arg[0]), group = thing_fd(arg[1]);

	return kvmvfio < 0 || group < 0 ? -1 : vfio_kvm_change(kvmvfio, group, attribute);
}

static int kvmvfio_add(char **arg)
{
	return kvmvfio_change(arg, KVM_DEV_VFIO_GROUP_ADD);
}

static int kvmvfio_del(char **arg)
{
	return kvmvfio_change(arg, KVM_DEV_VFIO_GROUP_DEL);
}

static int container_open(char **arg)
{
	return thing_keep(arg[0], vfio_container_open());
}

static int container_iommu(char **arg)
{
	int container = thing_fd(arg[0]);

	return container < 0 ? -1 : vfio_container_iommu(container);
}

static int container_map(char **arg)
{
	int container = thing_fd(arg[0]);
	uint64_t iova = strtoull(arg[1], NULL, 0), bytes = strtoull(arg[2], NULL, 0);

	return container < 0 ? -1 : vfio_container_map(container, iova, bytes);
}

static int container_loop(char **arg)
{
	int container = thing_fd(arg[0]);
	uint64_t bytes = strtoull(arg[1], NULL, 0);

	return container < 0 ? -1 : vfio_container_loop(container, bytes, strtoul(arg[2], NULL, 0));
}

static int group_open(char **arg)
{
	return thing_keep(arg[0], vfio_group_open(arg[1]));
}

static int group_attach(char **arg)
{
	int group = thing_fd(arg[0]), container = thing_fd(arg[1]);

	return group < 0 || container < 0 ? -1 : vfio_group_attach(group, container);
}

static int group_detach(char **arg)
{
	int group = thing_fd(arg[0]);

	return group < 0 ? -1 : vfio_group_detach(group);
}

static int device_open(char **arg)
{
	int group = thing_fd(arg[1]);

	return group < 0 ? -1 : thing_keep(arg[0], vfio_device_open(group, arg[2]));
}

// The options follow the name, as QEMU passes a VF token.
static int device_open_with(char **arg)
{
	int group = thing_fd(arg[1]);
	char name[LINE_SIZE];

	snprintf(name, sizeof(name), "%s %s", arg[2], arg[3]);
	return group < 0 ? -1 : thing_keep(arg[0], vfio_device_open(group, name));
}

// Maps the first region of the device. The mapping stays when its descriptor is closed, until the
// process ends.
static int device_map(char **arg)
{
	int device = thing_fd(arg[0]);
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};

	if (device < 0 || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region) < 0)
		return -1;
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, device, region.offset);
	return memory == MAP_FAILED ? -1 : 0;
}

// The child holds all descriptors until the parent closes its end of the pipe, or ends.
static int fork_start(char **arg)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	if (thing_keep(arg[0], ends[1]) < 0)
		return close(ends[0]), -1;
	pid_t child = fork();
	if (child == 0) {
		char byte;
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) < 0);
	}
	close(ends[0]);
	thing_find(arg[0])->child = child;
	return child;
}

static int fork_end(char **arg)
{
	struct thing *fork = thing_find(arg[0]);

	if (!fork || fork->child <= 0)
		return fail(ECHILD);
	pid_t child = fork->child;
	close_thing(arg);
	return waitpid(child, NULL, 0) < 0 ? -1 : 0;
}

static int open_inbox(char **arg)
{
	return thing_keep(arg[0], inbox_open(arg[0]));
}

static int send_thing(char **arg)
{
	int fd = thing_fd(arg[0]);

	return fd < 0 ? -1 : inbox_send(arg[1], fd);
}

static int receive_thing(char **arg)
{
	int inbox = thing_fd(arg[0]);

	return inbox < 0 ? -1 : thing_keep(arg[1], inbox_receive(inbox));
}

static int write_file(char **arg)
{
	int fd = open(arg[0], O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t written = write(fd, arg[1], strlen(arg[1]));
	int error = errno;
	close(fd);
	return written < 0 ? fail(error) : 0;
}

// Becomes another program, which has all descriptors and knows none by name.
static int exec_as(char **arg)
{
	if (things_survive_exec() < 0)
		return -1;
	puts("ok 0");
	return execl("/proc/self/exe", "vmm", "--comm", arg[0], NULL);
}

static int sleep_for(char **arg)
{
	return usleep(1000 * strtoul(arg[0], NULL, 10));
}

static int print_pid(char **)
{
	return getpid();
}

static int quit(char **)
{
	puts("ok 0");
	exit(0);
}

static int execute(char *line);

static void *run_thread(void *)
{
	prctl(PR_SET_NAME, thread.comm);
	thread.result = execute(thread.line);
	thread.error = errno;
	return NULL;
}

// Until it ends, the main thread may not use what its command opens or closes.
static int thread_start(char **arg)
{
	if (thread.is_started)
		return fail(EBUSY);
	snprintf(thread.comm, sizeof(thread.comm), "%s", arg[0]);
	thread.line[0] = '\0';
	for (arg++; *arg; arg++)
		snprintf(thread.line + strlen(thread.line), sizeof(thread.line) - strlen(thread.line), "%s ", *arg);
	int error = pthread_create(&thread.id, NULL, run_thread, NULL);
	thread.is_started = error == 0;
	return error ? fail(error) : 0;
}

static int thread_end(char **)
{
	if (!thread.is_started)
		return fail(ESRCH);
	pthread_join(thread.id, NULL);
	thread.is_started = false;
	return thread.result < 0 ? fail(thread.error) : thread.result;
}

// Executes commands in which %1$s stands for a name and %2$s for a device.
static int sequence(const char *const commands[], const char *name, const char *device, bool keep_going)
{
	char line[LINE_SIZE];
	int error = 0;

	for (; *commands && (keep_going || !error); commands++) {
		snprintf(line, sizeof(line), *commands, name, device);
		if (execute(line) < 0)
			error = errno;
	}
	return error ? fail(error) : 0;
}

static int start(char **arg)
{
	static const char *const commands[] = {
		"vm create %1$s.vm",
		"vcpu create %1$s.vm %1$s.vcpu 0",
		"container open %1$s.container",
		"group open %1$s.group %2$s",
		"group attach %1$s.group %1$s.container",
		"container iommu %1$s.container",
		"kvmvfio create %1$s.vm %1$s.kvmvfio",
		"kvmvfio add %1$s.kvmvfio %1$s.group",
		"device open %1$s.device %1$s.group %2$s",
		NULL,
	};
	return sequence(commands, arg[0], arg[1], false);
}

// The first address space of a context has the id 1.
static int start_by_cdev(char **arg)
{
	static const char *const commands[] = {
		"vm create %1$s.vm",
		"vcpu create %1$s.vm %1$s.vcpu 0",
		"iommufd open %1$s.iommufd",
		"iommufd ioas %1$s.iommufd",
		"cdev open %1$s.device %2$s",
		"kvmvfio create %1$s.vm %1$s.kvmvfio",
		"kvmvfio add %1$s.kvmvfio %1$s.device",
		"cdev bind %1$s.device %1$s.iommufd",
		"cdev attach %1$s.device 1",
		NULL,
	};
	return sequence(commands, arg[0], arg[1], false);
}

static int stop_by_cdev(char **arg)
{
	static const char *const commands[] = {
		"cdev detach %1$s.device",
		"kvmvfio del %1$s.kvmvfio %1$s.device",
		"close %1$s.device",
		"close %1$s.kvmvfio",
		"close %1$s.iommufd",
		"close %1$s.vcpu",
		"close %1$s.vm",
		NULL,
	};
	return sequence(commands, arg[0], "", true);
}

static int stop(char **arg)
{
	static const char *const commands[] = {
		"close %1$s.device",
		"kvmvfio del %1$s.kvmvfio %1$s.group",
		"close %1$s.kvmvfio",
		"group detach %1$s.group",
		"close %1$s.group",
		"close %1$s.container",
		"close %1$s.vcpu",
		"close %1$s.vm",
		NULL,
	};
	return sequence(commands, arg[0], "", true);
}

// Names in capitals are arguments; with "..." any number of words follows.
static const struct command {
	const char *words;
	int (*run)(char **arg);
} commands[] = {
	{ "vm create VM", vm_create },
	{ "vcpu create VM VCPU INDEX", vcpu_create },
	{ "vcpu map VCPU", vcpu_map },
	{ "kvmvfio create VM KVMVFIO", kvmvfio_create },
	{ "kvmvfio add KVMVFIO GROUP-OR-CDEV", kvmvfio_add },
	{ "kvmvfio del KVMVFIO GROUP-OR-CDEV", kvmvfio_del },
	{ "container open CONTAINER", container_open },
	{ "container iommu CONTAINER", container_iommu },
	{ "container map CONTAINER IOVA BYTES", container_map },
	{ "container loop CONTAINER BYTES TIMES", container_loop },
	{ "group open GROUP NUMBER-OR-DEVICE", group_open },
	{ "group attach GROUP CONTAINER", group_attach },
	{ "group detach GROUP", group_detach },
	{ "device open DEVICE GROUP UUID-OR-PCI", device_open },
	{ "device open DEVICE GROUP UUID-OR-PCI OPTIONS", device_open_with },
	{ "device map DEVICE", device_map },
	{ "iommufd open IOMMUFD", vmm_iommufd_open },
	{ "iommufd ioas IOMMUFD", vmm_iommufd_ioas },
	{ "iommufd map IOMMUFD IOAS-ID IOVA BYTES", vmm_iommufd_map },
	{ "cdev open CDEV UUID-OR-PCI", vmm_cdev_open },
	{ "cdev bind CDEV IOMMUFD", vmm_cdev_bind },
	{ "cdev attach CDEV IOAS-ID", vmm_cdev_attach },
	{ "cdev detach CDEV", vmm_cdev_detach },
	{ "close THING", close_thing },
	{ "dup THING NEW", dup_thing },
	{ "fork start FORK", fork_start },
	{ "fork end FORK", fork_end },
	{ "inbox open INBOX", open_inbox },
	{ "send THING INBOX", send_thing },
	{ "receive INBOX NEW", receive_thing },
	{ "start NAME UUID-OR-PCI", start },
	{ "stop NAME", stop },
	{ "start-by-cdev NAME UUID-OR-PCI", start_by_cdev },
	{ "stop-by-cdev NAME", stop_by_cdev },
	{ "write FILE TEXT", write_file },
	{ "thread start COMM ...", thread_start },
	{ "thread end", thread_end },
	{ "exec COMM", exec_as },
	{ "sleep MILLISECONDS", sleep_for },
	{ "pid", print_pid },
	{ "quit", quit },
};

// The array ends with NULL, as that of main() does.
static int split(char *line, char *words[MAX_WORDS + 1])
{
	int count = 0;
	char *rest;

	for (char *word = strtok_r(line, " \t\n", &rest); word && count < MAX_WORDS;
	     word = strtok_r(NULL, " \t\n", &rest))
		words[count++] = word;
	words[count] = NULL;
	return count;
}

static int execute(char *line)
{
	char *given[MAX_WORDS + 1], *wanted[MAX_WORDS + 1], words[LINE_SIZE];
	int count = split(line, given);

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		strcpy(words, commands[i].words);
		int fixed = 0, expected = split(words, wanted);
		bool is_open = strcmp(wanted[expected - 1], "...") == 0;
		while (fixed < expected && fixed < count && strcmp(given[fixed], wanted[fixed]) == 0)
			fixed++;
		bool all_fixed = fixed == expected || isupper((unsigned char)wanted[fixed][0]);
		if ((is_open ? count >= expected : count == expected) && all_fixed)
			return commands[i].run(given + fixed);
	}
	return fail(EINVAL);
}

int main(int argc, char **argv)
{
	char line[LINE_SIZE];

	if (argc == 3 && strcmp(argv[1], "--comm") == 0) {
		prctl(PR_SET_NAME, argv[2]);
	} else if (argc != 1) {
		fprintf(stderr, "usage: vmm [--comm NAME]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		int result = execute(line);
		if (result < 0)
			printf("err %s %s\n", strerrorname_np(errno), strerror(errno));
		else
			printf("ok %d\n", result);
	}
	return 0;
}
