/** Where header, blocks and footer of a whole snapshot file lie (docs/formats/snapshot.md). */
import type { Section } from './damage_harness.ts';

const HEADER_FIXED_BYTES = 32;
const BLOCK_HEADER_BYTES = 12;
const CRC_BYTES = 4;

export function snapshotSections(bytes: Uint8Array): Section[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = HEADER_FIXED_BYTES + view.getUint32(12, true) + CRC_BYTES;
  const sections: Section[] = [{ name: 'header', start: 0, end: at }];
  for (let payload = view.getUint32(at, true); payload > 0; payload = view.getUint32(at, true)) {
    const end = at + BLOCK_HEADER_BYTES + payload;
    sections.push({ name: 'block header', start: at, end: at + BLOCK_HEADER_BYTES });
    sections.push({ name: 'block', start: at + BLOCK_HEADER_BYTES, end });
    at = end;
  }
  sections.push({ name: 'footer', start: at, end: bytes.length });
  return sections;
}
