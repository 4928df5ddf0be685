// Generated from bpf/event.h by generate-wire.ts. Do not edit.
import type { WireDescription } from './wire-description.ts';

/** Byte offsets in `struct event`. */
export const EVENT = {
  time: 0,
  seq: 8,
  cpu: 12,
  point: 14,
  flags: 15,
  pid: 16,
  tid: 20,
  comm: 24,
  ret: 40,
  open_count: 44,
  users_count: 48,
  group_id: 52,
  dev: 56,
  vdev: 64,
  parent: 72,
  kvm: 80,
  file: 88,
  cgroup: 96,
  vm_pid: 104,
  reserved: 108,
} as const;

/** Byte offsets in `struct named_event`, behind the event. */
export const NAMES = {
  uuid: 112,
  device: 128,
  bus: 168,
  type: 184,
  parent: 224,
  driver: 264,
} as const;

/** Byte offsets in `struct lane`. */
export const LANE = {
  attempts: 0,
  dropped: 8,
  calls_full: 16,
  reserved: 24,
} as const;

export const POINT = {
  POINT_NONE: 0,
  MDEV_PARENT_REGISTER: 1,
  MDEV_PARENT_UNREGISTER: 2,
  MDEV_CREATE: 3,
  MDEV_PROBE: 4,
  MDEV_REMOVE: 5,
  MDEV_REMOVE_CHILD: 6,
  MDEV_UNBIND: 7,
  MDEV_RELEASE: 8,
  VFIO_REGISTER: 16,
  VFIO_REGISTER_EMULATED: 17,
  VFIO_UNREGISTER: 18,
  VFIO_RELEASE: 19,
  VFIO_GROUP_OPEN: 20,
  VFIO_GROUP_SET_KVM: 21,
  VFIO_DEVICE_GET_FD: 22,
  VFIO_DEVICE_OPEN: 23,
  VFIO_DEVICE_CLOSE: 24,
  VFIO_DEVICE_KVM_CAPTURE: 25,
  VFIO_DEVICE_KVM_DROP: 26,
  KVM_VM_CREATE: 32,
  KVM_VM_INIT: 33,
  KVM_VM_DESTROY: 34,
  KVM_VM_FD_CLOSE: 35,
  KVM_GET: 36,
  KVM_GET_SAFE: 37,
  KVM_PUT: 38,
  MODULE_LOAD: 48,
  POINT_COUNT: 64,
} as const;

export const FLAG = {
  EVENT_END: 1,
  EVENT_EXITING: 2,
  EVENT_NAMED: 4,
} as const;

/** What a probe object's BTF must say for this decoder to read its records. */
export const WIRE: WireDescription = {
  "version": 1,
  "eventSize": 112,
  "namedSize": 304,
  "laneSize": 64,
  "event": [
    {
      "name": "time",
      "offset": 0,
      "size": 8
    },
    {
      "name": "seq",
      "offset": 8,
      "size": 4
    },
    {
      "name": "cpu",
      "offset": 12,
      "size": 2
    },
    {
      "name": "point",
      "offset": 14,
      "size": 1
    },
    {
      "name": "flags",
      "offset": 15,
      "size": 1
    },
    {
      "name": "pid",
      "offset": 16,
      "size": 4
    },
    {
      "name": "tid",
      "offset": 20,
      "size": 4
    },
    {
      "name": "comm",
      "offset": 24,
      "size": 16
    },
    {
      "name": "ret",
      "offset": 40,
      "size": 4
    },
    {
      "name": "open_count",
      "offset": 44,
      "size": 4
    },
    {
      "name": "users_count",
      "offset": 48,
      "size": 4
    },
    {
      "name": "group_id",
      "offset": 52,
      "size": 4
    },
    {
      "name": "dev",
      "offset": 56,
      "size": 8
    },
    {
      "name": "vdev",
      "offset": 64,
      "size": 8
    },
    {
      "name": "parent",
      "offset": 72,
      "size": 8
    },
    {
      "name": "kvm",
      "offset": 80,
      "size": 8
    },
    {
      "name": "file",
      "offset": 88,
      "size": 8
    },
    {
      "name": "cgroup",
      "offset": 96,
      "size": 8
    },
    {
      "name": "vm_pid",
      "offset": 104,
      "size": 4
    },
    {
      "name": "reserved",
      "offset": 108,
      "size": 4
    }
  ],
  "names": [
    {
      "name": "uuid",
      "offset": 112,
      "size": 16
    },
    {
      "name": "device",
      "offset": 128,
      "size": 40
    },
    {
      "name": "bus",
      "offset": 168,
      "size": 16
    },
    {
      "name": "type",
      "offset": 184,
      "size": 40
    },
    {
      "name": "parent",
      "offset": 224,
      "size": 40
    },
    {
      "name": "driver",
      "offset": 264,
      "size": 40
    }
  ],
  "lane": [
    {
      "name": "attempts",
      "offset": 0,
      "size": 8
    },
    {
      "name": "dropped",
      "offset": 8,
      "size": 8
    },
    {
      "name": "calls_full",
      "offset": 16,
      "size": 8
    },
    {
      "name": "reserved",
      "offset": 24,
      "size": 40
    }
  ],
  "points": {
    "POINT_NONE": 0,
    "MDEV_PARENT_REGISTER": 1,
    "MDEV_PARENT_UNREGISTER": 2,
    "MDEV_CREATE": 3,
    "MDEV_PROBE": 4,
    "MDEV_REMOVE": 5,
    "MDEV_REMOVE_CHILD": 6,
    "MDEV_UNBIND": 7,
    "MDEV_RELEASE": 8,
    "VFIO_REGISTER": 16,
    "VFIO_REGISTER_EMULATED": 17,
    "VFIO_UNREGISTER": 18,
    "VFIO_RELEASE": 19,
    "VFIO_GROUP_OPEN": 20,
    "VFIO_GROUP_SET_KVM": 21,
    "VFIO_DEVICE_GET_FD": 22,
    "VFIO_DEVICE_OPEN": 23,
    "VFIO_DEVICE_CLOSE": 24,
    "VFIO_DEVICE_KVM_CAPTURE": 25,
    "VFIO_DEVICE_KVM_DROP": 26,
    "KVM_VM_CREATE": 32,
    "KVM_VM_INIT": 33,
    "KVM_VM_DESTROY": 34,
    "KVM_VM_FD_CLOSE": 35,
    "KVM_GET": 36,
    "KVM_GET_SAFE": 37,
    "KVM_PUT": 38,
    "MODULE_LOAD": 48,
    "POINT_COUNT": 64
  },
  "flags": {
    "EVENT_END": 1,
    "EVENT_EXITING": 2,
    "EVENT_NAMED": 4
  }
};
