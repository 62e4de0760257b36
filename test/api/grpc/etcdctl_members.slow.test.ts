/** Members that move and join, as an operator with etcdctl has it: `member update` and a restart at the new address, `member add` and the new node's first start. And `check datascale`. */
// needs: etcdctl
import * as assert from 'uvu/assert';
import { requireBinaries } from '../../binaries.ts';
import { endAll, eventually, freePorts, serve, temporaryDirectory } from '../../end_to_end/processes.ts';
import { test } from '../../suite.ts';
import { Etcdctl, Trio } from './etcdctl.ts';

const binaries = requireBinaries(['etcdctl']);

let trio: Trio;
let all: Etcdctl;

const at = (endpoints: readonly string[]): Etcdctl =>
  new Etcdctl(binaries!.etcdctl, endpoints, ['--command-timeout', '25s']);
const freePort = async (): Promise<number> => (await freePorts(1))[0]!;

/** That a node is found by the others: without it there is no majority. */
async function neededAndFound(id: number, value: string): Promise<void> {
  const other = [1, 2, 3].find((one) => one !== id)!;
  await trio.end(other);
  const both = at(trio.others(other));
  await eventually('a write through two', async () =>
    (await both.run(['put', 'moved', value])).status === 0 ? true : undefined,
  );
  assert.equal(await at([trio.endpoint(id)]).lines(['get', 'moved', '--print-value-only']), [value]);
  await trio.begin(other);
  await trio.leader();
}

async function listed(id: number): Promise<string> {
  const line = (await all.lines(['member', 'list'])).find((one) => one.startsWith(`${id},`));
  return /, http:\/\/127\.0\.0\.1:(\d+), /.exec(line ?? '')?.[1] ?? `no member ${id}`;
}

if (binaries !== undefined) {
  test('a follower moves: stopped, updated, and started at its new address', async () => {
    trio = await Trio.start();
    all = at(trio.endpoints);
    const leader = await trio.leader();
    const id = [1, 2, 3].find((one) => one !== leader)!;
    const port = await freePort();
    await trio.end(id);
    await all.lines(['put', 'while', 'away']);
    const [said] = await all.lines([
      'member',
      'update',
      String(id),
      '--peer-urls',
      `http://127.0.0.1:${port}`,
    ]);
    assert.match(said!, new RegExp(`^Member\\s+${id} updated in cluster`));
    trio.moved(id, port);
    await trio.begin(id);
    await trio.leader();
    assert.equal(await at([trio.endpoint(id)]).lines(['get', 'while', '--print-value-only']), ['away']);
    assert.is(await listed(id), String(port));
    await neededAndFound(id, 'follower');
  });

  test('the leader moves: updated while it leads, then started at its new address', async () => {
    const id = await trio.leader();
    const port = await freePort();
    await all.lines(['member', 'update', String(id), '--peer-urls', `http://127.0.0.1:${port}`]);
    assert.equal(await all.lines(['put', 'still', 'led']), ['OK']);
    trio.moved(id, port);
    await trio.end(id, 'SIGKILL');
    await trio.begin(id);
    await trio.leader();
    assert.is(await listed(id), String(port));
    await neededAndFound(id, 'leader');
  });

  test('a member that is at its new address already is found once it is updated', async () => {
    const leader = await trio.leader();
    const id = [1, 2, 3].find((one) => one !== leader)!;
    const port = await freePort();
    await trio.end(id);
    trio.moved(id, port);
    await trio.begin(id);
    // Nobody answers the one that has moved, so that it cannot pass this on.
    const others = at(trio.others(id));
    await others.lines(['member', 'update', String(id), '--peer-urls', `http://127.0.0.1:${port}`]);
    await trio.leader();
    await neededAndFound(id, 'late');
  });

  test('a member that etcdctl has added joins, and is promoted', async () => {
    const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
    const [added] = await all.lines([
      ...['member', 'add', 'fourth', '--learner', '--peer-urls', `http://127.0.0.1:${peerPort}`],
    ]);
    const id = /^Member\s+([0-9a-f]+) added to cluster/.exec(added!)?.[1];
    const node = await serve({
      data: `${temporaryDirectory()}/node-4`,
      clientPort,
      peerPort,
      args: ['--join', trio.endpoint(1), '--learner', '--etcd-listen', 'none'],
    });
    assert.is(node.id.toString(16), id);
    await eventually('the vote', async () =>
      (await all.run(['member', 'promote', id!])).status === 0 ? true : undefined,
    );
    const line = (await all.lines(['member', 'list'])).find((one) => one.startsWith(`${id},`));
    assert.is(
      line,
      `${id}, started, node-${node.id}, http://127.0.0.1:${peerPort}, http://${node.endpoint}, false`,
    );
    assert.equal(await at([node.endpoint]).lines(['get', 'while', '--print-value-only']), ['away']);
    await all.lines(['member', 'remove', id!]);
    assert.is((await node.command.ended).status, 0);
  });

  test('check datascale: ten thousand keys, what they take, and none left', async () => {
    const { out, errors } = await all.run([
      'check',
      'datascale',
      '--load',
      's',
      '--auto-compact',
      '--auto-defrag',
    ]);
    // How much memory is too much is etcdctl's opinion of etcd.
    assert.match(out, /(PASS: Approximate|FAIL: .*) .*[\d.]+ MB/, out + errors);
    assert.not.match(out, /ERROR|too many errors/, out + errors);
    assert.equal(await all.lines(['get', '--prefix', '/etcdctl-check-datascale/']), ['']);
    await trio.stop();
  });

  test.after(endAll);
}

test.run();
