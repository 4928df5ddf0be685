/** How the kernel stores the texts that records carry. */

const decoder = new TextDecoder();

/** The text in front of the first NUL, or all of it. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Where each byte of a UUID's text stands in a guid_t, which mixes byte orders: lib/uuid.c. */
export const GUID_ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
