/** Valid bytes of every codec, made by the real encoders: what the tests at the edges spoil. Commands, results and records: test/wire/command_arbitraries.ts. */
import * as fc from 'fast-check';
import { ERROR_CODES, type ErrorCode, KvError } from '../../src/errors.ts';
import type { KvState } from '../../src/kv/state_machine.ts';
import { encodeConfiguration } from '../../src/raft/configuration.ts';
import {
  type Configuration,
  ENTRY_COMMAND,
  ENTRY_CONFIGURATION,
  ENTRY_NOOP,
  type Message,
} from '../../src/raft/types.ts';
import {
  readKeptAlive,
  readLeases,
  readTimeToLive,
  writeKeptAlive,
  writeLeases,
  writeTimeToLive,
} from '../../src/wire/client_lease_codec.ts';
import { encodeCommand } from '../../src/wire/command_codec.ts';
import { EntryBuilder } from '../../src/wire/entry_codec.ts';
import { encodeError } from '../../src/wire/error_codec.ts';
import type {
  LeaseKeepAliveResponse,
  LeasesResponse,
  LeaseTimeToLiveResponse,
} from '../../src/wire/lease_messages.ts';
import type { MembersResponse, NodeStatus } from '../../src/wire/messages.ts';
import { encodeMessage } from '../../src/wire/raft_codec.ts';
import { encodeResult } from '../../src/wire/result_codec.ts';
import { encodeState } from '../../src/wire/state_codec.ts';
import { type ByteReader, ByteWriter } from '../../src/wire/varint.ts';
import {
  alarms,
  authState,
  command,
  quotaStates,
  result,
  safeInteger,
  someBytes,
} from '../wire/command_arbitraries.ts';
import { leaseId, leasesState } from '../wire/lease_arbitraries.ts';
import { plainMessages } from '../wire/raft_arbitraries.ts';

export const text = fc.string({ unit: 'grapheme', maxLength: 20 });
const number = safeInteger;
export const clusterId = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

/** Bytes that `write` writes for each value. */
export function written<T>(
  values: fc.Arbitrary<T>,
  write: (writer: ByteWriter, value: T) => void,
): fc.Arbitrary<Uint8Array> {
  return values.map((value) => {
    const writer = new ByteWriter(64);
    write(writer, value);
    return writer.copy();
  });
}

export const commandBytes = command.map(encodeCommand);
export const resultBytes = written(result, (writer, one) => encodeResult(one, writer));

export const entryBytes = fc
  .tuple(fc.array(commandBytes, { minLength: 1, maxLength: 5 }), number)
  .map(([commands, timeMs]) => {
    const builder = new EntryBuilder();
    for (const one of commands) builder.add(one);
    return new Uint8Array(builder.finish(timeMs));
  });

const details = fc.dictionary(text, fc.oneof(text, fc.integer(), fc.boolean()), { maxKeys: 4 });
export const kvError = fc
  .record({
    code: fc.constantFrom(...(Object.keys(ERROR_CODES) as ErrorCode[])),
    message: text,
    maybeApplied: fc.boolean(),
    details,
  })
  .map(({ code, message, ...rest }) => new KvError(code, message, rest));
export const errorBytes = written(kvError, encodeError);

const session = fc.record({
  acknowledgedBelow: fc.integer({ min: 1, max: 1e12 }),
  lastActiveMs: fc.maxSafeNat(),
  results: fc.array(result, { maxLength: 3 }),
});
const state: fc.Arbitrary<KvState> = fc
  .record({
    revision: fc.integer({ min: 1, max: 1e15 }),
    timeMs: fc.maxSafeNat(),
    sessions: fc.array(session, { maxLength: 3 }),
    auth: fc.option(authState, { nil: undefined }),
    leases: fc.option(leasesState, { nil: undefined }),
    quotas: quotaStates(1),
  })
  .map(({ revision, timeMs, sessions, auth, leases, quotas }) => ({
    auth,
    revision,
    compactRevision: Math.floor(revision / 2),
    timeMs,
    lastSessionId: 10 * sessions.length,
    leases,
    ...(quotas.length > 0 && {
      quotas: quotas.map((one) => ({ ...one, countingFrom: one.countingFrom === 0 ? 0 : revision })),
    }),
    sessions: sessions.map(({ acknowledgedBelow, lastActiveMs, results }, at) => ({
      id: at * 10 + 3,
      acknowledgedBelow,
      lastActiveMs,
      results: results.map((kept, i) => ({ sequence: acknowledgedBelow + i * 7, result: kept })),
    })),
  }));
export const stateBytes = state.map(encodeState);

