/** The states of tracked objects; automata.ts has the transitions between them. */

export type ParentState = 'registering' | 'registered' | 'unregistering' | 'gone';

/**
 * creating: the write to `create` has not returned. bound: usable, and no file of it is open. open: at
 * least one file of it is open. removing: it is being removed, perhaps waiting for its users. unbound:
 * it is on its bus without a driver. released: it is freed. failed: its creation failed.
 */
export type DeviceState =
  | 'creating'
  | 'bound'
  | 'open'
  | 'removing'
  | 'unbound'
  | 'released'
  | 'failed';

/**
 * The state of a device as it is shown. opening: no file of it is open yet, and an open is in progress.
 * closing: its last file is being closed. binding: its driver is setting it up, outside of a creation.
 * removed: its removal has returned, or its creation has failed, but something keeps it from being freed.
 */
export type ShownDeviceState = DeviceState | 'opening' | 'closing' | 'binding' | 'removed';

/**
 * The state of a device in the VFIO core. none: it has no vfio_device yet. initialised: its vfio_device
 * exists. unregistering: its unregistration has begun, and may be waiting for users. released: its
 * vfio_device is freed.
 */
export type VfioState =
  | 'none'
  | 'initialised'
  | 'registered'
  | 'unregistering'
  | 'unregistered'
  | 'released';

/**
 * How a removal or an unregistration is known: from its begin, from the stack of the thread that is in it, or
 * only because that thread can be in no other.
 */
export type KnownBy = 'begin' | 'stack' | 'elimination';

export type OpenState = 'opening' | 'open' | 'closing' | 'closed' | 'failed';

/**
 * unbound: it keeps its device registered, which is not open by it. bound: it is bound to an iommufd context,
 * and the device is open. attached: the device is also attached to an address space, and can do DMA.
 */
export type CdevState =
  | 'opening'
  | 'unbound'
  | 'bound'
  | 'attached'
  | 'closing'
  | 'closed'
  | 'failed';

/**
 * zombie: its last file descriptor is closed, but something still holds a reference on it. destroying: its
 * last reference is put, and KVM tears it down. destroyed: it ended, if only because KVM was unloaded.
 */
export type VmState = 'creating' | 'running' | 'zombie' | 'destroying' | 'destroyed' | 'failed';
