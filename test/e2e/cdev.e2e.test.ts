// SPDX-License-Identifier: Apache-2.0
/** Devices that are opened by a cdev of their own and bound to iommufd, on a kernel that has both. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Severity } from '../../src/engine/rule.ts';
import { scratch } from '../kit/recorded.ts';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Vmm, VmmError } from '../lab/vmm.ts';
import { SUITE_MS, until, VM_MS } from '../until.ts';
import { AgentInVm, type ApiDevice } from './agent.ts';
import { endRecorder, startRecorder } from './lab-session.ts';
import { type Outcome, writeOutcomes } from './provocations/outcome.ts';
import { clearAway, loadModules } from './storms.ts';
import { readSupport, supportOf, writeSupport } from './support.ts';

type Probes = Parameters<typeof supportOf>[1];

/** Whether this run writes what it finds of the kernel into the repository. */
const KEEP = process.env.VFIOSCOPE_KEEP !== undefined;
const KERNEL = process.env.VFIOSCOPE_KERNEL ?? '6.12-iommufd';
const RECORDINGS = fileURLToPath(new URL('../recordings', import.meta.url));
const RECORDING = `${KEEP ? RECORDINGS : scratch()}/${KERNEL}.vfr`;
/** All points of cdevs and iommufd, in the order of the table. */
const STEPS = [
  ...['vfio.cdev.open', 'vfio.cdev.close', 'vfio.cdev.set_kvm', 'vfio.cdev.bind'],
  ...['vfio.cdev.block_group', 'vfio.cdev.unbind', 'vfio.cdev.attach', 'vfio.cdev.detach'],
  ...['iommufd.open', 'iommufd.close'],
];
const MTTY = '/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create';
const CONTEXTS = 'vfioscope_iommufd_contexts';
/** Files of one cdev. */
const MANY = 200;
/** Longer than rules wait for a state to settle, s. */
const SETTLING = 3;

interface ApiCdev {
  readonly state: string;
  readonly quality: string;
  readonly openedBy?: { readonly comm: string };
  readonly boundBy?: { readonly pid: number };
  readonly bindError?: string;
  readonly attachError?: string;
  readonly vm?: string;
  readonly iommufd?: { readonly id: string; readonly openedBy?: { readonly comm: string } };
}

interface ApiViolation {
  readonly rule: string;
  readonly device?: string;
  readonly message: string;
  readonly holders: readonly {
    readonly holds: string;
    readonly how: string;
    readonly device?: string;
    readonly process: { readonly pid: number };
  }[];
}

