// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { messageOf } from '../../../src/errors.ts';
import { atLeastOne } from '../arguments.ts';

export interface FleetArguments {
  readonly agents: number;
  /** Of each agent. */
  readonly devices: number;
  /**
   * How many seconds pass on hosts and in databases in each real one: hosts live, are scraped, and have rules
   * evaluated and blocks written as much faster, so that samples of a series and series of a block are those
   * of real time.
   */
  readonly compression: number;
  /** s for which they are scraped before queries are timed, as the following ones of real time. */
  readonly seconds: number;
  /** s between two scrapes. */
  readonly interval: number;
  /** s of samples that Prometheus puts into a block. */
  readonly block: number;
}

/** s between two scrapes, as docs/alerts.md has it. */
export const INTERVAL = 15;
/** s of samples in a block of Prometheus. */
const BLOCK = 7200;
/** So that the interval of scrapes is whole seconds. */
const COMPRESSIONS = [1, 3, 5, 15];
/** A smoke test: it checks that everything works, blocks included, and the results mean nothing. */
const SMOKE: FleetArguments = {
  ...{ agents: 2, devices: 4, compression: 15, seconds: 14, interval: 1, block: 4 },
};

/** The options of the command line. Exits when they are invalid. */
export function readArguments(): FleetArguments {
  try {
    const option = (value: string) => ({ type: 'string', default: value }) as const;
    const { values } = parseArgs({
      options: {
        agents: option('6'),
        devices: option('128'),
        hours: option('6'),
        compression: option('15'),
        smoke: { type: 'boolean', default: false },
      },
    });
    if (values.smoke) return SMOKE;
    const compression = Number(values.compression);
    if (!COMPRESSIONS.includes(compression))
      throw new Error(`--compression has to be one of ${COMPRESSIONS.join(', ')}`);
    const hours = Number(values.hours);
    if (!(hours > 0)) throw new Error('--hours has to be a number above 0');
    return {
      agents: atLeastOne('--agents', values.agents),
      devices: atLeastOne('--devices', values.devices),
      compression,
      seconds: (3600 * hours) / compression,
      interval: INTERVAL / compression,
      block: BLOCK / compression,
    };
  } catch (error) {
    console.error(messageOf(error));
    console.error(
      'usage: npm run bench:fleet -- [--agents COUNT] [--devices COUNT] [--hours NUMBER] [--compression 1|3|5|15] [--smoke]',
    );
    process.exit(2);
  }
}
