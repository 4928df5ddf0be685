// SPDX-License-Identifier: Apache-2.0
//
// The "newc" archive format of initramfs images: Documentation/driver-api/early-userspace/buffer-format.rst.

const ALIGNMENT = 4;
const DIRECTORY = 0o040755;
const REGULAR = 0o100000;
const CHARACTER_DEVICE = 0o020600;

export type CpioEntry =
  | { path: string; directory: true }
  | { path: string; content: Buffer; mode: number }
  | { path: string; device: { major: number; minor: number } };

/** Archives the entries in their order; a directory has to come before what is in it. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const records = entries.map((entry, index) => record(entry, index + 1));
  return Buffer.concat([
    ...records,
    record({ path: 'TRAILER!!!', content: Buffer.alloc(0), mode: 0 }, 0),
  ]);
}

function record(entry: CpioEntry, inode: number): Buffer {
  const content = 'content' in entry ? entry.content : Buffer.alloc(0);
  const device = 'device' in entry ? entry.device : { major: 0, minor: 0 };
  const fields = [
    inode,
    modeOf(entry),
    0, // uid
    0, // gid
    'directory' in entry ? 2 : 1, // links
    0, // modification time
    content.length,
    0, // major and minor number of the device that holds the file
    0,
    device.major,
    device.minor,
    Buffer.byteLength(entry.path) + 1,
    0, // checksum, not used by newc
  ];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([padded(Buffer.from(`${header}${entry.path}\0`)), padded(content)]);
}

function modeOf(entry: CpioEntry): number {
  if ('directory' in entry) {
    return DIRECTORY;
  }
  return 'device' in entry ? CHARACTER_DEVICE : REGULAR | entry.mode;
}

function padded(bytes: Buffer): Buffer {
  const rest = bytes.length % ALIGNMENT;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(ALIGNMENT - rest)]);
}
