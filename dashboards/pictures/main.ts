// SPDX-License-Identifier: Apache-2.0
/**
 * Draws the pictures of docs/dashboards.md: a real Prometheus scrapes the simulated hosts
 * for two minutes and answers the queries of all panels; rsvg-convert makes PNG of what is drawn.
 * With --check it only reports which pictures are not of the dashboards as they are (exit code 1).
 *
 *     npm run pictures
 */
import { execFileSync } from 'node:child_process';
import { setTimeout as later } from 'node:timers/promises';
import { TimeSeries } from '../../test/time-series.ts';
import { alertRules, recordingRules } from '../alerts/files.ts';
import { build } from '../board.ts';
import { BOARDS } from '../catalogue.ts';
import { SimulatedHosts, selectionOf } from '../simulated-hosts.ts';
import { picture } from './picture.ts';
import { pictureOf, stale, writeStamp } from './stamp.ts';

const SCRAPES_MS = 500;
/** A minute of the recording rules in half a second. */
const SCALE = 1 / 120;
/** Something happens on the hosts so often: not evenly, or all graphs were flat. */
const BEATS_MS = [1500, 2500, 1000, 3000, 2000];
/** s that the pictures show. */
const SHOWN = 120;
/** s before the end at which one of the hosts falls silent. */
const SILENT = 20;

if (process.argv.includes('--check')) check();
else await drawAll();

function check(): void {
  const names = stale();
  if (names.length === 0) return;
  console.error(
    `docs/dashboards: ${names.join(', ')} not current: run \`npm run pictures\` (root)`,
  );
  process.exitCode = 1;
}

async function drawAll(): Promise<void> {
  const hosts = new SimulatedHosts();
  await hosts.start();
  const interval = `${SCRAPES_MS}ms`;
  const files = {
    'recording.yml': recordingRules({ scale: SCALE }),
    'alerts.yml': alertRules({ scale: SCALE }),
  };
  const rules = { files, every: interval };
  const engine = await TimeSeries.prometheus(hosts.targets, interval, { rules });
  try {
    // Counters have to be seen before they grow, or their increase is not known.
    while ((await engine.query('vfioscope_build_info')).length < hosts.targets.length) {
      await later(SCRAPES_MS);
    }
    console.error(`pictures  scraping the simulated hosts for ${SHOWN} s`);
    const from = Date.now() / 1000;
    const isPast = (seconds: number) => Date.now() / 1000 > from + seconds;
    for (let beat = 0, isLeft = false; !isPast(SHOWN); beat++) {
      hosts.advance();
      if (!isLeft && isPast(SHOWN - SILENT)) {
        isLeft = true;
        await hosts.takeDown();
      }
      await later(BEATS_MS[beat % BEATS_MS.length]);
    }
    const window = { from: Math.ceil(from), to: Math.floor(Date.now() / 1000) };
    for (const board of BOARDS) {
      const svg = await picture(build(board), engine, selectionOf(board.name), window);
      execFileSync('rsvg-convert', ['--output', pictureOf(board.name)], { input: svg });
      // To a third of its size, and without a difference that can be seen.
      execFileSync('pngquant', [
        '--force',
        '--output',
        pictureOf(board.name),
        pictureOf(board.name),
      ]);
      console.error(`pictures  ${pictureOf(board.name)}`);
    }
    writeStamp();
  } finally {
    await engine.stop();
    await hosts.stop();
  }
}
