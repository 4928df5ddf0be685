import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  interestOf,
  KernelLog,
  openKernelLog,
  parseRecord,
  type RecordSource,
  shownText,
} from './kernel-log.ts';

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';

/** A log that gives these records, and nothing more. */
class Records implements RecordSource {
  readonly left: (string | 'gap')[];
  skips = 0;

  constructor(...left: (string | 'gap')[]) {
    this.left = left;
  }

  next(): string | 'gap' | undefined {
    return this.left.shift();
  }

  skipToEnd(): void {
    this.skips++;
    this.left.length = 0;
  }
}

function record(sequence: number, text: string, tags = ''): string {
  return `3,${sequence},1234567890,-;${text}\n${tags}`;
}

function textsOf(log: KernelLog): string[] {
  return log.lines(1e12).map(({ text }) => text);
}

describe('a record of the kernel log', () => {
  it('has its facility, sequence, time, text and device', () => {
    const text =
      '12,339,5140900,-;vfio-pci 0000:01:00.0: refused\n SUBSYSTEM=pci\n DEVICE=+pci:0000:01:00.0\n';
    assert.deepEqual(parseRecord(text), {
      facility: 1,
      sequence: 339,
      time: 5140900,
      text: 'vfio-pci 0000:01:00.0: refused',
      device: '0000:01:00.0',
    });
    assert.equal(parseRecord('nonsense'), undefined);
  });

  for (const [text, interest] of [
    ['vfio-pci 0000:09:00.0: Cannot bind to PF while SRIOV is enabled', 'kept'],
    ['pci 0000:01:00.0: Adding to iommu group 3', 'kept'],
    ['kvm [312]: vcpu0 unhandled rdmsr', 'kept'],
    ['nvidia 0000:01:00.0: GPU has fallen off the bus', 'kept'],
    ['e1000e 0000:02:00.0 eth0: link is up', 'untracked'],
    ['EXT4-fs (sda1): mounted filesystem 11111111-2222-3333-4444-555555555555', 'untracked'],
    ['systemd[1]: started', 'dropped'],
  ] as const) {
    it(`is ${interest}: ${text}`, () => {
      const parsed = parseRecord(record(1, text));
      assert.ok(parsed);
      assert.equal(
        interestOf(parsed, (name) => name === '0000:01:00.0'),
        interest,
      );
    });
  }

  it('is dropped when a process wrote it', () => {
    const parsed = parseRecord('12,1,1,-;vfio: I am the kernel');
    assert.ok(parsed);
    assert.equal(
      interestOf(parsed, () => true),
      'dropped',
    );
  });

  it('is shown without addresses of the kernel, control characters and excessive length', () => {
    assert.equal(
      shownText('vfio: ffff8881023a4000 0xffffffffc0a81000 vfio_x+0x12/0x34 \u001b[31m'),
      'vfio: (address) (address) vfio_x+0x12/0x34 ?[31m',
    );
    assert.ok(shownText(`mdev ${UUID} refused`).includes(UUID));
    assert.ok(shownText('vfio '.repeat(1000)).length < 300);
  });
});

describe('the kernel log', () => {
  it('keeps lines with the time as dmesg shows it, and what they name', () => {
    const log = new KernelLog(
      new Records(record(1, `vfio_mdev ${UUID}: no memory`)),
      () => false,
      0,
    );
    assert.deepEqual(log.lines(5e9), [
      {
        ...{ time: '1234.567890', text: `vfio_mdev ${UUID}: no memory`, names: [UUID] },
        ...{ after: 0, before: 5e9 },
      },
    ]);
  });

  it('counts the records that were overwritten before they were read', () => {
    const records = new Records(record(1, 'vfio: a'), 'gap', record(11, 'vfio: b'));
    const log = new KernelLog(records, () => false, 0);
    assert.deepEqual(textsOf(log), ['vfio: a', 'vfio: b']);
    assert.equal(log.skipped, 9);
  });

  it('is bounded when it is flooded, and counts what was skipped', () => {
    const flood = Array.from({ length: 5000 }, (_, i) => record(i, `vfio: line ${i}`));
    const records = new Records(...flood);
    const log = new KernelLog(records, () => false, 0);
    log.read(1e9);
    assert.equal(records.skips, 1);
    assert.equal(textsOf(log).length, 256);
    records.left.push(record(5000, 'vfio: after'));
    log.read(2e12);
    assert.equal(log.skipped, 4500);
    assert.equal(textsOf(log).at(-1), 'vfio: after');
    assert.equal(textsOf(log).length, 256);
  });

  it('has what was logged just before', () => {
    const records = new Records(record(1, 'vfio: a'));
    const log = new KernelLog(records, () => false, 0);
    log.lines(1e9);
    records.left.push(record(2, 'vfio: b'));
    assert.equal(log.lines(1e9 + 1e6).length, 2);
  });

  it('has what the kernel said of a device before that was tracked', () => {
    const log = new KernelLog(new Records(record(1, `faulty ${UUID}: refused`)), () => false, 0);
    log.read(1e9);
    assert.deepEqual(textsOf(log), [`faulty ${UUID}: refused`]);
  });

  it('loses nothing of tracked devices when another one floods it', () => {
    const flood = Array.from({ length: 400 }, (_, i) => record(i + 2, '0000:02:00.0: an error'));
    const records = new Records(record(1, '0000:01:00.0: refused'), ...flood);
    const log = new KernelLog(records, (name) => name === '0000:01:00.0', 0);
    const texts = textsOf(log);
    assert.equal(texts.length, 65);
    assert.equal(texts.at(-1), '0000:01:00.0: refused');
  });

  it('is not there where it must not be read', () => {
    const opened = openKernelLog(() => false, '/nonexistent/kmsg');
    assert.match(String(opened), /ENOENT/);
  });
});
