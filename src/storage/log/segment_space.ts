/**
 * Space ahead of the log: keeps zeros written in the current segment and a next segment ready, in the background.
 *
 * While appends are large, or not synced, and the disk is far from full, zeros are not worth their price: appends then go straight past `zeroedEnd`.
 *
 * Invariants: zeros are only written beyond `zeroedEnd`, appends only below it or while no zeros are being written, so the two never meet; a spare segment's name is durable before it is
 * used; a full disk is not a failure: it is tried again after a second, until there is room. Any other error is one.
 */
import type { Ports, TimerHandle } from '../../ports.ts';
import type { Disk } from '../disk.ts';
import { HEADER_BYTES, segmentName } from './format.ts';
import { Segment } from './segment.ts';
import { isNoSpace } from './storage_failure.ts';

const RETRY_MS = 1000;
/** Whoever waits for room while none is being made (the log is being reset) looks again so often. */
const IDLE_LOOK_MS = 10;
/** Zeros written (and synced) in one go: an fdatasync of appended entries waits for at most so many of them. */
const MAX_STEP_BYTES = 1024 * 1024;
const ZEROS = new Uint8Array(MAX_STEP_BYTES);
const RESERVE_BYTES = 64 * 1024;
/** Appends of this size gain less from zeros written ahead than writing every byte twice costs. */
const LARGE_APPEND_BYTES = 64 * 1024;
/** A disk with this much left will not be full within the second until it is asked again. */
const AMPLE_BYTES = 256 * 1024 * 1024;
/** So many bytes may be appended without a look at the clock: far fewer than AMPLE_BYTES. */
const UNCLOCKED_BYTES = 1024 * 1024;

export interface SpaceOptions {
  readonly disk: Disk;
  readonly path: string;
  readonly ports: Ports;
  readonly segmentSizeBytes: number;
  readonly preallocateBytes: number;
  /** Sync the zeros, so that a later fdatasync has no metadata to write. */
  readonly syncZeros: boolean;
}

export class SegmentSpace {
  /** Kept free for hard states: elections go on when there is no room for entries. */
  readonly reserveBytes: number;
  spare: Segment | undefined;
  #current: Segment;
  #nextSequence: number;
  #wantedBytes = 0;
  #work: Promise<void> | undefined;
  #extending: { readonly segment: Segment; readonly ended: Promise<void> } | undefined;
  #stopped = false;
  #full = false;
  #retryAtMs = 0;
  #retry: TimerHandle | undefined;
  #stepWaiters: (() => void)[] = [];
  /** As of `#measuredAtMs`; nothing is taken for granted before it was asked for. */
  #spaceLeftBytes = 0;
  #measuredAtMs = 0;
  #measuring = false;
  /** What may be appended before the clock is asked whether the measure is old. */
  #unclockedBytes = 0;
  /** A moving average of what is appended at once. */
  #appendBytes = 0;
  readonly #largeBytes: number;
  readonly #stepBytes: number;
  readonly #options: SpaceOptions;
  readonly #onRoom: () => void;
  readonly #onFailure: (error: unknown) => void;

  constructor(
    options: SpaceOptions,
    current: Segment,
    onRoom: () => void,
    onFailure: (error: unknown) => void,
  ) {
    const { preallocateBytes, segmentSizeBytes } = options;
    this.#options = options;
    this.#current = current;
    this.#nextSequence = current.sequence + 1;
    this.#onRoom = onRoom;
    this.#onFailure = onFailure;
    this.#stepBytes = Math.max(1024, Math.min(MAX_STEP_BYTES, Math.floor(preallocateBytes / 4)));
    // Without an fdatasync a append there is nothing to gain from zeros but the certainty of room.
    this.#largeBytes = options.syncZeros ? Math.min(LARGE_APPEND_BYTES, preallocateBytes) : 0;
    this.reserveBytes = Math.floor(Math.min(RESERVE_BYTES, preallocateBytes / 4, segmentSizeBytes / 8));
  }

  get spareRoomBytes(): number {
    return this.spare?.roomBytes ?? 0;
  }

  /** True when the disk is full. */
  get full(): boolean {
    return this.#full;
  }

