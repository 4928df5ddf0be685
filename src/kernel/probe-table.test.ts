import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lacks } from '../../test/kit/needs.ts';
import type { PointName } from '../events/points.ts';
import { deriveTraits, type Evidence, valuesOf } from '../events/traits.ts';
import { choose } from './candidates.ts';
import { Libbpf, openOptions } from './libbpf.ts';
import type { Candidate } from './probe-point.ts';
import { PROBE_TABLE } from './probe-table.ts';
import { FILES_PROGRAM } from './snapshot-files.ts';

const skip = lacks('build', 'libbpf');

const MDEV = [
  'mdev_device_create',
  'mdev_device_release',
  'mdev_device_remove',
  'mdev_device_remove_cb',
  'mdev_probe',
  'mdev_remove',
  'mdev_unregister_driver',
];
const MDEV_PARENT = ['mdev_register_parent', 'mdev_unregister_parent'];
const VFIO = [
  'vfio_device_fops_release',
  'vfio_fops_unl_ioctl',
  'vfio_group_fops_release',
  'vfio_group_fops_open',
  'vfio_group_fops_unl_ioctl',
  'vfio_register_group_dev',
  'vfio_unregister_group_dev',
];
const VFIO_6 = [
  'vfio_group_detach_container',
  'vfio_device_put_registration',
  'vfio_device_release',
  'vfio_file_set_kvm',
  'vfio_register_emulated_iommu_dev',
];
const VFIO_6_12 = [
  '_vfio_alloc_device',
  // Without device cdevs it does nothing.
  'vfio_device_fops_cdev_open',
  'vfio_device_get_kvm_safe',
  'vfio_device_put_kvm',
  'vfio_df_close',
  'vfio_df_open',
  'vfio_group_set_kvm',
];
/** Where VFIO was built with device cdevs and iommufd: Debian's own sources of 6.12.117 and 7.2.13. */
const IOMMUFD = [
  'iommufd_fops_ioctl',
  'iommufd_fops_open',
  'iommufd_fops_release',
  'vfio_device_block_group',
  'vfio_df_ioctl_attach_pt',
  'vfio_df_ioctl_bind_iommufd',
  'vfio_df_ioctl_detach_pt',
  'vfio_df_unbind_iommufd',
  'vfio_init_device_cdev',
  'vfio_iommufd_physical_bind',
];
const CORE = ['blocking_notifier_call_chain', '__x64_sys_delete_module'];
const KVM = [
  'kvm_arch_init_vm',
  'kvm_destroy_vm',
  'kvm_dev_ioctl',
  'kvm_get_kvm',
  'kvm_put_kvm',
  'kvm_vm_release',
];

/**
 * Functions that Debian's kernels have as symbols, out of those that the table knows: read
 * from the symbol tables of 5.10.262, 6.1.192, 6.12.117 and 7.2.13.
 */
const KERNELS: Readonly<Record<string, readonly string[]>> = {
  '5.10': [
    ...MDEV,
    ...VFIO,
    ...KVM,
    ...CORE,
    'mdev_register_device',
    'mdev_unregister_device',
    'vfio_add_group_dev',
    'vfio_del_group_dev',
    'vfio_group_set_kvm',
  ],
  '6.1': [
    ...MDEV,
    ...MDEV_PARENT,
    ...VFIO,
    ...VFIO_6,
    ...KVM,
    ...CORE,
    'kvm_get_kvm_safe',
    'vfio_device_assign_container',
    'vfio_init_device',
  ],
  '6.12': [
    ...MDEV,
    ...MDEV_PARENT,
    ...VFIO,
    ...VFIO_6,
    ...VFIO_6_12,
    ...KVM,
    ...CORE,
    'kvm_get_kvm_safe',
  ],
  '7.2': [
    ...MDEV,
    ...MDEV_PARENT,
    ...VFIO,
    ...VFIO_6,
    ...VFIO_6_12,
    ...KVM,
    ...CORE,
    'kvm_get_kvm_safe',
  ],
};
const WITH_IOMMUFD = [...KERNELS['6.12'], ...IOMMUFD];

