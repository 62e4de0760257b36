// The ABI of blocks: packing, decoding and searching them in any memory (block_builder.ts, block_reader.ts).

export {
  addEntry,
  beginTable,
  drained,
  finishBlock,
  initBuilder,
} from './block_builder';
export { decodeBlock, seekInBlock } from './block_reader';
