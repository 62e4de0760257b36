/** Puts together what looks after the store: the calls (upkeep_service.ts), the leader's duties (upkeep_duties.ts), the reserve (ballast.ts). */

import { asCluster } from '../wire/as_user.ts';
import { encodeCommand } from '../wire/command_codec.ts';
import { Ballast } from './ballast.ts';
import type { Consensus } from './consensus.ts';
import type { Forwarding } from './forwarding.ts';
import type { NodeOptions } from './node_options.ts';
import { QuotaCount } from './quota_count.ts';
import type { ReplicaStorage } from './replica_storage.ts';
import { UpkeepDuties } from './upkeep_duties.ts';
import { Upkeep, type UpkeepOptions } from './upkeep_service.ts';

export interface UpkeepParts {
  readonly upkeep: Upkeep;
  readonly upkeepDuties: UpkeepDuties;
}

type Wiring = Pick<UpkeepOptions, 'rpc' | 'pins' | 'replaced' | 'checkOpen' | 'write'> & {
  readonly isShortOfRoom: () => boolean;
  readonly forwarding: Forwarding;
};

export function makeUpkeep(
  { ports, config, logger }: NodeOptions,
  storage: ReplicaStorage,
  consensus: Consensus,
  wiring: Wiring,
): UpkeepParts {
  const { applier, conditions, raft, snapshots } = consensus;
  const { engine, stateMachine, identity } = storage;
  const { requestTimeoutMs, hashIntervalMs } = config.node;
  const { clock, timers } = ports;
  const shared = { ...wiring, engine, stateMachine, applier, conditions, raft, snapshots, clock, timers };
  const upkeep = new Upkeep({
    ...shared,
    requestTimeoutMs,
    writeAsCluster: (command) => {
      const bytes = encodeCommand(stateMachine.auth.enabled ? asCluster(command) : command);
      const deadlineMs = clock.monotonicMs() + requestTimeoutMs;
      if (raft.role === 'leader') return consensus.replica.propose(bytes, deadlineMs);
      return wiring.forwarding.write(bytes, deadlineMs);
    },
  });
  const warn = (message: string, facts: Record<string, unknown>): void => logger.warn(message, facts);
  const quotaCount = new QuotaCount({
    ...shared,
    leads: () => raft.role === 'leader' && !consensus.replica.failed,
    propose: (command) => consensus.replica.propose(command, clock.monotonicMs() + requestTimeoutMs),
    warn,
  });
  const upkeepDuties = new UpkeepDuties({
    nodeId: identity.nodeId,
    stateMachine,
    clock,
    isShortOfRoom: wiring.isShortOfRoom,
    changeAlarm: (action, alarm) => upkeep.changeOwnAlarm(action, alarm),
    hashIntervalMs,
    compare: () => upkeep.clusterHash(),
    countQuotas: () => quotaCount.run(),
    warn,
  });
  return { upkeep, upkeepDuties };
}

export function makeBallast(
  { disk, path, config, logger }: NodeOptions,
  { engine, log }: ReplicaStorage,
  { health }: Consensus,
): Ballast {
  return new Ballast({
    disk,
    path,
    maxBytes: 2 * config.storage.memtableSizeBytes + config.storage.tableSizeBytes,
    dataBytes: () => health.dataBytes,
    isFull: () => engine.noSpace || log.diskFull,
    onReleased: (released) => health.reserveReleased(released),
    warn: (message, error) => logger.warn(message, { error }),
  });
}
