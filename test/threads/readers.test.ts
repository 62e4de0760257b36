/** Readers over Kvorum's own tables, whose memory they share. */
import { readerTests } from './reader_tests.ts';

readerTests('tables');
