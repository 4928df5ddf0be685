import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { readDebugVms } from './debugfs.ts';

describe('the VMs in debugfs', () => {
  let root = '';
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'vfioscope-debugfs-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));
  const directory = (path: string) =>
    mkdirSync(join(root, 'sys/kernel/debug', path), { recursive: true });

  it('are the directories that have their name', () => {
    for (const name of ['194-10', '194-4', 'halt_poll_ns']) directory(`kvm/${name}`);
    assert.deepEqual(readDebugVms(root), [
      { tid: 194, fd: 10 },
      { tid: 194, fd: 4 },
    ]);
  });

  it('are none where KVM is not loaded', () => {
    directory('bdi');
    assert.equal(readDebugVms(root), 'no kvm');
  });

  it('are not known where debugfs is not mounted', () => {
    assert.equal(readDebugVms(root), undefined);
    directory('');
    assert.equal(readDebugVms(root), undefined);
  });

  it('are not known where debugfs cannot be read', () => {
    directory('');
    // Fails to be read as a directory, as it does under lockdown.
    writeFileSync(join(root, 'sys/kernel/debug/kvm'), '');
    assert.equal(readDebugVms(root), undefined);
  });
});
