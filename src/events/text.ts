/**
 * Texts out of records. The same few names come again and again (drivers, types,
 * parents, commands), so the latest are kept and found by their bytes: a known
 * text costs a comparison instead of a new string.
 */
import { plain } from '../plain.ts';

const SLOTS = 1024;
/** The longest name, in 32-bit words. */
const WIDTH = 10;

const known = new Int32Array(SLOTS * WIDTH);
const texts: string[] = new Array(SLOTS).fill('');

/**
 * The text in front of the first NUL, or all of it; what could steer a terminal or deceive a reader becomes "?".
 * @param at index of the first word
 * @param length words, at most 10; unused bytes are 0
 */
export function textOf(words: Int32Array, at: number, length: number): string {
  let hash = 0;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ words[at + i], 0x9e3779b1);
  const slot = hash >>> 22;
  const start = slot * WIDTH;
  let same = true;
  for (let i = 0; i < length; i++) same &&= known[start + i] === words[at + i];
  for (let i = length; i < WIDTH; i++) same &&= known[start + i] === 0;
  if (same) return texts[slot];
  for (let i = 0; i < length; i++) known[start + i] = words[at + i];
  known.fill(0, start + length, start + WIDTH);
  const bytes = Buffer.from(words.buffer, words.byteOffset + at * 4, length * 4);
  const end = bytes.indexOf(0);
  texts[slot] = plain(bytes.toString('utf8', 0, end < 0 ? bytes.length : end));
  return texts[slot];
}

const HEX = Buffer.from('0123456789abcdef');
const DASH = 45;
/** Where each byte of a UUID's text stands in a guid_t, which mixes byte orders: lib/uuid.c. */
export const GUID_ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
/** Where the digits of each byte go. */
const GUID_PLACES = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
const guid = Buffer.alloc(36, DASH);

/** @param start index of the first byte of a guid_t */
export function guidOf(bytes: Uint8Array, start: number): string {
  for (let i = 0; i < 16; i++) {
    const byte = bytes[start + GUID_ORDER[i]];
    guid[GUID_PLACES[i]] = HEX[byte >> 4];
    guid[GUID_PLACES[i] + 1] = HEX[byte & 15];
  }
  return guid.toString('latin1', 0, 36);
}
