/** The disk in memory: the common suite, and what it may lose and how it fails. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { DiskError } from '../../src/storage/disk.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { LOSS_RULES } from '../../src/storage/memory_disk_nodes.ts';
import { test } from '../suite.ts';
import { diskConformance } from './disk_conformance.ts';
import { seededRandom } from './log/log_fixture.ts';

diskConformance(test, 'MemoryDisk', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/root');
  return { disk, root: '/root' };
});

const isCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof DiskError && error.code === code;

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** A disk with /d/a holding 1024 durable bytes of 1, and then 1024 unsynced bytes of 2 over all of it. */
async function halfSynced(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/d');
  await disk.syncDirectory('/');
  const file = await disk.open('/d/a', 'create');
  file.writeSync([new Uint8Array(1024).fill(1)], 0);
  await file.sync();
  await disk.syncDirectory('/d');
  file.writeSync([new Uint8Array(1024).fill(2)], 0);
  return disk;
}

test('a crash that loses all goes back to the last sync; one that loses nothing keeps everything', async () => {
  const lost = await halfSynced();
  lost.crash('all', () => 0);
  assert.ok((await lost.readFile('/d/a')).every((byte) => byte === 1));
  const kept = await halfSynced();
  kept.crash('none', () => 0);
  assert.ok((await kept.readFile('/d/a')).every((byte) => byte === 2));
});

test('property: a crash that loses all leaves each file as its last sync found it, however much was written before', async () => {
  const place = fc.integer({ min: 0, max: 40_000 });
  const change = fc.oneof(
    { weight: 4, arbitrary: fc.record({ at: place, length: fc.integer({ min: 1, max: 30_000 }) }) },
    { weight: 1, arbitrary: fc.record({ at: place, length: fc.constant(0) }) },
    { weight: 2, arbitrary: fc.constant('sync' as const) },
    { weight: 1, arbitrary: fc.constantFrom('crash' as const, 'fork' as const) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 60 }), async (changes) => {
      let disk = new MemoryDisk();
      let file = await disk.open('/a', 'create');
      await disk.syncDirectory('/');
      let now = new Uint8Array(0);
      let durable = now;
      for (const [i, step] of changes.entries()) {
        if (step === 'sync') {
          await file.sync();
          durable = now;
        } else if (step === 'crash' || step === 'fork') {
          if (step === 'fork') disk = disk.fork();
          disk.crash('all', () => 0);
          file = await disk.open('/a', 'open');
          now = durable;
        } else if (step.length === 0) {
          await file.truncate(step.at);
          const cut = new Uint8Array(step.at);
          cut.set(now.subarray(0, step.at));
          now = cut;
        } else {
          file.writeSync([new Uint8Array(step.length).fill(i + 1)], step.at);
          const longer = new Uint8Array(Math.max(now.length, step.at + step.length));
          longer.set(now);
          longer.fill(i + 1, step.at, step.at + step.length);
          now = longer;
        }
        assert.ok(Buffer.compare(await disk.readFile('/a'), now) === 0, `after change ${i}`);
      }
      disk.crash('all', () => 0);
      assert.ok(Buffer.compare(await disk.readFile('/a'), durable) === 0, 'after the last crash');
    }),
  );
});

test('random loss takes whole sectors in any order; torn512 keeps a prefix up to a sector, torn1 up to a byte', async () => {
  const seen = new Map<string, Set<string>>();
  for (let seed = 1; seed <= 200; seed++) {
    for (const rule of ['random', 'torn512', 'torn1'] as const) {
      const disk = await halfSynced();
      disk.crash(rule, seededRandom(seed));
      const bytes = await disk.readFile('/d/a');
      const shape = bytes.reduce(
        (text, byte, i) => (i > 0 && bytes[i - 1] === byte ? text : `${text}${byte}@${i} `),
        '',
      );
      if (!seen.has(rule)) seen.set(rule, new Set());
      seen.get(rule)!.add(shape);
    }
  }
  assert.equal([...seen.get('random')!].sort(), ['1@0 ', '1@0 2@512 ', '2@0 ', '2@0 1@512 ']);
  assert.equal([...seen.get('torn512')!].sort(), ['1@0 ', '2@0 ', '2@0 1@512 ']);
  const torn = seen.get('torn1')!;
  assert.ok(torn.size > 50);
  for (const shape of torn) assert.match(shape, /^(1@0|2@0|2@0 1@\d+) $/);
});

