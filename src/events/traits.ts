/**
 * Traits: what a kernel does that others do not, decided by what it has and never by its number. VFIO on a
 * host is often newer than the kernel, as vendors and distributions port it back.
 *
 * This is the one table of them, and with the table of probe points (src/kernel/probe-table.ts) the only
 * place that knows how kernels differ. src/kernel/traits.ts derives them on a host.
 */

/** Where a trait shows; vmlinux is the kernel itself. */
export type TraitModule = 'mdev' | 'vfio' | 'kvm' | 'vmlinux';

/**
 * Something that shows a trait. symbol: a function of the module by its BTF, or a name by /proc/kallsyms; of
 * vmlinux a function by BTF. That one is absent proves something only if the compiler must keep it, because
 * it is exported or pointed to.
 * field, struct: as BTF describes them; the path to a field may lead through unions. noBtf: there is no BTF
 * of the module.
 */
export type Evidence =
  | { readonly kind: 'symbol' | 'struct'; readonly name: string; readonly exists: boolean }
  | {
      readonly kind: 'field';
      readonly struct: string;
      readonly path: string;
      readonly exists: boolean;
    }
  | { readonly kind: 'noBtf' };

interface Trait {
  readonly module: TraitModule;
  /** What is true of a kernel that has it: a clause. */
  readonly statement: string;
  /** What is true of the others. */
  readonly otherwise: string;
  /** The first of these that a kernel has shows that the trait holds, … */
  readonly shownBy: readonly Evidence[];
  /** … and if it has none, the first of these that it does not. */
  readonly refutedBy: readonly Evidence[];
}

function has(name: string): Evidence {
  return { kind: 'symbol', name, exists: true };
}

/** @param name of a function that is exported or pointed to */
function lacks(name: string): Evidence {
  return { kind: 'symbol', name, exists: false };
}

function hasField(struct: string, path: string): Evidence {
  return { kind: 'field', struct, path, exists: true };
}

function lacksField(struct: string, path: string): Evidence {
  return { kind: 'field', struct, path, exists: false };
}

const NO_BTF: Evidence = { kind: 'noBtf' };

/** A group notifies drivers of its VM: 5.10. vfio_register_notifier() is exported, and went in 6.0. */
const NOTIFIERS = [has('vfio_register_notifier'), has('vfio_add_group_dev')];
/** An open checks the group's container itself: 6.1. */
const CONTAINER_AT_OPEN = [has('vfio_device_assign_container')];
/** The series that added device cdevs (6.6) has all opens and closes pass through these. */
const DEVICE_FILES = [has('vfio_df_open'), has('vfio_df_close')];

