// SPDX-License-Identifier: Apache-2.0
/**
 * The demo. Plays all acts on a real kernel while the agent in the VM tells what
 * it sees. With --once it ends by itself: exit code 0 only if the agent saw every
 * expected life and violation, and no other.
 */
import { ACTS } from './acts.ts';
import { Stage } from './stage.ts';
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
    console.error(`demo: ${error instanceof Error ? error.message : error}`);
    process.exitCode = EXIT_DIFFERENT;
  }
}

async function demo(): Promise<void> {
  const stage = await Stage.open({
    kernel: '6.12',
    timeoutMs: once ? HOUR / 6 : 24 * HOUR,
    logFormat: 'pretty',
    tty: process.stdout.isTTY,
    onAgentOutput: (text) => process.stdout.write(text),
    onStep: (step, detail, ms) => say(`${step} ${detail} ${(ms / 1000).toFixed(1)} s`),
    signal: interrupted.signal,
  });
  try {
    say(`the agent in the VM listens here too: ${stage.url}`);
    say(`  ${stage.url}/metrics   ${stage.url}/api/v1/violations`);
    for (const [i, act] of ACTS.entries()) {
      say('');
      say(`${i + 1}/${ACTS.length} ${act.title}`);
      await act.play(stage);
      // What the agent has to say to this act should stand above the next one's title.
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    }
    say('');
    const wrong = await differences(stage);
    for (const difference of wrong) say(`WRONG: ${difference}`);
    if (wrong.length > 0) process.exitCode = EXIT_DIFFERENT;
    else say(verdict(stage));
    if (!once) {
      say(`everything is played. Look around at ${stage.url}, then press Ctrl-C.`);
      await stopped;
    }
  } finally {
    await stage.close();
  }
}

function verdict({ lives, vms, violations }: Stage): string {
  return (
    `the agent saw all ${lives.length} device lives, ${vms} VMs and ${violations.length} violations, ` +
    'and nothing else'
  );
}

function say(text: string): void {
  console.log(text && `demo  ${text}`);
}
