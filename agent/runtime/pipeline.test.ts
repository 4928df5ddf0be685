import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Rule } from '../../src/engine/rule.ts';
import type { Sink } from '../../src/engine/sink.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { encodeRecord } from '../../src/events/encoder.ts';
import { POINT_NAMES } from '../../src/events/points.ts';
import type { PointStatus } from '../../src/events/source.ts';
import { POINT } from '../../src/events/wire.gen.ts';
import { LINUX_6_1, LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { SOUND } from '../../test/kit/simple-rules.ts';
import { IngestState } from './ingest-state.ts';
import { Pipeline, type PipelineOptions } from './pipeline.ts';

function pipelineOf(rules: PipelineOptions['rules'], sinks: readonly Sink[] = []): Pipeline {
  return new Pipeline(new IngestState({ bootId: 'boot', endedObjects: 10 }), { rules, sinks });
}

it('a record of an unknown point is counted as lost, and the next one is processed', () => {
  const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
  const lost: string[] = [];
  const sink: Sink = { loss: (reason, count) => lost.push(`${count} ${reason}`) };
  const pipeline = pipelineOf({ rules: [], host }, [sink]);
  const ingest = (point: number, seq: number) => {
    const bytes = encodeRecord({ time: 1, seq, point, pid: 1, tid: 1, comm: 'x', kvm: 7 });
    pipeline.record(new EventCursor(bytes.buffer as ArrayBuffer));
  };
  ingest(55, 0);
  ingest(POINT.KVM_PUT, 1);
  assert.deepEqual(lost, ['1 malformed']);
  const { losses, sequence, world } = pipeline.state;
  assert.equal(losses.malformed, 1);
  assert.equal(sequence.lost, 0);
  assert.equal(world.vms.size, 1);
});

it('a rule is not evaluated on a kernel on which its violation cannot happen', () => {
  const kernels = {
    where: { coreHoldsVm: false },
    because: 'the core takes a reference',
  } as const;
  const rule: Rule = { ...SOUND, id: 'old', kernels };
  for (const [traits, active] of [
    [LINUX_6_1, true],
    [LINUX_6_12, false],
  ] as const) {
    let evaluated = 0;
    const host = { traits, pidsWithKvmFiles: () => undefined };
    const rules = [{ ...rule, onClock: () => evaluated++ }];
    const pipeline = pipelineOf({ rules, host });
    pipeline.watching([]);
    pipeline.caughtUp(1, []);
    assert.equal(evaluated > 0, active);
    const [state] = pipeline.ruleStates([]);
    assert.equal(state.impossible, active ? undefined : kernels.because);
  }
});

describe('points that the budget has detached', () => {
  const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
  const rule: Rule = { ...SOUND, id: 'counts', basis: 'history', needs: ['kvm.put'] };
  const status = (state: PointStatus['state']): PointStatus[] => [
    { point: 'kvm.put', module: 'kvm', description: '', state, missed: 0, limited: false },
  ];

  it('make the rules that need them inactive, and sinks learn which', () => {
    const reported: unknown[] = [];
    const sink: Sink = { budget: ({ change }, inactive) => reported.push([change, ...inactive]) };
    const pipeline = pipelineOf({ rules: [rule], host }, [sink]);
    const figures = { used: 1, limit: 0.05, lasted: 1, wait: 1 };
    const concerned = { budget: 'probes', points: ['kvm.put'], lifecycle: false } as const;
    const report = { ...concerned, ...figures };
    pipeline.watching(status('attached'));
    pipeline.watching(status('detached'));
    pipeline.budget({ ...report, change: 'detached' });
    const [state] = pipeline.ruleStates(status('detached'));
    assert.deepEqual(
      [state.active, state.missing, state.detached],
      [false, ['kvm.put'], ['kvm.put']],
    );
    pipeline.watching(status('attached'), { since: 5, lifecycle: false });
    pipeline.budget({ ...report, change: 'restored' });
    assert.deepEqual(reported, [['detached', 'counts'], ['restored']]);
  });

  it('leave the state unverified only if it depends on them', () => {
    const pipeline = pipelineOf({ rules: [rule], host });
    pipeline.watching(status('detached'));
    pipeline.watching(status('attached'), { since: 5, lifecycle: false });
    assert.equal(pipeline.state.world.isUnverified, false);
    pipeline.watching(status('detached'));
    pipeline.watching(status('attached'), { since: 9, lifecycle: true });
    assert.equal(pipeline.state.world.isUnverified, true);
  });
});

it('calls at points that are detached are not in flight for ever', () => {
  const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
  const pipeline = pipelineOf({ rules: [], host });
  const { world } = pipeline.state;
  const begins = (point: number, seq: number) => {
    const bytes = encodeRecord({ time: 1, seq, point, pid: 1, tid: 1, comm: 'x', kvm: 7 });
    pipeline.record(new EventCursor(bytes.buffer as ArrayBuffer));
  };
  const report = { used: 1, limit: 0.05, lasted: 1, wait: 1, budget: 'probes' } as const;
  begins(POINT.KVM_GET_SAFE, 0);
  begins(POINT.KVM_VM_DESTROY, 1);
  assert.equal(world.calls.size, 2);
  pipeline.budget({ ...report, change: 'detached', points: ['kvm.get_safe'], lifecycle: false });
  assert.equal(world.calls.size, 1);
  assert.equal(world.isUnverified, false);
  pipeline.budget({ ...report, change: 'detached', points: POINT_NAMES, lifecycle: true });
  assert.equal(world.isUnverified, true);
});
