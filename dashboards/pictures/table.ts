// SPDX-License-Identifier: Apache-2.0
/** Tables: the answers to several queries joined, as the transformations of the panel say. */
import type { Answered } from './answers.ts';
import type { Drawn } from './drawn.ts';
import { type FieldOptions, optionsOf } from './overrides.ts';
import { COLOURS, FONT, fitting, line, text, widthOf } from './svg.ts';
import { mapping, shown } from './values.ts';

/** px of a row. */
const ROW = 28;
const GAP = 16;

/** A row by the names of its fields, before they are renamed. */
type Row = Map<string, string | number>;

interface Organised {
  readonly excludeByName: Readonly<Record<string, boolean>>;
  readonly indexByName: Readonly<Record<string, number>>;
  readonly renameByName: Readonly<Record<string, string>>;
}

interface Column {
  readonly field: string;
  readonly name: string;
  readonly options: FieldOptions;
}

interface Cell {
  readonly content: string;
  readonly fill: string;
}

export function drawTable({ panel, answers, size }: Drawn): string {
  const organised = panel.transformations?.find(({ id }) => id === 'organize');
  if (!organised) throw new Error(`the table "${panel.title}" does not say what its columns are`);
  const { excludeByName, indexByName, renameByName } = organised.options as Organised;
  const columns: Column[] = Object.entries(indexByName)
    .toSorted(([, a], [, b]) => a - b)
    .filter(([field]) => !excludeByName[field])
    .map(([field]) => {
      const name = renameByName[field] ?? field;
      return { field, name, options: optionsOf(panel, name) };
    });
  const sorts = (panel.options?.sortBy ?? []) as { displayName: string; desc: boolean }[];
  const rows = merged(answers);
  // Sorting keeps the order of equal rows, so the most important column comes last.
  for (const { displayName, desc } of sorts.toReversed()) {
    const by = columns.find(({ name }) => name === displayName)?.field;
    if (!by) continue;
    const value = (row: Row) => (Number(row.get(by)) || 0) * (desc ? -1 : 1);
    rows.sort((a, b) => value(a) - value(b));
  }
  const shownRows = rows.slice(0, Math.max(0, Math.floor(size.height / ROW) - 1));
  const cells = shownRows.map((row) =>
    columns.map((column) => cellOf(row.get(column.field), column)),
  );
  const widths = widthsOf(columns, cells, size.width);
  let content = '';
  let x = 0;
  for (const [i, { name, options }] of columns.entries()) {
    content += text(x, 18, fitting(name, widths[i] - 6), { fill: COLOURS.link });
    for (const [j, row] of cells.entries()) {
      const { content: cell, fill } = row[i];
      const look = { fill, underline: options.isLink && cell !== '' };
      content += text(x, 18 + (j + 1) * ROW, fitting(cell, widths[i] - 6), look);
    }
    x += widths[i];
  }
  for (let i = 0; i <= cells.length; i++) {
    const y = 27 + i * ROW;
    content += line(
      [
        [0, y],
        [size.width, y],
      ],
      `stroke="${COLOURS.border}"`,
    );
  }
  if (rows.length === 0) {
    const middle = { anchor: 'middle', fill: COLOURS.faint } as const;
    content += text(
      size.width / 2,
      size.height / 2,
      panel.fieldConfig?.defaults.noValue ?? 'No data',
      middle,
    );
  }
  return content;
}

/** Rows that agree in all labels that they share are one. */
function merged(answers: readonly (readonly Answered[])[]): Row[] {
  const rows: Row[] = [];
  for (const [i, series] of answers.entries()) {
    const field = answers.length > 1 ? `Value #${String.fromCharCode(65 + i)}` : 'Value';
    for (const { labels, points } of series) {
      const entries = Object.entries(labels).filter(([name]) => name !== '__name__');
      const value = points.at(-1)?.[1];
      if (value === undefined) continue;
      const same = rows.find(
        (row) =>
          !row.has(field) && entries.every(([name, label]) => (row.get(name) ?? label) === label),
      );
      const row: Row = same ?? new Map();
      for (const [name, label] of entries) row.set(name, label);
      row.set(field, value);
      if (!same) rows.push(row);
    }
  }
  return rows;
}

function cellOf(value: string | number | undefined, { options }: Column): Cell {
  if (value === undefined) return { content: '', fill: COLOURS.text };
  const { text: content, colour } =
    typeof value === 'number'
      ? shown(value, options)
      : (mapping(options.mappings ?? [], value) ?? { text: value, colour: undefined });
  return { content, fill: (options.isColoured && colour) || COLOURS.text };
}

/** As wide as what is in them, and what is left shared out; less if there is not so much room. */
function widthsOf(columns: readonly Column[], cells: readonly Cell[][], room: number): number[] {
  const needed = columns.map(
    ({ name }, i) =>
      Math.max(...[name, ...cells.map((row) => row[i].content)].map((one) => widthOf(one, FONT))) +
      GAP,
  );
  const total = needed.reduce((sum, width) => sum + width, 0);
  if (total <= room) return needed.map((width) => width + (room - total) / columns.length);
  // The widest give way first.
  const fair = room / columns.length;
  const spare = needed.reduce((sum, width) => sum + Math.max(0, fair - width), 0);
  const over = needed.reduce((sum, width) => sum + Math.max(0, width - fair), 0);
  return needed.map((width) => (width <= fair ? width : fair + ((width - fair) * spare) / over));
}
