// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/errors.ts';

/** So that each benchmark ends within about a second. */
const SMOKE_WARM_UP = 0.01;

export interface BenchArguments {
  /** How often each comparison is repeated. */
  readonly rounds: number;
  /** How much of the warm-up is done before times are taken: 1 for all of it. */
  readonly warmUp: number;
  /** How long the reader has to keep up. */
  readonly seconds: number;
  /** Only check that the benchmarks work and agree with their peers: the times mean nothing. */
  readonly smoke: boolean;
  /** Where the compiled programs are; only between main.ts and its parts. */
  readonly directory: string;
}

/** The options of the command line. Exits when they are invalid. */
export function readArguments(): BenchArguments {
  try {
    return parse();
  } catch (error) {
    console.error(messageOf(error));
    console.error('usage: npm run bench -- [--rounds COUNT] [--seconds SECONDS] [--smoke]');
    process.exit(2);
  }
}

function parse(): BenchArguments {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '15' },
      seconds: { type: 'string', default: '10' },
      smoke: { type: 'boolean', default: false },
      directory: { type: 'string', default: '' },
    },
  });
  const { smoke, directory } = values;
  return {
    smoke,
    rounds: smoke ? 1 : atLeastOne('--rounds', values.rounds),
    seconds: smoke ? 1 : atLeastOne('--seconds', values.seconds),
    warmUp: smoke ? SMOKE_WARM_UP : 1,
    directory,
  };
}

export function atLeastOne(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`${option} needs a whole number above 0, not "${text}"`);
  }
  return value;
}
