/**
 * The few objects that another object is related to, such as the opens of a device, as lists that are
 * replaced and never changed. Most have one element, and each has as many slots as elements: an array
 * that grows has 17, and the table of a Set is allocated again whenever the Set shrinks.
 */
export const NONE: readonly never[] = [];

/** The list with one more element. */
export function including<T>(list: readonly T[], element: T): readonly T[] {
  return list.length === 0 ? [element] : list.toSpliced(list.length, 0, element);
}

/** The list without that element, if it has it. */
export function excluding<T>(list: readonly T[], element: T): readonly T[] {
  const index = list.indexOf(element);
  if (index < 0) return list;
  return list.length === 1 ? NONE : list.toSpliced(index, 1);
}
