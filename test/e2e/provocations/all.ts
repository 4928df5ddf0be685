// SPDX-License-Identifier: Apache-2.0
import { BY_USER } from './by-user.ts';
import { CREATING } from './creating.ts';
import { GROUPS } from './groups.ts';
import { HOLDING } from './holding.ts';
import { LATE } from './late.ts';
import { OPENING } from './opening.ts';
import { REMOVING } from './removing.ts';
import { STALLING } from './stalling.ts';
import { VFIO } from './vfio.ts';

/** Provocations with the faulty driver: only one can run at a time, because faults are module parameters. */
export const BY_DRIVER = [...CREATING, ...VFIO, ...OPENING, ...REMOVING, ...STALLING, ...LATE];

/** Groups of provocations that can run in parallel. */
export const IN_PARALLEL = {
  'by user space alone': [...BY_USER, ...GROUPS],
  'by whoever holds a device': HOLDING,
  'by a driver with a fault': BY_DRIVER,
} as const;
