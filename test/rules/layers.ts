/**
 * Which folder may import which: the one table behind `.dependency-cruiser.cjs` (which sees the built JavaScript) and imports.test.ts (which sees the
 * sources, type imports included).
 *
 * Paths are those of the sources, relative to the project. A path that ends in `/` means everything below it, any other means that file. A layer's own files may
 * always import each other. The most specific row wins: `src/errors.ts` is not "everything in src/".
 */
export interface Layer {
  readonly name: string;
  /** The files that belong to the layer. */
  readonly paths: readonly string[];
  /** What its files may import. `everything` is for composition roots. */
  readonly mayImport: readonly string[] | 'everything';
  /** What its files may import by `import type` only. */
  readonly mayImportTypes?: readonly string[];
  /** npm packages it may import; none unless listed. */
  readonly packages?: readonly string[] | 'everything';
  /** No Node modules, no clock, no randomness, no timers, no promises. */
  readonly pure?: boolean;
}

/** What everyone may import; raft only the error type. */
export const FOUNDATION = ['src/errors.ts', 'src/ports.ts', 'src/config.ts', 'src/version.ts'] as const;

const BYTE_STREAMS = ['src/byte_stream.ts', 'src/net_streams.ts'];
/** The two files that say what a key and a record are; they import next to nothing. */
const KEYSPACE = 'src/kv/keyspace.ts';
const RECORD = 'src/storage/record.ts';

export const LAYERS: readonly Layer[] = [
  { name: 'errors', paths: ['src/errors.ts'], mayImport: [], pure: true },
  { name: 'ports', paths: ['src/ports.ts'], mayImport: [], pure: true },
  { name: 'version', paths: ['src/version.ts'], mayImport: [], pure: true },
  { name: 'config', paths: ['src/config.ts'], mayImport: ['src/errors.ts'], packages: ['zod'], pure: true },
  { name: 'real ports', paths: ['src/real_ports.ts'], mayImport: ['src/ports.ts'] },
  { name: 'byte stream', paths: ['src/byte_stream.ts'], mayImport: [] },
  { name: 'net streams', paths: ['src/net_streams.ts'], mayImport: ['src/errors.ts', 'src/byte_stream.ts'] },
  { name: 'raft', paths: ['src/raft/'], mayImport: ['src/errors.ts'], pure: true },
  {
    name: 'kv',
    paths: ['src/kv/'],
    mayImport: [...FOUNDATION, RECORD],
    mayImportTypes: ['src/storage/engine_port.ts'],
    pure: true,
  },
  { name: 'wire', paths: ['src/wire/'], mayImport: [...FOUNDATION, 'src/raft/', 'src/kv/', RECORD] },
  {
    name: 'storage',
    paths: ['src/storage/'],
    mayImport: [...FOUNDATION, 'src/raft/types.ts'],
    packages: ['@assemblyscript/loader', 'level-rocksdb'],
  },
  { name: 'security', paths: ['src/security/'], mayImport: [...FOUNDATION] },
  { name: 'observability', paths: ['src/observability/'], mayImport: [...FOUNDATION], packages: ['pino'] },
  {
    name: 'node',
    paths: ['src/node/'],
    mayImport: [
      ...FOUNDATION,
      'src/raft/',
      'src/kv/',
      'src/storage/',
      'src/wire/',
      'src/api/service.ts',
      'src/observability/',
      'src/security/',
      'transports/transport.ts',
    ],
    packages: ['zod'],
  },
  {
    name: 'transports',
    paths: ['transports/'],
    mayImport: [...FOUNDATION, 'src/wire/', 'src/security/'],
    mayImportTypes: ['src/raft/types.ts'],
  },
  {
    name: 'service port',
    paths: ['src/api/service.ts'],
    mayImport: [],
    mayImportTypes: [...FOUNDATION, 'src/kv/', 'src/wire/', 'src/security/', RECORD],
  },
  {
    name: 'recipes',
    paths: ['src/recipes/'],
    mayImport: [...FOUNDATION, 'src/wire/', KEYSPACE, RECORD],
    mayImportTypes: ['src/kv/'],
  },
  {
    name: 'api',
    paths: ['src/api/'],
    mayImport: [
      ...FOUNDATION,
      ...BYTE_STREAMS,
      'src/api/service.ts',
      'src/node/',
      'src/recipes/',
      'src/wire/',
      'src/security/',
      'src/observability/',
      KEYSPACE,
      RECORD,
    ],
    mayImportTypes: ['src/kv/'],
  },
  {
    name: 'client',
    paths: ['src/client/'],
    mayImport: [...FOUNDATION, ...BYTE_STREAMS, 'src/recipes/', 'src/wire/', KEYSPACE, RECORD],
    mayImportTypes: ['src/kv/', 'src/api/service.ts'],
  },
  {
    name: 'threads',
    paths: ['src/readers.ts', 'src/threads/'],
    mayImport: [
      ...FOUNDATION,
      'src/real_ports.ts',
      'src/storage/',
      'src/wire/',
      'src/client/',
      'src/security/',
      KEYSPACE,
    ],
    mayImportTypes: ['src/kv/', 'src/api/service.ts'],
  },
  {
    name: 'sim checkers',
    paths: ['src/sim/check/'],
    // How fast the store's clock may run is what its lives are judged by.
    mayImport: ['src/errors.ts', 'src/node/store_clock.ts'],
    pure: true,
  },
  {
    name: 'composition roots',
    paths: [
      'src/index.ts',
      'src/connect.ts',
      'src/embedded.ts',
      'src/embedded_channel.ts',
      'src/server.ts',
      'src/cli/',
      'src/sim.ts',
      'src/sim/',
    ],
    mayImport: 'everything',
    packages: 'everything',
  },
  { name: 'tests', paths: ['test/'], mayImport: 'everything', packages: 'everything' },
  { name: 'benchmarks', paths: ['bench/'], mayImport: 'everything', packages: 'everything' },
];

