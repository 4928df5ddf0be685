/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the storm share: its orders, and the counts of what the kernel granted. */

#ifndef LAB_STORM_H
#define LAB_STORM_H

#include <stdbool.h>
#include <stdint.h>

enum { MAX_TYPES = 16 };

struct type {
	/* sysfs file that makes a device, and the parent and the type in its path. */
	const char *create;
	char parent[64];
	char name[64];
};

struct options {
	unsigned int workers;
	/* For each worker; 0 stands for no end. */
	unsigned long rounds;
	struct type types[MAX_TYPES];
	unsigned int type_count;
	bool open;
	bool kvm;
	bool nested;
	bool loop;
	/* Rounds of a worker that share one VM. */
	unsigned long vms_every;
	/* The last rounds of each worker, whose devices live until SIGTERM. */
	unsigned long keep;
	int report;
};

/* An error is counted once, under the act that it made fail. */
#define TOTALS(X) \
	X(creates) X(createErrors) X(opens) X(openErrors) X(closes) \
	X(vms) X(vmErrors) X(vmEnds) X(vcpus) X(references) X(referenceErrors) X(puts) \
	X(removes) X(removeErrors)

struct totals {
#define FIELD(name) uint64_t name;
	TOTALS(FIELD)
#undef FIELD
};

struct worker {
	const struct options *options;
	/* In memory that the workers share with the process that started them. */
	struct totals *totals;
	unsigned int index;
};

/* Whether the worker was told to come to an end. */
bool storm_stopping(void);
/* Whether the rounds that begin now are its last. */
bool storm_finishing(void);
/* Tells that all rounds are done, and waits until the worker is told to end. */
void storm_hold(void);

void run_lives(struct worker *worker);
void run_kvm_loop(struct worker *worker);

#endif
