/**
 * Device cdevs: drivers/vfio/device_cdev.c, and the part of vfio_main.c that closes files.
 *
 * The order of events is: cdev.open begin → end, perhaps cdev.set_kvm; then for a bind cdev.bind begin →
 * block_group begin → end → kvm_capture → device.open begin → end → cdev.bind end, cdev.attach begin → end;
 * where the open of the device fails, also because another file is bound, kvm_drop comes before cdev.bind end;
 * for a close cdev.close begin → unbind → device.close begin → end → kvm_drop → cdev.close end.
 */
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { EVENT } from '../events/wire.gen.ts';
import { CDEV } from './automata.ts';
import type { Handlers } from './handler.ts';
import { contextOf } from './iommufds.ts';
import { vmOf } from './kvm.ts';
import { Cdev, type Device } from './objects.ts';
import { including } from './related.ts';
import { next } from './step.ts';
import type { Transition } from './transition.ts';
import { deviceOf } from './vfio.ts';
import type { World } from './world.ts';

const KEY_FILE = EVENT.file >> 2;

/** Adds a cdev that this thread opens, or that was open before. Its opener is the task of the event. */
export function addCdev(world: World, device: Device, event: EventCursor, adopted: boolean): Cdev {
  const cdev = new Cdev(device, taskOf(event), event.time, adopted, world.losses);
  if (event.has(EVENT.file)) world.cdevs.addWithKey(cdev, event, KEY_FILE);
  else world.cdevs.add(cdev);
  if (event.isNamed) cdev.node = event.name('type');
  device.cdevs = including(device.cdevs, cdev);
  return cdev;
}

/**
 * The cdev that the event is about, and its device. It is adopted if this is the first event about it.
 * @param state what it must be, as it is adopted
 */
function cdevOf(
  world: World,
  event: EventCursor,
  transition: Transition,
  state: Cdev['state'],
): Cdev | undefined {
  const device = deviceOf(world, event);
  let cdev = world.cdevs.find(event, KEY_FILE);
  if (!cdev && device && event.has(EVENT.file)) {
    cdev = addCdev(world, device, event, true);
    cdev.state = state;
  }
  transition.cdev = cdev;
  transition.device = cdev?.device ?? device;
  transition.device?.timeline.add(event, device?.vm?.serial ?? 0);
  return cdev;
}

/** The cdev that this thread is opening, whose file the kernel has not made before the open returns. */
function openingBy(device: Device | undefined, tid: number): Cdev | undefined {
  return device?.cdevs.find(({ state, opener }) => state === 'opening' && opener.tid === tid);
}

export const CDEV_HANDLERS: Handlers = {
  'vfio.cdev.open:begin'(world, event, transition) {
    const device = deviceOf(world, event);
    if (!device) return;
    device.timeline.add(event, 0);
    transition.device = device;
    transition.cdev = addCdev(world, device, event, false);
  },

  'vfio.cdev.open:end'(world, event, transition) {
    const device = deviceOf(world, event);
    if (!device) return;
    device.timeline.add(event, 0);
    transition.device = device;
    const begun = openingBy(device, event.tid);
    if (event.ret < 0) {
      if (!begun) return;
      transition.cdev = begun;
      begun.state = next(CDEV, begun.state, 'open fails', begun, transition);
      begun.error = -event.ret;
      world.cdevs.end(begun);
    } else {
      if (begun && event.has(EVENT.file)) world.cdevs.setKey(begun, event, KEY_FILE);
      const cdev = begun ?? addCdev(world, device, event, true);
      transition.cdev = cdev;
      cdev.state = next(CDEV, cdev.state, 'opened', cdev, transition);
      cdev.openedAt = event.time;
    }
  },

  'vfio.cdev.set_kvm:begin'(world, event, transition) {
    const cdev = cdevOf(world, event, transition, 'unbound');
    transition.vm = vmOf(world, event);
    transition.vmBefore = cdev?.vm;
    transition.vm?.timeline.add(event, transition.vm.serial);
    if (!cdev) return;
    cdev.vm = transition.vm;
    cdev.vmSetAt = event.time;
  },

  'vfio.cdev.bind:begin'(world, event, transition) {
    const cdev = cdevOf(world, event, transition, 'unbound');
    if (!cdev) return;
    const { name, groupId } = cdev.device;
    transition.request = {
      ...{ name, cdev, groupId, hasOptions: false, task: taskOf(event), began: event.time },
      ...{ open: undefined, openError: 0, groupError: 0, hasBlockedGroup: false },
    };
  },

  'vfio.cdev.bind:end'(world, event, transition) {
    const cdev = cdevOf(world, event, transition, 'unbound');
    transition.request = transition.call?.request;
    transition.open = transition.request?.open;
    if (!cdev) return;
    if (event.ret < 0) {
      cdev.bindError = -event.ret;
      return;
    }
    cdev.state = next(CDEV, cdev.state, 'bound', cdev, transition);
    cdev.binder = taskOf(event);
    cdev.boundAt = event.time;
    cdev.iommufd = contextOf(world, event);
    transition.iommufd = cdev.iommufd;
  },

  'vfio.cdev.block_group:begin': blockGroup,
  'vfio.cdev.block_group:end'(world, event, transition) {
    blockGroup(world, event, transition);
    const request = world.calls.requestOf(event.tid);
    if (!request) return;
    if (event.ret < 0) request.groupError = -event.ret;
    else request.hasBlockedGroup = true;
  },

  'vfio.cdev.attach:begin'(world, event, transition) {
    cdevOf(world, event, transition, 'bound');
  },

  'vfio.cdev.attach:end'(world, event, transition) {
    const cdev = cdevOf(world, event, transition, 'bound');
    if (!cdev) return;
    if (event.ret < 0) {
      cdev.attachError = -event.ret;
      return;
    }
    cdev.state = next(CDEV, cdev.state, 'attached', cdev, transition);
    cdev.attachedAt = event.time;
  },

  'vfio.cdev.detach:begin'(world, event, transition) {
    cdevOf(world, event, transition, 'bound');
  },

  'vfio.cdev.detach:end'(world, event, transition) {
    const cdev = cdevOf(world, event, transition, 'bound');
    if (!cdev || event.ret < 0) return;
    cdev.state = next(CDEV, cdev.state, 'detached', cdev, transition);
  },

  'vfio.cdev.unbind:begin'(world, event, transition) {
    cdevOf(world, event, transition, 'closing');
  },

  'vfio.cdev.close:begin'(world, event, transition) {
    const cdev = cdevOf(world, event, transition, 'unbound');
    if (!cdev) return;
    cdev.state = next(CDEV, cdev.state, 'close begins', cdev, transition);
    cdev.closeBegan = event.time;
    if (world.snapshot?.pid === event.pid) world.snapshot.delayedCloses.add(cdev.device);
  },

  'vfio.cdev.close:end'(world, event, transition) {
    const cdev = world.cdevs.find(event, KEY_FILE);
    transition.cdev = cdev;
    transition.device = cdev?.device ?? transition.call?.device;
    // The close has let a removal continue, which may have freed the device by now.
    if (!cdev) return;
    cdev.device.timeline.add(event, 0);
    cdev.state = next(CDEV, cdev.state, 'close ends', cdev, transition);
    cdev.closedAt = event.time;
    world.cdevs.end(cdev);
  },
};

function blockGroup(world: World, event: EventCursor, transition: Transition): void {
  transition.device = deviceOf(world, event);
  transition.group = world.groups.get(event.groupId);
  transition.device?.timeline.add(event, 0);
}
