/**
 * Damage and torn tails told apart: what provably had been durable is refused when it no longer reads back (file and offset named), the tail that was never
 * acknowledged is cut, and nothing is ever silently wrong in the middle.
 */

import * as assert from 'uvu/assert';
import { KvError } from '../../../src/errors.ts';
import { ENTRY_COMMAND, type Entry } from '../../../src/raft/types.ts';
import { HEADER_BYTES, recordBytes } from '../../../src/storage/log/format.ts';
import type { SegmentedLog } from '../../../src/storage/log/segmented_log.ts';
import { verifyLog } from '../../../src/storage/log/verify.ts';
import { MemoryDisk } from '../../../src/storage/memory_disk.ts';
import { test } from '../../suite.ts';
import { contents, entries, entry, LOG_PATH, openLog, VirtualPorts } from './log_fixture.ts';

const HARD_STATE = { term: 1, vote: 1, commit: 0 };
const OPTIONS = { segmentSizeBytes: 1024, preallocateBytes: 512 };

interface Image {
  readonly name: string;
  readonly bytes: Uint8Array;
}

async function imageOf(disk: MemoryDisk): Promise<Image[]> {
  const names = await disk.list(LOG_PATH);
  return Promise.all(
    names.map(async (name) => ({ name, bytes: (await disk.readFile(`${LOG_PATH}/${name}`)).slice() })),
  );
}

async function diskOf(images: readonly Image[]): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory(LOG_PATH);
  await disk.syncDirectory('/');
  for (const { name, bytes } of images) {
    const file = await disk.open(`${LOG_PATH}/${name}`, 'create');
    file.writeSync([bytes], 0);
    await file.close();
  }
  return disk;
}

async function tryOpen(disk: MemoryDisk): Promise<SegmentedLog | KvError> {
  return openLog(disk, OPTIONS).catch((error: unknown) => {
    assert.instance(error, KvError);
    if (error instanceof KvError) return error;
    throw error;
  });
}

/** A log of several segments; every append acknowledged, none after the last one. */
async function severalSegments(finish: 'crash' | 'idle' | 'close'): Promise<Image[]> {
  const disk = new MemoryDisk();
  const ports = new VirtualPorts();
  const log = await openLog(disk, { ...OPTIONS, ports });
  for (let i = 1; i <= 30; i++) await log.append(i === 1 ? HARD_STATE : undefined, [entry(i, 1, 30)], true);
  if (finish === 'idle') await ports.advance(3000);
  if (finish === 'close') await log.close();
  // Let the background work end, so that the image is at rest.
  await log.sync().catch((error: unknown) => {
    if (finish !== 'close') throw error;
  });
  return imageOf(disk);
}

function withFlip(images: readonly Image[], file: number, offset: number, mask: number): Image[] {
  return images.map(({ name, bytes }, i) => {
    const copy = bytes.slice();
    if (i === file) copy[offset]! ^= mask;
    return { name, bytes: copy };
  });
}

const LAST_RECORD_BYTES = recordBytes(30);

async function flipEverywhere(
  finish: 'crash' | 'idle' | 'close',
): Promise<{ lost: number; refused: number }> {
  const images = await severalSegments(finish);
  const whole = contents((await tryOpen(await diskOf(images))) as SegmentedLog);
  assert.is(whole.entries.length, 30);
  assert.ok(images.length >= 3);
  let lost = 0;
  let refused = 0;
  for (let file = 0; file < images.length; file++) {
    const { name, bytes } = images[file]!;
    for (let offset = 0; offset < bytes.length; offset++) {
      const damaged = withFlip(images, file, offset, 1 << (offset % 8));
      const opened = await tryOpen(await diskOf(damaged));
      const context = `${finish}: flip at ${offset} of ${name}`;
      if (opened instanceof KvError) {
        refused++;
        assert.ok(opened.code === 'CORRUPT', `${context}: ${opened.message}`);
        assert.is(opened.details['file'], `${LOG_PATH}/${name}`, context);
        const at = Number(opened.details['offset']);
        assert.ok(
          at <= offset && offset < at + Math.max(HEADER_BYTES, LAST_RECORD_BYTES),
          `${context}: said ${at}`,
        );
        continue;
      }
      const now = contents(opened);
      if (now.entries.length === 30) {
        assert.equal(now, whole, context);
      } else {
        lost++;
        assert.equal(now.entries, whole.entries.slice(0, 29), `${context}: more than the last batch is lost`);
      }
    }
  }
  return { lost, refused };
}

