// SPDX-License-Identifier: Apache-2.0
/** What the agent told, held against what it had to tell. */

import type { MomentName } from '../../../src/lifecycle/points.ts';
import { kernelProblems } from '../../lab/dmesg.ts';
import type { ExpectedViolation } from '../stage.ts';
import type { Subject } from './provocation.ts';

interface ApiTask {
  readonly pid: number;
  readonly comm: string;
}

export interface ApiViolation {
  readonly rule: string;
  readonly severity: string;
  readonly state: 'open' | 'resolved' | 'happened';
  readonly quality: string;
  readonly device?: string;
  readonly parent?: string;
  readonly vm?: { readonly pid: number };
  readonly process?: ApiTask;
  readonly holders: readonly { readonly process: ApiTask }[];
  readonly blocked?: ApiTask;
  readonly explanation: string;
  readonly evidence: readonly {
    readonly ns: number;
    readonly point: string;
    readonly phase: 'begin' | 'end';
  }[];
}

/** What a violation, or something that is expected, is about: in one word. */
export function subjectOf(about: Subject | ApiViolation): string {
  if (about === 'the host') return about;
  if ('device' in about && about.device) return about.device;
  if ('vm' in about && about.vm) {
    return `VM of ${typeof about.vm === 'number' ? about.vm : about.vm.pid}`;
  }
  return ('parent' in about && about.parent) || 'the host';
}

/** @returns the first of the moments that the evidence does not have behind those before it, and what it has */
export function missingEvidence(
  { evidence }: ApiViolation,
  wanted: readonly MomentName[],
): string | undefined {
  const moments = evidence.map(({ point, phase }) => `${point}:${phase}`);
  let at = 0;
  for (const moment of wanted) {
    const found = moments.indexOf(moment, at);
    if (found < 0) return `${moment} in its place (${moments.join(' ')})`;
    at = found + 1;
  }
  return undefined;
}

/**
 * @param evidence what each violation of a rule must have, whoever provoked it
 * @returns what was told and not expected, or expected and not told, and what is not over or incomplete
 */
export function wrongs(
  expected: readonly ExpectedViolation[],
  told: readonly ApiViolation[],
  evidence: Readonly<Record<string, readonly MomentName[]>>,
): string[] {
  const rest = [...told];
  const missing = expected.filter(({ rule, severity, device }) => {
    const at = rest.findIndex(
      (one) => one.rule === rule && one.severity === severity && subjectOf(one) === device,
    );
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  return [
    ...missing.map(({ rule, severity, device }) => `not told: ${severity} ${rule} of ${device}`),
    ...rest.map(
      (one) => `unexpected: ${one.severity} ${one.rule} of ${subjectOf(one)}: ${one.explanation}`,
    ),
    ...told
      .filter(({ state }) => state === 'open')
      .map((one) => `still open: ${one.rule} of ${subjectOf(one)}: ${one.explanation}`),
    ...told.filter((one) => !isInOrder(one)).map((one) => `evidence out of order: ${one.rule}`),
    ...told.flatMap((one) => {
      const missing = missingEvidence(one, evidence[one.rule] ?? []);
      return missing ? [`${one.rule} lacks ${missing}`] : [];
    }),
  ];
}

/** How the kernel complains of drivers and users, beside what is wrong in itself. */
const COMPLAINT = /\b(fail(ed|s|ure)?|errors?|cannot|wrong|refus\w*|blocked)\b/i;
/** A step of a call trace: the line before it says what it is about. */
const STEP = /\+0x[0-9a-f]+\/0x[0-9a-f]+/;

/** @returns what the kernel complains of and was not expected, and what was expected and did not come */
export function complaints(lines: readonly string[], expected: readonly RegExp[]): string[] {
  const problems = new Set(kernelProblems(lines));
  const isComplaint = (line: string) => COMPLAINT.test(line) && !STEP.test(line);
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
