/** Snapshots as callers of the public store see them. */

/** A whole store as of one revision, on its way into a file that `kvorum restore` opens (docs/formats/snapshot.md). */
export interface StoreSnapshot {
  readonly revision: number;
  /** Of all chunks together. */
  readonly sizeBytes: number;
  /** To be taken once, and to its end: it ends by throwing where not all has come. */
  readonly chunks: AsyncIterable<Uint8Array>;
}