export const TRAITS = {
  mdevsHaveDriver: {
    module: 'mdev',
    statement: 'each mdev is bound to the driver of its parent, which sets it up',
    otherwise:
      'each mdev is bound to vfio_mdev, and the driver of its parent sets it up unobserved',
    shownBy: [has('mdev_register_parent'), hasField('mdev_parent', 'mdev_driver')],
    refutedBy: [has('mdev_register_device')],
  },
  parentBelongsToDriver: {
    module: 'mdev',
    statement: 'a parent is memory of its driver, which an mdev refers to until it is freed',
    otherwise: 'the kernel keeps a parent until nothing refers to it',
    shownBy: [has('mdev_register_parent')],
    refutedBy: [has('mdev_register_device')],
  },
  mdevsStayUnbound: {
    module: 'mdev',
    statement: 'an mdev that was unbound from its driver cannot be bound again',
    otherwise: 'an mdev that was unbound from its driver can be bound again',
    // The bus points to it: it matches no driver.
    shownBy: [has('mdev_match')],
    refutedBy: [lacks('mdev_match')],
  },
  removeFileIsEarly: {
    module: 'mdev',
    statement: 'the file `remove` of an mdev appears before its driver has set it up',
    otherwise: 'the file `remove` of an mdev is the last thing that a creation makes',
    // The device has the file as an attribute of its own, and it is made with the device.
    shownBy: [has('mdev_register_parent'), has('mdev_device_groups')],
    // A variable, which BTF does not have: RHEL 9.2 has it beside mdev_register_device().
    refutedBy: [lacks('mdev_device_groups')],
  },
  coreHoldsVm: {
    module: 'vfio',
    statement: 'the core takes a reference on the VM of an open device',
    otherwise: 'the core takes no reference on the VM of an open device; its driver may',
    shownBy: [has('vfio_device_get_kvm_safe'), hasField('vfio_device', 'put_kvm')],
    refutedBy: [...CONTAINER_AT_OPEN, ...NOTIFIERS, lacksField('vfio_device', 'put_kvm')],
  },
  driversAreNotified: {
    module: 'vfio',
    statement: 'a group notifies the drivers of its VM, and the core keeps none for a device',
    otherwise: 'a device gets the VM of its group when it is opened',
    shownBy: NOTIFIERS,
    refutedBy: [has('vfio_file_set_kvm'), ...DEVICE_FILES],
  },
  vfioDeviceIsCounted: {
    module: 'vfio',
    statement: 'a driver allocates its vfio_device, and the last reference frees it',
    otherwise: 'a vfio_device lasts from its registration to the end of its unregistration',
    // It is exported, and of the series that made drivers allocate a vfio_device: 6.1. vfio_device_release()
    // shows nothing: in older kernels it frees what the registration has allocated.
    shownBy: [has('_vfio_alloc_device')],
    refutedBy: [lacks('_vfio_alloc_device')],
  },
  opensAreOneFunction: {
    module: 'vfio',
    statement: 'all opens of devices pass through one function, and return from it',
    otherwise: 'an open of a device has no return of its own',
    shownBy: DEVICE_FILES,
    refutedBy: [...CONTAINER_AT_OPEN, ...NOTIFIERS],
  },
  containerIsCheckedAtOpen: {
    module: 'vfio',
    statement: 'an open of a device checks the container of its group',
    otherwise: 'the container of a group is checked before a device of it is opened',
    shownBy: CONTAINER_AT_OPEN,
    refutedBy: [...DEVICE_FILES, ...NOTIFIERS],
  },
  opensDuringRemoval: {
    module: 'vfio',
    statement: 'a device can be opened while its removal waits for its users',
    otherwise: 'a removal takes the device off its group before it waits for its users',
    shownBy: [...CONTAINER_AT_OPEN, ...NOTIFIERS],
    // vfio_unregister_group_dev() unlists the device first since the series that added cdevs.
    refutedBy: DEVICE_FILES,
  },
  deviceFileKeepsGroup: {
    module: 'vfio',
    statement: 'an open device file keeps the file of its group open',
    otherwise: 'a group can be closed before its devices, which keep its container themselves',
    // Both are of the series that gave the group a file: vfio_file_set_kvm() is exported.
    shownBy: [has('vfio_file_set_kvm'), ...DEVICE_FILES, hasField('vfio_group', 'opened_file')],
    refutedBy: NOTIFIERS,
  },
  removalWaitsForGroup: {
    module: 'vfio',
    statement: 'a removal also waits until the group of the device is in no container',
    otherwise: 'a removal waits for the users of the device alone',
    shownBy: NOTIFIERS,
    refutedBy: [has('vfio_file_set_kvm'), ...DEVICE_FILES],
  },
  devicesHaveCdevs: {
    module: 'vfio',
    statement: 'a device can also be opened by a cdev of its own',
    otherwise: 'a device can be opened by its group alone: this kernel has no device cdevs',
    // It is in a file of its own, and another file calls it.
    shownBy: [has('vfio_init_device_cdev'), hasField('vfio_device', 'cdev')],
    refutedBy: [lacksField('vfio_device', 'cdev'), lacks('vfio_init_device_cdev')],
  },
  vfioUsesIommufd: {
    module: 'vfio',
    statement: 'the core can use iommufd instead of its own containers',
    otherwise: 'the core has its own containers alone: this kernel has no iommufd',
    shownBy: [has('vfio_iommufd_physical_bind'), hasField('vfio_device', 'iommufd_device')],
    refutedBy: [lacksField('vfio_device', 'iommufd_device'), lacks('vfio_iommufd_physical_bind')],
  },
  opensAreCounted: {
    module: 'vfio',
    statement: 'the kernel shows how often a device is open',
    otherwise: 'the kernel does not show how often a device is open',
    shownBy: [hasField('vfio_device', 'open_count')],
    refutedBy: [lacksField('vfio_device', 'open_count'), NO_BTF, has('vfio_add_group_dev')],
  },
  callbacksAreDescribed: {
    module: 'vfio',
    statement: 'BTF describes the callbacks of the drivers of devices',
    otherwise: 'no BTF describes the callbacks of the drivers of devices',
    shownBy: [hasField('vfio_device_ops', 'request')],
    refutedBy: [NO_BTF, lacksField('vfio_device_ops', 'request')],
  },
  kvmRefusesReferences: {
    module: 'kvm',
    statement: 'KVM can refuse a reference on a VM that is being destroyed',
    otherwise: 'KVM has no function that refuses a reference',
    shownBy: [has('kvm_get_kvm_safe')],
    refutedBy: [lacks('kvm_get_kvm_safe')],
  },
  linksCanBePinned: {
    module: 'vmlinux',
    statement: 'a kprobe can belong to a BPF link, which can be pinned',
    otherwise: 'a kprobe ends with the agent that attached it',
    shownBy: [{ kind: 'struct', name: 'bpf_perf_link', exists: true }],
    refutedBy: [{ kind: 'struct', name: 'bpf_perf_link', exists: false }],
  },
  linksCountMisses: {
    module: 'vmlinux',
    statement: 'a BPF link counts how often the kernel could not run its program',
    otherwise: 'only tracefs counts how often the kernel could not run a program',
    shownBy: [hasField('bpf_link_info', 'perf_event.kprobe.missed')],
    refutedBy: [lacksField('bpf_link_info', 'perf_event.kprobe.missed')],
  },
  namesAreIndexed: {
    module: 'vmlinux',
    statement: 'the kernel finds a function by its name without reading all names',
    otherwise: 'the kernel reads all names to find a function',
    shownBy: [has('kallsyms_on_each_match_symbol')],
    refutedBy: [lacks('kallsyms_on_each_match_symbol')],
  },
} as const satisfies Readonly<Record<string, Trait>>;

