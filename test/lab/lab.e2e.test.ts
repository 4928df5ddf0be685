// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { after, before, test } from 'node:test';

import { VM_MS } from '../until.ts';
import { bootLab, type Vm } from './lab.ts';
import { Storm } from './storm.ts';
import { Vmm, VmmError } from './vmm.ts';

const DEVICE = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const TYPES = '/sys/class/mdev_bus/mtty/mdev_supported_types';

let vm: Vm;

before(async () => {
  vm = await bootLab({ kernel: '6.12', timeoutMs: VM_MS, preempt: 'full' });
});
after(() => vm.close());

const shell = (script: string) => vm.run(['sh', '-c', script]);

test('a command has its exit code and separate outputs', async () => {
  const { exitCode, stdout, stderr } = await shell('echo out; echo err >&2; exit 3');
  assert.deepEqual({ exitCode, stdout, stderr }, { exitCode: 3, stdout: 'out\n', stderr: 'err\n' });
});

test('it runs on the kernel of the matrix, in the directory of the caller', async () => {
  const { stdout } = await vm.run(['sh', '-c', 'uname -r; pwd']);
  assert.equal(stdout, `${vm.kernel.release}\n${process.cwd()}\n`);
});

test('a command that does not exist is named', async () => {
  // programs: none (that is the point)
  await assert.rejects(vm.run(['no-such-command']), /could not start no-such-command in the VM/);
});

test('input reaches the command, however long', async () => {
  const input = Buffer.alloc(3_000_000, 'abc\n');
  const { stdout } = await vm.run(['wc', '-c'], { input });
  assert.equal(stdout.trim(), String(input.length));
});

test('a command can be signalled and reports it', async () => {
  const sleeping = vm.start(['sleep', '60']);
  sleeping.signal('SIGTERM');
  assert.deepEqual(await sleeping.exit, { exitCode: 143, signal: 15 });
});

test('a command that takes too long is killed and named', async () => {
  await assert.rejects(
    vm.run(['sleep', '61'], { timeoutMs: 300 }),
    /killed after its limit of 0.3 s: sleep 61/,
  );
});

test('commands run side by side', async () => {
  const background = vm.start(['cat']);
  const results = await Promise.all([1, 2, 3].map((code) => shell(`sleep 0.2; exit ${code}`)));
  assert.deepEqual(
    results.map(({ exitCode }) => exitCode),
    [1, 2, 3],
  );
  background.end();
  assert.equal((await background.exit).exitCode, 0);
});

test('a child that outlives its command does not hold the command up', async () => {
  const { exitCode, stdout } = await vm.run(['sh', '-c', 'sleep 30 & echo started']);
  assert.deepEqual([exitCode, stdout], [0, 'started\n']);
});

test('writes do not reach the host', async () => {
  // Not in the repository: where that lies in /tmp, the VM shows it read-only.
  const file = '/usr/local/written-in-vm';
  const { exitCode } = await vm.run(['sh', '-c', `touch ${file} && test -e ${file}`]);
  assert.equal(exitCode, 0);
  await assert.rejects(
    import('node:fs/promises').then(({ stat }) => stat(file)),
    /ENOENT/,
  );
});

test('a forwarded port reaches a server in the VM', async () => {
  const script =
    "require('http').createServer((q, r) => r.end('hi')).listen(9464, '0.0.0.0', () => console.log('up'))";
  const up = Promise.withResolvers<void>();
  const server = vm.start([process.execPath, '-e', script], { onStdout: () => up.resolve() });
  await Promise.race([up.promise, server.exit]);
  const port = await vm.forward(9464);
  const body = await new Promise((resolve, reject) => {
    get({ port, host: '127.0.0.1' }, (response) => {
      response.setEncoding('utf8').on('data', resolve);
    }).on('error', reject);
  });
  assert.equal(body, 'hi');
  server.signal('SIGKILL');
});

