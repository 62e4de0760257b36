/**
 * The files of a tree of tables, spoilt in structure: splices, wrong lengths, doubled and missing parts. As they are: everything that is read was written, or CORRUPT
 * with the place. With their checksums put right: a table may lie about its records, but opening, reading, scanning and checking it end, with answers or CORRUPT, and
 * never trap, hang, or take memory for what a length claims. test/storage/trees/byte_flip*.test.ts plays single damages of other kinds.
 */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { decodeManifest } from '../../src/storage/tables/manifest.ts';
import { verifyTable } from '../../src/storage/tables/verify_table.ts';
import { Workload } from '../storage/trees/crash_workload.ts';
import { type Specimen, specimenOf } from '../storage/trees/damage_harness.ts';
import { HarnessPorts } from '../storage/trees/harness_ports.ts';
import { TABLES_TREE } from '../storage/trees/tables_subject.ts';
import { allVersions, assertAllowed, LAST_REVISION, scanToEnd } from '../storage/trees/tree_checks.ts';
import { type OpenTree, TREE_PATH } from '../storage/trees/tree_subject.ts';
import { test } from '../suite.ts';
import { edgeParameters, edgeRuns, guarded, guardedAsync, report, shownBytes } from './edge_guard.ts';
import { noise, type Step, spoilt, steps } from './mutations.ts';
import { resealManifest, resealTable } from './resealed.ts';

const RUNS = edgeRuns(40);
const FOOTER_BYTES = 64;
/** Caches, table memory and windows of a tree, whatever it holds. */
const FIXED_BYTES = 24 * 1024 * 1024;
/** Every level is too full. */
const EAGER = { l0Trigger: 1, levelBaseBytes: 1 };
const MANIFEST = `${TREE_PATH}/MANIFEST`;

const specimens: Specimen[] = [];
for (const compression of ['none', 'lz4'])
  specimens.push(
    await specimenOf(
      TABLES_TREE,
      { ...TABLES_TREE.smallOptions, tableSizeBytes: 3_000, compression },
      new Workload(compression === 'lz4' ? 5 : 4, 9, 40),
    ),
  );

interface Spoiling {
  readonly specimen: Specimen;
  readonly file: string;
  readonly bytes: Uint8Array;
  /** Merge everything as soon as it is open. */
  readonly eager: boolean;
}

async function diskWith({ specimen, file, bytes }: Spoiling): Promise<MemoryDisk> {
  const disk = specimen.disk.fork();
  disk.cutShort(file, 0);
  const handle = await disk.open(file, 'open');
  handle.writeSync([bytes], 0);
  await handle.sync();
  await handle.close();
  return disk;
}

const inputOf = ({ file, bytes }: Spoiling) => `${file}: ${shownBytes(bytes)}`;
const sizeOf = ({ specimen, bytes }: Spoiling) =>
  [...specimen.files.values()].reduce((sum, one) => sum + one.length, bytes.length);

/** Runs a read: gives what it gave, undefined for CORRUPT with a place. */
async function read<T>(name: string, spoiling: Spoiling, run: () => Promise<T>): Promise<T | undefined> {
  const input = () => inputOf(spoiling);
  const outcome = await guardedAsync(name, sizeOf(spoiling), FIXED_BYTES, ['CORRUPT'], input, run);
  if (outcome.ok) return outcome.value;
  const { file, offset } = outcome.error.details;
  assert.type(file, 'string', `CORRUPT names no file: ${outcome.error.message}`);
  assert.type(offset, 'number', `CORRUPT names no offset: ${outcome.error.message}`);
  return undefined;
}

