/**
 * The sweep of calls in flight at the end of a host snapshot. The event of a call's return may have
 * been lost. Whether the call is still in flight then shows only in the object that it concerns: a
 * device that is still being removed, for example.
 */
import { type PointName, pointName } from '../events/points.ts';
import type { Call } from './calls.ts';
import type { Device, Open, Parent, Vm } from './objects.ts';
import { mayHaveEnded } from './reconcile.ts';
import type { Snapshot, World } from './world.ts';

type Tracked = Parent | Device | Open | Vm;

/**
 * For each point, whether the state of its object shows that the call has not returned. For points that
 * are missing here, no state shows it.
 */
const IS_IN_FLIGHT: Partial<Record<PointName, (call: Call, snapshot: Snapshot) => boolean>> = {
  'mdev.parent.register': ({ parent }, snapshot) => isStill(parent, 'registering', snapshot),
  'mdev.parent.unregister': ({ parent }, snapshot) => isStill(parent, 'unregistering', snapshot),
  'mdev.create': ({ device }, snapshot) => isStill(device, 'creating', snapshot),
  'mdev.probe': ({ device }, snapshot) => isStill(device, 'creating', snapshot),
  'mdev.remove': ({ device }, snapshot) => isStill(device, 'removing', snapshot),
  'mdev.remove_child': ({ device }, snapshot) => isStill(device, 'removing', snapshot),
  'mdev.unbind': ({ device }, snapshot) => isStill(device, 'removing', snapshot),
  'vfio.unregister': ({ device }, snapshot) =>
    device?.unregisteredAt === 0 && isStill(device, 'removing', snapshot),
  'vfio.device.get_fd': ({ request }, snapshot) => isStill(request?.open, 'opening', snapshot),
  'vfio.cdev.bind': ({ request }, snapshot) => isStill(request?.open, 'opening', snapshot),
  'vfio.device.open': ({ open }, snapshot) => isStill(open, 'opening', snapshot),
  'vfio.device.close': ({ open }, snapshot) => isStill(open, 'closing', snapshot),
  'kvm.vm.create': ({ vm }, snapshot) => isStill(vm, 'creating', snapshot),
  'kvm.vm.destroy': ({ vm }, snapshot) => isStill(vm, 'destroying', snapshot),
  'kvm.vm.init': ({ vm }, snapshot) => isStill(vm, 'creating', snapshot),
};

/** Whether the object is in the state that it has only while the call is in flight. */
function isStill(
  object: Tracked | undefined,
  state: Tracked['state'],
  snapshot: Snapshot,
): boolean {
  return object?.state === state && !mayHaveEnded(object, snapshot);
}

/**
 * Removes the calls whose ends may have been lost, except for those that an object's state shows to be in
 * flight.
 */
export function sweepCalls({ calls }: World, snapshot: Snapshot): void {
  calls.sweep((call) => {
    const mayHaveReturned = call.losses < snapshot.losses && call.began < snapshot.began;
    if (!mayHaveReturned) return false;
    const point = pointName(call.point);
    const isInFlight = point && IS_IN_FLIGHT[point]?.(call, snapshot);
    if (isInFlight) call.losses = snapshot.losses;
    return !isInFlight;
  });
}
