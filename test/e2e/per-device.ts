// SPDX-License-Identifier: Apache-2.0
/** Violations as if each were about one device: occurrences about several devices may be one violation. */

export interface OfDevices {
  readonly device?: string;
  readonly devices: readonly string[];
  /** An earlier agent of this boot has found it. */
  readonly fromEarlierRun?: true;
}

/** @returns those of this agent, one for each device, all else as the violation has it */
export function perDevice<Violation extends OfDevices>(
  violations: readonly Violation[],
): readonly Violation[] {
  const own = violations.filter(({ fromEarlierRun }) => !fromEarlierRun);
  return own.flatMap((one) =>
    one.devices.length > 1 ? one.devices.map((device) => ({ ...one, device })) : [one],
  );
}

interface Line {
  readonly event?: unknown;
  readonly violation?: unknown;
  readonly device?: unknown;
}

/** The log lines that report a violation, or one more device of a violation. */
export function linesPerDevice<LogLine extends Line>(lines: readonly LogLine[]): LogLine[] {
  const known = new Set<string>();
  return lines.filter(({ event, violation, device }) => {
    if (event !== 'violation.raised' && event !== 'violation.repeated') return false;
    const key = `${violation} ${device}`;
    return !known.has(key) && known.add(key);
  });
}
