/** What the records of a look at the host have in `ret`: enum seen and device_state of bpf/event.h. */

/** Of the end of a look: what could be looked at. */
export const SEEN = { sysfs: 1, files: 2, debugfs: 4 } as const;

/** Of a device: what sysfs shows of its state. */
export const DEVICE = { removable: 1, leaving: 2 } as const;
