// Generated from bpf/event.h by test/generate/wire.ts. Do not edit.
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
  uid: 108,
} as const;

/** Byte offsets in `struct named_event`, behind the event. */
export const NAMES = {
  uuid: 112,
  device: 128,
  bus: 168,
  type: 184,
  parent: 224,
  driver: 264,
  inode: 304,
  fd: 312,
  covered: 316,
  device_state: 318,
} as const;

/** Byte offsets in `struct cpu_counters`. */
export const CPU_COUNTERS = {
  attempts: 0,
  dropped: 8,
  calls_full: 16,
  unreadable: 24,
  reserved: 32,
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
  MDEV_DRIVER_UNREGISTER: 9,
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
  VFIO_INIT: 27,
  VFIO_GROUP_CLOSE: 28,
  VFIO_GROUP_UNSET_CONTAINER: 29,
  VFIO_GROUP_DETACH: 30,
  VFIO_GROUP_NOTIFY: 31,
  KVM_VM_CREATE: 32,
  KVM_VM_INIT: 33,
  KVM_VM_DESTROY: 34,
  KVM_VM_FD_CLOSE: 35,
  KVM_GET: 36,
  KVM_GET_SAFE: 37,
  KVM_PUT: 38,
  MODULE_LOAD: 48,
  MODULE_UNLOAD: 49,
  SNAPSHOT_RUN: 56,
  SNAPSHOT_PARENT: 57,
  SNAPSHOT_DEVICE: 58,
  SNAPSHOT_OPEN: 59,
  SNAPSHOT_GROUP: 60,
  SNAPSHOT_VM: 61,
  SNAPSHOT_VM_FILE: 62,
  SNAPSHOT_VM_ENTRY: 63,
  SNAPSHOT_REMOVAL: 65,
  SNAPSHOT_UNREGISTER: 66,
  VFIO_DMA_MAP: 64,
  VFIO_CDEV_OPEN: 67,
  VFIO_CDEV_CLOSE: 68,
  VFIO_CDEV_SET_KVM: 69,
  VFIO_CDEV_BIND: 70,
  VFIO_CDEV_BLOCK_GROUP: 71,
  VFIO_CDEV_UNBIND: 72,
  VFIO_CDEV_ATTACH: 73,
  VFIO_CDEV_DETACH: 74,
  IOMMUFD_OPEN: 75,
  IOMMUFD_CLOSE: 76,
  SNAPSHOT_CDEV: 77,
  SNAPSHOT_IOMMUFD: 78,
} as const;

/** Numbers of points are below it. */
export const POINT_LIMIT = 256;

export const FLAG = {
  EVENT_END: 1,
  EVENT_EXITING: 2,
  EVENT_NAMED: 4,
  EVENT_SNAPSHOT: 8,
  EVENT_FOREIGN: 16,
  EVENT_ASKS: 32,
  EVENT_OPTIONS: 64,
} as const;

/** Bits of `covered`: the parts of the host that a snapshot could read. */
export const COVERED = {
  SYSFS: 1,
  FILES: 2,
  DEBUGFS: 4,
  NO_KVM: 8,
} as const;

/** Bits of `device_state`: what sysfs shows of a device. */
export const DEVICE_STATE = {
  REMOVABLE: 1,
  LEAVING: 2,
  WAITING: 4,
  IN_DRIVER: 8,
  INFERRED: 16,
  BOUND: 32,
  ATTACHED: 64,
} as const;

/**
 * The numbers of the record at hand. Offsets are written out, because reading them
 * from an object for each field of each record would double the cost of both.
 */
export class EventFields {
  readonly words: Int32Array;
  protected readonly u8: Uint8Array;
  /** Index of the record's first 32-bit word. */
  word = 0;

  /** @param start bytes into `buffer` where position 0 is, a multiple of 8 */
  constructor(buffer: ArrayBuffer, start = 0) {
    this.words = new Int32Array(buffer, start);
    this.u8 = new Uint8Array(buffer, start);
  }

  get time(): number {
    return (this.words[this.word] >>> 0) + (this.words[this.word + 1] >>> 0) * 4294967296;
  }

  get seq(): number {
    return this.words[this.word + 2] >>> 0;
  }