export type TraitName = keyof typeof TRAITS;
export const TRAIT_NAMES = Object.keys(TRAITS) as readonly TraitName[];

/** undefined: it cannot be derived, or not yet because its module is not loaded. */
export type Traits = Readonly<Record<TraitName, boolean | undefined>>;

/** A trait of a host, and what shows it. */
export interface DerivedTrait {
  readonly name: TraitName;
  /** What is true, or what would be true if it could be derived: a clause. */
  readonly statement: string;
  readonly value: boolean | undefined;
  /** What the kernel has or lacks; or why the trait cannot be derived. */
  readonly evidence: string;
}

export const NO_TRAITS: Traits = traitsOf(() => undefined);

/** All traits, by a function of their names. */
export function traitsOf(value: (name: TraitName) => boolean | undefined): Traits {
  return Object.fromEntries(TRAIT_NAMES.map((name) => [name, value(name)])) as Traits;
}

/** Whether that is so; false also where it is not known. */
export type Shows = (module: TraitModule, evidence: Evidence) => boolean;

/** What a kernel has. */
export interface KernelContents {
  /** Why nothing is known of a module; undefined where it is. */
  unknown(module: TraitModule): string | undefined;
  /** Ways to find out, the quickest first: the next one is asked only where the ones before do not decide. */
  readonly ways: readonly Shows[];
  /** Why one of these ways is closed. */
  readonly problem?: string | undefined;
}

/** Derives all traits from what a kernel has. */
export function deriveTraits(kernel: KernelContents): DerivedTrait[] {
  return TRAIT_NAMES.map((name) => deriveTrait(name, kernel));
}

export function deriveTrait(name: TraitName, kernel: KernelContents): DerivedTrait {
  const { statement, otherwise } = TRAITS[name];
  const { value, evidence } = derive(TRAITS[name], kernel);
  return { name, statement: value === false ? otherwise : statement, value, evidence };
}

function derive(
  { module, shownBy, refutedBy }: Trait,
  kernel: KernelContents,
): Pick<DerivedTrait, 'value' | 'evidence'> {
  const unknown = kernel.unknown(module);
  if (unknown !== undefined) return { value: undefined, evidence: unknown };
  for (const shows of kernel.ways) {
    const shown = shownBy.find((one) => shows(module, one));
    const found = shown ?? refutedBy.find((one) => shows(module, one));
    if (found) return { value: found === shown, evidence: evidenceWords(module, found) };
  }
  if (kernel.problem !== undefined) return { value: undefined, evidence: kernel.problem };
  const all = [...shownBy, ...refutedBy].map((one) => evidenceWords(module, one));
  return { value: undefined, evidence: `none of these is known to be so: ${all.join('; ')}` };
}

function evidenceWords(module: TraitModule, evidence: Evidence): string {
  switch (evidence.kind) {
    case 'symbol':
      return `${module} has ${evidence.exists ? 'the' : 'no'} symbol ${evidence.name}`;
    case 'struct':
      return `${module} has ${evidence.exists ? 'the' : 'no'} struct ${evidence.name}`;
    case 'field':
      return `struct ${evidence.struct} has ${evidence.exists ? 'the' : 'no'} field ${evidence.path}`;
    case 'noBtf':
      return `${module} has no BTF that is used`;
  }
}

/** The values alone. */
export function valuesOf(derived: readonly DerivedTrait[]): Traits {
  const byName = new Map(derived.map(({ name, value }) => [name, value]));
  return traitsOf((name) => byName.get(name));
}