test('a device of mtty is created, opened with KVM in the correct order, closed and removed', async () => {
  assert.equal((await shell('modprobe mtty && modprobe kvm_amd')).exitCode, 0);
  assert.equal((await shell(`echo ${DEVICE} > ${TYPES}/mtty-1/create`)).exitCode, 0);

  const vmm = new Vmm(vm, 'qemu-lab');
  const pid = await vmm.command('pid');
  await vmm.command(`start a ${DEVICE}`);
  const { stdout } = await shell(`cat /proc/${pid}/comm; ls -l /proc/${pid}/fd`);
  assert.match(stdout, /^qemu-lab\n/);
  assert.match(stdout, /anon_inode:\[vfio-device\]/);
  await assert.rejects(
    vmm.command(`group open g ${DEVICE}`),
    (error) => error instanceof VmmError && error.errno === 'EBUSY',
  );
  await vmm.command('stop a');
  assert.equal(await vmm.command('quit'), 0);

  assert.equal((await shell(`echo 1 > /sys/bus/mdev/devices/${DEVICE}/remove`)).exitCode, 0);
  assert.equal((await shell('ls /sys/bus/mdev/devices')).stdout, '');
});

test('a second parent driver exists', async () => {
  const { stdout } = await shell('modprobe mdpy && ls /sys/class/mdev_bus');
  assert.equal(stdout, 'mdpy\nmtty\n');
});

test('a storm counts what the kernel granted and refused', async () => {
  const types = [['mtty', 'mtty-2']] as const;
  const report = '/tmp/storm';
  // Each mtty-2 has two of the 24 ports there are.
  const storm = new Storm(vm, { workers: 2, rounds: 10, types, open: true, keep: 7, report });
  const holding = await storm.holding;
  assert.equal(holding.creates + holding.createErrors, 20);
  assert.equal(holding.creates - holding.removes, 12);
  const held = [...(await storm.devices()).values()].filter((object) => object.held);
  const { stdout } = await shell('ls /sys/bus/mdev/devices');
  assert.deepEqual(held.map((object) => object.uuid).sort(), stdout.trim().split('\n'));

  const { creates, opens, closes, removes } = await storm.end();
  assert.deepEqual([opens, closes, removes], [creates, creates, creates]);
  const refused = [...(await storm.devices()).values()].filter((object) => !object.created);
  assert.equal(refused.length, holding.createErrors);
  assert.ok(refused.every((object) => object.errno === 'ENOSPC'));
});

test('a storm of VM references ends on request', async () => {
  const storm = new Storm(vm, { workers: 2, rounds: 0, loop: 'kvm', vmsEvery: 1000 });
  // It has to have started, however long that takes, and then to have done enough rounds.
  await shell('until pgrep -x storm; do sleep 0.1; done; sleep 1');
  const { vms, vmEnds, references, referenceErrors, puts } = await storm.end();
  assert.ok(references > 100, String(references));
  assert.deepEqual([vmEnds, puts, referenceErrors], [vms, vms + references, 0]);
});

test('a VMM that is killed leaves its device free', async () => {
  await shell(`echo ${DEVICE} > ${TYPES}/mtty-2/create`);
  const vmm = new Vmm(vm);
  await vmm.command(`start a ${DEVICE}`);
  await vmm.kill();
  assert.equal((await shell(`echo 1 > /sys/bus/mdev/devices/${DEVICE}/remove`)).exitCode, 0);
});

test('BPF programs attach to the modules', async () => {
  const program = 'BEGIN { printf("ready\\n"); } kprobe:mdev_device_create { printf("seen\\n"); }';
  const lines: string[] = [];
  const ready = Promise.withResolvers<void>();
  const tracer = vm.start(['bpftrace', '-e', program], {
    onStdout: (chunk) => {
      lines.push(...chunk.toString().split('\n'));
      if (lines.includes('ready')) {
        ready.resolve();
      }
    },
  });
  await Promise.race([ready.promise, tracer.exit]);
  await shell(`echo ${DEVICE} > ${TYPES}/mtty-1/create`);
  await shell(`echo 1 > /sys/bus/mdev/devices/${DEVICE}/remove`);
  tracer.signal('SIGINT');
  await tracer.exit;
  assert.ok(lines.includes('seen'), lines.join('\n'));
});

test('there is no problem in the kernel log', async () => {
  assert.deepEqual(await vm.problems(), []);
  const [first] = await vm.dmesg();
  assert.match(first ?? '', /Linux version 6\.12\./);
});
