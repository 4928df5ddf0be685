/** Renders docs/ for the agent to serve, so that the link of an alert leads to the runbook of the version that runs. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Marked } from 'marked';

const STYLE =
  'body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}' +
  'pre{overflow-x:auto;background:#f4f4f4;padding:.6rem}code{font:14px ui-monospace,monospace}' +
  'table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}' +
  '@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#262626}a{color:#8ab4f8}}';

/**
 * Writes an HTML page for each Markdown file.
 * @param from the directory of the Markdown files
 * @param to is emptied before
 */
export function buildDocuments(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true });
  const pages = readdirSync(from, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => name.slice(0, -3));
  for (const page of pages) {
    const file = path.join(to, `${page}.html`);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, html(readFileSync(path.join(from, `${page}.md`), 'utf8'), page, pages));
  }
}

function html(markdown: string, page: string, pages: readonly string[]): string {
  const marked = new Marked({
    renderer: {
      heading({ tokens, depth, text }) {
        return `<h${depth} id="${anchorOf(text)}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
      },
      link({ href, tokens }) {
        const words = this.parser.parseInline(tokens);
        const address = addressOf(href, page, pages);
        return address === undefined ? words : `<a href="${address}">${words}</a>`;
      },
      // Pictures are not served.
      image: ({ text }) => text,
    },
  });
  const title = /^# (.+)$/m.exec(markdown)?.[1] ?? page;
  const body = marked.parse(markdown, { async: false });
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title} – vfioscope</title><style>${STYLE}</style>\n${body}</html>\n`;
}

/** As GitHub makes it of a heading. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

/** @returns undefined for a file that is not served, such as one of the sources */
function addressOf(href: string, page: string, pages: readonly string[]): string | undefined {
  if (/^(https?:|#)/.test(href)) return href;
  const [file, anchor] = href.split('#');
  const target = path.join(path.dirname(page), file).replace(/\.md$/, '');
  if (!pages.includes(target)) return undefined;
  const relative = path.relative(path.dirname(page), target);
  return anchor === undefined ? relative : `${relative}#${anchor}`;
}
