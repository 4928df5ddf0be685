// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { type Attributes, attribute, Collector } from '../collector/collector.ts';
import { played } from '../kit/recorded.ts';
import { SUITE_MS, until, VM_MS } from '../until.ts';
import { CLAIM } from './claims.ts';
import { LabSession } from './lab-session.ts';
import { SECRET, STEPS } from './steps.ts';
import { readSupport, supportOf, writeSupport } from './support.ts';
import { KERNEL, MODULE_BTF } from './traits.ts';
import { differences } from './verify.ts';

/** The address of the host's loopback in the VM. */
const HOST = '10.0.2.2';

/** Whether this run writes its recording and its results into the repository. */
const KEEP = process.env.VFIOSCOPE_KEEP !== undefined;
const RECORDINGS = fileURLToPath(new URL('../recordings', import.meta.url));

const API = ['devices', 'vms', 'violations', 'probes'];
const MODE =
  (MODULE_BTF ? '' : ' without module BTF') +
  (CLAIM ? ` that claims another number (${CLAIM})` : '');

describe(`the agent on a real ${KERNEL} kernel${MODE}`, { timeout: SUITE_MS }, () => {
  let session: LabSession;
  let output = '';
  let collector: Collector;
  const scratch = mkdtempSync(join(tmpdir(), 'vfioscope-'));
  const recording = `${KEEP && MODULE_BTF ? RECORDINGS : scratch}/${KERNEL}.vfr`;

  before(async () => {
    collector = await Collector.start();
    const { port } = new URL(collector.grpc);
    session = await LabSession.open({
      kernel: KERNEL,
      timeoutMs: VM_MS,
      logFormat: 'json',
      recording,
      claim: CLAIM,
      flags: MODULE_BTF ? [] : ['--no-module-btf'],
      env: {
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://${HOST}:${port}`,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
      },
      onAgentOutput: (text) => {
        output += text;
      },
    });
  });
  after(async () => {
    await session?.close();
    await collector?.stop();
    rmSync(scratch, { recursive: true });
  });

  for (const { title, run } of STEPS) {
    it(title, () => run(session));
  }

  it('reported every device, VM and violation, and no other', async () => {
    assert.deepEqual(await differences(session), []);
  });

  it('writes a recording, which it keeps when VFIOSCOPE_KEEP is set', async () => {
    await session.endRecording();
    if (!KEEP || !MODULE_BTF) return;
    const { devices, vms, violations } = session;
    const truth = JSON.stringify({ objects: devices, vms, violations }, null, 2);
    writeFileSync(`${RECORDINGS}/${KERNEL}.json`, `${truth}\n`);
  });

  it('would have failed with a device, a VM or a violation too few or too many', async () => {
    const altered = Object.create(session) as LabSession;
    Object.assign(altered, {
      devices: session.devices.slice(1),
      vms: session.vms + 1,
      violations: [...session.violations.slice(1), { ...session.violations[0], rule: 'invented' }],
    });
    const found = await differences(altered);
    assert.equal(found.filter((text) => text.startsWith('unexpected device')).length, 1);
    assert.equal(found.filter((text) => text.startsWith('expected VM')).length, 1);
    assert.equal(found.filter((text) => text.startsWith('unexpected violation')).length, 1);
    assert.equal(found.filter((text) => text.startsWith('expected violation')).length, 1);
  });

  it('logged each violation as one JSON line with evidence', async () => {
    const raised = () =>
      output
        .split('\n')
        .filter((line) => line.startsWith('{') && line.endsWith('}'))
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter((line) => line.event === 'violation.raised');
    await until('all lines have arrived', () => raised().length >= session.violations.length);
    assert.deepEqual(
      raised()
        .map((line) => `${line.rule} ${line.device}`)
        .sort(),
      session.violations.map(({ rule, device }) => `${rule} ${device}`).sort(),
    );
    for (const line of raised()) {
      assert.ok(Array.isArray(line.evidence) && line.evidence.length > 1);
    }
  });

  it('sends each lifecycle as a trace to a collector, with its violations', async () => {
    const lifecycles = () => collector.spans.filter(({ name }) => name === 'vfio.device.lifecycle');
    const of = (attributes: Attributes, name: string) => attribute(attributes, name);
    await session.until(
      'all lifecycles have arrived',
      async () => lifecycles().length >= session.devices.length,
    );
    assert.deepEqual(
      lifecycles()
        .map(({ attributes }) => `${of(attributes, 'vfio.device.name')}`)
        .sort(),
      session.devices.map(({ uuid }) => uuid).sort(),
    );
    const allRaised = () =>
      collector.records.filter(
        ({ attributes }) => of(attributes, 'vfio.violation.change') === 'raised',
      );
    // Spans and records are sent in batches of their own.
    await until('all records have arrived', () => allRaised().length >= session.violations.length);
    const raised = allRaised();
    assert.deepEqual(
      raised.map(({ attributes }) => of(attributes, 'vfio.violation.rule')).sort(),
      session.violations.map(({ rule }) => rule).sort(),
    );
    for (const { traceId, attributes } of raised) {
      const lifecycle = lifecycles().find((span) => span.traceId === traceId);
      // A notice is no failure of the lifecycle.
      if (!lifecycle || of(attributes, 'vfio.violation.severity') === 'info') continue;
      assert.ok(lifecycle.status?.message?.includes(String(of(attributes, 'vfio.violation.rule'))));
    }
  });

  it('writes nothing of a VF token anywhere', async () => {
    const { notes, problem } = played(recording);
    assert.equal(problem, undefined);
    const records = notes.records.map((text) =>
      Buffer.from(text.slice(7), 'hex').toString('latin1'),
    );
    assert.ok(records.some((text) => text.includes('confiding')));
    const written: [where: string, text: string][] = [
      ['log', output],
      ['recording', records.join('')],
      ['traces', inspect(collector, { depth: 12, maxArrayLength: null, maxStringLength: null })],
    ];
    for (const page of ['metrics', ...API.map((name) => `api/v1/${name}`)]) {
      written.push([page, await (await fetch(`${session.url}/${page}`)).text()]);
    }
    for (const [where, text] of written) {
      assert.ok(text.length > 100, where);
      assert.ok(!text.includes('vf_token=') && !text.includes(SECRET.slice(0, 8)), where);
    }
  });

  it('supports this kernel as docs/kernel-support.md says', async () => {
    const found = supportOf(session.vm.kernel.release, session.watched);
    if (KEEP) writeSupport(KERNEL, found);
    // The newest package of the kernel changes from day to day.
    const { release } = found;
    assert.deepEqual(found, { ...readSupport(KERNEL, MODULE_BTF), release });
  });

  it('exports metrics that agree with what was done', async () => {
    const text = await (await fetch(`${session.url}/metrics`)).text();
    const value = (series: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${series} `))
          ?.split(' ')
          .at(-1),
      );
    const removed = session.devices.filter((device) => device.end === 'released').length;
    assert.equal(value('vfioscope_events_total{point="mdev.release",phase="begin"}'), removed);
    assert.equal(value('vfioscope_events_lost_total{reason="ring_full"}'), 0);
    const stalls = session.violations.filter(({ rule }) => rule === 'remove-stall');
    assert.ok(stalls.length > 0);
    assert.equal(
      value('vfioscope_violations_total{rule="remove-stall",severity="warning"}'),
      stalls.length,
    );
    assert.equal(
      value('vfioscope_operation_duration_seconds_count{operation="vm_create",result="ok"}'),
      session.vms,
    );
    assert.doesNotMatch(text, /ffff[0-9a-f]{12}/, 'no kernel address leaves the process');
    const lint = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
    assert.deepEqual([lint.status, lint.stderr], [0, '']);
  });

  it('exports the same series as OpenMetrics', async () => {
    const series = async (accept: string): Promise<readonly string[]> => {
      const text = await (await fetch(`${session.url}/metrics`, { headers: { accept } })).text();
      // Only OpenMetrics says since when a series counts.
      const names = text.match(/^[a-z_]+(\{.*?\})? /gm) ?? [];
      return names.filter((name) => !name.includes('_created'));
    };
    const before = await series('text/plain');
    const openMetrics = await series('application/openmetrics-text');
    const after = await series('text/plain');
    // Between two scrapes series appear, such as that of a kind of garbage collection, and those of ended devices go.
    const stayed = before.filter((name) => after.includes(name));
    assert.ok(stayed.length > 200);
    assert.deepEqual(
      openMetrics.filter((name) => stayed.includes(name)),
      stayed,
    );
    assert.deepEqual(
      openMetrics.filter((name) => !before.includes(name) && !after.includes(name)),
      [],
    );
  });

  it('exports the available instances of a parent as its driver reports them', async () => {
    const instances = await session.sh(
      'modprobe mtty; cat /sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/available_instances',
    );
    await session.until('the agent has read the available instances', async () => {
      const text = await (await fetch(`${session.url}/metrics`)).text();
      const [, parent, count] =
        /^vfioscope_parent_available_instances\{parent="(.+)",mdev_type="mtty-1"\} (\d+)$/m.exec(
          text,
        ) ?? [];
      return parent === 'mtty' && count === instances.trim();
    });
  });
});
