/** Scans and watches through the TCP door: credit, order, parts, and clean ends. */

import * as assert from 'uvu/assert';
import { KvError } from '../../src/errors.ts';
import { readBatch, readPage, writeScan } from '../../src/wire/client_codec.ts';
import { OPCODE } from '../../src/wire/client_frames.ts';
import { test } from '../suite.ts';

import { getFields, putFields, stored, turns, waitFor, watchFields, withDoor } from './raw_client.ts';

test('a scan streams pages of one revision as far as its credit goes, and can be cancelled', () =>
  withDoor(async (_door, service, dial) => {
    const client = dial();
    await client.hello();
    for (let i = 0; i < 50; i++)
      client.send(OPCODE.WRITE, 1, putFields(`k${String(i).padStart(2, '0')}`, 'v'.repeat(100)));
    await client.until(() => client.frames.length === 50);
    client.frames.length = 0;
    const scan = (id: number, credit: number, reverse: boolean, limit = 1000) =>
      client.send(OPCODE.SCAN, id, (writer) =>
        writeScan(writer.varint(0).varint(credit), {
          level: 'linearizable',
          minRevision: 0,
          revision: 0,
          start: stored(''),
          end: Uint8Array.of(2),
          reverse,
          keysOnly: false,
          limit,
          maxBytes: 1000,
        }),
      );
    for (const reverse of [false, true]) {
      scan(7, 1, reverse);
      const keys: string[] = [];
      for (;;) {
        const next = await client.next(7);
        if (next.opcode === OPCODE.STREAM_END) break;
        const sizeBytes = next.reader.remaining;
        const page = readPage(next.reader);
        assert.is(page.revision, 50);
        for (const record of page.records) keys.push(Buffer.from(record.key).toString());
        // Nothing more comes without credit.
        await turns(5);
        assert.is(client.frames.length, page.more ? 0 : 1);
        client.send(OPCODE.CREDIT, 7, (writer) => void writer.varint(sizeBytes));
      }
      assert.is(keys.length, 50);
      assert.equal(keys, reverse ? [...keys].sort().reverse() : [...keys].sort());
    }
    scan(8, 1 << 20, false, 25);
    let count = 0;
    for (;;) {
      const next = await client.next(8);
      if (next.opcode === OPCODE.STREAM_END) break;
      count += readPage(next.reader).records.length;
    }
    assert.is(count, 25);
    scan(9, 1, false);
    await client.next(9);
    client.send(OPCODE.CANCEL, 9);
    assert.is((await client.next(9)).opcode, OPCODE.STREAM_END);
    scan(10, 0, false);
    const single = await client.next(10);
    assert.is(single.opcode, OPCODE.RESULT);
    assert.is(readPage(single.reader).more, true);
    scan(11, 0, false, 0);
    assert.is((await client.nextError(11)).code, 'INVALID_ARGUMENT');
    service.before = async () => {
      throw new KvError('COMPACTED', 'gone');
    };
    scan(12, 1, false);
    assert.is((await client.nextError(12)).code, 'COMPACTED');
    scan(13, 0, false);
    assert.is((await client.nextError(13)).code, 'COMPACTED');
  }));

