// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { atLeastOne } from '../arguments.ts';

export interface FleetArguments {
  readonly agents: number;
  /** Of each agent. */
  readonly devices: number;
  /** For how long they are scraped before queries are timed. */
  readonly minutes: number;
}

/** The options of the command line. Ends the process when they make no sense. */
export function readArguments(): FleetArguments {
  try {
    const option = (value: string) => ({ type: 'string', default: value }) as const;
    const { values } = parseArgs({
      options: { agents: option('200'), devices: option('128'), minutes: option('4') },
    });
    return {
      agents: atLeastOne('--agents', values.agents),
      devices: atLeastOne('--devices', values.devices),
      minutes: atLeastOne('--minutes', values.minutes),
    };
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    console.error(
      'usage: npm run bench:fleet -- [--agents COUNT] [--devices COUNT] [--minutes COUNT]',
    );
    process.exit(2);
  }
}
