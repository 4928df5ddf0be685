/**
 * Scenarios as older kernels emit them: how VFIO opens and closes a device was rewritten between
 * them. The puts of references stay as on 6.12.
 */
import { EventCursor } from '../../src/events/cursor.ts';
import { type PointName, pointName } from '../../src/events/points.ts';
import { EVENT, FLAG } from '../../src/events/wire.gen.ts';
import type { Step } from '../../src/scenario/types.ts';

const UNKNOWN: ReadonlySet<PointName | undefined> = new Set([
  'vfio.device.kvm_capture',
  'vfio.device.kvm_drop',
  'kvm.get_safe',
]);

/** 6.1: the core copies the VM of the group in the course of the first open, and forgets it at the last close. */
export function asOnLinux61(steps: readonly Step[]): Step[] {
  return steps.flatMap((step) => {
    if (!(step instanceof Uint8Array)) return step;
    const event = new EventCursor(step.buffer as ArrayBuffer);
    const point = pointName(event.point);
    if (UNKNOWN.has(point)) return [];
    if (point === 'vfio.device.open') {
      return event.isEnd && event.ret === 0 ? step : withoutFile(withoutVm(step));
    }
    const isLastClose = point === 'vfio.device.close' && event.isEnd && event.openCount === 0;
    return isLastClose ? withoutVm(step) : step;
  });
}

/**
 * 5.10: no record shows how often a device is open, or its VM. An open is emitted when the request
 * for it returns, and only when it succeeded.
 */
export function asOnLinux510(steps: readonly Step[]): Step[] {
  const begun = new Map<number, Step>();
  return steps.flatMap((step) => {
    if (!(step instanceof Uint8Array)) return step;
    const event = new EventCursor(step.buffer as ArrayBuffer);
    const point = pointName(event.point);
    if (UNKNOWN.has(point) || point === 'vfio.init') return [];
    const uncounted = withoutCount(step);
    if (point === 'vfio.device.close') return withoutVm(uncounted);
    if (point !== 'vfio.device.open') return uncounted;
    if (!event.isEnd) {
      begun.set(event.tid, withoutVm(uncounted));
      return [];
    }
    const begin = begun.get(event.tid);
    return event.ret === 0 && begin ? [begin, withoutVm(uncounted)] : [];
  });
}

function withoutVm(step: Uint8Array): Uint8Array {
  return changed(step, (view) => {
    view.setBigUint64(EVENT.kvm, 0n, true);
    view.setInt32(EVENT.users_count, -1, true);
    view.setUint8(EVENT.flags, view.getUint8(EVENT.flags) & ~FLAG.EVENT_FOREIGN);
  });
}

function withoutFile(step: Uint8Array): Uint8Array {
  return changed(step, (view) => view.setBigUint64(EVENT.file, 0n, true));
}

function withoutCount(step: Uint8Array): Uint8Array {
  return changed(step, (view) => view.setInt32(EVENT.open_count, -1, true));
}

function changed(step: Uint8Array, change: (view: DataView) => void): Uint8Array {
  const copy = step.slice();
  change(new DataView(copy.buffer));
  return copy;
}
