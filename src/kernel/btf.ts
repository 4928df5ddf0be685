/**
 * Reads BTF, the kernel's compact type description, far enough to lay out a
 * struct, list an enum and find a function. Format: Documentation/bpf/btf.rst.
 */
import type { Field } from '../events/wire-description.ts';

const MAGIC = 0xeb9f;
const HEADER_BYTES = 24;
const TYPE_BYTES = 12;
/** How deep types may refer to types; the kernel's own limit. */
const MAX_DEPTH = 32;
const INT_SIGNED = 1 << 24;
const KIND = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  forward: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  function: 12,
  prototype: 13,
  variable: 14,
  section: 15,
  float: 16,
  declTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

interface BtfType {
  /** Whose bytes describe it. */
  readonly of: Btf;
  readonly kind: number;
  readonly length: number;
  /** Bytes for sized kinds, the id of another type for modifiers. */
  readonly sizeOrType: number;
  /** Byte offset of the kind's own data. */
  readonly data: number;
}

export interface Layout {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly fields: readonly Field[];
}

export class Btf {
  readonly #view: DataView;
  readonly #bytes: Buffer;
  readonly #strings: number;
  readonly #stringsEnd: number;
  readonly #base: Btf | undefined;
  /** The offset of the first name that is not of the base. */
  readonly #firstString: number;
  /** Where the types are. */
  readonly #begin: number;
  readonly #end: number;
  #index: readonly number[] | undefined;

