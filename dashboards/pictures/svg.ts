// SPDX-License-Identifier: Apache-2.0
/** Text and shapes as SVG, and the colours of Grafana's dark theme. */

/** px on a picture, in the text of a panel. */
export const FONT = 12;
/** The mean width of a character of the font, as a share of its height. */
const CHARACTER = 0.6;

export const COLOURS = {
  page: '#111217',
  panel: '#181b1f',
  border: '#2c3235',
  grid: '#2a2d33',
  text: '#d0d0dc',
  faint: '#8e8e9e',
  link: '#6e9fff',
} as const;

const NAMED: Readonly<Record<string, string>> = {
  blue: '#5794f2',
  green: '#73bf69',
  orange: '#ff9830',
  purple: '#b877d9',
  red: '#f2495c',
  yellow: '#fade2a',
};

/** For series without a colour of their own; all of them can be read on a dark ground. */
const PALETTE = [
  ...['#73bf69', '#f2cc0c', '#8ab8ff', '#ff780a', '#f2495c', '#5794f2', '#b877d9', '#37a2eb'],
  ...['#96d98d', '#ffa6b0', '#ca95e5', '#ffcb7d', '#4ecdc4', '#c0d8ff', '#d9a441', '#e05fa0'],
];

export function colour(name: string): string {
  return NAMED[name] ?? name;
}

/** A colour for each name: its own, or one that depends on the name and is not yet in use here. */
export function coloursOf(
  names: readonly (readonly [name: string, own: string | undefined])[],
): ReadonlyMap<string, string> {
  const colours = new Map<string, string>();
  const used = new Set<string>();
  for (const [name, own] of names) {
    let at = 0;
    for (const character of name) at = (at * 31 + character.charCodeAt(0)) >>> 0;
    const free = PALETTE.findIndex((_, i) => !used.has(PALETTE[(at + i) % PALETTE.length]));
    const chosen = own ? colour(own) : PALETTE[(at + Math.max(0, free)) % PALETTE.length];
    colours.set(name, chosen);
    used.add(chosen);
  }
  return colours;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface TextOptions {
  readonly size?: number;
  readonly fill?: string;
  readonly anchor?: 'start' | 'middle' | 'end';
  readonly underline?: boolean;
}

/** @param y of the line that the text stands on */
export function text(x: number, y: number, content: string, options: TextOptions = {}): string {
  const { size = FONT, fill = COLOURS.text, anchor = 'start', underline = false } = options;
  const decoration = underline ? ' text-decoration="underline"' : '';
  return (
    `<text x="${round(x)}" y="${round(y)}" font-size="${size}" fill="${fill}" ` +
    `text-anchor="${anchor}"${decoration}>${escaped(content)}</text>`
  );
}

export function rectangle(
  x: number,
  y: number,
  { width, height }: Size,
  fill: string,
  more = '',
): string {
  return `<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" fill="${fill}" ${more}/>`;
}

export function line(points: readonly (readonly [x: number, y: number])[], more: string): string {
  const places = points.map(([x, y]) => `${round(x)},${round(y)}`).join(' ');
  return `<polyline points="${places}" fill="none" ${more}/>`;
}

/** A part of a picture with coordinates of its own; what does not fit is cut off. */
export function part(x: number, y: number, { width, height }: Size, content: string): string {
  return (
    `<svg x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" ` +
    `overflow="hidden">${content}</svg>`
  );
}

/** About how wide a text is. */
export function widthOf(content: string, size = FONT): number {
  return content.length * size * CHARACTER;
}

/** A text that fits into so many px. */
export function fitting(content: string, width: number, size = FONT): string {
  const characters = Math.floor(width / (size * CHARACTER));
  return content.length <= characters
    ? content
    : `${content.slice(0, Math.max(0, characters - 1))}…`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
