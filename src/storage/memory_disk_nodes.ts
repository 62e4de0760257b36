/**
 * Files and directories of the disk in memory, each in two states: as they look now, and as they would look after a power cut that
 * loses everything unsynced, with the list of changes in between. `loseUnsynced` picks what of the list survives.
 */

/**
 * What of the unsynced changes a crash takes:
 * - all, none;
 * - random: every name, and every 512-byte sector of every write, by the toss of a coin (writes reach a disk in any order);
 * - torn1, torn512: each file and directory keeps a prefix of its changes; the last write is cut within, at any byte or at a sector's edge.
 */
export type LossRule = 'all' | 'none' | 'random' | 'torn1' | 'torn512';

export const LOSS_RULES: readonly LossRule[] = ['all', 'none', 'random', 'torn1', 'torn512'];

const SECTOR_BYTES = 512;

/** Bytes of a file: a buffer that grows, zeros beyond what was written; shared with forks until one of them changes it. */
class Content {
  bytes = new Uint8Array(0);
  sizeBytes = 0;
  #shared = false;

  fork(): Content {
    const copy = new Content();
    copy.bytes = this.bytes;
    copy.sizeBytes = this.sizeBytes;
    this.#shared = true;
    copy.#shared = true;
    return copy;
  }

  /** Makes the buffer this content's own, with room for `capacity` bytes. */
  own(capacity: number): void {
    const grows = capacity > this.bytes.byteLength;
    if (!grows && !this.#shared) return;
    const fresh = new Uint8Array(
      grows ? Math.max(capacity, this.bytes.byteLength * 2, 1024) : this.bytes.byteLength,
    );
    fresh.set(this.bytes.subarray(0, this.sizeBytes));
    this.bytes = fresh;
    this.#shared = false;
  }

  write(data: Uint8Array, offset: number): void {
    const end = offset + data.byteLength;
    this.own(end);
    this.bytes.set(data, offset);
    if (end > this.sizeBytes) this.sizeBytes = end;
  }

  truncate(sizeBytes: number): void {
    this.own(0);
    if (sizeBytes < this.sizeBytes) this.bytes.fill(0, sizeBytes, this.sizeBytes);
    else if (sizeBytes > this.sizeBytes) this.write(new Uint8Array(0), sizeBytes);
    this.sizeBytes = sizeBytes;
  }
}

type FileChange =
  | { readonly type: 'write'; readonly offset: number; readonly data: Uint8Array }
  | { readonly type: 'truncate'; readonly sizeBytes: number };

/** A file's synced changes are written to its durable bytes when they are looked at, or when there are more bytes of them than this and than the file has. */
const MAX_SYNCED_BYTES = 64 * 1024;
/** What a change takes besides its data, more or less. */
const CHANGE_BYTES = 64;

export class FileNode {
  #now = new Content();
  /** What a crash leaves, but for `#synced`. */
  #base = new Content();
  /** Changes that are durable and not in `#base` yet: most files are never asked for what a crash would leave. */
  #synced: FileChange[] = [];
  #syncedBytes = 0;
  #changes: FileChange[] = [];

  get sizeBytes(): number {
    return this.#now.sizeBytes;
  }

