/** Where the name of a VM is shown. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pino } from 'pino';
import { Served, UUID } from '../../test/kit/served.ts';
import { VmIdentities } from '../engine/vm-identities.ts';
import type { Host } from '../events/host.ts';
import { LINUX_6_12 } from '../scenario/kernels.ts';
import { LifecycleLog } from './lifecycle-log.ts';
import { vmAttributes } from './trace-attributes.ts';
import { TraceIds } from './trace-ids.ts';

const QEMU = { pid: 600, comm: 'qemu' };
const GUEST = '11111111-2222-4333-8444-555555555555';
const POD = '1b4c5d6e-0000-4000-8000-123456789abc';
const GROUP = { path: '/machine.slice/x', unit: 'machine-qemu-1-web.scope', container: 'c0ffee' };
const HOST: Host = {
  traits: LINUX_6_12,
  pidsWithKvmFiles: () => new Set(),
  identifyVm: async () => ({
    ...{ commandLine: 'read', name: 'web-3', uuid: GUEST, group: { ...GROUP, pod: POD } },
  }),
};

/** Answers are awaited by a turn of the event loop. */
const answered = () => new Promise(setImmediate);

describe('a VM that has a name', () => {
  /** A device of it is being removed. */
  async function stuck() {
    const runner = new Served({ host: HOST });
    const lines: Record<string, unknown>[] = [];
    const write = (line: string) => lines.push(JSON.parse(line));
    const ids = new TraceIds('b', runner.world);
    const log = new LifecycleLog(pino({ base: {} }, { write }), ids, () => 0);
    const identities = new VmIdentities(HOST, (vm) => log.identified(vm));
    runner.sinks.unshift(identities, log);
    const device = runner.run((scenario) => {
      const vm = scenario.createVm({ as: QEMU });
      const one = scenario.create(scenario.parent({ name: 'gpu0' }), { uuid: UUID });
      scenario.open(one, { vm, as: QEMU });
      return one;
    });
    await answered();
    runner.run((scenario) => {
      scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
      scenario.wait(11);
    });
    return { runner, lines, id: `vm${runner.onlyVm().serial}` };
  }

  it('has it in the API', async () => {
    const { runner, id } = await stuck();
    const { body: machines } = await runner.get<{ vms: object[] }>('/api/v1/vms');
    const { name, uuid, systemdUnit, container, pod, commandLine } = machines.vms[0] as Record<
      string,
      unknown
    >;
    assert.deepEqual(
      [name, uuid, systemdUnit, container, pod, commandLine],
      ['web-3', GUEST, GROUP.unit, 'c0ffee', POD, 'read'],
    );
    const { body: devices } = await runner.get<{ devices: Record<string, unknown>[] }>(
      '/api/v1/devices',
    );
    const [{ vm, vmName, vmUuid }] = devices.devices;
    assert.deepEqual([vm, vmName, vmUuid], [id, 'web-3', GUEST]);
    const { text } = await runner.get('/api/v1/violations');
    assert.match(text, /"vmName":\s*"web-3"/);
  });

  it('has it in the sentences and lines of a violation', async () => {
    const { runner, lines, id } = await stuck();
    const [{ message }] = runner.violations();
    assert.match(message, new RegExp(`qemu \\(pid 600\\) for the VM web-3 \\(${id}\\)`));
    const identified = lines.find(({ event }) => event === 'vm.identified');
    assert.deepEqual(
      [identified?.msg, identified?.vmName, identified?.vmUuid, identified?.pod],
      [
        `identified the VM web-3 (${id}) of qemu (pid 600), uuid ${GUEST}, ${GROUP.unit}, pod ${POD}`,
        ...['web-3', GUEST, POD],
      ],
    );
    const raised = lines.find(({ event }) => event === 'violation.raised');
    assert.match(String(raised?.msg), new RegExp(`held by .* for web-3 \\(${id}\\)`));
  });

  it('has it in its series, with the id of its trace', async () => {
    const { runner, id } = await stuck();
    const [labels] = Object.keys(await runner.series('vfioscope_vm_info'));
    assert.match(
      labels,
      new RegExp(
        `^vm="${id}",pid="600",comm="qemu",vm_name="web-3",vm_uuid="${GUEST}",` +
          `systemd_unit="${GROUP.unit}",container_id="c0ffee",pod_uid="${POD}",trace_id="[0-9a-f]{32}"$`,
      ),
    );
  });

  it('has it in its traces', async () => {
    const { runner } = await stuck();
    const attributes = vmAttributes(runner.onlyVm());
    assert.deepEqual(
      [
        attributes['vfio.vm.name'],
        attributes['vfio.vm.uuid'],
        attributes['container.id'],
        attributes['k8s.pod.uid'],
      ],
      ['web-3', GUEST, 'c0ffee', POD],
    );
  });
});
