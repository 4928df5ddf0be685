import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { idleSeries } from '../../../test/kit/idle-host.ts';
import { Measured } from '../../../test/kit/measured.ts';
import { lacks } from '../../../test/kit/needs.ts';
import { offers } from '../../scenario/mdev.ts';
import { METRICS } from './catalogue.ts';
import { type Format, writeMetrics } from './exposition.ts';
import type { Metric, Scrape } from './metric.ts';
import { PROCESS } from './process.ts';
import type { Samples } from './samples.ts';

const skip = lacks('promtool');

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const COUNTER: Omit<Metric, 'collect'> = {
  ...{ name: 'a_seconds_total', type: 'counter', labels: ['b'], help: 'What it counts' },
  ...{ query: 'a_seconds_total' },
};

/** A document with samples of one metric, which reads nothing. */
async function shown(
  format: Format,
  show: (samples: Samples) => void,
  metric = COUNTER,
): Promise<string[]> {
  const collect = (_scrape: Scrape, samples: Samples) => show(samples);
  const text = await writeMetrics([{ ...metric, collect }], {} as Scrape, format);
  return text.split('\n').slice(0, -1);
}

/** A removal that stalls, a failed create, a VM, a device without a user; all that the metrics have to show. */
function eventful(format: Format): Promise<string> {
  const runner = new Measured({ traceIdOf: () => TRACE });
  runner.run((scenario) => {
    const parent = scenario.parent({ name: 'gpu0' });
    offers(scenario, parent, { 'gpu0-1': 3 });
    const device = scenario.create(parent);
    scenario.create(parent);
    scenario.createFails(parent, 28);
    scenario.open(device, { vm: scenario.createVm() });
    scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
    scenario.wait(11);
  });
  return runner.text(format);
}

describe('the text format', () => {
  it('has help, type and samples, and no exemplars', async () => {
    const exemplar = { traceId: TRACE, value: 1, at: 2 };
    const lines = await shown('text', (to) => to.show(3, ['x'], exemplar));
    assert.deepEqual(lines, [
      '# HELP a_seconds_total What it counts',
      '# TYPE a_seconds_total counter',
      'a_seconds_total{b="x"} 3',
    ]);
  });

  it('escapes special characters of label values, and nothing else', async () => {
    const label = async (value: string) => (await shown('text', (to) => to.show(1, [value])))[2];
    assert.equal(await label('a"b'), String.raw`a_seconds_total{b="a\"b"} 1`);
    assert.equal(await label('a\\"b\\'), String.raw`a_seconds_total{b="a\\\"b\\"} 1`);
    assert.equal(await label('a\nb'), String.raw`a_seconds_total{b="a\nb"} 1`);
    assert.equal(await label('Ä{},=\t�'), 'a_seconds_total{b="Ä{},=\t�"} 1');
  });

  it('writes infinite numbers and NaN as Prometheus reads them', async () => {
    const value = async (number: number) =>
      (await shown('text', (to) => to.show(number, [''])))[2].split(' ')[1];
    assert.equal(await value(Infinity), '+Inf');
    assert.equal(await value(-Infinity), '-Inf');
    assert.equal((await value(Number.NaN)).toLowerCase(), 'nan');
    assert.equal(await value(1e21), '1e+21');
    assert.equal(await value(0.1), '0.1');
  });

  it('is accepted by promtool without complaint', { skip }, async () => {
    const text = await eventful('text');
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      ...{ input: text, encoding: 'utf8' },
    });
    assert.deepEqual([status, stdout, stderr], [0, '', '']);
  });
});