describe(`device cdevs on ${KERNEL}`, { timeout: SUITE_MS }, () => {
  let vm: Vm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS, share: dirname(RECORDING) });
    await loadModules(vm);
  });
  after(() => vm?.close());
  afterEach(() => clearAway(vm));

  async function create(): Promise<string> {
    const uuid = randomUUID();
    await vm.sh(`echo ${uuid} > ${MTTY}`);
    return uuid;
  }

  async function run(vmm: Vmm, ...commands: readonly string[]): Promise<void> {
    for (const command of commands) await vmm.command(command);
  }

  async function refused(vmm: Vmm, command: string, errno: string): Promise<void> {
    const isRight = (error: unknown) => error instanceof VmmError && error.errno === errno;
    await assert.rejects(vmm.command(command), isRight, `${command}: ${errno}`);
  }

  /** What an agent reports of the cdevs of a device. */
  async function cdevsOf(agent: AgentInVm, uuid: string): Promise<readonly ApiCdev[]> {
    const devices = (await agent.devices()) as readonly (ApiDevice & {
      readonly cdevs: readonly ApiCdev[];
    })[];
    return devices.find(({ id }) => id === uuid)?.cdevs ?? [];
  }

  /** Waits until the device has one cdev in that state. */
  async function untilCdevIs(agent: AgentInVm, uuid: string, state: string): Promise<ApiCdev> {
    let found: readonly ApiCdev[] = [];
    await agent.until(`the cdev is ${state}`, async () => {
      found = await cdevsOf(agent, uuid);
      return found.length === 1 && found[0].state === state;
    });
    return found[0];
  }

  /** The rules of all violations. */
  async function rulesOf(agent: AgentInVm): Promise<string[]> {
    return (await agent.violations()).map((text) => text.slice(0, text.indexOf(' ')));
  }

  const provoked: Record<string, Outcome> = {};

  /** Adds what the agent reports to what the tests before have provoked. */
  async function keepOutcomes(agent: AgentInVm): Promise<void> {
    const { violations } = await agent.api<{ violations: { rule: string; severity: Severity }[] }>(
      '/api/v1/violations',
    );
    for (const { rule, severity } of violations) provoked[rule] = { outcome: 'provoked', severity };
    if (KEEP) writeOutcomes(KERNEL, (await vm.sh('uname -r')).trim(), provoked);
  }

  it('every step of a cdev is observed, although three processes take them', async () => {
    const recorder = await startRecorder(vm, RECORDING, []);
    const agent = await AgentInVm.start(vm);
    const probes = await agent.api<Probes>('/api/v1/probes');
    const support = supportOf((await vm.sh('uname -r')).trim(), probes);
    if (KEEP) writeSupport(KERNEL, support);
    // The newest package of the kernel changes from day to day.
    const { release } = support;
    assert.deepEqual(support, { ...readSupport(KERNEL), release });
    const own = probes.points.filter(({ point }) => /^(vfio\.cdev|iommufd)\./.test(point));
    assert.deepEqual(
      own.map(({ point, state }) => `${point} ${state}`),
      STEPS.map((point) => `${point} attached`),
    );
    const uuid = await create();
    const [shim, vmm, heir] = ['kata-shim', 'qemu-cdev', 'heir'].map((comm) => new Vmm(vm, comm));
    const pid = await vmm.command('pid');
    await run(vmm, 'vm create v', 'kvmvfio create v k', 'iommufd open i', 'iommufd ioas i');
    await run(vmm, 'inbox open to-vmm');
    await run(heir, 'inbox open to-heir');
    await run(shim, `cdev open c ${uuid}`, 'send c to-vmm', 'close c');
    const device = async () => (await agent.devices()).find(({ id }) => id === uuid);
    const opened = await untilCdevIs(agent, uuid, 'unbound');
    assert.deepEqual([opened.openedBy?.comm, opened.boundBy], ['kata-shim', undefined]);
    assert.equal((await device())?.openCount, 0, 'it is not open before it is bound');

    await run(vmm, 'receive to-vmm c', 'kvmvfio add k c', 'cdev bind c i');
    const bound = await untilCdevIs(agent, uuid, 'bound');
    assert.deepEqual([bound.openedBy?.comm, bound.boundBy?.pid], ['kata-shim', pid]);
    assert.equal(bound.iommufd?.openedBy?.comm, 'qemu-cdev');
    assert.equal((await device())?.state, 'open');
    assert.ok((await device())?.vm && bound.vm, 'device and cdev have the VM');
    await run(vmm, 'cdev attach c 1');
    await untilCdevIs(agent, uuid, 'attached');
    await run(vmm, 'cdev detach c');
    await untilCdevIs(agent, uuid, 'bound');
    await refused(vmm, 'cdev attach c 4711', 'ENOENT');
    await run(vmm, 'kvmvfio del k c', 'send c to-heir', 'close c');
    await run(heir, 'receive to-heir c');
    await agent.evaluated();
    assert.equal((await untilCdevIs(agent, uuid, 'bound')).attachError, 'ENOENT');
    await run(vmm, 'close i');
    await agent.evaluated();
    assert.equal(await agent.metric(CONTEXTS), 1, 'the device keeps its context');
    await run(heir, 'close c');
    await agent.until('the context is gone', async () => (await agent.metric(CONTEXTS)) === 0);
    await agent.until('it is closed', async () => (await cdevsOf(agent, uuid)).length === 0);
    await run(vmm, 'close k', 'close v', 'quit');
    await vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
    await agent.until('it is gone', async () => (await device()) === undefined);
    await agent.evaluated(SETTLING);
    // kvm-vfio clears the VM of a file, not of a group: the rules about groups do not fire.
    assert.deepEqual(await rulesOf(agent), ['attach-failed']);
    assert.equal(await agent.lost(), 0);
    const counts = STEPS.map((point) => `vfioscope_events_total{point="${point}",phase="begin"}`);
    assert.deepEqual(await agent.metrics(...counts), [1, 1, 2, 1, 1, 1, 2, 1, 1, 1]);
    await endRecorder(recorder);
    if (KEEP) {
      const object = { uuid, parent: 'mtty', end: 'released', opens: 1 };
      const violation = { rule: 'attach-failed', severity: 'warning', device: uuid };
      const truth = { objects: [object], vms: 1, violations: [violation] };
      writeFileSync(`${RECORDINGS}/${KERNEL}.json`, `${JSON.stringify(truth, null, 2)}\n`);
    }
    await agent.stop();
  });

  it('a cdev that is not bound keeps its device from being removed, and the agent says who has it', async () => {
    const agent = await AgentInVm.start(vm, '--config', 'test/recordings/settings.yaml');
    const uuid = await create();
    const [shim, helper] = [new Vmm(vm, 'kata-shim'), new Vmm(vm, 'helper')];
    await run(shim, `cdev open c ${uuid}`);
    const removal = vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
    const message = async () =>
      (await agent.violations()).find((text) => text.startsWith(`remove-stall ${uuid}`)) ?? '';
    await agent.until('the removal waits too long', async () => (await message()) !== '');
    assert.match(
      await message(),
      /not open for DMA, but kata-shim \(pid \d+\) opened its cdev [\d.]+ s ago, and it is bound to no iommufd/,
    );
    await untilCdevIs(agent, uuid, 'unbound');
    await run(helper, 'inbox open to-helper');
    await run(shim, 'send c to-helper');
    await run(helper, 'receive to-helper c');
    await shim.kill();
    await agent.until('the heir is named', async () =>
      /helper \(pid \d+\) has it now/.test(await message()),
    );
    await run(helper, 'quit');
    await removal;
    await agent.stop();
  });

  it('a late agent says of a removal that waits for a cdev since when at least, and who has the cdev', async () => {
    const uuid = await create();
    const shim = new Vmm(vm, 'kata-shim');
    const pid = await shim.command('pid');
    await run(shim, `cdev open c ${uuid}`);
    const removal = vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
    await until('the removal waits in the kernel', async () =>
      /^[1-9]/.test(
        await vm.sh('cat /proc/[0-9]*/stack | grep -c vfio_unregister_group_dev || true'),
      ),
    );
    const agent = await AgentInVm.start(vm, '--config', 'test/recordings/settings.yaml');
    const found = async () =>
      (
        await agent.api<{ violations: readonly ApiViolation[] }>('/api/v1/violations')
      ).violations.find(({ rule, device }) => rule === 'remove-stall' && device === uuid);
    await agent.until(
      'the holder of the cdev is named',
      async () => (await found())?.message.includes('has it now') ?? false,
    );
    const { message = '', holders = [] } = (await found()) ?? {};
    assert.match(
      message,
      /by (probably )?\S+ \(pid \d+\) has been waiting for at least [\d.]+ s: it is not open for DMA, but its cdev is open, and was opened before the agent started or unobserved, and it is bound to no iommufd, but keeps the device registered until it is closed; kata-shim \(pid \d+\) has it now\./,
    );
    assert.deepEqual(
      holders.map(({ holds, how, device, process }) => [holds, how, device, process.pid]),
      [['cdev', 'holds', uuid, pid]],
    );
    await run(shim, 'quit');
    await removal;
    const open = 'vfioscope_violations_open{rule="remove-stall"';
    await agent.until('the removal has ended', async () => (await agent.metric(open)) === 0);
    assert.deepEqual(await rulesOf(agent), ['remove-stall']);
    await agent.stop();
  });

  it('a late agent finds cdevs that are open, bound and attached', async () => {
    const uuids = [await create(), await create(), await create()];
    const vmm = new Vmm(vm, 'qemu-late');
    await run(vmm, 'vm create v', 'kvmvfio create v k', 'iommufd open i', 'iommufd ioas i');
    for (const [i, uuid] of uuids.entries()) await run(vmm, `cdev open c${i} ${uuid}`);
    await run(vmm, 'kvmvfio add k c2', 'cdev bind c1 i', 'cdev bind c2 i', 'cdev attach c2 1');
    const agent = await AgentInVm.start(vm);
    for (const [i, state] of ['unbound', 'bound', 'attached'].entries()) {
      const { openedBy, quality } = await untilCdevIs(agent, uuids[i], state);
      assert.deepEqual([openedBy?.comm, quality], ['qemu-late', 'partial']);
    }
    const found = uuids.map((uuid) => async () => {
      const device = (await agent.devices()).find(({ id }) => id === uuid);
      return `${device?.state} ${device?.openCount} ${device?.vm ? 'VM' : 'no VM'}`;
    });
    assert.deepEqual(await Promise.all(found.map((ask) => ask())), [
      'bound 0 no VM',
      'open 1 no VM',
      'open 1 VM',
    ]);
    const files = 'vfioscope_events_total{point="snapshot.iommufd"';
    assert.ok((await agent.metric(files)) > 0, 'the context was found');
    assert.equal(await agent.metric(CONTEXTS), 1);
    const [, bound] = await Promise.all(uuids.map((uuid) => cdevsOf(agent, uuid)));
    assert.equal(bound[0].iommufd?.openedBy?.comm, 'qemu-late');
    await vmm.kill();
    for (const uuid of uuids) await vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
    await agent.until('all are gone', async () => (await agent.devices()).length === 0);
    await agent.evaluated(SETTLING);
    assert.deepEqual(await agent.violations(), []);
    await agent.stop();
  });

  it('every error of a cdev is a violation, which names who is in the way', async () => {
    await vm.sh(`printf 'rules:\\n  cdev_unbound_seconds: 1\\n' > /tmp/cdev.yaml`);
    const agent = await AgentInVm.start(vm, '--config', '/tmp/cdev.yaml');
    const uuid = await create();
    const [launcher, qemu, other] = ['launcher', 'qemu-cdev', 'qemu-other'].map(
      (comm) => new Vmm(vm, comm),
    );
    const violation = async (rule: string, message: RegExp) => {
      const isIt = (text: string) => text.startsWith(`${rule} ${uuid}:`) && message.test(text);
      await agent.until(`${rule}: ${message}`, async () => (await agent.violations()).some(isIt));
    };
    await run(launcher, `cdev open c ${uuid}`);
    await violation(
      'cdev-never-bound',
      /launcher \(pid \d+\) opened its cdev \d[\d.]* s ago, and it is bound to no iommufd/,
    );
    await run(qemu, 'vm create v', 'kvmvfio create v k', 'iommufd open i', `cdev open c ${uuid}`);
    await refused(qemu, 'cdev bind c v', 'EBADFD');
    await violation(
      'bind-refused',
      /qemu-cdev \(pid \d+\) could not bind .* EBADFD, because .* not one of \/dev\/iommu/,
    );
    await run(qemu, 'cdev bind c i');
    await refused(qemu, 'cdev bind c i', 'EINVAL');
    await violation(
      'bind-refused',
      /EINVAL, because this file is bound already, by qemu-cdev \(pid \d+\)/,
    );
    await run(other, 'iommufd open i', `cdev open c ${uuid}`);
    await refused(other, 'cdev bind c i', 'EINVAL');
    await agent.evaluated();
    await refused(qemu, 'cdev attach c 4711', 'ENOENT');
    await violation(
      'attach-failed',
      /qemu-cdev \(pid \d+\) could not attach .* ENOENT, because the iommufd has no object/,
    );
    await run(qemu, 'kvmvfio add k c');
    await violation(
      'kvm-set-after-bind',
      /but qemu-cdev \(pid \d+\) had already bound that to an iommufd\. The device works for no VM/,
    );
    await refused(other, `group open g ${uuid}`, 'EBUSY');
    await violation(
      'cdev-group-conflict',
      /qemu-other \(pid \d+\) could not open VFIO group \d+: EBUSY, because qemu-cdev \(pid \d+\) bound /,
    );
    await run(qemu, 'kvmvfio del k c', 'close c');
    await run(other, `group open g ${uuid}`);
    await run(qemu, `cdev open c ${uuid}`);
    await refused(qemu, 'cdev bind c i', 'EBUSY');
    await violation(
      'cdev-group-conflict',
      /qemu-cdev \(pid \d+\) could not bind .* EBUSY, as long as its group \d+ is open: qemu-other \(pid \d+\)/,
    );
    for (const one of [launcher, qemu, other]) await run(one, 'quit');
    const open = 'vfioscope_violations_open{rule="cdev-never-bound"';
    await agent.until('no cdev is open unbound', async () => (await agent.metric(open)) === 0);
    await vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
    await agent.evaluated(SETTLING);
    const raised = [
      'attach-failed',
      'bind-refused',
      'cdev-group-conflict',
      'cdev-never-bound',
      'kvm-set-after-bind',
      'open-without-kvm',
    ];
    assert.deepEqual([...new Set(await rulesOf(agent))].sort(), raised);
    await keepOutcomes(agent);
    await agent.stop();
  });

  it('a group cannot be opened while a cdev of it is bound, nor a cdev bound while it is open', async () => {
    const agent = await AgentInVm.start(vm);
    const uuid = await create();
    const vmm = new Vmm(vm, 'qemu-both');
    await run(vmm, `cdev open c ${uuid}`, 'iommufd open i', 'cdev bind c i');
    await refused(vmm, `group open g ${uuid}`, 'EBUSY');
    await run(vmm, 'close c', `group open g ${uuid}`, `cdev open c ${uuid}`);
    await refused(vmm, 'cdev bind c i', 'EBUSY');
    // The cdev is unbound before the bind as well as after it.
    await agent.evaluated();
    assert.equal((await untilCdevIs(agent, uuid, 'unbound')).bindError, 'EBUSY');
    await agent.logged('cdev.bind_failed');
    await run(vmm, 'quit');
    await agent.stop();
    await vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
  });

  it('200 files of one cdev that nobody binds are one violation, and cost nothing when they are closed', async () => {
    await vm.sh(`printf 'rules:\\n  cdev_unbound_seconds: 1\\n' > /tmp/cdev.yaml`);
    const agent = await AgentInVm.start(vm, '--config', '/tmp/cdev.yaml');
    const uuid = await create();
    const launcher = new Vmm(vm, 'launcher');
    for (let i = 0; i < MANY; i++) await launcher.command(`cdev open c${i} ${uuid}`);
    await agent.evaluated(SETTLING);
    const cdevs = await cdevsOf(agent, uuid);
    assert.deepEqual(
      [cdevs.length, new Set(cdevs.map(({ state }) => state))],
      [MANY, new Set(['unbound'])],
    );
    assert.equal(await agent.metric('vfioscope_cdevs{state="unbound"}'), MANY);
    const [violation, ...others] = await agent.violations();
    assert.deepEqual(others, []);
    assert.match(violation, /^cdev-never-bound .* 199 more files of it are open and not bound\.$/);
    await run(launcher, 'quit');
    await agent.until('all are closed', async () => (await cdevsOf(agent, uuid)).length === 0);
    await vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
    await agent.until('it is gone', async () => (await agent.devices()).length === 0);
    assert.equal(await agent.lost(), 0);
    await agent.stop();
  });

  it('an iommufd context that two processes share is one, and outlives the one that opened it', async () => {
    const agent = await AgentInVm.start(vm);
    const uuids = [await create(), await create()];
    const [opener, other] = [new Vmm(vm, 'qemu-shares'), new Vmm(vm, 'qemu-other')];
    await run(other, 'inbox open to-other');
    await run(opener, 'iommufd open i', 'iommufd ioas i', 'send i to-other');
    await run(other, 'receive to-other i');
    for (const [i, vmm] of [opener, other].entries())
      await run(vmm, `cdev open c ${uuids[i]}`, 'cdev bind c i', 'cdev attach c 1');
    const contextOf = async (uuid: string) => (await untilCdevIs(agent, uuid, 'attached')).iommufd;
    const [first, second] = [await contextOf(uuids[0]), await contextOf(uuids[1])];
    assert.deepEqual(first, second);
    assert.equal(first?.openedBy?.comm, 'qemu-shares');
    await opener.kill();
    await agent.until(
      'its device is closed',
      async () => (await cdevsOf(agent, uuids[0])).length === 0,
    );
    assert.deepEqual(
      [await agent.metric(CONTEXTS), (await contextOf(uuids[1]))?.id],
      [1, second?.id],
    );
    await run(other, 'quit');
    await agent.until('the context is gone', async () => (await agent.metric(CONTEXTS)) === 0);
    for (const uuid of uuids) await vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
    await agent.evaluated(SETTLING);
    assert.deepEqual(await rulesOf(agent), ['open-without-kvm', 'open-without-kvm']);
    await agent.stop();
  });

  // Last, because on this kernel a VM stays until the next boot.
  it('the bind of a second file of a cdev, which is refused, takes the VM from a device that is open', async () => {
    const settings = 'rules:\\n  kvm_ref_leak_seconds: 2\\n  cdev_unbound_seconds: 600\\n';
    await vm.sh(`printf '${settings}' > /tmp/cdev.yaml`);
    const agent = await AgentInVm.start(vm, '--config', '/tmp/cdev.yaml');
    const uuids = [await create(), await create()];
    const [qemu, launcher] = [new Vmm(vm, 'qemu-bound'), new Vmm(vm, 'launcher')];
    await run(qemu, 'vm create v', 'kvmvfio create v k', 'iommufd open i');
    await run(launcher, 'vm create v', 'kvmvfio create v k', 'iommufd open i');
    const dropped = async (uuid: string, message: RegExp) => {
      await agent.until(`kvm-dropped-while-open of ${uuid}: ${message}`, async () =>
        (await agent.violations()).some(
          (text) => text.startsWith(`kvm-dropped-while-open ${uuid}:`) && message.test(text),
        ),
      );
    };
    const vmOf = async (uuid: string) =>
      (await agent.devices()).find(({ id }) => id === uuid)?.vm ?? 'no VM';

    for (const [i, uuid] of uuids.entries()) {
      await run(qemu, `cdev open c${i} ${uuid}`, `kvmvfio add k c${i}`, `cdev bind c${i} i`);
      await agent.until('it has its VM', async () => (await vmOf(uuid)) !== 'no VM');
      await run(launcher, `cdev open c${i} ${uuid}`);
    }
    await refused(launcher, 'cdev bind c0 i', 'EINVAL');
    await dropped(
      uuids[0],
      /dropped the VM of qemu-bound \(pid \d+\) from .* launcher \(pid \d+\) was refused the bind of a second file of its cdev vfio\d+, which qemu-bound \(pid \d+\) had bound\. .* nothing keeps the VM for it/,
    );
    await run(launcher, 'kvmvfio add k c1');
    await refused(launcher, 'cdev bind c1 i', 'EINVAL');
    await dropped(
      uuids[1],
      /dropped the VM of launcher \(pid \d+\) from .* its reference on the VM of qemu-bound \(pid \d+\) is lost/,
    );
    for (const uuid of uuids) assert.equal(await vmOf(uuid), 'no VM');

    for (const one of [launcher, qemu]) await run(one, 'quit');
    await agent.until('the VM of the second device leaks', async () =>
      (await agent.violations()).some(
        (text) =>
          text.startsWith('kvm-ref-leak ') &&
          text.includes(`One is that of ${uuids[1]}`) &&
          text.includes('(kvm-dropped-while-open)'),
      ),
    );
    for (const uuid of uuids) await vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
    await agent.until('both are gone', async () => (await agent.devices()).length === 0);
    await agent.evaluated(SETTLING);
    const dropAndRefusal = ['bind-refused', 'kvm-dropped-while-open'];
    assert.deepEqual(
      (await rulesOf(agent)).sort(),
      [...dropAndRefusal, ...dropAndRefusal, 'kvm-ref-leak'].sort(),
    );
    await keepOutcomes(agent);
    assert.equal(await agent.lost(), 0);
    await agent.stop();
  });

  it('the kernel reports no fault', async () => {
    assert.deepEqual(await vm.problems(), []);
  });
});
