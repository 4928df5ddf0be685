// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { build } from '../board.ts';
import { BOARDS } from '../catalogue.ts';
import { panelsOf } from '../panel-queries.ts';
import type { Answered } from './answers.ts';
import { runsOf, ticks } from './axes.ts';
import { draw } from './kinds.ts';
import { hashes } from './stamp.ts';
import { coloursOf, fitting, text } from './svg.ts';
import { formatted } from './values.ts';

const WINDOW = { from: 1000, to: 1120 };
const SIZE = { width: 600, height: 260 };

/** A series with a gap, and labels that tables have. */
const SERIES: Answered = {
  legend: '0.1',
  labels: { cluster: 'lab', instance: 'kvm01:10055', severity: 'error', le: '0.1' },
  points: [
    [1000, 1],
    [1001, 2],
    [1010, 3],
  ],
};

describe('the pictures of the dashboards', () => {
  for (const board of BOARDS) {
    it(`can be drawn for every panel of ${board.name}, with and without an answer`, () => {
      for (const panel of panelsOf(build(board))) {
        const targets = panel.targets ?? [];
        for (const series of [[], [SERIES]]) {
          const answers = targets.map(() => series);
          const content = draw({ panel, answers, window: WINDOW, size: SIZE });
          assert.ok(!/NaN|undefined|Infinity/.test(content), `${panel.title}: ${content}`);
          if (series.length > 0) assert.match(content, /<(text|rect|polyline)/, panel.title);
        }
      }
    });
  }

  it('are stale when a dashboard, the simulated hosts, the drawing program or a picture has another content', () => {
    const before = hashes();
    const changed = (pattern: RegExp) => {
      const after = hashes((file, content) => {
        return pattern.test(file) ? Buffer.concat([content, Buffer.from('1;')]) : content;
      });
      return Object.keys(before).filter((name) => after[name] !== before[name]);
    };
    assert.deepEqual(changed(/dashboards\/(fleet\.json|host\.png)$/), ['fleet', 'host']);
    assert.equal(changed(/dashboards\/simulated-hosts\.ts$/).length, BOARDS.length);
    assert.equal(changed(/pictures\/graph\.ts$/).length, BOARDS.length);
    assert.deepEqual(changed(/pictures\/pictures\.test\.ts$/), []);
  });
});

describe('what is drawn', () => {
  it('has numbers as Grafana writes them', () => {
    assert.equal(formatted(0, 's'), '0 s');
    assert.equal(formatted(0.0123, 's'), '12.3 ms');
    assert.equal(formatted(463.8, 's'), '7.73 mins');
    assert.equal(formatted(0.5, 'percentunit'), '50%');
    assert.equal(formatted(3 * 2 ** 20, 'bytes'), '3 MiB');
    assert.equal(formatted(0.2, 'ops'), '0.2 ops/s');
    assert.equal(formatted(2.4, 'none', 0), '2');
    assert.throws(() => formatted(1, 'furlongs'), /has to be added/);
  });

  it('has round numbers at its axes', () => {
    assert.deepEqual(ticks(7, 4), [0, 2, 4, 6, 8]);
    assert.deepEqual(ticks(0, 4), [0, 1]);
    assert.deepEqual(ticks(4, 4), [0, 1, 2, 3, 4]);
    assert.deepEqual(
      ticks(150 * 2 ** 20, 3, true),
      [0, 50, 100, 150].map((mib) => mib * 2 ** 20),
    );
  });

  it('has a gap where nothing was found, and a colour for each series', () => {
    assert.deepEqual(
      runsOf(SERIES.points).map((run) => run.length),
      [2, 1],
    );
    const colours = coloursOf(Array.from({ length: 16 }, (_, i) => [`vm${i}`, undefined] as const));
    assert.equal(new Set(colours.values()).size, 16);
    assert.equal(coloursOf([['open', 'blue']]).get('open'), '#5794f2');
  });

  it('is cut and escaped', () => {
    assert.equal(fitting('abcdefgh', 36, 12), 'abcd…');
    assert.match(text(0, 0, 'a < b & c'), />a &lt; b &amp; c</);
  });
});