describe('OpenMetrics', () => {
  it('names a counter without _total in its header, and has units and exemplars', async () => {
    const exemplar = { traceId: TRACE, value: 0.5, at: 1763000001.25 };
    const lines = await shown('openmetrics', (to) => {
      to.show(3, ['x'], exemplar);
      to.show(4, ['y']);
    });
    assert.deepEqual(lines, [
      '# UNIT a_seconds seconds',
      '# HELP a_seconds What it counts',
      '# TYPE a_seconds counter',
      `a_seconds_total{b="x"} 3 # {trace_id="${TRACE}"} 0.5 1763000001.25`,
      'a_seconds_total{b="y"} 4',
    ]);
  });

  it('has an exemplar in the bucket of a histogram', async () => {
    const lines = await shown(
      'openmetrics',
      (to) => {
        to.part('_bucket', 2, ['x', '1.0'], { traceId: TRACE, value: 0.5, at: 7 });
        to.part('_sum', 0.75, ['x']);
        to.part('_count', 2, ['x']);
      },
      { ...COUNTER, name: 'a_seconds', type: 'histogram' },
    );
    assert.deepEqual(lines.slice(3), [
      `a_seconds_bucket{b="x",le="1.0"} 2 # {trace_id="${TRACE}"} 0.5 7`,
      'a_seconds_sum{b="x"} 0.75',
      'a_seconds_count{b="x"} 2',
    ]);
  });

  it('has the same series and values as the text format, in turns', async () => {
    const runner = new Measured({ traceIdOf: () => TRACE });
    runner.run((scenario) => scenario.remove(scenario.create(scenario.parent())));
    const samples = async (format: Format) =>
      (await runner.text(format))
        .split('\n')
        .filter((line) => line.startsWith('vfioscope') && !/scrape_duration|_created/.test(line))
        .map((line) => line.split(' # ')[0]);
    const first = await samples('text');
    assert.ok(first.length > 100);
    for (const format of ['openmetrics', 'text', 'openmetrics'] as const) {
      assert.deepEqual(await samples(format), first);
    }
  });

  it('ends once', async () => {
    const text = await eventful('openmetrics');
    assert.equal(text.split('# EOF').length, 2);
    assert.ok(text.endsWith('\n# EOF\n'));
    assert.doesNotMatch(await eventful('text'), /# EOF/);
  });

  it('has the trace of the device as exemplar of the bucket that counted the duration', async () => {
    const lines = (await eventful('openmetrics')).split('\n');
    const [create, ...others] = lines.filter(
      (line) => line.includes('operation="create",result="error"') && line.includes('trace_id'),
    );
    assert.deepEqual(others, []);
    assert.match(
      create,
      / # \{trace_id="0af7651916cd43dd8448eb211c80319c"\} \S+ 1763001\d{3}(\.\d{1,3})?$/,
    );
    const [, le, value] = /le="(\S+)"\} 1 # \{\S+\} (\S+)/.exec(create) ?? [];
    assert.ok(Number(value) > 0 && Number(value) <= Number(le), `${value} in ${le}`);
  });

  it('has the trace of the device as exemplar of the count of its violation', async () => {
    const lines = (await eventful('openmetrics')).split('\n');
    const [stall] = lines.filter((line) =>
      line.startsWith('vfioscope_violations_total{rule="remove-stall"'),
    );
    assert.match(
      stall,
      /severity="warning"\} 1 # \{trace_id="0af7651916cd43dd8448eb211c80319c"\} 1 17630010\d\d(\.\d{1,3})?$/,
    );
    const others = lines.filter((line) => /^vfioscope_violations_total.* 0 # /.test(line));
    assert.deepEqual(others, []);
  });

  it('has no exemplar where there is no trace', async () => {
    const runner = new Measured();
    runner.run((scenario) => scenario.create(scenario.parent()));
    assert.doesNotMatch(await runner.text('openmetrics'), /trace_id/);
  });
});