  /**
   * @param bytes raw BTF as in an ELF `.BTF` section, little endian
   * @param base what the BTF of a module adds to: that of vmlinux
   * @throws if they are not BTF, or damaged
   */
  constructor(bytes: Uint8Array, base?: Btf) {
    this.#base = base;
    this.#firstString = base ? base.#firstString + base.#stringsEnd - base.#strings : 0;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const view = this.#view;
    if (bytes.byteLength < HEADER_BYTES || view.getUint16(0, true) !== MAGIC) {
      throw new Error('not BTF: the magic number is missing');
    }
    const header = view.getUint32(4, true);
    this.#begin = header + view.getUint32(8, true);
    this.#end = this.#begin + view.getUint32(12, true);
    this.#strings = header + view.getUint32(16, true);
    this.#stringsEnd = this.#strings + view.getUint32(20, true);
    if (this.#end > bytes.byteLength || this.#stringsEnd > bytes.byteLength) {
      throw damaged('it is cut short');
    }
    if (bytes[this.#stringsEnd - 1] !== 0) throw damaged('its last name has no end');
  }

  /** Where each type is, from the first id on that is not of the base; 0 is void. Few are ever looked at. */
  get #types(): readonly number[] {
    if (this.#index) return this.#index;
    const types = this.#base ? [] : [0];
    for (let at = this.#begin; at < this.#end; at = this.#next(at)) types.push(at);
    this.#index = types;
    return types;
  }

  /** Where the type after the one at a place is. */
  #next(at: number): number {
    if (at + TYPE_BYTES > this.#end) throw damaged('its last type is cut short');
    const info = this.#view.getUint32(at + 4, true);
    const next = at + TYPE_BYTES + extraBytes(kindOf(info), lengthOf(info));
    if (next > this.#end) throw damaged('its last type is cut short');
    return next;
  }

  /** The id of the first type that is not of the base. All types of the base have to be read for it. */
  get #firstType(): number {
    const base = this.#base;
    return base ? base.#firstType + base.#types.length : 0;
  }

  /** The layout of `struct name`, or undefined when this BTF has none. */
  struct(name: string): Layout | undefined {
    const type = this.#find(KIND.struct, name);
    if (!type) return undefined;
    const fields: Field[] = [];
    this.#flatten(type, 0, fields);
    return { name, size: type.sizeOrType, fields };
  }

  /** The members of `enum name`, or undefined when this BTF has none. */
  enum(name: string): ReadonlyMap<string, number> | undefined {
    const type = this.#find(KIND.enum, name);
    if (!type) return undefined;
    const members = new Map<string, number>();
    for (let i = 0; i < type.length; i++) {
      const at = type.data + i * 8;
      members.set(this.#string(this.#view.getUint32(at, true)), this.#view.getInt32(at + 4, true));
    }
    return members;
  }

  hasStruct(name: string): boolean {
    return this.#find(KIND.struct, name) !== undefined;
  }

  hasFunction(name: string): boolean {
    return this.#find(KIND.function, name) !== undefined;
  }

  /**
   * Whether `struct name` has a field; undefined when this BTF has no such struct.
   * @param path names of fields, separated by dots; those of anonymous members count as the struct's own
   */
  hasField(name: string, path: string): boolean | undefined {
    let type = this.#find(KIND.struct, name);
    const base = this.#base;
    if (!type && base) type = base.#find(KIND.struct, name);
    if (!type) return undefined;
    return type.of.#has(type, path.split('.'));
  }

  /** Whether a struct or union of this BTF has a field at the end of a path. Few types are resolved for it. */
  #has({ kind, length, data }: BtfType, path: readonly string[], depth = 0): boolean {
    checkDepth(depth);
    if (kind !== KIND.struct && kind !== KIND.union) return false;
    const [wanted, ...rest] = path;
    for (let at = data; at < data + length * 12; at += 12) {
      const name = this.#string(this.#view.getUint32(at, true));
      if (name === wanted && rest.length === 0) return true;
      if (name !== '' && name !== wanted) continue;
      const member = this.#resolve(this.#view.getUint32(at + 4, true));
      if (!member) continue;
      if (member.of.#has(member, name === '' ? path : rest, depth + 1)) return true;
    }
    return false;
  }

  /**
   * A type begins with the offset of its name and with its kind. To search for these bytes is quicker than to
   * walk over all types. Where a member has that name, the id of a type follows, which looks like no kind.
   */
  #find(kind: number, name: string): BtfType | undefined {
    const wanted = Buffer.alloc(4);
    for (const offset of this.#offsetsOf(name)) {
      wanted.writeUInt32LE(offset);
      let at = this.#bytes.indexOf(wanted, this.#begin);
      for (; at >= 0 && at + TYPE_BYTES <= this.#end; at = this.#bytes.indexOf(wanted, at + 1)) {
        const isWord = (at - this.#begin) % 4 === 0;
        if (!isWord || kindOf(this.#view.getUint32(at + 4, true)) !== kind) continue;
        this.#next(at);
        return this.#typeAt(at);
      }
    }
    return undefined;
  }

  /** Where a name is among the names: a module may have one that its base has too. */
  #offsetsOf(name: string): number[] {
    const text = Buffer.from(`${name}\0`);
    const offsets = this.#base ? this.#base.#offsetsOf(name) : [];
    let at = this.#bytes.indexOf(text, this.#strings);
    for (; at >= 0 && at < this.#stringsEnd; at = this.#bytes.indexOf(text, at + 1)) {
      // Else it is the end of a longer name.
      const isWhole = at === this.#strings || this.#bytes[at - 1] === 0;
      if (isWhole) return [at - this.#strings + this.#firstString, ...offsets];
    }
    return offsets;
  }

  /** @returns undefined for void, and for an id that there is not */
  #type(id: number): BtfType | undefined {
    const base = this.#base;
    if (base && id < this.#firstType) return base.#type(id);
    const at = this.#types[id - this.#firstType];
    return at ? this.#typeAt(at) : undefined;
  }

  #typeAt(at: number): BtfType {
    const info = this.#view.getUint32(at + 4, true);
    return {
      of: this,
      kind: kindOf(info),
      length: lengthOf(info),
      sizeOrType: this.#view.getUint32(at + 8, true),
      data: at + TYPE_BYTES,
    };
  }

  #flatten(type: BtfType, base: number, into: Field[], depth = 0): void {
    checkDepth(depth);
    for (let i = 0; i < type.length; i++) {
      const at = type.data + i * 12;
      const name = this.#string(this.#view.getUint32(at, true));
      const offset = base + (this.#view.getUint32(at + 8, true) & 0xffffff) / 8;
      const member = this.#resolve(this.#view.getUint32(at + 4, true));
      if (member?.kind === KIND.struct) member.of.#flatten(member, offset, into, depth + 1);
      else into.push({ name, offset, size: this.#size(member), signed: this.#isSigned(member) });
    }
  }

  #isSigned(type: BtfType | undefined): boolean {
    return type?.kind === KIND.int && (type.of.#view.getUint32(type.data, true) & INT_SIGNED) !== 0;
  }

  /** Follows typedefs and qualifiers to the type that has a size. */
  #resolve(id: number): BtfType | undefined {
    let type = this.#type(id);
    for (let depth = 0; type && isModifier(type.kind); depth++) {
      checkDepth(depth);
      type = type.of.#type(type.sizeOrType);
    }
    return type;
  }

  #size(type: BtfType | undefined, depth = 0): number {
    checkDepth(depth);
    if (!type) return 0;
    if (type.kind === KIND.pointer) return 8;
    if (type.kind !== KIND.array) return type.sizeOrType;
    const view = type.of.#view;
    const element = type.of.#resolve(view.getUint32(type.data, true));
    return this.#size(element, depth + 1) * view.getUint32(type.data + 8, true);
  }

  #start(offset: number): number {
    const start = this.#strings + offset - this.#firstString;
    if (start >= this.#stringsEnd) throw damaged('a name lies outside');
    return start;
  }

  #string(offset: number): string {
    const base = this.#base;
    if (base && offset < this.#firstString) return base.#string(offset);
    const start = this.#start(offset);
    let end = start;
    while (this.#view.getUint8(end) !== 0) end++;
    return Buffer.from(this.#view.buffer, this.#view.byteOffset + start, end - start).toString();
  }
}

function kindOf(info: number): number {
  return (info >>> 24) & 0x1f;
}

function lengthOf(info: number): number {
  return info & 0xffff;
}

function damaged(how: string): Error {
  return new Error(`damaged BTF: ${how}`);
}

function checkDepth(depth: number): void {
  if (depth > MAX_DEPTH) throw damaged('a type contains itself');
}

function isModifier(kind: number): boolean {
  return (
    kind === KIND.typedef ||
    kind === KIND.volatile ||
    kind === KIND.const ||
    kind === KIND.restrict ||
    kind === KIND.typeTag
  );
}

/** How many bytes follow the common 12 of a type. */
function extraBytes(kind: number, length: number): number {
  switch (kind) {
    case KIND.int:
    case KIND.variable:
    case KIND.declTag:
      return 4;
    case KIND.array:
      return 12;
    case KIND.struct:
    case KIND.union:
    case KIND.section:
    case KIND.enum64:
      return 12 * length;
    case KIND.enum:
    case KIND.prototype:
      return 8 * length;
    default:
      return 0;
  }
}
