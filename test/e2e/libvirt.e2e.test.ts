// SPDX-License-Identifier: Apache-2.0
/** A domain of a real libvirtd is called by its name in metrics, log, API and traces. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { attribute, Collector } from '../collector/collector.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm } from './agent.ts';
import { type Device, LabSession } from './lab-session.ts';
import { type Domain, Libvirt } from './libvirt.ts';
import { KERNEL } from './traits.ts';

/** The address of the host's loopback in the VM. */
const HOST = '10.0.2.2';
const WEB = { name: 'web-3', uuid: '11111111-2222-4333-8444-555555555555' };

interface ApiVm {
  readonly id: string;
  readonly name?: string;
  readonly uuid?: string;
  readonly traceId: string;
  readonly commandLine: string;
  readonly state: string;
  readonly devices: readonly string[];
}

interface ApiViolation {
  readonly rule: string;
  readonly device?: string;
  readonly message: string;
  readonly state: string;
}

type Line = Readonly<Record<string, unknown>>;

describe(`a domain of libvirt on a real ${KERNEL} kernel`, { timeout: SUITE_MS }, () => {
  let session: LabSession;
  let collector: Collector;
  let libvirt: Libvirt;
  let device: Device;
  let domain: Domain;
  let removal: Promise<unknown>;
  let output = '';

  before(async () => {
    collector = await Collector.start();
    const { port } = new URL(collector.grpc);
    session = await LabSession.open({
      ...{ kernel: KERNEL, timeoutMs: VM_MS, logFormat: 'json' },
      env: {
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://${HOST}:${port}`,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
      },
      onAgentOutput: (text) => {
        output += text;
      },
    });
    libvirt = await Libvirt.start(session);
    device = await session.create('mtty');
    domain = { ...WEB, device: device.uuid };
  });
  after(async () => {
    await session?.close();
    await collector?.stop();
  });

  const vms = async () => {
    const { vms: alive, ended } = await session.api<{ vms: ApiVm[]; ended: ApiVm[] }>(
      '/api/v1/vms',
    );
    return { alive, ended, all: [...alive, ...ended] };
  };
  const web = async () => {
    const [found, ...others] = (await vms()).all.filter(({ name }) => name === WEB.name);
    assert.ok(found && others.length === 0, `${others.length} others are called ${WEB.name}`);
    return found;
  };
  const violations = async () =>
    (await session.api<{ violations: ApiViolation[] }>('/api/v1/violations')).violations;
  const lines = () =>
    output
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Line);
  const logged = (event: string) => lines().filter((line) => line.event === event);

  it('has nothing said about the VMs with which libvirt examines QEMU', async () => {
    await libvirt.define(domain);
    await session.evaluated(5);
    const { alive, ended } = await vms();
    assert.ok(ended.length > 0, 'libvirt has started QEMU to examine it');
    assert.deepEqual(alive, []);
    for (const { name, uuid, commandLine, state } of ended) {
      assert.deepEqual([name, uuid, state], [undefined, undefined, 'destroyed']);
      assert.match(commandLine, /^(read|exited)$/);
    }
    assert.deepEqual(await violations(), []);
    assert.deepEqual(logged('vm.identified'), []);
  });

  it('has its name and UUID in API, metrics and log', async () => {
    await libvirt.start(WEB.name);
    device.opens++;
    await session.until('the VM has its name', async () => (await web()).state === 'running');
    const { id, uuid, traceId, devices, commandLine } = await web();
    assert.deepEqual([uuid, devices, commandLine], [WEB.uuid, [device.uuid], 'read']);

    const text = await (await fetch(`${session.url}/metrics`)).text();
    const info = text.split('\n').find((line) => line.startsWith(`vfioscope_vm_info{vm="${id}"`));
    assert.match(
      info ?? '',
      new RegExp(
        `,comm="qemu-system-x86",vm_name="${WEB.name}",vm_uuid="${WEB.uuid}",.*,trace_id="${traceId}"`,
      ),
    );
    assert.doesNotMatch(text, /guest=|debug-threads/);

    const [line, ...others] = logged('vm.identified');
    assert.deepEqual(others, []);
    assert.deepEqual([line.vm, line.vmName, line.vmUuid], [id, WEB.name, WEB.uuid]);
    const { device: shown } = await session.api<{ device: Line }>(`/api/v1/devices/${device.uuid}`);
    assert.deepEqual([shown.vm, shown.vmName, shown.vmUuid], [id, WEB.name, WEB.uuid]);
  });

  it('has its name for an agent that is started later, unless that must not read command lines', async () => {
    await session.sh("echo 'vm: { read_command_line: false }' > /tmp/off.yaml");
    const { vm } = session;
    const [late, off] = await Promise.all([
      AgentInVm.startAt(vm, 10056),
      AgentInVm.startAt(vm, 10057, '--config', '/tmp/off.yaml'),
    ]);
    const only = async (agent: AgentInVm) => {
      const [found, ...others] = (await agent.api<{ vms: ApiVm[] }>('/api/v1/vms')).vms;
      assert.deepEqual(others, []);
      return found;
    };
    await late.until('the VM has its name', async () => (await only(late)).name === WEB.name);
    const { uuid, commandLine } = await only(late);
    assert.deepEqual([uuid, commandLine], [WEB.uuid, 'read']);
    await off.until('the VM is known', async () => (await only(off)).commandLine === 'disabled');
    const { name: noName, uuid: noUuid } = await only(off);
    assert.deepEqual([noName, noUuid], [undefined, undefined]);
    assert.ok((await late.hostViolations()).length + (await off.hostViolations()).length === 0);
    await Promise.all([late.stop(), off.stop()]);
  });

  it('is named where it makes the removal of its device wait', async () => {
    removal = session.removeInBackground(device);
    await session.expect('remove-stall', 'warning', device.uuid);
    const { id } = await web();
    const stall = (await violations()).find(({ rule }) => rule === 'remove-stall');
    assert.match(
      stall?.message ?? '',
      new RegExp(`held open by qemu-system-x86 \\(pid \\d+\\) for the VM ${WEB.name} \\(${id}\\)`),
    );
    const raised = logged('violation.raised').find(({ rule }) => rule === 'remove-stall');
    assert.match(String(raised?.msg), new RegExp(`held by .* for ${WEB.name} \\(${id}\\)`));
  });

  it('ends the wait when it is destroyed, and nothing else was said', async () => {
    await libvirt.destroy(WEB.name);
    await removal;
    await session.until('the removal has ended', async () => {
      const found = await violations();
      return found.every(({ state }) => state !== 'open');
    });
    await session.evaluated(5);
    const rules = new Set((await violations()).map(({ rule }) => rule));
    rules.delete('request-ignored');
    assert.deepEqual([...rules], ['remove-stall']);
    assert.equal((await web()).state, 'destroyed');
  });

  it('has its name in the trace of its VM and of the open', async () => {
    const { traceId } = await web();
    const named = () =>
      collector.spans.filter(
        ({ attributes }) => attribute(attributes, 'vfio.vm.name') === WEB.name,
      );
    await session.until('the lifecycle of the VM has arrived', async () =>
      named().some((span) => span.traceId === traceId && span.parentSpanId === undefined),
    );
    for (const { attributes } of named()) {
      assert.equal(attribute(attributes, 'vfio.vm.uuid'), WEB.uuid);
    }
    assert.ok(named().some(({ name }) => name === 'vfio.device.open'));
  });
});
