import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { MOMENT_COUNT, momentIndexOf } from '../lifecycle/points.ts';
import { RULES } from '../rules/catalogue.ts';
import type { Story } from '../rules/story.ts';
import { Telling } from '../rules/telling.ts';
import { Looks } from './looks.ts';
import { createMetrics, type MetricsOptions, type MetricsSource } from './metrics.ts';

/** Written anew when UPDATE_GOLDEN is set; look at the difference before it is committed. */
const GOLDEN = new URL('./metrics.golden.txt', import.meta.url);
const BASH = { pid: 700, comm: 'bash' };

/** /metrics after a story, with made-up probes and ring. */
class Measured extends Telling {
  readonly events = new Float64Array(MOMENT_COUNT);
  readonly lost = { ring_full: 0, probe_missed: 0, calls_full: 0, unreadable: 0, malformed: 0 };
  readonly looks = new Looks();
  readonly registry;

  constructor(options: Partial<MetricsOptions> = {}) {
    super({ rules: RULES });
    const source: MetricsSource = {
      version: '1.2.3',
      world: this.world,
      rules: this.engine,
      events: this.events,
      lost: this.lost,
      lastLoss: () => 0,
      looks: this.looks,
      sequenceGaps: () => [0, 3],
      lanes: () => [
        { cpu: 0, attempts: 100, dropped: 0 },
        { cpu: 1, attempts: 50, dropped: 3 },
      ],
      ring: () => ({ bytes: 1 << 20, backlog: 232 }),
      pinned: () => ({
        lost: 4,
        counts: new Float64Array(MOMENT_COUNT)
          .fill(70, momentIndexOf('kvm.put:begin'))
          .fill(0, momentIndexOf('kvm.put:end')),
      }),
      probes: () => [
        {
          ...{ point: 'mdev.create', state: 'attached', missed: 2 },
          ...{ symbol: 'mdev_device_create', method: 'kprobe+kretprobe' },
        },
        { point: 'kvm.get', state: 'failed', missed: 0 },
      ],
      logLinesDropped: () => 0,
      activeRules: () =>
        new Map([
          ['remove-stall', true],
          ['kvm-ref-leak', false],
        ]),
    };
    const made = createMetrics(source, { perDevice: true, maxDevices: 1000, ...options });
    this.registry = made.registry;
    this.sink = (moment) => {
      this.events[moment.index]++;
      made.durations.take(moment);
    };
  }

  async text(): Promise<string> {
    this.live();
    return await this.registry.metrics();
  }