  get cpu(): number {
    return (this.words[this.word + 3] >>> 0) & 65535;
  }

  get point(): number {
    return (this.words[this.word + 3] >>> 16) & 255;
  }

  get flags(): number {
    return (this.words[this.word + 3] >>> 24) & 255;
  }

  get pid(): number {
    return this.words[this.word + 4] >>> 0;
  }

  get tid(): number {
    return this.words[this.word + 5] >>> 0;
  }

  get ret(): number {
    return this.words[this.word + 10];
  }

  get openCount(): number {
    return this.words[this.word + 11];
  }

  get usersCount(): number {
    return this.words[this.word + 12];
  }

  get groupId(): number {
    return this.words[this.word + 13];
  }

  get dev(): number {
    return (this.words[this.word + 14] >>> 0) + (this.words[this.word + 15] >>> 0) * 4294967296;
  }

  get vdev(): number {
    return (this.words[this.word + 16] >>> 0) + (this.words[this.word + 17] >>> 0) * 4294967296;
  }

  get parent(): number {
    return (this.words[this.word + 18] >>> 0) + (this.words[this.word + 19] >>> 0) * 4294967296;
  }

  get kvm(): number {
    return (this.words[this.word + 20] >>> 0) + (this.words[this.word + 21] >>> 0) * 4294967296;
  }

  get file(): number {
    return (this.words[this.word + 22] >>> 0) + (this.words[this.word + 23] >>> 0) * 4294967296;
  }

  get cgroup(): number {
    return (this.words[this.word + 24] >>> 0) + (this.words[this.word + 25] >>> 0) * 4294967296;
  }

  get vmPid(): number {
    return this.words[this.word + 26];
  }

  get uid(): number {
    return this.words[this.word + 27] >>> 0;
  }
}

