/**
 * Import rules over the sources, type imports included: layers, packages, cycles, files and folders that nobody uses. Each gives its problems as text.
 */
import { importProblem, layerOf, packageProblem } from './layers.ts';
import { resolveImport, type SourceFile } from './source_file.ts';

/** Imports that the layer table forbids, and relative imports of files that are not there. */
export function layerProblems(files: readonly SourceFile[]): string[] {
  const known = new Set(files.map((file) => file.path));
  const problems: string[] = [];
  for (const file of files) {
    if (layerOf(file.path) === undefined) problems.push(`${file.path}: in no layer of test/rules/layers.ts`);
    for (const { specifier, typeOnly, line } of file.imports) {
      const target = resolveImport(file.path, specifier);
      if (target !== undefined && !known.has(target)) {
        // What is built from another language is no source: only the WASM build is read so.
        if (/^(?:\.\.\/)*build\/wasm\//.test(target)) continue;
        problems.push(`${file.path}:${line}: imports ${specifier}, which is no source of the project`);
        continue;
      }
      const problem =
        target === undefined
          ? packageProblem(file.path, specifier)
          : importProblem(file.path, target, typeOnly);
      if (problem !== undefined) problems.push(`${problem} (line ${line})`);
    }
  }
  return problems;
}

function edgesOf(files: readonly SourceFile[]): Map<string, string[]> {
  const known = new Set(files.map((file) => file.path));
  return new Map(
    files.map((file) => [
      file.path,
      file.imports
        .map((one) => resolveImport(file.path, one.specifier))
        .filter((target) => target !== undefined && known.has(target)) as string[],
    ]),
  );
}

/** Every import cycle that a depth-first walk closes, written `a -> b -> a`. */
export function cycles(files: readonly SourceFile[]): string[] {
  const edges = edgesOf(files);
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) {
      found.push([...trail.slice(at), path].join(' -> '));
      return;
    }
    if (done.has(path)) return;
    trail.push(path);
    for (const target of edges.get(path) ?? []) visit(target, trail);
    trail.pop();
    done.add(path);
  };
  for (const file of files) visit(file.path, []);
  return found;
}

/** Product files that nothing imports, tests included; roots are named by the caller. */
export function orphans(files: readonly SourceFile[], roots: readonly string[]): string[] {
  const imported = new Set([...edgesOf(files).values()].flat());
  const isRoot = (path: string): boolean =>
    roots.some((root) => (root.endsWith('/') ? path.startsWith(root) : path === root));
  return files.map((file) => file.path).filter((path) => !imported.has(path) && !isRoot(path));
}

/** Folders of which no file can be reached from the roots: code that is shipped and never runs. */
export function unreachableFolders(files: readonly SourceFile[], roots: readonly string[]): string[] {
  const edges = edgesOf(files);
  const reached = new Set<string>();
  const queue = [...edges.keys()].filter((path) =>
    roots.some((root) => (root.endsWith('/') ? path.startsWith(root) : path === root)),
  );
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    queue.push(...(edges.get(path) ?? []));
  }
  const folderOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));
  const live = new Set([...reached].map(folderOf));
  return [...new Set([...edges.keys()].map(folderOf))].filter((folder) => !live.has(folder));
}
