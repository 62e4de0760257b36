/**
 * What the command line prints: results on standard output, everything else on standard error.
 *
 * Invariants: with `--json` every line of standard output is one JSON document; bytes that are not UTF-8 are shown as `base64:...`; the exit status is 0 for
 * success, 1 for a failure, 2 for a key that is not there (get) or a condition that did not hold (txn).
 */
import { KvError } from '../errors.ts';

export const EXIT_FAILED = 1;
export const EXIT_ABSENT = 2;

const strict = new TextDecoder('utf-8', { fatal: true });

/** Bytes as a person reads them. */
export function shown(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    // Not text: shown in a form that can be copied.
    return `base64:${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')}`;
  }
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Columns padded to their widest cell; the first row is the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Says what failed and what to do about it, and sets the exit status. */
export function fail(error: unknown, json: boolean): void {
  process.exitCode = EXIT_FAILED;
  if (!(error instanceof KvError)) {
    note(`kvorum: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return;
  }
  const { code, message, retryable, maybeApplied } = error;
  if (json) {
    note(JSON.stringify({ error: { code, message, retryable, maybeApplied, details: error.details } }));
    return;
  }
  note(`kvorum: ${message} [${code}]`);
  if (maybeApplied) note('The write may have taken effect all the same: read the key before you repeat it.');
  const advice = message.startsWith('cannot listen on') ? LISTEN_ADVICE : ADVICE[code];
  if (advice !== undefined) note(advice);
}

const LISTEN_ADVICE =
  'If another process (a node that still runs?) has that address, stop it; or choose others: `kvorum serve` takes --listen and --peer-listen, `kvorum local` takes --base-port.';

const ADVICE: Partial<Record<KvError['code'], string>> = {
  UNAVAILABLE:
    'Is a node running there? `kvorum status` shows the cluster; --endpoints or KVORUM_ENDPOINTS names its nodes.',
  NO_LEADER: 'A cluster needs a majority of its voters: `kvorum status` shows which nodes answer.',
  USER_EMPTY: 'Rights are enforced here: name yourself with --user, or KVORUM_USER and KVORUM_PASSWORD.',
  ROOT_USER_NOT_FOUND: 'First: kvorum user add root --password-stdin; kvorum user grant-role root root',
  ROOT_ROLE_NOT_GRANTED: 'First: kvorum user grant-role root root',
  LOCKED: 'Another process has this data directory open: stop it first, or use another directory.',
  NO_SPACE: 'Make room on the disk: writes go on by themselves then.',
  OVERLOADED: 'The cluster has more work than it takes on: try again, or slower.',
  LEASE_EXPIRED: 'Another may have it by now: what was begun under it needs its fence to be checked.',
  TIMEOUT:
    'The nodes may be busy, or cut off from each other: `kvorum status` shows them; --timeout gives a call longer.',
  COMPACTED: 'That revision is no longer kept: leave --revision or --from out, or give a later one.',
  CONFIG_INVALID: '`kvorum serve --help` shows the options.',
  STORAGE_FAILED:
    'Look at the disk (dmesg, free space), then start the node again: it recovers from its log.',
  CLUSTER_MISMATCH: 'These addresses belong to different clusters: check --endpoints, or the data directory.',
  CORRUPT:
    '`kvorum check DIRECTORY` lists every damage of a stopped node. In a cluster a node that does not start is replaced: `kvorum member remove ID`, then let it join again with an empty directory. A store of one node needs a copy from before: `kvorum restore` makes a directory of a snapshot.',
};
