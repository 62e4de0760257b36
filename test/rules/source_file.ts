/**
 * A TypeScript source as the rules see it: which characters are code, comment or literal, and what it imports.
 *
 * The scanner knows comments, strings, templates (with code inside `${}`) and regular expressions; it needs no compiler. Invariant: every view has the same length
 * and the same line breaks as the text, so an offset in one is an offset in all.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export const projectRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

const CODE = 0;
const COMMENT = 1;
const LITERAL = 2;

export interface Import {
  readonly specifier: string;
  /** True when nothing of it is left in the built JavaScript. */
  readonly typeOnly: boolean;
  readonly line: number;
}

export interface SourceFile {
  /** Relative to the project, with forward slashes. */
  readonly path: string;
  readonly text: string;
  /** The text with comments and the contents of literals blanked out. */
  readonly code: string;
  /** The text with the contents of literals blanked out. */
  readonly commentedCode: string;
  readonly imports: readonly Import[];
}

/** A `/` after one of these begins a regular expression, after anything else it divides. */
const REGEX_MAY_FOLLOW =
  /(?:^|[(,=:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|in|of|do|else|void|throw|await))$/;

function classify(text: string): Uint8Array {
  const kinds = new Uint8Array(text.length);
  /** Open templates: how many braces were open when each one's `${` began. */
  const templates: number[] = [];
  let braces = 0;
  /** Where the last character of code stands that is no white space. */
  let last = -1;
  let i = 0;
  const mark = (end: number, kind: number): void => {
    kinds.fill(kind, i, end);
    i = end;
  };
  const template = (from: number): void => {
    let end = from;
    while (end < text.length && text[end] !== '`' && !text.startsWith('${', end))
      end += text[end] === '\\' ? 2 : 1;
    mark(Math.min(end, text.length), LITERAL);
    if (text[i] === '`') i++;
    else if (i < text.length) {
      templates.push(braces++);
      i += 2;
    }
    last = i - 1;
  };
  while (i < text.length) {
    const char = text[i]!;
    if (text.startsWith('//', i) || (i === 0 && text.startsWith('#!'))) {
      const end = text.indexOf('\n', i);
      mark(end < 0 ? text.length : end, COMMENT);
    } else if (text.startsWith('/*', i)) {
      const end = text.indexOf('*/', i + 2);
      mark(end < 0 ? text.length : end + 2, COMMENT);
    } else if (char === "'" || char === '"') {
      let end = ++i;
      while (end < text.length && text[end] !== char && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1;
      mark(Math.min(end, text.length), LITERAL);
      last = i++;
    } else if (char === '`') {
      template(++i);
    } else if (char === '}' && templates.at(-1) === braces - 1) {
      braces = templates.pop()!;
      template(++i);
    } else if (char === '/' && REGEX_MAY_FOLLOW.test(text.slice(Math.max(0, last - 12), last + 1))) {
      let inClass = false;
      let end = ++i;
      while (end < text.length && text[end] !== '\n' && (inClass || text[end] !== '/')) {
        if (text[end] === '[') inClass = true;
        else if (text[end] === ']') inClass = false;
        end += text[end] === '\\' ? 2 : 1;
      }
      mark(Math.min(end, text.length), LITERAL);
      last = i++;
    } else {
      if (char === '{') braces++;
      else if (char === '}') braces--;
      if (!/\s/.test(char)) last = i;
      i++;
    }
  }
  return kinds;
}

function blank(text: string, kinds: Uint8Array, blanked: (kind: number) => boolean): string {
  let out = '';
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    out += char !== '\n' && blanked(kinds[i]!) ? ' ' : char;
  }
  return out;
}

export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < offset; at = text.indexOf('\n', at + 1)) line++;
  return line;
}

/** Statements that name a module; the quotes are code, what is between them is a blanked literal. */
const IMPORT_PATTERN =
  /\b(?:(import|export)\b(\s+type\b)?([^'"`;]*?)\bfrom\s*|(import)\s*\(?\s*)(['"])( *)\5/g;

function findImports(text: string, code: string): Import[] {
  const imports: Import[] = [];
  for (const match of code.matchAll(IMPORT_PATTERN)) {
    const end = match.index + match[0].length - 1;
    const specifier = text.slice(end - match[6]!.length, end);
    const names = /^\s*\{([^}]*)\}\s*$/.exec(match[3] ?? '')?.[1]?.split(',') ?? [];
    const given = names.filter((name) => name.trim() !== '');
    const allTypes = given.length > 0 && given.every((name) => /^\s*type\s/.test(name));
    const typeOnly = match[2] !== undefined || allTypes;
    imports.push({ specifier, typeOnly, line: lineAt(text, match.index) });
  }
  return imports;
}

/** Reads a source from its text. */
export function sourceFile(path: string, text: string): SourceFile {
  const kinds = classify(text);
  const code = blank(text, kinds, (kind) => kind !== CODE);
  const commentedCode = blank(text, kinds, (kind) => kind === LITERAL);
  return { path, text, code, commentedCode, imports: findImports(text, code) };
}

/** The project's own TypeScript sources below the given folders, in order of their paths. */
export function readSources(folders: readonly string[]): SourceFile[] {
  const files: SourceFile[] = [];
  for (const folder of folders) {
    for (const entry of readdirSync(join(projectRoot, folder), { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.ts')) continue;
      const file = join(entry.parentPath, entry.name);
      const path = relative(projectRoot, file).split(sep).join('/');
      files.push(sourceFile(path, readFileSync(file, 'utf8')));
    }
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The source that a relative import means; undefined for packages and `node:` modules. */
export function resolveImport(from: string, specifier: string): string | undefined {
  return specifier.startsWith('.') ? posix.join(posix.dirname(from), specifier) : undefined;
}
