import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Served } from '../../test/kit/served.ts';
import type { Host, PciFunction } from '../events/host.ts';
import { LINUX_6_12 } from '../scenario/kernels.ts';
import { PciFunctions } from './pci-functions.ts';

const GPU: PciFunction = {
  ...{ vendor: '0x10de', device: '0x2236', physicalFunction: '0000:3b:00.0', numaNode: 1 },
  busId: '00000000:3B:00.0',
};
const VF = '0000:3b:00.4';

/** Work is done after the batch of events. */
const done = () => new Promise(setImmediate);

function known() {
  const asked: string[] = [];
  const host: Host = {
    traits: LINUX_6_12,
    pidsWithKvmFiles: () => new Set(),
    pciFunction: (device) => {
      asked.push(device);
      return device === VF ? GPU : undefined;
    },
  };
  const runner = new Served({ host });
  runner.sinks.unshift(new PciFunctions(host));
  return { runner, asked };
}

const labels = async (runner: Served) => {
  const [text, ...others] = Object.keys(await runner.series('vfioscope_device_info'));
  assert.deepEqual(others, []);
  return text.slice(text.indexOf('physical_function'));
};
const NONE = 'physical_function="",vendor_id="",device_id="",numa_node="",pci_bus_id=""';
const ALL =
  'physical_function="0000:3b:00.0",vendor_id="0x10de",device_id="0x2236",numa_node="1",' +
  'pci_bus_id="00000000:3B:00.0"';

describe('the PCI function of a device', () => {
  it('is asked once, and is in metrics and API', async () => {
    const { runner, asked } = known();
    const device = runner.run((scenario) => scenario.bindPci(VF));
    await done();
    assert.equal(await labels(runner), ALL);
    runner.run((scenario) => scenario.open(device));
    await done();
    assert.deepEqual(asked, [VF]);
    const { body } = await runner.get<{ devices: { pci: object }[] }>('/api/v1/devices');
    assert.deepEqual(body.devices[0].pci, {
      ...{ vendorId: '0x10de', deviceId: '0x2236', physicalFunction: '0000:3b:00.0' },
      ...{ numaNode: 1, busId: '00000000:3B:00.0' },
    });
  });

  it('is that of its parent for an mdev, which is asked once for all mdevs', async () => {
    const { runner, asked } = known();
    runner.run((scenario) => {
      const parent = scenario.parent({ name: VF });
      scenario.remove(scenario.create(parent));
      scenario.create(parent);
    });
    await done();
    assert.deepEqual(asked, [VF]);
    const series = Object.keys(await runner.series('vfioscope_device_info'));
    assert.ok(series.length > 0 && series.every((text) => text.endsWith(ALL)), `${series}`);
  });

  it('is not known of what is none, and in a replay', async () => {
    const { runner, asked } = known();
    runner.run((scenario) => scenario.create(scenario.parent({ name: 'mtty' })));
    await done();
    assert.deepEqual(asked, ['mtty']);
    assert.equal(await labels(runner), NONE);
    const replay = new Served();
    replay.run((scenario) => scenario.bindPci(VF));
    assert.equal(await labels(replay), NONE);
    const { body } = await replay.get<{ devices: object[] }>('/api/v1/devices');
    assert.ok(!('pci' in body.devices[0]));
  });
});
