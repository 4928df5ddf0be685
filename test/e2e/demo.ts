// SPDX-License-Identifier: Apache-2.0
/**
 * The demo. Runs all steps on a real kernel while the agent in the VM logs what it observes.
 * With --once it ends by itself: exit code 0 only if the agent reported every expected device, VM and
 * violation, and no other.
 */

import { messageOf } from '../../src/errors.ts';
import { LabSession } from './lab-session.ts';
import { STEPS } from './steps.ts';
import { differences } from './verify.ts';

const EXIT_DIFFERENT = 1;
const SETTLE_MS = 300;
const HOUR = 3_600_000;

const once = process.argv.includes('--once');
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => interrupted.abort());
}
const stopped = new Promise<void>((resolve) =>
  interrupted.signal.addEventListener('abort', () => resolve(), { once: true }),
);

try {
  await demo();
} catch (error) {
  if (!interrupted.signal.aborted) {
    console.error(`demo: ${messageOf(error)}`);
    process.exitCode = EXIT_DIFFERENT;
  }
}

async function demo(): Promise<void> {
  const session = await LabSession.open({
    kernel: '6.12',
    timeoutMs: once ? HOUR / 6 : 24 * HOUR,
    logFormat: 'pretty',
    tty: process.stdout.isTTY,
    onAgentOutput: (text) => process.stdout.write(text),
    onStep: (step, detail, ms) => print(`${step} ${detail} ${(ms / 1000).toFixed(1)} s`),
    signal: interrupted.signal,
  });
  try {
    print(`the agent in the VM is reachable at ${session.url}`);
    print(`  ${session.url}/metrics   ${session.url}/api/v1/violations`);
    for (const [i, step] of STEPS.entries()) {
      print('');
      print(`${i + 1}/${STEPS.length} ${step.title}`);
      await step.run(session);
      // The agent's output for this step should appear above the title of the next one.
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    }
    print('');
    const wrong = await differences(session);
    for (const difference of wrong) print(`WRONG: ${difference}`);
    if (wrong.length > 0) process.exitCode = EXIT_DIFFERENT;
    else print(verdict(session));
    if (!once) {
      print(
        `all steps are done. The agent still answers at ${session.url}; press Ctrl-C to end the demo.`,
      );
      await stopped;
    }
  } finally {
    await session.close();
  }
}

function verdict({ devices, vms, violations }: LabSession): string {
  return (
    `the agent reported all ${devices.length} devices, ${vms} VMs and ${violations.length} violations, ` +
    'and nothing else'
  );
}

function print(text: string): void {
  console.log(text && `demo  ${text}`);
}
