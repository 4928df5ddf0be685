/** The attribution of a violation as lines of text. */

import type { Blocked, Holder, Violation } from './violation.ts';
import { waiterLines } from './waiter-words.ts';
import { inFull, seconds, vmLabel } from './words.ts';

/** What attributions begin with, and the width of the column that they are in where they stand in one. */
export const ATTRIBUTION_LABELS = [
  ...(['held by', 'blocked', 'behind it', 'created by', 'requested by', 'removed by'] as const),
  'kernel log',
] as const;
export const ATTRIBUTION_COLUMN = 12;

type Labelled = readonly [label: (typeof ATTRIBUTION_LABELS)[number], text: string];

/** The attribution of a violation, one line each, with the labels in a column. */
export function attributionLines(violation: Violation): string[] {
  return attributionOf(violation).map(
    ([label, text]) => `${label.padEnd(ATTRIBUTION_COLUMN)} ${text}`,
  );
}

/** The attribution of a violation, by label. */
export function attributionOf({
  holders,
  blocked,
  waiters,
  creator,
  requester,
  remover,
  lastSeen,
  kernelLog = [],
}: Violation): Labelled[] {
  return [
    ...holders.map((holder) => ['held by', holderWords(holder, lastSeen)] as const),
    ...(blocked ? [['blocked', blockedWords(blocked)] as const] : []),
    ...waiterLines(waiters, lastSeen).map((line) => ['behind it', line] as const),
    ...(creator ? [['created by', inFull(creator)] as const] : []),
    ...(requester ? [['requested by', inFull(requester)] as const] : []),
    ...(remover ? [['removed by', inFull(remover)] as const] : []),
    ...kernelLog.map((line) => ['kernel log', line] as const),
  ];
}

const FILES: Readonly<Record<Holder['holds'], string>> = {
  device: 'device',
  mapping: 'mapped memory of device',
  cdev: 'cdev of device',
  group: 'group of device',
  vm: 'the VM',
  kvm: 'files of KVM',
};

const HOW: Readonly<Partial<Record<Holder['how'], string>>> = {
  opening: 'in the call that opens it',
  closing: 'in the call that closes it',
  exiting: 'exiting',
  gone: 'has ended',
  'passed on': 'passed on to another process',
  closed: 'no longer at that descriptor',
};

/** "qemu (pid 12): device 0000:01:00.0, fd 20, for vm3, opened 34 s ago". @param now ns on the boot-time clock */
function holderWords(holder: Holder, now: number): string {
  const { holds, how, device, fd, vm, since, inKernel } = holder;
  const isOfVm = holds === 'vm' || holds === 'kvm';
  const file = isOfVm ? FILES[holds] : `${FILES[holds]} ${device ?? 'file'}`;
  const facts = [
    how === 'may hold' ? `perhaps by ${file}` : file,
    fd < 0 ? undefined : `fd ${fd}`,
    !isOfVm && vm ? `for ${vmLabel(vm)}` : undefined,
    since ? `opened ${seconds(now - since)} ago` : undefined,
    HOW[how],
    inKernel && `a thread of it in ${inKernel.wchan ?? 'the kernel'}, ${inKernel.state}`,
  ].filter((fact) => fact);
  return `${inFull(holder)}: ${facts.join(', ')}`;
}

/** "bash (pid 7), in vfio_unregister_group_dev, D (disk sleep)" */
function blockedWords(blocked: Blocked): string {
  const { state, wchan } = blocked.inKernel ?? {};
  const facts = [inFull(blocked), wchan && `in ${wchan}`, state];
  return facts.filter((fact) => fact).join(', ');
}
