import { constants } from 'node:os';

/** The errnos that the calls we watch are known to return, by number: asm-generic/errno*.h. */
const NAMES: Readonly<Record<number, string>> = {
  // A driver may return any; where a number has two names, the one below is the kernel's.
  ...Object.fromEntries(Object.entries(constants.errno).map(([name, errno]) => [errno, name])),
  1: 'EPERM',
  2: 'ENOENT',
  3: 'ESRCH',
  4: 'EINTR',
  5: 'EIO',
  9: 'EBADF',
  11: 'EAGAIN',
  12: 'ENOMEM',
  13: 'EACCES',
  14: 'EFAULT',
  16: 'EBUSY',
  17: 'EEXIST',
  19: 'ENODEV',
  22: 'EINVAL',
  23: 'ENFILE',
  24: 'EMFILE',
  25: 'ENOTTY',
  28: 'ENOSPC',
  77: 'EBADFD',
  87: 'EUSERS',
  95: 'EOPNOTSUPP',
  512: 'ERESTARTSYS',
  517: 'EPROBE_DEFER',
};

export const EPERM = 1;
export const ENOENT = 2;
export const ESRCH = 3;
export const EIO = 5;
export const E2BIG = 7;
export const EBADF = 9;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const ENOSPC = 28;
export const EBADFD = 77;
export const EUSERS = 87;
export const EADDRINUSE = 98;
/** Internal to the kernel: user space gets EAGAIN. */
export const EPROBE_DEFER = 517;

/**
 * The name of an error.
 * @param errno positive
 * @param unknown what a number without a name is called
 */
export function errnoName(errno: number, unknown = `errno ${errno}`): string {
  return NAMES[errno] ?? unknown;
}
