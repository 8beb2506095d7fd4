/** The documents as tests read them: code blocks, inline code, links, headings. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
export const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

export const DOCUMENTS = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'src/README.md',
  'docs/index.md',
  'docs/design.md',
  'docs/operations.md',
  'docs/migrating.md',
  'docs/notify.md',
  'docs/tracks.md',
] as const;

export type Block = { readonly file: string; readonly language: string; readonly text: string };

export const blocksOf = (file: string): readonly Block[] =>
  [...read(file).matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', text = '']) => ({
    file,
    language,
    text,
  }));

/** The document without its code blocks. */
export const proseOf = (file: string): string => read(file).replaceAll(/^```[\s\S]*?^```$/gm, '');

export const inlineCodeOf = (file: string): readonly string[] =>
  [...proseOf(file).matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code);

/** Targets of links to files and headings of this repository. */
export const linksOf = (file: string): readonly string[] =>
  [...proseOf(file).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target));

/** The anchors of a document's headings, as hosts of Markdown make them. */
export const anchorsOf = (text: string): readonly string[] =>
  [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

/** Words of a shell line; quoted words stay together and lose their quotes. */
export const wordsOf = (line: string): readonly string[] =>
  (line.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? []).map((word) =>
    word.replaceAll(/^["']|["']$/g, ''),
  );