test('a file that was synced is still lost when its directory was not', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory('/d');
  await disk.syncDirectory('/');
  const file = await disk.open('/d/a', 'create');
  file.writeSync([Uint8Array.of(1)], 0);
  await file.sync();
  disk.crash('all', () => 0);
  assert.equal(await disk.list('/d'), []);
});

test('an unsynced rename or removal comes undone', async () => {
  const disk = await halfSynced();
  await disk.rename('/d/a', '/d/b');
  disk.crash('all', () => 0);
  assert.equal(await disk.list('/d'), ['a']);
  await disk.remove('/d/a');
  disk.crash('all', () => 0);
  assert.equal(await disk.list('/d'), ['a']);
  await disk.remove('/d/a');
  await disk.syncDirectory('/d');
  disk.crash('all', () => 0);
  assert.equal(await disk.list('/d'), []);
});

test('a rename between directories may leave one file under both names or none', async () => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 60; seed++) {
    const disk = await halfSynced();
    await disk.makeDirectory('/e');
    await disk.syncDirectory('/');
    await disk.rename('/d/a', '/e/a');
    disk.crash('random', seededRandom(seed));
    outcomes.add(`${(await disk.list('/d')).join()}|${(await disk.list('/e')).join()}`);
  }
  assert.equal([...outcomes].sort(), ['a|', 'a|a', '|', '|a']);
});

test('a truncation that was not synced may be lost', async () => {
  for (const rule of LOSS_RULES) {
    const disk = await halfSynced();
    const file = await disk.open('/d/a', 'open');
    await file.sync();
    await file.truncate(10);
    disk.crash(rule, () => 0.4);
    const size = (await disk.readFile('/d/a')).length;
    assert.is(size, rule === 'none' || rule === 'random' ? 10 : 1024);
  }
});

test('files and locks of before a crash are unusable, and the directory can be locked again', async () => {
  const disk = await halfSynced();
  const file = await disk.open('/d/a', 'open');
  const held = await disk.lock('/d');
  disk.crash('none', () => 0);
  assert.throws(() => file.readSync(new Uint8Array(1), 0), isCode('IO'));
  assert.throws(() => file.sizeBytes(), isCode('IO'));
  const again = await disk.lock('/d');
  await held.release();
  assert.ok(isCode('LOCKED')(await failureOf(disk.lock('/d'))), 'an old holder frees nothing');
  await again.release();
});

test('failAt, failWrite and failSync strike the nth operation from now, once', async () => {
  const disk = await halfSynced();
  const file = await disk.open('/d/a', 'open');
  const write = (): void => file.writeSync([Uint8Array.of(9)], 0);
  disk.failAt(2);
  write();
  assert.throws(write, isCode('IO'));
  write();
  disk.failWrite(2);
  await file.sync();
  write();
  assert.throws(write, isCode('IO'));
  disk.failSync(2);
  await file.sync();
  assert.ok(isCode('IO')(await failureOf(file.sync())));
  await file.sync();
  disk.failSync(1);
  assert.ok(isCode('IO')(await failureOf(disk.syncDirectory('/d'))));
  assert.ok(disk.counts.get('write')! >= 5);
});

test('what a failed sync should have made durable stays visible, and no later sync saves it', async () => {
  const disk = await halfSynced();
  const file = await disk.open('/d/a', 'open');
  disk.failSync(1);
  assert.ok(isCode('IO')(await failureOf(file.sync())));
  assert.ok((await disk.readFile('/d/a')).every((byte) => byte === 2));
  await file.sync();
  disk.crash('all', () => 0);
  assert.ok((await disk.readFile('/d/a')).every((byte) => byte === 1));
});

