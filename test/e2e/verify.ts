// SPDX-License-Identifier: Apache-2.0
/** Compares the agent's reports with what was really done. */
import type { LabSession } from './lab-session.ts';
import type { ReportedWait } from './waits.ts';

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

interface ApiViolation extends ReportedWait {
  readonly severity: string;
  readonly device: string;
  readonly devices: readonly string[];
  readonly parent: string;
  readonly mdevType: string;
  readonly quality: string;
  readonly message: string;
  readonly process: { readonly pid: number; readonly comm: string } | undefined;
  readonly state: string;
}

interface ApiProbes {
  readonly points: readonly { readonly point: string; readonly missed: number }[];
  readonly lost: Readonly<Record<string, number>>;
}

/** @returns every difference as a sentence; none when the agent reported all that was done and nothing else */
export async function differences(session: LabSession): Promise<string[]> {
  const violations = await session.reported<ApiViolation>(({ device }) => device);
  const { devices, ended } = await session.api<{ devices: ApiDevice[]; ended: ApiDevice[] }>(
    '/api/v1/devices',
  );
  const vms = await session.api<{ vms: ApiVm[]; ended: ApiVm[] }>('/api/v1/vms');
  const probes = await session.api<ApiProbes>('/api/v1/probes');
  return [
    ...compare(
      'device',
      session.devices.map(
        ({ uuid, parent, end, opens }) => `${uuid} on ${parent}, ${end}, opens ${opens}`,
      ),
      [...devices, ...ended].map(
        ({ id, parent, state, opensTotal }) => `${id} on ${parent}, ${state}, opens ${opensTotal}`,
      ),
    ),
    ...compare(
      'VM',
      new Array(session.vms).fill('a VM, destroyed'),
      [...vms.vms, ...vms.ended].map(({ state }) => `a VM, ${state}`),
    ),
    ...compare(
      'violation',
      session.violations.map(({ rule, severity, device }) => `${severity} ${rule} of ${device}`),
      violations.map(({ rule, severity, device }) => `${severity} ${rule} of ${device}`),
    ),
    ...violations.flatMap(incomplete),
    ...[...devices, ...ended, ...vms.ended]
      .filter(({ quality }) => quality !== 'observed')
      .map(
        ({ id, quality }) => `${id} is ${quality}, though its whole lifecycle could be observed`,
      ),
    ...Object.entries(probes.lost)
      .filter(([, count]) => count > 0)
      .map(([reason, count]) => `${count} events lost: ${reason}`),
    ...(await session.vm.problems()).map((line) => `the kernel complains: ${line}`),
  ];
}

/** What every violation must carry. */
function incomplete(violation: ApiViolation): string[] {
  const { rule, device, parent, mdevType, process, message, evidence, quality, state } = violation;
  const missing: string[] = [];
  if (!parent) missing.push('its parent');
  if (!mdevType) missing.push('its type');
  if (!process?.comm) missing.push('the process');
  if (!message.includes(device)) missing.push('a message that names the device');
  if (evidence.length < 2) missing.push('evidence');
  if (quality !== 'observed') missing.push('quality observed');
  // Every condition was resolved by the end.
  if (state === 'open') missing.push('an end');
  for (const [i, entry] of evidence.entries()) {
    if (i > 0 && entry.ns < evidence[i - 1].ns) missing.push('evidence in order');
  }
  return missing.map((what) => `${rule} of ${device} lacks ${what}`);
}

/** Two lists that should hold the same texts, in any order. */
function compare(what: string, expected: readonly string[], reported: readonly string[]): string[] {
  const rest = [...reported];
  const missing = expected.filter((text) => {
    const at = rest.indexOf(text);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  return [
    ...missing.map((text) => `expected ${what} was not reported: ${text}`),
    ...rest.map((text) => `unexpected ${what}: ${text}`),
  ];
}
