// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { messageOf } from '../../../src/errors.ts';
import { atLeastOne } from '../arguments.ts';

export interface FleetArguments {
  readonly agents: number;
  /** Of each agent. */
  readonly devices: number;
  /** s for which they are scraped before queries are timed. */
  readonly seconds: number;
  /** s between two scrapes. */
  readonly interval: number;
}

/** s between two scrapes, as docs/alerts.md has it. */
export const INTERVAL = 15;
/** A smoke test: it checks that everything works, and the results mean nothing. */
const SMOKE: FleetArguments = { agents: 2, devices: 4, seconds: 12, interval: 1 };

/** The options of the command line. Exits when they are invalid. */
export function readArguments(): FleetArguments {
  try {
    const option = (value: string) => ({ type: 'string', default: value }) as const;
    const { values } = parseArgs({
      options: {
        agents: option('200'),
        devices: option('128'),
        minutes: option('4'),
        smoke: { type: 'boolean', default: false },
      },
    });
    if (values.smoke) return SMOKE;
    return {
      agents: atLeastOne('--agents', values.agents),
      devices: atLeastOne('--devices', values.devices),
      seconds: 60 * atLeastOne('--minutes', values.minutes),
      interval: INTERVAL,
    };
  } catch (error) {
    console.error(messageOf(error));
    console.error(
      'usage: npm run bench:fleet -- [--agents COUNT] [--devices COUNT] [--minutes COUNT] [--smoke]',
    );
    process.exit(2);
  }
}
