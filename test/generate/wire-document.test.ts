import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { WIRE } from '../../src/events/wire.gen.ts';
import { wireDocument } from './wire-document.ts';
import { membersOf } from './wire-header.ts';

const HEADER = readFileSync(new URL('../../bpf/event.h', import.meta.url), 'utf8');

describe('membersOf', () => {
  it('finds the members of structs and enums, with their types and comments', () => {
    const header = [
      'enum colour {',
      '\tNONE = 0,',
      '',
      '\t/*',
      '\t * Of several.',
      '\t */',
      '\tRED = 1,\t\t/* as blood */',
      '};',
      '',
      'struct fruit {',
      '\t__u64 weight;\t/* g */',
      '\tchar name[40];',
      '\tstruct colour colour;\t/* of the skin */',
      '};',
    ];
    assert.deepEqual(
      [...membersOf(header.join('\n'))],
      [
        [
          'colour',
          [
            { type: '', name: 'NONE', comment: '' },
            { type: '', name: 'RED', comment: 'as blood' },
          ],
        ],
        [
          'fruit',
          [
            { type: '__u64', name: 'weight', comment: 'g' },
            { type: 'char', name: 'name', comment: '' },
            { type: 'struct colour', name: 'colour', comment: 'of the skin' },
          ],
        ],
      ],
    );
  });

  it('refuses what it does not understand', () => {
    assert.throws(
      () => membersOf('struct bits {\n\t__u32 one : 1;\n};'),
      /neither .*: __u32 one : 1/,
    );
  });
});

describe('the document of the wire format', () => {
  it('names all that a record may have', () => {
    const text = wireDocument(WIRE, HEADER);
    const fields = [...WIRE.event, ...WIRE.names, ...WIRE.cpuCounters].map(({ name }) => name);
    const { flags, points, coverage, deviceStates } = WIRE;
    const constants = Object.keys({ ...flags, ...points, ...coverage, ...deviceStates });
    for (const name of [...fields, ...constants]) {
      if (name === 'POINT_NONE') continue;
      assert.ok(text.includes(`| \`${name}\` |`), name);
    }
  });

  it('is not written while the header does not say what something means', () => {
    for (const [from, to, message] of [
      [/\/\* struct vfio_device \*\//, '', /vdev in event has no comment/],
      [/\t\/\* ns, CLOCK_BOOTTIME \*\//, '', /time in event has no comment/],
      [/\/\* PF_EXITING.*\*\/|\/\* the calling process.*\*\//, '', /EVENT_EXITING in event_flags/],
      [/\/\* a parent in sysfs \*\//, '', /SNAPSHOT_PARENT in point has no comment/],
      [/MODULE_LOAD = 48/, 'MODULE_GONE = 49', /points\.ts has no name for MODULE_GONE/],
      [/__u64 vdev/, '__u64 other', /struct event has no vdev of its own/],
      [/enum snapshot_coverage \{/, 'enum other {', /there is no snapshot_coverage/],
    ] as const) {
      const changed = HEADER.replace(from, to);
      assert.notEqual(changed, HEADER);
      assert.throws(() => wireDocument(WIRE, changed), message);
    }
  });
});