test('a flip of any byte after a crash: refused with its place, harmless, or in the last unsealed append', async () => {
  const { lost, refused } = await flipEverywhere('crash');
  assert.ok(refused > 1500, `only ${refused} refused`);
  // The ambiguity that stays: an append that was acknowledged and never sealed looks like one that was torn.
  assert.ok(lost > 0 && lost <= LAST_RECORD_BYTES + HEADER_BYTES, `${lost} lost`);
});

test('after an idle second, and after an orderly close, no flip of any byte loses anything silently', async () => {
  for (const finish of ['idle', 'close'] as const) {
    const { lost } = await flipEverywhere(finish);
    assert.is(lost, 0, finish);
  }
});

/** 10 acknowledged appends, then one that the disk may have in part. */
async function withTail(): Promise<{ image: Image; start: number; tail: Entry[] }> {
  const disk = new MemoryDisk();
  const options = { segmentSizeBytes: 1 << 16, preallocateBytes: 4096 };
  const log = await openLog(disk, options);
  for (let i = 1; i <= 10; i++) await log.append(i === 1 ? HARD_STATE : undefined, [entry(i, 1, 30)], true);
  const start = HEADER_BYTES + recordBytes(8) + 10 * recordBytes(30);
  const tail = [entry(11, 1, 5), entry(12, 1, 100), entry(13, 2, 0)];
  await log.append({ term: 2, vote: 0, commit: 0 }, [], true);
  await log.append(undefined, tail, true);
  return { image: (await imageOf(disk))[0]!, start, tail };
}

test('the tail cut or zeroed at every offset: every record wholly before it is there, and the log goes on', async () => {
  const { image, start, tail } = await withTail();
  // hard state of term 2, then the three entries
  const ends = [start + recordBytes(8)];
  for (const { data } of tail) ends.push(ends.at(-1)! + recordBytes(data.length));
  for (let cut = start; cut <= ends.at(-1)!; cut++) {
    for (const how of ['truncate', 'zero'] as const) {
      const bytes = how === 'truncate' ? image.bytes.slice(0, cut) : image.bytes.slice().fill(0, cut);
      const disk = await diskOf([{ name: image.name, bytes }]);
      const opened = await tryOpen(disk);
      const context = `${how} at ${cut}`;
      if (cut < start + recordBytes(8)) {
        // The batch after it says that the hard state was durable; with all of it gone nothing does.
        assert.ok(!(opened instanceof KvError), `${context}: ${String(opened)}`);
      }
      if (opened instanceof KvError) throw new Error(`${context}: ${opened.message}`);
      // A record counts when all its bytes but the zeros that pad it are there.
      let whole = 10;
      tail.forEach(({ data }, i) => {
        const used = ends[i]! + 40 + data.length;
        if (how === 'truncate' ? cut >= ends[i + 1]! : cut >= used) whole = 11 + i;
      });
      assert.ok(opened.lastIndex() >= whole, `${context}: ${opened.lastIndex()} of ${whole}`);
      assert.ok(opened.lastIndex() <= 13);
      const last = opened.lastIndex();
      const before = contents(opened).entries;
      await opened.append({ term: 3, vote: 0, commit: 0 }, entries(last + 1, last + 3, 3, 64), true);
      disk.crash('all', () => 0);
      const again = await tryOpen(disk);
      if (again instanceof KvError) throw new Error(`${context}: after going on: ${again.message}`);
      assert.is(again.lastIndex(), last + 3, context);
      assert.equal(contents(again).entries.slice(0, last), before, context);
    }
  }
});

