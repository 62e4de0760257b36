// The ABI of point reads of tables (table_lookup.ts). Addresses and layouts: docs/formats/table_memory.md.

export { lookup, mayHold, prepareIndex, resume, seekIndex } from './table_lookup';
