// The snippets of a document that say where they belong, and the commands that it runs afterwards:
//
//     <!-- file: src/rules/a.ts -->                     the block is the whole file
//     <!-- after: src/a.ts, `text` -->                  after the line that contains the text
//     <!-- before: src/a.ts, `text` -->                 before that line
//     <!-- before entry: src/a.ts, `text` -->           before the object that contains that line
//     <!-- run -->                                      a shell command a line
//
// each followed by a block of code, which may be indented as part of a list.

const SNIPPET =
  /^ *<!-- (file|after|before|before entry|run)(?:: (\S+?)(?:, `([^`]+)`)?)? -->\n\n?( *)```\w*\n([\s\S]*?)^ *```$/gm;

interface Snippet {
  readonly kind: string;
  readonly file: string;
  readonly anchor: string;
  readonly lines: readonly string[];
}

export interface Files {
  read(file: string): string;
  write(file: string, text: string): void;
}

function snippetsOf(document: string): Snippet[] {
  return [...document.matchAll(SNIPPET)].map(([, kind, file = '', anchor = '', indent, body]) => ({
    ...{ kind, file, anchor },
    lines: body
      .split('\n')
      .slice(0, -1)
      .map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line)),
  }));
}

/** @returns the files that were changed @throws when a snippet does not fit its file */
export function applySnippets(document: string, files: Files): string[] {
  const snippets = snippetsOf(document).filter(({ kind }) => kind !== 'run');
  for (const { kind, file, anchor, lines } of snippets) {
    if (kind === 'file') {
      files.write(file, `${lines.join('\n')}\n`);
      continue;
    }
    const text = files.read(file).split('\n');
    text.splice(placeOf(kind, anchor, text, file), 0, ...lines);
    files.write(file, text.join('\n'));
  }
  return [...new Set(snippets.map(({ file }) => file))];
}

/** The commands that the document wants to be run when all its snippets are in place. */
export function commandsOf(document: string): string[] {
  return snippetsOf(document)
    .filter(({ kind }) => kind === 'run')
    .flatMap(({ lines }) => lines.map((line) => line.replace(/ +# .*/, '').trim()))
    .filter((line) => line !== '');
}

/** The index of the line before which a snippet belongs. */
function placeOf(kind: string, anchor: string, text: readonly string[], file: string): number {
  const found = text.findIndex((line) => line.includes(anchor));
  if (anchor === '' || found < 0) throw new Error(`${file} has no line with ${anchor}`);
  if (kind === 'after') return found + 1;
  if (kind === 'before') return found;
  return text.findLastIndex((line, index) => index < found && line.trim() === '{');
}
