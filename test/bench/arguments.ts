// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';

export interface BenchArguments {
  /** How often each comparison is repeated. */
  readonly rounds: number;
  /** How long the reader has to keep up. */
  readonly seconds: number;
  /** Where the compiled programs are; only between main.ts and its parts. */
  readonly directory: string;
}

/** The options of the command line. Ends the process when they make no sense. */
export function readArguments(): BenchArguments {
  try {
    return parse();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    console.error('usage: npm run bench -- [--rounds COUNT] [--seconds SECONDS]');
    process.exit(2);
  }
}

function parse(): BenchArguments {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '15' },
      seconds: { type: 'string', default: '10' },
      directory: { type: 'string', default: '' },
    },
  });
  return {
    rounds: atLeastOne('--rounds', values.rounds),
    seconds: atLeastOne('--seconds', values.seconds),
    directory: values.directory,
  };
}

export function atLeastOne(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`${option} needs a whole number above 0, not "${text}"`);
  }
  return value;
}
