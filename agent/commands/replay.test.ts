import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, mock } from 'node:test';
import { type Header, PRELUDE } from '../../src/capture/format.ts';
import { RULES } from '../../src/catalogue.ts';
import { isPossible } from '../../src/engine/rule.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { encodeRecord } from '../../src/events/encoder.ts';
import { POINT } from '../../src/events/wire.gen.ts';
import { PROBE_TABLE } from '../../src/kernel/probe-table.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import { SECOND } from '../../src/units.ts';
import { HEADER, recorderOf, recordScenario, START, scratch } from '../../test/kit/recorded.ts';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';
import { output } from './output.ts';
import { type ReplayOptions, replay } from './replay.ts';

const directory = scratch();
const file = join(directory, 'scenario.vfr');
const UUID = 'aaaabbbb-cccc-4ddd-8eee-ffff00001111';

const ALL_POINTS: Header['points'] = PROBE_TABLE.map(({ point, module, description }) => ({
  ...{ point, module, description, state: 'attached', missed: 0, limited: false },
}));

function stalled(scenario: Scenario): void {
  const device = scenario.create(scenario.parent({ name: 'gpu0', driver: 'nv' }), { uuid: UUID });
  scenario.open(device);
  scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
  scenario.wait(11);
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(options: Partial<ReplayOptions> = {}): Promise<Outcome> {
  const lines = { log: [] as string[], error: [] as string[] };
  const note = (to: string[]) => (text: string) => {
    to.push(text);
  };
  const mocks = [
    mock.method(output, 'print', note(lines.log)),
    mock.method(output, 'complain', note(lines.error)),
  ];
  try {
    const base = { file, config: undefined, json: false, realtime: false };
    const code = await replay({ ...base, ...options });
    return { code, out: lines.log.join('\n'), err: lines.error.join('\n') };
  } finally {
    for (const one of mocks) one.mock.restore();
  }
}

interface Document {
  readonly recording: Record<string, unknown>;
  readonly violations: { rule: string; severity: string; state: string; message: string }[];
  readonly devices: { id: string; timeline: { events: { text: string; at: string }[] } }[];
  readonly rules: { id: string; active: boolean }[];
  readonly unwatched: { point: string; reason: string; seconds: number }[];
  readonly lost: Record<string, unknown>;
}

async function documentOf(options: Partial<ReplayOptions> = {}): Promise<Document> {
  return JSON.parse((await run({ ...options, json: true })).out);
}

describe('a replay as text', () => {
  it('shows objects, violations and what was missed', async () => {
    recordScenario(file, stalled, { points: ALL_POINTS });
    const { code, out, err } = await run();
    assert.deepEqual([code, err], [0, '']);
    const [objects, violation] = out.split('\nVIOLATION');
    assert.equal(
      objects,
      `${file}: 19 records in 11 s, from 2025-11-13T02:13:20.000Z
  kernel 6.12.57+deb13-amd64 (x64), recorded by vfioscope 0.1.0
  complete

device ${UUID} (gpu0-1) on gpu0 by nv: removing, removal waiting for users, open by qemu (pid 600)
  observed: seen from its begin, with no event lost since
      +0.000030 s  mdevctl[500]         mdev.create begin
      +0.000040 s  mdevctl[500]         mdev.probe begin
      +0.000050 s  mdevctl[500]         vfio.init begin
      +0.000060 s  mdevctl[500]         vfio.init end
      +0.000070 s  mdevctl[500]         vfio.register_emulated begin  open_count 0
      +0.000080 s  mdevctl[500]         vfio.register_emulated end  open_count 0
      +0.000090 s  mdevctl[500]         mdev.probe end
      +0.000100 s  mdevctl[500]         mdev.create end
      +0.000120 s  qemu[600]            vfio.device.kvm_capture begin  open_count 0
      +0.000130 s  qemu[600]            vfio.device.kvm_capture end  open_count 0
      +0.000140 s  qemu[600]            vfio.device.open begin  open_count 0
      +0.000150 s  qemu[600]            vfio.device.open end  open_count 1
      +0.000160 s  qemu[600]            vfio.device.get_fd end  = 20
      +0.000170 s  bash[700]            mdev.remove begin
      +0.000180 s  bash[700]            mdev.unbind begin
      +0.000190 s  bash[700]            vfio.unregister begin  open_count 1
`,
    );
    assert.ok(violation);
    assert.match(
      out,
      /\nVIOLATION v\d+-[0-9a-f]{10} remove-stall \(warning, open, observed\): A removal does not return.*\n {2}found \+10\.000190 s: The removal of .* by bash \(pid 700\).* qemu \(pid 600\)\.\n {2}held by {6}qemu \(pid 600, uid 0\): device .*, fd 20, opened 11 s ago\n {2}blocked {6}bash \(pid 700, uid 0\)\n {2}created by {3}mdevctl .*\n {2}removed by {3}bash .*\n {6}\+0\.000030 s {2}mdevctl\[500\] .*mdev\.create begin\n/,
    );
    assert.match(out, /\n\nno events were lost\n\nevery point was watched all the time$/);
  });

  it('shows what was lost, which objects that concerns, and what was not watched', async () => {
    const points = ALL_POINTS.map((point) =>
      point.point === 'kvm.get' ? { ...point, state: 'failed' as const, reason: 'inlined' } : point,
    );
    const losing = (scenario: Scenario) => {
      stalled(scenario);
      // The third record did not arrive.
      scenario.steps.splice(2, 1);
    };
    recordScenario(file, losing, { points });
    const { out } = await run();
    assert.match(out, /\n {2}unverified: events were lost during its lifecycle\n|\n {2}partial: /);
    assert.match(out, /\n\nlost events\n {2}1 ring_full\n/);
    assert.match(
      out,
      /\n\npoints that were not watched all the time\n {2}kvm\.get +for 11 s: inlined/,
    );
  });

  it('names the byte from which on there was more time than could be passed', async () => {
    const recorder = recorderOf(file);
    for (let hour = 0; hour < 400; hour++) {
      const time = START + hour * 3600 * SECOND;
      const fields = { time, seq: hour, point: POINT.KVM_PUT, pid: 1, tid: 1, comm: 'x' };
      recorder.record(new EventCursor(encodeRecord(fields).buffer as ArrayBuffer));
    }
    recorder.end();
    const byte = /\n {2}its pauses are too long to be passed in steps: from byte (\d+) on, /.exec(
      (await run()).out,
    )?.[1];
    assert.ok(Number(byte) > 0 && Number(byte) < statSync(file).size, byte);
    assert.equal((await documentOf()).recording.pausesSkippedAt, Number(byte));
  });

  it('says when nothing was observed', async () => {
    recordScenario(file, () => {}, { points: ALL_POINTS });
    const { code, out } = await run();
    assert.equal(code, 0);
    assert.match(out, /: 0 records in 0\.0 s/);
    assert.match(out, /\n\nno device and no VM was observed\n\nno violations\n/);
  });

  it('never contains undefined', async () => {
    for (const { examples } of RULES) {
      for (const example of [...examples.fires, ...examples.doesNotFire]) {
        recordScenario(file, example.run);
        assert.doesNotMatch((await run()).out, /undefined|null|NaN|\[object/);
      }
    }
  });
});

describe('a replay as JSON', () => {
  it('is one document with the views of the API and the dates of the recording', async () => {
    recordScenario(file, stalled, { points: ALL_POINTS });
    const { recording, violations, devices, rules, unwatched } = await documentOf();
    assert.deepEqual(recording, {
      ...{ file, agent: '0.1.0', kernel: HEADER.kernel, arch: 'x64', bootId: HEADER.bootId },
      ringBytes: 1 << 20,
      started: { ns: START, at: '2025-11-13T02:13:20.000Z' },
      ended: { ns: START + 11e9 + 190_000, at: '2025-11-13T02:13:31.000Z' },
      ...{ records: 19, complete: true },
    });
    assert.deepEqual(
      violations.filter(({ state }) => state === 'open').map(({ rule }) => rule),
      ['remove-stall'],
    );
    const [device, ...others] = devices;
    assert.deepEqual([device.id, others.length], [UUID, 0]);
    assert.equal(device.timeline.events[0].text, 'mdev.create begin');
    assert.match(device.timeline.events[0].at, /^2025-11-13T02:13:20/);
    const impossible = RULES.filter((rule) => !isPossible(rule, LINUX_6_12));
    assert.equal(rules.length, RULES.length);
    assert.deepEqual(
      rules.filter(({ active }) => !active).map(({ id }) => id),
      impossible.map(({ id }) => id),
    );
    assert.deepEqual(unwatched, []);
  });

  it('is the same each time, except for the numbers of incarnations', async () => {
    recordScenario(file, stalled, { points: ALL_POINTS });
    const plain = async () =>
      (await run({ json: true })).out.replace(/"(vm\d+|incarnation": \d+)/g, '');
    assert.equal(await plain(), await plain());
  });
});

describe('a replay', () => {
  for (const { id, examples } of RULES) {
    it(`finds what a live agent finds: ${id}`, async () => {
      for (const { title, run: steps } of [...examples.fires, ...examples.doesNotFire]) {
        const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
        const rules = RULES.filter((rule) => isPossible(rule, host.traits));
        const live = new ScenarioRunner({ rules, host });
        live.run(steps);
        recordScenario(file, steps, { points: ALL_POINTS });
        const { violations } = await documentOf();
        assert.deepEqual(
          violations.map(({ rule, severity, message, state }) => [
            ...[rule, severity, message, state === 'resolved'],
          ]),
          live
            .violations()
            .map(({ rule, severity, message, resolvedAt }) => [
              ...[rule, severity, message, resolvedAt > 0],
            ]),
          title,
        );
      }
    });
  }

  it('follows the settings of a file', async () => {
    recordScenario(file, stalled, { points: ALL_POINTS });
    const config = join(directory, 'settings.yaml');
    writeFileSync(config, 'rules:\n  remove_stall_seconds: 12\n');
    const { violations } = await documentOf({ config });
    assert.ok(violations.every(({ rule }) => rule !== 'remove-stall'));
  });

  it('evaluates rules for the kernel of the recording', async () => {
    recordScenario(file, stalled, { kernel: 'odd', points: ALL_POINTS });
    assert.equal((await run()).code, 0);
  });

  it('shows the valid part of a truncated recording, and exits with 3', async () => {
    recordScenario(file, stalled, { points: ALL_POINTS });
    truncateSync(file, readFileSync(file).length - 40);
    const { code, out, err } = await run();
    assert.equal(code, 3);
    assert.match(out, /\n {2}INCOMPLETE: .* ends in the middle of a block at byte \d+; 19 records/);
    assert.match(out, /VIOLATION v\d+-[0-9a-f]{10} remove-stall/);
    assert.match(
      err,
      /^error\[recording\.truncated\]: .* ends in the middle of a block .*\n {2}what to do: \S/,
    );
    const { recording } = await documentOf();
    assert.equal(recording.complete, false);
  });

  it('fails when the header is truncated', async () => {
    truncateSync(file, PRELUDE.size + 10);
    await assert.rejects(run(), { name: 'UserProblem', message: /in the middle of its header/ });
  });
});

describe('a replay in real time', () => {
  it('takes as long as the recording, and prints each step when it happens', async () => {
    recordScenario(
      file,
      (scenario) => {
        scenario.remove(scenario.create(scenario.parent()));
        scenario.wait(1);
        scenario.createFails(scenario.parent({ name: 'other' }), 17);
      },
      { points: ALL_POINTS },
    );
    const began = performance.now();
    const { code, out } = await run({ realtime: true });
    assert.ok(performance.now() - began > 990);
    assert.equal(code, 0);
    assert.match(out, /^ +\+0\.000020 s {2}parent {3}mtty registered by mtty\n/);
    assert.match(
      out,
      /\n +\+1\.\d+ s {2}failed {3}to create .* on other: EEXIST, requested by mdevctl \(pid 500\)\n/,
    );
  });
});
