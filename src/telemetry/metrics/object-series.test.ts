import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Format } from './exposition.ts';
import type { ObjectMetric } from './metric.ts';
import { ObjectSeries } from './object-series.ts';
import type { ObjectSamples } from './samples.ts';

const METRIC: ObjectMetric = {
  ...{
    name: 'a_seconds',
    type: 'gauge',
    labels: ['b', 'c'],
    help: 'What it is',
    query: 'a_seconds',
  },
};

function shown(format: Format, show: (samples: ObjectSamples) => void): string[] {
  const series = new ObjectSeries(METRIC, format);
  show(series);
  return Buffer.concat(series.end()).toString().split('\n').slice(0, -1);
}

describe('series of single objects', () => {
  it('are the same in both formats except for the unit', () => {
    const show = (to: ObjectSamples) => {
      to.show(3, ['x', 'y']);
      to.about('{b="z"', 0.5, ['y']);
    };
    const lines = [
      '# HELP a_seconds What it is',
      '# TYPE a_seconds gauge',
      ...['a_seconds{b="x",c="y"} 3', 'a_seconds{b="z",c="y"} 0.5'],
    ];
    assert.deepEqual(shown('text', show), lines);
    assert.deepEqual(shown('openmetrics', show), ['# UNIT a_seconds seconds', ...lines]);
  });

  it('escape special characters of label values, and nothing else', () => {
    const label = (value: string) => shown('text', (to) => to.show(1, [value, '']))[2];
    assert.equal(label('a"b'), String.raw`a_seconds{b="a\"b",c=""} 1`);
    assert.equal(label('a\\"b\\'), String.raw`a_seconds{b="a\\\"b\\",c=""} 1`);
    assert.equal(label('a\nb'), String.raw`a_seconds{b="a\nb",c=""} 1`);
    assert.equal(label('Ä{},=\t�'), 'a_seconds{b="Ä{},=\t�",c=""} 1');
  });

  it('are complete when they exceed the size of a piece', () => {
    const lines = shown('text', (to) => {
      for (let i = 0; i < 1000; i++) to.about(`{b="${i}"`, i, ['']);
    });
    assert.equal(lines.length, 1002);
    assert.equal(lines[1001], 'a_seconds{b="999",c=""} 999');
  });
});
