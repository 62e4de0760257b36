/** `kvorum status`, `member ...` and `move-leader`: looking at and changing a cluster. */
import type { Command } from 'commander';
import { KvError } from '../errors.ts';
import type { Alarm } from '../kv/upkeep_command.ts';
import type { MembersResponse, NodeStatus } from '../wire/messages.ts';
import { type GlobalOptions, positiveInteger, withAdmin } from './endpoints.ts';
import { note, print, printJson, table } from './output.ts';

export function addClusterCommands(program: Command): void {
  const globals = (): GlobalOptions => program.opts<GlobalOptions>();

  program
    .command('status')
    .description('the nodes that can be reached, with their roles and how far each is')
    .addHelpText('after', '\nExamples:\n  kvorum status\n  kvorum status --json --endpoints 127.0.0.1:7400')
    .action(() =>
      withAdmin(globals(), async (admin) => {
        const nodes = await admin.clusterStatus();
        if (globals().json) return printJson({ nodes: nodes.map(statusJson) });
        print(statusTable(nodes));
        const members = await membersOrUndefined(() => admin.members());
        const silent = members?.members.filter(({ id }) => !nodes.some((node) => node.id === id)) ?? [];
        for (const { id, clientAddress } of silent) note(`node ${id} at ${clientAddress} does not answer`);
        if (!nodes.some(({ role }) => role === 'leader')) note('no leader at the moment');
      }),
    );

  const member = program.command('member').description('list, add, promote and remove members');
  member
    .command('list')
    .description('the members, as the leader knows them')
    .action(() => withAdmin(globals(), async (admin) => showMembers(await admin.members(), globals())));
  member
    .command('add')
    .description('add a learner by its addresses (kvorum serve --join does this by itself)')
    .argument('<peer-host:port>')
    .argument('<client-host:port>')
    .action((peerAddress: string, clientAddress: string) =>
      withAdmin(globals(), async (admin) => {
        const added = await admin.memberAdd({ peerAddress, clientAddress });
        if (globals().json) printJson({ id: added.id });
        else print(`added as learner ${added.id}`);
      }),
    );
  member
    .command('promote')
    .description('give a learner that has caught up its vote')
    .argument('<id>')
    .action((id: string) =>
      withAdmin(globals(), async (admin) =>
        showMembers(await admin.memberPromote(positiveInteger('id', id)), globals()),
      ),
    );
  member
    .command('remove')
    .description('take a member out of the cluster')
    .argument('<id>')
    .action((id: string) =>
      withAdmin(globals(), async (admin) =>
        showMembers(await admin.memberRemove(positiveInteger('id', id)), globals()),
      ),
    );
  member.addHelpText('after', '\nExamples:\n  kvorum member list\n  kvorum member remove 3');

  program
    .command('move-leader')
    .description('hand leadership over')
    .argument('[id]', 'the voter that is to lead; left out: the leader chooses')
    .addHelpText('after', '\nExample:\n  kvorum move-leader 2')
    .action((id: string | undefined) =>
      withAdmin(globals(), async (admin) => {
        const leader = await admin.moveLeader(id === undefined ? 0 : positiveInteger('id', id));
        if (globals().json) printJson({ leader });
        else print(`node ${leader} leads`);
      }),
    );
}

function statusJson(node: NodeStatus): Record<string, unknown> {
  // While an election runs a candidate is, to an onlooker, a follower that has no leader.
  const role = node.role === 'candidate' || node.role === 'preCandidate' ? 'follower' : node.role;
  return { ...node, role };
}

export function statusTable(nodes: readonly NodeStatus[]): string {
  const rows = [
    ['node', 'role', 'term', 'commit', 'applied', 'revision', 'pid', 'memory', 'health', 'clients'],
  ];
  for (const node of nodes) {
    const { id, role, term, commitIndex, appliedIndex, revision, pid, rssBytes, health, endpoints } = node;
    const numbers = [term, commitIndex, appliedIndex, revision, pid].map(String);
    rows.push([
      String(id),
      role,
      ...numbers,
      `${Math.round(rssBytes / 1048576)} MiB`,
      health,
      endpoints.join(','),
    ]);
  }
  const alarms = new Set(nodes.flatMap((node) => node.alarms.map(alarmText)));
  return [table(rows), ...alarms].join('\n');
}

function alarmText({ type, member }: Alarm): string {
  return `alarm ${type}${member === 0 ? '' : ` of node ${member}`}: see \`kvorum alarm --help\``;
}

function showMembers({ clusterId, members }: MembersResponse, globals: GlobalOptions): void {
  if (globals.json) return printJson({ clusterId, members });
  const rows = [['id', 'role', 'peers', 'clients', 'log']];
  for (const { id, role, leader, peerAddress, clientAddress, matchIndex } of members) {
    rows.push([String(id), leader ? 'leader' : role, peerAddress, clientAddress, String(matchIndex ?? '-')]);
  }
  print(table(rows));
}

async function membersOrUndefined(ask: () => Promise<MembersResponse>): Promise<MembersResponse | undefined> {
  try {
    return await ask();
  } catch (error) {
    // Without a leader nobody can say: the table above is all there is to show.
    if (error instanceof KvError && error.retryable) return undefined;
    throw error;
  }
}
