// SPDX-License-Identifier: Apache-2.0
/**
 * Every rule that a real kernel can be made to break is broken on one, and told: with the right
 * severity, of the right object, with its evidence, and nothing else beside it.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { kernelVersion } from '../../src/kernel/host.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { isPossible, type Kernels } from '../../src/rules/rule.ts';
import { buildDrivers } from '../lab/lab.ts';
import { type ApiViolation, complaints, wrongs } from './provocations/account.ts';
import { BY_DRIVER, LANES } from './provocations/all.ts';
import { EVIDENCE } from './provocations/by-user.ts';
import { outcomes, unexplained, writeOutcomes } from './provocations/outcome.ts';
import type { Provocation } from './provocations/provocation.ts';
import { Scene, SETTINGS } from './provocations/scene.ts';
import { Stage } from './stage.ts';
import { KERNEL } from './traits.ts';

const DRIVER = fileURLToPath(new URL('../kmod', import.meta.url));

const version = kernelVersion(`${KERNEL}.0`);
/** Only provocations whose words have this in them, for the one who works on it. */
const only = process.env.VFIOSCOPE_ONLY ?? '';

function canPlay(rules: readonly string[], kernels: Kernels | undefined): boolean {
  if (kernels && !isPossible({ kernels }, version)) return false;
  return RULES.some((rule) => rules.includes(rule.id) && isPossible(rule, version));
}

describe(`rules provoked on a real ${KERNEL} kernel`, { timeout: 400_000 }, () => {
  let stage: Stage;
  let scene: Scene;
  const played: Provocation[] = [];
  let failures = 0;
  /** Of the kernel's log, when the first provocation begins. */
  let linesBefore = 0;

  before(async () => {
    stage = await Stage.open({
      kernel: KERNEL,
      timeoutMs: 390_000,
      logFormat: 'json',
      settings: SETTINGS,
      onAgentOutput: () => {},
    });
    const modules = await buildDrivers(stage.vm.kernel, DRIVER, ['faulty']);
    scene = new Scene(stage, version, `${modules}/faulty.ko`);
    await scene.load();
    linesBefore = (await stage.vm.dmesg()).length;
  });
  after(() => stage?.close());

  describe('all at once', { concurrency: true }, () => {
    for (const [lane, provocations] of Object.entries(LANES)) {
      describe(lane, { concurrency: false }, () => {
        for (const provocation of provocations) {
          const { rules, how, kernels } = provocation;
          if (!canPlay(rules, kernels)) continue;
          if (!`${rules.join()}: ${how}`.includes(only)) continue;
          it(`${rules.join(', ')}: ${how}`, async () => {
            played.push(provocation);
            await provocation.play(scene).catch(async (error: Error) => {
              failures++;
              if (provocations === BY_DRIVER) await scene.clearAway();
              throw error;
            });
          });
        }
      });
    }
  });

  it('told nothing else, and of each that it is over', async () => {
    const { violations } = await stage.api<{ violations: ApiViolation[] }>('/api/v1/violations');
    assert.deepEqual(wrongs(stage.violations, violations, EVIDENCE), []);
  });

  it('lost nothing, and the kernel complains of what is wrong with the driver only', async () => {
    const { lost } = await stage.api<{ lost: Record<string, number> }>('/api/v1/probes');
    assert.deepEqual(
      Object.entries(lost).filter(([, count]) => count > 0),
      [],
    );
    const expected = played.flatMap(({ complaint }) =>
      complaint && isPossible({ kernels: { ...complaint, because: '' } }, version)
        ? complaint.words
        : [],
    );
    const lines = await stage.vm.dmesg();
    assert.deepEqual(complaints(lines.slice(linesBefore), expected), []);
  });

  it('has provoked every rule that can be, and leaves what came of it, when asked', async (test) => {
    const told = [...stage.violations, ...scene.told];
    const all = outcomes(RULES, version, told, Object.values(LANES).flat());
    const count = Object.values(all).filter(({ outcome }) => outcome === 'provoked').length;
    test.diagnostic(`${count} of ${RULES.length} rules were provoked`);
    assert.equal(failures, 0, 'what failed is not what came of it');
    if (only === '') assert.deepEqual(unexplained(all), []);
    if (process.env.VFIOSCOPE_KEEP === undefined) return;
    writeOutcomes(KERNEL, await stage.sh('uname -r'), all);
  });
});
