/** Writes BTF for tests. */

export const BTF_KIND = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  typedef: 8,
  volatile: 9,
  const: 10,
  function: 12,
};
const HEADER = 24;

/** Writes BTF as a compiler would: types are numbered from 1 in the order in which they are added. */
export class BtfWriter {
  readonly #words: number[] = [];
  #strings: string;
  #types: number;
  /** Offset of the first name. */
  readonly #firstString: number;

  /** @param base to which this adds: that of vmlinux, to which nothing is added any more */
  constructor(base?: BtfWriter) {
    this.#strings = base ? '' : '\0';
    this.#types = base ? base.#types : 0;
    this.#firstString = base ? base.#firstString + base.#strings.length : 0;
  }

  type(kind: number, name: string, sizeOrType: number, length = 0, data: number[] = []): number {
    this.#words.push(this.#string(name), (kind << 24) | length, sizeOrType, ...data);
    return ++this.#types;
  }

  int(name: string, size: number): number {
    return this.type(BTF_KIND.int, name, size, 0, [size * 8]);
  }

  array(element: number, count: number): number {
    return this.type(BTF_KIND.array, '', 0, 0, [element, element, count]);
  }

  /** @param members [name, type, byte offset] */
  struct(
    name: string,
    size: number,
    members: readonly (readonly [string, number, number])[],
  ): number {
    return this.#compound(BTF_KIND.struct, name, size, members);
  }

  /** An anonymous one. @param members [name, type, byte offset] */
  union(size: number, members: readonly (readonly [string, number, number])[]): number {
    return this.#compound(BTF_KIND.union, '', size, members);
  }

  #compound(
    kind: number,
    name: string,
    size: number,
    members: readonly (readonly [string, number, number])[],
  ): number {
    const data = members.flatMap(([member, type, at]) => [this.#string(member), type, at * 8]);
    return this.type(kind, name, size, members.length, data);
  }

  enum(name: string, members: Readonly<Record<string, number>>): number {
    const entries = Object.entries(members);
    const data = entries.flatMap(([member, value]) => [this.#string(member), value]);
    return this.type(BTF_KIND.enum, name, 4, entries.length, data);
  }

  bytes(): Uint8Array {
    const strings = Buffer.from(this.#strings);
    const bytes = new Uint8Array(HEADER + this.#words.length * 4 + strings.length);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, 0xeb9f, true);
    view.setUint8(2, 1);
    const header = [HEADER, 0, this.#words.length * 4, this.#words.length * 4, strings.length];
    for (const [i, word] of [...header, ...this.#words].entries()) {
      view.setInt32(4 + i * 4, word | 0, true);
    }
    bytes.set(strings, HEADER + this.#words.length * 4);
    return bytes;
  }

  #string(text: string): number {
    if (text === '') return 0;
    const at = this.#firstString + this.#strings.length;
    this.#strings += `${text}\0`;
    return at;
  }
}
