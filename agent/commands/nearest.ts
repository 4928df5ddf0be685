/** Which of many names somebody may have meant. */

/** More changes than that in a hundred letters, and it is another word. */
const TOLERANCE = 40;
const MOST = 3;

/** @returns the names that are like the word, the likeliest first */
export function nearest(word: string, names: readonly string[]): string[] {
  return names
    .map((name) => ({ name, far: farness(word.toLowerCase(), name) }))
    .filter(({ far }) => far <= TOLERANCE)
    .sort((a, b) => a.far - b.far)
    .slice(0, MOST)
    .map(({ name }) => name);
}

/** Changes for each hundred letters; a part of the name is closer than any other word. */
function farness(word: string, name: string): number {
  if (word !== '' && name.includes(word)) return 0;
  return (100 * changes(word, name)) / Math.max(word.length, name.length);
}

/** How many letters have to be put in, left out or exchanged (Levenshtein). */
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
