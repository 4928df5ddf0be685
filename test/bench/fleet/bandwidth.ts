// SPDX-License-Identifier: Apache-2.0
/** What scrapes take of a network. */
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { constants, gunzipSync, gzipSync } from 'node:zlib';
import type { Target } from '../../time-series.ts';
import { median } from '../rounds.ts';

/** Bytes of the body of a scrape. */
export interface ScrapeSize {
  readonly plain: number;
  /** As Prometheus requests it. */
  readonly compressed: number;
}

/** Hosts that are asked. */
const MOST = 10;

/**
 * The median of some targets, with all series and without those that a pattern names.
 * @param without a regular expression of whole names
 */
export async function scrapeSizes(
  targets: readonly Target[],
  without: string,
): Promise<{ readonly all: ScrapeSize; readonly fewer: ScrapeSize }> {
  const isOmitted = new RegExp(`^(${without})([{ ]|$)`);
  const documents = await Promise.all(targets.slice(0, MOST).map(({ address }) => scrape(address)));
  const fewer = documents.map(({ text }) =>
    text
      .split('\n')
      .filter((line) => !isOmitted.test(line.replace(/^# (HELP|TYPE) /, '')))
      .join('\n'),
  );
  return {
    all: {
      plain: median(documents.map(({ text }) => text.length)),
      compressed: median(documents.map(({ compressed }) => compressed)),
    },
    fewer: {
      plain: median(fewer.map((text) => text.length)),
      // As the agent compresses.
      compressed: median(
        fewer.map((text) => gzipSync(text, { level: constants.Z_BEST_SPEED }).length),
      ),
    },
  };
}

async function scrape(address: string): Promise<{ text: string; compressed: number }> {
  const headers = {
    'accept-encoding': 'gzip',
    accept: 'application/openmetrics-text; version=1.0.0',
  };
  const [response] = (await once(get(`http://${address}/metrics`, { headers }), 'response')) as [
    IncomingMessage,
  ];
  const body = Buffer.concat(await response.toArray());
  return { text: gunzipSync(body).toString('latin1'), compressed: body.length };
}
