/**
 * Writes wire.gen.ts from the BTF of a compiled probe object; with --check, only
 * tells whether the committed file is current (exit code 1 when it is not).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { ProbeObject } from '../kernel/probe-object.ts';
import { describeWire, type WireDescription } from './wire-description.ts';

const target = new URL('./wire.gen.ts', import.meta.url);
const object = ProbeObject.open(new URL('../../dist/bpf/core.bpf.o', import.meta.url).pathname);
const text = render(describeWire(object.btf()));
object.close();

if (!process.argv.includes('--check')) {
  writeFileSync(target, text);
} else if (readFileSync(target, 'utf8') !== text) {
  console.error('src/events/wire.gen.ts does not match bpf/event.h: run `npm run generate`');
  process.exitCode = 1;
}

function render(wire: WireDescription): string {
  const offsets = (fields: WireDescription['event'], base = 0) =>
    fields.map(({ name, offset }) => `  ${name}: ${offset - base},`).join('\n');
  const members = (record: Readonly<Record<string, number>>) =>
    Object.entries(record)
      .map(([name, value]) => `  ${name}: ${value},`)
      .join('\n');
  return `// Generated from bpf/event.h by generate-wire.ts. Do not edit.
import type { WireDescription } from './wire-description.ts';

/** Byte offsets in \`struct event\`. */
export const EVENT = {
${offsets(wire.event)}
} as const;

/** Byte offsets in \`struct named_event\`, behind the event. */
export const NAMES = {
${offsets(wire.names)}
} as const;

/** Byte offsets in \`struct lane\`. */
export const LANE = {
${offsets(wire.lane)}
} as const;

export const POINT = {
${members(wire.points)}
} as const;

export const FLAG = {
${members(wire.flags)}
} as const;

/** What a probe object's BTF must say for this decoder to read its records. */
export const WIRE: WireDescription = ${JSON.stringify(wire, null, 2)};
`;
}
