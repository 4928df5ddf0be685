// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Attributes, attribute, Collector } from '../collector/collector.ts';
import { ACTS } from './acts.ts';
import { Stage } from './stage.ts';
import { readSupport, supportOf, writeSupport } from './support.ts';
import { KERNEL, MODULE_BTF } from './traits.ts';
import { differences } from './verify.ts';

/** The host's loopback, as the VM sees it. */
const HOST = '10.0.2.2';

/** Whether this run leaves its recording and what it found to the repository. */
const KEEP = process.env.VFIOSCOPE_KEEP !== undefined;
const RECORDINGS = fileURLToPath(new URL('../recordings', import.meta.url));

const MODE = MODULE_BTF ? '' : ' whose modules tell no types';

describe(`the agent on a real ${KERNEL} kernel${MODE}`, { timeout: 300_000 }, () => {
  let stage: Stage;
  let output = '';
  let collector: Collector;

  before(async () => {
    collector = await Collector.start();
    const { port } = new URL(collector.grpc);
    stage = await Stage.open({
      kernel: KERNEL,
      timeoutMs: 280_000,
      logFormat: 'json',
      recording: KEEP && MODULE_BTF ? `${RECORDINGS}/${KERNEL}.vfr` : undefined,
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
    await stage?.close();
    await collector?.stop();
  });

  for (const { title, play } of ACTS) {
    it(title, () => play(stage));
  }

  it('saw every life and every violation, and no other', async () => {
    assert.deepEqual(await differences(stage), []);
  });

  it('leaves a recording, when asked', async () => {
    await stage.endRecording();
    if (!KEEP || !MODULE_BTF) return;
    const { lives, vms, violations } = stage;
    const truth = JSON.stringify({ lives, vms, violations }, null, 2);
    writeFileSync(`${RECORDINGS}/${KERNEL}.json`, `${truth}\n`);
  });

  it('would have noticed a life, a VM or a violation too few or too many', async () => {
    const told = Object.create(stage) as Stage;
    Object.assign(told, {
      lives: stage.lives.slice(1),
      vms: stage.vms + 1,
      violations: [...stage.violations.slice(1), { ...stage.violations[0], rule: 'invented' }],
    });
    const found = await differences(told);
    assert.equal(found.filter((text) => text.startsWith('unexpected life')).length, 1);
    assert.equal(found.filter((text) => text.startsWith('expected VM')).length, 1);
    assert.equal(found.filter((text) => text.startsWith('unexpected violation')).length, 1);
    assert.equal(found.filter((text) => text.startsWith('expected violation')).length, 1);
  });

  it('logged each violation as one JSON line with evidence', () => {
    const lines = output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const raised = lines.filter((line) => line.event === 'violation.raised');
    assert.deepEqual(
      raised.map((line) => `${line.rule} ${line.device}`).sort(),
      stage.violations.map(({ rule, device }) => `${rule} ${device}`).sort(),
    );
    for (const line of raised) assert.ok(Array.isArray(line.evidence) && line.evidence.length > 1);
  });

  it('sends each life as a trace to a collector, violations with it', async () => {
    const lives = () => collector.spans.filter(({ name }) => name === 'vfio.device.life');
    const of = (attributes: Attributes, name: string) => attribute(attributes, name);
    await stage.until('all lives have arrived', async () => lives().length >= stage.lives.length);
    assert.deepEqual(
      lives()
        .map(({ attributes }) => `${of(attributes, 'vfio.device.name')}`)
        .sort(),
      stage.lives.map(({ uuid }) => uuid).sort(),
    );
    const raised = collector.records.filter(
      ({ attributes }) => of(attributes, 'vfio.violation.change') === 'raised',
    );
    assert.deepEqual(
      raised.map(({ attributes }) => of(attributes, 'vfio.violation.rule')).sort(),
      stage.violations.map(({ rule }) => rule).sort(),
    );
    for (const { traceId, attributes } of raised) {
      const life = lives().find((span) => span.traceId === traceId);
      if (!life) continue;
      assert.ok(life.status?.message?.includes(String(of(attributes, 'vfio.violation.rule'))));
    }
  });

  it('watches this kernel as docs/kernel-support.md says', async () => {
    const found = supportOf(await stage.sh('uname -r'), stage.watched);
    if (KEEP) writeSupport(KERNEL, found);
    // Which package of it is the newest changes from day to day.
    const { release } = found;
    assert.deepEqual(found, { ...readSupport(KERNEL, MODULE_BTF), release });
  });

  it('exports metrics that agree', async () => {
    const text = await (await fetch(`${stage.url}/metrics`)).text();
    const value = (series: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${series} `))
          ?.split(' ')
          .at(-1),
      );
    const removed = stage.lives.filter((life) => life.end === 'released').length;
    assert.equal(value('vfioscope_events_total{point="mdev.release",phase="begin"}'), removed);
    assert.equal(value('vfioscope_events_lost_total{reason="ring_full"}'), 0);
    assert.equal(value('vfioscope_violations_total{rule="remove-stall",severity="warning"}'), 1);
    assert.equal(
      value('vfioscope_operation_duration_seconds_count{operation="vm_create",result="ok"}'),
      stage.vms,
    );
    assert.doesNotMatch(text, /ffff[0-9a-f]{12}/, 'no kernel address leaves the process');
    const lint = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
    assert.deepEqual([lint.status, lint.stderr], [0, '']);
  });

  it('exports the same series as OpenMetrics', async () => {
    const series = async (accept: string) => {
      const text = await (await fetch(`${stage.url}/metrics`, { headers: { accept } })).text();
      return text.match(/^[a-z_]+(\{.*?\})? /gm);
    };
    const text = await series('text/plain');
    assert.ok(text && text.length > 500);
    assert.deepEqual(await series('application/openmetrics-text'), text);
  });

  it('tells how many more devices a parent offers, as its driver says', async () => {
    const said = await stage.sh(
      'modprobe mtty; cat /sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/available_instances',
    );
    await stage.until('the driver was asked', async () => {
      const text = await (await fetch(`${stage.url}/metrics`)).text();
      const [, parent, count] =
        /^vfioscope_parent_available_instances\{parent="(.+)",type="mtty-1"\} (\d+)$/m.exec(text) ??
        [];
      return parent === 'mtty' && count === said.trim();
    });
  });
});
