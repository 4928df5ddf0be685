import assert from 'node:assert/strict';
import { it } from 'node:test';
import { inColumns } from './columns.ts';

it('the first words of lines about lifecycles and of attributions stand in columns', () => {
  assert.equal(inColumns('bound 0000:01:00.0 to vfio-pci'), 'bound    0000:01:00.0 to vfio-pci');
  assert.equal(inColumns('destroyed the VM'), 'destroyed the VM');
  assert.equal(inColumns('listening on a port'), 'listening on a port');
  assert.equal(
    inColumns('VIOLATION v1 rule: why\n  held by qemu\n  created by sh\n  a message'),
    'VIOLATION v1 rule: why\n  held by      qemu\n  created by   sh\n  a message',
  );
});
