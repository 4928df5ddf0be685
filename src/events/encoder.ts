/**
 * Writes records of the wire format, as the kernel would: for rule examples,
 * tests and benchmarks, so that all of them run the code that real events run.
 */
import { fittingBytes } from './long-name.ts';
import { GUID_ORDER } from './text.ts';
import { EVENT, FLAG, NAMES, WIRE } from './wire.gen.ts';

export interface RecordFields {
  /** ns on the boot-time clock. */
  readonly time: number;
  readonly seq: number;
  readonly cpu?: number;
  /** A value of `POINT`. */
  readonly point: number;
  /** Bits of `FLAG`; EVENT_NAMED is added where a field needs it. */
  readonly flags?: number;
  readonly pid: number;
  readonly tid: number;
  readonly comm: string;
  readonly ret?: number;
  readonly openCount?: number;
  readonly usersCount?: number;
  readonly groupId?: number;
  /** Keys: any numbers, 0 for none. */
  readonly dev?: number;
  readonly vdev?: number;
  readonly parent?: number;
  readonly kvm?: number;
  readonly file?: number;
  readonly vmPid?: number;
  /** Number of an mdev's directory in sysfs, 0 for none. With it and what follows, a record is named. */
  readonly inode?: number;
  /** -1 for none. */
  readonly fd?: number;
  /** Bits of `COVERED`. */
  readonly covered?: number;
  /** Bits of `DEVICE_STATE`. */
  readonly deviceState?: number;
  readonly uid?: number;
  readonly cgroup?: number;
  readonly names?: RecordNames;
}

export interface RecordNames {
  /** As text. */
  readonly uuid?: string;
  readonly device?: string;
  readonly bus?: string;
  readonly type?: string;
  readonly parent?: string;
  readonly driver?: string;
}

const SIZES = new Map(WIRE.names.map(({ name, size }) => [name, size]));

/** The bytes of one record. */
export function encodeRecord(fields: RecordFields): Uint8Array {
  const { names: texts, inode, fd, covered, deviceState } = fields;
  const isNamed = [texts, inode, fd, covered, deviceState].some((field) => field !== undefined);
  const bytes = new Uint8Array(isNamed ? WIRE.namedSize : WIRE.eventSize);
  const view = new DataView(bytes.buffer);
  const key = (at: number, value = 0) => {
    // Spread over both words, as the kernel's keys are.
    view.setUint32(at, Math.imul(value, 0x9e3779b1), true);
    view.setUint32(at + 4, value === 0 ? 0 : value ^ 0x5bd1e995, true);
  };
  view.setUint32(EVENT.time, fields.time, true);
  view.setUint32(EVENT.time + 4, fields.time / 2 ** 32, true);
  view.setUint32(EVENT.seq, fields.seq, true);
  view.setUint16(EVENT.cpu, fields.cpu ?? 0, true);
  view.setUint8(EVENT.point, fields.point);
  view.setUint8(EVENT.flags, (fields.flags ?? 0) | (isNamed ? FLAG.EVENT_NAMED : 0));
  view.setUint32(EVENT.pid, fields.pid, true);
  view.setUint32(EVENT.tid, fields.tid, true);
  text(bytes, EVENT.comm, 16, fields.comm);
  view.setInt32(EVENT.ret, fields.ret ?? 0, true);
  view.setInt32(EVENT.open_count, fields.openCount ?? -1, true);
  view.setInt32(EVENT.users_count, fields.usersCount ?? -1, true);
  view.setInt32(EVENT.group_id, fields.groupId ?? -1, true);
  key(EVENT.dev, fields.dev);
  key(EVENT.vdev, fields.vdev);
  key(EVENT.parent, fields.parent);
  key(EVENT.kvm, fields.kvm);
  key(EVENT.file, fields.file);
  view.setInt32(EVENT.vm_pid, fields.vmPid ?? 0, true);
  view.setUint32(EVENT.uid, fields.uid ?? 0, true);
  view.setUint32(EVENT.cgroup, fields.cgroup ?? 0, true);
  view.setUint32(EVENT.cgroup + 4, (fields.cgroup ?? 0) / 2 ** 32, true);
  if (isNamed) {
    view.setUint32(NAMES.inode, inode ?? 0, true);
    view.setUint32(NAMES.inode + 4, (inode ?? 0) / 2 ** 32, true);
    view.setInt32(NAMES.fd, fd ?? -1, true);
    view.setUint16(NAMES.covered, covered ?? 0, true);
    view.setUint16(NAMES.device_state, deviceState ?? 0, true);
    names(bytes, texts ?? {});
  }
  return bytes;
}

function names(bytes: Uint8Array, { uuid, ...texts }: RecordNames): void {
  if (uuid) {
    const raw = Buffer.from(uuid.replaceAll('-', ''), 'hex');
    for (const [i, to] of GUID_ORDER.entries()) bytes[NAMES.uuid + to] = raw[i];
  }
  for (const [field, value] of Object.entries(texts)) {
    const fitting = field === 'parent' ? fittingBytes(value ?? '') : value;
    text(bytes, NAMES[field as keyof typeof NAMES], SIZES.get(field) ?? 0, fitting ?? '');
  }
}

function text(bytes: Uint8Array, at: number, size: number, value: string | Buffer): void {
  const content = typeof value === 'string' ? Buffer.from(value) : value;
  bytes.set(content.subarray(0, size - 1), at);
}
