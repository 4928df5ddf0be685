// SPDX-License-Identifier: Apache-2.0
/** What the commands of runbooks printed on a real kernel: outputs.json, which the generator of the runbooks reads. */
import { readFileSync, writeFileSync } from 'node:fs';

const FILE = new URL('outputs.json', import.meta.url);

export interface Printed {
  /** Whether what the alert is about existed then. */
  readonly isProvoked: boolean;
  /** Shortened outputs, by the command as the runbook shows it. */
  readonly outputs: Readonly<Record<string, string>>;
}

/** By the names of alerts. */
export type Outputs = Readonly<Record<string, Printed>>;

export function readOutputs(): Outputs {
  return JSON.parse(readFileSync(FILE, 'utf8')) as Outputs;
}

/**
 * Those that runbooks show. The agent of the lab has no budget, since no time of an emulated VM is that of a host, so
 * that its outputs are not those of an agent that is over it.
 */
export function shownOutputs(): Outputs {
  const { VfioscopeOverBudget: _, ...shown } = readOutputs();
  return shown;
}

export function writeOutputs(outputs: Outputs): void {
  writeFileSync(FILE, `${JSON.stringify(outputs, null, 2)}\n`);
}
