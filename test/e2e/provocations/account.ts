// SPDX-License-Identifier: Apache-2.0
/** Compares the violations that the agent reported with those that it had to report. */

import type { EventKind } from '../../../src/events/points.ts';
import { kernelProblems } from '../../lab/dmesg.ts';
import type { ExpectedViolation } from '../lab-session.ts';
import type { ReportedWait } from '../waits.ts';
import type { Subject } from './expectation.ts';

interface ApiTask {
  readonly pid: number;
  readonly comm: string;
}

export interface ApiViolation extends ReportedWait {
  readonly severity: string;
  readonly state: 'open' | 'resolved' | 'happened';
  readonly quality: string;
  readonly device?: string;
  readonly devices: readonly string[];
  readonly parent?: string;
  readonly vm?: { readonly pid: number };
  readonly process?: ApiTask;
  readonly holders: readonly { readonly process: ApiTask }[];
  readonly blocked?: ApiTask;
  readonly waiters?: { readonly tasks: readonly (ApiTask & { readonly how: string })[] };
  readonly message: string;
  /** How often it occurred: what occurs again within an hour is the same violation. */
  readonly count: number;
  readonly kernelLog?: readonly string[];
  readonly evidence: readonly {
    readonly ns: number;
    readonly point: string;
    readonly phase: 'begin' | 'end';
  }[];
}

/** The subject of a violation or of an expectation, as one text. */
export function subjectOf(about: Subject | ApiViolation): string {
  if (about === 'the host') return about;
  if ('device' in about && about.device) return about.device;
  if ('vm' in about && about.vm) {
    return `VM of ${typeof about.vm === 'number' ? about.vm : about.vm.pid}`;
  }
  return ('parent' in about && about.parent) || 'the host';
}

/** @returns the first event kind that the evidence lacks after those before it, and the kinds that it has */
export function missingEvidence(
  { evidence }: ApiViolation,
  wanted: readonly EventKind[],
): string | undefined {
  const transitions = evidence.map(({ point, phase }) => `${point}:${phase}`);
  let at = 0;
  for (const transition of wanted) {
    const found = transitions.indexOf(transition, at);
    if (found < 0) return `${transition} in its place (${transitions.join(' ')})`;
    at = found + 1;
  }
  return undefined;
}

/**
 * @param evidence the event kinds that each violation of a rule must have, whichever provocation led to it
 * @returns violations that are unexpected, missing, still open or incomplete
 */
export function wrongs(
  expected: readonly ExpectedViolation[],
  reported: readonly ApiViolation[],
  evidence: Readonly<Record<string, readonly EventKind[]>>,
): string[] {
  const rest = new Set(reported);
  const occurrences = new Map(reported.map((one) => [one, one.count]));
  const missing = expected.filter(({ rule, severity, device }) => {
    const match = [...rest, ...reported].find(
      (one) =>
        one.rule === rule &&
        one.severity === severity &&
        subjectOf(one) === device &&
        (occurrences.get(one) ?? 0) > 0,
    );
    if (!match) return true;
    rest.delete(match);
    occurrences.set(match, (occurrences.get(match) ?? 0) - 1);
    return false;
  });
  return [
    ...missing.map(
      ({ rule, severity, device }) => `not reported: ${severity} ${rule} of ${device}`,
    ),
    ...Array.from(
      rest,
      (one) => `unexpected: ${one.severity} ${one.rule} of ${subjectOf(one)}: ${one.message}`,
    ),
    ...reported
      .filter(({ state }) => state === 'open')
      .map((one) => `still open: ${one.rule} of ${subjectOf(one)}: ${one.message}`),
    ...reported.filter((one) => !isInOrder(one)).map((one) => `evidence out of order: ${one.rule}`),
    ...reported.flatMap((one) => {
      const missing = missingEvidence(one, evidence[one.rule] ?? []);
      return missing ? [`${one.rule} lacks ${missing}`] : [];
    }),
  ];
}

/** Complaints of the kernel about drivers and users; warnings and oopses are matched elsewhere. */
const COMPLAINT = /\b(fail(ed|s|ure)?|errors?|cannot|wrong|refus\w*|blocked)\b/i;
/** A frame of a call trace: the line before the trace has the complaint. */
const FRAME = /\+0x[0-9a-f]+\/0x[0-9a-f]+/;

/** @returns complaints of the kernel that were not expected, and expected ones that are missing */
export function complaints(lines: readonly string[], expected: readonly RegExp[]): string[] {
  const problems = new Set(kernelProblems(lines));
  const isComplaint = (line: string) => COMPLAINT.test(line) && !FRAME.test(line);
  return [
    ...expected.filter((one) => !lines.some((line) => one.test(line))).map((one) => `no ${one}`),
    ...lines
      .filter((line) => problems.has(line) || isComplaint(line))
      .filter((line) => !expected.some((one) => one.test(line))),
  ];
}

function isInOrder({ evidence }: ApiViolation): boolean {
  return evidence.every((entry, i) => i === 0 || entry.ns >= evidence[i - 1].ns);
}
