import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { BOOTED, Measured } from '../../test/kit/measured.ts';
import type { Scenario } from '../scenario/scenario.ts';

/** Is rewritten when UPDATE_GOLDEN is set; read the difference before you commit it. */
const GOLDEN = new URL('./metrics.golden.txt', import.meta.url);
const BASH = { pid: 700, comm: 'bash' };

function everything(scenario: Scenario): void {
  const parent = scenario.parent({ name: 'gpu0', driver: 'nvidia' });
  const vm = scenario.createVm();
  scenario.setKvm(scenario.bindPci('0000:3b:00.0'), vm);
  const gone = scenario.create(parent);
  scenario.close(scenario.open(gone, { vm }));
  scenario.remove(gone);
  scenario.createFails(parent, 28);
  const stuck = scenario.create(parent);
  scenario.open(stuck, { vm });
  scenario.removeBegins(stuck, { as: BASH });
  scenario.open(scenario.create(parent));
  scenario.wait(11);
}

/** Replaces values that differ from run to run. */
function settled(text: string): string {
  return text
    .replace(/^nodejs_\w+\{.*\n/gm, '')
    .replace(/^((?:process_|nodejs_|vfioscope_scrape_duration)\w+) \S+$/gm, '$1 VALUE')
    .replace(/nodejs_version="[^"]*"/, 'nodejs_version="VERSION"')
    .replace(/vm="vm\d+"/g, 'vm="vmSERIAL"');
}

describe('/metrics', () => {
  it('is, for a small scenario, exactly metrics.golden.txt', async () => {
    const runner = new Measured();
    runner.run(everything);
    const text = settled(await runner.text());
    if (process.env.UPDATE_GOLDEN) writeFileSync(GOLDEN, text);
    assert.equal(text, readFileSync(GOLDEN, 'utf8'));
  });

  it('shows no kernel address, and no key that is derived from one', async () => {
    const runner = new Measured();
    runner.run(everything);
    const text = await runner.text();
    assert.doesNotMatch(text, /0x[0-9a-f]|ffff[0-9a-f]{8}/i);
    const objects = [...runner.world.devices, ...runner.world.vms, ...runner.world.parents];
    assert.ok(objects.length > 4);
    for (const { keyLow, keyHigh } of objects) {
      for (const word of [keyLow >>> 0, keyHigh >>> 0]) {
        assert.ok(!text.includes(String(word)) && !text.includes(word.toString(16)), `${word}`);
      }
    }
  });

  it('has help and type once for each metric, and each series once', async () => {
    const runner = new Measured();
    runner.run(everything);
    const lines = (await runner.text()).split('\n').filter((line) => line !== '');
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

  it('does not change when it is scraped again', async () => {
    const runner = new Measured();
    runner.run(everything);
    assert.equal(settled(await runner.text()), settled(await runner.text()));
  });

  it('counts lost events by reason', async () => {
    const runner = new Measured();
    runner.lost.ring_full = 5;
    const lost = await runner.series('vfioscope_events_lost_total');
    assert.equal(lost['reason="ring_full"'], 5);
    assert.equal(lost['reason="malformed"'], 0);
  });

  it('counts events by point and phase', async () => {
    const runner = new Measured();
    runner.run((scenario) => {
      const parent = scenario.parent();
      for (let i = 0; i < 3; i++) scenario.create(parent);
    });
    const events = await runner.series('vfioscope_events_total');
    assert.equal(events['point="mdev.create",phase="end"'], 3);
    assert.equal(events['point="mdev.remove",phase="begin"'], undefined);
  });

  it('shows the last host snapshot, and counts snapshots by reason', async () => {
    const runner = new Measured();
    const began = 5e9;
    runner.metrics.snapshot({ reason: 'loss', began, lasted: 0.25e9, problems: [] });
    const counts = await runner.series('vfioscope_snapshots_total');
    assert.deepEqual([counts['reason="loss"'], counts['reason="start"']], [1, 0]);
    const value = async (name: string) =>
      (await runner.series(`vfioscope_last_snapshot_${name}`))[''];
    assert.equal(await value('timestamp_seconds'), BOOTED + 5);
    assert.equal(await value('duration_seconds'), 0.25);
  });

  it('shows how far the reader lags behind, while there is something to read', async () => {
    const runner = new Measured();
    runner.run((scenario) => scenario.create(scenario.parent()));
    runner.now = runner.world.now + 250e6;
    const lag = async () => (await runner.series('vfioscope_reader_lag_seconds'))[''];
    assert.equal(await lag(), 0);
    runner.backlog = 112;
    assert.equal(await lag(), 0.25);
  });

  it('shows whether rules are active, except those whose violation cannot occur on this kernel', async () => {
    const active = await new Measured().series('vfioscope_rule_active');
    assert.deepEqual(active, { 'rule="remove-stall"': 1, 'rule="kvm-ref-leak"': 0 });
  });

  it('counts findings that are suppressed because the object was not observed completely', async () => {
    const runner = new Measured();
    runner.raw('kvm.vm.fd_close:begin', { kvm: 1, usersCount: 2 });
    runner.run((scenario) => scenario.wait(20));
    const held = await runner.series('vfioscope_findings_suppressed_total');
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

  it('remain for two minutes after the end of the device, in its last state, whoever scrapes how often', async () => {
    const runner = new Measured();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const shown = async () => {
      const counts: number[] = [];
      for (const name of PER_DEVICE) counts.push(Object.keys(await runner.series(name)).length);
      return counts;
    };
    assert.deepEqual(await shown(), [1, 1, 1, 1]);
    runner.run((scenario) => scenario.wait(1));
    runner.run((scenario) => scenario.remove(device));
    const state = async () => Object.keys(await runner.series('vfioscope_device_state'));
    const last = [`device="${device.uuid}",state="released"`];
    assert.deepEqual([await state(), await state(), await state()], [last, last, last]);
    for (let i = 0; i < 11; i++) runner.run((scenario) => scenario.wait(10));
    assert.deepEqual(await state(), last);
    for (let i = 0; i < 3; i++) runner.run((scenario) => scenario.wait(10));
    assert.deepEqual(await state(), []);
    assert.deepEqual(await runner.series('vfioscope_devices'), {});
    assert.deepEqual(await shown(), [0, 0, 0, 0]);
  });

  it('show a device that began and ended between two scrapes', async () => {
    const runner = new Measured();
    const seen = async () => Object.keys(await runner.series('vfioscope_device_info')).length;
    assert.equal(await seen(), 0);
    runner.run((scenario) => scenario.remove(scenario.create(scenario.parent())));
    assert.equal(await seen(), 1);
  });

  it('are those of the live device when a UUID is used again', async () => {
    const runner = new Measured();
    const parent = runner.run((scenario) => scenario.parent());
    const { uuid } = runner.run((scenario) => {
      const first = scenario.create(parent);
      scenario.remove(first);
      return scenario.create(parent, { uuid: first.uuid });
    });
    assert.deepEqual(await runner.series('vfioscope_device_state'), {
      [`device="${uuid}",state="bound"`]: 1,
    });
  });

  it('are those of the latest device when several of one UUID have ended', async () => {
    const runner = new Measured();
    const { uuid } = runner.run((scenario) => {
      const parent = scenario.parent();
      const first = scenario.create(parent);
      scenario.remove(first);
      scenario.createFails(parent, 28, { uuid: first.uuid });
      return first;
    });
    assert.deepEqual(await runner.series('vfioscope_device_state'), {
      [`device="${uuid}",state="failed"`]: 1,
    });
  });

  it('are capped, and the rest is counted', async () => {
    const runner = new Measured({ maxDevices: 3 });
    runner.run((scenario) => {
      const parent = scenario.parent();
      for (let i = 0; i < 8; i++) scenario.create(parent);
      for (let i = 0; i < 5; i++) scenario.createVm();
    });
    const counts = async (name: string) => Object.keys(await runner.series(name)).length;
    for (const name of PER_DEVICE) assert.equal(await counts(name), 3, name);
    assert.equal(await counts('vfioscope_vm_references'), 3);
    assert.deepEqual(await runner.series('vfioscope_series_capped'), {
      ...{ 'object="device"': 5, 'object="vm"': 2, 'object="violation"': 0 },
    });
    const [[, total]] = Object.entries(await runner.series('vfioscope_devices'));
    assert.equal(total, 8);
  });

  it('are all shown when the cap is not reached', async () => {
    const runner = new Measured({ maxDevices: 1 });
    runner.run((scenario) => scenario.create(scenario.parent()));
    assert.equal((await runner.series('vfioscope_series_capped'))['object="device"'], 0);
  });

  it('can be disabled', async () => {
    const runner = new Measured({ perDevice: false });
    runner.run(everything);
    const uuids = [...runner.world.devices].map(({ name }) => name);
    const text = await runner.text();
    assert.ok(uuids.length > 1);
    for (const uuid of uuids) assert.ok(!text.includes(uuid), uuid);
    assert.doesNotMatch(text, /vfioscope_(device|vm|violation)_|vfioscope_series_capped/);
  });

  it('have no process for a VM whose creator is not known', async () => {
    const runner = new Measured();
    runner.raw('kvm.get:begin', { kvm: 1, usersCount: 4, vmPid: 0 });
    const [vm] = runner.world.vms;
    const labels = `vm="vm${vm.serial}"`;
    assert.deepEqual(await runner.series('vfioscope_vm_references'), { [labels]: 5 });
    assert.deepEqual(await runner.series('vfioscope_vm_info'), {
      [`${labels},pid="0",comm="",vm_name="",vm_uuid="",systemd_unit="",container_id="",pod_uid="",trace_id=""`]: 1,
    });
  });

  it('name the holder of a device whose removal waits, and the violation', async () => {
    const runner = new Measured();
    const stuck = runner.run((scenario) => {
      const device = scenario.create(scenario.parent({ name: 'gpu0' }));
      const as = { pid: 600, comm: 'qemu' };
      scenario.open(device, { vm: scenario.createVm({ as }), as });
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
      return device;
    });
    assert.deepEqual(await runner.series('vfioscope_device_holder_info'), {
      [`device="${stuck.uuid}",pid="600",comm="qemu",systemd_unit=""`]: 1,
    });
    const [[labels, ...others]] = [Object.keys(await runner.series('vfioscope_violation_info'))];
    assert.deepEqual(others, []);
    assert.match(labels, /^violation_id="v\d+",rule="remove-stall",severity="warning",device="/);
    assert.deepEqual(Object.values(await runner.series('vfioscope_removals_waiting')), [1]);
  });

  it('count the devices that were never opened, of those whose whole lifecycle was observed', async () => {
    const runner = new Measured();
    const never = () => runner.series('vfioscope_devices_never_opened');
    const parent = runner.run((scenario) => scenario.parent());
    const [first] = runner.run((scenario) => [scenario.create(parent), scenario.create(parent)]);
    assert.deepEqual(Object.values(await never()), [2]);
    runner.run((scenario) => scenario.close(scenario.open(first)));
    assert.deepEqual(Object.values(await never()), [1]);
    runner.lose();
    assert.deepEqual(await never(), {});
  });

  it('show when a device was created, opened and its removal began, in seconds since 1970', async () => {
    const runner = new Measured();
    const device = runner.run((scenario) => {
      const created = scenario.create(scenario.parent());
      scenario.wait(60);
      scenario.open(created, { vm: scenario.createVm() });
      scenario.wait(60);
      scenario.removeBegins(created, { as: BASH });
      return created;
    });
    const at = async (what: string) => {
      const series = await runner.series(`vfioscope_device_${what}_timestamp_seconds`);
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
