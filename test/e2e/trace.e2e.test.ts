// SPDX-License-Identifier: Apache-2.0
/** On a real kernel: one life has one trace, whichever agent sees it, and another life has another. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { attribute, Collector } from '../collector/collector.ts';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Vmm } from '../lab/vmm.ts';
import { AgentInVm } from './agent.ts';
import { loadModules } from './storms.ts';
import { KERNEL } from './traits.ts';

/** The host's loopback, as the VM sees it. */
const HOST = 'http://10.0.2.2';
const TYPE = '/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1';

describe(`traces on ${KERNEL}`, { timeout: 400_000 }, () => {
  let vm: Vm;
  let collector: Collector;
  let agent: AgentInVm;
  const uuid = randomUUID();

  before(async () => {
    collector = await Collector.start();
    vm = await bootLab({ kernel: KERNEL, timeoutMs: 300_000 });
    await loadModules(vm);
    const { port } = new URL(collector.grpc);
    await vm.sh(
      `printf 'otel:\\n  OTEL_EXPORTER_OTLP_ENDPOINT: ${HOST}:${port}\\n  OTEL_EXPORTER_OTLP_PROTOCOL: grpc\\n' >/tmp/otel.yaml`,
    );
    agent = await AgentInVm.start(vm, '--config', '/tmp/otel.yaml');
  });
  after(async () => {
    await vm?.close();
    await collector?.stop();
  });

  const create = () => vm.sh(`echo ${uuid} >${TYPE}/create`);
  const remove = () => vm.sh(`echo 1 >/sys/bus/mdev/devices/${uuid}/remove`);
  const traceOf = async () => {
    const { device } = await agent.api<{ device: { trace: string; quality: string } }>(
      `/api/v1/devices/${uuid}`,
    );
    return device;
  };
  const vmTraces = async () =>
    (await agent.api<{ vms: { trace: string }[] }>('/api/v1/vms')).vms.map(({ trace }) => trace);

  it('are the same for the agent that saw the beginning and for the one after it', async () => {
    await create();
    const vmm = new Vmm(vm);
    await vmm.order('vm create guest');
    await agent.until('it knows the device', async () => (await traceOf()).trace !== undefined);
    const seen = await traceOf();
    const vms = await vmTraces();
    assert.deepEqual([seen.quality, vms.length], ['observed', 1]);
    await agent.stop();
    agent = await AgentInVm.start(vm, '--config', '/tmp/otel.yaml');
    const late = await traceOf();
    assert.deepEqual(late, { ...late, quality: 'late', trace: seen.trace });
    assert.deepEqual(await vmTraces(), vms);
    await vmm.kill();
    await remove();
    await collector.until('the whole life has arrived', () =>
      collector.spans.some(
        ({ name, traceId }) => name === 'vfio.device.life' && traceId === seen.trace,
      ),
    );
    const names = collector.spans
      .filter(({ traceId }) => traceId === seen.trace)
      .map(({ name }) => name.replace('vfio.device.', ''));
    // The first agent saw the beginning, the second the end.
    for (const name of ['create', 'bind', 'remove', 'life']) assert.ok(names.includes(name), name);
    assert.equal(names.filter((name) => name === 'life').length, 1);
    await collector.until('the life of the VM has arrived', () =>
      collector.spans.some(({ name, traceId }) => name === 'vfio.vm.life' && traceId === vms[0]),
    );
  });

  it('are others for the next device of that UUID', async () => {
    const before = new Set(collector.spans.map(({ traceId }) => traceId));
    await create();
    await agent.until('it knows the device', async () => (await traceOf()).trace !== undefined);
    assert.equal(before.has((await traceOf()).trace), false);
    await remove();
  });

  it('say whose they are', () => {
    assert.equal(attribute(collector.resource, 'service.name'), 'vfioscope');
  });

  it('of a collector that never answers keep no agent from watching or from ending', async () => {
    await agent.stop();
    const silent = createServer();
    const sockets = new Set<Socket>();
    silent.on('connection', (socket) => sockets.add(socket));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    await vm.sh(
      `printf 'otel:\\n  OTEL_EXPORTER_OTLP_ENDPOINT: ${HOST}:${port}\\n  OTEL_BSP_SCHEDULE_DELAY: 100\\n' >/tmp/silent.yaml`,
    );
    agent = await AgentInVm.start(vm, '--config', '/tmp/silent.yaml');
    await create();
    await remove();
    await agent.said('device.removed');
    await agent.until('it has tried to send', async () => sockets.size > 0);
    const began = performance.now();
    // It ends with 0, or this throws.
    await agent.stop();
    assert.ok(performance.now() - began < 20_000);
    assert.ok(agent.lines.some(({ event }) => event === 'otlp.cut_off'));
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
});
