/** Recordings of real kernels, made in the lab, run through the pipeline. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Player } from '../../src/capture/player.ts';
import { RecordingReader } from '../../src/capture/reader.ts';
import type { Sink } from '../../src/engine/sink.ts';
import { loadConfig } from '../config/load.ts';
import { IngestState } from '../runtime/ingest-state.ts';
import { Pipeline } from '../runtime/pipeline.ts';
import { Playback } from '../runtime/playback.ts';
import { engineOptions } from '../runtime/rule-options.ts';
import { hostOf } from './replay.ts';

const DIRECTORY = fileURLToPath(new URL('../../test/recordings', import.meta.url));
const KERNELS = readdirSync(DIRECTORY)
  .filter((name) => name.endsWith('.vfr'))
  .map((name) => name.slice(0, -'.vfr'.length));

/** What was done while it was recorded. */
interface Truth {
  readonly objects: readonly { uuid: string; parent: string; end: string; opens: number }[];
  readonly vms: number;
  readonly violations: readonly { rule: string; severity: string; device: string }[];
}

async function play(kernel: string) {
  const reader = new RecordingReader(`${DIRECTORY}/${kernel}.vfr`);
  const { header } = reader;
  const host = hostOf(header, () => playback.coverage.points);
  const settings = await loadConfig(`${DIRECTORY}/settings.yaml`, []);
  const illegal: string[] = [];
  const sink: Sink = {
    event({ illegal: step }) {
      if (step) illegal.push(`${step.automaton}: ${step.input} while ${step.from}`);
    },
  };
  const pipeline = new Pipeline(new IngestState({ bootId: header.bootId, endedObjects: 1000 }), {
    rules: engineOptions(settings, host),
    sinks: [sink],
  });
  const playback = new Playback(pipeline, header.startedAt);
  const player = new Player(reader);
  while (player.step(playback));
  reader.close();
  return { header, player, pipeline, illegal };
}

/** A recording that vfioscope 0.1.0 made. */
const OLD = 'format-1/6.12';

for (const kernel of [...KERNELS, OLD]) {
  const { header, player, pipeline, illegal } = await play(kernel);
  describe(`the recording of ${kernel}`, () => {
    const truth = JSON.parse(readFileSync(`${DIRECTORY}/${kernel}.json`, 'utf8')) as Truth;
    const { world, losses } = pipeline.state;
    const { rules } = pipeline;

    it('is complete, and nothing was lost', () => {
      assert.equal(player.problem, undefined);
      const [series] = basename(kernel).split('-');
      assert.ok(header.kernel.startsWith(series), header.kernel);
      for (const [reason, count] of Object.entries(losses)) assert.equal(count, 0, reason);
    });

    it('shows each device, each VM, and no other', () => {
      const objects = truth.objects.map(
        ({ uuid, parent, end, opens }) => `${uuid} on ${parent}, ${end}, opens ${opens}`,
      );
      const shown = [...world.devices, ...world.devices.ended.list()].map(
        ({ name, parentName, state, opensTotal }) =>
          `${name} on ${parentName}, ${state}, opens ${opensTotal}`,
      );
      assert.deepEqual(shown.sort(), objects.sort());
      const vms = [...world.vms, ...world.vms.ended.list()].map(({ state }) => state);
      assert.deepEqual(vms, new Array(truth.vms).fill('destroyed'));
    });

    it('has no step that is illegal in a lifecycle', () => {
      assert.deepEqual(illegal, []);
    });

    it('shows the violations that were provoked, and no other', () => {
      const text = (one: { rule: string; severity: string; device?: string | undefined }) =>
        `${one.severity} ${one.rule} of ${one.device}`;
      assert.deepEqual(rules.list().map(text).sort(), truth.violations.map(text).sort());
    });
  });
}
