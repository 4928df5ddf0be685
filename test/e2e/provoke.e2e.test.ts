// SPDX-License-Identifier: Apache-2.0
/**
 * Every rule that a real kernel can be made to violate is violated on one. The agent has to report it
 * with the right severity, about the right object, with its evidence, and report nothing else.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RULES } from '../../src/catalogue.ts';
import { isPossible, type Kernels } from '../../src/engine/rule.ts';
import { buildDrivers } from '../lab/lab.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { LabSession } from './lab-session.ts';
import { type ApiViolation, complaints, subjectOf, wrongs } from './provocations/account.ts';
import { BY_DRIVER, IN_PARALLEL } from './provocations/all.ts';
import { EVIDENCE } from './provocations/by-user.ts';
import { HARDWARE } from './provocations/groups.ts';
import { outcomes, unexplained, writeOutcomes } from './provocations/outcome.ts';
import type { Provocation } from './provocations/provocation.ts';
import { ProvocationSession, SETTINGS } from './provocations/session.ts';
import { KERNEL, traitsOf } from './traits.ts';

const DRIVER = fileURLToPath(new URL('../kmod', import.meta.url));

const traits = traitsOf(KERNEL);
/** Runs only provocations whose rules or description contain this text, for development. */
const only = process.env.VFIOSCOPE_ONLY ?? '';

function canRun(rules: readonly string[], kernels: Kernels | undefined): boolean {
  if (kernels && !isPossible({ kernels }, traits)) return false;
  return RULES.some((rule) => rules.includes(rule.id) && isPossible(rule, traits));
}

describe(`rules provoked on a real ${KERNEL} kernel`, { timeout: SUITE_MS }, () => {
  let lab: LabSession;
  let session: ProvocationSession;
  const attempted: Provocation[] = [];
  let failures = 0;
  /** Length of the kernel's log when the first provocation begins. */
  let linesBefore = 0;

  before(async () => {
    lab = await LabSession.open({
      kernel: KERNEL,
      timeoutMs: VM_MS,
      ...HARDWARE,
      logFormat: 'json',
      settings: SETTINGS,
      onAgentOutput: () => {},
    });
    const modules = await buildDrivers(lab.vm.kernel, DRIVER, ['faulty']);
    session = new ProvocationSession(lab, `${modules}/faulty.ko`);
    await session.load();
    linesBefore = (await lab.vm.dmesg()).length;
  });
  after(() => lab?.close());

  describe('all at once', { concurrency: true }, () => {
    for (const [counters, provocations] of Object.entries(IN_PARALLEL)) {
      describe(counters, { concurrency: false }, () => {
        for (const provocation of provocations) {
          const { rules, how, kernels } = provocation;
          if (!canRun(rules, kernels)) continue;
          if (!`${rules.join()}: ${how}`.includes(only)) continue;
          it(`${rules.join(', ')}: ${how}`, async () => {
            attempted.push(provocation);
            await provocation.run(session).catch(async (error: Error) => {
              failures++;
              if (provocations === BY_DRIVER) await session.clearAway();
              throw error;
            });
          });
        }
      });
    }
  });

  it('raises no other violation, and resolves each', async () => {
    const violations = await lab.reported<ApiViolation>(subjectOf);
    assert.deepEqual(wrongs(lab.violations, violations, EVIDENCE), []);
  });

  it('loses no event, and the kernel logs only the complaints that the provocations expect', async () => {
    const { lost } = await lab.api<{ lost: Record<string, number> }>('/api/v1/probes');
    assert.deepEqual(
      Object.entries(lost).filter(([, count]) => count > 0),
      [],
    );
    const expected = attempted.flatMap(({ complaint }) =>
      complaint && isPossible({ kernels: { where: {}, ...complaint, because: '' } }, traits)
        ? complaint.pattern
        : [],
    );
    const lines = await lab.vm.dmesg();
    assert.deepEqual(complaints(lines.slice(linesBefore), expected), []);
  });

  it('provokes every rule that can be, and writes the outcomes when VFIOSCOPE_KEEP is set', async (test) => {
    const reported = [...lab.violations, ...session.reported];
    const impossible = lab.watched.rules.flatMap(({ id, impossible: why }): [string, string][] =>
      why === undefined ? [] : [[id, why]],
    );
    const provocations = Object.values(IN_PARALLEL).flat();
    const all = outcomes(RULES, traits, reported, provocations, new Map(impossible));
    const count = Object.values(all).filter(({ outcome }) => outcome === 'provoked').length;
    test.diagnostic(`${count} of ${RULES.length} rules were provoked`);
    assert.equal(failures, 0, 'a failed provocation has no outcome');
    if (only === '') assert.deepEqual(unexplained(all), []);
    if (process.env.VFIOSCOPE_KEEP === undefined) return;
    writeOutcomes(KERNEL, await lab.sh('uname -r'), all);
  });
});