  /** True when there was ample room for `bytes` on the disk when it was last asked, about a second or UNCLOCKED_BYTES of appends ago at most. */
  likely(bytes: number): boolean {
    if (this.#unclockedBytes <= 0) {
      this.#unclockedBytes = UNCLOCKED_BYTES;
      if (this.#options.ports.clock.monotonicMs() - this.#measuredAtMs >= RETRY_MS) void this.measure();
    }
    return !this.#full && this.#spaceLeftBytes > bytes + AMPLE_BYTES;
  }

  /** Asks the disk how much room there is. */
  async measure(): Promise<void> {
    if (this.#measuring || this.#stopped) return;
    const { disk, path, ports } = this.#options;
    this.#measuring = true;
    try {
      this.#spaceLeftBytes = await disk.spaceLeftBytes(path);
      this.#measuredAtMs = ports.clock.monotonicMs();
    } catch (error) {
      this.#onFailure(error);
    } finally {
      this.#measuring = false;
    }
  }

  /** Takes note of an append. */
  appended(bytes: number): void {
    this.#appendBytes += (bytes - this.#appendBytes) / 16;
    this.#unclockedBytes -= bytes;
  }

  #appendsAreLarge(): boolean {
    return this.#appendBytes >= this.#largeBytes && this.likely(0);
  }

  /** True when so many bytes would be appended past the zeros: nothing has to be made ready for them. */
  skipsZeros(bytes: number): boolean {
    return this.#appendsAreLarge() && this.likely(bytes);
  }

  /** True when `bytes` may be written to the current segment past its zeros, now. */
  mayExtend(bytes: number): boolean {
    if (this.#work !== undefined || this.#current.end + bytes > this.#options.segmentSizeBytes) return false;
    if (!this.#appendsAreLarge() || !this.likely(bytes)) return false;
    this.#spaceLeftBytes -= bytes;
    return true;
  }

  /** An append of so many bytes waits for room. */
  want(bytes: number): void {
    this.#wantedBytes = Math.max(this.#wantedBytes, bytes);
    this.poke();
  }

  /** Nobody waits any more. */
  satisfied(): void {
    this.#wantedBytes = 0;
  }

  /** Makes more space in the background, if there should be more. Cheap when not. */
  poke(): void {
    if (this.#work !== undefined || this.#stopped) return;
    if (this.#full && this.#options.ports.clock.monotonicMs() < this.#retryAtMs) return;
    if (this.#nextStep() === undefined) return;
    this.#work = this.#run();
  }

  /** Resolves when making room has come a step further, or after a moment where nothing is being made: look again then. */
  madeSome(): Promise<void> {
    if (this.#work === undefined) {
      return new Promise((resolve) => this.#options.ports.timers.after(IDLE_LOOK_MS, resolve));
    }
    return new Promise((resolve) => this.#stepWaiters.push(resolve));
  }

  #stepEnded(): void {
    for (const resolve of this.#stepWaiters.splice(0)) resolve();
  }

  /** Resolves when the background work has ended (done, or out of room). */
  async settled(): Promise<void> {
    await this.#work;
  }

  /** The spare becomes the current segment. REQUIRES: there is one. */
  takeSpare(): Segment {
    const spare = this.spare;
    if (spare === undefined) throw new Error('no spare segment');
    this.spare = undefined;
    this.#current = spare;
    return spare;
  }

  /** Work under way is finished, none is begun until `resume`. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#retry?.cancel();
    this.#retry = undefined;
    await this.#work;
  }

  resume(current: Segment): void {
    this.#current = current;
    this.#stopped = false;
    // What was tried again later is tried now: `stop` has ended the wait, and the segments that went may have made room.
    this.#full = false;
    this.poke();
  }

  /** A new segment file with some zeros in it, durable by name. Removes what it began when the disk is full. */
  async create(): Promise<Segment> {
    const { disk, path, ports, preallocateBytes, segmentSizeBytes } = this.#options;
    const segment = await createSegmentFile(disk, path, this.#nextSequence, ports);
    try {
      await disk.syncDirectory(path);
      await this.#extend(segment, Math.min(preallocateBytes, segmentSizeBytes, this.#stepBytes));
    } catch (error) {
      if (isNoSpace(error)) {
        await segment.file.close();
        await disk.remove(`${path}/${segment.name}`);
        // The sequence will be used again: this name must not come back beside it.
        await disk.syncDirectory(path);
      }
      throw error;
    }
    this.#nextSequence++;
    return segment;
  }

  async #run(): Promise<void> {
    const { ports } = this.#options;
    try {
      while (!this.#stopped) {
        await this.measure();
        // Chosen only now: while the disk was asked, the segments may have moved on.
        const step = this.#nextStep();
        if (step === undefined) break;
        await step();
        this.#full = false;
        // Still this.#work: what the callback appends must not start a second run.
        this.#onRoom();
        this.#stepEnded();
      }
      this.#work = undefined;
      this.#stepEnded();
    } catch (error) {
      this.#work = undefined;
      this.#stepEnded();
      if (!isNoSpace(error)) {
        this.#onFailure(error);
        return;
      }
      this.#full = true;
      this.#retryAtMs = ports.clock.monotonicMs() + RETRY_MS;
      if (!this.#stopped) this.#retry = ports.timers.after(RETRY_MS, () => this.poke());
    }
  }

  #nextStep(): (() => Promise<void>) | undefined {
    const { segmentSizeBytes, preallocateBytes } = this.#options;
    const current = this.#current;
    const wanted = this.#wantedBytes > 0 ? this.#wantedBytes + this.reserveBytes : 0;
    const fitsCurrent = current.end + wanted <= segmentSizeBytes;
    const room = current.roomBytes;
    if (current.zeroedEnd < segmentSizeBytes && fitsCurrent) {
      if (room < wanted || (room + this.#stepBytes <= preallocateBytes && !this.#appendsAreLarge())) {
        const step = this.#stepOf(wanted - room);
        return () => this.#extend(current, Math.min(step, segmentSizeBytes - current.zeroedEnd));
      }
      if (segmentSizeBytes - current.end >= preallocateBytes) return undefined;
    }
    // The current segment is nearly used up, or too small for what waits.
    const spare = this.spare;
    if (spare === undefined) return () => this.#createSpare();
    const ahead = this.#appendsAreLarge() ? 0 : Math.min(preallocateBytes, segmentSizeBytes);
    const size = Math.max(ahead, HEADER_BYTES + wanted);
    if (spare.zeroedEnd >= size) return undefined;
    const step = this.#stepOf(HEADER_BYTES + wanted - spare.zeroedEnd);
    return () => this.#extend(spare, Math.min(step, size - spare.zeroedEnd));
  }

  /** How much to write in one go: what somebody waits for with as few rounds as may be, anything else a little at a time. */
  #stepOf(missingBytes: number): number {
    return Math.max(this.#stepBytes, Math.min(missingBytes, MAX_STEP_BYTES));
  }

  async #createSpare(): Promise<void> {
    this.spare = await this.create();
  }

  #extend(segment: Segment, bytes: number): Promise<void> {
    const step = this.#writeZeros(segment, bytes);
    const ended = step.then(nothing, nothing);
    this.#extending = { segment, ended };
    return step;
  }

  async #writeZeros(segment: Segment, bytes: number): Promise<void> {
    await segment.file.write([ZEROS.subarray(0, bytes)], segment.zeroedEnd);
    if (this.#options.syncZeros) await segment.file.sync();
    segment.zeroedEnd += bytes;
  }

  /** Resolves when no zeros are being written to a segment that is no longer the current one: only then may its file be closed. */
  async release(segment: Segment): Promise<void> {
    if (this.#extending?.segment === segment) await this.#extending.ended;
  }
}

/** For whoever waits for an end and leaves the outcome to others. */
function nothing(): void {}

/** An empty file for a segment, under a name that was never used before. */
export async function createSegmentFile(
  disk: Disk,
  path: string,
  sequence: number,
  ports: Ports,
): Promise<Segment> {
  const salt = ports.random.bytes(4).reduce((sum, byte) => sum * 256 + byte, 0);
  const name = segmentName(sequence, salt);
  return new Segment(name, await disk.open(`${path}/${name.name}`, 'create'));
}
