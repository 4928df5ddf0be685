import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attributionLines } from '../../src/engine/attribution-lines.ts';
import type { KernelLogLine } from '../../src/events/host.ts';
import { createFailed } from '../../src/rules/create-failed.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { SECOND } from '../../src/units.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const OTHER = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002';

function line(text: string, read: number, names: readonly string[] = []): KernelLogLine {
  return { time: '12.345678', text, names, after: read - SECOND, before: read };
}

/** The lines that belong to a create of {@link UUID} that fails at 1000 s. */
function linesOf(...lines: KernelLogLine[]): readonly string[] | undefined {
  const host = {
    ...{ traits: LINUX_6_12, pidsWithKvmFiles: () => undefined },
    kernelLog: () => lines,
  };
  const runner = new ScenarioRunner({ rules: [createFailed], host });
  runner.run((scenario) => {
    scenario.probeFails(scenario.createEnters(scenario.parent(), { uuid: UUID }), 5);
  });
  return runner.violations()[0].kernelLog;
}

describe('the lines of the kernel log beside a violation', () => {
  const now = 1000 * SECOND;

  it('are those that name its device or its parent, up to 30 s before', () => {
    const [device, parent] = [
      `vfio_mdev ${UUID}: refused`,
      'mtty mtty: out of channels, says mdev',
    ];
    assert.deepEqual(linesOf(line(device, now - 20 * SECOND, [UUID]), line(parent, now)), [
      `[   12.345678] ${device}`,
      `[   12.345678] ${parent}`,
    ]);
  });

  it('are those of the same time that name no device', () => {
    assert.equal(linesOf(line('vfio: something', now))?.length, 1);
    assert.equal(linesOf(line('vfio: something', now - 10 * SECOND))?.length, 0);
  });

  it('are not those of another device, nor of an earlier time', () => {
    assert.deepEqual(linesOf(line(`vfio_mdev ${OTHER}: refused`, now, [OTHER])), []);
    assert.deepEqual(linesOf(line(`vfio_mdev ${UUID}: refused`, now - 60 * SECOND, [UUID])), []);
  });

  it('are the latest eight', () => {
    const many = Array.from({ length: 20 }, (_, i) => line(`vfio ${UUID}: ${i}`, now, [UUID]));
    assert.equal(linesOf(...many)?.length, 8);
    assert.match(linesOf(...many)?.at(-1) ?? '', /: 19$/);
  });

  it('are in the text of the violation', () => {
    const host = {
      ...{ traits: LINUX_6_12, pidsWithKvmFiles: () => undefined },
      kernelLog: () => [line('vfio: something', now)],
    };
    const runner = new ScenarioRunner({ rules: [createFailed], host });
    runner.run((scenario) => scenario.createFails(scenario.parent(), 5));
    assert.ok(
      attributionLines(runner.violations()[0]).includes(
        'kernel log   [   12.345678] vfio: something',
      ),
    );
  });
});
