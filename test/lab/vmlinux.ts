// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises';
import { zstdDecompressSync } from 'node:zlib';

import { command } from './command.ts';
import { LabError } from './errors.ts';

// Offsets in the x86 boot protocol's header, Documentation/arch/x86/boot.rst.
const SETUP_SECTORS = 0x1f1;
const MAGIC = 0x202;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

const SECTOR = 512;
/** The build appends the uncompressed size. */
const SIZE_FIELD = 4;

const XZ = Buffer.from('fd377a585a00', 'hex');
const ZSTD = Buffer.from('28b52ffd', 'hex');

/** The compressed kernel inside a bzImage. */
export function kernelPayload(image: Buffer): Buffer {
  if (image.toString('latin1', MAGIC, MAGIC + 4) !== 'HdrS') {
    throw new LabError('the kernel image is not an x86 bzImage');
  }
  const start = (image.readUInt8(SETUP_SECTORS) + 1) * SECTOR + image.readUInt32LE(PAYLOAD_OFFSET);
  return image.subarray(start, start + image.readUInt32LE(PAYLOAD_LENGTH));
}

/**
 * Unpacks the ELF file out of a bzImage into `target`. QEMU starts it directly (PVH), which saves
 * the emulated CPU the firmware and the unpacking: 0.8 s of a boot.
 */
export async function extractVmlinux(
  image: string,
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  const payload = kernelPayload(await readFile(image));
  const data = payload.subarray(0, payload.length - SIZE_FIELD);
  if (data.indexOf(ZSTD) === 0) {
    await writeFile(target, zstdDecompressSync(data));
  } else if (data.indexOf(XZ) === 0) {
    await writeFile(`${target}.xz`, data);
    await command('xz', ['--decompress', `${target}.xz`], { signal });
  } else {
    const magic = data.toString('hex', 0, XZ.length);
    throw new LabError(`${image} is compressed in an unknown way (begins with ${magic})`);
  }
}
