/** Streams of real kernels, left by the lab, through the same code as in the lab. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Player } from '../../src/capture/player.ts';
import { RecordingReader } from '../../src/capture/reader.ts';
import { loadConfig } from '../config/load.ts';
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
  readonly lives: readonly { uuid: string; parent: string; end: string; opens: number }[];
  readonly vms: number;
  readonly violations: readonly { rule: string; severity: string; device: string }[];
}

async function play(kernel: string) {
  const reader = new RecordingReader(`${DIRECTORY}/${kernel}.vfr`);
  const { header } = reader;
  const host = hostOf(header.kernel);
  const settings = await loadConfig(`${DIRECTORY}/settings.yaml`, []);
  const pipeline = new Pipeline({ endedLives: 1000 }, engineOptions(settings, host), header.bootId);
  const illegal: string[] = [];
  pipeline.addSink(({ illegal: step }) => {
    if (step) illegal.push(`${step.automaton}: ${step.input} while ${step.from}`);
  });
  const playback = new Playback(pipeline, header.startedAt);
  const player = new Player(reader);
  while (player.step(playback));
  reader.close();
  return { header, player, pipeline, illegal };
}

it('there is one of each kernel of the matrix', () => {
  const { kernels } = JSON.parse(readFileSync('test/lab/kernels.json', 'utf8')) as {
    kernels: object;
  };
  assert.deepEqual(KERNELS.sort(), Object.keys(kernels).sort());
});

for (const kernel of KERNELS) {
  const { header, player, pipeline, illegal } = await play(kernel);
  describe(`the recording of ${kernel}`, () => {
    const truth = JSON.parse(readFileSync(`${DIRECTORY}/${kernel}.json`, 'utf8')) as Truth;
    const { world, rules, losses } = pipeline;

    it('is whole, and nothing was lost', () => {
      assert.equal(player.problem, undefined);
      assert.ok(header.kernel.startsWith(kernel), header.kernel);
      for (const [reason, count] of Object.entries(losses)) assert.equal(count, 0, reason);
    });

    it('tells every life, each VM, and no other', () => {
      const lives = truth.lives.map(
        ({ uuid, parent, end, opens }) => `${uuid} on ${parent}, ${end}, opens ${opens}`,
      );
      const told = [...world.devices, ...world.endedDevices.list()].map(
        ({ name, parentName, state, opensTotal }) =>
          `${name} on ${parentName}, ${state}, opens ${opensTotal}`,
      );
      assert.deepEqual(told.sort(), lives.sort());
      const vms = [...world.vms, ...world.endedVms.list()].map(({ state }) => state);
      assert.deepEqual(vms, new Array(truth.vms).fill('destroyed'));
    });

    it('has no step that a legal life has not', () => {
      assert.deepEqual(illegal, []);
    });

    it('shows the violations that took place, and no other', () => {
      const text = (one: { rule: string; severity: string; device?: string | undefined }) =>
        `${one.severity} ${one.rule} of ${one.device}`;
      assert.deepEqual(rules.list().map(text).sort(), truth.violations.map(text).sort());
    });
  });
}