/** Linux 6.12 and later have a function for each point. */
const OF_ITS_OWN: Readonly<Partial<Record<PointName, string>>> = {
  'mdev.parent.register': 'mdev_register_parent',
  'mdev.parent.unregister': 'mdev_unregister_parent',
  'mdev.create': 'mdev_device_create',
  'mdev.probe': 'mdev_probe',
  'mdev.remove': 'mdev_device_remove',
  'mdev.remove_child': 'mdev_device_remove_cb',
  'mdev.unbind': 'mdev_remove',
  'mdev.release': 'mdev_device_release',
  'mdev.driver.unregister': 'mdev_unregister_driver',
  'vfio.init': '_vfio_alloc_device',
  'vfio.register': 'vfio_register_group_dev',
  'vfio.register_emulated': 'vfio_register_emulated_iommu_dev',
  'vfio.unregister': 'vfio_unregister_group_dev',
  'vfio.release': 'vfio_device_release',
  'vfio.group.open': 'vfio_group_fops_open',
  'vfio.group.close': 'vfio_group_fops_release',
  'vfio.group.set_kvm': 'vfio_group_set_kvm',
  'vfio.group.unset_container': '← vfio.device.get_fd',
  'vfio.group.detach': 'vfio_group_detach_container',
  'vfio.group.notify': '← vfio.group.set_kvm',
  'vfio.device.get_fd': 'vfio_group_fops_unl_ioctl',
  'vfio.device.open': 'vfio_df_open',
  'vfio.device.close': 'vfio_df_close',
  'vfio.device.kvm_capture': 'vfio_device_get_kvm_safe',
  'vfio.device.kvm_drop': 'vfio_device_put_kvm',
  'vfio.dma.map': 'vfio_fops_unl_ioctl',
  'vfio.cdev.open': '← vfio.register',
  'vfio.cdev.close': '← vfio.register',
  'vfio.cdev.set_kvm': '← vfio.register',
  'vfio.cdev.bind': '← vfio.register',
  'vfio.cdev.block_group': '← vfio.register',
  'vfio.cdev.unbind': '← vfio.register',
  'vfio.cdev.attach': '← vfio.register',
  'vfio.cdev.detach': '← vfio.register',
  'iommufd.open': '← vfio.register',
  'iommufd.close': '← vfio.register',
  'kvm.vm.create': 'kvm_dev_ioctl',
  'kvm.vm.init': 'kvm_arch_init_vm',
  'kvm.vm.destroy': 'kvm_destroy_vm',
  'kvm.vm.fd_close': 'kvm_vm_release',
  'kvm.get': 'kvm_get_kvm',
  'kvm.get_safe': 'kvm_get_kvm_safe',
  'kvm.put': 'kvm_put_kvm',
  'module.unload': '__x64_sys_delete_module',
};

/** What each point uses where it is not that: functions, or "← the point that it is inferred from". */
const USED: Readonly<Record<string, typeof OF_ITS_OWN>> = {
  '5.10': {
    ...OF_ITS_OWN,
    'mdev.parent.register': 'mdev_register_device',
    'mdev.parent.unregister': 'mdev_unregister_device',
    'vfio.init': '← vfio.register',
    'vfio.register': 'vfio_add_group_dev',
    'vfio.register_emulated': '← vfio.register',
    'vfio.unregister': 'vfio_del_group_dev',
    'vfio.release': '← vfio.unregister',
    'vfio.group.detach': '← vfio.device.get_fd',
    'vfio.group.notify': 'blocking_notifier_call_chain',
    'vfio.device.open': '← vfio.device.get_fd',
    'vfio.device.close': 'vfio_device_fops_release',
    'vfio.device.kvm_capture': '← vfio.group.set_kvm',
    'vfio.device.kvm_drop': '← vfio.device.close',
    'kvm.get_safe': '← kvm.get',
  },
  '6.1': {
    ...OF_ITS_OWN,
    'vfio.init': 'vfio_init_device',
    'vfio.group.set_kvm': 'vfio_file_set_kvm',
    'vfio.device.open': 'vfio_device_assign_container ← vfio.device.get_fd',
    'vfio.device.close': 'vfio_device_fops_release, vfio_device_put_registration',
    'vfio.device.kvm_capture': '← vfio.device.open',
    'vfio.device.kvm_drop': '← vfio.device.close',
  },
  '6.12': OF_ITS_OWN,
  '7.2': OF_ITS_OWN,
};

/** What is derived from these functions alone. */
function traitsWith(functions: readonly string[]) {
  const derived = deriveTraits({
    unknown: () => undefined,
    ways: [
      (_module, evidence: Evidence) =>
        evidence.kind === 'symbol' && functions.includes(evidence.name) === evidence.exists,
    ],
  });
  return valuesOf(derived);
}

