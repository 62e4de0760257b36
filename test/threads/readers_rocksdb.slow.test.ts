/** Readers over RocksDB, which they have to ask for what is in no memtable. A file of its own: each has a limit of time. */
import { loadOrSkip } from '../storage/rocksdb_lab.ts';
import { readerTests } from './reader_tests.ts';

if ((await loadOrSkip()) !== undefined) readerTests('rocksdb');
