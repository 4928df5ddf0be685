// SPDX-License-Identifier: Apache-2.0
/**
 * What it costs to read a record out of the ring: RingReader against libbpf's
 * ring_buffer__consume, on the same ring. The kernel fills it while both stand
 * still; then one of them, in turn, is timed while it empties the ring. The
 * other one reads the same bytes again, untimed, to stay in step.
 */
import type { EventCursor } from '../../src/events/cursor.ts';
import { readArguments } from './arguments.ts';
import { programsIn } from './build.ts';
import { Producer, type Program } from './producer.ts';
import { now, type Round, ratio, spread, table } from './rounds.ts';
import { namedRecords, type Tape, tapeOfLives } from './tape.ts';

const RING_BYTES = 1 << 20;
/** How often each reader is timed in a round. */
const FILLS = 100;
/** Enough for the optimizing compiler, and for positions beyond 31 bits, where a reader gets old. */
const WARM_UP_BYTES = 2 ** 31;

const { rounds, directory } = readArguments();
const { tape } = tapeOfLives();
const producer = new Producer(programsIn(directory), RING_BYTES, tape);
const reader = producer.reader();
const consume = producer.native.consumer(producer.ringFd);
const position = producer.consumerPosition();
const sums = new Float64Array(3);

function receive(event: EventCursor): void {
  sums[0] += event.time;
  sums[1] += event.point;
  sums[2] += event.pid;
}

/** @returns ns that our reader took */
function drain(records: number): number {
  sums.fill(0);
  const start = now();
  const read = reader.drain(records + 1, receive);
  const elapsed = now() - start;
  expect(read, records);
  return elapsed;
}

/** @returns ns that libbpf took */
function peer(records: number): number {
  const consumed = consume();
  expect(consumed.records, records);
  return consumed.elapsed;
}

function expect(read: number, records: number): void {
  if (read !== records) throw new Error(`${records} records were made and ${read} read`);
}

interface Measured extends Round {
  readonly kernel: number;
}

function measure(program: Program, records: number, fills: number): Measured {
  let [ours, theirs, kernel] = [0, 0, 0];
  for (let fill = 0; fill < 2 * fills; fill++) {
    const start = position[0];
    kernel += producer.produce(program, records);
    if (fill % 2 === 0) {
      ours += drain(records);
      position[0] = start;
      peer(records);
    } else {
      theirs += peer(records);
      drain(records);
    }
  }
  const total = records * fills;
  return { ours: ours / total, peer: theirs / total, kernel: kernel / total / 2 };
}

function row(title: string, program: Program, records: number): string[] {
  const bytes = program === 'replay' ? tape.bytes : records * 120;
  measure(program, records, Math.ceil(WARM_UP_BYTES / bytes / 2));
  const results = Array.from({ length: rounds }, () => measure(program, records, FILLS));
  return [
    title,
    spread(
      results.map(({ ours }) => ours),
      1,
    ),
    spread(
      results.map(({ peer }) => peer),
      1,
    ),
    ratio(results),
    spread(
      results.map(({ kernel }) => kernel),
      1,
    ),
  ];
}

function mixed({ records }: Tape): string {
  return `lives (${Math.round((100 * namedRecords(tape)) / records.length)} % with names)`;
}

console.log('\nReading the ring: three fields of each record, ns per record');
table([
  ['records', 'TypeScript', 'libbpf in C', 'ratio (target ≤ 2.0×)', 'kernel, to write one'],
  row('plain', 'compose', 8192),
  row(mixed(tape), 'replay', tape.records.length),
]);
