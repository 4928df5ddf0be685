import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lacks } from '../../test/kit/needs.ts';
import { WIRE } from '../events/wire.gen.ts';
import { describeWire } from './describe-wire.ts';
import { ProbeObject } from './probe-object.ts';

const skip = lacks('build', 'libbpf');

describe('describeWire', () => {
  it('reads out of the probe object what this agent expects', { skip }, () => {
    const path = new URL('../../dist/bpf/vfioscope.bpf.o', import.meta.url).pathname;
    const object = ProbeObject.open(path);
    assert.deepEqual(describeWire(object.btf()), WIRE);
    object.close();
  });
});
