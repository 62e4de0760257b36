/**
 * A histogram of latencies with logarithmic buckets, after HdrHistogram: 64 buckets per power of two, so a percentile is at most 1.6 % off, in a
 * fixed 14 KB whatever the number of samples.
 *
 * Unit inside: tenths of a microsecond, 1 to 2^32 - 1 (about 430 s); what lies outside is counted at the edge.
 */
const SUB_BITS = 6;
const SUB_BUCKETS = 1 << SUB_BITS;
const BUCKETS = (32 - SUB_BITS + 1) * SUB_BUCKETS;
const TENTHS_PER_MS = 10_000;
const LARGEST = 0xffff_ffff;

function bucketOf(tenths: number): number {
  if (tenths < SUB_BUCKETS) return tenths;
  const shift = 31 - Math.clz32(tenths) - SUB_BITS;
  return (shift + 1) * SUB_BUCKETS + ((tenths >>> shift) - SUB_BUCKETS);
}

/** The middle of a bucket, in tenths of a microsecond. */
function middleOf(bucket: number): number {
  if (bucket < SUB_BUCKETS) return bucket;
  const shift = Math.floor(bucket / SUB_BUCKETS) - 1;
  const low = (SUB_BUCKETS + (bucket % SUB_BUCKETS)) * 2 ** shift;
  return low + (2 ** shift - 1) / 2;
}

export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Adds one sample, in milliseconds as `performance.now()` counts them. */
  recordMs(milliseconds: number): void {
    const tenths = milliseconds * TENTHS_PER_MS;
    const bucket = bucketOf(tenths >= LARGEST ? LARGEST : tenths <= 0 ? 0 : Math.round(tenths));
    this.#counts[bucket] = this.#counts[bucket]! + 1;
    this.#count++;
  }

  add(other: LatencyHistogram): void {
    for (let i = 0; i < BUCKETS; i++) this.#counts[i] = this.#counts[i]! + other.#counts[i]!;
    this.#count += other.#count;
  }

  /** What another thread may be sent; `fromCounts` makes a histogram of it again. */
  toCounts(): Float64Array {
    return new Float64Array(this.#counts);
  }

  static fromCounts(counts: Float64Array): LatencyHistogram {
    if (counts.length !== BUCKETS) throw new Error(`a histogram of ${counts.length} counts, not ${BUCKETS}`);
    const histogram = new LatencyHistogram();
    histogram.#counts.set(counts);
    histogram.#count = counts.reduce((sum, count) => sum + count, 0);
    return histogram;
  }

  /** The latency that `fraction` (0 to 1) of the samples did not exceed, in microseconds; NaN without samples. */
  percentileUs(fraction: number): number {
    if (this.#count === 0) return Number.NaN;
    const wanted = Math.max(1, Math.ceil(this.#count * fraction));
    let seen = 0;
    for (let i = 0; i < BUCKETS; i++) {
      seen += this.#counts[i]!;
      if (seen >= wanted) return middleOf(i) / 10;
    }
    return middleOf(BUCKETS - 1) / 10;
  }
}

/** The middle value of a few rounds; of an even number the lower of the two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}
