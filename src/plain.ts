/** The one sanitiser of text that others have chosen: names of processes, units and files, arguments, keys. */

/**
 * What steers a terminal (C0, C1, line and paragraph separators), turns the direction of text, or does not
 * show at all, so that two names look alike.
 */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu;

/** Each character that a reader cannot see as itself becomes "?". */
export function plain(text: string): string {
  return text.replace(HIDDEN, '?');
}

/** As {@link plain}, on one line: a line break becomes a blank. */
export function plainLine(text: string): string {
  return plain(text.replace(/\s*\r?\n\s*/g, ' '));
}
