/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the storm share: its options, and the counts of what the kernel granted. */

#ifndef LAB_STORM_H
#define LAB_STORM_H

#include <stdbool.h>
#include <stdint.h>

enum { MAX_TYPES = 16 };

struct type {
	/* sysfs file that creates a device, and the parent and the type in its path. */
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
	/* Each by its cdev and not by its group. */
	bool cdev;
	bool kvm;
	bool nested;
	bool loop;
	/* Pause of a worker after each round. */
	unsigned int rest_ms;
	/* Rounds of a worker that share one VM. */
	unsigned long vms_every;
	/* The last rounds of each worker, whose devices are kept until SIGTERM. */
	unsigned long keep;
	int report;
};

/* An error is counted once, under the operation that failed. */
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

/* Whether the worker has to end. */
bool storm_stopping(void);
/* Whether the rounds that begin now are its last. */
bool storm_finishing(void);
/* Reports that all rounds are done, and waits until the worker has to end. */
void storm_hold(void);

void run_lifecycles(struct worker *worker);
void run_kvm_loop(struct worker *worker);

#endif
