import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { momentIndexOf } from '../lifecycle/points.ts';
import type { Story } from '../rules/story.ts';
import { BOOTED, Measured } from './measured.ts';

/** Written anew when UPDATE_GOLDEN is set; look at the difference before it is committed. */
const GOLDEN = new URL('./metrics.golden.txt', import.meta.url);
const BASH = { pid: 700, comm: 'bash' };

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
    .replace(/^nodejs_\w+\{.*\n/gm, '')
    .replace(/^((?:process_|nodejs_|vfioscope_scrape_duration)\w+) \S+$/gm, '$1 VALUE')
    .replace(/node="[^"]*"/, 'node="VERSION"')
    .replace(/vm="vm\d+"/g, 'vm="vmSERIAL"');
}

describe('/metrics', () => {
  it('is, for a small story, exactly what metrics.golden.txt says', async () => {
    const telling = new Measured();
    // So that the next scrape still shows what ends meanwhile.
    await telling.text();
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
    for (const name of names) assert.match(name, /^(vfioscope|process|nodejs)_[a-z_]+$/);
  });

  it('does not grow when it is read again', async () => {
    const telling = new Measured();
    telling.tell(tellAll);
    assert.equal(settled(await telling.text()), settled(await telling.text()));
  });

  it('counts what was lost, by reason', async () => {
    const telling = new Measured();
    telling.lost.ring_full = 5;
    const lost = await telling.series('vfioscope_events_lost_total');
    assert.equal(lost['reason="ring_full"'], 5);
    assert.equal(lost['reason="malformed"'], 0);
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

  it('tells how far the reader is behind, as long as there is something to read', async () => {
    const telling = new Measured();
    telling.tell((story) => story.create(story.parent()));
    telling.now = telling.world.now + 250e6;
    const lag = async () => (await telling.series('vfioscope_reader_lag_seconds'))[''];
    assert.equal(await lag(), 0);
    telling.backlog = 112;
    assert.equal(await lag(), 0.25);
  });

  it('tells whether rules can judge, but not of those whose mistake this kernel cannot make', async () => {
    const active = await new Measured().series('vfioscope_rule_active');
    assert.deepEqual(active, { 'rule="remove-stall"': 1, 'rule="kvm-ref-leak"': 0 });
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
  const PER_DEVICE = [
    'vfioscope_device_info',
    'vfioscope_device_state',
    'vfioscope_device_open_files',
    'vfioscope_device_created_timestamp_seconds',
  ];

  it('stay for two scrapes after the device has gone, in its last state, and then vanish', async () => {
    const telling = new Measured();
    const device = telling.tell((story) => story.create(story.parent()));
    const shown = async () => {
      const counts: number[] = [];
      for (const name of PER_DEVICE) counts.push(Object.keys(await telling.series(name)).length);
      return counts;
    };
    assert.deepEqual(await shown(), [1, 1, 1, 1]);
    telling.tell((story) => story.remove(device));
    const state = async () => Object.keys(await telling.series('vfioscope_device_state'));
    const states = [await state(), await state(), await state()];
    const last = [`device="${device.uuid}",state="released"`];
    assert.deepEqual(states, [last, last, []]);
    assert.deepEqual(await telling.series('vfioscope_devices'), {});
    assert.deepEqual(await shown(), [0, 0, 0, 0]);
  });

  it('show a device that lived and ended between two scrapes, twice', async () => {
    const telling = new Measured();
    const seen = async () => Object.keys(await telling.series('vfioscope_device_info')).length;
    assert.equal(await seen(), 0);
    telling.tell((story) => story.remove(story.create(story.parent())));
    assert.deepEqual([await seen(), await seen(), await seen()], [1, 1, 0]);
  });

  it('of a device that ended before the first scrape are never shown', async () => {
    const telling = new Measured();
    telling.tell((story) => story.remove(story.create(story.parent())));
    assert.deepEqual(await telling.series('vfioscope_device_info'), {});
    assert.deepEqual(await telling.series('vfioscope_device_info'), {});
  });

  it('are those of the living one when a device comes again under its UUID', async () => {
    const telling = new Measured();
    const parent = telling.tell((story) => story.parent());
    const { uuid } = telling.tell((story) => {
      const first = story.create(parent);
      story.remove(first);
      return story.create(parent, { uuid: first.uuid });
    });
    assert.deepEqual(await telling.series('vfioscope_device_state'), {
      [`device="${uuid}",state="bound"`]: 1,
    });
  });

  it('are those of the latest when several of one UUID have ended', async () => {
    const telling = new Measured();
    await telling.text();
    const { uuid } = telling.tell((story) => {
      const parent = story.parent();
      const first = story.create(parent);
      story.remove(first);
      story.createFails(parent, 28, { uuid: first.uuid });
      return first;
    });
    assert.deepEqual(await telling.series('vfioscope_device_state'), {
      [`device="${uuid}",state="failed"`]: 1,
    });
  });

  it('are capped, and the cap shows', async () => {
    const telling = new Measured({ maxDevices: 3 });
    telling.tell((story) => {
      const parent = story.parent();
      for (let i = 0; i < 8; i++) story.create(parent);
      for (let i = 0; i < 5; i++) story.createVm();
    });
    const counts = async (name: string) => Object.keys(await telling.series(name)).length;
    for (const name of PER_DEVICE) assert.equal(await counts(name), 3, name);
    assert.equal(await counts('vfioscope_vm_references'), 3);
    assert.deepEqual(await telling.series('vfioscope_series_capped'), {
      ...{ 'object="device"': 5, 'object="vm"': 2, 'object="violation"': 0 },
    });
    const [[, total]] = Object.entries(await telling.series('vfioscope_devices'));
    assert.equal(total, 8);
  });

  it('are not capped by a cap that is not reached', async () => {
    const telling = new Measured({ maxDevices: 1 });
    telling.tell((story) => story.create(story.parent()));
    assert.equal((await telling.series('vfioscope_series_capped'))['object="device"'], 0);
  });

  it('can be switched off', async () => {
    const telling = new Measured({ perDevice: false });
    telling.tell(tellAll);
    const uuids = [...telling.world.devices].map(({ name }) => name);
    const text = await telling.text();
    assert.ok(uuids.length > 1);
    for (const uuid of uuids) assert.ok(!text.includes(uuid), uuid);
    assert.doesNotMatch(text, /vfioscope_(device|vm|violation)_|vfioscope_series_capped/);
  });

  it('give a VM whose maker is not known no process', async () => {
    const telling = new Measured();
    telling.raw('kvm.get:begin', { kvm: 1, usersCount: 4, vmPid: 0 });
    const [vm] = telling.world.vms;
    const labels = `vm="vm${vm.serial}"`;
    assert.deepEqual(await telling.series('vfioscope_vm_references'), { [labels]: 5 });
    assert.deepEqual(await telling.series('vfioscope_vm_info'), {
      [`${labels},pid="0",comm=""`]: 1,
    });
  });

  it('name who holds a device that a removal waits for, and the violation that it is', async () => {
    const telling = new Measured();
    const stuck = telling.tell((story) => {
      const device = story.create(story.parent({ name: 'gpu0' }));
      const as = { pid: 600, comm: 'qemu' };
      story.open(device, { vm: story.createVm({ as }), as });
      story.removeBegins(device, { as: BASH });
      story.wait(11);
      return device;
    });
    assert.deepEqual(await telling.series('vfioscope_device_holder_info'), {
      [`device="${stuck.uuid}",pid="600",comm="qemu",unit=""`]: 1,
    });
    const [[labels, ...others]] = [Object.keys(await telling.series('vfioscope_violation_info'))];
    assert.deepEqual(others, []);
    assert.match(labels, /^id="v\d+",rule="remove-stall",severity="warning",device="/);
    assert.deepEqual(Object.values(await telling.series('vfioscope_devices_waiting')), [1]);
  });

  it('tell when a device was created, opened and is being removed, in seconds since 1970', async () => {
    const telling = new Measured();
    const device = telling.tell((story) => {
      const created = story.create(story.parent());
      story.wait(60);
      story.open(created, { vm: story.createVm() });
      story.wait(60);
      story.removeBegins(created, { as: BASH });
      return created;
    });
    const at = async (what: string) => {
      const series = await telling.series(`vfioscope_device_${what}_timestamp_seconds`);
      return series[`device="${device.uuid}"`];
    };
    const created = await at('created');
    assert.ok(created >= BOOTED + 1000 && created < BOOTED + 1010, `${created}`);
    assert.deepEqual(
      [(await at('opened')) - created, (await at('remove_began')) - created],
      [60, 120],
    );
  });
});
