import assert from 'node:assert/strict';
import { it } from 'node:test';
import { EventCursor } from '../../src/events/cursor.ts';
import { encodeRecord } from '../../src/events/encoder.ts';
import { POINT } from '../../src/events/wire.gen.ts';
import type { Rule } from '../../src/rules/rule.ts';
import { SOUND } from '../../src/rules/simple-rules.ts';
import { Pipeline } from './pipeline.ts';

it('a record that means nothing is counted as lost, and the next one is taken in', () => {
  const host = { kernel: [6, 12] as const, pidsWithKvmFiles: () => undefined };
  const pipeline = new Pipeline({ endedLives: 10 }, { rules: [], host }, 'boot');
  const told: string[] = [];
  pipeline.onLoss = (reason, count) => told.push(`${count} ${reason}`);
  const ingest = (point: number, seq: number) => {
    const bytes = encodeRecord({ time: 1, seq, point, pid: 1, tid: 1, comm: 'x', kvm: 7 });
    pipeline.record(new EventCursor(bytes.buffer as ArrayBuffer));
  };
  ingest(55, 0);
  ingest(POINT.KVM_PUT, 1);
  assert.deepEqual(told, ['1 malformed']);
  assert.equal(pipeline.losses.malformed, 1);
  assert.equal(pipeline.sequence.lost, 0);
  assert.equal(pipeline.world.vms.size, 1);
});

it('a rule does not judge on a kernel on which it cannot be broken', () => {
  const kernels = { before: [6, 2], because: 'the core takes a reference' } as const;
  const rule: Rule = { ...SOUND, id: 'old', kernels };
  for (const [kernel, active] of [
    [[6, 1], true],
    [[6, 2], false],
  ] as const) {
    let asked = 0;
    const host = { kernel, pidsWithKvmFiles: () => undefined };
    const rules = [{ ...rule, onClock: () => asked++ }];
    const pipeline = new Pipeline({ endedLives: 10 }, { rules, host }, 'boot');
    pipeline.watching([]);
    pipeline.caughtUp(1, []);
    assert.equal(asked > 0, active);
    const [state] = pipeline.ruleStates([]);
    assert.equal(state.impossible, active ? undefined : kernels.because);
  }
});