/** Opens the tree and asks it everything; `told`: the answers have to be what was written. */
async function play(name: string, spoiling: Spoiling, told: boolean): Promise<void> {
  const { specimen, file } = spoiling;
  const { model, compactRevision } = specimen;
  const options = spoiling.eager ? { ...specimen.options, ...EAGER } : specimen.options;
  const ports = new HarnessPorts();
  const disk = await diskWith(spoiling);
  const checked = disk.fork();
  let opened: OpenTree | undefined;
  try {
    opened = await read(name, spoiling, () => TABLES_TREE.open(disk, TREE_PATH, ports, options));
    if (opened !== undefined) await readAll(name, spoiling, opened, told ? model : undefined);
    await TABLES_TREE.check(checked, TREE_PATH);
    if (file.endsWith('.kvt')) await verifyTable(checked, file, undefined, {});
    if (!told || opened === undefined) return;
    const retained = model.retained(compactRevision);
    const { tree } = opened;
    const all = await read(name, spoiling, () => allVersions(tree));
    if (all !== undefined) assertAllowed(all, model.records, retained, `versions of ${inputOf(spoiling)}`);
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${name}: ${text}\n${inputOf(spoiling)}`);
  } finally {
    await opened?.tree.close().catch((error: unknown) => {
      // A tree that met damage may say so once more.
      if (!(error instanceof KvError)) throw error;
    });
    ports.stop();
  }
}

async function readAll(
  name: string,
  spoiling: Spoiling,
  { tree, settled }: OpenTree,
  model: Specimen['model'] | undefined,
): Promise<void> {
  for (const { key } of spoiling.specimen.model.records) {
    tree.mayContain(key);
    await read(name, spoiling, async () => tree.get(key, LAST_REVISION));
  }
  for (const reverse of [false, true]) {
    const bounds = { start: new Uint8Array(0), end: undefined, maxBytes: LAST_REVISION };
    const request = { ...bounds, revision: LAST_REVISION, reverse, limit: 1e9, keysOnly: false };
    const found = await read(name, spoiling, () => scanToEnd(tree, request));
    if (model !== undefined && found !== undefined)
      assert.equal(
        found.map(({ modRevision }) => modRevision),
        model.scan(request).records.map(({ modRevision }) => modRevision),
        `a scan of ${inputOf(spoiling)}`,
      );
  }
  await read(name, spoiling, () => allVersions(tree));
  await read(name, spoiling, async () => {
    await tree.compact(1);
    await settled();
  });
}

/** Spoils without changing the length, and leaves the footer (whose checksum is then put right) in its place. */
function fitted(bytes: Uint8Array, other: Uint8Array, how: readonly Step[]): Uint8Array<ArrayBuffer> {
  const now = new Uint8Array(bytes);
  const changed = spoilt(bytes, other, how);
  const isFooter = changed.length === bytes.length;
  now.set(changed.subarray(0, isFooter ? bytes.length : Math.max(0, bytes.length - FOOTER_BYTES)));
  if (!isFooter) now.set(bytes.subarray(bytes.length - FOOTER_BYTES), bytes.length - FOOTER_BYTES);
  return now;
}

const place = fc.record({
  which: fc.nat(specimens.length - 1),
  file: fc.nat(40),
  other: fc.nat(40),
  eager: fc.boolean(),
});

function placed(
  { which, file, other, eager }: { which: number; file: number; other: number; eager: boolean },
  suffix: string,
): Spoiling & { other: Uint8Array } {
  const specimen = specimens[which]!;
  const names = [...specimen.files.keys()].filter((name) => name.endsWith(suffix));
  const chosen = names[file % names.length]!;
  return {
    specimen,
    eager,
    file: chosen,
    bytes: specimen.files.get(chosen)!,
    other: specimen.files.get(names[other % names.length]!)!,
  };
}

for (const suffix of ['.kvt', 'MANIFEST']) {
  test(`spoilt ${suffix}: what is read was written`, async () => {
    await fc.assert(
      fc.asyncProperty(place, steps, async (at, how) => {
        const { bytes, other, ...rest } = placed(at, suffix);
        await play(`tree, ${suffix}`, { ...rest, bytes: spoilt(bytes, other, how) }, true);
      }),
      edgeParameters(RUNS),
    );
  });
}

test('a spoilt table whose checksums are right is opened, read, merged and checked without harm', async () => {
  await fc.assert(
    fc.asyncProperty(place, steps, async (at, how) => {
      const { bytes, other, ...rest } = placed(at, '.kvt');
      await play('sealed table', { ...rest, bytes: resealTable(fitted(bytes, other, how)) }, false);
    }),
    edgeParameters(RUNS),
  );
});

test('a spoilt manifest whose checksum is right is read without harm', async () => {
  await fc.assert(
    fc.asyncProperty(place, steps, async (at, how) => {
      const { bytes, other, ...rest } = placed(at, 'MANIFEST');
      const sealed = resealManifest(new Uint8Array(spoilt(bytes, other, how)));
      await play('sealed manifest', { ...rest, bytes: sealed }, false);
    }),
    edgeParameters(RUNS),
  );
});

test('the manifest alone: spoilt, sealed and not, cut at every length', () => {
  const manifests = specimens.map((specimen) => specimen.files.get(MANIFEST)!);
  const decode = (bytes: Uint8Array) => {
    const outcome = guarded('manifest', bytes, ['CORRUPT'], () => decodeManifest(bytes, MANIFEST));
    if (!outcome.ok) assert.is(outcome.error.details['file'], MANIFEST);
  };
  fc.assert(
    fc.property(fc.nat(1), steps, fc.boolean(), noise, (which, how, seal, garbage) => {
      const bytes = new Uint8Array(spoilt(manifests[which]!, manifests[1 - which]!, how));
      decode(seal ? resealManifest(bytes) : bytes);
      decode(garbage);
    }),
    edgeParameters(RUNS * 20),
  );
  for (const bytes of manifests)
    for (let size = 0; size < bytes.length; size++) decode(resealManifest(bytes.slice(0, size)));
});

test('a table cut at any length is told by the checker', async () => {
  const { specimen, file, bytes } = placed({ which: 0, file: 0, other: 0, eager: false }, '.kvt');
  for (let size = 0; size < bytes.length; size += 1 + Math.floor(bytes.length / (RUNS * 4))) {
    const cut = { specimen, file, eager: false, bytes: bytes.slice(0, size) };
    const disk = await diskWith(cut);
    const damages = await verifyTable(disk, file, undefined, {});
    assert.ok(damages.length > 0, `cut to ${size}`);
    const sealed = {
      specimen,
      file,
      eager: false,
      bytes: resealTable(new Uint8Array(Buffer.concat([cut.bytes, bytes.slice(-64)]))),
    };
    if (size < bytes.length - 64)
      assert.ok((await verifyTable(await diskWith(sealed), file, undefined, {})).length > 0);
  }
});

test.after(report);
test.run();