  /** The values of one metric by their labels. */
  async series(name: string): Promise<Record<string, number>> {
    const lines = (await this.text()).matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)$`, 'gm'));
    return Object.fromEntries([...lines].map(([, labels = '', value]) => [labels, Number(value)]));
  }
}

function tellAll(story: Story): void {
  const parent = story.parent({ name: 'gpu0', driver: 'nvidia' });
  const vm = story.createVm();
  story.setKvm(story.bindPci('0000:3b:00.0'), vm);
  const gone = story.create(parent);
  story.close(story.open(gone, { vm }));
  story.remove(gone);
  story.createFails(parent, 28);
  const stuck = story.create(parent);
  story.open(stuck, { vm });
  story.removeBegins(stuck, { as: BASH });
  story.open(story.create(parent));
  story.wait(11);
}

/** Takes out what differs from run to run. */
function settled(text: string): string {
  return text
    .replace(/^(process_\w+) \S+$/gm, '$1 VALUE')
    .replace(/node="[^"]*"/, 'node="VERSION"')
    .replace(/vm="vm\d+"/g, 'vm="vmSERIAL"');
}

describe('/metrics', () => {
  it('is, for a small story, exactly what metrics.golden.txt says', async () => {
    const telling = new Measured();
    telling.tell(tellAll);
    const text = settled(await telling.text());
    if (process.env.UPDATE_GOLDEN) writeFileSync(GOLDEN, text);
    assert.equal(text, readFileSync(GOLDEN, 'utf8'));
  });

  it('shows no kernel address, nor the key that stands for one', async () => {
    const telling = new Measured();
    telling.tell(tellAll);
    const text = await telling.text();
    assert.doesNotMatch(text, /0x[0-9a-f]|ffff[0-9a-f]{8}/i);
    const lives = [...telling.world.devices, ...telling.world.vms, ...telling.world.parents];
    assert.ok(lives.length > 4);
    for (const { keyLow, keyHigh } of lives) {
      for (const word of [keyLow, keyHigh]) {
        assert.ok(!text.includes(String(word)) && !text.includes(word.toString(16)), `${word}`);
      }
    }
  });

  it('is sound: each metric has help and type once, and no series comes twice', async () => {
    const telling = new Measured();
    telling.tell(tellAll);
    const lines = (await telling.text()).split('\n').filter((line) => line !== '');
    const names = lines
      .filter((line) => line.startsWith('# TYPE'))
      .map((line) => line.split(' ')[2]);
    assert.deepEqual(names, [...new Set(names)]);
    const series = lines
      .filter((line) => !line.startsWith('#'))
      .map((line) => line.replace(/ \S+$/, ''));
    assert.deepEqual(series, [...new Set(series)]);
    assert.doesNotMatch(lines.join('\n'), /undefined|NaN|null/);
    for (const name of names) assert.match(name, /^(vfioscope|process)_[a-z_]+$/);
  });

  it('does not grow when it is read again', async () => {
    const telling = new Measured();
    telling.tell(tellAll);
    assert.equal(settled(await telling.text()), settled(await telling.text()));
  });

  it('counts what was lost, by reason', async () => {
    const telling = new Measured();
    telling.lost.ring_full = 5;
    assert.equal((await telling.series('vfioscope_events_lost_total'))['reason="ring_full"'], 5);
    assert.equal((await telling.series('vfioscope_events_lost_total'))['reason="malformed"'], 0);
  });

  it('counts events by point and phase', async () => {
    const telling = new Measured();
    telling.tell((story) => story.create(story.parent()));
    const events = await telling.series('vfioscope_events_total');
    assert.equal(
      events['point="mdev.create",phase="end"'],
      telling.events[momentIndexOf('mdev.create:end')],
    );
    assert.equal(events['point="mdev.remove",phase="begin"'], undefined);
  });

  it('counts findings held back about lives not seen whole', async () => {
    const telling = new Measured();
    telling.raw('kvm.vm.fd_close:begin', { kvm: 1, usersCount: 2 });
    telling.tell((story) => story.wait(20));
    const held = await telling.series('vfioscope_findings_held_back_total');
    assert.deepEqual(Object.keys(held), ['rule="kvm-ref-leak"']);
  });
});

describe('series of single devices', () => {
  it('vanish with the device', async () => {
    const telling = new Measured();
    const device = telling.tell((story) => story.create(story.parent()));
    assert.equal(Object.keys(await telling.series('vfioscope_device_info')).length, 1);
    telling.tell((story) => story.remove(device));
    assert.deepEqual(await telling.series('vfioscope_device_info'), {});
    assert.deepEqual(await telling.series('vfioscope_device_open_files'), {});
    assert.deepEqual(await telling.series('vfioscope_devices'), {});
  });

  it('are capped, and the cap shows', async () => {
    const telling = new Measured({ maxDevices: 3 });
    telling.tell((story) => {
      const parent = story.parent();
      for (let i = 0; i < 8; i++) story.create(parent);
      for (let i = 0; i < 5; i++) story.createVm();
    });
    const counts = async (name: string) => Object.keys(await telling.series(name)).length;
    assert.equal(await counts('vfioscope_device_info'), 3);
    assert.equal(await counts('vfioscope_device_open_files'), 3);
    assert.equal(await counts('vfioscope_vm_references'), 3);
    assert.deepEqual(await telling.series('vfioscope_series_capped'), { '': 5 + 2 });
    const [[, total]] = Object.entries(await telling.series('vfioscope_devices'));
    assert.equal(total, 8);
  });

  it('are not capped by a cap that is not reached', async () => {
    const telling = new Measured({ maxDevices: 1 });
    telling.tell((story) => story.create(story.parent()));
    assert.deepEqual(await telling.series('vfioscope_series_capped'), { '': 0 });
  });

  it('can be switched off', async () => {
    const telling = new Measured({ perDevice: false });
    const { uuid } = telling.tell((story) => story.create(story.parent()));
    const text = await telling.text();
    assert.ok(!text.includes(uuid));
    assert.doesNotMatch(text, /vfioscope_(device_info|device_open_count|vm_users_count)/);
  });

  it('give a VM whose maker is not known no process', async () => {
    const telling = new Measured();
    telling.raw('kvm.get:begin', { kvm: 1, usersCount: 4, vmPid: 0 });
    const [[labels, value]] = Object.entries(await telling.series('vfioscope_vm_references'));
    assert.match(labels, /^vm="vm\d+",pid="0"$/);
    assert.equal(value, 5);
  });
});
