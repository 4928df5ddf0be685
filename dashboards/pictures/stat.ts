// SPDX-License-Identifier: Apache-2.0
/** One number, now. */
import type { Drawn } from './drawn.ts';
import { COLOURS, colour, rectangle, text } from './svg.ts';
import { nothing, shown } from './values.ts';

export function drawStat({ panel, answers, size }: Drawn): string {
  const { fieldConfig, options } = panel;
  const config = fieldConfig?.defaults ?? {};
  const value = answers[0]?.[0]?.points.at(-1)?.[1];
  const { text: content, colour: fill = COLOURS.text } =
    value === undefined
      ? (nothing(config) ?? { text: config.noValue ?? 'No data', colour: colour('green') })
      : shown(value, config);
  const isFilled = options?.colorMode === 'background' && value !== undefined;
  const font = Math.min(42, (size.width - 16) / (content.length * 0.6));
  const middle = {
    size: Math.round(font),
    anchor: 'middle',
    fill: isFilled ? '#111217' : fill,
  } as const;
  return (
    (isFilled ? rectangle(0, 0, size, fill, 'rx="4"') : '') +
    text(size.width / 2, size.height / 2 + font * 0.36, content, middle)
  );
}