test('after crashAt has struck the disk is down until crash is called', async () => {
  const disk = await halfSynced();
  const file = await disk.open('/d/a', 'open');
  disk.crashAt(1);
  assert.throws(() => file.writeSync([Uint8Array.of(9)], 0), isCode('IO'));
  assert.is(disk.down, true);
  assert.throws(() => file.readSync(new Uint8Array(1), 0), isCode('IO'));
  assert.ok(isCode('IO')(await failureOf(disk.list('/d'))));
  disk.crash('all', () => 0);
  assert.is(disk.down, false);
  assert.equal(await disk.list('/d'), ['a']);
});

test('a full disk takes what fits and then says NO_SPACE; freed space counts again', async () => {
  const disk = await halfSynced();
  disk.capacityBytes = 1024 + 100;
  const file = await disk.open('/d/b', 'create');
  assert.throws(() => file.writeSync([new Uint8Array(60), new Uint8Array(60)], 0), isCode('NO_SPACE'));
  assert.is(file.sizeBytes(), 100);
  assert.ok(isCode('NO_SPACE')(await failureOf(file.truncate(200))));
  assert.is(await disk.spaceLeftBytes('/d'), 0);
  file.writeSync([new Uint8Array(50).fill(3)], 50);
  await disk.remove('/d/a');
  assert.is(await disk.spaceLeftBytes('/d'), 1024);
  await file.write([new Uint8Array(60)], 100);
});

test('short writes are continued inside', async () => {
  const disk = await halfSynced();
  disk.shortWriteBytes = 3;
  const file = await disk.open('/d/a', 'open');
  file.writeSync([Uint8Array.of(1, 2), Uint8Array.of(3, 4, 5, 6)], 0);
  assert.equal([...(await disk.readFile('/d/a')).subarray(0, 6)], [1, 2, 3, 4, 5, 6]);
});

test('damage shows at once, and survives a sync and a crash', async () => {
  const disk = await halfSynced();
  disk.damage('/d/a', 5, 0xff);
  assert.is((await disk.readFile('/d/a'))[5], 2 ^ 0xff);
  await (await disk.open('/d/a', 'open')).sync();
  disk.crash('all', () => 0);
  assert.is((await disk.readFile('/d/a'))[5], 2 ^ 0xff);
});

test('bytes that were handed over in a buffer stay what they were, also on the platter', async () => {
  const disk = await halfSynced();
  const file = await disk.open('/d/a', 'open');
  const buffer = Buffer.alloc(1024, 7);
  file.writeSync([buffer], 0);
  buffer.fill(9);
  await file.sync();
  disk.crash('all', () => 0);
  assert.ok((await disk.readFile('/d/a')).every((byte) => byte === 7));
});

test('an unsynced link comes undone, and a file is lost with its last durable name only', async () => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 40; seed++) {
    const disk = await halfSynced();
    await disk.link('/d/a', '/d/b');
    await disk.remove('/d/a');
    disk.crash('random', seededRandom(seed));
    outcomes.add((await disk.list('/d')).join());
  }
  assert.equal([...outcomes].sort(), ['', 'a', 'a,b', 'b']);
  const disk = await halfSynced();
  await disk.link('/d/a', '/d/b');
  disk.crash('all', () => 0);
  assert.equal(await disk.list('/d'), ['a']);
  await disk.link('/d/a', '/d/b');
  assert.is(disk.usedBytes(), 1024, 'a file with two names takes its room once');
  await disk.syncDirectory('/d');
  await disk.remove('/d/a');
  await disk.syncDirectory('/d');
  disk.crash('all', () => 0);
  assert.equal(await disk.list('/d'), ['b']);
});

test('failRead strikes the nth read', async () => {
  const disk = await halfSynced();
  const file = await disk.open('/d/a', 'read');
  disk.failRead(2);
  assert.is(file.readSync(new Uint8Array(4), 0), 4);
  assert.ok(isCode('IO')(await failureOf(file.read(new Uint8Array(4), 0))));
  assert.is(file.readSync(new Uint8Array(4), 0), 4);
  disk.failRead(1);
  assert.ok(isCode('IO')(await failureOf(disk.readFile('/d/a'))));
});