/** What a probe object's BTF must say for this decoder to read its records. */
export const WIRE: WireDescription = {
  "version": 4,
  "eventSize": 112,
  "namedSize": 320,
  "cpuCountersSize": 64,
  "pointLimit": 256,
  "event": [
    {
      "name": "time",
      "offset": 0,
      "size": 8,
      "signed": false
    },
    {
      "name": "seq",
      "offset": 8,
      "size": 4,
      "signed": false
    },
    {
      "name": "cpu",
      "offset": 12,
      "size": 2,
      "signed": false
    },
    {
      "name": "point",
      "offset": 14,
      "size": 1,
      "signed": false
    },
    {
      "name": "flags",
      "offset": 15,
      "size": 1,
      "signed": false
    },
    {
      "name": "pid",
      "offset": 16,
      "size": 4,
      "signed": false
    },
    {
      "name": "tid",
      "offset": 20,
      "size": 4,
      "signed": false
    },
    {
      "name": "comm",
      "offset": 24,
      "size": 16,
      "signed": false
    },
    {
      "name": "ret",
      "offset": 40,
      "size": 4,
      "signed": true
    },
    {
      "name": "open_count",
      "offset": 44,
      "size": 4,
      "signed": true
    },
    {
      "name": "users_count",
      "offset": 48,
      "size": 4,
      "signed": true
    },
    {
      "name": "group_id",
      "offset": 52,
      "size": 4,
      "signed": true
    },
    {
      "name": "dev",
      "offset": 56,
      "size": 8,
      "signed": false
    },
    {
      "name": "vdev",
      "offset": 64,
      "size": 8,
      "signed": false
    },
    {
      "name": "parent",
      "offset": 72,
      "size": 8,
      "signed": false
    },
    {
      "name": "kvm",
      "offset": 80,
      "size": 8,
      "signed": false
    },
    {
      "name": "file",
      "offset": 88,
      "size": 8,
      "signed": false
    },
    {
      "name": "cgroup",
      "offset": 96,
      "size": 8,
      "signed": false
    },
    {
      "name": "vm_pid",
      "offset": 104,
      "size": 4,
      "signed": true
    },
    {
      "name": "uid",
      "offset": 108,
      "size": 4,
      "signed": false
    }
  ],
  "names": [
    {
      "name": "uuid",
      "offset": 112,
      "size": 16,
      "signed": false
    },
    {
      "name": "device",
      "offset": 128,
      "size": 40,
      "signed": false
    },
    {
      "name": "bus",
      "offset": 168,
      "size": 16,
      "signed": false
    },
    {
      "name": "type",
      "offset": 184,
      "size": 40,
      "signed": false
    },
    {
      "name": "parent",
      "offset": 224,
      "size": 40,
      "signed": false
    },
    {
      "name": "driver",
      "offset": 264,
      "size": 40,
      "signed": false
    },
    {
      "name": "inode",
      "offset": 304,
      "size": 8,
      "signed": false
    },
    {
      "name": "fd",
      "offset": 312,
      "size": 4,
      "signed": true
    },
    {
      "name": "covered",
      "offset": 316,
      "size": 2,
      "signed": false
    },
    {
      "name": "device_state",
      "offset": 318,
      "size": 2,
      "signed": false
    }
  ],
  "cpuCounters": [
    {
      "name": "attempts",
      "offset": 0,
      "size": 8,
      "signed": false
    },
    {
      "name": "dropped",
      "offset": 8,
      "size": 8,
      "signed": false
    },
    {
      "name": "calls_full",
      "offset": 16,
      "size": 8,
      "signed": false
    },
    {
      "name": "unreadable",
      "offset": 24,
      "size": 8,
      "signed": false
    },
    {
      "name": "reserved",
      "offset": 32,
      "size": 32,
      "signed": false
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
    "MDEV_DRIVER_UNREGISTER": 9,
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
    "VFIO_INIT": 27,
    "VFIO_GROUP_CLOSE": 28,
    "VFIO_GROUP_UNSET_CONTAINER": 29,
    "VFIO_GROUP_DETACH": 30,
    "VFIO_GROUP_NOTIFY": 31,
    "KVM_VM_CREATE": 32,
    "KVM_VM_INIT": 33,
    "KVM_VM_DESTROY": 34,
    "KVM_VM_FD_CLOSE": 35,
    "KVM_GET": 36,
    "KVM_GET_SAFE": 37,
    "KVM_PUT": 38,
    "MODULE_LOAD": 48,
    "MODULE_UNLOAD": 49,
    "SNAPSHOT_RUN": 56,
    "SNAPSHOT_PARENT": 57,
    "SNAPSHOT_DEVICE": 58,
    "SNAPSHOT_OPEN": 59,
    "SNAPSHOT_GROUP": 60,
    "SNAPSHOT_VM": 61,
    "SNAPSHOT_VM_FILE": 62,
    "SNAPSHOT_VM_ENTRY": 63,
    "SNAPSHOT_REMOVAL": 65,
    "SNAPSHOT_UNREGISTER": 66,
    "VFIO_DMA_MAP": 64,
    "VFIO_CDEV_OPEN": 67,
    "VFIO_CDEV_CLOSE": 68,
    "VFIO_CDEV_SET_KVM": 69,
    "VFIO_CDEV_BIND": 70,
    "VFIO_CDEV_BLOCK_GROUP": 71,
    "VFIO_CDEV_UNBIND": 72,
    "VFIO_CDEV_ATTACH": 73,
    "VFIO_CDEV_DETACH": 74,
    "IOMMUFD_OPEN": 75,
    "IOMMUFD_CLOSE": 76,
    "SNAPSHOT_CDEV": 77,
    "SNAPSHOT_IOMMUFD": 78
  },
  "flags": {
    "EVENT_END": 1,
    "EVENT_EXITING": 2,
    "EVENT_NAMED": 4,
    "EVENT_SNAPSHOT": 8,
    "EVENT_FOREIGN": 16,
    "EVENT_ASKS": 32,
    "EVENT_OPTIONS": 64
  },
  "coverage": {
    "COVERED_SYSFS": 1,
    "COVERED_FILES": 2,
    "COVERED_DEBUGFS": 4,
    "COVERED_NO_KVM": 8
  },
  "deviceStates": {
    "DEVICE_REMOVABLE": 1,
    "DEVICE_LEAVING": 2,
    "DEVICE_WAITING": 4,
    "DEVICE_IN_DRIVER": 8,
    "DEVICE_INFERRED": 16,
    "DEVICE_BOUND": 32,
    "DEVICE_ATTACHED": 64
  }
};
