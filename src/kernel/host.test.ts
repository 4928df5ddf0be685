import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { effectiveCapabilities, lockdownMode, preflightFailures } from './host.ts';

const STATUS = 'proc/self/status';
const BTF = 'sys/kernel/btf/vmlinux';
const LOCKDOWN = 'sys/kernel/security/lockdown';
const KPROBE = 'sys/bus/event_source/devices/kprobe/type';
/** A host on which everything works: root in a plain kernel. */
const SOUND: Readonly<Record<string, string>> = {
  [STATUS]: 'Name:\tnode\nCapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n',
  [BTF]: '',
  [LOCKDOWN]: '[none] integrity confidentiality\n',
  [KPROBE]: '6\n',
};

describe('a host', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'vfioscope-host-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  /** Lays out a sound host, but for some files; undefined leaves one out. */
  function host(changes: Readonly<Record<string, string | undefined>> = {}): string {
    for (const [path, text] of Object.entries({ ...SOUND, ...changes })) {
      if (text === undefined) continue;
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return root;
  }

  function messagesOf(changes: Readonly<Record<string, string | undefined>>): string[] {
    return preflightFailures(host(changes)).map(({ message }) => message);
  }

  it('that has everything has no preflight failure', () => {
    assert.deepEqual(preflightFailures(host()), []);
  });

  it('without rights names the capabilities that are missing', () => {
    const status = 'CapEff:\t0000000000000000\n';
    assert.deepEqual(messagesOf({ [STATUS]: status }), [
      'this process lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF',
    ]);
  });

  it('with some rights names only the others', () => {
    // CAP_BPF (39) and CAP_PERFMON (38)
    const status = 'CapEff:\t000000c000000000\n';
    const root = host({ [STATUS]: status });
    assert.deepEqual(effectiveCapabilities(root), new Set(['CAP_PERFMON', 'CAP_BPF']));
    assert.deepEqual(
      preflightFailures(root).map(({ message }) => message),
      ['this process lacks CAP_SYS_ADMIN'],
    );
  });

  it('without /proc is taken to have no rights', () => {
    assert.deepEqual(effectiveCapabilities(host({ [STATUS]: undefined })), new Set());
  });

  it('without BTF says so', () => {
    const [what, ...others] = messagesOf({ [BTF]: undefined });
    assert.match(what, /has no BTF \(\/sys\/kernel\/btf\/vmlinux is missing\)/);
    assert.equal(others.length, 0);
  });

  it('locked down to confidentiality says so', () => {
    const root = host({ [LOCKDOWN]: 'none integrity [confidentiality]\n' });
    assert.equal(lockdownMode(root), 'confidentiality');
    assert.match(preflightFailures(root)[0].message, /locked down \(confidentiality\)/);
  });

  it('locked down to integrity is fine', () => {
    const root = host({ [LOCKDOWN]: 'none [integrity] confidentiality\n' });
    assert.equal(lockdownMode(root), 'integrity');
    assert.deepEqual(preflightFailures(root), []);
  });

  it('whose kernel has no lockdown is not locked down', () => {
    const root = host({ [LOCKDOWN]: undefined });
    assert.equal(lockdownMode(root), 'none');
    assert.deepEqual(preflightFailures(root), []);
  });

  it('built without kprobes says so', () => {
    const changes = { [KPROBE]: undefined, 'sys/bus/event_source/devices/cpu/type': '4\n' };
    const [what, ...others] = messagesOf(changes);
    assert.match(what, /built without kprobes/);
    assert.equal(others.length, 0);
  });

  it('that does not show its event sources is not said to lack kprobes', () => {
    assert.deepEqual(messagesOf({ [KPROBE]: undefined }), []);
  });

  it('with several preflight failures reports all of them, rights first, and what to do about each', () => {
    const found = preflightFailures(
      host({
        [STATUS]: undefined,
        [BTF]: undefined,
        [LOCKDOWN]: 'none integrity [confidentiality]',
        [KPROBE]: undefined,
        'sys/bus/event_source/devices/cpu/type': '4\n',
      }),
    );
    const words = [/lacks/, /BTF/, /locked down/, /kprobes/];
    assert.equal(found.length, words.length);
    for (const [i, { message, next }] of found.entries()) {
      assert.match(message, words[i]);
      assert.ok(next.length > 20, next);
    }
  });
});
