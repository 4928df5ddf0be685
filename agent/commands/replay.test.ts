import assert from 'node:assert/strict';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, mock } from 'node:test';
import { type Header, PRELUDE } from '../../src/capture/format.ts';
import { HEADER, START, scratch, tape } from '../../src/capture/taped.ts';
import { PROBE_TABLE } from '../../src/kernel/probe-table.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { isPossible } from '../../src/rules/rule.ts';
import type { Story } from '../../src/rules/story.ts';
import { Telling } from '../../src/rules/telling.ts';
import { type ReplayOptions, replay } from './replay.ts';

const directory = scratch();
const file = join(directory, 'story.vfr');
const UUID = 'aaaabbbb-cccc-4ddd-8eee-ffff00001111';

const ALL_POINTS: Header['points'] = PROBE_TABLE.map(({ point, module, meaning }) => ({
  ...{ point, module, meaning, state: 'attached', missed: 0, limited: false },
}));

function stalled(story: Story): void {
  const device = story.create(story.parent({ name: 'gpu0', driver: 'nv' }), { uuid: UUID });
  story.open(device);
  story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
  story.wait(11);
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(options: Partial<ReplayOptions> = {}): Promise<Outcome> {
  const lines = { log: [] as string[], error: [] as string[] };
  const mocks = (['log', 'error'] as const).map((name) =>
    mock.method(console, name, (line: string) => lines[name].push(line)),
  );
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
  readonly violations: { rule: string; severity: string; state: string; explanation: string }[];
  readonly devices: { id: string; timeline: { events: { text: string; at: string }[] } }[];
  readonly rules: { id: string; active: boolean }[];
  readonly unseen: { point: string; reason: string; seconds: number }[];
  readonly lost: Record<string, unknown>;
}

async function documentOf(options: Partial<ReplayOptions> = {}): Promise<Document> {
  return JSON.parse((await run({ ...options, json: true })).out);
}

describe('a replay as text', () => {
  it('tells lives, violations and what was missed', async () => {
    tape(file, stalled, { points: ALL_POINTS });
    const { code, out, err } = await run();
    assert.deepEqual([code, err], [0, '']);
    const [lives, violation] = out.split('\nVIOLATION');
    assert.equal(
      lives,
      `${file}: 19 records in 11 s, from 2025-11-13T02:13:20.000Z
  of kernel 6.12.57+deb13-amd64 (x64), by vfioscope 0.1.0
  whole

device ${UUID} (gpu0-1) on gpu0 by nv: removing, waiting for its users, open by qemu (pid 600)
  observed: seen from its beginning, nothing lost since
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
      /\nVIOLATION v\d+-[0-9a-f]{10} remove-stall \(warning, open, observed\): A removal waits .*\n {2}found \+10\.000190 s: The removal of .* by bash \(pid 700\).* qemu \(pid 600\)\.\n {2}held by {4}qemu \(pid 600, uid 0\): device .*, fd 20, opened 11 s ago\n {2}blocked {4}bash \(pid 700, uid 0\)\n {2}created by mdevctl .*\n {2}removed by bash .*\n {6}\+0\.000030 s {2}mdevctl\[500\] .*mdev\.create begin\n/,
    );
    assert.match(out, /\n\nno events were lost\n\nevery point was watched all the time$/);
  });

  it('says what was lost, which lives that concerns, and what was not watched', async () => {
    const points = ALL_POINTS.map((point) =>
      point.point === 'kvm.get' ? { ...point, state: 'failed' as const, reason: 'inlined' } : point,
    );
    const losing = (story: Story) => {
      stalled(story);
      // The third record did not arrive.
      story.steps.splice(2, 1);
    };
    tape(file, losing, { points });
    const { out } = await run();
    assert.match(out, /\n {2}tainted: events were lost during its life\n|\n {2}late: /);
    assert.match(out, /\n\nlost events\n {2}1 ring_full\n/);
    assert.match(
      out,
      /\n\npoints that were not watched all the time\n {2}kvm\.get +for 11 s: inlined/,
    );
  });

  it('says when nothing was seen', async () => {
    tape(file, () => {}, { points: ALL_POINTS });
    const { code, out } = await run();
    assert.equal(code, 0);
    assert.match(out, /: 0 records in 0\.0 s/);
    assert.match(out, /\n\nno device and no VM was seen\n\nno violations\n/);
  });

  it('has no undefined in it, whatever is told', async () => {
    for (const { examples } of RULES) {
      for (const { tell } of [...examples.fires, ...examples.silent]) {
        tape(file, tell);
        assert.doesNotMatch((await run()).out, /undefined|null|NaN|\[object/);
      }
    }
  });
});

describe('a replay as JSON', () => {
  it('is one document with the views of the API and dates of the time of the recording', async () => {
    tape(file, stalled, { points: ALL_POINTS });
    const { recording, violations, devices, rules, unseen } = await documentOf();
    assert.deepEqual(recording, {
      ...{ file, agent: '0.1.0', kernel: HEADER.kernel, arch: 'x64', bootId: HEADER.bootId },
      ringBytes: 1 << 20,
      started: { ns: START, at: '2025-11-13T02:13:20.000Z' },
      ended: { ns: START + 11e9 + 190_000, at: '2025-11-13T02:13:31.000Z' },
      ...{ records: 19, whole: true },
    });
    assert.deepEqual(
      violations.filter(({ state }) => state === 'open').map(({ rule }) => rule),
      ['remove-stall'],
    );
    const [device, ...others] = devices;
    assert.deepEqual([device.id, others.length], [UUID, 0]);
    assert.equal(device.timeline.events[0].text, 'mdev.create begin');
    assert.match(device.timeline.events[0].at, /^2025-11-13T02:13:20/);
    const impossible = RULES.filter((rule) => !isPossible(rule, [6, 12]));
    assert.equal(rules.length, RULES.length);
    assert.deepEqual(
      rules.filter(({ active }) => !active).map(({ id }) => id),
      impossible.map(({ id }) => id),
    );
    assert.deepEqual(unseen, []);
  });

  it('is the same each time, but for the numbers of lives', async () => {
    tape(file, stalled, { points: ALL_POINTS });
    const plain = async () => (await run({ json: true })).out.replace(/"(vm\d+|life": \d+)/g, '');
    assert.equal(await plain(), await plain());
  });
});

describe('a replay', () => {
  for (const { id, examples } of RULES) {
    it(`finds what a live agent finds: ${id}`, async () => {
      for (const { title, tell } of [...examples.fires, ...examples.silent]) {
        const host = { kernel: [6, 12] as const, pidsWithKvmFiles: () => undefined };
        const rules = RULES.filter((rule) => isPossible(rule, host.kernel));
        const live = new Telling({ rules, host });
        live.tell(tell);
        tape(file, tell, { points: ALL_POINTS });
        const { violations } = await documentOf();
        assert.deepEqual(
          violations.map(({ rule, severity, explanation, state }) => [
            ...[rule, severity, explanation, state === 'resolved'],
          ]),
          live
            .violations()
            .map(({ rule, severity, explanation, resolvedAt }) => [
              ...[rule, severity, explanation, resolvedAt > 0],
            ]),
          title,
        );
      }
    });
  }

  it('follows the settings of a file', async () => {
    tape(file, stalled, { points: ALL_POINTS });
    const config = join(directory, 'settings.yaml');
    writeFileSync(config, 'rules:\n  remove_stall_seconds: 12\n');
    const { violations } = await documentOf({ config });
    assert.ok(violations.every(({ rule }) => rule !== 'remove-stall'));
  });

  it('asks rules for the kernel of the recording', async () => {
    tape(file, stalled, { kernel: 'odd', points: ALL_POINTS });
    assert.equal((await run()).code, 0);
  });

  it('shows what is whole of a recording that is cut, and says so with its exit code', async () => {
    tape(file, stalled, { points: ALL_POINTS });
    truncateSync(file, readFileSync(file).length - 40);
    const { code, out, err } = await run();
    assert.equal(code, 3);
    assert.match(out, /\n {2}NOT WHOLE: .* ends in the middle of a block at byte \d+; 19 records/);
    assert.match(out, /VIOLATION v\d+-[0-9a-f]{10} remove-stall/);
    assert.match(err, /^vfioscope: .* ends in the middle of a block .*\n {2}what to do: \S/);
    const { recording } = await documentOf();
    assert.equal(recording.whole, false);
  });

  it('finds nothing to show in half a header', async () => {
    truncateSync(file, PRELUDE.size + 10);
    await assert.rejects(run(), { name: 'UserProblem', message: /in the middle of its header/ });
  });
});

describe('a replay in real time', () => {
  it('waits as long as it took, and tells each step when it happens', async () => {
    tape(
      file,
      (story) => {
        story.remove(story.create(story.parent()));
        story.wait(1);
        story.createFails(story.parent({ name: 'other' }), 17);
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
      /\n +\+1\.\d+ s {2}refused {2}.* on other: EEXIST, asked by mdevctl \(pid 500\)\n/,
    );
  });
});