function matchLength(path: string, pattern: string): number {
  const matches = pattern.endsWith('/') ? path.startsWith(pattern) : path === pattern;
  return matches ? pattern.length : 0;
}

/** The row that a file falls under; undefined when the table knows nothing of its folder. */
export function layerOf(path: string): Layer | undefined {
  let best: Layer | undefined;
  let bestLength = 0;
  for (const layer of LAYERS) {
    for (const pattern of layer.paths) {
      const length = matchLength(path, pattern);
      if (length > bestLength) {
        bestLength = length;
        best = layer;
      }
    }
  }
  return best;
}

/** Why `from` may not import `to` (both paths of sources), or undefined when it may. */
export function importProblem(from: string, to: string, typeOnly: boolean): string | undefined {
  const layer = layerOf(from);
  if (layer === undefined) return `${from} is in no layer: give its folder a row in test/rules/layers.ts`;
  if (layer.mayImport === 'everything' || layerOf(to) === layer) return undefined;
  if (layer.mayImport.some((pattern) => matchLength(to, pattern) > 0)) return undefined;
  const types = layer.mayImportTypes ?? [];
  if (types.some((pattern) => matchLength(to, pattern) > 0)) {
    return typeOnly ? undefined : `${from}: ${layer.name} may import ${to} by \`import type\` only`;
  }
  return `${from}: ${layer.name} may not import ${to}`;
}

/** Why `from` may not import an npm package or a `node:` module, or undefined when it may. */
export function packageProblem(from: string, specifier: string): string | undefined {
  const layer = layerOf(from);
  if (layer === undefined) return `${from} is in no layer: give its folder a row in test/rules/layers.ts`;
  if (specifier.startsWith('node:')) {
    return layer.pure ? `${from}: ${layer.name} is pure and may not import ${specifier}` : undefined;
  }
  if (layer.packages === 'everything') return undefined;
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  return layer.packages?.includes(name) ? undefined : `${from}: ${layer.name} may not import package ${name}`;
}