test('acknowledged data cut off a sealed or closed log, or one with later segments, is refused where that can be proved', async () => {
  for (const finish of ['crash', 'idle', 'close'] as const) {
    const images = await severalSegments(finish);
    for (let offset = HEADER_BYTES; offset < images[0]!.bytes.length - 200; offset += 8) {
      const bytes = images[0]!.bytes.slice().fill(0, offset);
      const opened = await tryOpen(await diskOf([{ name: images[0]!.name, bytes }, ...images.slice(1)]));
      assert.ok(opened instanceof KvError && opened.code === 'CORRUPT', `${finish} zeroed from ${offset}`);
      assert.is(opened.details['file'], `${LOG_PATH}/${images[0]!.name}`);
    }
  }
});

test('a segment missing at the front or in the middle is refused', async () => {
  const images = await severalSegments('crash');
  for (const missing of [0, 1]) {
    const opened = await tryOpen(await diskOf(images.filter((_, i) => i !== missing)));
    assert.ok(opened instanceof KvError && opened.code === 'CORRUPT', `without segment ${missing}`);
  }
});

test('after a cut the front is still watched over: a missing segment is refused', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk, OPTIONS);
  for (let i = 1; i <= 60; i++) await log.append(HARD_STATE, [entry(i, 1, 30)], true);
  await log.cut(30);
  const first = log.firstIndex();
  await log.close();
  const images = await imageOf(disk);
  assert.is(((await tryOpen(await diskOf(images))) as SegmentedLog).firstIndex(), first);
  const opened = await tryOpen(await diskOf(images.slice(1)));
  assert.ok(opened instanceof KvError && opened.code === 'CORRUPT');
  assert.match(opened.message, /missing/);
});

test('a reset log whose header is damaged is not taken for a new one', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk, OPTIONS);
  await log.append(HARD_STATE, [entry(1, 1)], true);
  await log.reset(100, 1);
  const images = (await imageOf(disk)).slice(0, 1);
  for (const offset of [0, 8, 12, 20, 100]) {
    const opened = await tryOpen(await diskOf(withFlip(images, 0, offset, 1)));
    assert.ok(opened instanceof KvError && opened.code === 'CORRUPT', `offset ${offset}`);
  }
});

test('a log in a newer format is refused as such', async () => {
  const { crc32 } = await import('../../../src/storage/crc32.ts');
  const images = await severalSegments('close');
  const { name, bytes } = images[0]!;
  const view = new DataView(bytes.buffer);
  view.setUint32(8, 99, true);
  view.setUint32(12, 0, true);
  view.setUint32(12, crc32(bytes.subarray(0, HEADER_BYTES), crc32(name)), true);
  const opened = await tryOpen(await diskOf(images));
  assert.ok(opened instanceof KvError && opened.code === 'UNSUPPORTED_VERSION');
});

test('bytes of another segment are never valid, wherever they turn up', async () => {
  const images = await severalSegments('crash');
  const [first, second] = [images[0]!, images[1]!];
  // A misdirected write: records of the second segment over the first one's.
  const bytes = first.bytes.slice();
  bytes.set(second.bytes.subarray(HEADER_BYTES, HEADER_BYTES + 400), HEADER_BYTES);
  const opened = await tryOpen(await diskOf([{ name: first.name, bytes }, ...images.slice(1)]));
  assert.ok(opened instanceof KvError && opened.code === 'CORRUPT');
  assert.is(opened.details['offset'], HEADER_BYTES);
});

test('bit rot under an open log ends at the reader as CORRUPT with its place', async () => {
  const disk = new MemoryDisk();
  const log = await openLog(disk, { ...OPTIONS, cacheBytes: 1 });
  for (let i = 1; i <= 30; i++) await log.append(HARD_STATE, [entry(i, 1, 30)], true);
  const name = (await disk.list(LOG_PATH))[0]!;
  const offset = HEADER_BYTES + recordBytes(8) + recordBytes(30);
  disk.damage(`${LOG_PATH}/${name}`, offset + 50, 4);
  assert.is(log.entries(1, 2, 1e6).length, 1);
  assert.throws(
    () => log.entries(1, 10, 1e6),
    (error: unknown) =>
      error instanceof KvError && error.code === 'CORRUPT' && error.details['offset'] === offset,
  );
  disk.damage(`${LOG_PATH}/${name}`, offset + 16, 4);
  assert.throws(() => log.entries(2, 3, 1e6), /is not where it was written/);
  const file = await disk.open(`${LOG_PATH}/${name}`, 'open');
  await file.truncate(offset + 10);
  assert.throws(() => log.entries(2, 3, 1e6), /ends within an entry/);
});

