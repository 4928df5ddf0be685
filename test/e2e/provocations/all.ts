// SPDX-License-Identifier: Apache-2.0
import { BY_USER } from './by-user.ts';
import { CREATING } from './creating.ts';
import { LATE } from './late.ts';
import { OPENING } from './opening.ts';
import { REMOVING } from './removing.ts';
import { VFIO } from './vfio.ts';

/** On the driver with faults, of which only those of one provocation can be switched on at a time. */
export const BY_DRIVER = [...CREATING, ...VFIO, ...OPENING, ...REMOVING, ...LATE];

/** What can be done side by side. */
export const LANES = {
  'by user space alone': BY_USER,
  'by a driver with a fault': BY_DRIVER,
} as const;
