import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Guest, guestIn } from './vmm-command-line.ts';

const QEMU = '/usr/bin/qemu-system-x86_64';
const UUID = '11111111-2222-4333-8444-55555555555a';

describe('the guest in a command line', () => {
  const cases: readonly (readonly [string, readonly string[], Guest])[] = [
    [
      'of libvirt',
      [QEMU, '-name', 'guest=web-3,debug-threads=on', '-S', '-uuid', UUID.toUpperCase()],
      { name: 'web-3', uuid: UUID },
    ],
    [
      'of Proxmox, whose UUID is in the SMBIOS alone',
      [
        ...['/usr/bin/kvm', '-id', '100', '-name', 'web,debug-threads=on', '-no-shutdown'],
        ...['-chardev', 'socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off'],
        ...['-mon', 'chardev=qmp,mode=control', '-daemonize'],
        ...['-smbios', `type=1,uuid=${UUID}`, '-smp', '4,sockets=1,cores=4,maxcpus=4'],
        ...['-device', 'vmgenid,guid=99999999-2222-4333-8444-555555555555'],
        ...['-device', 'vfio-pci,host=0000:01:00.0,id=hostpci0,bus=pci.0,addr=0x10'],
      ],
      { name: 'web', uuid: UUID },
    ],
    [
      'of Proxmox, with further fields of the system, and a table of another type after it',
      [
        ...['/usr/bin/kvm', '-id', '101', '-name', 'db,debug-threads=on', '-smbios'],
        `type=1,manufacturer=A,,B,uuid=${UUID.toUpperCase()},serial=Nw==`,
        ...['-smbios', 'type=11,value=uuid=99999999-2222-4333-8444-555555555555'],
      ],
      { name: 'db', uuid: UUID },
    ],
    [
      'with both options, of which QEMU takes the last',
      [
        ...[QEMU, '-uuid', '99999999-2222-4333-8444-555555555555', '-smbios'],
        `uuid=${UUID},type=1`,
      ],
      { uuid: UUID },
    ],
    [
      'with a UUID in the SMBIOS of another type',
      [QEMU, '-smbios', `type=3,uuid=${UUID}`, '-smbios', `file=type=1,,uuid=${UUID}`],
      {},
    ],
    ['of RHEL, with two dashes', ['/usr/libexec/qemu-kvm', '--name', 'web'], { name: 'web' }],
    [
      'with a comma, and the name at the end',
      [QEMU, '-name', 'debug-threads=on,guest=a,,b'],
      { name: 'a,b' },
    ],
    ['that is given twice', [QEMU, '-name', 'old', '-name', 'new'], { name: 'new' }],
    ['without a name', [QEMU, '-name', 'debug-threads=on', '-machine', 'q35'], {}],
    ['that begins a value with the word', [QEMU, '-append', 'root=/dev/vda -name x'], {}],
    ['whose UUID is none', [QEMU, '-uuid', 'secret'], {}],
    ['whose option has no value', [QEMU, '-name'], {}],
    ['that steers terminals', [QEMU, '-name', 'a\u001b[2J\u202eb'], { name: 'a?[2J?b' }],
    ['with a name of any length', [QEMU, '-name', 'x'.repeat(5000)], { name: 'x'.repeat(128) }],
    [
      'of Firecracker',
      ['/jailer/firecracker', '--id', 'vm-7', '--api-sock', '/a'],
      { name: 'vm-7' },
    ],
    ['of Firecracker, in one word', ['firecracker', '--id=vm-7'], { name: 'vm-7' }],
    [
      'of Cloud Hypervisor',
      ['/usr/bin/cloud-hypervisor', '--api-socket', 'path=/run/ch/web-3.sock'],
      { name: 'web-3' },
    ],
    [
      'of Cloud Hypervisor in Kata Containers',
      ['cloud-hypervisor', '--api-socket', '/run/vc/vm/c0ffee/clh-api.sock'],
      { name: 'c0ffee' },
    ],
    ['of Cloud Hypervisor with a descriptor', ['cloud-hypervisor', '--api-socket', 'fd=3'], {}],
    ['of any other program', ['/usr/bin/vmm', '-name', 'guest=x', '-uuid', UUID], {}],
    ['of nothing', [''], {}],
  ];
  for (const [what, args, guest] of cases) {
    it(what, () => assert.deepEqual(guestIn(args), guest));
  }

  it('is all that is returned', () => {
    const args = [QEMU, '-object', 'secret,id=s,data=hunter2', '-name', 'web', '-uuid', UUID];
    assert.doesNotMatch(JSON.stringify(guestIn(args)), /hunter2|secret/);
  });
});