function kernelWith(functions: readonly string[]) {
  const opened: string[] = [];
  return {
    traits: traitsWith(functions),
    /** Places that were opened and not closed. */
    opened,
    open(_module: string, { symbol }: { symbol: string }) {
      if (!functions.includes(symbol)) throw Object.assign(new Error(symbol), { code: 'ENOENT' });
      opened.push(symbol);
      return { method: symbol, fd: -1, undefine() {} };
    },
    close({ method }: { method: string }) {
      opened.splice(opened.lastIndexOf(method), 1);
    },
  };
}

/** The candidate for each point, or why there is none. */
function chosen(version: string, functions = KERNELS[version]) {
  const kernel = kernelWith(functions);
  const using = new Map<PointName, Candidate>();
  const reasons = new Map<PointName, string>();
  for (const entry of PROBE_TABLE) {
    const choice = choose(entry, using, kernel);
    if ('candidate' in choice) using.set(entry.point, choice.candidate);
    else reasons.set(entry.point, choice.reason);
  }
  return { using, reasons, opened: kernel.opened };
}

function words({ hooks, inferredFrom }: Candidate): string {
  const symbols = [...new Set(hooks.map(({ symbol }) => symbol))].join(', ');
  return [symbols, inferredFrom && `← ${inferredFrom}`].filter(Boolean).join(' ');
}

/** The names of all programs in a compiled object. */
function programs(file: string): Set<string> {
  const path = new URL(`../../dist/bpf/${file}`, import.meta.url).pathname;
  const libbpf = Libbpf.get();
  const object = libbpf.checkPointer(path, (calls) =>
    calls.objectOpen(path, openOptions(undefined)),
  );
  const names = new Set<string>();
  const { calls } = libbpf;
  for (
    let program = calls.nextProgram(object, null);
    program;
    program = calls.nextProgram(object, program)
  ) {
    names.add(calls.programName(program));
  }
  calls.objectClose(object);
  return names;
}

describe('the table of probe points', () => {
  const candidates = PROBE_TABLE.flatMap((entry) => entry.candidates);
  const hooks = candidates.flatMap((candidate) => candidate.hooks);

  for (const file of ['vfioscope.bpf.o', 'vfioscope-typed.bpf.o']) {
    it(`names the programs of ${file}, all of them`, { skip }, () => {
      const named = new Set(hooks.map(({ program }) => program));
      assert.deepEqual([...programs(file)].sort(), [...named, FILES_PROGRAM, 'module_load'].sort());
    });
  }

  it('has a program of its own for the end of an open where no function returns from all', () => {
    const end = (version: string) =>
      chosen(version).using.get('vfio.device.get_fd')?.hooks.at(-1)?.program;
    const versions = ['5.10', '6.1', '6.12', '7.2'];
    const [one, two] = ['get_fd_and_open_end', 'get_fd_end'];
    assert.deepEqual(versions.map(end), [one, one, two, two]);
  });

  it('refers to points that stand before, and to functions that these may use', () => {
    for (const [i, { point, candidates }] of PROBE_TABLE.entries()) {
      const before = new Map(PROBE_TABLE.slice(0, i).map((entry) => [entry.point, entry]));
      for (const { where, inferredFrom } of candidates) {
        if (inferredFrom)
          assert.ok(before.has(inferredFrom), `${point} is inferred from ${inferredFrom}`);
        if (!where) continue;
        const symbols = before
          .get(where[0])
          ?.candidates.flatMap((candidate) => candidate.hooks.map(({ symbol }) => symbol));
        assert.ok(symbols?.includes(where[1]), `${point}: ${where.join(' uses ')}`);
      }
    }
  });

  it('says why wherever a point is only inferred', () => {
    for (const { hooks, inferredFrom, because } of candidates) {
      assert.equal(hooks.length === 0, because !== undefined);
      if (hooks.length === 0) assert.ok(inferredFrom);
    }
  });

  it('has the end of each point last, where it is attached first', () => {
    for (const { hooks } of candidates) {
      const returns = hooks.findIndex(({ atReturn }) => atReturn);
      assert.ok(returns === -1 || hooks.slice(returns).every(({ atReturn }) => atReturn));
    }
  });
});