describe('a scrape', () => {
  /** All but what it costs and what the process does. */
  const state = (text: string) =>
    text
      .split('\n')
      .filter((line) => /^(# \w+ )?vfioscope/.test(line) && !line.includes('scrape_duration'));

  it('shows a consistent state, whatever happens while it is written', async () => {
    const runner = new Measured();
    runner.run((scenario) => scenario.create(scenario.parent()));
    const before = await runner.text();
    const during = runner.text();
    runner.run((scenario) => scenario.create(scenario.parent()));
    assert.deepEqual(state(await during), state(before));
    assert.notDeepEqual(state(await runner.text()), state(before));
  });

  it('is independent of a scrape in the other format at the same time', async () => {
    const runner = new Measured({ traceIdOf: () => TRACE });
    runner.run((scenario) => scenario.create(scenario.parent()));
    const formats = ['text', 'openmetrics', 'text', 'openmetrics'] as const;
    const alone = new Map<Format, string>();
    for (const format of formats) alone.set(format, await runner.text(format));
    const together = await Promise.all(formats.map((format) => runner.text(format)));
    for (const [i, format] of formats.entries()) {
      assert.deepEqual(state(together[i]), state(alone.get(format)!), format);
    }
  });

  it('that fails is followed by one that does not', async () => {
    let fails = true;
    const logLinesDropped = () => (fails ? assert.fail('cannot be read') : 7);
    const runner = new Measured({ source: { logLinesDropped } });
    await assert.rejects(runner.text(), /cannot be read/);
    fails = false;
    assert.equal((await runner.series('vfioscope_log_lines_dropped_total'))[''], 7);
  });
});

describe('each metric', () => {
  const SUFFIX = { counter: /_total$/, gauge: /(?<!_total|_count|_sum|_bucket)$/ } as const;

  it('has a name that matches its type, and a help text', () => {
    for (const { name, type, help, query } of METRICS) {
      if (type === 'counter' || type === 'gauge') assert.match(name, SUFFIX[type], name);
      assert.doesNotMatch(help, /[\n\\"]|\.$/, name);
      assert.ok(query.includes(name), name);
    }
  });

  it('has samples in an eventful scenario, with the labels of its row', async () => {
    const text = await eventful('text');
    const quiet = [
      // The scenario has no VM whose descriptor was closed, no suppressed finding, nothing critical.
      'vfioscope_critical_violation_timestamp_seconds',
      'vfioscope_vm_fd_closed_timestamp_seconds',
      'vfioscope_findings_suppressed_total',
      // Node.js has these at some times and not at others.
      ...PROCESS.metrics.map(({ name }) => name).filter((name) => /_(active|gc)_/.test(name)),
    ];
    for (const { name, labels, type } of METRICS) {
      const suffix = type === 'histogram' || type === 'summary' ? '_sum' : '';
      const sample = new RegExp(`^${name}${suffix}(?:\\{.*\\})? `, 'm').exec(text)?.[0];
      const names = sample && [...sample.matchAll(/(\w+)="/g)].map(([, label]) => label);
      if (names || !quiet.includes(name)) assert.deepEqual(names, labels, name);
    }
  });
});

describe('series that appear when they are first used', () => {
  it('say in OpenMetrics since when they count, and in the text format nothing', async () => {
    const lines = (await eventful('openmetrics')).split('\n');
    const created = lines.filter((line) => line.includes('_created'));
    assert.ok(created.some((line) => /^vfioscope_events_created\{point="mdev.create"/.test(line)));
    const [create, ...others] = created.filter((line) =>
      line.startsWith(
        'vfioscope_operation_duration_seconds_created{operation="create",result="ok"}',
      ),
    );
    assert.deepEqual(others, []);
    const started = performance.timeOrigin / 1000;
    assert.ok(Math.abs(Number(create.split(' ')[1]) - started) < 0.01);
    assert.doesNotMatch(await eventful('text'), /_created\{/);
  });

  it('are not there on an idle host, which has less than half of the 896 series that it once had', async () => {
    // Those about exports are there only where a collector is configured.
    const series = (await idleSeries()).filter((line) => !line.startsWith('vfioscope_otlp_'));
    assert.ok(series.length < 896 / 2, `${series.length}`);
    assert.deepEqual(
      series.filter((line) => line.startsWith('vfioscope_operation_duration')),
      [],
    );
  });
});
