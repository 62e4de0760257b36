// The ABI of writing and checking tables: packing a memtable, filters, compression.

export { addHashes, flushStart, flushStep } from './flush';
export { lz4Compress, lz4Decompress } from './lz4';
export { checkEntries } from './verify';
