/** How a node that was added to a running cluster begins, and how it becomes a voter. */
import { KvError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { Ports } from '../ports.ts';
import type { Configuration } from '../raft/types.ts';
import { THE_CLUSTER } from '../security/identity.ts';
import type { MemberAddResponse } from '../wire/messages.ts';
import type { KvorumNode } from './node.ts';

const PROMOTE_RETRY_MS = 500;

/** What a joining node knows of the cluster until the log tells it more. */
export function joinedConfiguration(added: MemberAddResponse): Configuration {
  const idsOf = (role: 'voter' | 'learner'): number[] =>
    added.members.filter((member) => member.role === role).map((member) => member.id);
  return {
    voters: idsOf('voter'),
    votersOutgoing: [],
    learners: idsOf('learner'),
    members: added.members.map(({ id, peerAddress, clientAddress }) => ({ id, peerAddress, clientAddress })),
    lastId: Math.max(...added.members.map((member) => member.id)),
  };
}

/** Asks for the vote of a node that joined, until it has it. */
export function keepPromoting(node: KvorumNode, ports: Ports, logger: Logger): { stop(): void } {
  const { nodeId, promote } = node.identity;
  if (!promote) return { stop: () => undefined };
  let asking = false;
  const timer = ports.timers.every(PROMOTE_RETRY_MS, () => {
    const { role } = node.service.status();
    if (role !== 'learner') return timer.cancel();
    if (asking) return;
    asking = true;
    node.service.memberPromote(nodeId, { identity: THE_CLUSTER }).then(
      () => {
        asking = false;
        logger.info('caught up: now a voter');
      },
      (error) => {
        asking = false;
        if (error instanceof KvError && error.retryable) logger.debug('not a voter yet', { error });
        else logger.warn('asking to become a voter failed; trying again', { error });
      },
    );
  });
  return { stop: () => timer.cancel() };
}