  read(target: Uint8Array, offset: number): number {
    const count = Math.max(0, Math.min(target.byteLength, this.#now.sizeBytes - offset));
    if (count > 0) target.set(this.#now.bytes.subarray(offset, offset + count));
    return count;
  }

  write(data: Uint8Array, offset: number): void {
    this.#now.write(data, offset);
    // Not slice(): of a Buffer that is a view, and its memory is the writer's to use again.
    this.#changes.push({ type: 'write', offset, data: new Uint8Array(data) });
  }

  truncate(sizeBytes: number): void {
    this.#now.truncate(sizeBytes);
    this.#changes.push({ type: 'truncate', sizeBytes });
  }

  sync(): void {
    if (this.#changes.length === 0) return;
    for (const change of this.#changes) {
      this.#synced.push(change);
      this.#syncedBytes += CHANGE_BYTES + (change.type === 'write' ? change.data.byteLength : 0);
    }
    this.#changes = [];
    if (this.#syncedBytes > MAX_SYNCED_BYTES && this.#syncedBytes > this.sizeBytes) this.#settled();
  }

  /** The file as a crash that loses all that is not durable would leave it. */
  #settled(): Content {
    for (const change of this.#synced) apply(this.#base, change);
    this.#synced = [];
    this.#syncedBytes = 0;
    return this.#base;
  }

  /** What is not durable yet stays visible, but never will be durable by itself. */
  abandonChanges(): void {
    this.#changes = [];
  }

  /**
   * Changes bytes [offset, offset + length) behind everybody's back, on the platter and in the cache: `edit` gets every copy's part of them, and which of
   * them is the part's first.
   */
  alter(offset: number, length: number, edit: (bytes: Uint8Array, first: number) => void): void {
    const altered = (bytes: Uint8Array, start: number): void => {
      const from = Math.max(offset, start);
      const to = Math.min(offset + length, start + bytes.length);
      if (from < to) edit(bytes.subarray(from - start, to - start), from - offset);
    };
    for (const content of [this.#now, this.#settled()]) {
      content.own(0);
      altered(content.bytes.subarray(0, content.sizeBytes), 0);
    }
    // A write that is still on its way would otherwise undo the damage at the next sync. Its bytes may be shared with a fork.
    this.#changes = this.#changes.map((change) => {
      if (change.type !== 'write') return change;
      const copy = { ...change, data: new Uint8Array(change.data) };
      altered(copy.data, copy.offset);
      return copy;
    });
  }

  /** Loses the file's end behind everybody's back. */
  cutShort(sizeBytes: number): void {
    if (sizeBytes >= this.sizeBytes) return;
    this.truncate(sizeBytes);
    const durable = this.#settled();
    if (durable.sizeBytes > sizeBytes) durable.truncate(sizeBytes);
  }

  fork(): FileNode {
    const copy = new FileNode();
    copy.#now = this.#now.fork();
    copy.#base = this.#settled().fork();
    copy.#changes = [...this.#changes];
    return copy;
  }

  /** The file after a crash; everything in it is durable. */
  survivor(rule: LossRule, random: () => number): FileNode {
    const node = new FileNode();
    node.#base = this.#settled().fork();
    for (const change of survivingChanges(this.#changes, rule, random)) apply(node.#base, change);
    node.#now = node.#base.fork();
    return node;
  }
}

function apply(content: Content, change: FileChange): void {
  if (change.type === 'write') content.write(change.data, change.offset);
  else content.truncate(change.sizeBytes);
}

function survivingChanges(
  changes: readonly FileChange[],
  rule: LossRule,
  random: () => number,
): FileChange[] {
  if (rule === 'all') return [];
  if (rule === 'none') return [...changes];
  const kept: FileChange[] = [];
  if (rule === 'random') {
    for (const change of changes) {
      if (change.type === 'truncate') {
        if (random() < 0.5) kept.push(change);
        continue;
      }
      for (const sector of sectors(change.offset, change.data)) if (random() < 0.5) kept.push(sector);
    }
    return kept;
  }
  const whole = Math.floor(random() * (changes.length + 1));
  kept.push(...changes.slice(0, whole));
  const torn = changes[whole];
  if (torn?.type === 'write') {
    const cut = Math.floor(random() * (torn.data.byteLength + 1));
    const end = rule === 'torn1' ? cut : alignedCut(torn.offset, cut);
    if (end > 0) kept.push({ type: 'write', offset: torn.offset, data: torn.data.subarray(0, end) });
  }
  return kept;
}

/** Moves a cut down to the sector's edge in the file. */
function alignedCut(offset: number, cut: number): number {
  return Math.max(0, Math.floor((offset + cut) / SECTOR_BYTES) * SECTOR_BYTES - offset);
}

function* sectors(offset: number, data: Uint8Array): Generator<FileChange> {
  let start = 0;
  while (start < data.byteLength) {
    const edge = Math.floor((offset + start) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
    const end = Math.min(edge, data.byteLength);
    yield { type: 'write', offset: offset + start, data: data.subarray(start, end) };
    start = end;
  }
}

type Node = FileNode | DirectoryNode;
type NameChange =
  | { readonly type: 'set'; readonly name: string; readonly node: Node }
  | { readonly type: 'delete'; readonly name: string }
  | { readonly type: 'rename'; readonly from: string; readonly to: string; readonly node: Node };

export class DirectoryNode {
  readonly entries = new Map<string, Node>();
  #durable = new Map<string, Node>();
  #changes: NameChange[] = [];

  set(name: string, node: Node): void {
    this.#change({ type: 'set', name, node });
  }

  delete(name: string): void {
    this.#change({ type: 'delete', name });
  }

  rename(from: string, to: string, node: Node): void {
    this.#change({ type: 'rename', from, to, node });
  }

  #change(change: NameChange): void {
    applyName(this.entries, change);
    this.#changes.push(change);
  }

  sync(): void {
    this.#durable = new Map(this.entries);
    this.#changes = [];
  }

  /** Bytes of the files here and below that are not in `counted`: a file with two names takes its room once. */
  usedBytes(counted: Set<FileNode>): number {
    let total = 0;
    for (const node of this.entries.values()) {
      if (!(node instanceof FileNode)) {
        total += node.usedBytes(counted);
      } else if (!counted.has(node)) {
        counted.add(node);
        total += node.sizeBytes;
      }
    }
    return total;
  }

  /** A copy of the directory and all below it; `done` holds the copies made so far, so that a node under two names stays one. */
  fork(done: Map<Node, Node>): DirectoryNode {
    const copy = new DirectoryNode();
    done.set(this, copy);
    const forked = (node: Node): Node => {
      let after = done.get(node);
      if (after === undefined) {
        after = node instanceof FileNode ? node.fork() : node.fork(done);
        done.set(node, after);
      }
      return after;
    };
    for (const [name, node] of this.entries) copy.entries.set(name, forked(node));
    for (const [name, node] of this.#durable) copy.#durable.set(name, forked(node));
    copy.#changes = this.#changes.map((change) =>
      change.type === 'delete' ? change : { ...change, node: forked(change.node) },
    );
    return copy;
  }

  /** The directory and all below it after a crash. A file under two names (a rename half lost) stays one file. */
  survivor(rule: LossRule, random: () => number, done: Map<Node, Node>): DirectoryNode {
    const names = new Map(this.#durable);
    const prefix = Math.floor(random() * (this.#changes.length + 1));
    this.#changes.forEach((change, i) => {
      const keep =
        rule === 'none' || (rule === 'random' ? random() < 0.5 : rule.startsWith('torn') && i < prefix);
      if (keep) applyName(names, change);
    });
    const directory = new DirectoryNode();
    for (const [name, node] of names) {
      let after = done.get(node);
      if (after === undefined) {
        after = node instanceof FileNode ? node.survivor(rule, random) : node.survivor(rule, random, done);
        done.set(node, after);
      }
      directory.entries.set(name, after);
      directory.#durable.set(name, after);
    }
    return directory;
  }
}

function applyName(names: Map<string, Node>, change: NameChange): void {
  if (change.type === 'set') names.set(change.name, change.node);
  else if (change.type === 'delete') names.delete(change.name);
  else {
    names.delete(change.from);
    names.set(change.to, change.node);
  }
}

export function loseUnsynced(root: DirectoryNode, rule: LossRule, random: () => number): DirectoryNode {
  return root.survivor(rule, random, new Map());
}

/** The names along a path; '.', '' and doubled slashes do not count. */
export function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

/** [directory, name] */
export function parentOf(path: string): [string, string] {
  const parts = partsOf(path);
  const name = parts.pop() ?? '';
  return [parts.join('/'), name];
}