test('verifyLog reports every damaged place and changes nothing', async () => {
  const images = await severalSegments('close');
  assert.equal(await verifyLog(await diskOf(images), LOG_PATH), []);
  const twice = withFlip(withFlip(images, 0, HEADER_BYTES + 60, 1), 0, HEADER_BYTES + 400, 1);
  const disk = await diskOf(withFlip(twice, 1, 3, 1));
  const operations = disk.operations;
  const found = await verifyLog(disk, LOG_PATH);
  assert.is(disk.operations, operations);
  const [a, b] = [`${LOG_PATH}/${images[0]!.name}`, `${LOG_PATH}/${images[1]!.name}`];
  const second = HEADER_BYTES + recordBytes(8) + 4 * recordBytes(30);
  assert.equal(
    found.map(({ file, offset, severity }) => [file, offset, severity]),
    [
      [a, HEADER_BYTES + recordBytes(8), 'damage'],
      [a, second, 'damage'],
      [b, 0, 'damage'],
    ],
  );
});

test('verifyLog sees blank headers, missing records and segments, and a torn tail for what it is', async () => {
  const images = await severalSegments('close');
  const problems = async (changed: Image[]): Promise<string[]> =>
    (await verifyLog(await diskOf(changed), LOG_PATH)).map(
      ({ problem, severity }) => `${severity}: ${problem}`,
    );
  const change = (file: number, from: number, to: number, value: number): Image[] =>
    images.map(({ name, bytes }, i) => ({
      name,
      bytes: i === file ? bytes.slice().fill(value, from, to) : bytes,
    }));
  assert.match((await problems(change(1, 0, HEADER_BYTES, 0))).join(), /blank segment header/);
  assert.match((await problems(change(0, HEADER_BYTES, HEADER_BYTES + 48, 0))).join(), /records missing/);
  assert.match((await problems(images.slice(1))).join(), /damage: .*missing/);
  const crashed = await severalSegments('crash');
  const used = crashed.findLastIndex(({ bytes }) => bytes[0] !== 0);
  const end = crashed[used]!.bytes.findLastIndex((byte) => byte !== 0);
  const torn = crashed.map(({ name, bytes }, i) => ({
    name,
    bytes: i === used ? bytes.slice().fill(0, end - 8) : bytes,
  }));
  const found = await verifyLog(await diskOf(torn), LOG_PATH);
  assert.is(found.length, 1);
  assert.is(found[0]!.severity, 'tornTail');
  const opened = await tryOpen(await diskOf(torn));
  assert.ok(!(opened instanceof KvError) && opened.lastIndex() === 29);
});

test('garbage behind the end of the log is cleared before anything is appended over it', async () => {
  const images = await severalSegments('close');
  const used = images.findLastIndex(({ bytes }) => bytes[0] !== 0);
  const garbage = images.map(({ name, bytes }, i) => {
    const copy = bytes.slice();
    if (i === used) copy.fill(0xa5, copy.length - 60);
    return { name, bytes: copy };
  });
  const disk = await diskOf(garbage);
  const log = (await tryOpen(disk)) as SegmentedLog;
  assert.is(log.lastIndex(), 30);
  const cleared = (await imageOf(disk))[used]!.bytes;
  assert.ok(cleared.subarray(cleared.length - 60).every((byte) => byte === 0));
});

test('random bytes in a segment file are refused or cut, never believed', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory(LOG_PATH);
  const ports = new VirtualPorts(3);
  const file = await disk.open(`${LOG_PATH}/0000000000000001-00000000.log`, 'create');
  file.writeSync([ports.random.bytes(5000)], 0);
  const log = (await tryOpen(disk)) as SegmentedLog;
  assert.is(log.lastIndex(), 0, 'a first segment without a header was never in use');
  const one: Entry = { index: 1, term: 1, kind: ENTRY_COMMAND, data: new Uint8Array(3) };
  await log.append(HARD_STATE, [one], true);
  await log.close();
});

test.run();