test('from the operation that fillAt names the disk is full, for new names too, until something is removed', async () => {
  const disk = await halfSynced();
  disk.fillAt(2);
  const file = await disk.open('/d/b', 'create');
  assert.throws(() => file.writeSync([Uint8Array.of(1)], 0), isCode('NO_SPACE'));
  assert.ok(isCode('NO_SPACE')(await failureOf(disk.open('/d/c', 'create'))));
  assert.ok(isCode('NO_SPACE')(await failureOf(disk.link('/d/a', '/d/c'))));
  assert.ok(isCode('NO_SPACE')(await failureOf(disk.makeDirectory('/e'))));
  const old = await disk.open('/d/a', 'open');
  old.writeSync([Uint8Array.of(1)], 0);
  await disk.rename('/d/a', '/d/c');
  await disk.remove('/d/c');
  file.writeSync([new Uint8Array(1024)], 0);
  assert.throws(() => file.writeSync([Uint8Array.of(1)], 1024), isCode('NO_SPACE'));
  disk.makeRoom();
  file.writeSync([Uint8Array.of(1)], 1024);
});

test('a fork goes its own way from the same state, unsynced changes included', async () => {
  const disk = await halfSynced();
  await disk.link('/d/a', '/d/b');
  const fork = disk.fork();
  const again = disk.fork();
  const file = await disk.open('/d/a', 'open');
  file.writeSync([new Uint8Array(2048).fill(3)], 0);
  await file.sync();
  await disk.syncDirectory('/d');
  assert.ok((await fork.readFile('/d/b')).every((byte) => byte === 2));
  fork.damage('/d/a', 0, 1);
  assert.is((await fork.readFile('/d/b'))[0], 3, 'two names stay one file');
  assert.is((await again.readFile('/d/b'))[0], 2);
  fork.crash('all', () => 0);
  assert.equal(await fork.list('/d'), ['a']);
  assert.equal([...(await fork.readFile('/d/a'))], [0, ...new Array<number>(1023).fill(1)]);
  again.crash('none', () => 0);
  assert.equal(await again.list('/d'), ['a', 'b']);
  assert.ok((await again.readFile('/d/a')).every((byte) => byte === 2));
  disk.crash('all', () => 0);
  assert.is((await disk.readFile('/d/b')).length, 2048);
});

test('a misdirected write and a lost end show at once, and survive a sync and a crash', async () => {
  const disk = await halfSynced();
  const file = await disk.open('/d/a', 'open');
  file.writeSync([Uint8Array.of(5, 6, 7)], 10);
  disk.misdirect('/d/a', 10, 500, 3);
  disk.cutShort('/d/a', 502);
  assert.equal([...(await disk.readFile('/d/a')).subarray(498)], [2, 2, 5, 6]);
  await file.sync();
  disk.crash('all', () => 0);
  assert.equal([...(await disk.readFile('/d/a')).subarray(498)], [2, 2, 5, 6]);
});

test('an observer sees every operation and read before it takes place', async () => {
  const disk = await halfSynced();
  const seen: string[] = [];
  disk.observer = {
    operation: (operation, path) => seen.push(`${operation} ${path}`),
    read: (path, wanted, size) => seen.push(`read ${path} ${wanted} of ${size}`),
  };
  await disk.rename('/d/a', '/d/b');
  await (await disk.open('/d/b', 'read')).read(new Uint8Array(5), 0);
  assert.equal(seen, ['rename /d/a', 'read /d/b 5 of 1024']);
});

test('a delay comes before the operation, and an operation that a crash overtakes does nothing', async () => {
  let release: () => void = () => undefined;
  let delayed = false;
  const disk = new MemoryDisk({
    delay: () =>
      delayed
        ? new Promise<void>((resolve) => {
            release = resolve;
          })
        : undefined,
  });
  await disk.makeDirectory('/d');
  await disk.syncDirectory('/');
  const file = await disk.open('/d/a', 'create');
  delayed = true;
  const write = file.write([Uint8Array.of(1)], 0);
  assert.is(file.sizeBytes(), 0);
  release();
  await write;
  assert.is(file.sizeBytes(), 1);
  const removal = failureOf(disk.remove('/d/a'));
  disk.crash('none', () => 0);
  release();
  assert.ok(isCode('IO')(await removal));
  assert.equal(await disk.list('/d'), ['a']);
});

test.run();
