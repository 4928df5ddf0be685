import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { offers } from '../../rules/story-mdev.ts';
import { Measured } from '../measured.ts';
import { METRICS } from './catalogue.ts';
import { metricsDocument } from './document.ts';
import { type Format, writeMetrics } from './exposition.ts';
import type { Metric, Samples, Scrape } from './metric.ts';
import { PROCESS } from './process.ts';

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

/** A removal that stalls, a failed create, a VM; all that the metrics have to show. */
function eventful(format: Format): Promise<string> {
  const telling = new Measured({ traceIdOf: () => TRACE });
  telling.tell((story) => {
    const parent = story.parent({ name: 'gpu0' });
    offers(story, parent, { 'gpu0-1': 3 });
    const device = story.create(parent);
    story.createFails(parent, 28);
    story.open(device, { vm: story.createVm() });
    story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
    story.wait(11);
  });
  return telling.text(format);
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

  it('escapes what would end a value, and leaves everything else as it is', async () => {
    const label = async (value: string) => (await shown('text', (to) => to.show(1, [value])))[2];
    assert.equal(await label('a"b'), String.raw`a_seconds_total{b="a\"b"} 1`);
    assert.equal(await label('a\\"b\\'), String.raw`a_seconds_total{b="a\\\"b\\"} 1`);
    assert.equal(await label('a\nb'), String.raw`a_seconds_total{b="a\nb"} 1`);
    assert.equal(await label('Ä{},=\t�'), 'a_seconds_total{b="Ä{},=\t�"} 1');
  });

  it('writes numbers that are not finite as Prometheus reads them', async () => {
    const value = async (number: number) =>
      (await shown('text', (to) => to.show(number, [''])))[2].split(' ')[1];
    assert.equal(await value(Infinity), '+Inf');
    assert.equal(await value(-Infinity), '-Inf');
    assert.equal((await value(Number.NaN)).toLowerCase(), 'nan');
    assert.equal(await value(1e21), '1e+21');
    assert.equal(await value(0.1), '0.1');
  });

  it('is what promtool finds nothing to say about', async () => {
    const text = await eventful('text');
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      ...{ input: text, encoding: 'utf8' },
    });
    assert.deepEqual([status, stdout, stderr], [0, '', '']);
  });
});

describe('OpenMetrics', () => {
  it('names a counter without _total in its header, and tells units and exemplars', async () => {
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
    const telling = new Measured({ traceIdOf: () => TRACE });
    telling.tell((story) => story.remove(story.create(story.parent())));
    const samples = async (format: Format) =>
      (await telling.text(format))
        .split('\n')
        .filter((line) => line.startsWith('vfioscope') && !line.includes('scrape_duration'))
        .map((line) => line.split(' # ')[0]);
    const first = await samples('text');
    assert.ok(first.length > 400);
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

  it('shows the trace of the device beside a duration, in the bucket that it fell into', async () => {
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

  it('shows the trace of the device beside the count of its violation', async () => {
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
    const telling = new Measured();
    telling.tell((story) => story.create(story.parent()));
    assert.doesNotMatch(await telling.text('openmetrics'), /trace_id/);
  });
});

describe('a scrape', () => {
  /** All but what it costs and what the process does. */
  const state = (text: string) =>
    text
      .split('\n')
      .filter((line) => /^(# \w+ )?vfioscope/.test(line) && !line.includes('scrape_duration'));

  it('shows the state of one moment, whatever happens while it is written', async () => {
    const telling = new Measured();
    telling.tell((story) => story.create(story.parent()));
    const before = await telling.text();
    const during = telling.text();
    telling.tell((story) => story.create(story.parent()));
    assert.deepEqual(state(await during), state(before));
    assert.notDeepEqual(state(await telling.text()), state(before));
  });

  it('shares nothing with another at the same time in the other format', async () => {
    const telling = new Measured({ traceIdOf: () => TRACE });
    telling.tell((story) => story.create(story.parent()));
    const formats = ['text', 'openmetrics', 'text', 'openmetrics'] as const;
    const alone = new Map<Format, string>();
    for (const format of formats) alone.set(format, await telling.text(format));
    const together = await Promise.all(formats.map((format) => telling.text(format)));
    for (const [i, format] of formats.entries()) {
      assert.deepEqual(state(together[i]), state(alone.get(format)!), format);
    }
  });

  it('that fails is followed by one that does not', async () => {
    let fails = true;
    const logLinesDropped = () => (fails ? assert.fail('cannot be read') : 7);
    const telling = new Measured({ source: { logLinesDropped } });
    await assert.rejects(telling.text(), /cannot be read/);
    fails = false;
    assert.equal((await telling.series('vfioscope_log_lines_dropped_total'))[''], 7);
  });
});

describe('each metric', () => {
  const SUFFIX = { counter: /_total$/, gauge: /(?<!_total|_count|_sum|_bucket)$/ } as const;

  it('ends in what its type demands, and says something', () => {
    for (const { name, type, help, query } of METRICS) {
      if (type === 'counter' || type === 'gauge') assert.match(name, SUFFIX[type], name);
      assert.doesNotMatch(help, /[\n\\"]|\.$/, name);
      assert.ok(query.includes(name), name);
    }
  });

  it('has labels that the document explains', () => {
    const document = metricsDocument();
    for (const { name, labels } of METRICS) {
      for (const label of labels)
        assert.ok(document.includes(`\n| \`${label}\` |`), `${name} ${label}`);
    }
  });

  it('has samples in an eventful life, with the labels that its row says', async () => {
    const text = await eventful('text');
    const quiet = [
      // What the story has not: a VM that was closed, and a finding that was held back.
      'vfioscope_vm_fd_closed_timestamp_seconds',
      'vfioscope_findings_held_back_total',
      // What Node may have or not at that moment.
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
