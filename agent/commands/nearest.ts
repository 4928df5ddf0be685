/** Suggests names for one that was probably mistyped. */

/** With more changes per hundred letters, two words are not taken for the same. */
const TOLERANCE = 40;
const MOST = 3;

/** @returns the names that are similar to the word, the most similar first */
export function nearest(word: string, names: readonly string[]): string[] {
  return names
    .map((name) => ({ name, far: distance(word.toLowerCase(), name) }))
    .filter(({ far }) => far <= TOLERANCE)
    .sort((a, b) => a.far - b.far)
    .slice(0, MOST)
    .map(({ name }) => name);
}

/** Changes per hundred letters; a part of a name is closer than any other word. */
function distance(word: string, name: string): number {
  if (word !== '' && name.includes(word)) return 0;
  return (100 * changes(word, name)) / Math.max(word.length, name.length);
}

/** The Levenshtein distance: letters to insert, delete or replace. */
function changes(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1] ? 0 : 1;
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + same));
    }
    row = next;
  }
  return row[to.length];
}
