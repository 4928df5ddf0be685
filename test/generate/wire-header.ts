/**
 * What bpf/event.h says of its members in its comments, which no compiler keeps. Only for
 * that header, in which a member stands on one line with its comment.
 */

export interface Member {
  readonly name: string;
  /** The C type of a field, such as __u32; empty for a constant. */
  readonly type: string;
  /** Empty when there is none. */
  readonly comment: string;
}

const BLOCK = /^(?:struct|enum) (\w+) \{\n([^}]*)^\};/gm;
const FIELD = /^\t((?:struct )?\w+) (\w+)(?:\[\w+\])?;(?:\s*\/\* (.*) \*\/)?\s*$/;
const CONSTANT = /^\t(\w+) = \d+,(?:\s*\/\* (.*) \*\/)?\s*$/;
/** Between the members: nothing, and comments about several of them. */
const REMARK = /^(?:\t\/\*.*| ?\t ?\*.*|)$/;

/**
 * The members of each struct and enum.
 * @throws {Error} when a line is not understood
 */
export function membersOf(header: string): Map<string, Member[]> {
  const blocks = new Map<string, Member[]>();
  for (const [, name, body] of header.matchAll(BLOCK)) {
    blocks.set(name, body.split('\n').flatMap(memberOf));
  }
  return blocks;
}

function memberOf(line: string): Member[] {
  const field = FIELD.exec(line);
  if (field) return [{ type: field[1], name: field[2], comment: field[3] ?? '' }];
  const constant = CONSTANT.exec(line);
  if (constant) return [{ type: '', name: constant[1], comment: constant[2] ?? '' }];
  if (REMARK.test(line)) return [];
  throw new Error(`bpf/event.h: this line is neither a member nor a comment: ${line.trim()}`);
}
