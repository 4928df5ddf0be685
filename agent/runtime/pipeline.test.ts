import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Rule } from '../../src/engine/rule.ts';
import type { Sink } from '../../src/engine/sink.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { encodeRecord } from '../../src/events/encoder.ts';
import { POINT } from '../../src/events/wire.gen.ts';
import { SOUND } from '../../test/kit/simple-rules.ts';
import { IngestState } from './ingest-state.ts';
import { Pipeline, type PipelineOptions } from './pipeline.ts';

function pipelineOf(rules: PipelineOptions['rules'], sinks: readonly Sink[] = []): Pipeline {
  return new Pipeline(new IngestState({ bootId: 'boot', endedObjects: 10 }), { rules, sinks });
}

it('a record of an unknown point is counted as lost, and the next one is processed', () => {
  const host = { kernel: [6, 12] as const, pidsWithKvmFiles: () => undefined };
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
  const kernels = { before: [6, 2], because: 'the core takes a reference' } as const;
  const rule: Rule = { ...SOUND, id: 'old', kernels };
  for (const [kernel, active] of [
    [[6, 1], true],
    [[6, 2], false],
  ] as const) {
    let evaluated = 0;
    const host = { kernel, pidsWithKvmFiles: () => undefined };
    const rules = [{ ...rule, onClock: () => evaluated++ }];
    const pipeline = pipelineOf({ rules, host });
    pipeline.watching([]);
    pipeline.caughtUp(1, []);
    assert.equal(evaluated > 0, active);
    const [state] = pipeline.ruleStates([]);
    assert.equal(state.impossible, active ? undefined : kernels.because);
  }
});