describe('the choice on', () => {
  for (const version of Object.keys(KERNELS)) {
    it(`Linux ${version} is a way for each point, and the right one`, () => {
      const { using, reasons } = chosen(version);
      assert.deepEqual([...reasons], []);
      const used = Object.fromEntries([...using].map(([point, one]) => [point, words(one)]));
      assert.deepEqual(used, USED[version]);
    });
  }

  it('a kernel without a function says which one is missing, and leaves nothing open', () => {
    const without = KERNELS['6.12'].filter((symbol) => symbol !== 'vfio_df_open');
    const { using, reasons, opened } = chosen('6.12', without);
    assert.match(reasons.get('vfio.device.open') ?? '', /no function vfio_df_open: it was renamed/);
    assert.equal(reasons.size, 1);
    const hooks = [...using.values()].flatMap((candidate) => candidate.hooks);
    assert.deepEqual(opened.sort(), hooks.map(({ symbol }) => symbol).sort());
  });

  it('a kernel with device cdevs has a function for each of their steps', () => {
    const { using, reasons } = chosen('6.12', WITH_IOMMUFD);
    assert.deepEqual([...reasons], []);
    const used = [...using].filter(([point]) => /^(vfio\.cdev|iommufd)\./.test(point));
    assert.deepEqual(Object.fromEntries(used.map(([point, one]) => [point, words(one)])), {
      'vfio.cdev.open': 'vfio_device_fops_cdev_open',
      'vfio.cdev.close': 'vfio_device_fops_release',
      'vfio.cdev.set_kvm': 'vfio_file_set_kvm',
      'vfio.cdev.bind': 'vfio_df_ioctl_bind_iommufd',
      'vfio.cdev.block_group': 'vfio_device_block_group',
      'vfio.cdev.unbind': 'vfio_df_unbind_iommufd',
      'vfio.cdev.attach': 'vfio_df_ioctl_attach_pt',
      'vfio.cdev.detach': 'vfio_df_ioctl_detach_pt',
      'iommufd.open': 'iommufd_fops_open',
      'iommufd.close': 'iommufd_fops_release',
    });
  });

  it('a kernel with device cdevs is not one without because a function is missing', () => {
    const without = WITH_IOMMUFD.filter((symbol) => symbol !== 'vfio_df_ioctl_bind_iommufd');
    const { reasons } = chosen('6.12', without);
    assert.deepEqual([...reasons.keys()], ['vfio.cdev.bind']);
    assert.match(reasons.get('vfio.cdev.bind') ?? '', /no function vfio_df_ioctl_bind_iommufd/);
  });

  it('an old kernel is not to read the argument of a newer function of the same name', () => {
    const { using } = chosen('5.10', [...KERNELS['5.10'], 'vfio_device_release']);
    assert.equal(using.get('vfio.release')?.hooks.length, 0);
  });

  it('a kernel is to read the arguments that it passes to mdev_device_create', () => {
    const program = (functions: readonly string[]) =>
      chosen('', functions).using.get('mdev.create')?.hooks[0].program;
    assert.equal(program(KERNELS['5.10']), 'kobject_create_begin');
    assert.equal(program([...KERNELS['5.10'], 'mdev_match']), 'create_begin');
    assert.equal(program(KERNELS['6.1']), 'create_begin');
  });

  it('a kernel that notifies drivers is not to claim that it does not', () => {
    const without = ['vfio_add_group_dev', 'vfio_del_group_dev'];
    const functions = KERNELS['5.10'].filter((symbol) => !without.includes(symbol));
    const { using } = chosen('5.15', [...functions, 'vfio_register_notifier']);
    assert.ok(using.has('vfio.group.set_kvm'));
    assert.equal(using.has('vfio.group.notify'), false);
  });

  it('a kernel with iommufd is to watch its mappings too, and those alone without containers', () => {
    const used = (functions: readonly string[]) => {
      const choice = chosen('6.12', functions).using.get('vfio.dma.map');
      return choice && words(choice);
    };
    const all = [...KERNELS['6.12'], 'iommufd_fops_ioctl'];
    assert.equal(used(all), 'vfio_fops_unl_ioctl, iommufd_fops_ioctl');
    const alone = all.filter((symbol) => symbol !== 'vfio_fops_unl_ioctl');
    assert.equal(used(alone), 'iommufd_fops_ioctl');
  });

  it('a kernel that refuses a function says how', () => {
    const kernel = { ...kernelWith([]), open: () => assert.fail('too many probes') };
    const choice = choose(PROBE_TABLE[0], new Map(), kernel);
    assert.match('reason' in choice ? choice.reason : '', /^too many probes; too many probes$/);
  });

  it('a kernel of which nothing is known has no way that depends on another', () => {
    const { using, reasons } = chosen('6.30', []);
    assert.equal(using.size, 0);
    assert.equal(reasons.get('mdev.create'), 'nothing is known of how this kernel does it');
  });
});
