// SPDX-License-Identifier: Apache-2.0
/** Holds the agent's account against what was really done. */
import type { Stage } from './stage.ts';

interface ApiDevice {
  readonly id: string;
  readonly parent: string;
  readonly state: string;
  readonly quality: string;
  readonly opensTotal: number;
}

interface ApiVm {
  readonly id: string;
  readonly state: string;
  readonly quality: string;
}

interface ApiViolation {
  readonly rule: string;
  readonly severity: string;
  readonly device: string;
  readonly parent: string;
  readonly type: string;
  readonly quality: string;
  readonly explanation: string;
  readonly process: { readonly pid: number; readonly comm: string } | undefined;
  readonly evidence: readonly { readonly ns: number; readonly text: string }[];
  readonly state: string;
}

interface ApiProbes {
  readonly points: readonly { readonly point: string; readonly missed: number }[];
  readonly lost: Readonly<Record<string, number>>;
}

/** @returns every difference in words; none when the agent saw all that was done and nothing else */
export async function differences(stage: Stage): Promise<string[]> {
  const { devices, ended } = await stage.api<{ devices: ApiDevice[]; ended: ApiDevice[] }>(
    '/api/v1/devices',
  );
  const vms = await stage.api<{ vms: ApiVm[]; ended: ApiVm[] }>('/api/v1/vms');
  const { violations } = await stage.api<{ violations: ApiViolation[] }>('/api/v1/violations');
  const probes = await stage.api<ApiProbes>('/api/v1/probes');
  return [
    ...compare(
      'life',
      stage.lives.map(
        ({ uuid, parent, end, opens }) => `${uuid} on ${parent}, ${end}, opens ${opens}`,
      ),
      [...devices, ...ended].map(
        ({ id, parent, state, opensTotal }) => `${id} on ${parent}, ${state}, opens ${opensTotal}`,
      ),
    ),
    ...compare(
      'VM',
      new Array(stage.vms).fill('a VM, destroyed'),
      [...vms.vms, ...vms.ended].map(({ state }) => `a VM, ${state}`),
    ),
    ...compare(
      'violation',
      stage.violations.map(({ rule, severity, device }) => `${severity} ${rule} of ${device}`),
      violations.map(({ rule, severity, device }) => `${severity} ${rule} of ${device}`),
    ),
    ...violations.flatMap(incomplete),
    ...[...devices, ...ended, ...vms.ended]
      .filter(({ quality }) => quality !== 'observed')
      .map(({ id, quality }) => `${id} is ${quality}, though its whole life was there to be seen`),
    ...Object.entries(probes.lost)
      .filter(([, count]) => count > 0)
      .map(([reason, count]) => `${count} events lost: ${reason}`),
    ...(await stage.vm.problems()).map((line) => `the kernel complains: ${line}`),
  ];
}

/** What every violation must carry. */
function incomplete(violation: ApiViolation): string[] {
  const { rule, device, parent, type, process, explanation, evidence, quality, state } = violation;
  const missing: string[] = [];
  if (!parent) missing.push('its parent');
  if (!type) missing.push('its type');
  if (!process?.comm) missing.push('the process');
  if (!explanation.includes(device)) missing.push('an explanation that names the device');
  if (evidence.length < 2) missing.push('evidence');
  if (quality !== 'observed') missing.push('quality observed');
  // Everything was put right in the end.
  if (state === 'open') missing.push('an end');
  for (const [i, entry] of evidence.entries()) {
    if (i > 0 && entry.ns < evidence[i - 1].ns) missing.push('evidence in order');
  }
  return missing.map((what) => `${rule} of ${device} lacks ${what}`);
}

/** Two lists that should hold the same texts, in any order. */
function compare(what: string, expected: readonly string[], seen: readonly string[]): string[] {
  const rest = [...seen];
  const missing = expected.filter((text) => {
    const at = rest.indexOf(text);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  return [
    ...missing.map((text) => `expected ${what} was not seen: ${text}`),
    ...rest.map((text) => `unexpected ${what}: ${text}`),
  ];
}
