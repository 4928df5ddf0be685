// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { IngestState } from '../../agent/runtime/ingest-state.ts';
import { Pipeline } from '../../agent/runtime/pipeline.ts';
import { RULES } from '../../src/catalogue.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { EVENT, POINT } from '../../src/events/wire.gen.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { mustBeLegal } from './legal.ts';
import {
  type RecordedScenario,
  recordedLifecycles,
  recordedReferences,
} from './recorded-scenario.ts';

const PASSES = 3;

describe('a recorded scenario of the benchmarks', () => {
  it('of lifecycles leads to no violation under any rule, however often it is played', () => {
    const pipeline = newPipeline();
    const { scenario, totals } = recordedLifecycles();
    play(pipeline, scenario, PASSES);
    mustBeLegal(pipeline);
    const { parents, devices, vms } = pipeline.state.world;
    assert.deepEqual([parents.size, devices.size, vms.size], [0, 0, 0], 'nothing is left');
    assert.ok(totals.devices > 0);
  });

  it('of references leads to no violation either', () => {
    const pipeline = newPipeline();
    const { setup, scenario } = recordedReferences();
    for (const { buffer } of setup.records) {
      pipeline.dispatcher.apply(new EventCursor(buffer as ArrayBuffer));
    }
    play(pipeline, scenario, PASSES);
    mustBeLegal(pipeline);
    assert.equal(pipeline.state.world.vms.size, 16);
  });

  it('is refused when a rule fires on it', () => {
    const pipeline = newPipeline();
    const { scenario } = recordedLifecycles();
    const records = scenario.records.filter((record) => record[EVENT.point] !== POINT.KVM_PUT);
    play(pipeline, { ...scenario, records }, 1);
    assert.throws(() => mustBeLegal(pipeline), /rules fired on it .*device-kvm-refs-unbalanced/);
  });
});

function newPipeline(): Pipeline {
  const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
  const state = new IngestState({ bootId: 'boot', endedObjects: 1000 });
  return new Pipeline(state, { rules: { rules: RULES, host }, sinks: [] });
}

/** Plays a recorded scenario as the producer does: time and sequence numbers continue from pass to pass. */
function play(pipeline: Pipeline, { records, span }: RecordedScenario, passes: number): void {
  let seq = 0;
  for (let pass = 0; pass < passes; pass++) {
    for (const record of records) {
      const bytes = record.slice();
      const view = new DataView(bytes.buffer);
      const time = view.getBigUint64(EVENT.time, true) + BigInt(pass * span);
      view.setBigUint64(EVENT.time, time, true);
      view.setUint32(EVENT.seq, seq++, true);
      pipeline.record(new EventCursor(bytes.buffer));
      pipeline.rules.tick(Number(time));
    }
  }
}
