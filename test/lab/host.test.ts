// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { kernelCommandLine } from './command-line.ts';
import { cpioArchive } from './cpio.ts';
import { KernelLog, kernelProblems, kmsgLine, lastWords } from './dmesg.ts';
import { moduleName } from './modules.ts';
import { forwardedPort } from './monitor.ts';
import { qemuArguments, unexpectedEnd } from './qemu.ts';
import { kernelPayload } from './vmlinux.ts';

test('records of /dev/kmsg become lines of dmesg', () => {
  const record = '4,519,2832032,-;evm: \\x09overlay not supported\n SUBSYSTEM=x\n';
  assert.equal(kmsgLine(record), '[    2.832032] evm: \toverlay not supported');
});

test('faults of the kernel are distinguished from ordinary lines', () => {
  const faults = [
    'WARNING: CPU: 1 PID: 3 at kernel/x.c:1 f+0x1/0x2',
    'BUG: kernel NULL pointer dereference, address: 0000000000000000',
    'Oops: 0000 [#1] PREEMPT SMP NOPTI',
    'INFO: task sh:12 blocked for more than 120 seconds.',
    'refcount_t: underflow; use-after-free.',
    'list_del corruption. prev->next should be 1, but was 2',
  ];
  const ordinary = [
    'Speculative Return Stack Overflow: WARNING: See https://kernel.org/x for mitigation options.',
    'evm: overlay not supported',
    'ACPI: bus type USB registered, error 0',
  ];
  assert.deepEqual(kernelProblems([...ordinary, ...faults]), faults);
});

test('what only the console saw of a panic comes last, once', () => {
  const log = new KernelLog();
  log.addRecord('6,1,1000000,-;first');
  log.addConsole('[    1.000000] first\r\n[    2.000000] Kernel ');
  log.addConsole('panic - not syncing\r\n');
  assert.deepEqual(log.lines(), [
    '[    1.000000] first',
    '[    2.000000] Kernel panic - not syncing',
  ]);
});

test('the last lines begin at the fault', () => {
  const log = Array.from({ length: 30 }, (_, index) => `line ${index}`);
  assert.deepEqual(lastWords(log), log.slice(15));
  assert.deepEqual(lastWords([...log, 'BUG: x', 'Call Trace:']), ['BUG: x', 'Call Trace:']);
});

test('the kernel command line has what init needs, and what was requested', () => {
  const kernel = { release: '6.12', modules: '/a b/modules', append: ['from-matrix'] };
  const words = kernelCommandLine({ preempt: 'full', append: ['x=1'], share: '/out' }, kernel);
  for (const word of ['preempt=full', 'from-matrix', 'x=1', '"LAB_SHARE=/out"']) {
    assert.ok(words.includes(word), word);
  }
  assert.ok(words.includes('"LAB_MODULES=/a b/modules"'));
  assert.ok(!words.some((word) => word.includes('undefined')));
});

test('an archive has aligned records and a trailer', () => {
  const archive = cpioArchive([
    { path: 'dir', directory: true },
    { path: 'dir/file', content: Buffer.from('abc'), mode: 0o755 },
  ]);
  assert.equal(archive.length % 4, 0);
  const text = archive.toString('latin1');
  assert.equal(text.match(/070701/g)?.length, 3);
  assert.match(text, /dir\/file\0+abc\0/);
  assert.match(text, /TRAILER!!!\0+$/);
});

test('the port of a forward is found in the table of QEMU', () => {
  const table = `Hub -1 (net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   13       127.0.0.1 50000       10.0.2.15  9464     0     0
  TCP[HOST_FORWARD]  12       127.0.0.1 39039       10.0.2.15  9464     0     0`;
  assert.equal(forwardedPort(table, 9464), 39039);
  assert.equal(forwardedPort(table, 80), undefined);
});

test('modules have one name however their files are called', () => {
  assert.equal(moduleName('kernel/arch/x86/kvm/kvm-amd.ko.xz'), 'kvm_amd');
  assert.equal(moduleName('9p'), '9p');
});

test('a comma in a shared path does not end the option of QEMU', () => {
  const options = { image: 'k', initramfs: 'i', append: ['a', 'b'], memoryMiB: 512 };
  const args = qemuArguments({ ...options, share: '/a,b', devices: ['edu'] });
  assert.ok(args.includes('local,path=/a,,b,mount_tag=share,security_model=none,multidevs=remap'));
  assert.equal(args[args.indexOf('-append') + 1], 'a b');
  assert.equal(args[args.indexOf('-device') + 1], 'edu');
});

test('the end of a VM is explained without the warnings that QEMU always prints', () => {
  const stderr = "warning: TCG doesn't support requested feature: x\nqemu: out of memory";
  const { message } = unexpectedEnd({ how: 'exit 1', stderr }, ['[1.0] last']);
  assert.match(message, /exit 1.*out of memory.*last/s);
  assert.doesNotMatch(message, /TCG/);
});

test('a file that is not a bzImage is refused', () => {
  assert.throws(() => kernelPayload(Buffer.alloc(4096)), /not an x86 bzImage/);
});
