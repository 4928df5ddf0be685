// SPDX-License-Identifier: Apache-2.0
/**
 * On a real kernel: each incarnation has one trace, whichever agent observes it, and another than the next. The
 * metrics reach the same collector.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { attribute, Collector } from '../collector/collector.ts';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Vmm } from '../lab/vmm.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm } from './agent.ts';
import { loadModules } from './storms.ts';
import { KERNEL } from './traits.ts';

/** The address of the host's loopback in the VM. */
const HOST = 'http://10.0.2.2';
const TYPE = '/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1';

describe(`traces on ${KERNEL}`, { timeout: SUITE_MS }, () => {
  let vm: Vm;
  let collector: Collector;
  let agent: AgentInVm;
  const uuid = randomUUID();

  before(async () => {
    collector = await Collector.start();
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    await loadModules(vm);
    const { port } = new URL(collector.grpc);
    await vm.sh(
      `printf 'otel:\\n  OTEL_EXPORTER_OTLP_ENDPOINT: ${HOST}:${port}\\n  OTEL_EXPORTER_OTLP_PROTOCOL: grpc\\n  OTEL_METRICS_EXPORTER: otlp\\n  OTEL_METRIC_EXPORT_INTERVAL: 5000\\n' >/tmp/otel.yaml`,
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
    const { device } = await agent.api<{ device: { traceId: string; quality: string } }>(
      `/api/v1/devices/${uuid}`,
    );
    return device;
  };
  const vmTraces = async () =>
    (await agent.api<{ vms: { traceId: string }[] }>('/api/v1/vms')).vms.map(
      ({ traceId }) => traceId,
    );

  it('have the same id for the agent that observed the beginning and for the next one', async () => {
    await create();
    const vmm = new Vmm(vm);
    await vmm.command('vm create guest');
    await agent.until('it knows the device', async () => (await traceOf()).traceId !== undefined);
    const seen = await traceOf();
    const vms = await vmTraces();
    assert.deepEqual([seen.quality, vms.length], ['observed', 1]);
    await agent.stop();
    agent = await AgentInVm.start(vm, '--config', '/tmp/otel.yaml');
    const late = await traceOf();
    assert.deepEqual(late, { ...late, quality: 'partial', traceId: seen.traceId });
    assert.deepEqual(await vmTraces(), vms);
    await vmm.kill();
    await remove();
    await collector.until('the whole lifecycle has arrived', () =>
      collector.spans.some(
        ({ name, traceId }) => name === 'vfio.device.lifecycle' && traceId === seen.traceId,
      ),
    );
    const names = collector.spans
      .filter(({ traceId }) => traceId === seen.traceId)
      .map(({ name }) => name.replace('vfio.device.', ''));
    // The first agent observed the beginning, the second the end.
    for (const name of ['create', 'bind', 'remove', 'lifecycle'])
      assert.ok(names.includes(name), name);
    assert.equal(names.filter((name) => name === 'lifecycle').length, 1);
    await collector.until('the lifecycle of the VM has arrived', () =>
      collector.spans.some(
        ({ name, traceId }) => name === 'vfio.vm.lifecycle' && traceId === vms[0],
      ),
    );
  });

  it('have another id for the next incarnation of that UUID', async () => {
    const before = new Set(collector.spans.map(({ traceId }) => traceId));
    await create();
    await agent.until('it knows the device', async () => (await traceOf()).traceId !== undefined);
    assert.equal(before.has((await traceOf()).traceId), false);
    await remove();
  });

  it('have the service name of the agent', () => {
    assert.equal(attribute(collector.resource, 'service.name'), 'vfioscope');
  });

  it('come with the metrics, until the agent stops', async () => {
    collector.clear();
    const points = (name: string) =>
      collector.metrics
        .filter((metric) => metric.name === name)
        .flatMap(({ sum }) => sum?.dataPoints ?? []);
    const creations = () =>
      points('vfioscope_events').filter(
        ({ attributes = [] }) => attribute(attributes, 'point') === 'mdev.create',
      );
    await collector.until('the metrics have arrived', () => creations().length > 0);
    // This agent was there when the second incarnation was created, not at the first.
    assert.ok(creations().every(({ asDouble }) => asDouble === 1));
    // These are read from memory that is shared with the kernel, by CPU.
    assert.ok(points('vfioscope_ring_attempts').some(({ asDouble = 0 }) => asDouble > 0));
    assert.equal(attribute(collector.resource, 'service.name'), 'vfioscope');
    // It reads them a last time, and would crash if it read that memory after it was unmapped.
    await agent.stop();
  });

  it('keep no agent from observing or from exiting when the collector never answers', async () => {
    const unresponsive = createServer();
    const sockets = new Set<Socket>();
    unresponsive.on('connection', (socket) => sockets.add(socket));
    await new Promise<void>((resolve) => unresponsive.listen(0, '127.0.0.1', resolve));
    const { port } = unresponsive.address() as AddressInfo;
    // Nothing is given up before the agent stops, however slow the machine is.
    await vm.sh(
      `printf 'otel:\\n  OTEL_EXPORTER_OTLP_ENDPOINT: ${HOST}:${port}\\n  OTEL_BSP_SCHEDULE_DELAY: 100\\n  OTEL_METRICS_EXPORTER: otlp\\n  OTEL_METRIC_EXPORT_INTERVAL: 100\\n  OTEL_EXPORTER_OTLP_TIMEOUT: 600000\\n' >/tmp/unresponsive.yaml`,
    );
    agent = await AgentInVm.start(vm, '--config', '/tmp/unresponsive.yaml');
    await create();
    await remove();
    await agent.logged('device.removed');
    await agent.until('it has tried to send', async () => sockets.size > 0);
    // stop() throws when the exit code is not 0, and an agent that waited for an answer would not exit.
    await agent.stop();
    assert.ok(agent.lines.some(({ event }) => event === 'otlp.shutdown_timeout'));
    for (const socket of sockets) socket.destroy();
    unresponsive.close();
  });
});
