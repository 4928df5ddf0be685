/** That the bits of a look are those of the C header, which has the say. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { DEVICE, SEEN } from './look-bits.ts';

/** "sysfs" → 1 of `SEEN_SYSFS = 1` in an enum of bpf/event.h. */
function enumOf(name: string, prefix: string): Record<string, number> {
  const header = readFileSync(new URL('../../bpf/event.h', import.meta.url), 'utf8');
  const [, body] = new RegExp(`enum ${name} \\{([^}]*)\\}`).exec(header) ?? [];
  assert.ok(body, `enum ${name}`);
  const members = body.matchAll(new RegExp(`${prefix}_(\\w+)\\s*=\\s*(\\d+)`, 'g'));
  return Object.fromEntries(
    [...members].map(([, member, value]) => [member.toLowerCase(), Number(value)]),
  );
}

it('what could be looked at, and what sysfs shows of a device, is numbered as in bpf/event.h', () => {
  assert.deepEqual(SEEN, enumOf('seen', 'SEEN'));
  assert.deepEqual(DEVICE, enumOf('device_state', 'DEVICE'));
});
