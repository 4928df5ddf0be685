/**
 * Critical violations since the host was booted, those of earlier runs of the agent included: a kernel that
 * freed what is in use stays unsafe until the next boot, whatever the agent does meanwhile.
 */

import type { Violation } from '../engine/violation.ts';

/** What metrics show of one. */
export interface CriticalViolation {
  /** The id of the violation, never used by another run. */
  readonly id: string;
  readonly rule: string;
  /** UUID or bus address, "" if it is about no device. */
  readonly device: string;
  readonly parent: string;
  /** Process that created the VM: its id and name, "" where there is none or it is not known. */
  readonly vmPid: string;
  readonly vmComm: string;
  /** The name of the guest. */
  readonly vmName: string;
  /** The first process known to hold what it is about. */
  readonly holderPid: string;
  readonly holderComm: string;
  readonly systemdUnit: string;
  /** When it last occurred, seconds since 1970. */
  readonly at: number;
}

/** All but the id and the rule. */
export type CriticalSeries = Omit<CriticalViolation, 'id' | 'rule'>;

/** @param at seconds since 1970 */
export function criticalSeries(violation: Violation, at: number): CriticalSeries {
  const { device = '', parent = '', vm, holders } = violation;
  const [holder] = holders;
  return {
    ...{ device, parent, vmPid: `${vm?.pid ?? ''}`, vmComm: vm?.comm ?? '' },
    vmName: vm?.name ?? '',
    ...{ holderPid: `${holder?.task.pid ?? ''}`, holderComm: holder?.task.comm ?? '' },
    ...{ systemdUnit: holder?.group?.unit ?? '', at },
  };
}