test('a page or an event that the client cannot take ends its stream; a single page can be cancelled while it is fetched', () =>
  withDoor(async (_door, service, dial) => {
    const client = dial();
    await client.hello(1024);
    const scanAll = (id: number, credit: number, maxBytes = 1000) =>
      client.send(OPCODE.SCAN, id, (writer) =>
        writeScan(writer.varint(400).varint(credit), {
          level: 'eventual',
          minRevision: 0,
          revision: 0,
          start: stored(''),
          end: undefined,
          reverse: false,
          keysOnly: false,
          limit: 10,
          maxBytes,
        }),
      );
    client.send(OPCODE.WATCH, 1, watchFields(100_000));
    await client.next(1);
    client.send(OPCODE.WRITE, 2, putFields('big', 'x'.repeat(3000)));
    await client.next(2);
    assert.is((await client.nextError(1)).code, 'FRAME_TOO_LARGE');
    assert.is(service.store.watcherCount, 0);
    scanAll(3, 0);
    assert.is((await client.nextError(3)).code, 'FRAME_TOO_LARGE');
    scanAll(4, 100);
    assert.is((await client.nextError(4)).code, 'FRAME_TOO_LARGE');
    scanAll(5, 0, 0);
    assert.is((await client.nextError(5)).code, 'INVALID_ARGUMENT');
    let release: () => void = () => {};
    service.before = () =>
      new Promise<void>((resolve) => {
        release = resolve;
      });
    scanAll(6, 0);
    client.send(OPCODE.CANCEL, 6);
    assert.is((await client.nextError(6)).code, 'CANCELLED');
    release();
    scanAll(7, 0);
    client.send(OPCODE.PING, 8);
    await client.next(8);
    client.socket.destroy();
    await turns(5);
    release();
    service.before = () => {};
    const other = dial();
    await other.hello();
    other.send(OPCODE.GET, 9, getFields('big'));
    assert.is((await other.next(9)).opcode, OPCODE.RESULT);
  }));

test('a watch says from where it delivers, stops at the end of its credit, and goes on in order', () =>
  withDoor(async (_door, service, dial) => {
    const client = dial();
    await client.hello();
    client.send(OPCODE.WATCH, 1, watchFields(1));
    const opening = readBatch((await client.next(1)).reader);
    assert.equal(opening, { revision: 0, events: [], partial: false });
    for (let i = 1; i <= 5; i++) client.send(OPCODE.WRITE, 100 + i, putFields('k', `v${i}`));
    for (let i = 1; i <= 5; i++) await client.next(100 + i);
    assert.is(client.frames.length, 0);
    client.send(OPCODE.CREDIT, 1, (writer) => void writer.varint(1000));
    for (let i = 1; i <= 5; i++) {
      const batch = readBatch((await client.next(1)).reader);
      assert.is(batch.revision, i);
      assert.is(Buffer.from(batch.events[0]!.record.value).toString(), `v${i}`);
    }
    client.send(OPCODE.WATCH, 1, watchFields(1));
    assert.is((await client.nextError(1)).code, 'PROTOCOL');
    client.send(OPCODE.CANCEL, 1);
    assert.is((await client.next(1)).opcode, OPCODE.STREAM_END);
    assert.is(service.store.watcherCount, 0);
    client.send(OPCODE.WATCH, 2, watchFields(1000, 3));
    assert.is(readBatch((await client.next(2)).reader).revision, 2);
    assert.is(readBatch((await client.next(2)).reader).revision, 3);
    service.store.compactRevision = 3;
    client.send(OPCODE.WATCH, 3, watchFields(1000, 2));
    assert.is((await client.nextError(3)).code, 'COMPACTED');
    client.socket.destroy();
    await waitFor(() => service.store.watcherCount === 0);
  }));

test('a revision larger than a frame arrives in parts', () =>
  withDoor(async (_door, service, dial) => {
    const client = dial();
    await client.hello(4096);
    client.send(OPCODE.WATCH, 1, watchFields(1 << 30));
    await client.next(1);
    const value = Buffer.alloc(1500, 'v');
    service.store.apply({
      type: 'txn',
      id: { session: 0, sequence: 0, acknowledgedBelow: 0 },
      compares: [],
      success: Array.from({ length: 20 }, (_, i) => ({
        type: 'put' as const,
        key: stored(`k${i}`),
        value,
        ttlMs: 0,
        lease: 0n,
        prevKv: false,
        ignoreValue: false,
        ignoreLease: false,
      })),
      failure: [],
    });
    let events = 0;
    let frames = 0;
    for (let partial = true; partial; frames++) {
      const batch = readBatch((await client.next(1)).reader);
      assert.is(batch.revision, 1);
      events += batch.events.length;
      partial = batch.partial;
    }
    assert.is(events, 20);
    assert.ok(frames > 5);
  }));

test.run();
