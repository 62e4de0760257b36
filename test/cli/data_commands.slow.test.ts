/** `kvorum put get del scan watch txn bench` as processes against one node: what they print for people, what for programs, and their exit status. */

import * as assert from 'uvu/assert';
import {
  Command,
  type Ended,
  endAll,
  eventually,
  freePorts,
  kvorum,
  type ServedNode,
  serve,
  temporaryDirectory,
} from '../end_to_end/processes.ts';
import { test } from '../suite.ts';

let node: ServedNode;

/** A command that talks to the test's node. */
function run(args: string[], input: string | Uint8Array = ''): Promise<Ended> {
  return kvorum(args, { input, env: { KVORUM_ENDPOINTS: node.endpoint } });
}

async function succeeds(args: string[], input: string | Uint8Array = ''): Promise<string> {
  const { status, stdout, stderr } = await run(args, input);
  assert.is(status, 0, `kvorum ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function json(args: string[], status = 0): Promise<Record<string, unknown>[]> {
  const ended = await run([...args, '--json']);
  assert.is(ended.status, status, `kvorum ${args.join(' ')}: ${ended.stderr}`);
  return ended.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test.before(async () => {
  const [clientPort, peerPort] = await freePorts(2);
  node = await serve({
    data: `${temporaryDirectory()}/node`,
    clientPort: clientPort!,
    peerPort: peerPort!,
    config: { node: { maxRangeBytes: 1024 * 1024 } },
  });
});

test.after(async () => {
  await node.command.stop();
});

test('what was put is got, and deleted once', async () => {
  assert.match(await succeeds(['put', 'colour', 'blue']), /^OK revision \d+\n$/);
  assert.is(await succeeds(['get', 'colour']), 'blue\n');
  assert.is(await succeeds(['get', 'colour', '--level', 'sequential']), 'blue\n');
  assert.is(await succeeds(['get', 'colour', '--level', 'eventual']), 'blue\n');
  assert.match(await succeeds(['del', 'colour']), /^deleted, revision \d+\n$/);
  const again = await run(['del', 'colour']);
  assert.is(again.status, 2);
  assert.is(again.stdout, 'no such key\n');
  const missing = await run(['get', 'colour']);
  assert.is(missing.status, 2);
  assert.is(missing.stdout, '');
  assert.match(missing.stderr, /no key "colour"/);
});

test('--json gives one document for each result, wherever the option stands', async () => {
  const [put] = await json(['put', 'j', '1']);
  assert.is(put!['key'], 'j');
  const revision = put!['revision'];
  const [entry] = await json(['get', 'j']);
  assert.equal(entry, { key: 'j', value: '1', createRevision: revision, modRevision: revision, version: 1 });
  assert.equal(JSON.parse(await succeeds(['--json', 'get', 'j'])), entry);
  const [deleted] = await json(['del', 'j']);
  assert.is(deleted!['deleted'], true);
  assert.equal(await json(['get', 'j'], 2), [null]);
  assert.is((await json(['del', 'j'], 2))[0]!['deleted'], false);
});

test('a value from standard input arrives and leaves byte for byte, text or not', async () => {
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 7) & 0xff);
  await succeeds(['put', 'logo', '-'], bytes);
  const { stdoutBytes } = await run(['get', 'logo']);
  assert.ok(stdoutBytes.equals(bytes), 'binary values come out as they went in, without a newline');
  await succeeds(['put', 'few', '-'], Uint8Array.of(0xff, 0));
  assert.is((await json(['get', 'few']))[0]!['value'], 'base64:/wA=');
  await succeeds(['put', 'empty', '']);
  assert.is(await succeeds(['get', 'empty']), '\n');
});

test('a key put with --ttl expires', async () => {
  await succeeds(['put', 'session', 'alice', '--ttl', '700']);
  const expired = await eventually('the key to expire', async () => {
    const ended = await run(['get', 'session']);
    return ended.status === 2 ? ended : undefined;
  });
  assert.match(expired.stderr, /no key/);
});

test('scan shows a prefix or a range in order, backwards, in part, keys only and as of a revision', async () => {
  for (const name of ['a', 'b', 'c']) await succeeds(['put', `user/${name}`, name.toUpperCase()]);
  assert.is(await succeeds(['scan', 'user/']), 'user/a\tA\nuser/b\tB\nuser/c\tC\n');
  assert.is(
    await succeeds(['scan', 'user/', '--reverse', '--limit', '2', '--keys-only']),
    'user/c\nuser/b\n',
  );
  assert.is(await succeeds(['scan', '--start', 'user/b', '--end', 'user/c']), 'user/b\tB\n');
  assert.is(await succeeds(['scan', 'nothing/']), '');
  const entries = await json(['scan', 'user/']);
  assert.equal(
    entries.map(({ key, value }) => [key, value]),
    [
      ['user/a', 'A'],
      ['user/b', 'B'],
      ['user/c', 'C'],
    ],
  );
  const revision = String(entries[2]!['modRevision']);
  await succeeds(['put', 'user/d', 'D']);
  assert.is(
    await succeeds(['scan', 'user/', '--revision', revision, '--keys-only']),
    'user/a\nuser/b\nuser/c\n',
  );
  assert.is(await succeeds(['get', 'user/a', '--revision', revision]), 'A\n');
});

test('scan sorts and filters as ranges can, and count counts', async () => {
  const revisions: string[] = [];
  for (const [name, value] of ['a2', 'b1', 'c3', 'a2'].map((word) => [word[0], word[1]] as const))
    revisions.push(String((await json(['put', `sort/${name}`, value!]))[0]!['revision']));
  const keys = async (...flags: string[]) =>
    (await succeeds(['scan', 'sort/', '--keys-only', ...flags])).replaceAll('sort/', '').split('\n').join('');
  assert.is(await keys('--sort-by', 'value'), 'bac');
  assert.is(await keys('--sort-by', 'value', '--reverse', '--limit', '2'), 'ca');
  assert.is(await keys('--sort-by', 'mod-revision'), 'bca');
  assert.is(await keys('--sort-by', 'create-revision', '--reverse'), 'cba');
  assert.is(await keys('--sort-by', 'version', '--reverse', '--limit', '1'), 'a');
  assert.is(await keys('--sort-by', 'key', '--reverse'), 'cba');
  assert.is(await keys('--min-mod-revision', revisions[2]!), 'ac');
  assert.is(await keys('--max-mod-revision', revisions[2]!, '--min-create-revision', revisions[2]!), 'c');
  assert.is(await keys('--max-create-revision', revisions[0]!, '--reverse'), 'a');
  assert.equal(
    (await json(['scan', 'sort/', '--sort-by', 'value', '--limit', '1'])).map(({ value }) => value),
    ['1'],
  );
  assert.is(await succeeds(['count', 'sort/']), '3\n');
  assert.is(await succeeds(['count', '--start', 'sort/b', '--end', 'sort/d']), '2\n');
  assert.is(await succeeds(['count', 'sort/', '--revision', revisions[0]!]), '1\n');
  assert.equal(await json(['count', 'nothing/']), [{ count: 0 }]);
  // What no answer holds is cut where there is a limit, and refused where there is none.
  const large = 'v'.repeat(400_000);
  for (const name of ['a', 'b', 'c', 'd']) await succeeds(['put', `large/${name}`, '-'], large);
  const cut = await run(['scan', 'large/', '--sort-by', 'version', '--limit', '10']);
  assert.is(cut.status, 0);
  assert.match(cut.stderr, /there are more/);
  const refused = await run(['scan', 'large/', '--sort-by', 'version']);
  assert.is(refused.status, 1);
  assert.match(refused.stderr, /REQUEST_TOO_LARGE/);
  for (const name of ['a', 'b', 'c', 'd']) await succeeds(['del', `large/${name}`]);
});

test('a transaction does one thing when its conditions hold and the other when they do not', async () => {
  await succeeds(['put', 'stock', '5']);
  const take = [
    'txn',
    '--if',
    'value stock = 5',
    '--then',
    'put stock 4',
    '--then',
    'get sold',
    '--else',
    'get stock',
  ];
  const taken = await run(take);
  assert.is(taken.status, 0);
  assert.match(taken.stdout, /^done, revision \d+\n\(no such key\)\n$/);
  const late = await run(take);
  assert.is(late.status, 2);
  assert.match(late.stdout, /^conditions did not hold, revision \d+\nstock\t4\n$/);
  const [both] = await json(['txn', '--if', 'exists stock', '--then', 'del stock', '--then', 'get stock']);
  assert.is(both!['succeeded'], true);
  const [not] = await json(['txn', '--if', 'exists stock', '--then', 'del stock', '--else', 'get few'], 2);
  assert.is(not!['succeeded'], false);
  const results = not!['results'] as { type: string; entry: { value: string } }[];
  assert.is(results[0]!.entry.value, 'base64:/wA=');
});

test('a transaction within another, and ranges in it, say what they found', async () => {
  await succeeds(['put', 'nest/a', '1']);
  await succeeds(['put', 'nest/b', '2']);
  const words = [
    ...['--if', 'version prefix nest/ = 1', '--then', 'get-prefix nest/ sort=value descend limit=1 counted'],
    ...[
      '--then',
      'put nest/a 3 prev',
      '--then',
      'touch nest/x 1000',
      '--then',
      'del-range nest/b nest/c prev',
    ],
    ...['--then', 'txn if "exists nest/x" then "get nest/x" else "get-prefix nest/ keys"'],
  ];
  const out = await succeeds(['txn', ...words]);
  assert.equal(out.split('\n').slice(1), [
    'nest/b\t2',
    '(of 2)',
    'was\tnest/a\t1',
    '(no such key)',
    'deleted 1',
    'was\tnest/b\t2',
    'txn: conditions did not hold',
    '  nest/a',
    '',
  ]);
  const [answer] = await json([
    'txn',
    '--then',
    'get-prefix nest/',
    '--then',
    'txn then "put nest/a 4 prev"',
  ]);
  const shown = answer!['results'] as Record<string, unknown>[];
  assert.equal([shown[0]!['count'], shown[0]!['more'], shown[1]!['succeeded']], [1, false, true]);
  const inner = (shown[1]!['results'] as { previous: { value: string } }[])[0]!;
  assert.is(inner.previous.value, '3');
});

test('get and scan show the past by a time', async () => {
  await succeeds(['put', 'then/a', 'old']);
  const time = Date.now() + 5;
  while (Date.now() < time + 1_100) await new Promise((resolve) => setTimeout(resolve, 20));
  await succeeds(['put', 'then/a', 'new']);
  assert.is(await succeeds(['get', 'then/a', '--at-time', String(time)]), 'old\n');
  const date = new Date(time).toISOString();
  assert.is(await succeeds(['scan', 'then/', '--at-time', date]), 'then/a\told\n');
  const ahead = await run(['get', 'then/a', '--at-time', String(time + 3_600_000)]);
  assert.is(ahead.status, 1);
  assert.match(ahead.stderr, /FUTURE_REVISION/);
  const wrong = await run(['get', 'then/a', '--at-time', 'yesterday']);
  assert.match(wrong.stderr, /--at-time is "yesterday"/);
});

test('watch prints events from a past revision on and as they happen, and ends with status 0 on SIGINT', async () => {
  const first = await json(['put', 'w/1', 'one']);
  const from = String(first[0]!['revision']);
  const flags = ['--endpoints', node.endpoint];
  const human = new Command(['watch', 'w/', '--prefix', '--from', from, ...flags]);
  const program = new Command(['watch', 'w/2', '--json', '--from', from, ...flags]);
  await human.line(/\tput\tw\/1\tone$/);
  await succeeds(['put', 'w/2', 'two']);
  await succeeds(['del', 'w/2']);
  await human.line(/\tdelete\tw\/2$/);
  await program.line(/"delete"/);
  const ended = await human.stop('SIGINT');
  assert.is(ended.status, 0, ended.stderr);
  assert.equal(
    ended.stdout.split('\n').map((line) => line.replace(/^\d+/, 'N')),
    ['N\tput\tw/1\tone', 'N\tput\tw/2\ttwo', 'N\tdelete\tw/2', ''],
  );
  const events = (await program.stop('SIGINT')).stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(
    events.map(({ type, key, value }) => [type, key, value]),
    [
      ['put', 'w/2', 'two'],
      ['delete', 'w/2', undefined],
    ],
  );
});

test('bench prints its rates, and leaves none of its keys behind', async () => {
  const flags = ['bench', '--operations', '6000', '--concurrency', '256', '--value-size', '10'];
  const rows = await json(flags);
  assert.equal(
    rows.map((row) => row['case']),
    ['put', 'get linearizable', 'get eventual'],
  );
  for (const row of rows) assert.ok(Number(row['opsPerSecond']) > 0 && Number(row['p50Us']) > 0);
  assert.is(await succeeds(['scan', 'kvorum-bench/', '--keys-only']), '');
  const table = await succeeds(['bench', '--operations', '100', '--concurrency', '4']);
  assert.match(table, /^case +per second +p50 us/);
});

test('a failure has status 1 and says what to do; with --json it is a document on standard error', async () => {
  const [port] = await freePorts(1);
  const nobody = ['--endpoints', `127.0.0.1:${port}`, '--timeout', '400'];
  const human = await kvorum(['get', 'a', ...nobody]);
  assert.is(human.status, 1);
  assert.is(human.stdout, '');
  assert.match(human.stderr, new RegExp(`127\\.0\\.0\\.1:${port}`));
  assert.match(human.stderr, /\[UNAVAILABLE\]\nIs a node running there\?/);
  const program = await kvorum(['get', 'a', '--json', ...nobody]);
  assert.is(program.status, 1);
  const { error } = JSON.parse(program.stderr);
  assert.is(error.code, 'UNAVAILABLE');
  assert.is(error.retryable, true);
});

test('wrong usage is named, with the way to help', async () => {
  const wrong: [string[], RegExp][] = [
    [['put'], /missing required argument 'key'[\s\S]*--help/],
    [['gett', 'a'], /unknown command 'gett'[\s\S]*Did you mean get\?/],
    [['get', 'a', '--colour'], /unknown option '--colour'/],
    [['get', 'a', '--level', 'fast'], /--level is "fast", allowed: linearizable, sequential, eventual/],
    [['get', 'a', '--revision', 'x'], /--revision is "x", allowed: a whole number from 1/],
    [['get', 'a', '--revision', '999999999'], /999999999/],
    [['get', ''], /key/],
    [['put', 'a', 'b', '--ttl', '-5'], /--ttl is "-5"/],
    [['put', 'k'.repeat(70_000), 'b'], /KEY_TOO_LARGE/],
    [['scan', '--limit', 'few'], /--limit is "few"/],
    [['scan', '--sort-by', 'toString'], /--sort-by is "toString", allowed: key, value, version/],
    [['scan', '--min-mod-revision', '0'], /--min-mod-revision is "0"/],
    [['count', '--start', 'a', '--at-time', 'noon'], /--at-time is "noon"/],
    [
      ['txn', '--if', 'colour a', '--then', 'get a'],
      /--if "colour a" is not a condition; see kvorum txn --help/,
    ],
    [['txn', '--then', 'fly a'], /"fly a" is not an operation/],
    [['txn', '--if', 'exists a'], /nothing to do: give --then or --else/],
    [['get', 'a', '--endpoints', 'nowhere'], /endpoint "nowhere" is not HOST:PORT/],
    [['get', 'a', '--timeout', 'long'], /--timeout is "long"/],
    [['bench', '--operations', '0'], /--operations is "0"/],
    [['watch', '--prefix'], /--prefix needs a KEY/],
  ];
  const ended = await Promise.all(wrong.map(([args]) => run(args)));
  wrong.forEach(([args, message], i) => {
    assert.is(ended[i]!.status, 1, `kvorum ${args.join(' ').slice(0, 80)}`);
    assert.match(ended[i]!.stderr, message);
    assert.not.match(ended[i]!.stderr, /\n {4}at /, 'no stack traces for the user');
  });
});

test('every command explains itself, with examples', async () => {
  const commands = [
    'put',
    'get',
    'del',
    'scan',
    'count',
    'watch',
    'txn',
    'member',
    'status',
    'move-leader',
    'check',
    'bench',
  ];
  const all = await Promise.all(
    [[], ...[...commands, 'serve', 'local'].map((name) => [name])].map((words) => run([...words, '--help'])),
  );
  for (const { status, stdout } of all) {
    assert.is(status, 0);
    assert.match(stdout, /Examples?:\n +kvorum /);
  }
  for (const name of commands) assert.match(all[0]!.stdout, new RegExp(`\\n  ${name} `));
});

test.after(endAll);

test.run();
