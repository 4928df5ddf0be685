import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { belongingOf, groupPathIn } from './control-group-names.ts';

const ID = 'c0ffee'.padEnd(64, '0');
const INNER = 'beef'.padEnd(64, '1');
const POD = '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podf00d.slice';
const USER = '/user.slice/user-1000.slice/user@1000.service';

describe('who answers for a control group', () => {
  for (const [what, path, unit, container] of [
    ['a service', '/system.slice/libvirtd.service', 'libvirtd.service'],
    ['a group that a service made', '/system.slice/nova.service/workers', 'nova.service'],
    ['a login', '/user.slice/user-0.slice/session-3.scope', 'session-3.scope'],
    [
      'a VM of libvirt',
      '/machine.slice/machine-qemu\\x2d1\\x2dguest.scope/libvirt/emulator',
      'machine-qemu-1-guest.scope',
    ],
    ['a VM of Proxmox', '/qemu.slice/100.scope', '100.scope'],
    ['a name with letters of its own', '/machine.slice/b\\xc3\\xbcro.scope', 'büro.scope'],
    ['what is not UTF-8', '/machine.slice/b\\xfcro.scope', 'b\\xfcro.scope'],
    ['what could steer a terminal', '/system.slice/a\\x1b\\x5b2J.service', 'a?[2J.service'],
    ['a name of the kernel', '/system.slice/_cpu.service', 'cpu.service'],
    ["a user's service", `${USER}/app.slice/vm.service`, 'user@1000.service/vm.service'],
    ["a user's manager itself", `${USER}/init.scope`, 'user@1000.service/init.scope'],
    ['the manager, where no unit follows', USER, 'user@1000.service'],
    [
      'a group that steers terminals, with an escape that is none',
      `${USER}/app.slice/x\u001b]0;title\u0007%zz\u001b[2J.service`,
      'user@1000.service/x?]0;title?%zz?[2J.service',
    ],
    [
      'bytes that are no text',
      `/system.slice/\u001b[31m\\xff\\x1b\u202e.scope`,
      '?[31m\\xff\\x1b?.scope',
    ],
    [
      'an LXC container whose name steers terminals',
      `${USER}/lxc.payload.\u001b[2Jx`,
      'user@1000.service',
      '?[2Jx',
    ],
    ['Docker with systemd', `/system.slice/docker-${ID}.scope`, `docker-${ID}.scope`, ID],
    ['Docker alone', `/docker/${ID}`, undefined, ID],
    ['Podman', `/machine.slice/libpod-${ID}.scope/container`, `libpod-${ID}.scope`, ID],
    ["Podman's monitor", `/machine.slice/libpod-conmon-${ID}.scope`, `libpod-conmon-${ID}.scope`],
    ['CRI-O', `${POD}/crio-${ID}.scope`, `crio-${ID}.scope`, ID],
    ['containerd', `${POD}/cri-containerd-${ID}.scope`, `cri-containerd-${ID}.scope`, ID],
    ['Kubernetes without systemd', `/kubepods/burstable/podf00d/${ID}`, undefined, ID],
    [
      'containerd under systemd, with a colon',
      `/system.slice/containerd.service/kubepods-podf00d.slice:cri-containerd:${ID}`,
      'containerd.service',
      ID,
    ],
    [
      'a container in a container: the one that the host knows',
      `/system.slice/docker-${ID}.scope/kubepods/podf00d/${INNER}`,
      `docker-${ID}.scope`,
      ID,
    ],
    ['LXC', '/lxc.payload.web/system.slice/a.service', 'a.service', 'web'],
    ['the root', '/', undefined],
    ['a slice', '/system.slice', undefined],
    ['a group of nobody known', '/process_api/46ca0eb8c8d79919890540ca7d38bb5e', undefined],
  ] as const) {
    it(`of ${what}`, () => {
      const expected = {
        ...(unit === undefined ? {} : { unit }),
        ...(container === undefined ? {} : { container }),
      };
      const { guest: _guest, ...belonging } = belongingOf(path);
      assert.deepEqual(belonging, expected);
    });
  }

  it('of a pod, as systemd writes its UID and without systemd', () => {
    const uid = '1b4c5d6e-0000-4000-8000-123456789abc';
    const slice = `/kubepods.slice/kubepods-pod${uid.replaceAll('-', '_')}.slice`;
    for (const path of [
      `${slice}/cri-containerd-${ID}.scope`,
      `/kubepods/burstable/pod${uid}/${ID}`,
    ]) {
      const { pod, container } = belongingOf(path);
      assert.deepEqual([pod, container], [uid, ID]);
    }
  });

  it('of a guest of libvirt', () => {
    const guestOf = (scope: string) => belongingOf(`/machine.slice/${scope}.scope/x`).guest;
    assert.equal(guestOf('machine-qemu\\x2d12\\x2dweb\\x2d3'), 'web-3');
    assert.equal(guestOf('machine-web\\x2d3'), undefined);
    assert.equal(guestOf('machine-lxc\\x2d12\\x2dweb'), undefined);
  });
});

describe('the path in /proc/PID/cgroup', () => {
  it('is that of cgroup v2', () => {
    assert.equal(
      groupPathIn('0::/system.slice/libvirtd.service\n'),
      '/system.slice/libvirtd.service',
    );
  });

  it('is that of v2 where both are in use, and may have colons', () => {
    const text = '9:name=systemd:/old\n0::/a.slice:cri:1\n';
    assert.equal(groupPathIn(text), '/a.slice:cri:1');
  });

  it("is that of systemd's hierarchy where v2 has everything in its root", () => {
    const text = '9:name=systemd:/system.slice/a.service\n8:pids:/b\n0::/\n';
    assert.equal(groupPathIn(text), '/system.slice/a.service');
  });

  it('begins where namespaces meet', () => {
    assert.equal(groupPathIn('0::/../../qemu.slice/100.scope\n'), '/qemu.slice/100.scope');
    assert.equal(groupPathIn('0::/..\n'), '/');
    assert.equal(groupPathIn('0::/..hidden\n'), '/..hidden');
  });

  it('is the root when there is nothing else', () => {
    assert.equal(groupPathIn('8:pids:/b\n0::/\n'), '/');
    assert.equal(groupPathIn('8:pids:/b\n'), undefined);
    assert.equal(groupPathIn(''), undefined);
  });
});