const port = fc.integer({ min: 1, max: 65_535 });
export const configuration: fc.Arbitrary<Configuration> = fc
  .record({ voters: fc.integer({ min: 1, max: 5 }), learners: fc.nat(2), joint: fc.boolean(), port })
  .map(({ voters, learners, joint, port: first }) => {
    const ids = Array.from({ length: voters + learners }, (_, i) => i + 1);
    return {
      voters: ids.slice(0, voters),
      votersOutgoing: joint ? ids.slice(0, Math.max(1, voters - 1)) : [],
      learners: ids.slice(voters),
      members: ids.map((id) => ({
        id,
        peerAddress: `10.0.0.${id}:${first}`,
        clientAddress: `10.0.0.${id}:1`,
      })),
      lastId: ids.length,
    };
  });
export const configurationBytes = configuration.map(encodeConfiguration);

const base = { from: number, to: number, term: fc.maxSafeNat() };
const KINDS_OF_ENTRIES = [ENTRY_COMMAND, ENTRY_NOOP, ENTRY_CONFIGURATION] as const;
const appendRequest: fc.Arbitrary<Message> = fc
  .record({
    ...base,
    prevIndex: fc.nat(),
    prevTerm: number,
    commit: number,
    list: fc.array(fc.tuple(fc.nat(1000), fc.constantFrom(...KINDS_OF_ENTRIES), someBytes), { maxLength: 6 }),
  })
  .map(({ list, ...rest }) => ({
    type: 'appendRequest',
    ...rest,
    entries: list.map(([term, kind, data], i) => ({
      index: rest.prevIndex + 1 + i,
      term: Math.min(term, rest.term),
      kind,
      data,
    })),
  }));
const snapshotChunk: fc.Arbitrary<Message> = fc
  .record({ ...base, index: number, snapshotTerm: number, configuration, offset: fc.nat(), data: someBytes })
  .map(({ index, snapshotTerm, configuration: members, offset, data, ...head }) => ({
    type: 'snapshotChunkRequest',
    ...head,
    snapshot: { index, term: snapshotTerm, configuration: members, sizeBytes: offset + data.length + 9 },
    offset,
    data,
  }));
/** Every kind of message. */
export const raftMessage: fc.Arbitrary<Message> = fc.oneof(
  { weight: 4, arbitrary: appendRequest },
  { weight: 4, arbitrary: snapshotChunk },
  ...plainMessages(base, number).map((arbitrary) => ({ weight: 1, arbitrary })),
);
export const raftBytes = raftMessage.map((message) => new Uint8Array(Buffer.concat(encodeMessage(message))));

export const status: fc.Arbitrary<NodeStatus> = fc.record({
  id: number,
  clusterId: clusterId.map(String),
  role: fc.constantFrom('leader', 'follower', 'candidate', 'preCandidate', 'learner'),
  pid: number,
  term: number,
  leader: number,
  commitIndex: number,
  appliedIndex: number,
  revision: number,
  compactRevision: number,
  version: text,
  uptimeMs: number,
  rssBytes: number,
  dataBytes: number,
  health: text,
  endpoints: fc.array(text, { maxLength: 3 }),
  metrics: fc.dictionary(text, fc.double(), { maxKeys: 4 }),
  alarms,
});
export const members: fc.Arbitrary<MembersResponse> = fc.record({
  clusterId: clusterId.map(String),
  leader: number,
  members: fc.array(
    fc.record({
      id: number,
      peerAddress: text,
      clientAddress: text,
      role: fc.constantFrom('voter', 'learner'),
      leader: fc.boolean(),
      matchIndex: fc.option(number, { nil: undefined }),
    }),
    { maxLength: 4 },
  ),
});

/** One of each answer about leases, behind one another. */
export interface LeaseAnswers {
  readonly kept: LeaseKeepAliveResponse;
  readonly times: LeaseTimeToLiveResponse;
  readonly list: LeasesResponse;
}
export const leaseAnswers: fc.Arbitrary<LeaseAnswers> = fc.record({
  kept: fc.record({ revision: number, ttlMs: number }),
  times: fc.record({
    revision: number,
    lease: leaseId,
    ttlMs: number,
    remainingMs: number.map((left) => left - 1),
    keys: fc.array(someBytes, { maxLength: 4 }),
  }),
  list: fc.record({ revision: number, leases: fc.array(leaseId, { maxLength: 4 }) }),
});

export function writeLeaseAnswers(writer: ByteWriter, { kept, times, list }: LeaseAnswers): void {
  writeKeptAlive(writer, kept);
  writeTimeToLive(writer, times);
  writeLeases(writer, list);
}

export function readLeaseAnswers(reader: ByteReader): LeaseAnswers {
  const answers = { kept: readKeptAlive(reader), times: readTimeToLive(reader), list: readLeases(reader) };
  reader.expectEnd();
  return answers;
}
